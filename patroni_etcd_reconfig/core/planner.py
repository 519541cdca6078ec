"""From what is there and what is wanted to the step that comes next.

Pure and re-derivable: the plan is `next_step` unfolded over the simulated effects, so the plan made
after the first k steps is the rest of the plan, and resuming is nothing else than planning again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from patroni_etcd_reconfig.core.aborting import victims_left
from patroni_etcd_reconfig.core.changes import Change, Seat, reference
from patroni_etcd_reconfig.core.hiding import hides, in_hiding, shows_early
from patroni_etcd_reconfig.core.model import EtcdView, Health, MemberView, NodeView, Observation
from patroni_etcd_reconfig.core.quorum import survives_without
from patroni_etcd_reconfig.core.relocating import hand_over, relocate, reveal, take_back
from patroni_etcd_reconfig.core.simulate import apply_step, best_transferee
from patroni_etcd_reconfig.core.steps import (
    AddLearner,
    AwaitSettled,
    LowerShield,
    PromoteLearner,
    RaiseShield,
    RemoveMember,
    RestartMember,
    SaveSnapshot,
    SetDataAside,
    Shield,
    StartMember,
    Step,
    TransferLeadership,
    UpgradeMember,
    Verify,
)
from patroni_etcd_reconfig.core.upgrade_checks import is_at_version, version_before

# More steps than any change of a cluster that etcd supports can take: a plan that is longer is a bug.
MAX_STEPS = 500


@dataclass(frozen=True)
class Plan:
    """The ordered steps that are left of a change."""

    change: Change
    steps: tuple[Step, ...]


def make_plan(seen: Observation, change: Change) -> Plan:
    """Return what is left to do of `change`; no steps when all is done and verified."""
    return Plan(change, tuple(_unfold(seen, change)))


def _unfold(seen: Observation, change: Change) -> Iterator[Step]:
    for _ in range(MAX_STEPS):
        step = next_step(seen, change)
        if step is None:
            return
        yield step
        seen = apply_step(seen, step)
    raise AssertionError(f"a plan of more than {MAX_STEPS} steps")


def next_step(seen: Observation, change: Change) -> Step | None:
    """Return the step that comes next; None when all is done and verified."""
    if seen.progress.verified:
        return _lower_shield(seen)
    done = seen.progress.snapshot or change.verb == "move-leader"  # which changes no data and no member
    snapshot = None if done else _snapshot_source(seen.etcd)
    if snapshot:
        return SaveSnapshot(_seat(snapshot))
    work = _work(seen, change)
    shield = _raise_shield(seen, change) if work else None
    if shield:
        return shield
    unsettled = _unsettled(seen, change)
    if unsettled and isinstance(work, (TransferLeadership, RemoveMember, AddLearner)):
        return AwaitSettled(unsettled)
    # An abort closes the shield whatever the verification will find; else it covers that, too.
    return work or (_lower_shield(seen) if change.verb == "abort" else None) or Verify()


def _raise_shield(seen: Observation, change: Change) -> RaiseShield | None:
    """Turn failsafe_mode on where it is off, or where Patroni was not seen to act on our turning it on.

    Where somebody turned it off again after that, it stays off: then the gate stops the operation.
    """
    opened, proven = seen.progress.shields, seen.progress.shielded
    lacking = [c for c in seen.patroni if not c.failsafe_mode and c.failsafe_setting is not None]
    wanted = [c for c in seen.patroni if c.scope in opened or c in lacking]
    shields = [Shield(c.scope, opened.get(c.scope, c.failsafe_setting or "")) for c in wanted]
    left = tuple(shield for shield in shields if shield.scope not in proven)
    return RaiseShield(left) if change.shield and left else None


def _lower_shield(seen: Observation) -> LowerShield | None:
    """Put back what this operation turned on, also in scopes that are not seen any more."""
    shields = tuple(Shield(scope, before) for scope, before in sorted(seen.progress.shields.items()))
    return LowerShield(shields) if shields else None


def _snapshot_source(etcd: EtcdView) -> MemberView | None:
    """A snapshot is taken from a follower, to spare the leader."""
    return best_transferee(etcd, etcd.leader_id) or etcd.leader


def _unsettled(seen: Observation, change: Change) -> Seat | None:
    """Return the seat of a voter that this operation made and has not proven settled (law 1)."""
    for seat in change.seats:
        view = _new_member(seen.etcd, change, seat)
        if view and not view.member.is_learner and view.id not in seen.progress.settled:
            return seat
    return None


def _work(seen: Observation, change: Change) -> Step | None:
    """What was begun is finished first; then the dead go, joiners come, and the healthy go, leader last."""
    return (
        _finish_joining(seen, change)
        or _fill_vacated_seats(seen, change)
        or _remove_dead(seen, change)
        or _add_joiner(seen, change)
        or _remove_healthy(seen, change)
        or _free_spare(seen, change)
        or _restart(seen, change)
        or relocate(seen, change)
        or take_back(seen, change)
        or _step_down(seen.etcd, change)
    )


def unfinished_nodes(etcd: EtcdView, change: Change) -> frozenset[str]:
    """Return the names of the nodes that matter for what is left of the change."""
    seated = ((seat, etcd.by_peer_urls(seat.peer_urls)) for seat in change.joiners)
    hidden = {seat.name for seat, view in seated if view and in_hiding(etcd, view, seat)}
    filled = {seat.name for seat in change.joiners if _is_filled(etcd, change, seat)} - hidden
    return frozenset(change.subjects) - filled


def _is_filled(etcd: EtcdView, change: Change, seat: Seat) -> bool:
    view = _new_member(etcd, change, seat)
    return view is not None and not view.member.is_learner


def _new_member(etcd: EtcdView, change: Change, seat: Seat) -> MemberView | None:
    """Return the member on a joiner's seat, unless it is the victim that has to go first."""
    view = etcd.by_peer_urls(seat.peer_urls)
    return view if view and view.id not in {victim.id for victim in change.victims} else None


