"""The loop of a recovery: each step that is left to do, with intent before and outcome after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from patroni_etcd_reconfig.core.recovery.resuming import steps_left
from patroni_etcd_reconfig.core.recovery.steps import RecoveryStep
from patroni_etcd_reconfig.engine.failpoint import failpoint
from patroni_etcd_reconfig.engine.recovery.journal import RecoveryJournal
from patroni_etcd_reconfig.errors import ReconfigError
from patroni_etcd_reconfig.ports import Clock

Facts = Mapping[str, Any]


class RecoveryReporter(Protocol):
    """Told what happens, as it happens."""

    def started(self, steps: tuple[RecoveryStep, ...]) -> None:
        """The first of these steps begins; the others come after it."""

    def ended(self, step: RecoveryStep, state: str, seconds: float) -> None:
        """A step ended as `done` or `failed`."""

    def say(self, text: str) -> None:
        """Something worth a line."""


@dataclass
class RecoveryLoop:
    """Does steps in order. `act` returns the facts that the journal keeps."""

    journal: RecoveryJournal
    reporter: RecoveryReporter
    clock: Clock
    act: Callable[[RecoveryStep], Facts]

    def run(self, steps: tuple[RecoveryStep, ...]) -> None:
        """Do what is left to do; raises ReconfigError where it stops."""
        record = self.journal.record
        left = steps_left(steps, record.done, forced=record.forced)
        for number, step in enumerate(left, 1):
            kind = type(step).__name__
            failpoint("before", kind, number)
            self.journal.intend(step)
            failpoint("intended", kind, number)
            self.reporter.started(left[number - 1 :])
            self._do(step, number)
            failpoint("after", kind, number)

    def _do(self, step: RecoveryStep, number: int) -> None:
        began = self.clock.monotonic()
        state, facts = "unknown", {}
        try:
            facts = dict(self.act(step))
            state = "done"
            failpoint("acted", type(step).__name__, number)
        except ReconfigError:
            state = "failed"
            raise
        finally:
            seconds = self.clock.monotonic() - began
            self.journal.conclude(step, state, seconds, facts)
            self.reporter.ended(step, state, seconds)
