"""A clock that needs no waiting, a world that can break, and a reporter that remembers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import Lease, Observation, PatroniCluster, Progress
from patroni_etcd_reconfig.core.simulate import apply_step
from patroni_etcd_reconfig.core.steps import (
    AwaitSettled,
    SaveSnapshot,
    StartMember,
    Step,
    Verify,
)
from patroni_etcd_reconfig.engine.world import Facts


@dataclass
class FakeClock:
    """Time that passes only when somebody sleeps."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class FakeWorld:
    """Plays the effects as the real world would show them: only what etcd and nodes can show is kept.

    What the journal must carry (snapshot, joined, settled, verified) comes back only as facts.
    """

    state: Observation
    clock: FakeClock
    before_act: Callable[[Step], None] = lambda step: None
    after_act: Callable[[Step], None] = lambda step: None
    acted: list[Step] = field(default_factory=list)

    def observe(self, progress: Progress) -> Observation:
        fresh = tuple(_renewed(cluster, self.clock.now) for cluster in self.state.patroni)
        return replace(self.state, progress=progress, patroni=fresh, at=self.clock.now)

    def act(self, step: Step, seen: Observation) -> Facts:
        self.before_act(step)
        self.acted.append(step)
        self.state = replace(apply_step(seen, step), progress=Progress())
        self.after_act(step)
        return self._facts(step)

    def _facts(self, step: Step) -> Facts:
        if isinstance(step, SaveSnapshot):
            return {"snapshot": "/snapshot.db"}
        if isinstance(step, Verify):
            return {"verified": True}
        if isinstance(step, (StartMember, AwaitSettled)):
            view = self.state.etcd.by_peer_urls(step.seat.peer_urls)
            assert view is not None
            key = "joined" if isinstance(step, StartMember) else "settled"
            return {key: f"{view.id:x}", "joined_at": self.clock.now}
        return {}


def _renewed(cluster: PatroniCluster, now: float) -> PatroniCluster:
    return replace(cluster, lease=Lease(cluster.ttl, cluster.ttl, now))


@dataclass
class Told:
    """Remembers what the engine told."""

    lines: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)

    def started(self, steps: tuple[Step, ...]) -> None:
        self.lines.append(type(steps[0]).__name__)

    def ended(self, step: Step, state: str, seconds: float) -> None:
        self.lines.append(f"{type(step).__name__} {state}")

    def held_up(self, step: Step, findings: tuple[Finding, ...]) -> None:
        self.held += [finding.code for finding in findings]

    def say(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, text: str) -> None:
        self.lines.append(text)
