"""Patroni clusters that stay without a leader on purpose: nobody waits, and nobody leads wrongly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.findings import blockers
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.leaderless import audit_scope
from patroni_etcd_reconfig.core.recovery.model import Choice, RecoveryPlan, ScopePlan
from patroni_etcd_reconfig.core.recovery.plan import plan_recovery
from patroni_etcd_reconfig.core.recovery.plan_codec import plan_document, read_plan_document
from patroni_etcd_reconfig.core.recovery.restoring import SnapshotFile, Wish, plan_restore
from patroni_etcd_reconfig.core.recovery.scopes import scopes_of
from patroni_etcd_reconfig.core.recovery.steps import AwaitLeaders, RepairKeys, steps_of
from tests.core.recovery.builders import (
    NAMESPACE,
    NOW,
    SCOPE,
    applied,
    down,
    found,
    keys,
    kv,
    members,
    plan_for,
    primary,
    silent,
    standby,
    stopped,
    values,
    wiped,
)

OLD = Choice(without=("old",))
# What a cluster that was taken down leaves behind.
LEFT = tuple(
    kv(name, "{}" if name != "initialize" else "1", scope="old") for name in ("config", "initialize")
)
LIVE = tuple(keys("pg1").keys.values())


def planned(choice: Choice, *postgres: PostgresEvidence) -> tuple[RecoveryPlan, set[str]]:
    evidence = found(down("a", keys=(*LIVE, *LEFT)), wiped("b"), wiped("c"), *(postgres or (primary("pg1"),)))
    plan, findings = plan_recovery(evidence, frozenset(), NOW, choice)
    return plan, {finding.code for finding in blockers(findings)}


def test_a_dead_scope_blocks_and_the_finding_names_the_option() -> None:
    evidence = found(down("a", keys=LEFT), wiped("b"), wiped("c"))
    _, findings = plan_recovery(evidence, frozenset(), NOW, Choice(leads=(("old", "pg9"),)))
    (nobody,) = [one for one in findings if one.code == "PG_NOBODY"]
    assert "--without-leader old" in nobody.remedy


def test_with_the_option_it_is_neither_blocked_nor_awaited() -> None:
    assert planned(Choice())[1] == {"PG_NOBODY"}
    plan, codes = planned(OLD)
    assert codes == set()
    steps = steps_of(plan)
    assert AwaitLeaders((SCOPE,)) in steps
    assert RepairKeys((SCOPE, "old")) in steps
    assert plan.choices == ("--without-leader old",)


def test_the_choice_is_in_the_plan_s_file_and_id() -> None:
    plan, _ = planned(OLD)
    assert read_plan_document(plan_document(plan)) == plan
    old = next(one for one in plan.scopes if one.scope == "old")
    assert old.without_leader
    assert old.should_lead is None
    assert plan.id != planned(Choice())[0].id


def test_a_restore_takes_it_too() -> None:
    file = SnapshotFile("/s.db", "ab" * 32, 4096, True, 50, NOW, (*LIVE, *LEFT), members("abc"))
    evidence = found(wiped("a"), wiped("b"), wiped("c"), primary("pg1"))
    for choice, codes in ((Choice(), {"PG_NOBODY"}), (OLD, set())):
        plan, findings = plan_restore(evidence, file, Wish("a", choice=choice), NOW)
        assert {one.code for one in blockers(findings)} == codes
    assert plan.choices == ("--without-leader old",)


def test_without_evidence_nobody_is_named_and_patroni_s_own_rules_stay() -> None:
    more = {"sync": {"leader": "pg1"}, "failover": {"leader": "pg1"}, "status": {"optime": 5}}
    there = keys("pg1", more, members=("pg1",))
    done = audit_scope(there, [silent("pg1")], plan_for(None, without_leader=True), NAMESPACE)
    assert blockers(done.findings) == ()
    left = values(applied(there, done.repairs))
    assert not {"leader", "failover"} & set(left)
    assert {"history", "sync", "status", "config", "initialize"} <= set(left)


def test_a_leader_that_evidence_carries_is_named_all_the_same() -> None:
    there = keys("pg1", members=("pg1", "pg2"))
    nodes = (stopped("pg1", 4_000), standby("pg2", 5_000, running=False, patroni_answers=False))
    done = audit_scope(there, nodes, plan_for("pg2", without_leader=True, chosen=True), NAMESPACE)
    assert values(applied(there, done.repairs))["leader"] == "pg2"
    assert "PG_WITHOUT_LEADER" in {one.code for one in done.findings}


@pytest.mark.parametrize(
    "node", [standby("pg1"), replace(standby("pg1"), running=None, timeline=None, lsn=None)]
)
def test_patronis_that_run_would_elect_somebody(node: PostgresEvidence) -> None:
    doubt = silent("pg2")
    done = audit_scope(keys("pg1"), [node, doubt], plan_for(None, without_leader=True), NAMESPACE)
    assert done.repairs == ()
    assert blockers(done.findings)[0].code == "PG_WITHOUT_LEADER"


def test_a_primary_that_runs_contradicts_the_choice_and_keeps_its_lock() -> None:
    runs = primary("pg9", scope="old", system_identifier="1")
    assert "PG_WITHOUT_LEADER" in planned(OLD, primary("pg1"), runs)[1]
    there = keys("pg1")
    done = audit_scope(there, [primary("pg1")], plan_for("pg1", without_leader=True), NAMESPACE)
    assert values(applied(there, done.repairs))["leader"] == "pg1"


def test_another_cluster_s_keys_are_not_passed() -> None:
    plan = plan_for("pg1", without_leader=True, chosen=True)
    done = audit_scope(keys("pg1", initialize="another"), [stopped("pg1")], plan, NAMESPACE)
    assert {one.code for one in blockers(done.findings)} == {"PG_SYSTEM_ID"}


@pytest.mark.parametrize("choice", [Choice(without=("odl",)), Choice(leads=(("odl", "pg1"),))])
def test_a_scope_that_does_not_exist_is_a_slip(choice: Choice) -> None:
    assert "PG_NO_SCOPE" in planned(replace(choice))[1]


def test_a_plan_without_the_field_is_an_older_one() -> None:
    assert ScopePlan("demo", None, None).without_leader is False
    assert scopes_of(found(primary("pg1")), LIVE, Choice())[0].plan.without_leader is False
