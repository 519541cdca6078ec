"""Is what would be done now the rest of a plan that was made earlier?"""

from __future__ import annotations

from dataclasses import replace

from patroni_etcd_reconfig.core.changes import Change
from patroni_etcd_reconfig.core.model import Observation, format_id
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.step_words import describe
from patroni_etcd_reconfig.core.steps import AwaitSettled, SaveSnapshot, TransferLeadership


def misfit(seen: Observation, change: Change, planned: tuple[str, ...]) -> str:
    """Return what happened that the plan would not have done; empty when that is nothing.

    `planned`: the plan's steps in words. Snapshots, waits and transfers do not count: they follow from the
    moment. Nor does who leads, which changes by itself; it only decides which healthy member goes last.
    """
    strange = _strange_member(seen, change)
    if strange:
        return strange
    unbound = _unbound(change)
    wanted = [step for step in planned if step not in unbound]
    found = [_steps(seen, change, leader, unbound) for leader in _possible_leaders(seen)]
    if any(steps == wanted[len(wanted) - len(steps) :] for steps in found if len(steps) <= len(wanted)):
        return ""
    return _difference(found[0], wanted)


def _strange_member(seen: Observation, change: Change) -> str:
    """The plan makes learners first, and none of another name."""
    known = {ref.id for ref in (*change.victims, *change.others)}
    for seat in change.joiners:
        view = seen.etcd.by_peer_urls(seat.peer_urls)
        if view is None or view.id in known or view.member.name == seat.name:
            continue
        if view.member.started or not view.member.is_learner:
            name = view.member.name or "has never started"
            return f"member {format_id(view.id)} on {', '.join(seat.peer_urls)} is not {seat.name} ({name})"
    return ""


def _unbound(change: Change) -> set[str]:
    """Return the words of all steps that a plan has or has not by the moment at which it is made."""
    members = (*change.victims, *change.others)
    seats = (*(ref.seat for ref in members), *change.seats)
    steps = [step for seat in seats for step in (SaveSnapshot(seat), AwaitSettled(seat))]
    moves = [TransferLeadership(ref, target) for ref in members for target in (None, *seats)]
    return {describe(step) for step in (*steps, *moves)}


def _possible_leaders(seen: Observation) -> list[int | None]:
    leader = seen.etcd.leader_id
    return [leader, *(view.id for view in seen.etcd.healthy_voters if view.id != leader)]


def _steps(seen: Observation, change: Change, leader: int | None, unbound: set[str]) -> list[str]:
    there = replace(seen, etcd=replace(seen.etcd, leader_id=leader))
    words = [describe(step) for step in make_plan(there, change).steps]
    return [step for step in words if step not in unbound]


def _difference(found: list[str], wanted: list[str]) -> str:
    """Name the last step that is another one, since the ends of both are what they have in common."""
    same = 0
    while same < min(len(found), len(wanted)) and found[-1 - same] == wanted[-1 - same]:
        same += 1
    if same == len(found):
        return "what is left to do is not the rest of the plan"
    had = f"the plan has '{wanted[-1 - same]}'" if same < len(wanted) else "the plan has nothing more"
    return f"now '{found[-1 - same]}' would be done where {had}"
