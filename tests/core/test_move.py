"""Data that moves: the order, every interrupted prefix, the laws, and what stands in the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import Reshape, Seat, abort_of, move_of
from patroni_etcd_reconfig.core.gates import check_step
from patroni_etcd_reconfig.core.invariants import check_invariants
from patroni_etcd_reconfig.core.model import EtcdView, NodeView, Observation, Progress
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.preflight import examine
from patroni_etcd_reconfig.core.simulate import apply_step
from patroni_etcd_reconfig.core.steps import CopyData, StartMoved, Step, subject

from .builders import GIB, IDS, down, etcd, learner, node, patroni, seen, urls, voter, voters

EMPTY = NodeView("g", data_free_bytes=GIB)
MOVE = ["StopMember", "CopyData", "FenceOldData"]


def to_host(cluster: EtcdView, name: str) -> Reshape:
    """Return the move of a member's data to node g."""
    places = {"target": "g", "source_dir": "/data", "target_dir": "/data"}
    return move_of(cluster, name, Seat("g", urls("g")), ("http://g:2379",), **places)


def to_dir(cluster: EtcdView, name: str) -> Reshape:
    """Return the move of a member's data to another directory."""
    places = {"target": f"{name}:/new", "source_dir": "/data", "target_dir": "/new"}
    return move_of(cluster, name, Seat(name, urls(name)), (), **places)


def start(cluster: EtcdView, change: Reshape, **facts: object) -> Observation:
    """Return an observation with the target's node, which is empty."""
    state = seen(cluster, patroni())
    target = change.relocations[0].target
    return replace(state, nodes={**state.nodes, target: EMPTY}, **facts)  # type: ignore[arg-type]


def _states(state: Observation, change: Reshape) -> list[tuple[Observation, tuple[Step, ...]]]:
    states = []
    while steps := make_plan(state, change).steps:
        states.append((state, steps))
        state = apply_step(state, steps[0])
    return [*states, (state, ())]


def _names(state: Observation, change: Reshape) -> list[str]:
    return [type(step).__name__ for step in make_plan(state, change).steps]


def test_the_old_data_is_set_aside_before_the_copy_is_started() -> None:
    change = to_dir(voters(3), "b")
    assert _names(start(voters(3), change), change) == ["SaveSnapshot", *MOVE, "StartMoved", "Verify"]


def test_a_leader_hands_over_and_the_list_learns_the_new_peer_url_before_the_start() -> None:
    change = to_host(voters(3), "a")
    assert _names(start(voters(3), change), change) == [
        *("SaveSnapshot", "TransferLeadership", *MOVE, "UpdatePeerUrls", "StartMoved", "Verify")
    ]


@pytest.mark.parametrize("make", [to_host, to_dir])
@pytest.mark.parametrize(("size", "name"), [(3, "a"), (3, "c"), (5, "b")])
def test_after_every_prefix_the_plan_is_the_rest_and_the_laws_hold(make, size: int, name: str) -> None:  # type: ignore[no-untyped-def]
    cluster = voters(size)
    change = make(cluster, name)
    states = _states(start(cluster, change), change)
    for done, (state, rest) in enumerate(states):
        assert rest == states[0][1][done:]
        for step in rest[:1]:
            assert list(check_invariants(state, step, apply_step(state, step), change)) == []
            assert check_step(state, step, change, Policy()) == ()
    end = states[-1][0].etcd
    member = end.by_id(IDS[name])
    assert member is not None
    assert (member.member.name, member.member.peer_urls) == (
        change.relocations[0].seat.name,
        change.relocations[0].seat.peer_urls,
    )
    assert len(end.healthy_voters) == size


def _after(kind: str, change: Reshape) -> Observation:
    """Return the state right after the step of this kind."""
    for state, steps in _states(start(voters(3), change), change):
        if type(steps[0]).__name__ == kind:
            return apply_step(state, steps[0])
    raise AssertionError(kind)