def _finish_joining(seen: Observation, change: Change) -> Step | None:
    for seat in change.seats:
        view = _new_member(seen.etcd, change, seat)
        if view and view.member.is_learner:
            step = _join_further(seen, change, view, seat)
            if step:
                return step
        elif view and in_hiding(seen.etcd, view, seat):
            return reveal(seen.etcd, view, seat)
    return None


def _join_further(seen: Observation, change: Change, learner: MemberView, seat: Seat) -> Step | None:
    """Go on with a learner that is in the list, by what its node holds."""
    node, start = seen.nodes.get(seat.name), StartMember(seat, hides(seen, seat))
    if _answers_as_itself(learner) and (learner.id in seen.progress.joined or change.verb == "promote"):
        early = shows_early(seen, learner, seat)
        step = reveal(seen.etcd, learner, seat) if early else PromoteLearner(seat)
        return None if change.as_learners else step
    if node is None or _holds_data_of(node, learner.id) or _answers_as_itself(learner):
        return start
    if not learner.member.started:
        return _clear(node, seat) or start
    # It has acknowledged entries that are gone from its disk: raft can't take the same id back.
    return RemoveMember(reference(learner.member))


def _fill_vacated_seats(seen: Observation, change: Change) -> Step | None:
    """Clear the nodes of members that are gone, and add the new member where the seat is wanted."""
    for victim in change.victims:
        seat = change.successor_of(victim)
        if seen.etcd.by_id(victim.id) or seen.etcd.by_peer_urls((seat or victim).peer_urls):
            continue
        left = _holds_data_of(seen.nodes.get(victim.name), victim.id)
        step = SetDataAside(victim.seat) if left else _fill(seen, seat)
        if step:
            return step
    return None


def _fill(seen: Observation, seat: Seat | None) -> Step | None:
    """Clear the seat's node and add the new member; nothing when the seat is taken."""
    if seat is None or seen.etcd.by_peer_urls(seat.peer_urls):
        return None
    return _clear(seen.nodes.get(seat.name), seat) or AddLearner(seat)


def _remove_dead(seen: Observation, change: Change) -> Step | None:
    """The dead count against quorum and serve nobody: they go first, if the living are enough."""
    for view in victims_left(seen.etcd, change):
        dead = view.health in (Health.UNREACHABLE, Health.UNSTARTED) or view.member.is_learner
        if dead and (view.member.is_learner or survives_without(seen.etcd, view.id)):
            return RemoveMember(reference(view.member))
    return None


