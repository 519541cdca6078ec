"""What a recovery did not lose, as far as it is known: of etcd, of Patroni's keys, of PostgreSQL. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from patroni_etcd_reconfig.core.findings import Finding, info
from patroni_etcd_reconfig.core.recovery.model import Candidate, RecoveryPlan, ScopePlan, Way
from patroni_etcd_reconfig.core.recovery.standing import format_lsn


def kept(plan: RecoveryPlan, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Return what is known to be kept. `facts` are what the journal of the recovery says of its steps."""
    if words := _of_etcd(plan, facts):
        yield info("RECOVERY_KEPT", "etcd", words, "")
    for scope in plan.scopes:
        words = "; ".join(filter(None, (_of_leader(scope, facts), _of_keys(scope, facts))))
        if words:
            yield info("RECOVERY_KEPT", scope.scope, words, "")


def _of_etcd(plan: RecoveryPlan, facts: Mapping[str, Any]) -> str:
    survivor, revision = plan.survivor, facts.get("revision")
    reached = f", revision {revision}" if revision else ""
    if plan.way is Way.START:
        return "every member went on with its own data"
    if survivor is None or not facts.get("opened"):
        return ""
    if plan.way is Way.RESTORE:
        return f"all that the snapshot held{reached}"
    return (
        f"all of {survivor.node} up to its commit index {survivor.commit}{reached}; its log ended at index "
        f"{survivor.last_index} of term {survivor.last_term}"
    )


def _of_leader(scope: ScopePlan, facts: Mapping[str, Any]) -> str:
    now = facts.get("leading", {}).get(scope.scope)
    if not now:
        return ""
    words = f"{now['leader']} leads at {_place(now['timeline'], now['lsn'])}"
    then = next((one for one in scope.candidates if one.name == now["leader"]), None)
    if then is None or then.timeline is None or then.lsn is None:
        return f"{words}; when it was collected nobody could tell how far it was"
    return f"{words}; collected, it was at {_place(then.timeline, then.lsn)}{_verdict(then, now)}"


def _verdict(then: Candidate, now: Mapping[str, Any]) -> str:
    if now["timeline"] is None or now["lsn"] is None:
        return ""
    went_on = (now["timeline"], now["lsn"]) >= (then.timeline, then.lsn)
    return ", all of which it has" if went_on else ": it has less now"


def _place(timeline: int | None, lsn: int | None) -> str:
    return f"timeline {'unknown' if timeline is None else timeline}, {format_lsn(lsn)}"


def _of_keys(scope: ScopePlan, facts: Mapping[str, Any]) -> str:
    names = facts.get("kept_keys", {}).get(scope.scope, ())
    return f"keys kept as they were: {', '.join(names)}" if names else ""
