"""Everything that can be known before the first step to be wrong, all at once."""

from __future__ import annotations

from collections.abc import Iterator, Set

from patroni_etcd_reconfig.core.changes import Change, MemberRef
from patroni_etcd_reconfig.core.findings import Finding, accepted, blocker, info, warning
from patroni_etcd_reconfig.core.gates import (
    check_alarms,
    check_budget,
    check_calm,
    check_quorum,
)
from patroni_etcd_reconfig.core.hazards import check_hazards
from patroni_etcd_reconfig.core.host_checks import check_hosts, check_hosts_after
from patroni_etcd_reconfig.core.model import EtcdView, Health, MemberView, Observation, format_id
from patroni_etcd_reconfig.core.move_checks import check_moves, problem_of
from patroni_etcd_reconfig.core.node_checks import (
    check_departing,
    check_node,
    check_size_of_data,
    disk_space,
    largest_db,
)
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.quorum import failure_tolerance, quorum
from patroni_etcd_reconfig.core.relocation_checks import (
    check_client_urls,
    check_identities,
    check_inventory_after,
    check_learners,
    check_own_urls,
)
from patroni_etcd_reconfig.core.steps import worst_write_gap
from patroni_etcd_reconfig.core.upgrade_checks import check_upgrade, check_versions
from patroni_etcd_reconfig.core.zombies import check_set_aside, check_zombies

# etcd's default --quota-backend-bytes when a member doesn't say (server/storage/quota.go, DefaultQuotaBytes).
DEFAULT_QUOTA = 2 * 1024**3
QUOTA_WARNING, QUOTA_BLOCKER = 0.80, 0.95


def examine(seen: Observation, change: Change, policy: Policy) -> tuple[Finding, ...]:
    """Return all findings for a change that has not begun; blockers first."""
    findings = (*_state(seen, policy, upgrading=bool(change.command)), *_prospects(seen, change, policy))
    return _sorted(accepted(_shielded(findings, seen, change), policy.accept))


def _shielded(findings: tuple[Finding, ...], seen: Observation, change: Change) -> tuple[Finding, ...]:
    """With a shield, a failsafe_mode that can be turned on does not stand in the way."""
    able = {c.scope for c in seen.patroni if change.shield and c.failsafe_setting is not None}
    return tuple(
        _shield(f.subject) if f.code == "FAILSAFE_OFF" and f.subject in able else f for f in findings
    )


def _shield(scope: str) -> Finding:
    return info(
        "SHIELD",
        scope,
        "failsafe_mode is off: it is turned on for the time of the operation",
        "nothing; it is put back at the end, or by resume or abort",
    )


def examine_state(seen: Observation, policy: Policy) -> tuple[Finding, ...]:
    """Return what is worth knowing of the state alone, whatever is to be changed; blockers first."""
    findings = (*_state(seen, policy), *_check_members(seen.etcd, frozenset()))
    return _sorted(accepted(findings, policy.accept))


def _sorted(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    order = ["blocker", "warning", "info"]
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity.value)))


def _state(seen: Observation, policy: Policy, *, upgrading: bool = False) -> Iterator[Finding]:
    yield from check_quorum(seen.etcd)
    yield from check_alarms(seen.etcd)
    yield from check_zombies(seen)
    yield from check_set_aside(seen)
    if not seen.etcd.linearizable:  # leases can't be read, and no other remedy works before there is a quorum
        return
    yield from _check_connections(seen.etcd)
    yield from _check_size(seen.etcd)
    yield from _check_lag(seen.etcd, policy)
    yield from check_versions(seen.etcd, upgrading=upgrading)
    yield from check_hazards(seen.etcd, upgrading=upgrading)
    yield from _check_quota(seen.etcd)
    yield from _check_patroni(seen, policy)
    yield from check_hosts(seen.etcd, seen)


