"""What a step does to what is seen, without doing it: for dry runs, and for tests of every state."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.hiding import borrowed_urls
from patroni_etcd_reconfig.core.model import (
    DataDir,
    EtcdView,
    Member,
    MemberStatus,
    MemberView,
    NodeView,
    Observation,
)
from patroni_etcd_reconfig.core.steps import (
    MOVING,
    AddLearner,
    AwaitSettled,
    CopyData,
    DiscardCopy,
    FenceOldData,
    LowerShield,
    PromoteLearner,
    RaiseShield,
    ReaddressMember,
    RemoveMember,
    RestartMember,
    SaveSnapshot,
    SetDataAside,
    StartMember,
    StartMoved,
    Step,
    StopMember,
    TransferLeadership,
    UpdatePeerUrls,
    UpgradeMember,
    Verify,
)


def apply_step(seen: Observation, step: Step) -> Observation:
    """Return what would be seen after the step was done as planned."""
    if isinstance(step, (RaiseShield, LowerShield)):
        return _shield(seen, step)
    if isinstance(step, (SaveSnapshot, AwaitSettled, Verify)):
        return _note(seen, step)
    if isinstance(step, TransferLeadership):
        wanted = seen.etcd.by_peer_urls(step.target.peer_urls) if step.target else None
        target = wanted or best_transferee(seen.etcd, step.source.id)
        return replace(seen, etcd=replace(seen.etcd, leader_id=target.id if target else None))
    if isinstance(step, MOVING):
        return _move(seen, step)
    if isinstance(step, UpgradeMember):
        return _upgraded(seen, step)
    if isinstance(step, RestartMember):
        after = _up(seen, step.member.name, step.member.id)
        return _restarted(after, step.member.id)
    if isinstance(step, UpdatePeerUrls):
        return _with_member(seen, step.member.id, peer_urls=step.peer_urls)
    if isinstance(step, ReaddressMember):
        published = {"name": step.seat.name, "client_urls": step.client_urls}
        after = _up(seen, step.member.name, step.member.id)
        return _restarted(_with_member(after, step.member.id, **published), step.member.id)
    if isinstance(step, SetDataAside):
        return _with_node(seen, step.seat.name, active=False, data=None)
    return _change_members(seen, step)


def _shield(seen: Observation, step: RaiseShield | LowerShield) -> Observation:
    """Return what is seen once failsafe_mode is on, or what it was before."""
    raised, touched = isinstance(step, RaiseShield), {shield.scope: shield.before for shield in step.shields}
    patroni = tuple(
        replace(c, failsafe_mode=raised, failsafe_setting="true" if raised else touched[c.scope])
        if c.scope in touched
        else c
        for c in seen.patroni
    )
    shields, shielded = seen.progress.shields, seen.progress.shielded
    left = {scope: before for scope, before in shields.items() if scope not in touched}
    progress = (
        replace(seen.progress, shields={**touched, **shields}, shielded=shielded | set(touched))
        if raised
        else replace(seen.progress, shields=left, shielded=shielded - set(touched))
    )
    return replace(seen, patroni=patroni, progress=progress)


def _move(
    seen: Observation, step: StopMember | CopyData | FenceOldData | StartMoved | DiscardCopy
) -> Observation:
    """What moves data changes nodes; only a stop and a start are seen in etcd."""
    member, data = step.member, DataDir(seen.etcd.cluster_id, step.member.id)
    if isinstance(step, StopMember):
        after = _with_view(seen, member.id, status=None, serves_reads=False, connected_to=None)
        return _with_node(_copied(after, member.id, False), member.name, active=False, data=data)
    if isinstance(step, CopyData):
        return _copied(seen, member.id, True)
    if isinstance(step, FenceOldData):
        fenced = _with_node(seen, member.name, active=False, data=None)
        return _with_node(fenced, step.target, active=False, data=data)
    if isinstance(step, DiscardCopy):
        discarded = seen.progress.discarded | {member.id}
        return replace(seen, progress=replace(seen.progress, discarded=discarded))
    published = {"name": step.seat.name, "client_urls": step.client_urls}
    return _restarted(_up(_with_member(seen, member.id, **published), step.target, member.id), member.id)


def _copied(seen: Observation, member_id: int, done: bool) -> Observation:
    copied = seen.progress.copied - {member_id} | ({member_id} if done else set())
    return replace(seen, progress=replace(seen.progress, copied=copied))


def _up(seen: Observation, node: str, member_id: int) -> Observation:
    """Let a voter with its data run, if it does not."""
    status = replace(_status_like(seen, member_id), is_learner=False)
    view = seen.etcd.by_id(member_id)
    if view is None or view.status is not None:
        return seen
    after = _with_view(seen, member_id, status=status, serves_reads=True)
    return _with_node(after, node, active=True, data=DataDir(seen.etcd.cluster_id, member_id))


def _with_view(seen: Observation, member_id: int, **facts: Any) -> Observation:
    """Return the observation with other facts about what one member answers."""
    return _with_members(
        seen,
        tuple(replace(view, **facts) if view.id == member_id else view for view in seen.etcd.members),
    )


def best_transferee(etcd: EtcdView, source: int | None) -> MemberView | None:
    """Return the healthy voter that is most caught up, other than `source`; None when there is none."""
    candidates = [view for view in etcd.healthy_voters if view.id != source]
    return min(candidates, key=lambda view: (-_applied(view), view.member.name), default=None)


def _applied(view: MemberView) -> int:
    return view.status.raft_applied_index if view.status else 0


def _upgraded(seen: Observation, step: UpgradeMember) -> Observation:
    after = _up(seen, step.member.name, step.member.id)
    view = after.etcd.by_id(step.member.id)
    if view and view.status and step.to_version:
        after = _with_view(after, view.id, status=replace(view.status, version=step.to_version))
    return _restarted(after, step.member.id)


def _restarted(seen: Observation, member_id: int) -> Observation:
    restarted = seen.progress.restarted | {member_id}
    return replace(seen, progress=replace(seen.progress, restarted=restarted))


def _with_member(seen: Observation, member_id: int, **facts: Any) -> Observation:
    """Return the observation with other facts about one member in the list."""
    return _with_members(
        seen,
        tuple(
            replace(view, member=replace(view.member, **facts)) if view.id == member_id else view
            for view in seen.etcd.members
        ),
    )


def _note(seen: Observation, step: SaveSnapshot | AwaitSettled | Verify) -> Observation:
    progress = seen.progress
    if isinstance(step, SaveSnapshot):
        progress = replace(progress, snapshot="simulated")
    elif isinstance(step, AwaitSettled):
        progress = replace(progress, settled=progress.settled | {_on_seat(seen, step.seat).id})
    else:
        progress = replace(progress, verified=True)
    return replace(seen, progress=progress)


def _change_members(
    seen: Observation, step: RemoveMember | AddLearner | StartMember | PromoteLearner
) -> Observation:
    members = seen.etcd.members
    if isinstance(step, RemoveMember):
        kept = tuple(view for view in members if view.id != step.member.id)
        return replace(seen, etcd=replace(seen.etcd, members=kept))
    if isinstance(step, AddLearner):
        return _with_members(seen, (*members, MemberView(_new_member(seen, step.seat))))
    view = _on_seat(seen, step.seat)
    if isinstance(step, PromoteLearner):
        said = replace(view.status, is_learner=False) if view.status else None
        promoted = replace(
            view, member=replace(view.member, is_learner=False), status=said, serves_reads=True
        )
        return _with_members(seen, tuple(promoted if v.id == view.id else v for v in members))
    return _started(seen, view, step)


def _started(seen: Observation, view: MemberView, step: StartMember) -> Observation:
    seat, name = step.seat, step.seat.name
    published = borrowed_urls(seen.etcd, seat) if step.hidden else seat.client_urls
    member = replace(view.member, name=name, client_urls=published or view.member.client_urls)
    up = replace(view, member=member, status=_status_like(seen, view.id))
    after = _with_members(seen, tuple(up if v.id == view.id else v for v in seen.etcd.members))
    after = _with_node(after, name, active=True, data=DataDir(seen.etcd.cluster_id, view.id))
    joined = {**after.progress.joined, view.id: 0.0}
    return replace(after, progress=replace(after.progress, joined=joined))


def _new_member(seen: Observation, seat: Seat) -> Member:
    """Return a member with an id nobody had: as etcd does, a hash of peer URLs and of the moment."""
    moment = f"{' '.join(seat.peer_urls)} {len(seen.progress.joined)}"
    new_id = int.from_bytes(hashlib.sha256(moment.encode()).digest()[:8], "big")
    return Member(new_id, "", seat.peer_urls, is_learner=True)


def _status_like(seen: Observation, member_id: int) -> MemberStatus:
    unknown = MemberStatus(seen.etcd.cluster_id, member_id, "", 0, seen.etcd.leader_id, 0, 0, 0)
    pattern = next((view.status for view in seen.etcd.members if view.status), unknown)
    return replace(pattern, member_id=member_id, is_learner=True, errors=())


def _on_seat(seen: Observation, seat: Seat) -> MemberView:
    found = seen.etcd.by_peer_urls(seat.peer_urls)
    if found is None:
        raise LookupError(f"nobody sits on {', '.join(seat.peer_urls)}")
    return found


def _with_members(seen: Observation, members: tuple[MemberView, ...]) -> Observation:
    return replace(seen, etcd=replace(seen.etcd, members=members))


def _with_node(seen: Observation, name: str, *, active: bool, data: DataDir | None) -> Observation:
    node = seen.nodes.get(name, NodeView(name))
    changed = replace(node, service_active=active, data=data, data_present=data is not None)
    return replace(seen, nodes={**seen.nodes, name: changed})
