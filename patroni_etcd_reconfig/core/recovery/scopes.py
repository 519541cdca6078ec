"""What the evidence says of each Patroni cluster: who should lead, what of the DCS is stale, what is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from patroni_etcd_reconfig.core.findings import Finding, Severity, blockers
from patroni_etcd_reconfig.core.model import KeyValue
from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys, group_by_scope
from patroni_etcd_reconfig.core.recovery.audit import audit
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, PostgresEvidence
from patroni_etcd_reconfig.core.recovery.leaderless import audit_scope, contradictions_of
from patroni_etcd_reconfig.core.recovery.model import Candidate, Choice, ScopePlan
from patroni_etcd_reconfig.core.recovery.repairs import is_paused
from patroni_etcd_reconfig.core.recovery.standing import (
    NOFAILOVER,
    Standing,
    is_primary,
    leader_in,
    object_in,
    standing_of,
)
from patroni_etcd_reconfig.core.recovery.starting import against_keys

# What was passed knowingly, or could not be seen, may be lost.
_LOSSES = frozenset(
    {"PG_NOT_ASKED", "PG_AHEAD", "PG_NOFAILOVER_AHEAD", "PG_POSITION_UNSURE", "PG_DCS_AHEAD", "PG_DIVERGED"}
    | {"PG_DIVERGED_TAIL"}
)


@dataclass(frozen=True)
class ScopeView:
    """One scope's plan, what speaks against it, and what may be lost; `against`: what proves its keys old."""

    plan: ScopePlan
    findings: tuple[Finding, ...]
    losses: tuple[str, ...]
    against: tuple[str, ...] = ()


def scopes_of(evidence: Evidence, keys: Iterable[KeyValue], choice: Choice) -> tuple[ScopeView, ...]:
    """Return every scope that the DCS or PostgreSQL knows. `keys` are those that will be served."""
    found = {one.scope: one for one in group_by_scope(keys, f"/{evidence.namespace.strip('/')}")}
    # Without a scope: an address that an operator named, and that did not say whose it is.
    names = set(found) | {one.scope for one in evidence.postgres if one.scope}
    return tuple(_view(found.get(name) or ScopeKeys(name, {}), evidence, choice) for name in sorted(names))


def _view(found: ScopeKeys, evidence: Evidence, choice: Choice) -> ScopeView:
    nodes = evidence.scope(found.scope)
    standing = standing_of(nodes, found)
    plan = _plan(found, nodes, standing, choice)
    if plan.without_leader and blockers(audit(found, nodes, plan, evidence.namespace).findings):
        plan = replace(plan, should_lead=None)  # nothing carries one
    done = audit_scope(found, nodes, plan, evidence.namespace)
    # Its repairs are what is stale; where doubts hold them back, they follow once the doubts are passed.
    sure = done.repairs or plan.without_leader
    passed = done if sure else audit(found, nodes, replace(plan, chosen=True), evidence.namespace)
    prefix = f"/{evidence.namespace.strip('/')}/{found.scope}/"
    stale = tuple(repair.key.removeprefix(prefix) for repair in passed.repairs)
    losses = tuple(
        f"{found.scope}: {one.detail}"
        for one in done.findings
        if one.code in _LOSSES and one.severity is not Severity.BLOCKER
    )
    findings = (*done.findings, *contradictions_of(choice, nodes))
    against = against_keys(found, standing, plan)
    return ScopeView(replace(plan, stale=stale), findings, losses, against)


def _plan(
    found: ScopeKeys, nodes: tuple[PostgresEvidence, ...], standing: Standing, choice: Choice
) -> ScopePlan:
    chosen = choice.lead(found.scope)
    lead = standing.node(chosen) if chosen else standing.best
    initialize = found.keys.get("initialize")
    return ScopePlan(
        scope=found.scope,
        leader_in_dcs=leader_in(found),
        should_lead=chosen or (lead.name if lead else None),
        candidates=tuple(_candidates(nodes, standing, lead)),
        system_identifier=(lead.system_identifier if lead else "")
        or (initialize.value if initialize else ""),
        paused=is_paused(found, nodes),
        synchronous=is_synchronous(found, nodes),
        chosen=chosen is not None,
        without_leader=found.scope in choice.without,
    )


def is_synchronous(found: ScopeKeys, nodes: Iterable[PostgresEvidence]) -> bool:
    """True when the DCS or any node knows of synchronous replication under Patroni: it may be stale, too."""
    config = object_in(found.keys.get("config")) or {}
    mode = config.get("synchronous_mode")
    sync = object_in(found.keys.get("sync")) or {}
    told = any(one.is_sync_standby for one in nodes)
    return mode in (True, "quorum", "on", "true") or bool(sync.get("leader")) or told


def _candidates(
    nodes: tuple[PostgresEvidence, ...], standing: Standing, lead: PostgresEvidence | None
) -> Iterator[Candidate]:
    known = {one.name: one for one in nodes}
    told = (Candidate(o.name, o.timeline, o.lsn, _behind(o, lead), _note(o)) for o in standing.ranked)
    silent = (Candidate(name, None, None, None, "not asked") for name in standing.unknown)
    for one in (*told, *silent):
        at = known.get(one.name)
        yield replace(one, host=at.host, port=at.port, api_url=at.api_url) if at else one


def _behind(one: PostgresEvidence, lead: PostgresEvidence | None) -> int | None:
    """Bytes of the leader's WAL that a node has not: what it has after its timeline's end does not count."""
    if lead is None or one.lsn is None or lead.lsn is None:
        return None
    if one.timeline == lead.timeline:
        return max(0, lead.lsn - one.lsn)
    end = {timeline: lsn for timeline, lsn, *_ in lead.timeline_history}.get(one.timeline or 0)
    return None if end is None else max(0, lead.lsn - min(one.lsn, end))


def _note(one: PostgresEvidence) -> str:
    words = []
    if is_primary(one):
        words.append("primary, runs" + (" (failsafe)" if one.failsafe_active else ""))
    elif one.in_recovery is False:
        words.append(f"was primary of timeline {one.timeline}, is down")
    elif one.running is False:
        words.append("standby, is down")
    words += [] if one.lsn_is_exact else ["position is a lower bound"]
    words += [f"tag {NOFAILOVER}"] if NOFAILOVER in one.tags else []
    words += ["was synchronous"] if one.is_sync_standby else []
    return ", ".join(words)
