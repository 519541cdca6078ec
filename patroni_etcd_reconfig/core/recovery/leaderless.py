"""Patroni clusters that stay without a leader on purpose: decommissioned, or stopped: pure.

Nobody waits for their leader, and doubts about it block nothing. Where evidence carries a leader, the key
names it as elsewhere, so that nobody else comes first. Where it doesn't, nobody is named: `leader` and
`failover` are deleted, and `history`, `sync` and `status` stay, by which Patroni itself keeps a node with an
earlier timeline, one that was not synchronous, and one that lags from leading, once somebody starts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from patroni_etcd_reconfig.core.findings import Finding, blocker, blockers, warning
from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys
from patroni_etcd_reconfig.core.recovery.audit import Audit, audit
from patroni_etcd_reconfig.core.recovery.doubts import lead_option
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.model import Choice, ScopePlan
from patroni_etcd_reconfig.core.recovery.repairs import DeleteKey
from patroni_etcd_reconfig.core.recovery.standing import describe, is_primary

# Not a matter of who leads: the DCS, or a node, is another cluster's, or data would be written twice.
_FIRM = frozenset({"DCS_STANDBY_CLUSTER", "PG_SYSTEM_ID", "PG_TWO_PRIMARIES"})
_OLD_KEYS = {
    "leader": "it stays without a leader; who leads is found out by Patroni when it runs",
    "failover": "an old request would be carried out when Patroni runs",
}


def without_option(scope: str) -> str:
    """Return the option that lets a scope be without a leader."""
    return f"--without-leader {scope}"


def audit_scope(
    found: ScopeKeys, postgres: Iterable[PostgresEvidence], plan: ScopePlan, namespace: str
) -> Audit:
    """Return the audit of a scope, of one that may stay without a leader too.

    A primary that runs must not lose its lock: then all is as in any other scope.
    """
    nodes = tuple(postgres)
    done = audit(found, nodes, plan, namespace)
    if not plan.without_leader or any(is_primary(one) for one in nodes):
        return done
    stopping = blockers(done.findings)
    if any(finding.code in _FIRM for finding in stopping):
        return done
    if not stopping:
        return replace(done, findings=(*done.findings, _left(found.scope, f"{plan.should_lead} is named")))
    if running := sorted(one.name for one in nodes if one.patroni_answers or one.running):
        return Audit((), (_would_elect(found.scope, ", ".join(running)), *done.findings))
    prefix = f"/{namespace.strip('/')}/{found.scope}/"
    keys = ((name, found.keys[name]) for name in _OLD_KEYS if name in found.keys)
    deletes = tuple(DeleteKey(prefix + name, _OLD_KEYS[name], kv.mod_revision) for name, kv in keys)
    return Audit(deletes, (_left(found.scope, f"nobody is named, for {stopping[0].detail}"),))


def contradictions_of(choice: Choice, nodes: Iterable[PostgresEvidence]) -> Iterator[Finding]:
    """A scope whose primary runs has a leader."""
    for one in nodes:
        if one.scope in choice.without and is_primary(one):
            yield blocker(
                "PG_WITHOUT_LEADER",
                one.scope,
                f"it is to be without a leader, and {describe(one)} is a primary that runs",
                f"leave out {without_option(one.scope)}, or stop Patroni and PostgreSQL on {one.name} and "
                "collect again",
            )


def unknown_scopes(choice: Choice, known: Iterable[str]) -> Iterator[Finding]:
    """A choice for a scope that does not exist is a slip, and the right scope would go without it."""
    names = tuple(known)
    chosen = (
        *(f"--lead {scope}={name}" for scope, name in choice.leads),
        *map(without_option, choice.without),
    )
    for option, scope in zip(chosen, (*dict(choice.leads), *choice.without), strict=True):
        if scope not in names:
            yield blocker(
                "PG_NO_SCOPE",
                scope,
                f"no Patroni cluster of this name is known, for {option}",
                f"take one of {', '.join(names) or 'none'}",
            )


def _would_elect(scope: str, names: str) -> Finding:
    return blocker(
        "PG_WITHOUT_LEADER",
        scope,
        f"it is to be without a leader, and {names} runs there: without a name in the key its Patroni takes "
        "whoever comes first",
        f"stop Patroni on {names}, or name the leader instead: {lead_option(scope, 'NAME')}",
    )


def _left(scope: str, how: str) -> Finding:
    return warning(
        "PG_WITHOUT_LEADER",
        scope,
        f"nobody waits until it has a leader (chosen by the operator); {how}",
        f"before its Patronis run again, compare what their PostgreSQLs have; then: patronictl list {scope}",
    )
