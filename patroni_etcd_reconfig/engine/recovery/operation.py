"""One run of a recovery: locks, the look at the situation, the journal, and the loop over the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patroni_etcd_reconfig.core.findings import Finding, blocker, blockers
from patroni_etcd_reconfig.core.recovery.evidence import Evidence
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.core.recovery.situation import MISMATCHES, check_situation
from patroni_etcd_reconfig.core.recovery.steps import RecoveryStep, steps_of
from patroni_etcd_reconfig.engine.lock import describe_self
from patroni_etcd_reconfig.engine.recovery.isolation import RecoveryBlockedError
from patroni_etcd_reconfig.engine.recovery.journal import (
    LEADS,
    RecoveryJournal,
    RecoveryRecord,
    journal_path,
    known_recovery,
    open_journal,
    operation_id_of,
    other_recoveries,
)
from patroni_etcd_reconfig.engine.recovery.locks import FileLocks
from patroni_etcd_reconfig.engine.recovery.loop import Facts, RecoveryLoop, RecoveryReporter
from patroni_etcd_reconfig.engine.recovery.verifying import report
from patroni_etcd_reconfig.engine.result import Result
from patroni_etcd_reconfig.errors import ExitCode, InterruptedOperationError, ReconfigError
from patroni_etcd_reconfig.ports import Clock

VERB = "recover"
LOCK_FILE = "recover.lock"
STEPPING_DOWN = 6.0  # seconds that a former raft leader is given to know that it leads nobody any more
LOOK_PAUSE = 0.3


@dataclass
class Recovery:
    """The parts of one run. `actions_for` makes what does the steps once the journal is open."""

    plan: RecoveryPlan
    state_dir: Path
    markers: tuple[Path, ...]  # a lock file beside each node's data dir
    reserve: int  # bytes that stay free on the survivor's disk
    program: str  # version of the etcd that the quarantine runs
    clock: Clock
    reporter: RecoveryReporter
    collect: Callable[[], Evidence]
    actions_for: Callable[[RecoveryJournal], Callable[[RecoveryStep], Facts]]
    end_quarantine: Callable[[], None]
    again: str  # the command line that goes on with it
    began_at: float  # wall time at which the operator gave the command
    leads: Mapping[str, str] = field(default_factory=dict)  # named with this command; the plan has them

    def run(self) -> Result:
        """Carry the plan out, or go on with it; raises only where nothing was begun."""
        holder = describe_self(operation_id_of(self.plan.id), self.clock)
        with FileLocks((self.state_dir / LOCK_FILE, *self.markers), holder):
            self._refuse_others()
            before = None if self._beyond() else self._look()
            path = journal_path(self.state_dir, self.plan.id)
            journal = open_journal(path, self.plan.id, holder, self.clock, self.began_at)
            if before is not None:
                known = int(journal.record.facts.get("revision_seen", 0))
                journal.note({"revision_seen": max(known, _revision(self.plan, before))})
            if self.leads:
                journal.note({LEADS: {**journal.record.leads, **self.leads}})
            return self._run(journal)

    def check(self) -> tuple[Finding, ...]:
        """Return what stands in the way now, after a former leader had time to step down."""
        if self._beyond():
            return ()
        deadline = self.clock.monotonic() + STEPPING_DOWN
        while True:
            found = self._stopping(self.collect())
            over = self.clock.monotonic() > deadline
            if over or not found or not all(finding.transient for finding in blockers(found)):
                return found
            self.clock.sleep(LOOK_PAUSE)

    def _look(self) -> Evidence:
        """Look until nothing stands in the way; raises RecoveryBlockedError when something stays."""
        deadline = self.clock.monotonic() + STEPPING_DOWN
        while True:
            seen = self.collect()
            stopping = blockers(self._stopping(seen))
            if not stopping:
                return seen
            if self.clock.monotonic() > deadline or not all(finding.transient for finding in stopping):
                raise SituationError(stopping)
            self.clock.sleep(LOOK_PAUSE)

    def _stopping(self, seen: Evidence) -> tuple[Finding, ...]:
        known = known_recovery(self.state_dir, self.plan.id)
        copied = known is not None and "copies" in known.facts
        return check_situation(self.plan, seen, self.reserve, self.program, copied=copied)

    def _beyond(self) -> bool:
        """Tell whether a new cluster may have been made, or all is done: there is no way back then."""
        known = known_recovery(self.state_dir, self.plan.id)
        return known is not None and (known.forced or known.state == "done")

    def _refuse_others(self) -> None:
        for record in other_recoveries(self.state_dir, self.plan.id):
            raise SituationError(
                (
                    blocker(
                        "UNFINISHED_RECOVERY",
                        record.operation_id,
                        "this recovery has made a new cluster and is not finished",
                        f"apply its plan again, {record.plan_id}: only that leads on from there",
                    ),
                )
            )

    def _run(self, journal: RecoveryJournal) -> Result:
        loop = RecoveryLoop(journal, self.reporter, self.clock, self.actions_for(journal))
        error: ReconfigError | None = None
        try:
            loop.run(steps_of(self.plan))
        except ReconfigError as stopped:
            error = stopped
        except KeyboardInterrupt:
            error = InterruptedOperationError("interrupted; what was done so far is in the journal")
        return self._ended(journal, error)

    def _ended(self, journal: RecoveryJournal, error: ReconfigError | None) -> Result:
        try:
            if error:
                self.end_quarantine()
            journal.end(_state(error), _measured(journal.record))
        except ReconfigError as late:
            error = error or late
        record = journal.record
        if error and self.again not in error.hint:
            error.hint = f"{error.hint}; the command: {self.again}" if error.hint else self.again
        findings = error.findings if isinstance(error, RecoveryBlockedError) else report(self.plan, record)
        seconds = self.clock.wall() - record.started_at
        return Result(
            VERB, _state(error), record.started_at, seconds, record, record.measured, findings, error, {}
        )


class SituationError(RecoveryBlockedError):
    """The situation is not the one that the plan was made for, or something stands in the way.

    The exit code is that of the finding which is told first, as its remedy is.
    """

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        first = findings[0]
        super().__init__(
            f"{first.subject}: {first.detail}", hint=first.remedy, code=first.code, findings=findings
        )
        if first.code in MISMATCHES:
            self.exit_code = ExitCode.PLAN_MISMATCH


def _state(error: ReconfigError | None) -> str:
    if error is None:
        return "done"
    if isinstance(error, InterruptedOperationError):
        return "interrupted"
    return "blocked" if isinstance(error, RecoveryBlockedError) else "failed"


def _measured(record: RecoveryRecord) -> dict[str, float]:
    seconds: Any = record.facts.get("seconds_to_writable")
    return {} if seconds is None else {"seconds_to_writable": seconds}


def _revision(plan: RecoveryPlan, seen: Evidence) -> int:
    node = seen.node(plan.survivor.node) if plan.survivor else None
    return (node.data.revision if node and node.data else None) or 0
