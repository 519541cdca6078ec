"""What the engine acts on: the real cluster, or a simulated one for dry runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from patroni_etcd_reconfig.core.changes import Change
from patroni_etcd_reconfig.core.model import Observation, Progress
from patroni_etcd_reconfig.core.planner import unfinished_nodes
from patroni_etcd_reconfig.core.simulate import apply_step
from patroni_etcd_reconfig.core.steps import Step
from patroni_etcd_reconfig.engine.roster import Roster
from patroni_etcd_reconfig.observe.everything import Observer

Facts = Mapping[str, Any]


class World(Protocol):
    """Looks and acts. `act` returns the facts that the journal keeps of the step."""

    def observe(self, progress: Progress) -> Observation:
        """Return everything that is to be seen now, with the journal's progress in it."""

    def act(self, step: Step, seen: Observation) -> Facts:
        """Do the step and return when its goal is reached; raises ReconfigError when it is not."""


@dataclass
class RealWorld:
    """The real cluster: observes it all, and acts through `do`."""

    observer: Observer
    roster: Roster
    change: Change
    do: Callable[[Step, Observation], Facts]

    def observe(self, progress: Progress) -> Observation:
        """Look at everything that the rest of the change needs, and remember whom to talk to."""
        if self.roster.seen:
            self.observer.names = unfinished_nodes(self.roster.seen, self.change)
        seen = self.observer.observe(progress)
        self.roster.update(seen.etcd)
        return seen

    def act(self, step: Step, seen: Observation) -> Facts:
        """Do the step."""
        return self.do(step, seen)


class SimulatedWorld:
    """Starts from a real observation and plays every step's effect: nothing outside is touched."""

    def __init__(self, start: Observation) -> None:
        self._now = start

    def observe(self, progress: Progress) -> Observation:  # noqa: ARG002 - the effects carry it themselves
        """Return the simulated state."""
        return self._now

    def act(self, step: Step, seen: Observation) -> Facts:
        """Apply the step's effect; leases are taken to be renewed all the while."""
        self._now = replace(apply_step(seen, step), at=seen.at)
        return {}
