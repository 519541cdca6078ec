"""A world in memory for tests of every state: what steps come to, and what can go wrong, both pure.

An Observation is the world and at once what the tool sees of it. Steps do what `apply_step` says, where
they can reach their goal at all; faults are functions from a state to the states that may follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from patroni_etcd_reconfig.core.changes import Change, reference
from patroni_etcd_reconfig.core.model import EtcdView, Member, MemberView, NodeView, Observation
from patroni_etcd_reconfig.core.planner import staying_learners
from patroni_etcd_reconfig.core.quorum import quorum, survives_without
from patroni_etcd_reconfig.core.relocating import holds
from patroni_etcd_reconfig.core.simulate import apply_step, best_transferee
from patroni_etcd_reconfig.core.steps import (
    AddLearner,
    AwaitSettled,
    CopyData,
    FenceOldData,
    PromoteLearner,
    ReaddressMember,
    RestartMember,
    SaveSnapshot,
    SetDataAside,
    StartMember,
    StartMoved,
    Step,
    TransferLeadership,
    UpgradeMember,
    Verify,
    subject,
)

from .builders import patroni, status, urls

Key = tuple[Any, ...]
CALM = patroni()
VERSION = "3.4.23"  # of every etcd that comes back; a test of another version sets it


def key_of(seen: Observation) -> Key:
    """Return all of a state as something that can be looked up."""
    nodes = frozenset(seen.nodes.items())
    progress = tuple(_frozen(getattr(seen.progress, field.name)) for field in fields(seen.progress))
    return (seen.etcd, nodes, seen.patroni, progress)


def _frozen(value: Any) -> Any:
    return frozenset(value.items()) if isinstance(value, Mapping) else value


# What a step comes to.


def outcomes(seen: Observation, step: Step, change: Change) -> list[Observation | None]:
    """Return every state in which the step may end; None = it ends with an error and changes nothing."""
    if not _goal_is_in_reach(seen, step, change):
        return [None]
    after = _come_up(apply_step(seen, step), step)
    if isinstance(step, AddLearner) and len(seen.etcd.healthy_voters) < len(seen.etcd.voters):
        return [None, after]  # etcd before 3.5.30 and 3.6.11 wants every voter connected, later ones do not
    return [after]


def _goal_is_in_reach(seen: Observation, step: Step, change: Change) -> bool:
    """Tell whether a wait for the step's goal would end well."""
    if isinstance(step, SaveSnapshot):
        return _answers(seen.etcd.by_peer_urls(step.through.peer_urls))
    if isinstance(step, AwaitSettled):
        return seen.etcd.by_peer_urls(step.seat.peer_urls) in seen.etcd.healthy_voters
    if isinstance(step, TransferLeadership):
        target = seen.etcd.by_peer_urls(step.target.peer_urls) if step.target else None
        wanted = target if step.target else best_transferee(seen.etcd, step.source.id)
        return wanted in seen.etcd.healthy_voters
    if isinstance(step, PromoteLearner):
        return _answers(seen.etcd.by_peer_urls(step.seat.peer_urls))
    if isinstance(step, Verify):
        return _is_sound(seen.etcd, change)
    if isinstance(step, StartMember):
        view, node = seen.etcd.by_peer_urls(step.seat.peer_urls), seen.nodes.get(step.seat.name)
        running = node is not None and node.service_active
        return view is not None and not (running and view.member.started and view.status is None)
    return _data_is_in_reach(seen, step)


def _data_is_in_reach(seen: Observation, step: Step) -> bool:
    """Tell whether a step finds the data of the member that it is about where it has to be, and at rest."""
    if isinstance(step, (RestartMember, UpgradeMember, ReaddressMember)):
        node = seen.nodes.get(step.member.name)
        return node is None or holds(node, step.member)
    if isinstance(step, (CopyData, FenceOldData)):
        places = [seen.nodes[step.member.name], seen.nodes[step.target]]
        there = holds(places[0], step.member) or (isinstance(step, FenceOldData) and places[0].set_aside)
        return bool(there) and not any(p.problem or p.service_active for p in places)
    if isinstance(step, StartMoved):
        return holds(seen.nodes.get(step.target), step.member)
    return True


def _answers(view: MemberView | None) -> bool:
    return view is not None and view.status is not None


def _is_sound(etcd: EtcdView, change: Change) -> bool:
    """What Verification asks for: of everybody, and of whom it is about after an abort."""
    only = set(change.subjects) if change.verb == "abort" else None
    asked = [view for view in etcd.members if only is None or view.member.name in only]
    fine = staying_learners(change)
    return etcd.linearizable and all(
        view.member.name in fine if view.member.is_learner else view in etcd.healthy_voters for view in asked
    )


