"""May etcd simply be started with the data it has? Not where PostgreSQL proves that data to be old: pure.

Members that are a majority of their own list can still hold old keys: somebody forced a new cluster before,
or their disks were put back. Started, they would hand the lock to whoever their leader key names, and a
Patroni that finds its own name there promotes, whatever was committed elsewhere since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from patroni_etcd_reconfig.core.findings import Finding, Severity, blocker, warning
from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, PostgresEvidence
from patroni_etcd_reconfig.core.recovery.fencing import is_empty, node_of
from patroni_etcd_reconfig.core.recovery.holders import Holder
from patroni_etcd_reconfig.core.recovery.model import ScopePlan
from patroni_etcd_reconfig.core.recovery.standing import (
    Standing,
    describe,
    format_lsn,
    history_in,
    is_behind,
    is_primary,
    leader_in,
    object_in,
    timeline_in,
)

# Open questions on who got how far. Where etcd lost nothing, they are Patroni's, as on any other day.
_PATRONI_DECIDES = frozenset(
    {"PG_NOT_ASKED", "PG_POSITION_UNSURE", "PG_DCS_AHEAD", "PG_NOBODY", "PG_AHEAD", "PG_NOFAILOVER_AHEAD"}
    | {"PG_WITHOUT_LEADER"}
)
_OF_THE_AUDIT = frozenset({"PG_PATRONI_SILENT"})  # it waits for the name that the audit writes


def against_keys(found: ScopeKeys, standing: Standing, plan: ScopePlan) -> tuple[str, ...]:
    """Return what proves that the keys are older than PostgreSQL; what is only not known proves nothing.

    Every promotion begins a timeline, and Patroni notes it: keys of today know the latest of them. Without
    any keys (their database could not be read) nothing is proven.
    """
    lead = standing.node(plan.should_lead)
    named = leader_in(found)
    if not found.keys or (plan.chosen and plan.should_lead == named):
        return ()
    if plan.chosen:
        return (f"the leader key names {named or 'nobody'}, and {plan.should_lead} shall lead",)
    if lead is None or (named == lead.name and is_primary(lead) and lead.patroni_answers):
        return ()  # its Patroni holds on to its own lock, and corrects the other keys
    sync = (object_in(found.keys.get("sync")) or {}).get("leader")
    return (*_old_names({"leader": named, "sync": sync}, standing, lead), *_old_history(found, lead))


def _old_names(names: dict[str, str | None], standing: Standing, lead: PostgresEvidence) -> Iterator[str]:
    for key, name in names.items():
        other = standing.node(name)
        if name in (None, lead.name):
            continue
        if is_primary(lead):
            yield f"the {key} key names {name}, and {describe(lead)} is the primary and runs"
        elif other and _surely_behind(other, lead):
            yield f"the {key} key names {describe(other)}, and {describe(lead)} is ahead of it"


def _surely_behind(one: PostgresEvidence, lead: PostgresEvidence) -> bool:
    """On one timeline a lower bound proves nothing."""
    if (one.timeline or 0) != (lead.timeline or 0):
        return (one.timeline or 0) < (lead.timeline or 0)
    return one.lsn_is_exact and is_behind(one, lead)


def _old_history(found: ScopeKeys, lead: PostgresEvidence) -> Iterator[str]:
    known, own = timeline_in(found) or 1, {timeline: lsn for timeline, lsn, *_ in lead.timeline_history}
    if (lead.timeline or 0) > known:
        yield f"the history key ends at timeline {known}, and {describe(lead)} is on a later one"
    for timeline, lsn, *_ in history_in(found):
        if own.get(timeline, lsn) != lsn:
            yield (
                f"timeline {timeline} ended at {format_lsn(lsn)} by the history key, and at "
                f"{format_lsn(own[timeline])} for {lead.name}"
            )


def keys_are_old(scope: str, words: tuple[str, ...], named: str | None) -> Finding:
    """Say why what could be started is not: in quarantine the keys are corrected first."""
    own = f"if that is wrong, and the keys are true: --lead {scope}={named}" if named else ""
    return warning(
        "RECOVERY_KEYS_OLD",
        scope,
        f"enough members could be started, but their keys are older than PostgreSQL: {'; '.join(words)}. "
        "So one goes on alone, in quarantine, where the keys are corrected before Patroni sees them",
        own,
    )


def left_out(evidence: Evidence, family: tuple[Holder, ...]) -> tuple[str, ...]:
    """Return etcd nodes that the latest member list does not have: it may have been forced to forget them."""
    latest = next((one.members for one in family if one.members and not one.damage), ())
    listed = {node.name for member in latest if (node := node_of(member, evidence))}
    return tuple(
        node.name
        for node in evidence.nodes
        if node.peer_urls and node.name not in listed and not is_empty(node)
    )


def unseen(evidence: Evidence, family: tuple[Holder, ...]) -> tuple[str, ...]:
    """Return those of them that nobody could look at, and that no older list knows either."""
    stored = [one.node.data.members for one in family if one.node.data]
    lists = (*stored, *(one.members for one in family))
    known = {node.name for rows in lists for member in rows if (node := node_of(member, evidence))}
    nodes = (evidence.node(name) for name in left_out(evidence, family) if name not in known)
    return tuple(node.name for node in nodes if node and not node.reachable and not node.live)


def can_come_back(names: Iterable[str]) -> Iterator[Finding]:
    """A node that a forced list forgot is still a member by its own data."""
    for name in sorted(names):
        yield blocker(
            "RECOVERY_NOT_FENCED",
            name,
            "nobody could look at it, and no member list that was found has it: if a new cluster was forced "
            "before, it and others like it go on as the old one",
            f"make it reachable and collect again; if its machine or its data is gone for good: --lost "
            f"{name}; if it never was a member, take it out of the inventory",
        )


def about_postgres(findings: Iterable[Finding], *, whole: bool) -> Iterator[Finding]:
    """Return what the audit finds, for a start. `whole`: nothing says that etcd forgot anybody."""
    for one in findings:
        if one.code in _OF_THE_AUDIT:
            continue
        if whole and one.code in _PATRONI_DECIDES and one.severity is Severity.BLOCKER:
            detail = f"{one.detail}. Nothing says that etcd's data is old, so Patroni decides, as ever"
            yield replace(one, severity=Severity.WARNING, detail=detail, remedy="")
        else:
            yield one
