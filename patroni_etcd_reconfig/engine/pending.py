"""What works on a cluster now, and what waits to be resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from patroni_etcd_reconfig.core.findings import Finding, blocker, info, warning
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.engine.lock import Holder, lock_holder
from patroni_etcd_reconfig.engine.mirror import Mirror
from patroni_etcd_reconfig.engine.roster import Roster
from patroni_etcd_reconfig.engine.unfinished import find_unfinished
from patroni_etcd_reconfig.errors import JournalError, ReconfigError

Resume = Callable[[str], str]  # gives the command line that goes on with an operation


def unfinished_findings(
    state_dir: Path, mirror: Mirror | None, cluster_id: int, resume: Resume, running: str = ""
) -> tuple[Finding, ...]:
    """Return a blocker for every operation on this cluster that waits to be resumed.

    `running` is the id of one that is being carried out; without a mirror only this host's are known.
    """
    return tuple(
        blocker(
            "UNFINISHED_OPERATION",
            record.operation_id,
            f"this {record.change.verb} is not finished",
            resume(record.operation_id),
        )
        for record in find_unfinished(state_dir, mirror, cluster_id)
        if record.operation_id != running
    )


def pending_findings(state_dir: Path, roster: Roster, etcd: EtcdView, resume: Resume) -> tuple[Finding, ...]:
    """Return what an onlooker should know first; without quorum, only what this host knows."""
    holder = _holder(roster) if etcd.linearizable else None
    mirror = Mirror(roster) if etcd.linearizable else None
    running = holder.operation_id if holder else ""
    try:
        waiting = unfinished_findings(state_dir, mirror, etcd.cluster_id, resume, running)
    except JournalError as error:
        waiting = (warning("JOURNAL_UNREADABLE", "this machine", error.message, error.hint),)
    return (*([_works(holder)] if holder else []), *waiting)


def _holder(roster: Roster) -> Holder | None:
    """Who holds the lock is told on the way: a look does not fail for it."""
    try:
        return lock_holder(roster.voters()[0])
    except ReconfigError:
        return None


def _works(holder: Holder) -> Finding:
    return info(
        "OPERATION_RUNS",
        holder.operation_id or "lock",
        holder.words,
        "wait for its end; then: patronictl-etcd history",
    )
