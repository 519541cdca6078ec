"""May this step run now? The laws, as pure checks made right before each step."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.aborting import check_promoted
from patroni_etcd_reconfig.core.changes import Change, MemberRef
from patroni_etcd_reconfig.core.findings import Finding, accepted, blocker
from patroni_etcd_reconfig.core.model import (
    EtcdView,
    Health,
    MemberView,
    Observation,
    PatroniCluster,
    format_id,
)
from patroni_etcd_reconfig.core.move_checks import check_move, problem_of
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.quorum import has_quorum_while_down, healthy_without, quorum, survives_without
from patroni_etcd_reconfig.core.relocation_checks import check_identities, check_learners
from patroni_etcd_reconfig.core.steps import (
    AddLearner,
    PromoteLearner,
    ReaddressMember,
    RemoveMember,
    RestartMember,
    SetDataAside,
    StartMember,
    StartMoved,
    Step,
    StopMember,
    UpdatePeerUrls,
    UpgradeMember,
    subject,
    touches_etcd,
    worst_write_gap,
)

# How old a lease renewal may be, beyond `loop_wait`, to count as "just now": Patroni renews once a loop,
# a loop takes its time besides, and etcd cuts a lease's remainder to whole seconds.
LEASE_GRACE = 3.0


def check_step(seen: Observation, step: Step, change: Change, policy: Policy) -> tuple[Finding, ...]:
    """Return every reason why the step must not run now; blockers the policy accepts become warnings."""
    return accepted(_reasons(seen, step, change, policy), policy.accept)


def _reasons(seen: Observation, step: Step, change: Change, policy: Policy) -> Iterator[Finding]:
    yield from check_plan_fits(seen.etcd, change)
    if not touches_etcd(step):
        return
    yield from check_quorum(seen.etcd)
    yield from check_alarms(seen.etcd)
    yield from check_learners(seen.etcd, change)
    yield from _check_effect(seen, step)
    yield from _check_node(seen, step, change)
    yield from check_move(seen, step, change)
    for cluster in seen.patroni:
        yield from check_calm(cluster, seen.at, policy)
        yield from check_budget(cluster, worst_write_gap(step))


def _check_identity(etcd: EtcdView, change: Change) -> Iterator[Finding]:
    if etcd.cluster_id != change.cluster_id:
        yield blocker(
            "CLUSTER_ID_CHANGED",
            "etcd",
            f"the cluster that answers is {format_id(etcd.cluster_id)}, "
            f"the operation began on {format_id(change.cluster_id)}",
            "check the etcd hosts in the Patroni file, then start a new operation",
        )


def check_quorum(etcd: EtcdView) -> Iterator[Finding]:
    """Block when no linearizable read works or no leader is known: nothing can be changed then."""
    if not etcd.linearizable or etcd.leader is None:
        count, need = len(etcd.voters), quorum(len(etcd.voters))
        seen = f"{len(etcd.healthy_voters)} of {count} voters healthy, {need} needed"
        yield blocker(
            "NO_QUORUM",
            "etcd",
            f"no member serves a linearizable read ({seen})",
            "start the stopped members; if they are lost: patronictl-etcd recover collect -o evidence.json",
            transient=True,
        )


def check_plan_fits(etcd: EtcdView, change: Change) -> tuple[Finding, ...]:
    """Return why a change that was planned earlier is not for this membership; nothing when it is."""
    return (*_check_identity(etcd, change), *_check_membership(etcd, change))


def _check_membership(etcd: EtcdView, change: Change) -> Iterator[Finding]:
    """Every member must be one the operation began with, or a new one on a joiner's seat."""
    yield from check_identities(etcd, change)
    yield from check_promoted(etcd, change)
    known = {ref.id for ref in (*change.victims, *change.others)}
    seats = {url for seat in change.seats for url in seat.peer_urls}
    for view in etcd.members:
        if view.id not in known and not seats & set(view.member.peer_urls):
            yield _membership_changed(view, "was added by somebody else")
    for ref in change.others:
        if etcd.by_id(ref.id) is None and not seats & set(ref.peer_urls):
            yield blocker(
                "MEMBERSHIP_CHANGED",
                ref.name,
                f"member {format_id(ref.id)} was removed by somebody else",
                "patronictl-etcd abort; then start a new operation from what is there",
            )


