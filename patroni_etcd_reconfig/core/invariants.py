"""What must hold in every state of every operation, whatever fails: the laws that a state shows."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.changes import Change
from patroni_etcd_reconfig.core.model import Observation
from patroni_etcd_reconfig.core.quorum import failure_tolerance, quorum
from patroni_etcd_reconfig.core.relocating import holds
from patroni_etcd_reconfig.core.steps import (
    AddLearner,
    PromoteLearner,
    ReaddressMember,
    RemoveMember,
    RestartMember,
    SetDataAside,
    StartMoved,
    Step,
    StopMember,
    UpgradeMember,
    changes_membership,
    subject,
    touches_etcd,
)


def check_invariants(before: Observation, step: Step, after: Observation, change: Change) -> Iterator[str]:
    """Name every law that the step broke; nothing when all hold."""
    yield from _one_at_a_time(before, step, after, change)
    yield from _never_below_quorum(before, step, after)
    yield from _leader_moves_first(before, step)
    yield from _patroni_first(before, step)
    yield from _nothing_is_deleted(before, step)
    yield from _by_id(before, step, after, change)
    yield from _never_twice(before, step, after)


def _never_twice(before: Observation, step: Step, after: Observation) -> Iterator[str]:
    """Data is in one place when it is started: the same id on an older copy would vote with a lost log."""
    if isinstance(step, (RestartMember, UpgradeMember, StartMoved)):
        place = step.target if isinstance(step, StartMoved) else step.member.name
        if any(holds(node, step.member) for name, node in before.nodes.items() if name != place):
            yield f"the same id twice: {place} was started while the data could be started elsewhere, too"
    running = [node.data.member_id for node in after.nodes.values() if node.service_active and node.data]
    for member_id in {one for one in running if running.count(one) > 1}:
        yield f"the same id twice: {member_id:x} runs in two places"


def _one_at_a_time(before: Observation, step: Step, after: Observation, change: Change) -> Iterator[str]:
    if len(after.etcd.learners) > max(1, len(before.etcd.learners)):
        yield "law 1: two learners at once"
    if len(after.etcd.members) > max(change.size_before, change.size_after) + 1:
        yield "law 1: more than one member too many"
    if not isinstance(step, (RemoveMember, AddLearner)):
        return
    fresh = set(before.progress.joined) - before.progress.settled
    own = {step.member.id} if isinstance(step, RemoveMember) else set()
    if (fresh - own) & {view.id for view in before.etcd.voters}:
        yield "law 1: the next change began before the last member was settled"


def _never_below_quorum(before: Observation, step: Step, after: Observation) -> Iterator[str]:
    if changes_membership(step) and failure_tolerance(before.etcd) < 0:
        yield "law 2: the membership was changed without a quorum"
    if failure_tolerance(after.etcd) < 0 <= failure_tolerance(before.etcd):
        yield "law 2: the healthy voters are no quorum any more"
    if isinstance(step, (RestartMember, UpgradeMember, ReaddressMember, StopMember)):
        others = sum(view.id != step.member.id for view in before.etcd.healthy_voters)
        view = before.etcd.by_id(step.member.id)
        if view and not view.member.is_learner and others < quorum(len(before.etcd.voters)):
            yield "law 2: without the member that was restarted there was no quorum"
    if isinstance(step, PromoteLearner):
        learner = before.etcd.by_peer_urls(step.seat.peer_urls)
        if learner is None or learner.status is None:
            yield "law 2: a learner that does not answer was given a vote"


def _leader_moves_first(before: Observation, step: Step) -> Iterator[str]:
    if (
        isinstance(
            step, (RemoveMember, RestartMember, UpgradeMember, ReaddressMember, StopMember, StartMoved)
        )
        and before.etcd.leader_id == step.member.id
    ):
        yield f"law 3: {step.member.name} was touched while it led"


def _patroni_first(before: Observation, step: Step) -> Iterator[str]:
    for cluster in before.patroni:
        if touches_etcd(step) and (cluster.leader is None or cluster.paused or cluster.failover):
            yield f"law 4: {cluster.scope} was not calm"


def _nothing_is_deleted(before: Observation, step: Step) -> Iterator[str]:
    if (changes_membership(step) or isinstance(step, SetDataAside)) and not before.progress.snapshot:
        yield "law 5: the membership was changed before a snapshot was saved"
    if isinstance(step, SetDataAside):
        node = before.nodes.get(subject(step))
        if node and node.data and before.etcd.by_id(node.data.member_id):
            yield f"law 5: the data of a member, {subject(step)}, was set aside"


def _by_id(before: Observation, step: Step, after: Observation, change: Change) -> Iterator[str]:
    """Who goes is a victim, or came on a seat of the change; who comes sits on a seat of the change."""
    seats = {url for seat in change.seats for url in seat.peer_urls}
    named = {ref.id for ref in change.victims}
    there, then = {view.id for view in before.etcd.members}, {view.id for view in after.etcd.members}
    for view in (*before.etcd.members, *after.etcd.members):
        ours = view.id in named or seats & set(view.member.peer_urls)
        if (view.id in there) != (view.id in then) and not ours:
            yield f"law 6: {view.member.name} was removed or added, and the change does not name it"
    kept = {ref.id for ref in change.others if not seats & set(ref.peer_urls)}
    if isinstance(step, RemoveMember) and step.member.id in kept:
        yield "law 6: a member was removed that the change leaves alone"