def _come_up(seen: Observation, step: Step) -> Observation:
    """A step that starts a voter ends with that voter up, whatever it was before."""
    if isinstance(step, (RestartMember, UpgradeMember, ReaddressMember, StartMoved)):
        return revive(seen, step.member.id)
    return seen


# What can go wrong. Names of members are names of seats: those of their peer URLs.


def name_of(view: MemberView) -> str:
    """Return the name of the seat that a member sits on."""
    return view.member.name or view.member.peer_urls[0].removeprefix("http://").removesuffix(":2380")


def dies(seen: Observation, name: str) -> list[Observation]:
    """The process of a member ends."""
    return _elect(_silence(seen, name, service_active=False))


def hangs(seen: Observation, name: str) -> list[Observation]:
    """The process lives and does not answer."""
    return _elect(_silence(seen, name, service_active=True))


def loses_disk(seen: Observation, name: str) -> list[Observation]:
    """The process ends, and its data dir is gone."""
    dead = _silence(seen, name, service_active=False)
    return _elect(_with_node(dead, _place_of(seen, name), data=None, data_present=False))


def loses_machine(seen: Observation, name: str) -> list[Observation]:
    """The member is down and its node does not answer either."""
    dead = _silence(seen, name, service_active=False)
    return _elect(_with_node(dead, _place_of(seen, name), problem="no route to host"))


def restarts(seen: Observation, name: str) -> list[Observation]:
    """A member that runs is back at once, no longer as the leader; one that is down comes back."""
    view = _on(seen, name)
    if view is None:
        return []
    if view.status is None:
        there = holds(seen.nodes.get(_place_of(seen, name)), reference(view.member))
        return _elect(revive(seen, view.id)) if there else []
    return leader_changes(seen) if seen.etcd.leader_id == view.id else []


def leader_changes(seen: Observation) -> list[Observation]:
    """Any other healthy voter becomes the leader."""
    others = [view.id for view in seen.etcd.healthy_voters if view.id != seen.etcd.leader_id]
    return [replace(seen, etcd=replace(seen.etcd, leader_id=other)) for other in others]


def patroni_loses_its_leader(seen: Observation) -> list[Observation]:
    """A Patroni cluster is without a leader for a while."""
    return [replace(seen, patroni=tuple(replace(c, leader=None, lease=None) for c in seen.patroni))]


def somebody_adds(seen: Observation) -> list[Observation]:
    """A human adds a learner that the change does not know of."""
    foreign = MemberView(Member(0xF0E, "", urls("foreign"), is_learner=True))
    return [_with_members(seen, (*seen.etcd.members, foreign))]


def somebody_removes(seen: Observation, name: str) -> list[Observation]:
    """A human removes a member."""
    view = _on(seen, name)
    if view is None or not (view.member.is_learner or survives_without(seen.etcd, view.id)):
        return []
    return _elect(_with_members(seen, tuple(v for v in seen.etcd.members if v.id != view.id)))


def acted_unknown_to_the_tool(seen: Observation, step: Step, change: Change) -> list[Observation]:
    """The step acted; the answer was lost, or the tool died before it wrote down what came of it."""
    done = [after for after in outcomes(seen, step, change) if after is not None]
    return [replace(after, progress=seen.progress) for after in done]


def acted_in_part(seen: Observation, step: Step) -> list[Observation]:
    """The tool died in the middle of a step that is more than one call."""
    name = subject(step)
    if isinstance(step, SetDataAside):
        return [_with_node(seen, name, service_active=False)]
    if isinstance(step, (RestartMember, UpgradeMember, ReaddressMember)):
        return dies(seen, name)
    if isinstance(step, StartMember):
        up = apply_step(seen, step)
        booting = replace(seen, nodes=up.nodes)  # it runs, and has not published itself yet
        return [booting, replace(up, progress=seen.progress)]
    if isinstance(step, CopyData):
        return [revive(seen, step.member.id)]  # it could not be copied, and runs again on its old data
    if isinstance(step, FenceOldData):  # the copy has not got its place yet
        return [_with_node(seen, name, data=None, data_present=False, set_aside=("aside",))]
    if isinstance(step, StartMoved):
        return [_with_node(seen, step.target, service_active=True)]  # it has not published itself yet
    return []


MEMBER_FAULTS: tuple[Callable[[Observation, str], list[Observation]], ...] = (
    dies,
    hangs,
    loses_disk,
    loses_machine,
    restarts,
    somebody_removes,
)
CLUSTER_FAULTS: tuple[Callable[[Observation], list[Observation]], ...] = (
    leader_changes,
    patroni_loses_its_leader,
    somebody_adds,
)


