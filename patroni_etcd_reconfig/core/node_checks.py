"""Can each node be controlled, and is what lies on it what we think?"""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.changes import Change, MemberRef, Seat
from patroni_etcd_reconfig.core.findings import Finding, blocker, info, warning
from patroni_etcd_reconfig.core.model import EtcdView, Health, MemberView, NodeView, Observation, format_id
from patroni_etcd_reconfig.core.move_checks import problem_of
from patroni_etcd_reconfig.core.policy import Policy

MIB = 1024**2
# Above this, etcd's guide to runtime reconfiguration recommends to migrate the data dir of a member.
LARGE = 50 * MIB


def check_node(seen: Observation, seat: Seat, change: Change, policy: Policy) -> Iterator[Finding]:
    """Block unless a new member can be brought up on the seat's node."""
    node, view = seen.nodes.get(seat.name), _occupant(seen.etcd, seat, change)
    problem = problem_of(node)
    if problem and not (node is None and view and view.member.is_learner):
        yield blocker("NODE_CONTROL", seat.name, problem, "correct the node's entry in the inventory (-i)")
    if node and not problem:
        yield from _check_place(node)
        yield from _check_room(seen, node, policy)
        yield from _check_member(node, view) if view else _check_vacancy(node)


def _occupant(etcd: EtcdView, seat: Seat, change: Change) -> MemberView | None:
    """Return the member that the seat's node runs now: the victim that leaves it, or who sits there."""
    leaving = next((victim for victim in change.victims if victim.name == seat.name), None)
    view = etcd.by_id(leaving.id) if leaving else None
    return view or etcd.by_peer_urls(seat.peer_urls)


def check_departing(seen: Observation, victim: MemberRef, change: Change) -> Iterator[Finding]:
    """Warn when the node of a member that goes for good can't be cleaned up by us."""
    problem = problem_of(seen.nodes.get(victim.name))
    successor = change.successor_of(victim)
    if problem and (successor is None or successor.name != victim.name):
        yield warning(
            "NODE_LEFT_BEHIND",
            victim.name or format_id(victim.id),
            f"its service and data stay as they are: {problem}",
            "etcd ends by itself when it learns of its removal; disable its service and set its data aside",
        )


def _check_place(node: NodeView) -> Iterator[Finding]:
    if node.data_is_mount:
        yield blocker(
            "DATA_DIR_IS_MOUNT",
            node.name,
            "the data dir is a mount point and can't be renamed aside",
            "move the data into a directory below the mount point",
        )


def _check_room(seen: Observation, node: NodeView, policy: Policy) -> Iterator[Finding]:
    need = largest_db(seen.etcd) + policy.min_free_bytes
    if node.data_free_bytes is not None and node.data_free_bytes < need:
        yield disk_space(node.name, "the data dir", node.data_free_bytes, need)


def _check_member(node: NodeView, view: MemberView) -> Iterator[Finding]:
    """The node must be the one that runs the member that the list shows on this seat."""
    if view.status and not node.service_active:
        yield _mismatch(node, "the member answers, but its service is not active on the node")
    if node.data and node.data.member_id != view.id:
        yield _mismatch(node, f"the data dir holds member {node.data.member_id:x}, the list says {view.id:x}")


def _check_vacancy(node: NodeView) -> Iterator[Finding]:
    """A node for a new member must not run an etcd already: it could be somebody's."""
    if node.service_active:
        owner = (
            f"member {node.data.member_id:x} of cluster {node.data.cluster_id:x}" if node.data else "an etcd"
        )
        yield blocker(
            "NODE_IN_USE",
            node.name,
            f"the service runs already, with the data of {owner}",
            "stop it if it is not needed; its data will be set aside, not deleted",
        )


def _mismatch(node: NodeView, detail: str) -> Finding:
    remedy = "correct host, data_dir, service or commands of the node in the inventory"
    return blocker("NODE_MISMATCH", node.name, detail, remedy)


def disk_space(subject: str, what: str, free: int, need: int) -> Finding:
    """Return the finding for a disk that is too full."""
    return blocker(
        "DISK_SPACE",
        subject,
        f"{free // MIB} MiB free for {what}, {need // MIB} MiB needed",
        "make room, or set state_dir or min_free_bytes in the inventory's policy",
    )


def largest_db(etcd: EtcdView) -> int:
    """Return the size of the largest database, in bytes."""
    return max((view.status.db_size for view in etcd.members if view.status), default=0)


def check_size_of_data(etcd: EtcdView, change: Change) -> Iterator[Finding]:
    """Tell of the other way: a member whose data is good need not get it anew over the network."""
    views = (etcd.by_id(victim.id) for victim in change.victims if change.joiners)
    large = [v for v in views if v and v.health is Health.HEALTHY and v.status and v.status.db_size > LARGE]
    if large:
        size = max(view.status.db_size for view in large if view.status) // MIB
        yield info(
            "DB_LARGE",
            ", ".join(view.member.name for view in large),
            f"the database has {size} MiB, which each new member gets over the network: that is safe, as it "
            "votes only once it has caught up, but takes long; above 50 MB etcd's guide to runtime "
            "reconfiguration recommends to migrate the data dir",
            _migration(change, large[0]),
        )


def _migration(change: Change, view: MemberView) -> str:
    """A move of data needs another place: in place there is nothing to migrate."""
    gone = {victim.name for victim in change.victims}
    new = next((seat.name for seat in change.joiners if seat.name not in gone), None)
    if new:
        return (
            f"to keep the member and its data: patronictl-etcd move-data {view.member.name} --to-host {new}"
        )
    return (
        "nothing, if its data shall be made new; to keep the data on another node or in another directory: "
        f"patronictl-etcd move-data {view.member.name}, with --to-host or --to-dir"
    )