def _membership_changed(view: MemberView, what: str) -> Finding:
    urls = ", ".join(view.member.peer_urls)
    return blocker(
        "MEMBERSHIP_CHANGED",
        view.member.name or urls,
        f"member {format_id(view.id)} ({urls}) {what}",
        f"remove it (etcdctl member remove {format_id(view.id)}) and resume, or: patronictl-etcd abort",
    )


def check_alarms(etcd: EtcdView) -> Iterator[Finding]:
    """Block on any alarm: NOSPACE refuses writes, CORRUPT means that a member can't be trusted."""
    remedy = "cure its cause, then: etcdctl alarm disarm"
    for view in etcd.members:
        for kind in view.alarms:
            yield blocker("ALARM", view.member.name, f"alarm {kind} is raised", remedy)


DOWN_FOR_A_WHILE = (RestartMember, UpgradeMember, UpdatePeerUrls, ReaddressMember, StopMember)


def _check_effect(seen: Observation, step: Step) -> Iterator[Finding]:
    """What the step itself must find: laws 2 and 3, and a learner that may be promoted."""
    if isinstance(step, RemoveMember):
        yield from _check_removal(seen.etcd, step.member)
    elif isinstance(step, DOWN_FOR_A_WHILE):
        yield from _check_restart(seen.etcd, step.member)
    elif isinstance(step, StartMoved):
        yield from _check_restart_of_moved(seen.etcd, step.member)
    elif isinstance(step, PromoteLearner):
        view = seen.etcd.by_peer_urls(step.seat.peer_urls)
        if view is None or view.health is not Health.HEALTHY:
            yield blocker(
                "LEARNER_UNHEALTHY",
                step.seat.name,
                "the learner does not answer for itself, so it must not vote",
                f"look at the etcd log of {step.seat.name}, then: patronictl-etcd resume",
                transient=True,
            )
    elif isinstance(step, AddLearner) and seen.etcd.learners:
        yield _membership_changed(seen.etcd.learners[0], "is a learner already; etcd allows one at a time")


def _check_restart(etcd: EtcdView, member: MemberRef) -> Iterator[Finding]:
    """A member that is down still counts as a voter: the others must be a quorum of all."""
    view, count = etcd.by_id(member.id), len(etcd.voters)
    healthy = healthy_without(etcd, member.id)
    if view and not view.member.is_learner and not has_quorum_while_down(etcd, member.id):
        yield blocker(
            "NO_QUORUM_AFTER",
            member.name,
            f"while it is down {healthy} of {count} voters would be healthy, {quorum(count)} are needed",
            _mend(etcd, "or add members"),
            transient=True,
        )
    yield from _check_leader(etcd, member)


def _check_restart_of_moved(etcd: EtcdView, member: MemberRef) -> Iterator[Finding]:
    """Whoever runs on its copy already, started by a run that was killed, may be stopped once more."""
    view = etcd.by_id(member.id)
    if view and view.status is not None:
        yield from _check_restart(etcd, member)


def _mend(etcd: EtcdView, otherwise: str) -> str:
    ill = next((v for v in etcd.voters if v not in etcd.healthy_voters), None)
    who = (ill.member.name or format_id(ill.id)) if ill else "the members that are missing"
    return f"see patronictl-etcd status; bring {who} back first, {otherwise.format(who)}"


def _check_removal(etcd: EtcdView, member: MemberRef) -> Iterator[Finding]:
    view = etcd.by_id(member.id)
    if view and not view.member.is_learner and not survives_without(etcd, member.id):
        left = len(etcd.voters) - 1
        healthy = healthy_without(etcd, member.id)
        yield blocker(
            "NO_QUORUM_AFTER",
            member.name,
            f"without it {healthy} of {left} voters would be healthy, {quorum(left)} are needed",
            _mend(etcd, "or replace it first: patronictl-etcd replace {}"),
            transient=True,
        )
    yield from _check_leader(etcd, member)


