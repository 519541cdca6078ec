"""Who else could bring the old cluster back, and what proves that they will not.

Two old members that start while the survivor is away are a majority of the same cluster: both sides then
take writes. So each of them must be stopped by us, and proven so, or declared lost by name; what the operator
declares is checked against what was seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.findings import Finding, blocker
from patroni_etcd_reconfig.core.model import Member, format_id
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence
from patroni_etcd_reconfig.core.recovery.holders import Holder
from patroni_etcd_reconfig.core.recovery.model import Fence

COLLECT = "patronictl-etcd recover collect"


def fences_around(
    survivor: str, evidence: Evidence, holders: Iterable[Holder], lost: frozenset[str]
) -> tuple[Fence, ...]:
    """Return every other member of any member list that was found, and every other copy of the data.

    `holders` come the most advanced first: of several ids on one node the latest counts.
    """
    found: dict[str, Fence] = {}
    hub = evidence.node(survivor)
    for holder in holders:
        own = Member(holder.member_id, holder.name, holder.node.peer_urls, holder.node.client_urls)
        stored = holder.node.data.members if holder.node.data else ()
        for member in (*holder.members, *stored, own):
            node = node_of(member, evidence)
            fence = fence_of(member, node, lost, hub)
            if fence.node != survivor:
                found.setdefault(fence.node, fence)
    return tuple(found[name] for name in sorted(found))


def node_of(member: Member, evidence: Evidence) -> NodeEvidence | None:
    """Return a member's node: by its id first, since addresses can be new and names can be used again."""
    for node in evidence.nodes:
        if member.id in ids_on(node):
            return node
    for node in evidence.nodes:
        if set(node.peer_urls) & set(member.peer_urls) and not ids_on(node):
            return node
    return next((node for node in evidence.nodes if member.name and node.name == member.name), None)


def ids_on(node: NodeEvidence) -> set[int]:
    """Return the ids of the members that a node runs, or has the data of."""
    live = {node.live.status.member_id} if node.live else set()
    return live | ({node.data.member_id} if node.data else set())


def fencing_findings(
    fences: Iterable[Fence], evidence: Evidence, lost: frozenset[str], survivor: str
) -> Iterator[Finding]:
    """Return what is not proven: members that may run on, and losses that contradict what was seen."""
    fences, hub = tuple(fences), evidence.node(survivor)
    for fence in fences:
        node = evidence.node(fence.node)
        if not fence.lost and is_beyond(node, hub):
            yield _unproven(fence, node)
    for name in sorted(lost):
        yield from _contradictions(name, fences, evidence, survivor)


def fence_of(
    member: Member, node: NodeEvidence | None, lost: frozenset[str], hub: NodeEvidence | None
) -> Fence:
    """Return what keeps a member from coming back with its old data; `hub` is the survivor's node."""
    name = node.name if node else member.name or format_id(member.id)
    urls = (node.peer_urls if node else ()) or member.peer_urls
    client_urls = (node.client_urls if node else ()) or member.client_urls
    # One within reach that is empty is stopped like any other, whatever was declared.
    gone = is_beyond(node, hub) and (name in lost or is_empty(node))
    return Fence(name, member.id, Seat(name, urls, client_urls), gone)


def is_beyond(node: NodeEvidence | None, hub: NodeEvidence | None) -> bool:
    """True when the machine that controls the survivor (`hub`) can't stop this node: only another can."""
    return node is None or not node.reachable or (hub is not None and node.collected_by != hub.collected_by)


def is_empty(node: NodeEvidence | None) -> bool:
    """True when somebody has looked, and neither a service runs there nor is there any data."""
    return bool(node and node.reachable and node.service_active is False and node.data_present is False)


def contradicts_loss(node: NodeEvidence | None) -> bool:
    """True when a node can be looked at and is not empty; one whose data is gone is lost, as was declared."""
    return node is not None and node.reachable and not is_empty(node)


def _unproven(fence: Fence, node: NodeEvidence | None) -> Finding:
    if node and (node.live or node.answers):
        return blocker(
            "RECOVERY_NOT_FENCED",
            fence.node,
            "its etcd answers, and its node can't be controlled, so nothing can stop it: "
            + (node.problem or "it is not in the inventory"),
            f"run {COLLECT} -o FILE there and hand its file in too, or correct the inventory",
        )
    if node and node.reachable:
        return _elsewhere(fence, node)
    problem = node.problem if node else "it is not in the inventory"
    return blocker(
        "RECOVERY_NOT_FENCED",
        fence.node,
        f"not proven stopped: {problem or 'nobody could look at it'}. Out of reach is not stopped: with "
        "others like it, it can go on as the old cluster",
        f"make it reachable and collect again, or run {COLLECT} -o FILE there and hand its file in too; if "
        f"its machine or its data is gone for good: --lost {fence.node}",
    )


def _elsewhere(fence: Fence, node: NodeEvidence) -> Finding:
    """Another machine has looked at it, so that the survivor's can't hold it stopped: it must be empty."""
    state = "runs" if node.service_active else "is stopped, and its data is in place"
    return blocker(
        "RECOVERY_NOT_FENCED",
        fence.node,
        f"it {state} on another machine ({node.collected_by}), where this one can't hold it stopped",
        f"on {node.collected_by}: stop its etcd, disable its service, rename its data dir; then {COLLECT} "
        "-o FILE there, and hand that file in",
    )


def _contradictions(
    name: str, fences: tuple[Fence, ...], evidence: Evidence, survivor: str
) -> Iterator[Finding]:
    node = evidence.node(name)
    if node and (node.live or node.answers):
        detail = "it is declared lost, and its etcd answers"
    elif contradicts_loss(node):
        detail = "it is declared lost, and its node can be reached and controlled"
    elif name == survivor:
        detail = "it is declared lost, and only its data can go on"
    elif not any(fence.node == name for fence in fences):
        known = ", ".join(fence.node for fence in fences) or "none"
        detail = f"it is declared lost, and no member is called so; the others are: {known}"
    else:
        return
    yield blocker("RECOVERY_LOST_WRONG", name, detail, f"leave out --lost {name}")