def _prospects(seen: Observation, change: Change, policy: Policy) -> Iterator[Finding]:
    """What stands in the way of this change."""
    gap = max((worst_write_gap(step) for step in make_plan(seen, change).steps), default=0.0)
    for cluster in seen.patroni:
        yield from check_budget(cluster, gap)
    seats = {url for seat in change.seats for url in seat.peer_urls}
    touched = [view.id for view in seen.etcd.members if seats & set(view.member.peer_urls)]
    exempt = frozenset(touched) | {victim.id for victim in change.victims}
    yield from _check_members(seen.etcd, exempt, {ref.id for ref in _staying(change)})
    yield from _check_voter_count(seen.etcd, change, policy)
    yield from _check_inventory(seen.etcd, change)
    for seat in change.seats:
        yield from check_node(seen, seat, change, policy)
    for victim in change.victims:
        yield from check_departing(seen, victim, change)
    yield from check_size_of_data(seen.etcd, change)
    yield from _check_relocations(seen, change, policy)
    yield from check_upgrade(seen.etcd, change)
    yield from _check_snapshot_space(seen, policy)


def _check_relocations(seen: Observation, change: Change, policy: Policy) -> Iterator[Finding]:
    yield from check_identities(seen.etcd, change)
    yield from check_client_urls(seen.etcd, change)
    yield from check_own_urls(change)
    yield from check_learners(seen.etcd, change)
    yield from check_hosts_after(seen, change)
    yield from check_inventory_after(seen, change)
    yield from check_moves(seen, change, policy)
    for ref in _staying(change):
        problem = problem_of(seen.nodes.get(ref.name))
        if problem:
            yield blocker("NODE_CONTROL", ref.name, problem, "correct the node's entry in the inventory (-i)")


def _staying(change: Change) -> tuple[MemberRef, ...]:
    """Return the members that are started again as the members they are."""
    return (*change.restarts, *(to.member for to in change.relocations))


def _check_members(
    etcd: EtcdView, exempt: frozenset[int], started_again: Set[int] = frozenset()
) -> Iterator[Finding]:
    """Every member that the change does not touch must be sound: it is what quorum rests on meanwhile.

    One that the change starts again may be down: that costs nothing more, and it can be what cures it.
    """
    for view in etcd.members:
        name = view.member.name or ", ".join(view.member.peer_urls)
        if view.id in exempt:
            continue
        if view.member.is_learner:
            yield blocker(
                "LEARNER_PRESENT",
                name,
                f"learner {format_id(view.id)} is in the list, and etcd allows one at a time",
                f"patronictl-etcd promote {name}, or patronictl-etcd remove {format_id(view.id)}",
            )
        elif view.id in started_again and view.member.started:
            continue
        elif view.health is not Health.HEALTHY and (etcd.linearizable or view.status is None):
            last_words = f": {view.error}" if view.error else ""
            other = f", or replace it first: patronictl-etcd replace {name}" if etcd.linearizable else ""
            yield blocker(
                "MEMBER_UNHEALTHY",
                name,
                f"voter is {view.health.value}{last_words or _serves_no_read(view)}",
                f"bring it back{other}",
                transient=bool(_serves_no_read(view)),
            )


def _serves_no_read(view: MemberView) -> str:
    """Say what a member lacks that is alive: an election, a slow disk or a busy machine passes."""
    alarmed = view.alarms or (view.status and view.status.errors)
    return ": it has served no read in time" if view.status and not view.serves_reads and not alarmed else ""


def _check_connections(etcd: EtcdView) -> Iterator[Finding]:
    for view in etcd.healthy_voters:
        linked = (view.connected_to or frozenset()) | {view.id}
        missing = [v.member.name for v in etcd.healthy_voters if v.id not in linked]
        if view.connected_to is not None and missing:
            yield blocker(
                "NOT_CONNECTED",
                view.member.name,
                f"has no live connection to {', '.join(missing)}",
                "check the network between the peers (port 2380), and wait 5 s after a restart",
                transient=True,
            )


