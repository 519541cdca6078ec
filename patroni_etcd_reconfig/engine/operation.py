"""One run of an operation: lock, journal and sentinel around the engine's loop."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from patroni_etcd_reconfig.core.changes import Change, abort_of
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import Observation, PatroniCluster
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.remains import in_words, what_stays
from patroni_etcd_reconfig.engine.journal import Journal, Record, begin
from patroni_etcd_reconfig.engine.lock import Lock, describe_self
from patroni_etcd_reconfig.engine.loop import BlockedError, Engine, Reporter
from patroni_etcd_reconfig.engine.result import Result, exceeded, shield_findings
from patroni_etcd_reconfig.engine.sentinel import Sentinel
from patroni_etcd_reconfig.engine.verification import NotVerifiedError, baseline_of, broken_promises
from patroni_etcd_reconfig.engine.world import SimulatedWorld, World
from patroni_etcd_reconfig.errors import (
    EtcdError,
    InterruptedOperationError,
    LearnerStalledError,
    ReconfigError,
    UnreachableError,
)
from patroni_etcd_reconfig.ports import Clock

DRY_RUN = "dry-run"  # the operation id of a run that touches nothing


def new_operation_id(change: Change, clock: Clock) -> str:
    """Return an id that sorts by time and is safe in file names."""
    moment = datetime.fromtimestamp(clock.wall(), timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    return f"{moment}-{change.verb}-{secrets.token_hex(3)}"


@dataclass
class Operation:
    """The parts of one run. `world_for` makes the real world once the journal is open."""

    operation_id: str
    change: Change
    policy: Policy
    clock: Clock
    reporter: Reporter
    lock: Lock
    sentinel: Sentinel
    world_for: Callable[[Record, Change], World]
    observe: Callable[[], Observation]
    observe_patroni: Callable[[], tuple[PatroniCluster, ...]]
    flush_copies: Callable[[], None]
    resume_hint: str
    findings: tuple[Finding, ...] = ()  # what preflight found and let pass
    goal: str = "done"  # the state that a run without error ends in; `aborted` for an abort

    def run(self, open_journal: Callable[[Observation], Journal], *, wait_for_lock: bool = False) -> Result:
        """Carry the change out and return what came of it; raises only before the journal is open."""
        holder = describe_self(self.operation_id, self.clock)
        self.lock.acquire(holder, say=self.reporter.say, wait=wait_for_lock)
        try:
            before = self.observe()
            journal = open_journal(before)
            self.sentinel.start(before.patroni)
            try:
                return self._run_watched(journal, before)
            except BaseException:
                self.sentinel.stop()
                raise
        finally:
            self.flush_copies()
            self.lock.release()

    def _run_watched(self, journal: Journal, before: Observation) -> Result:
        error, findings = self._attempt(journal, self.change, before)
        state = _state(error, self.goal)
        stalled = _as_stalled(error)
        if stalled:
            error, findings, state = self._take_back(journal, stalled)
        try:
            measured = self.sentinel.stop().as_dict()
            if error is None:
                error = self._check_promises(journal.record)
            journal.end(state, measured)
        except ReconfigError as late:
            error, state = error or late, "failed"
        if error and state != self.goal and not journal.record.finished and not error.hint.endswith("resume"):
            error.hint = f"{error.hint}; then: {self.resume_hint}" if error.hint else self.resume_hint
        record = journal.record
        shown = "failed" if error and state == self.goal else state
        seconds = self.clock.wall() - record.started_at
        found = (*self.findings, *findings, *exceeded(record.measured), *shield_findings(record))
        return Result(
            self.change.verb, shown, record.started_at, seconds, record, record.measured, found, error
        )

    def _take_back(
        self, journal: Journal, stalled: LearnerStalledError
    ) -> tuple[ReconfigError, tuple[Finding, ...], str]:
        """Remove a learner that is stuck, as an abort does, and return with what the operation stopped.

        With it in the list nothing else can be changed, and Patroni may ask it. From the journal's turn on,
        a resume goes on with the removal. A learner that was there before the operation is left to its owner.
        """
        begun = journal.record.change
        try:
            etcd = self.observe().etcd
            change = abort_of(etcd, begun)
            if not change.victims:
                return stalled, (), "failed"
            journal.turn(change)
        except ReconfigError as error:
            return _not_taken_back(stalled, error), (), "failed"
        self.reporter.say(f"{stalled.message}: removing it again")
        failure, findings = self._attempt(journal, change)
        if failure:
            interrupted = isinstance(failure, InterruptedOperationError)
            state = "interrupted" if interrupted else "failed"
            return failure if interrupted else _not_taken_back(stalled, failure), findings, state
        left = what_stays(etcd, begun)
        stalled.hint = f"{stalled.hint}. It was removed again: {'; '.join(map(in_words, left))}"
        return stalled, left, "aborted"

    def _attempt(
        self, journal: Journal, change: Change, seen: Observation | None = None
    ) -> tuple[ReconfigError | None, tuple[Finding, ...]]:
        engine = Engine(
            self.world_for(journal.record, change),
            journal,
            self.policy,
            self.clock,
            self.reporter,
            self.lock.check,
        )
        try:
            engine.run(change, seen)
        except BlockedError as blocked:
            return blocked, blocked.findings
        except ReconfigError as error:
            return error, ()
        except KeyboardInterrupt:
            return InterruptedOperationError("interrupted; what was done so far is in the journal"), ()
        return None, ()

    def _check_promises(self, record: Record) -> ReconfigError | None:
        try:
            broken = broken_promises(record.baseline, self.observe_patroni())
        except (EtcdError, UnreachableError) as error:
            return error
        if not broken:
            return None
        return NotVerifiedError(
            f"the etcd members were changed, but Patroni did not stay as it was: {'; '.join(broken)}",
            hint="patronictl history; look at the Patroni logs of that time",
            code="PATRONI_LEADER_CHANGED",
        )


def _as_stalled(error: ReconfigError | None) -> LearnerStalledError | None:
    """Return the error of a learner that is stuck: in its step, or at the gate before its promotion."""
    if isinstance(error, LearnerStalledError):
        return error
    if isinstance(error, BlockedError) and error.code == "LEARNER_UNHEALTHY":
        first = error.findings[0]
        hint = f"look at the etcd log of {first.subject}"
        return LearnerStalledError(f"learner {first.subject}: {first.detail}", hint=hint)
    return None


def _not_taken_back(stalled: LearnerStalledError, error: ReconfigError) -> LearnerStalledError:
    return LearnerStalledError(
        f"{stalled.message}; it could not be removed again: {error.message}", hint=error.hint or stalled.hint
    )


def _state(error: ReconfigError | None, goal: str = "done") -> str:
    if error is None:
        return goal
    if isinstance(error, InterruptedOperationError):
        return "interrupted"
    return "blocked" if isinstance(error, BlockedError) else "failed"


def begin_journal(
    path: Path, operation: Operation, before: Observation, mirror: Callable[[str, str], None]
) -> Journal:
    """Start a new operation's journal, with the Patroni clusters as they are now."""
    return begin(
        path,
        operation.operation_id,
        operation.change,
        holder=describe_self(operation.operation_id, operation.clock),
        baseline=baseline_of(before.patroni),
        clock=operation.clock,
        mirror=mirror,
    )


def dry_run(
    change: Change,
    seen: Observation,
    policy: Policy,
    clock: Clock,
    reporter: Reporter,
    goal: str = "done",
) -> Result:
    """Run the same engine on a simulated world: every plan and gate is real, nothing is touched."""
    record = Record(DRY_RUN, change, clock.wall(), {})
    journal = Journal(None, record, clock, None, 0)
    engine = Engine(SimulatedWorld(seen), journal, policy, clock, reporter, lambda: None)
    began = time.monotonic()
    try:
        engine.run(change)
    except BlockedError as blocked:
        return _dry_result(record, began, blocked.findings, blocked)
    return _dry_result(record, began, (), None, goal)


def _dry_result(
    record: Record,
    began: float,
    findings: tuple[Finding, ...],
    error: ReconfigError | None,
    goal: str = "done",
) -> Result:
    seconds = time.monotonic() - began
    for step in record.steps:
        step.state = "simulated"
    return Result(
        record.change.verb, _state(error, goal), record.started_at, seconds, record, None, findings, error
    )
