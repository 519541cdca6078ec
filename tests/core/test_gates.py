"""The laws as gates: what stops a step, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import Seat, reference
from patroni_etcd_reconfig.core.findings import Severity, blockers
from patroni_etcd_reconfig.core.gates import check_step
from patroni_etcd_reconfig.core.model import EtcdView, NodeView, Observation
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.steps import (
    AddLearner,
    PromoteLearner,
    RemoveMember,
    SaveSnapshot,
    Step,
)

from .builders import IDS, cycle, down, etcd, learner, patroni, seen, urls, voter, voters

C = reference(voter("c").member)
REMOVE_C = RemoveMember(C)


def _codes(
    state: Observation,
    step: Step = REMOVE_C,
    policy: Policy | None = None,
    began_with: EtcdView | None = None,
) -> list[str]:
    change = cycle(began_with or voters(3))
    return [finding.code for finding in blockers(check_step(state, step, change, policy or Policy()))]


def test_a_calm_cluster_lets_a_follower_go() -> None:
    assert _codes(seen(voters(3), patroni())) == []


def test_a_removal_that_would_leave_no_quorum_is_refused() -> None:
    assert _codes(seen(etcd(voter("a"), down("b"), voter("c")), patroni())) == ["NO_QUORUM_AFTER"]


def test_a_dead_member_may_be_removed_when_the_others_are_a_quorum() -> None:
    assert _codes(seen(etcd(voter("a"), voter("b"), down("c")), patroni())) == []


def test_the_leader_is_not_removed() -> None:
    assert "LEADER_NOT_MOVED" in _codes(seen(voters(3, leader="c"), patroni()))


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"leader": None}, "PATRONI_NO_LEADER"),
        ({"age": 20.0}, "PATRONI_LEASE_STALE"),
        ({"paused": True}, "PATRONI_PAUSED"),
        ({"failover": "member pg2"}, "PATRONI_FAILOVER_PENDING"),
        ({"failsafe_mode": False}, "FAILSAFE_OFF"),
        ({"retry_timeout": 3.0}, "WRITE_GAP_BUDGET"),
    ],
)
def test_a_patroni_cluster_that_is_not_calm_stops_every_step(facts: dict[str, object], code: str) -> None:
    state = seen(voters(3), patroni("calm"), patroni("other", **facts))  # type: ignore[arg-type]
    assert _codes(state) == [code]


def test_failsafe_off_is_no_blocker_where_the_policy_only_warns() -> None:
    state = seen(voters(3), patroni(failsafe_mode=False))
    assert _codes(state, policy=Policy(failsafe="warn")) == []


def test_an_accepted_finding_becomes_a_warning_that_says_so() -> None:
    state = seen(voters(3), patroni(paused=True))
    findings = check_step(state, REMOVE_C, cycle(voters(3)), Policy(accept=frozenset({"PATRONI_PAUSED"})))
    assert [(f.code, f.severity) for f in findings] == [("PATRONI_PAUSED", Severity.WARNING)]
    assert "accepted" in findings[0].detail


def test_a_member_that_somebody_else_added_stops_the_operation() -> None:
    state = seen(voters(4), patroni())
    assert "MEMBERSHIP_CHANGED" in _codes(state)


def test_a_member_that_somebody_else_removed_stops_the_operation() -> None:
    change = cycle(voters(3), "c")
    state = seen(etcd(voter("a"), voter("c")), patroni())
    codes = [finding.code for finding in check_step(state, REMOVE_C, change, Policy())]
    assert "MEMBERSHIP_CHANGED" in codes


def test_another_cluster_behind_the_same_hosts_stops_even_a_snapshot() -> None:
    state = seen(replace(voters(3), cluster_id=0xBAD), patroni())
    assert _codes(state, SaveSnapshot(Seat("a", urls("a")))) == ["CLUSTER_ID_CHANGED"]


def test_a_list_that_is_not_linearizable_stops_every_change() -> None:
    state = seen(replace(voters(3), linearizable=False), patroni())
    assert "NO_QUORUM" in _codes(state)


def test_an_alarm_stops_every_change() -> None:
    full = replace(voter("b"), alarms=("NOSPACE",))
    assert "ALARM" in _codes(
        seen(etcd(voter("a"), full, voter("c"), voter("d"), voter("e"))), began_with=voters(5)
    )


def test_a_second_learner_is_never_added() -> None:
    state = seen(etcd(voter("a"), voter("b"), learner("d")), patroni())
    assert "MEMBERSHIP_CHANGED" in _codes(state, AddLearner(C.seat))


def test_a_learner_that_does_not_answer_is_not_promoted() -> None:
    silent = replace(learner("c"), status=None)
    state = seen(etcd(voter("a"), voter("b"), silent), patroni())
    assert _codes(state, PromoteLearner(C.seat)) == ["LEARNER_UNHEALTHY"]
    assert _codes(seen(etcd(voter("a"), voter("b"), learner("c")), patroni()), PromoteLearner(C.seat)) == []


def test_a_node_that_cannot_be_controlled_keeps_its_member() -> None:
    state = seen(voters(3), patroni())
    broken = replace(state, nodes={**state.nodes, "c": NodeView("c", problem="no such command")})
    assert _codes(broken) == ["NODE_CONTROL"]
    assert _codes(replace(state, nodes={})) == ["NODE_CONTROL"]


def test_what_waiting_can_cure_is_marked_so() -> None:
    state = seen(voters(3), patroni(age=20.0))
    (finding,) = check_step(state, REMOVE_C, cycle(voters(3)), Policy())
    assert finding.transient
    (paused,) = check_step(seen(voters(3), patroni(paused=True)), REMOVE_C, cycle(voters(3)), Policy())
    assert not paused.transient


def test_ids_are_what_names_a_victim() -> None:
    assert IDS["c"] == C.id