def _add_joiner(seen: Observation, change: Change) -> Step | None:
    """A new seat is filled before a healthy member goes, but the cluster never grows by more than one."""
    most, present = max(change.size_before, change.size_after), victims_left(seen.etcd, change)
    if present and len(seen.etcd.members) > most:
        return None
    waiting = [change.successor_of(reference(view.member)) for view in present]
    stand_in = (change.stand_in,) if present else ()
    seats = (*stand_in, *(seat for seat in change.joiners if seat not in waiting))
    return next((step for seat in seats if (step := _fill(seen, seat))), None)


def _remove_healthy(seen: Observation, change: Change) -> Step | None:
    """Followers first, the leader last and only after its leadership was moved (law 3).

    With a spare, a victim whose place stays empty goes after all others: till then there is one member more.
    """
    victims = sorted(victims_left(seen.etcd, change), key=lambda view: view.id == seen.etcd.leader_id)
    if change.spare:
        victims.sort(key=lambda view: change.successor_of(reference(view.member)) is None)
    return _depart(seen, change, victims[0]) if victims else None


def _depart(seen: Observation, change: Change, view: MemberView) -> Step:
    """Remove a member, once its leadership was moved: rather to one that stays than to a stand-in."""
    if view.id != seen.etcd.leader_id:
        return RemoveMember(reference(view.member))
    new = (_new_member(seen.etcd, change, seat) for seat in change.joiners if change.stand_in)
    staying = next((v for v in new if v in seen.etcd.healthy_voters and v.id != view.id), None)
    return TransferLeadership(reference(view.member), _seat(staying) if staying else None)


def _free_spare(seen: Observation, change: Change) -> Step | None:
    """Once all victims are replaced, the stand-in goes, and its machine is cleared for the next time."""
    spare = change.stand_in
    if spare is None or not all(_is_filled(seen.etcd, change, seat) for seat in change.joiners):
        return None
    view, node = seen.etcd.by_peer_urls(spare.peer_urls), seen.nodes.get(spare.name)
    if view:
        return _depart(seen, change, view)
    ours = node is not None and node.data is not None and node.data.cluster_id == seen.etcd.cluster_id
    return SetDataAside(spare) if ours else None


def _restart(seen: Observation, change: Change) -> Step | None:
    """Who is down or ill first, then followers, the leader last and after its leadership moved."""
    left = [ref for ref in change.restarts if ref.id not in seen.progress.restarted]
    left = [ref for ref in left if not is_at_version(seen.etcd, ref, change.to_version)]
    ill = {view.id for view in seen.etcd.members if view.health is not Health.HEALTHY}
    left.sort(key=lambda ref: (ref.id == seen.etcd.leader_id, ref.id not in ill))
    if not left:
        return None
    further = UpgradeMember(left[0], change.command, change.to_version, version_before(seen, left[0]))
    return hand_over(seen.etcd, left[0]) or (further if change.command else RestartMember(left[0]))


def _step_down(etcd: EtcdView, change: Change) -> Step | None:
    """A named successor leads in the end, whomever an election made leader meanwhile."""
    leader, successor = etcd.leader, change.successor
    if change.stepping_down is None or leader is None:
        return None
    goal = etcd.by_peer_urls(successor.peer_urls) if successor else None
    stays = leader == goal if successor else leader.id != change.stepping_down.id
    return None if stays else TransferLeadership(reference(leader.member), successor)


def _clear(node: NodeView | None, seat: Seat) -> SetDataAside | None:
    """What lies on the node must be out of the way before a new member starts there."""
    return SetDataAside(seat) if node and (node.data_present or node.service_active) else None


def _holds_data_of(node: NodeView | None, member_id: int) -> bool:
    return node is not None and node.data is not None and node.data.member_id == member_id


def _answers_as_itself(view: MemberView) -> bool:
    return view.status is not None and view.status.member_id == view.id


def _seat(view: MemberView) -> Seat:
    return Seat(view.member.name, view.member.peer_urls)


def staying_learners(change: Change) -> frozenset[str]:
    """Return the names of those that may be learners at the end, because nobody asked for their vote."""
    wanted = {url for seat in change.joiners for url in seat.peer_urls}
    others = {ref.name for ref in change.others if not wanted & set(ref.peer_urls)}
    return frozenset(others | {seat.name for seat in change.joiners if change.as_learners})
