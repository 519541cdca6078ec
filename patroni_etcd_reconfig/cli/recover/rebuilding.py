"""The other members made new, by the ordinary engine: lock, gates, journal and all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.resume import EndedMeanwhile, run_record
from patroni_etcd_reconfig.cli.running import preflight, run_change
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import Change, Seat, addition_of
from patroni_etcd_reconfig.core.findings import blockers
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.engine.journal import Record
from patroni_etcd_reconfig.engine.recovery.isolation import RecoveryBlockedError
from patroni_etcd_reconfig.engine.recovery.loop import Facts
from patroni_etcd_reconfig.engine.result import Result
from patroni_etcd_reconfig.engine.unfinished import find_unfinished

# One member is the most dangerous state that an etcd can be in: what would be a reason to wait before an
# ordinary change is none before the members come back. Adding learners takes nothing away from it, and
# the version is the one that ran before.
NO_REASON_TO_WAIT = frozenset(
    {"FAILSAFE_OFF", "HAZARD_CORRUPTION", "HOSTS_STALE", "PATRONI_PAUSED", "TOO_FEW_VOTERS"}
)


def rebuild(app: App, leaderless: Callable[[], frozenset[str]], seats: tuple[Seat, ...]) -> Facts:
    """Add the seats that do not vote yet, or go on with the addition that an earlier run began.

    Patroni clusters that are `leaderless` keep nobody else's members from coming back.
    """
    app = replace(app, accept=app.accept | NO_REASON_TO_WAIT, leave_out=leaderless())
    wiring = Wiring(app)
    etcd = wiring.observe().etcd
    missing = _missing(etcd, seats)
    if not missing:
        return {"rebuilt": [seat.name for seat in seats]}
    begun = [
        r for r in find_unfinished(app.state_dir, wiring.mirror, etcd.cluster_id) if r.change.verb == "add"
    ]
    try:
        result = _go_on(wiring, begun[0]) if begun else _add(wiring, etcd, missing)
    except EndedMeanwhile:
        return rebuild(app, leaderless, seats)
    if result.error:
        raise result.error
    return {"rebuilt": [seat.name for seat in seats]}


def _go_on(wiring: Wiring, begun: Record) -> Result:
    return run_record(wiring, begun, begun.change, lambda _, record: record.change)


def _add(wiring: Wiring, etcd: EtcdView, seats: tuple[Seat, ...]) -> Result:
    change: Change = addition_of(etcd, seats)
    _, findings = preflight(wiring, change, wiring.observe())
    if stopping := blockers(findings):
        first = stopping[0]
        raise RecoveryBlockedError(
            f"before the other members are rebuilt: {first.subject}: {first.detail}",
            hint=first.remedy,
            code=first.code,
            findings=stopping,
        )
    return run_change(wiring, change, findings)


def _missing(etcd: EtcdView, seats: tuple[Seat, ...]) -> tuple[Seat, ...]:
    voting = {url for view in etcd.voters for url in view.member.peer_urls}
    return tuple(seat for seat in seats if not voting & set(seat.peer_urls))
