"""What must change in a scope's DCS keys before Patroni may reach them: pure.

The lock decides. Patroni's race for a free leader key compares LSNs without timelines and takes whoever
comes first after a restart, and a `failover` request falls back to that race when its candidate is slow
(patroni/ha.py, `manual_failover_process_no_leader`). But a node that finds its own name in the leader key
takes it over, whoever owns the lease (dcs/etcd3.py, `_update_leader` compares the value), and the others
wait. So the audit writes the right name into the leader key, without a lease: until that node has come,
nobody can lead. The other keys are made to agree, so that a later race does no harm either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from patroni_etcd_reconfig.core.findings import Finding, blocker, blockers, info, warning
from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys, is_standby_cluster
from patroni_etcd_reconfig.core.recovery.doubts import doubts_about, lead_option
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.model import ScopePlan
from patroni_etcd_reconfig.core.recovery.repairs import Repair, ScopeFacts, repairs_of
from patroni_etcd_reconfig.core.recovery.standing import (
    Standing,
    describe,
    is_behind,
    is_primary,
    object_in,
    standing_of,
)

STANDBY_LEADER = "standby_leader"  # patroni.postgresql.misc.PostgresqlRole


@dataclass(frozen=True)
class Audit:
    """What to change, in this order. With a blocker there is nothing to apply: `repairs` is empty."""

    repairs: tuple[Repair, ...]
    findings: tuple[Finding, ...]


def audit(found: ScopeKeys, postgres: Iterable[PostgresEvidence], plan: ScopePlan, namespace: str) -> Audit:
    """Return how to make a scope's keys tell the truth, from what PostgreSQL says now.

    `found` is what the recovered etcd holds, `postgres` fresh evidence on that scope. Where the evidence
    no longer carries the plan, or is not enough to be sure, a blocker says so and nothing is to be changed.
    """
    nodes = tuple(postgres)
    standing = _remembering(standing_of(nodes, found), plan)
    lead = _leader_to_be(standing, plan, nodes)
    doubts = doubts_about(plan.scope, standing, lead, chosen=plan.chosen)
    if lead is None:
        return Audit((), doubts)
    scope = ScopeFacts(found, standing, nodes, lead, plan, f"/{namespace.strip('/')}/{plan.scope}/")
    firm = (*_outdated(scope), *initialize_fits(found, lead), *_other_site(scope))
    findings = (*doubts, *firm, *_notes(scope))
    return Audit(() if blockers(findings) else tuple(repairs_of(scope)), findings)


def initialize_fits(found: ScopeKeys, lead: PostgresEvidence) -> Iterator[Finding]:
    """Every Patroni exits when the `initialize` key is not its PostgreSQL's (ha.py, system ID mismatch)."""
    kv = found.keys.get("initialize")
    if kv and kv.value and lead.system_identifier and kv.value != lead.system_identifier:
        yield blocker(
            "PG_SYSTEM_ID",
            found.scope,
            f"the DCS belongs to PostgreSQL cluster {kv.value}, and {lead.name} to {lead.system_identifier}",
            "this is the DCS, or the PostgreSQL, of another cluster: check scope, namespace and survivor",
        )


def _other_site(scope: ScopeFacts) -> Iterator[Finding]:
    """A standby cluster whose configuration forgot so promotes beside the primary of the other site.

    A site that was promoted since would be demoted. What its Patroni says is later than the DCS. Without a
    configuration in the DCS, Patroni goes on with the last that it knows.
    """
    config, name = object_in(scope.found.keys.get("config")), scope.plan.scope
    if config is None:
        return
    follows = is_standby_cluster(config.get("standby_cluster"))
    for one in scope.postgres:
        if not one.patroni_answers or follows == (one.patroni_role == STANDBY_LEADER):
            continue
        if not follows or is_primary(one):
            yield _wrong_side(name, one, follows=follows)


def _wrong_side(scope: str, one: PostgresEvidence, *, follows: bool) -> Finding:
    if follows:
        detail = "has standby_cluster, and here runs a primary: Patroni would demote it"
        correct = "take standby_cluster out of its configuration"
    else:
        detail = (
            "has no standby_cluster, and this site follows another: Patroni would promote it, beside that one"
        )
        correct = "put standby_cluster back into its configuration"
    return blocker(
        "DCS_STANDBY_CLUSTER",
        scope,
        f"{describe(one)} is {one.patroni_role or 'primary'} by its Patroni; the DCS's config key {detail}",
        "go on with a member that knows the change (--survivor NAME); else stop Patroni on all nodes of "
        f"{scope} (in pause PostgreSQL runs on), collect and plan again, and when etcd is back {correct} "
        f"(patronictl edit-config {scope}) before Patroni starts",
    )


def _leader_to_be(
    standing: Standing, plan: ScopePlan, postgres: tuple[PostgresEvidence, ...]
) -> PostgresEvidence | None:
    """The planned node where it is still as good as any; else the best one, which `_outdated` objects to."""
    planned = standing.node(plan.should_lead)
    if plan.chosen:
        return planned or next((one for one in postgres if one.name == plan.should_lead), None)
    best = standing.best
    return planned if planned and best and not is_behind(planned, best) else best


def _remembering(standing: Standing, plan: ScopePlan) -> Standing:
    """A node that told its position when the plan was made, and is silent now, got no further meanwhile."""
    told = {one.name for one in plan.candidates if one.timeline is not None and one.lsn is not None}
    return replace(standing, unknown=tuple(name for name in standing.unknown if name not in told))


def _outdated(scope: ScopeFacts) -> Iterator[Finding]:
    if scope.plan.should_lead not in (None, scope.lead.name):
        yield blocker(
            "PG_PLAN_OUTDATED",
            scope.plan.scope,
            f"the plan gives the lead to {scope.plan.should_lead}, and now that is {describe(scope.lead)}",
            "bring that node back, or name the leader: " + lead_option(scope.plan.scope, "NAME"),
        )


def _notes(scope: ScopeFacts) -> Iterator[Finding]:
    name, lead = scope.plan.scope, scope.lead
    if scope.paused and not scope.alive and not scope.plan.chosen:
        yield warning(
            "PG_PAUSED_NO_PRIMARY",
            name,
            "Patroni is paused and no primary runs, so nobody will be promoted",
            f"patronictl failover {name} --candidate {lead.name} once etcd is back",
        )
    if not lead.patroni_answers:
        yield warning(
            "PG_PATRONI_SILENT",
            name,
            f"{lead.name} should lead, and its Patroni does not answer; until it runs, nobody leads",
            f"start Patroni on {lead.name} ({lead.host or 'its host'})",
        )
    if "config" not in scope.found.keys:
        yield info(
            "DCS_CONFIG_MISSING",
            name,
            "the DCS has no configuration of it; the leader writes the last it knows (patroni.dynamic.json)",
            f"check it afterwards: patronictl show-config {name}",
        )