def faults(seen: Observation, step: Step | None, change: Change) -> Iterator[tuple[str, Observation]]:
    """Give every state that a single fault may lead to, before, during and right after a step."""
    seats = {name_of(view) for view in seen.etcd.members} | {seat.name for seat in change.seats}
    copies = {to.target for to in change.relocations if to.target} - seats
    for name in sorted(seats | copies):
        for fault in MEMBER_FAULTS if name in seats else (loses_disk, loses_machine):
            for after in fault(seen, name):
                yield f"{fault.__name__} {name}", after
    for general in CLUSTER_FAULTS:
        for after in general(seen):
            yield general.__name__, after
    if step is not None:
        for after in acted_unknown_to_the_tool(seen, step, change):
            yield f"outcome unknown to the tool: {step}", after
        for after in acted_in_part(seen, step):
            yield f"kill of the tool in the middle of {step}", after


def repaired(seen: Observation) -> Observation:
    """Everything that can come back does, as the remedies ask for: processes, machines, Patroni."""
    for view in seen.etcd.members:
        node = seen.nodes.get(_place_of(seen, name_of(view)))
        there = node is None or holds(node, reference(view.member))
        if view.status is None and view.member.started and there:
            seen = revive(seen, view.id)
    nodes = {name: replace(node, problem="") for name, node in seen.nodes.items()}
    calm = tuple(replace(cluster, leader=CALM.leader, lease=CALM.lease) for cluster in seen.patroni)
    return _elect(replace(seen, nodes=nodes, patroni=calm))[0]


def lost_for_good(seen: Observation) -> bool:
    """Tell whether some voter's data is gone, or a stranger is in the list: nothing brings that back."""
    silent = [reference(view.member) for view in seen.etcd.voters if view.status is None]
    nodes = seen.nodes.values()
    gone = [ref for ref in silent if not any(holds(node, ref) or node.set_aside for node in nodes)]
    return bool(gone) or seen.etcd.by_peer_urls(urls("foreign")) is not None


def revive(seen: Observation, member_id: int) -> Observation:
    """Return the state with this member up again."""
    view = seen.etcd.by_id(member_id)
    if view is None or view.status is not None:
        return seen
    said = replace(status(member_id, version=VERSION), is_learner=view.member.is_learner)
    up = replace(view, status=said, error="", serves_reads=not view.member.is_learner)
    seen = _with_members(seen, tuple(up if v.id == member_id else v for v in seen.etcd.members))
    place = _place_of(seen, name_of(view))
    return _elect(_with_node(seen, place, service_active=True, problem=""))[0]


def _silence(seen: Observation, name: str, *, service_active: bool) -> Observation:
    view = _on(seen, name)
    if view is not None and view.status is not None:
        silent = replace(view, status=None, serves_reads=False, error="no answer in time")
        seen = _with_members(seen, tuple(silent if v.id == view.id else v for v in seen.etcd.members))
    return _with_node(seen, _place_of(seen, name), service_active=service_active)


def _place_of(seen: Observation, name: str) -> str:
    """Return where the data of the member with this name is: its own node, or where it was moved to."""
    view = _on(seen, name)
    ref = reference(view.member) if view else None
    places = [place for place, node in seen.nodes.items() if ref and holds(node, ref)]
    return name if name in places or not places else places[0]


def _elect(seen: Observation) -> list[Observation]:
    """Return what raft makes of who is up: the leader stays while it can, else any voter may follow it."""
    voters = seen.etcd.voters
    up = [view.id for view in voters if view.status is not None]
    quorate = len(up) >= quorum(len(voters))
    members = tuple(_serving(view, quorate) for view in seen.etcd.members)
    etcd = replace(seen.etcd, members=members, linearizable=quorate)
    leaders: list[int | None] = [None]
    if quorate:
        leaders = [etcd.leader_id] if etcd.leader_id in up else [*up]
    return [replace(seen, etcd=replace(etcd, leader_id=leader)) for leader in leaders]


def _serving(view: MemberView, quorate: bool) -> MemberView:
    serves = quorate and view.status is not None and not view.member.is_learner
    return view if serves == view.serves_reads else replace(view, serves_reads=serves)


def _on(seen: Observation, name: str) -> MemberView | None:
    named = next((view for view in seen.etcd.members if view.member.name == name), None)
    return named or seen.etcd.by_peer_urls(urls(name))


def _with_members(seen: Observation, members: tuple[MemberView, ...]) -> Observation:
    return replace(seen, etcd=replace(seen.etcd, members=members))


def _with_node(seen: Observation, name: str, **facts: Any) -> Observation:
    node = seen.nodes.get(name, NodeView(name))
    return replace(seen, nodes={**seen.nodes, name: replace(node, **facts)})