def test_a_member_that_leads_already_on_its_copy_hands_over_before_it_is_started_again() -> None:
    change = to_host(voters(3), "b")
    state = _after("StartMoved", change)  # by a run that was killed before it wrote that down
    led = replace(state, progress=Progress("x"), etcd=replace(state.etcd, leader_id=IDS["b"]))
    assert _names(led, change) == ["TransferLeadership", "StartMoved", "Verify"]
    for step in make_plan(led, change).steps[:1]:
        assert check_step(led, step, change, Policy()) == ()


@pytest.mark.parametrize("kind", ["StopMember", "CopyData"])
def test_an_abort_before_the_old_data_is_set_aside_goes_back_to_it(kind: str) -> None:
    change = to_host(voters(3), "b")
    state = _after(kind, change)
    back = abort_of(state.etcd, change, frozenset({"StopMember"}))
    assert _names(state, back) == ["RestartMember", "DiscardCopy", "Verify"]
    states = _states(state, back)
    for before, steps in states:
        for step in steps[:1]:
            assert check_step(before, step, back, Policy()) == ()
            assert list(check_invariants(before, step, apply_step(before, step), back)) == []
    assert len(states[-1][0].etcd.healthy_voters) == 3


def test_a_member_that_runs_again_since_it_was_copied_is_stopped_and_copied_again() -> None:
    change = to_host(voters(3), "b")
    state = _after("CopyData", change)
    running = replace(state, etcd=voters(3), nodes={**state.nodes, "b": node("b")})
    assert _names(running, change)[:3] == MOVE


def test_a_copy_is_never_started_while_the_old_data_is_there() -> None:
    change = to_host(voters(3), "b")
    to = change.relocations[0]
    state = _after("CopyData", change)
    step = StartMoved(to.member, to.seat, to.client_urls, to.former_client_urls, to.target)
    assert "OLD_DATA_PRESENT" in [f.code for f in check_step(state, step, change, Policy())]
    assert any("same id twice" in law for law in check_invariants(state, step, state, change))


def test_a_copy_that_has_no_place_yet_gets_it_once_the_old_data_was_set_aside() -> None:
    change = to_host(voters(3), "b")
    state = _after("CopyData", change)  # and then a kill in the middle of the next step
    state = replace(state, nodes={**state.nodes, "b": NodeView("b"), "g": EMPTY})
    assert _names(state, change) == ["FenceOldData", "UpdatePeerUrls", "StartMoved", "Verify"]


def test_data_in_two_places_is_a_blocker_that_names_both() -> None:
    change = to_host(voters(3), "b")
    state = _after("CopyData", change)
    state = replace(state, nodes={**state.nodes, "g": replace(node("b"), name="g", service_active=False)})
    (found,) = check_step(state, make_plan(state, change).steps[0], change, Policy())
    assert (found.code, found.subject) == ("DATA_IN_TWO_PLACES", "b")
    assert "b and g" in found.detail


def test_a_moved_member_that_runs_is_not_stopped_once_more_when_the_others_are_no_quorum() -> None:
    change = to_host(voters(3), "b")
    state = _after("StartMoved", change)  # by a run that was killed before it wrote that down
    again = replace(state, progress=Progress("x"))
    step = make_plan(again, change).steps[0]
    assert isinstance(step, StartMoved)
    members = tuple(down("c") if view.id == IDS["c"] else view for view in again.etcd.members)
    short = replace(again, etcd=replace(again.etcd, members=members))
    assert [f.code for f in check_step(short, step, change, Policy())] == ["NO_QUORUM_AFTER"]
    assert any("law 2" in law for law in check_invariants(short, step, short, change))


def test_an_abort_leaves_out_a_member_that_somebody_removed() -> None:
    change = to_host(voters(3), "b")
    left = replace(voters(3), members=tuple(v for v in voters(3).members if v.id != IDS["b"]))
    assert abort_of(left, change, frozenset({"StopMember"})).taken_back == ()


