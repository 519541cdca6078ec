"""May the data of a member move there, and is it still what it was when the next step comes?"""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.changes import Change, Relocation
from patroni_etcd_reconfig.core.findings import Finding, blocker, info
from patroni_etcd_reconfig.core.model import EtcdView, NodeView, Observation, format_id
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.relocating import holds
from patroni_etcd_reconfig.core.steps import (
    MOVING,
    CopyData,
    DiscardCopy,
    FenceOldData,
    StartMoved,
    Step,
    StopMember,
)

_INVENTORY = "correct the node's entry in the inventory (-i)"


def check_moves(seen: Observation, change: Change, policy: Policy) -> Iterator[Finding]:
    """Say what stands in the way of a move that has not begun."""
    for to in change.relocations:
        if to.target:
            source, target = seen.nodes.get(to.member.name), seen.nodes.get(to.target)
            yield from check_corruption(seen.etcd, to)
            yield from _check_source(source, to)
            yield from _check_target(target, to)
            yield from _check_room(source, target, to, policy)
            yield _inventory_afterwards(to)


def check_corruption(etcd: EtcdView, to: Relocation) -> Iterator[Finding]:
    """A copy of data that may be corrupt is worse than a new member that gets sound data."""
    for view in etcd.members:
        if "CORRUPT" in view.alarms:
            yield blocker(
                "DATA_CORRUPT",
                to.member.name,
                f"alarm CORRUPT is raised for {view.member.name}: data is not moved while it may be corrupt",
                f"replace the member instead: patronictl-etcd replace {view.member.name}",
            )


def _check_source(node: NodeView | None, to: Relocation) -> Iterator[Finding]:
    if node and not node.problem and not holds(node, to.member):
        owner = format_id(node.data.member_id) if node.data else "nobody we can tell"
        detail = f"the data dir holds {owner}, the list says {format_id(to.member.id)}"
        yield blocker("NODE_MISMATCH", to.member.name, detail, "correct data_dir in the inventory")
    if node and node.data_is_mount:
        yield _mounted(to.member.name, "the data dir")


def _check_target(node: NodeView | None, to: Relocation) -> Iterator[Finding]:
    problem = problem_of(node)
    if problem:
        yield blocker("NODE_CONTROL", to.target, problem, _INVENTORY)
    if node and node.data_is_mount:
        yield _mounted(to.target, "the new data dir")
    if node and node.service_active and to.seat.name != to.member.name:
        yield blocker(
            "NODE_IN_USE",
            to.target,
            "the service runs already",
            "stop it if it is not needed; its data dir must be empty",
        )
    if node and node.data_present:
        yield blocker(
            "TARGET_NOT_EMPTY",
            to.target,
            f"there is something in {to.target_dir}",
            "move it elsewhere, or choose another directory",
        )


def _check_room(
    source: NodeView | None, target: NodeView | None, to: Relocation, policy: Policy
) -> Iterator[Finding]:
    need = (source.data_bytes or 0 if source else 0) + policy.min_free_bytes
    free = target.data_free_bytes if target else None
    if free is not None and free < need:
        mib = 1024**2
        detail = f"{free // mib} MiB free for {to.target_dir}, {need // mib} MiB needed"
        yield blocker("DISK_SPACE", to.target, detail, "make room there, or choose another directory")


def _inventory_afterwards(to: Relocation) -> Finding:
    renamed = to.seat.name != to.member.name
    what = f"take {to.member.name} out" if renamed else f"set data_dir of {to.member.name} to {to.target_dir}"
    return info(
        "INVENTORY_AFTERWARDS",
        to.member.name,
        f"its data will be in {to.target_dir}" + (f" of {to.seat.name}" if renamed else ""),
        f"afterwards, {what} in the inventory",
    )


def _mounted(name: str, what: str) -> Finding:
    return blocker(
        "DATA_DIR_IS_MOUNT",
        name,
        f"{what} is a mount point and can't be renamed",
        "use a directory below the mount point",
    )


def problem_of(node: NodeView | None) -> str:
    """Return why a node can't be controlled; empty when it can."""
    return node.problem or node.config_problem if node else "the inventory does not name this node"


def check_move(seen: Observation, step: Step, change: Change) -> Iterator[Finding]:
    """Both nodes must be known before anything is done to one: same id twice is how data is lost."""
    if not isinstance(step, MOVING):
        return
    source = seen.nodes.get(step.member.name)
    yield from _check_known(step.member.name, source)
    for to in (*change.relocations, *change.taken_back):
        if to.member.id == step.member.id and not isinstance(step, DiscardCopy):
            yield from check_corruption(seen.etcd, to)
    if not isinstance(step, StopMember):
        target = seen.nodes.get(step.target)
        yield from _check_known(step.target, target)
        yield from _check_copy(step, source, target)


def _check_known(name: str, node: NodeView | None) -> Iterator[Finding]:
    problem = node.problem if node else "the inventory does not name this node"
    if problem:
        yield blocker("NODE_CONTROL", name, problem, f"{_INVENTORY}; then: patronictl-etcd resume")


def _check_copy(
    step: CopyData | FenceOldData | StartMoved | DiscardCopy, source: NodeView | None, target: NodeView | None
) -> Iterator[Finding]:
    if not isinstance(step, StartMoved):
        if source and target and holds(source, step.member) and holds(target, step.member):
            yield _in_two_places(step)
        return
    if source and source.data_present:
        yield blocker(
            "OLD_DATA_PRESENT",
            step.member.name,
            "there is data in its old data dir, where there should be none",
            "see whose it is, and move it elsewhere; then: patronictl-etcd resume",
        )
    if target and not holds(target, step.member):
        yield blocker(
            "COPY_MISSING",
            step.target,
            f"it does not hold the data of member {format_id(step.member.id)}",
            "bring the copy back; the old data was set aside beside its old place, and is as good",
        )


def _in_two_places(step: CopyData | FenceOldData | DiscardCopy) -> Finding:
    """Nothing that we do leads there: until the old data is set aside, the copy is where nobody starts it."""
    return blocker(
        "DATA_IN_TWO_PLACES",
        step.member.name,
        f"{step.member.name} and {step.target} both hold the data of member {format_id(step.member.id)}",
        "see which was written last, and move the other elsewhere; then: patronictl-etcd resume",
    )
