"""A failed member that comes back as the member it is: restarted, upgraded, with other URLs, or moved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import Reshape, Seat, move_of, relocation_of, restart_of, upgrade_of
from patroni_etcd_reconfig.core.gates import check_step
from patroni_etcd_reconfig.core.invariants import check_invariants
from patroni_etcd_reconfig.core.model import EtcdView, MemberView, NodeView, Observation
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.preflight import examine
from patroni_etcd_reconfig.core.simulate import apply_step
from patroni_etcd_reconfig.core.steps import RestartMember

from .builders import GIB, IDS, down, etcd, learner, node, patroni, seen, urls, voter

THREE = etcd(voter("a"), voter("b"), down("c"))


def moved(cluster: EtcdView, name: str) -> Reshape:
    """Return the move of a member's data to node g."""
    places = {"target": "g", "source_dir": "/data", "target_dir": "/data"}
    return move_of(cluster, name, Seat("g", urls("g")), ("http://g:2379",), **places)


CHANGES = {
    "restart c": (restart_of(THREE, ("c",)), ["RestartMember"]),
    "restart": (
        restart_of(THREE, ()),
        ["RestartMember", "RestartMember", "TransferLeadership", "RestartMember"],
    ),
    "upgrade c": (upgrade_of(THREE, ("c",), "install"), ["UpgradeMember"]),
    "update-urls c": (
        relocation_of(THREE, "c", urls("w"), ("http://w:2379",)),
        ["UpdatePeerUrls", "ReaddressMember"],
    ),
    "move-data c": (moved(THREE, "c"), ["CopyData", "FenceOldData", "UpdatePeerUrls", "StartMoved"]),
}


def start(cluster: EtcdView) -> Observation:
    """Return an observation in which the members that do not answer are stopped."""
    state = seen(cluster, patroni())
    silent = {view.member.name for view in cluster.members if view.status is None}
    stopped = {name: replace(node(name), service_active=False) for name in silent}
    return replace(state, nodes={**state.nodes, **stopped, "g": NodeView("g", data_free_bytes=GIB)})


def _blockers(state: Observation, change: Reshape) -> set[str]:
    found = examine(state, change, Policy())
    return {finding.code for finding in found if finding.severity.value == "blocker"}


@pytest.mark.parametrize(("change", "kinds"), CHANGES.values(), ids=CHANGES)
def test_a_member_that_is_down_is_brought_back_and_costs_nothing_more(
    change: Reshape, kinds: list[str]
) -> None:
    state = start(THREE)
    assert _blockers(state, change) == set()
    steps = make_plan(state, change).steps
    assert [type(step).__name__ for step in steps] == ["SaveSnapshot", *kinds, "Verify"]
    for done in range(len(steps)):
        assert make_plan(state, change).steps == steps[done:]
        assert check_step(state, steps[done], change, Policy()) == ()
        after = apply_step(state, steps[done])
        assert list(check_invariants(state, steps[done], after, change)) == []
        assert len(after.etcd.healthy_voters) >= 2
        state = after
    assert len(state.etcd.healthy_voters) == 3


def test_a_member_that_is_down_is_restarted_before_the_others() -> None:
    steps = make_plan(start(THREE), CHANGES["restart"][0]).steps
    assert [step.member.name for step in steps if isinstance(step, RestartMember)] == ["c", "b", "a"]


def _ill(name: str) -> MemberView:
    return replace(voter(name), serves_reads=False)


def test_a_member_that_answers_and_is_ill_is_restarted_before_the_others() -> None:
    cluster = etcd(voter("a"), voter("b"), _ill("c"))
    change = restart_of(cluster, ())
    assert _blockers(start(cluster), change) == set()
    steps = make_plan(start(cluster), change).steps
    assert [step.member.name for step in steps if isinstance(step, RestartMember)] == ["c", "b", "a"]


@pytest.mark.parametrize(
    "change",
    [
        restart_of(THREE, ("b",)),
        upgrade_of(THREE, ("b",), "install"),
        relocation_of(THREE, "b", urls("w"), ()),
        moved(THREE, "b"),
    ],
    ids=["restart", "upgrade", "update-urls", "move-data"],
)
def test_another_member_that_is_down_still_stands_in_the_way(change: Reshape) -> None:
    assert _blockers(start(THREE), change) == {"MEMBER_UNHEALTHY"}


def test_two_of_five_that_are_down_are_restarted_by_the_three_others() -> None:
    cluster = etcd(voter("a"), voter("b"), voter("c"), down("d"), down("e"))
    change = restart_of(cluster, ("d", "e"))
    state = start(cluster)
    assert _blockers(state, change) == set()
    for step in make_plan(state, change).steps:
        assert check_step(state, step, change, Policy()) == ()
        state = apply_step(state, step)


def test_without_a_quorum_nobody_is_restarted() -> None:
    cluster = replace(etcd(voter("a"), down("b"), down("c")), linearizable=False, leader_id=None)
    assert "NO_QUORUM" in _blockers(start(cluster), restart_of(cluster, ("b", "c")))


def test_a_learner_is_still_told_when_everybody_is_restarted() -> None:
    cluster = etcd(voter("a"), voter("b"), voter("c"), learner("e", member_id=IDS["e"]))
    assert "LEARNER_PRESENT" in _blockers(start(cluster), restart_of(cluster, ()))


def test_a_member_whose_node_is_not_in_the_inventory_is_told_before_the_first_restart() -> None:
    state = start(THREE)
    without = {name: view for name, view in state.nodes.items() if name != "c"}
    assert _blockers(replace(state, nodes=without), restart_of(THREE, ())) == {"NODE_CONTROL"}