def test_nothing_is_started_where_the_copy_is_missing() -> None:
    change = to_host(voters(3), "b")
    state = _after("UpdatePeerUrls", change)
    nothing = replace(state.progress, copied=frozenset())
    state = replace(state, nodes={**state.nodes, "g": EMPTY}, progress=nothing)
    step = make_plan(state, change).steps[0]
    assert [f.code for f in check_step(state, step, change, Policy())] == ["COPY_MISSING"]


def test_a_node_that_can_not_be_read_stops_everything() -> None:
    change = to_host(voters(3), "b")
    state = _after("StopMember", change)
    for name in ("b", "g"):
        blind = replace(state, nodes={**state.nodes, name: NodeView(name, problem="no answer")})
        step = CopyData(change.relocations[0].member, "g")
        assert "NODE_CONTROL" in [f.code for f in check_step(blind, step, change, Policy())]


def test_with_one_of_three_down_no_other_is_stopped() -> None:
    cluster = etcd(voter("a"), voter("b"), down("c"))
    change = to_host(cluster, "b")
    state = start(cluster, change, progress=Progress("x"))
    step = make_plan(state, change).steps[0]
    assert [f.code for f in check_step(state, step, change, Policy())] == ["NO_QUORUM_AFTER"]


def _blockers(state: Observation, change: Reshape, *accept: str) -> list[str]:
    found = examine(state, change, Policy(accept=frozenset(accept)))
    return [finding.code for finding in found if finding.severity.value == "blocker"]


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"data_present": True}, "TARGET_NOT_EMPTY"),
        ({"service_active": True}, "NODE_IN_USE"),
        ({"data_is_mount": True}, "DATA_DIR_IS_MOUNT"),
        ({"data_free_bytes": 1}, "DISK_SPACE"),
        ({"config_problem": "not writable"}, "NODE_CONTROL"),
    ],
)
def test_a_place_that_can_not_take_the_data_is_a_blocker(facts: dict[str, object], code: str) -> None:
    change = to_host(voters(3), "b")
    state = start(voters(3), change)
    bad = replace(EMPTY, **facts)  # type: ignore[arg-type]
    assert _blockers(replace(state, nodes={**state.nodes, "g": bad}), change) == [code]


def test_the_room_that_is_needed_is_that_of_all_files() -> None:
    change = to_host(voters(3), "b")
    state = start(voters(3), change)
    large = replace(node("b"), data_bytes=2 * GIB)
    assert _blockers(replace(state, nodes={**state.nodes, "b": large}), change) == ["DISK_SPACE"]


def test_corrupt_data_is_not_moved_whatever_is_accepted() -> None:
    cluster = etcd(voter("a"), voter("b"), replace(voter("c"), alarms=("CORRUPT",)))
    change = to_host(cluster, "b")
    state = start(cluster, change)
    assert _blockers(state, change, "ALARM", "MEMBER_UNHEALTHY") == ["DATA_CORRUPT"]


def test_the_data_of_a_learner_is_not_moved_whatever_is_accepted() -> None:
    cluster = etcd(voter("a"), voter("b"), voter("c"), learner("e", member_id=IDS["e"]))
    change = to_host(cluster, "e")
    state = start(cluster, change)
    assert _blockers(state, change, "LEARNER_PRESENT") == ["LEARNER_RELOCATED"]


def test_what_to_correct_in_the_inventory_afterwards_is_told() -> None:
    change = to_dir(voters(3), "b")
    found = [f for f in examine(start(voters(3), change), change, Policy()) if f.severity.value == "info"]
    assert [f.code for f in found] == ["INVENTORY_AFTERWARDS"]
    assert "/new" in found[0].remedy
    assert subject(make_plan(start(voters(3), change), change).steps[1]) == "b"
