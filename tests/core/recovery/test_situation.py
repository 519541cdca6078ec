"""Before its first step a recovery looks again: is this still what the plan was made for?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patroni_etcd_reconfig.core.findings import blockers
from patroni_etcd_reconfig.core.recovery.evidence import NodeEvidence
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Way
from patroni_etcd_reconfig.core.recovery.situation import MISMATCHES, check_situation
from tests.core.recovery.evidences import data, evidence, live, node
from tests.core.recovery.recovery_plans import forced, survivor

RESERVE = 1000
PLAN = forced("a", "b", lost=("c",))


def here(name: str, **more: Any) -> NodeEvidence:
    """Return a node that was looked at, with its member stopped."""
    base: dict[str, Any] = {"reachable": True, "service_active": False, "data": data(name)}
    return node(name, **{**base, **more})


def codes(*nodes: NodeEvidence, plan: RecoveryPlan = PLAN) -> list[str]:
    """Return what stands in the way; nodes that are not given are as the plan found them."""
    named = {"a": here("a"), "b": here("b"), "c": node("c")} | {one.name: one for one in nodes}
    findings = check_situation(plan, evidence(*named.values()), RESERVE)
    assert findings == blockers(findings)
    return [finding.code for finding in findings]


def leading(name: str) -> Any:
    one = live(name)
    return replace(one, status=replace(one.status, leader_id=1))


def test_nothing_stands_in_the_way_of_a_plan_that_still_fits() -> None:
    assert codes() == []


@pytest.mark.parametrize(
    "running",
    [{"live": leading("b")}, {"live": live("b", quorate=True)}],
    ids=["a leader", "linearizable reads"],
)
def test_a_majority_that_is_alive_is_never_thrown_out(running: dict[str, Any]) -> None:
    assert codes(here("b", service_active=True, **running)) == ["MAJORITY_ALIVE"]


def test_enough_answering_voters_are_a_majority_even_without_a_leader() -> None:
    three = forced("a", "b", "c")
    running = [here(name, service_active=True, live=live(name)) for name in "bc"]
    assert codes(*running, plan=three) == ["MAJORITY_ALIVE"]
    assert codes(*running, plan=replace(three, choices=("--survivor a",))) == []


def test_a_learner_that_answers_is_no_voter() -> None:
    three = forced("a", "b", "c")
    learner = live("c")
    learner = replace(learner, status=replace(learner.status, is_learner=True))
    running = [here("b", service_active=True, live=live("b")), here("c", service_active=True, live=learner)]
    assert codes(*running, plan=three) == []


def test_a_member_of_another_cluster_is_nobodys_majority() -> None:
    assert codes(node("d", live=replace(live("d", cluster=0xBAD), quorate=True))) == []


@pytest.mark.parametrize("there", [{"live": live("c")}, {"service_active": True}], ids=["answers", "runs"])
def test_a_lost_member_that_is_there_is_not_lost(there: dict[str, Any]) -> None:
    assert codes(node("c", **there)) == ["LOST_ANSWERS"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"reachable": False}, "SURVIVOR_UNREACHABLE"),
        ({"data": None}, "SURVIVOR_CHANGED"),
        ({"data": data("a", last_index=101)}, "SURVIVOR_CHANGED"),
        ({"data": data("a", last_index=99)}, "SURVIVOR_CHANGED"),
        ({"data": data("a", last_term=4)}, "SURVIVOR_CHANGED"),
        ({"data": data("a", cluster=0xBAD)}, "PLAN_OTHER_CLUSTER"),
        ({"data": data("b")}, "PLAN_OTHER_CLUSTER"),
        ({"data": data("a", is_learner=True)}, "SURVIVOR_UNFIT"),
        ({"data": data("a", is_removed=True)}, "SURVIVOR_UNFIT"),
        ({"live": live("a"), "service_active": True}, "SURVIVOR_RUNS_NOW"),
        ({"config_problem": "not readable"}, "NODE_CONFIG"),
        ({"data": data("a", size=500), "data_free_bytes": 1499}, "DISK_SPACE"),
    ],
)
def test_a_survivor_that_is_not_the_plans_stops_it(change: dict[str, Any], code: str) -> None:
    assert codes(here("a", **change)) == [code]


def test_another_etcd_than_the_services_never_touches_its_data() -> None:
    plan = replace(PLAN, survivor=survivor("a", running=True))
    seen = evidence(here("a", live=live("a"), service_active=True), here("b"), node("c"))
    assert check_situation(plan, seen, RESERVE, "3.4.23") == ()
    assert [finding.code for finding in check_situation(plan, seen, RESERVE, "3.6.6")] == ["ETCD_PROGRAM"]


def test_a_running_survivor_may_have_gone_on_but_not_back() -> None:
    plan = replace(PLAN, survivor=survivor("a", running=True))
    runs = {"live": live("a"), "service_active": True}
    assert codes(here("a", data=data("a", last_index=105), **runs), plan=plan) == []
    assert codes(here("a", data=data("a", last_index=95), **runs), plan=plan) == ["SURVIVOR_CHANGED"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"reachable": False}, "CANNOT_FENCE"),
        ({"config_problem": "not writable"}, "NODE_CONFIG"),
        ({"data": data("c")}, "PLAN_OTHER_CLUSTER"),
    ],
)
def test_a_member_that_can_not_be_fenced_as_planned_stops_it(change: dict[str, Any], code: str) -> None:
    assert codes(here("b", **change)) == [code]


def test_a_member_without_data_can_be_fenced() -> None:
    assert codes(here("b", data=None, data_present=False)) == []


def test_starting_members_needs_their_nodes_and_the_plans_cluster() -> None:
    plan = replace(PLAN, way=Way.START, survivor=None, start=("a", "b"))
    assert codes(plan=plan) == []
    assert codes(here("b", reachable=False), plan=plan) == ["NODE_CONTROL"]
    assert codes(here("b", data=data("b", cluster=0xBAD)), plan=plan) == ["PLAN_OTHER_CLUSTER"]


def test_another_cluster_or_log_means_another_plan_and_all_else_is_in_the_way() -> None:
    assert {"SURVIVOR_CHANGED", "SURVIVOR_RUNS_NOW", "PLAN_OTHER_CLUSTER"} == MISMATCHES
