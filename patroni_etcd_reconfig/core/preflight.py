"""Everything that can be known before the first step to be wrong, all at once."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.changes import Change, Seat
from patroni_etcd_reconfig.core.findings import Finding, accepted, blocker, info, warning
from patroni_etcd_reconfig.core.gates import (
    check_alarms,
    check_budget,
    check_calm,
    check_quorum,
    node_problem,
)
from patroni_etcd_reconfig.core.hazards import check_hazards, parse_version
from patroni_etcd_reconfig.core.model import EtcdView, Health, NodeView, Observation
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.quorum import failure_tolerance
from patroni_etcd_reconfig.core.steps import worst_write_gap

# etcd's default --quota-backend-bytes when a member doesn't say (server/storage/quota.go, DefaultQuotaBytes).
DEFAULT_QUOTA = 2 * 1024**3
QUOTA_WARNING, QUOTA_BLOCKER = 0.80, 0.95


def examine(seen: Observation, change: Change, policy: Policy) -> tuple[Finding, ...]:
    """Return all findings for a change that has not begun; blockers first."""
    findings = (*_state(seen, policy), *_prospects(seen, change, policy))
    return _sorted(accepted(findings, policy.accept))


def examine_state(seen: Observation, policy: Policy) -> tuple[Finding, ...]:
    """Return what is worth knowing of the state alone, whatever is to be changed; blockers first."""
    return _sorted(accepted(_state(seen, policy), policy.accept))


def _sorted(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    order = ["blocker", "warning", "info"]
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity.value)))


def _state(seen: Observation, policy: Policy) -> Iterator[Finding]:
    yield from check_quorum(seen.etcd)
    yield from check_alarms(seen.etcd)
    yield from _check_voters(seen.etcd)
    yield from _check_size(seen.etcd, policy)
    yield from _check_learners(seen.etcd)
    yield from _check_lag(seen.etcd, policy)
    yield from _check_versions(seen.etcd)
    yield from check_hazards(seen.etcd)
    yield from _check_quota(seen.etcd)
    yield from _check_patroni(seen, policy)
    yield from _check_hosts(seen)


def _prospects(seen: Observation, change: Change, policy: Policy) -> Iterator[Finding]:
    """What stands in the way of this change."""
    gap = max((worst_write_gap(step) for step in make_plan(seen, change).steps), default=0.0)
    for cluster in seen.patroni:
        yield from check_budget(cluster, gap)
    for victim in change.victims:
        yield from _check_node(seen, victim.seat, policy)
    yield from _check_snapshot_space(seen, policy)


def _check_voters(etcd: EtcdView) -> Iterator[Finding]:
    for view in etcd.voters:
        if view.health is not Health.HEALTHY:
            last_words = f": {view.error}" if view.error else ""
            yield blocker(
                "MEMBER_UNHEALTHY",
                view.member.name or ", ".join(view.member.peer_urls),
                f"voter is {view.health.value}{last_words}",
                "bring it back first, or pass knowingly with --accept MEMBER_UNHEALTHY when it is "
                "itself the member to replace",
            )
        elif view.connected_to is not None:
            yield from _check_connections(etcd, view.id, view.member.name, view.connected_to)


def _check_connections(etcd: EtcdView, own: int, name: str, connected: frozenset[int]) -> Iterator[Finding]:
    missing = [v.member.name for v in etcd.healthy_voters if v.id != own and v.id not in connected]
    if missing:
        yield blocker(
            "NOT_CONNECTED",
            name,
            f"has no live connection to {', '.join(missing)}",
            "check the network between the peers (port 2380), and wait 5 s after a restart",
            transient=True,
        )


def _check_size(etcd: EtcdView, policy: Policy) -> Iterator[Finding]:
    count = len(etcd.voters)
    if count < policy.min_voters:
        yield blocker(
            "TOO_FEW_VOTERS",
            "etcd",
            f"{count} voters, at least {policy.min_voters} are wanted: replacing one in place would leave "
            f"{count - 1}",
            "add members first",
        )
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


def _check_learners(etcd: EtcdView) -> Iterator[Finding]:
    for view in etcd.learners:
        yield blocker(
            "LEARNER_PRESENT",
            view.member.name or ", ".join(view.member.peer_urls),
            f"learner {view.id:x} is in the list, and etcd allows one at a time",
            f"promote it or remove it: etcdctl member promote|remove {view.id:x}",
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


def _check_versions(etcd: EtcdView) -> Iterator[Finding]:
    versions = {view.member.name: view.status.version for view in etcd.members if view.status}
    minors = {(parse_version(text) or (0, 0, 0))[:2] for text in versions.values()}
    if len(minors) > 1:
        seen = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        yield blocker(
            "VERSION_SKEW", "etcd", f"different minor versions: {seen}", "finish the upgrade of all members"
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


def _check_hosts(seen: Observation) -> Iterator[Finding]:
    """Patroni reads its host list only at its start: then one of them must still be a member."""
    live = {url.split("://", 1)[-1] for view in seen.etcd.members for url in view.member.client_urls}
    for hosts in seen.patroni_hosts:
        good = live & set(hosts.endpoints)
        if not good:
            yield blocker(
                "HOSTS_STALE",
                hosts.source,
                f"none of its etcd hosts ({', '.join(hosts.endpoints)}) is a member",
                f"list the members there: {', '.join(sorted(live))}",
            )
        elif len(good) == 1 and len(seen.etcd.voters) > 1:
            yield warning(
                "HOSTS_SINGLE",
                hosts.source,
                f"only {next(iter(good))} of its etcd hosts is a member: "
                "Patroni can't start when that one is down",
                f"list the members there: {', '.join(sorted(live))}",
            )


def _check_node(seen: Observation, seat: Seat, policy: Policy) -> Iterator[Finding]:
    node = seen.nodes.get(seat.name)
    problem = node_problem(node)
    if problem:
        yield blocker("NODE_CONTROL", seat.name, problem, "correct the node's entry in the inventory (-i)")
    if node and not problem:
        yield from _check_node_state(seen, node, policy)


def _check_node_state(seen: Observation, node: NodeView, policy: Policy) -> Iterator[Finding]:
    view = next(v for v in seen.etcd.members if v.member.name == node.name)
    if node.data_is_mount:
        yield blocker(
            "DATA_DIR_IS_MOUNT",
            node.name,
            "the data dir is a mount point and can't be renamed aside",
            "move the data into a directory below the mount point",
        )
    if view.status and not node.service_active:
        yield blocker(
            "NODE_MISMATCH",
            node.name,
            "the member answers, but its service is not active on the node the inventory names",
            "correct host, service or commands of the node in the inventory",
        )
    if node.data and node.data.member_id != view.id:
        yield blocker(
            "NODE_MISMATCH",
            node.name,
            f"the data dir holds member {node.data.member_id:x}, the list says {view.id:x}",
            "correct data_dir of the node in the inventory",
        )
    need = _largest_db(seen.etcd) + policy.min_free_bytes
    if node.data_free_bytes is not None and node.data_free_bytes < need:
        yield _disk_space(node.name, "the data dir", node.data_free_bytes, need)


def _check_snapshot_space(seen: Observation, policy: Policy) -> Iterator[Finding]:
    need = _largest_db(seen.etcd) + policy.min_free_bytes
    if seen.state_dir_free_bytes is not None and seen.state_dir_free_bytes < need:
        yield _disk_space("this machine", "the snapshot (state_dir)", seen.state_dir_free_bytes, need)


def _disk_space(subject: str, what: str, free: int, need: int) -> Finding:
    mib = 1024**2
    return blocker(
        "DISK_SPACE",
        subject,
        f"{free // mib} MiB free for {what}, {need // mib} MiB needed",
        "make room, or set state_dir or min_free_bytes in the inventory's policy",
    )


def _largest_db(etcd: EtcdView) -> int:
    return max((view.status.db_size for view in etcd.members if view.status), default=0)