def _check_leader(etcd: EtcdView, member: MemberRef) -> Iterator[Finding]:
    if etcd.leader_id == member.id:
        yield blocker(
            "LEADER_NOT_MOVED",
            member.name,
            "it is the raft leader, and no healthy voter could take over",
            "bring another voter back first",
            transient=True,
        )


ON_A_NODE = (
    RestartMember,
    UpgradeMember,
    UpdatePeerUrls,
    ReaddressMember,
    SetDataAside,
    AddLearner,
    StartMember,
)


def _check_node(seen: Observation, step: Step, change: Change) -> Iterator[Finding]:
    """A member that comes back on its seat needs a node that can be controlled before it is removed."""
    successor = change.successor_of(step.member) if isinstance(step, RemoveMember) else None
    if not (successor or isinstance(step, ON_A_NODE)):
        return
    name = successor.name if successor else subject(step)
    problem = problem_of(seen.nodes.get(name))
    if problem:
        yield blocker(
            "NODE_CONTROL",
            name,
            problem,
            "correct the node's entry in the inventory (-i), then: patronictl-etcd preflight",
        )


def check_calm(cluster: PatroniCluster, now: float, policy: Policy) -> Iterator[Finding]:
    """Block unless the cluster has a leader that renewed its lease just now and nothing is in motion."""
    if cluster.leader is None or cluster.lease is None:
        unread = f"the lease of leader {cluster.leader} can't be read"
        yield blocker(
            "PATRONI_NO_LEADER",
            cluster.scope,
            unread if cluster.leader else "the Patroni cluster has no leader",
            f"patronictl list {cluster.scope}; wait until it has one",
            transient=True,
        )
    elif now - cluster.lease.renewed_after > cluster.loop_wait + LEASE_GRACE:
        yield _stale_lease(cluster, now - cluster.lease.renewed_after, cluster.loop_wait + LEASE_GRACE)
    if cluster.failover:
        yield blocker(
            "PATRONI_FAILOVER_PENDING",
            cluster.scope,
            f"a failover or switchover is pending: {cluster.failover}",
            f"wait for it, or: patronictl flush {cluster.scope} switchover",
            transient=True,
        )
    yield from _check_modes(cluster, policy)


def _check_modes(cluster: PatroniCluster, policy: Policy) -> Iterator[Finding]:
    if cluster.paused:
        yield blocker(
            "PATRONI_PAUSED",
            cluster.scope,
            "Patroni is paused: a primary that fails now would not be replaced",
            f"patronictl resume {cluster.scope}, or --accept PATRONI_PAUSED",
        )
    if not cluster.failsafe_mode and policy.failsafe == "require":
        yield blocker(
            "FAILSAFE_OFF",
            cluster.scope,
            "failsafe_mode is off: if etcd loses quorum, the primary demotes itself",
            f"patronictl edit-config {cluster.scope} -s failsafe_mode=true, or --shield for the operation",
        )


def _stale_lease(cluster: PatroniCluster, age: float, allowed: float) -> Finding:
    return blocker(
        "PATRONI_LEASE_STALE",
        cluster.scope,
        f"leader {cluster.leader} renewed its lease up to {age:.0f} s ago, {allowed:.0f} s are allowed",
        f"patronictl list {cluster.scope}; look at the Patroni log of {cluster.leader}",
        transient=True,
    )


def check_budget(cluster: PatroniCluster, gap: float) -> Iterator[Finding]:
    """Block when the worst write gap does not fit into what Patroni can sit out (law 4)."""
    if gap > 0 and gap >= cluster.write_gap_budget:
        yield blocker(
            "WRITE_GAP_BUDGET",
            cluster.scope,
            f"a DCS write gap of up to {gap:.2f} s is possible, the budget is "
            f"{cluster.write_gap_budget:.1f} s (retry_timeout {cluster.retry_timeout:.0f} s less 3 s)",
            f"patronictl edit-config {cluster.scope} -s retry_timeout=10",
        )
