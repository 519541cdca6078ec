"""Did a recovery reach its goal? Looked up again on the servers, whoever carried it out. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from patroni_etcd_reconfig.core.findings import Finding, blocker, info, warning
from patroni_etcd_reconfig.core.host_checks import check_hosts
from patroni_etcd_reconfig.core.model import Health, Observation, PatroniCluster, format_id
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.kept import kept
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, ScopePlan, Way
from patroni_etcd_reconfig.core.recovery.restore_checks import revision_goes_back
from patroni_etcd_reconfig.engine.recovery.isolation import NO_SPACE, no_space_words
from patroni_etcd_reconfig.engine.recovery.journal import RecoveryRecord
from patroni_etcd_reconfig.engine.recovery.leading import place_of, takes_writes


@dataclass(frozen=True)
class Goal:
    """What is seen, against what the plan wants. `same_data` tells whether all members hash alike."""

    plan: RecoveryPlan
    seen: Observation
    postgres: tuple[PostgresEvidence, ...]
    same_data: bool

    def findings(self) -> tuple[Finding, ...]:
        """Return what is not as it should be: blockers say that the recovery is not done."""
        return (*self._etcd(), *self._members(), *self._patroni(), *check_hosts(self.seen.etcd, self.seen))

    def leading(self) -> dict[str, Any]:
        """Return who leads each scope, and how far it is."""
        leaders = {cluster.scope: cluster.leader for cluster in self.seen.patroni if cluster.lease}
        return {one.scope: place_of(one) for one in self.postgres if leaders.get(one.scope) == one.name}

    def _etcd(self) -> Iterator[Finding]:
        etcd, again = self.seen.etcd, "look at the etcd logs; then: patronictl-etcd recover verify"
        if not etcd.linearizable:
            yield blocker("RECOVERY_NO_QUORUM", "etcd", "no member serves a linearizable read", again)
        if etcd.cluster_id != self.plan.cluster_id:
            detail = f"it is cluster {format_id(etcd.cluster_id)}, not {format_id(self.plan.cluster_id)}"
            yield blocker("RECOVERY_OTHER_CLUSTER", "etcd", detail, "check the hosts in the Patroni file")
        if not self.same_data:
            yield blocker("RECOVERY_DATA_DIFFERS", "etcd", "the members do not hold the same data", again)
        for view in etcd.voters:
            if view.health is not Health.HEALTHY:
                yield blocker(
                    "RECOVERY_MEMBER_DOWN",
                    view.member.name or format_id(view.id),
                    f"the voter is {view.health.value}: {view.error or 'it does not answer'}",
                    again,
                )

    def _members(self) -> Iterator[Finding]:
        etcd = self.seen.etcd
        for fence in self.plan.fence:
            view = etcd.by_id(fence.member_id)
            if view is not None and self.plan.way is Way.FORCE:
                detail = f"member {format_id(fence.member_id)} of before is still in the list"
                remedy = f"patronictl-etcd remove {format_id(fence.member_id)}"
                yield blocker("RECOVERY_OLD_MEMBER", fence.node, detail, remedy)
        for seat in self.plan.rebuild:
            view = etcd.by_peer_urls(seat.peer_urls)
            if view is None or view.member.is_learner:
                yield warning(
                    "RECOVERY_MEMBER_MISSING",
                    seat.name,
                    "it does not vote yet" if view else "it is not a member yet",
                    f"once its machine is there: patronictl-etcd add {seat.name}",
                )

    def _patroni(self) -> Iterator[Finding]:
        clusters = {cluster.scope: cluster for cluster in self.seen.patroni}
        for scope in self.plan.scopes:
            yield from self._scope(scope, clusters.get(scope.scope))

    def _scope(self, scope: ScopePlan, cluster: PatroniCluster | None) -> Iterator[Finding]:
        leader = cluster.leader if cluster else None
        if cluster is None or leader is None or cluster.lease is None:
            yield _without(scope) if scope.without_leader else self._leaderless(scope, cluster)
            return
        if not cluster.standby_cluster:
            yield from self._writes(scope.scope, leader)
        if scope.should_lead not in (None, leader):
            yield warning(
                "RECOVERY_OTHER_LEADER",
                scope.scope,
                f"{leader} leads, and the plan gave the lead to {scope.should_lead}",
                "compare their data before anything else is written",
            )

    def _leaderless(self, scope: ScopePlan, cluster: PatroniCluster | None) -> Finding:
        detail, remedy = "it has no leader that renews its lease", "look at the Patroni logs"
        named = cluster.leader if cluster else None
        if cluster and cluster.paused:  # nobody is promoted by himself then
            remedy = f"it is paused: patronictl failover {scope.scope}, or patronictl resume {scope.scope}"
        elif named:  # a key without a lease: nobody else may lead
            detail += f"; its key names {named}, whose Patroni has not come"
            remedy = f"start Patroni on {named}, or, if {named} is lost with what only it has: "
            remedy += f"etcdctl del {self.plan.namespace}/{scope.scope}/leader"
        remedy += f"; patronictl list {scope.scope}, then: patronictl-etcd recover verify"
        return blocker("RECOVERY_NO_LEADER", scope.scope, detail, remedy)

    def _writes(self, scope: str, leader: str) -> Iterator[Finding]:
        own = next((one for one in self.postgres if (one.scope, one.name) == (scope, leader)), None)
        if own is None or not takes_writes(own):
            detail = f"{leader} leads, and its PostgreSQL does not say that it takes writes"
            yield blocker("RECOVERY_NOT_WRITABLE", scope, detail, f"look at PostgreSQL on {leader}")
        elif own.source != "sql":
            yield warning(
                "RECOVERY_ONLY_PATRONI",
                scope,
                f"only the Patroni of {leader} says that it takes writes; PostgreSQL: {own.problem}",
                "give a login (--pg-user with PGPASSWORD or PGPASSFILE), and: patronictl-etcd recover verify",
            )


def _without(scope: ScopePlan) -> Finding:
    detail = "it has no leader (chosen by the operator)"
    return info("RECOVERY_WITHOUT_LEADER", scope.scope, detail, f"patronictl list {scope.scope}")


def report(plan: RecoveryPlan, record: RecoveryRecord) -> tuple[Finding, ...]:
    """Return what people must know afterwards: what is lost, what is fenced where, and what to do with it."""
    facts = record.facts
    found = [
        warning("RECOVERY_LOSS", "etcd", loss, "compare with what applications know") for loss in plan.losses
    ]
    if "copies" in facts:
        copies = ", ".join(facts["copies"])
        found.append(
            info("RECOVERY_BACKUP", _survivor(plan), f"its data before: {copies}", "delete it later")
        )
    aside: Mapping[str, list[str]] = facts.get("fenced", {})
    for name, paths in aside.items():
        if paths:
            detail = f"its old data was set aside: {', '.join(paths)}"
            found.append(info("RECOVERY_FENCED", name, detail, "delete it when nobody misses anything"))
    if facts.get(NO_SPACE):
        words = no_space_words()
        found.append(warning("RECOVERY_NO_SPACE", _survivor(plan), "it had the alarm NOSPACE", words))
    restoring = plan.way is Way.RESTORE
    lost = _lost_to_restore if restoring else _lost
    return (
        *kept(plan, facts),
        *found,
        *_verified(facts),
        *(_restored(plan, facts) if restoring else ()),
        *(lost(fence.node, fence.member_id) for fence in plan.fence if fence.lost),
    )


def _verified(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """What the last look found that is worth a warning."""
    for one in facts.get("verified", ()):
        if one["severity"] == "warning":
            yield warning(one["code"], one["subject"], one["detail"], one["remedy"])


def _restored(plan: RecoveryPlan, facts: Mapping[str, Any]) -> Iterator[Finding]:
    if facts.get("bumped") is False:
        yield revision_goes_back(_survivor(plan), facts.get("revision") or 0)
    if facts.get("old_members"):
        yield warning(
            "RESTORE_OLD_MEMBERS",
            _survivor(plan),
            f"its restore tool has left {', '.join(facts['old_members'])} in the database, as that of "
            "etcd 3.4 does: nothing notices before an upgrade to 3.6 (etcd issue 20967)",
            "go to 3.6 by way of 3.5.26 or later, which cleans it",
        )


def _survivor(plan: RecoveryPlan) -> str:
    return plan.survivor.node if plan.survivor else "etcd"


def _lost(name: str, member_id: int) -> Finding:
    return warning(
        "RECOVERY_LOST_MEMBER",
        name,
        f"it could not be fenced: with its old data it is still member {format_id(member_id)}, and two such "
        "members go on as the old cluster when they do not reach the survivor",
        f"before {name} is switched on: cut it off the network, or boot it without etcd; set its data dir "
        "aside and put initial-cluster-state: existing into its configuration; "
        f"then: patronictl-etcd add {name}",
    )


def _lost_to_restore(name: str, member_id: int) -> Finding:
    """Of another cluster id, it does not even notice that there is a new one."""
    who = f"member {format_id(member_id)} of the old cluster" if member_id else "what it was"
    return warning(
        "RECOVERY_LOST_MEMBER",
        name,
        f"it could not be fenced: with its old data it is still {who}, and two such members go on as the old "
        "cluster, beside the new one, whether they reach it or not",
        f"before {name} is switched on: cut it off the network, or boot it without etcd; set its data dir "
        "aside and put initial-cluster-state: existing into its configuration; "
        f"then: patronictl-etcd add {name}",
    )
