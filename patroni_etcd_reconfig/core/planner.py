"""From what is there and what is wanted to the steps that remain.

Pure and re-derivable: after the first k steps were done, the plan made from what is then seen is the
rest of the plan. So resuming an operation is nothing else than planning again.
"""

from __future__ import annotations

from dataclasses import dataclass

from patroni_etcd_reconfig.core.changes import Change, Cycle, MemberRef, Seat, reference
from patroni_etcd_reconfig.core.model import EtcdView, MemberView, NodeView, Observation
from patroni_etcd_reconfig.core.steps import (
    AddLearner,
    AwaitSettled,
    PromoteLearner,
    RemoveMember,
    SaveSnapshot,
    SetDataAside,
    StartMember,
    Step,
    TransferLeadership,
    Verify,
)


@dataclass(frozen=True)
class Plan:
    """The ordered steps that are left of a change."""

    change: Change
    steps: tuple[Step, ...]


def make_plan(seen: Observation, change: Change) -> Plan:
    """Return what is left to do of `change`; no steps when all is done and verified."""
    if seen.progress.verified:
        return Plan(change, ())
    return Plan(change, (*_snapshot(seen), *_plan_cycle(seen, change), Verify()))


def _snapshot(seen: Observation) -> tuple[Step, ...]:
    """A snapshot comes before the first change, through a follower to spare the leader."""
    if seen.progress.snapshot:
        return ()
    source = min(seen.etcd.healthy_voters, key=lambda view: _snapshot_order(view, seen.etcd), default=None)
    return (SaveSnapshot(_seat(source)),) if source else ()


def _snapshot_order(view: MemberView, etcd: EtcdView) -> tuple[bool, int, str]:
    return (view.id == etcd.leader_id, -_applied(view), view.member.name)


def _plan_cycle(seen: Observation, change: Cycle) -> tuple[Step, ...]:
    steps: list[Step] = []
    unsettled = [victim.seat for victim in change.victims if _joined_unsettled(seen, victim)]
    for victim in unfinished(seen.etcd, change):
        steps += [AwaitSettled(seat) for seat in unsettled]
        steps += _replace_in_place(seen, victim)
        unsettled = [victim.seat]
    return tuple(steps)


def unfinished(etcd: EtcdView, change: Change) -> list[MemberRef]:
    """Return the victims that are not replaced yet, the one that was begun first.

    After it come the followers, and the leader last (law 3).
    """
    left = [victim for victim in change.victims if not _is_replaced(etcd, victim)]
    return sorted(left, key=lambda v: (etcd.by_id(v.id) is not None, v.id == etcd.leader_id))


def _successor(etcd: EtcdView, victim: MemberRef) -> MemberView | None:
    found = etcd.by_peer_urls(victim.peer_urls)
    return found if found and found.id != victim.id else None


def _is_replaced(etcd: EtcdView, victim: MemberRef) -> bool:
    successor = _successor(etcd, victim)
    return etcd.by_id(victim.id) is None and successor is not None and not successor.member.is_learner


def _joined_unsettled(seen: Observation, victim: MemberRef) -> bool:
    successor = _successor(seen.etcd, victim)
    return (
        successor is not None
        and _is_replaced(seen.etcd, victim)
        and successor.id not in seen.progress.settled
    )


def _replace_in_place(seen: Observation, victim: MemberRef) -> list[Step]:
    """In place, removal comes before the new member: both can't hold the same peer URL."""
    seat = victim.seat
    if seen.etcd.by_id(victim.id):
        return [*_step_down(seen.etcd, victim), RemoveMember(victim), SetDataAside(seat), *_join(seat)]
    successor = _successor(seen.etcd, victim)
    if successor is None:
        return [*_leftovers(seen.nodes.get(seat.name), seat), *_join(seat)]
    return _finish_joining(seen, successor, seat)


def _join(seat: Seat) -> list[Step]:
    return [AddLearner(seat), StartMember(seat), PromoteLearner(seat)]


def _leftovers(node: NodeView | None, seat: Seat) -> list[Step]:
    """What is left of the old member must be out of the way before the new one is added."""
    return [SetDataAside(seat)] if node and (node.data_present or node.service_active) else []


def _finish_joining(seen: Observation, learner: MemberView, seat: Seat) -> list[Step]:
    """Go on with a learner that was added before, by what its node holds."""
    node = seen.nodes.get(seat.name)
    if _answers_as_itself(learner) and learner.id in seen.progress.joined:
        return [PromoteLearner(seat)]
    if node is None or _holds_data_of(node, learner) or _answers_as_itself(learner):
        return [StartMember(seat), PromoteLearner(seat)]
    if not learner.member.started:
        return [*_leftovers(node, seat), StartMember(seat), PromoteLearner(seat)]
    # It has acknowledged entries that are gone from its disk: raft can't take the same id back.
    return [RemoveMember(reference(learner.member)), *_leftovers(node, seat), *_join(seat)]


def _holds_data_of(node: NodeView, view: MemberView) -> bool:
    return node.data is not None and node.data.member_id == view.id


def _answers_as_itself(view: MemberView) -> bool:
    return view.status is not None and view.status.member_id == view.id


def _step_down(etcd: EtcdView, victim: MemberRef) -> list[Step]:
    return [TransferLeadership(victim)] if victim.id == etcd.leader_id else []


def best_transferee(etcd: EtcdView, source: int) -> MemberView | None:
    """Return the healthy voter that is most caught up, other than `source`; None when there is none."""
    candidates = [view for view in etcd.healthy_voters if view.id != source]
    return min(candidates, key=lambda view: (-_applied(view), view.member.name), default=None)


def _applied(view: MemberView) -> int:
    return view.status.raft_applied_index if view.status else 0


def _seat(view: MemberView) -> Seat:
    return Seat(view.member.name, view.member.peer_urls)
