"""What comes next for a member that stays a member and is to be elsewhere, or is to stay where it was."""

from __future__ import annotations

from patroni_etcd_reconfig.core.changes import Change, MemberRef, Relocation, Seat, reference
from patroni_etcd_reconfig.core.model import EtcdView, MemberView, NodeView, Observation
from patroni_etcd_reconfig.core.simulate import best_transferee
from patroni_etcd_reconfig.core.steps import (
    CopyData,
    DiscardCopy,
    FenceOldData,
    ReaddressMember,
    RestartMember,
    StartMoved,
    Step,
    StopMember,
    TransferLeadership,
    UpdatePeerUrls,
)


def hand_over(etcd: EtcdView, member: MemberRef) -> TransferLeadership | None:
    """Law 3, where somebody can take over; where nobody can, a gate stops what comes next."""
    movable = etcd.leader_id == member.id and best_transferee(etcd, member.id) is not None
    return TransferLeadership(member) if movable else None


def reveal(etcd: EtcdView, voter: MemberView, seat: Seat) -> Step:
    """A member publishes what it advertises at its start only. It has listened on its own URL all along."""
    ref = reference(voter.member)
    return hand_over(etcd, ref) or ReaddressMember(ref, seat, seat.client_urls, seat.client_urls)


def relocate(seen: Observation, change: Change) -> Step | None:
    """One member at a time."""
    left = [to for to in change.relocations if to.member.id not in seen.progress.restarted]
    if not left:
        return None
    return _move(seen, left[0]) if left[0].target else _readdress(seen.etcd, left[0])


def _readdress(etcd: EtcdView, to: Relocation) -> Step:
    """The list comes first: a member that starts with peer URLs that nobody knows would not be reached."""
    further = ReaddressMember(to.member, to.seat, to.client_urls, to.former_client_urls)
    return hand_over(etcd, to.member) or _update(etcd, to) or further


def _update(etcd: EtcdView, to: Relocation) -> UpdatePeerUrls | None:
    view = etcd.by_id(to.member.id)
    known = view is None or set(view.member.peer_urls) == set(to.seat.peer_urls)
    return None if known else UpdatePeerUrls(to.member, to.seat.peer_urls)


def _move(seen: Observation, to: Relocation) -> Step:
    """Until the old data is set aside, it is what counts; after that there is only the copy."""
    if not holds(seen.nodes.get(to.member.name), to.member):
        if to.member.id in seen.progress.copied and not holds(seen.nodes.get(to.target), to.member):
            return FenceOldData(to.member, to.target)  # killed before the copy got its place
        started = StartMoved(to.member, to.seat, to.client_urls, to.former_client_urls, to.target)
        # It may run there already, started by a run that was killed, and lead by now.
        return hand_over(seen.etcd, to.member) or _update(seen.etcd, to) or started
    if _runs(seen, to.member):
        return hand_over(seen.etcd, to.member) or StopMember(to.member)
    if to.member.id not in seen.progress.copied:
        return CopyData(to.member, to.target)
    return FenceOldData(to.member, to.target)


def take_back(seen: Observation, change: Change) -> Step | None:
    """The member runs again on its old data; no etcd can be started on the copy, nor on half of it."""
    for to in change.taken_back:
        if to.member.id not in seen.progress.restarted and not _runs(seen, to.member):
            return RestartMember(to.member)
        if to.member.id not in seen.progress.discarded:
            return DiscardCopy(to.member, to.target)
    return None


def holds(node: NodeView | None, member: MemberRef) -> bool:
    """Tell whether a node holds the data of a member."""
    return node is not None and node.data is not None and node.data.member_id == member.id


def _runs(seen: Observation, member: MemberRef) -> bool:
    view, node = seen.etcd.by_id(member.id), seen.nodes.get(member.name)
    return (view is not None and view.status is not None) or (node is not None and node.service_active)
