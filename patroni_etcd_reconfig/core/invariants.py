"""What must hold in every state of every operation, whatever fails: the laws that a state shows."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.changes import Change
from patroni_etcd_reconfig.core.model import Observation
from patroni_etcd_reconfig.core.quorum import failure_tolerance
from patroni_etcd_reconfig.core.relocating import holds
from patroni_etcd_reconfig.core.steps import RemoveMember, StartMoved, Step


def check_invariants(before: Observation, step: Step, after: Observation, change: Change) -> Iterator[str]:
    """Name every law that the step broke; nothing when all hold."""
    if failure_tolerance(after.etcd) < 0 <= failure_tolerance(before.etcd):
        yield "law 2: the healthy voters are no quorum any more"
    if isinstance(step, RemoveMember) and before.etcd.leader_id == step.member.id:
        yield "law 3: the leader was removed"
    if isinstance(step, RemoveMember) and step.member.id in {ref.id for ref in change.others}:
        yield "law 6: a member was removed that the change does not name"
    if len(after.etcd.learners) > 1:
        yield "law 1: two learners at once"
    if isinstance(step, StartMoved) and holds(before.nodes.get(step.member.name), step.member):
        yield "the same id twice: a copy was started while the old data could be started, too"
    yield from _one_at_a_time(before, step)


def _one_at_a_time(before: Observation, step: Step) -> Iterator[str]:
    if not isinstance(step, RemoveMember):
        return
    unsettled = set(before.progress.joined) - before.progress.settled - {step.member.id}
    present = {view.id for view in before.etcd.voters}
    if unsettled & present:
        yield "law 1: the next change began before the last member was settled"
    if not before.progress.snapshot:
        yield "law 5: a member was removed before a snapshot was saved"
