"""What stands in the way of a restore, asked when it is planned and again before its first step: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from patroni_etcd_reconfig.core.findings import Finding, blocker, warning
from patroni_etcd_reconfig.core.recovery import obstacles
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence
from patroni_etcd_reconfig.core.recovery.holders import Holder, holders_in, voters_of
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan

# etcd allocates its log in pieces of this many bytes (server/storage/wal, SegmentSizeBytes).
WAL_BYTES = 64_000_000


def check_restore(plan: RecoveryPlan, seen: Evidence, reserve: int) -> Iterator[Finding]:
    """Return what stands in the way of a restore now, before its first step; `reserve` bytes stay free."""
    again = "make the plan again: patronictl-etcd restore"
    node = seen.node(plan.survivor.node) if plan.survivor else None
    yield from serving(seen)
    yield from majority_running(holders_in(seen))
    yield from about_node(node, _name(plan))
    yield from check_room(node, plan.survivor.snapshot_size if plan.survivor else 0, reserve)
    for fence in plan.fence:
        node = seen.node(fence.node)
        if fence.lost and runs(node):
            yield blocker("LOST_ANSWERS", fence.node, "it was declared lost, but its etcd runs", again)
        elif not fence.lost and (node is None or not node.reachable):
            detail = (node.problem if node else "") or "nobody could look at it"
            yield blocker("CANNOT_FENCE", fence.node, detail, f"make it reachable, or {again}")
        elif not fence.lost and node and node.data and node.data.member_id != fence.member_id:
            detail = f"{node.data.path} holds another member's data than when the plan was made"
            yield blocker("PLAN_OTHER_CLUSTER", fence.node, detail, again)


def _name(plan: RecoveryPlan) -> str:
    return plan.survivor.node if plan.survivor else ""


def runs(node: NodeEvidence | None) -> bool:
    """True for a member that surely runs, be it that it tells nothing without a login."""
    return node is not None and bool(node.live or node.answers or node.service_active)


def serving(evidence: Evidence) -> Iterator[Finding]:
    """An etcd that serves, or has a leader, is not to be replaced by an old copy."""
    for node in evidence.nodes:
        if node.live and (node.live.quorate or evidence.has_leader(node.live)):
            yield blocker(
                "RESTORE_QUORUM_SERVES",
                node.name,
                "etcd has a quorum: a restore would throw away all that was written after the snapshot",
                "nothing is to be restored while it serves: patronictl-etcd status",
                transient=True,
            )


def majority_running(holders: Iterable[Holder]) -> Iterator[Finding]:
    """Members that run and do not find each other are a network's matter: their data is later than a file."""
    found = tuple(holders)
    for cluster_id in sorted({one.cluster_id for one in found}):
        own = [one for one in found if one.cluster_id == cluster_id]
        lists = (one.members for one in own if one.members and not one.damage)
        voters = {member.id for member in voters_of(next(lists, ()))}
        names = tuple(sorted(one.name for one in own if one.running and one.member_id in voters))
        yield from obstacles.majority_runs(names, len(voters), chosen=False)


def check_room(node: NodeEvidence | None, size: int, reserve: int) -> Iterator[Finding]:
    """Return what speaks against a database of so many bytes, and a log, beside the old data."""
    need = size + WAL_BYTES
    if node and node.data_free_bytes is not None and node.data_free_bytes < need + reserve:
        yield blocker(
            "DISK_SPACE",
            node.name,
            f"{node.data_free_bytes} bytes are free, the new data dir needs {need}, and {reserve} stay free",
            "make room there: the old data stays, too",
        )


def about_node(node: NodeEvidence | None, name: str) -> Iterator[Finding]:
    """Return what is not right on the node that gets the data."""
    if node is None or not node.reachable:
        problem = (node.problem if node else "") or "the inventory does not name it"
        remedy = "run this on its machine, with an inventory that has it with via: local"
        yield blocker("SURVIVOR_UNREACHABLE", name, problem, remedy)
    elif not node.peer_urls:
        remedy = f"put peer_url under etcd.members.{name} in the inventory"
        yield blocker("RESTORE_NO_PEER_URL", name, "nothing says what its peer URL is", remedy)
    elif node.config_problem:
        yield blocker("NODE_CONFIG", name, node.config_problem, "correct its configuration")


def revision_goes_back(name: str, revision: int) -> Finding:
    """Patroni reads all keys anew when its watch breaks; others may wait for a revision that comes again."""
    return warning(
        "RESTORE_REVISION_BACK",
        name,
        f"its restore tool can't raise revisions: they go back to {revision}, and watchers other than "
        "Patroni can miss changes",
        "restart what else watches this etcd (confd, vip-manager); 3.4.27, 3.5.10 and later can",
    )
