"""Before its first step a recovery looks again: is this still what the plan was made for?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patroni_etcd_reconfig.core.findings import blockers
from patroni_etcd_reconfig.core.recovery.evidence import NodeEvidence
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Way
from patroni_etcd_reconfig.core.recovery.situation import MISMATCHES, check_situation
from tests.core.recovery.evidences import data, evidence, live, member, node
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


@pytest.mark.parametrize("there", [{"live": live("c")}, {"service_active": True}, {"answers": True}], ids=str)
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
    assert set(codes(here("a", **change))) == {code}


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


STARTING = replace(PLAN, way=Way.START, survivor=None, start=("a", "b"))


def test_members_of_other_machines_are_started_there() -> None:
    assert codes(plan=STARTING) == []
    assert codes(here("b", reachable=False, problem="elsewhere"), plan=STARTING) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"data": data("b", cluster=0xBAD)}, "PLAN_OTHER_CLUSTER"),
        ({"data": data("b", is_learner=True)}, "START_UNFIT"),
        ({"data": data("b", is_removed=True)}, "START_UNFIT"),
        ({"data": data("b", problems=("a checksum is wrong",))}, "START_UNFIT"),
        ({"data": data("b", members=(member("a"),))}, "START_UNFIT"),
        ({"data": None, "data_present": False}, "START_UNFIT"),
    ],
)
def test_only_sound_data_of_a_voter_is_started(change: dict[str, Any], code: str) -> None:
    assert codes(here("b", **change), plan=STARTING) == [code]
    answers = here("b", **{**change, "live": live("b"), "service_active": True})
    assert codes(answers, plan=STARTING) == []  # it runs: it is not started


def test_members_that_a_new_cluster_does_not_know_are_not_started_beside_it() -> None:
    forced_meanwhile = here("c", live=live("c", quorate=True, members=(member("c"),)), service_active=True)
    assert codes(forced_meanwhile, plan=STARTING) == ["START_OUTDATED"] * 2
    assert codes(forced_meanwhile, node("a"), node("b"), plan=STARTING) == ["START_OUTDATED"] * 2
    assert codes(here("c", live=live("c", quorate=True), service_active=True), plan=STARTING) == []


def test_a_stopped_copy_of_a_later_cluster_of_one_tells_it_too() -> None:
    later = here("c", data=data("c", last_term=9, members=(member("c"),)))
    assert codes(later, plan=STARTING) == ["START_UNFIT"] * 2


@pytest.mark.parametrize("where", [{"last_index": 101}, {"last_term": 4, "last_index": 1}], ids=str)
def test_a_member_that_went_on_after_the_plan_is_not_thrown_away(where: dict[str, int]) -> None:
    assert codes(here("b", data=data("b", **where))) == ["SURVIVOR_CHANGED"]
    assert codes(here("b", data=data("b", **where)), plan=replace(PLAN, choices=("--survivor a",))) == []
    assert codes(here("b", data=data("b", cluster=0xBAD, **where))) == ["PLAN_OTHER_CLUSTER"]


def test_the_copy_of_an_earlier_run_has_its_room_already() -> None:
    seen = evidence(here("a", data=data("a", size=500), data_free_bytes=1499), here("b"), node("c"))
    assert [one.code for one in check_situation(PLAN, seen, RESERVE)] == ["DISK_SPACE"]
    assert check_situation(PLAN, seen, RESERVE, copied=True) == ()


def test_learners_and_removed_members_do_not_raise_what_a_majority_is() -> None:
    four = replace(forced("a", "b", "c", "d"), voters=3)  # d is a learner
    running = [here(name, service_active=True, live=live(name)) for name in "bc"]
    assert codes(*running, here("d"), plan=four) == ["MAJORITY_ALIVE"]


def test_another_cluster_or_log_means_another_plan_and_all_else_is_in_the_way() -> None:
    assert {"SURVIVOR_CHANGED", "SURVIVOR_RUNS_NOW", "PLAN_OTHER_CLUSTER", "START_OUTDATED"} == MISMATCHES


@pytest.mark.parametrize(
    ("hears", "leader_answers", "proven"),
    [(True, False, True), (None, False, True), (False, False, False), (True, True, False)],
)
def test_a_learner_that_never_campaigns_proves_a_leader_only_while_it_hears_one(
    hears: bool | None, leader_answers: bool, proven: bool
) -> None:
    four = forced("a", "b", "c", "d")
    status = replace(live("d").status, is_learner=True, leader_id=live("b").status.member_id)
    learner = here("d", service_active=True, live=replace(live("d"), status=status, hears_leader=hears))
    there = [
        here("c"),
        learner,
        *([here("b", service_active=True, live=live("b"))] if leader_answers else []),
    ]
    assert codes(*there, plan=four) == ["MAJORITY_ALIVE"] * proven