def _check_size(etcd: EtcdView) -> Iterator[Finding]:
    count = len(etcd.voters)
    if count % 2 == 0:
        yield warning(
            "EVEN_SIZE",
            "etcd",
            f"{count} voters tolerate no more failures than {count - 1}",
            "use an odd number of voters",
        )
    if failure_tolerance(etcd) < 1:
        yield warning(
            "NO_TOLERANCE", "etcd", "no further member may fail now", "bring the unhealthy members back"
        )


def _check_voter_count(etcd: EtcdView, change: Change, policy: Policy) -> Iterator[Finding]:
    """Neither the end nor, for a replacement in place, the way may lead below the policy's minimum."""
    in_place = any(change.successor_of(victim) for victim in change.victims)
    fewest = min(change.size_after, len(etcd.voters)) if in_place else change.size_after
    if fewest < policy.min_voters and (in_place or change.victims):
        yield blocker(
            "TOO_FEW_VOTERS",
            "etcd",
            f"{fewest} voters, at least {policy.min_voters} are wanted",
            "add members first, or set policy.min_voters in the inventory",
        )


def _check_inventory(etcd: EtcdView, change: Change) -> Iterator[Finding]:
    """What the inventory leaves out is removed by `apply`: a partial one must not take the cluster apart."""
    asked = {ref.id for ref in (*change.victims, *change.others)}
    live = [view for view in etcd.members if view.id in asked and view.health is Health.HEALTHY]
    kept = {ref.id for ref in change.others}
    named = sum(view.id in kept for view in live)
    if change.verb == "apply" and change.victims and named < quorum(len(live)):
        yield blocker(
            "INVENTORY_PARTIAL",
            "etcd",
            f"the inventory names {named} of {len(live)} live members, and apply removes all others; "
            "it must name a majority",
            "add the missing members to the inventory, or remove those that shall go: "
            "patronictl-etcd remove NAME, or replace NAME --by NODE",
        )


def _check_lag(etcd: EtcdView, policy: Policy) -> Iterator[Finding]:
    leader = etcd.leader
    if leader is None or leader.status is None:
        return
    for view in etcd.voters:
        lag = leader.status.raft_index - view.status.raft_applied_index if view.status else 0
        if lag > policy.max_learner_lag:
            yield blocker(
                "RAFT_LAG",
                view.member.name,
                f"{lag} raft entries behind the leader, {policy.max_learner_lag} are allowed",
                "wait until it has caught up; look at its disk and network",
                transient=True,
            )


def _check_quota(etcd: EtcdView) -> Iterator[Finding]:
    for view in etcd.members:
        if view.status is None:
            continue
        quota = view.status.db_size_quota or DEFAULT_QUOTA
        share = view.status.db_size / quota
        if share >= QUOTA_WARNING:
            make = blocker if share >= QUOTA_BLOCKER else warning
            yield make(
                "DB_QUOTA",
                view.member.name,
                f"the database takes {share:.0%} of the quota of {quota / 1024**2:.0f} MiB",
                "compact and defragment, or raise --quota-backend-bytes",
            )


def _check_patroni(seen: Observation, policy: Policy) -> Iterator[Finding]:
    for cluster in seen.patroni:
        yield from check_calm(cluster, seen.at, policy)
        if not cluster.failsafe_mode and policy.failsafe != "require":
            yield warning(
                "FAILSAFE_OFF",
                cluster.scope,
                "failsafe_mode is off: if etcd loses quorum, the primary demotes itself",
                f"patronictl edit-config {cluster.scope} -s failsafe_mode=true",
            )
    if not seen.patroni:
        yield info(
            "NO_PATRONI",
            "patroni",
            "no Patroni cluster was found under the namespace",
            "check `namespace` in the Patroni file if you expected one",
        )


def _check_snapshot_space(seen: Observation, policy: Policy) -> Iterator[Finding]:
    need = largest_db(seen.etcd) + policy.min_free_bytes
    if seen.state_dir_free_bytes is not None and seen.state_dir_free_bytes < need:
        yield disk_space("this machine", "the snapshot (state_dir)", seen.state_dir_free_bytes, need)
