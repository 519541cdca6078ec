"""Did a recovery reach its goal, and what is said of it afterwards: each word from what was seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patroni_etcd_reconfig.core.findings import Finding, Severity
from patroni_etcd_reconfig.core.model import EtcdView, Observation, PatroniCluster, PatroniHosts
from patroni_etcd_reconfig.core.recovery.model import Candidate, RecoveryPlan, Way
from patroni_etcd_reconfig.engine.recovery.isolation import NO_SPACE
from patroni_etcd_reconfig.engine.recovery.journal import RecoveryRecord
from patroni_etcd_reconfig.engine.recovery.verifying import Goal, report
from tests.core import builders as world
from tests.core.recovery.builders import primary, standby
from tests.core.recovery.recovery_plans import fence, forced, scope

# The survivor `a` with b and c made new: their ids are no longer those of before.
ETCD = world.etcd(
    world.voter("a"),
    *(
        replace(view, member=replace(view.member, id=view.member.id + 0x50))
        for view in map(world.voter, "bc")
    ),
)
PLAN = forced("a", "b", "c", scopes=(scope(),))
LEADS = world.patroni(leader="pg2")


def goal(
    etcd: EtcdView = ETCD, *clusters: PatroniCluster, plan: RecoveryPlan = PLAN, **facts: Any
) -> tuple[Finding, ...]:
    """Return the findings where pg2 leads and takes writes, unless said otherwise."""
    said = {"postgres": (primary("pg2"),), "same_data": True, **facts}
    observation: Observation = world.seen(etcd, *(clusters or (LEADS,)))
    return Goal(plan, said.pop("seen", observation), **said).findings()


def severities(findings: tuple[Finding, ...]) -> dict[str, Severity]:
    return {finding.code: finding.severity for finding in findings}


def test_nothing_is_said_of_a_goal_that_was_reached() -> None:
    assert goal() == ()


@pytest.mark.parametrize(
    ("findings", "code", "subject"),
    [
        (goal(replace(ETCD, linearizable=False)), "RECOVERY_NO_QUORUM", "etcd"),
        (goal(replace(ETCD, cluster_id=0xBAD)), "RECOVERY_OTHER_CLUSTER", "etcd"),
        (goal(same_data=False), "RECOVERY_DATA_DIFFERS", "etcd"),
        (goal(replace(ETCD, members=(*ETCD.members[:2], world.down("c")))), "RECOVERY_MEMBER_DOWN", "c"),
        (goal(world.voters(3)), "RECOVERY_OLD_MEMBER", "b"),
        (goal(ETCD, world.patroni("other")), "RECOVERY_NO_LEADER", "demo"),
        (goal(ETCD, replace(LEADS, leader=None)), "RECOVERY_NO_LEADER", "demo"),
        (goal(ETCD, replace(LEADS, lease=None)), "RECOVERY_NO_LEADER", "demo"),
        (goal(postgres=(standby("pg2"),)), "RECOVERY_NOT_WRITABLE", "demo"),
        (goal(postgres=(primary("pg1"),)), "RECOVERY_NOT_WRITABLE", "demo"),
        (goal(postgres=(primary("pg2", source="none", running=None),)), "RECOVERY_NOT_WRITABLE", "demo"),
    ],
)
def test_what_is_missing_is_a_blocker(findings: tuple[Finding, ...], code: str, subject: str) -> None:
    assert (code, subject, Severity.BLOCKER) in [(f.code, f.subject, f.severity) for f in findings]
    assert all(finding.remedy for finding in findings)


def test_a_member_that_is_not_there_yet_is_a_warning_with_the_next_command() -> None:
    alone = replace(ETCD, members=ETCD.members[:1])
    found = [one for one in goal(alone) if one.code == "RECOVERY_MEMBER_MISSING"]
    assert [(one.subject, one.severity) for one in found] == [
        ("b", Severity.WARNING),
        ("c", Severity.WARNING),
    ]
    assert "patronictl-etcd add b" in found[0].remedy
    learns = goal(replace(ETCD, members=(*ETCD.members[:2], world.learner("c"))))
    assert [one.detail for one in learns if one.code == "RECOVERY_MEMBER_MISSING"] == ["it does not vote yet"]


def test_members_that_only_had_to_be_started_are_not_old() -> None:
    assert goal(world.voters(3), plan=replace(PLAN, way=Way.START)) == ()


def test_another_leader_than_the_planned_one_is_a_warning() -> None:
    found = goal(ETCD, world.patroni(leader="pg1"), postgres=(primary("pg1"),))
    assert severities(found) == {"RECOVERY_OTHER_LEADER": Severity.WARNING}


def test_a_key_that_waits_for_a_node_says_whom_to_start() -> None:
    (found,) = goal(ETCD, replace(LEADS, lease=None))
    assert "start Patroni on pg2" in found.remedy
    assert "etcdctl del /service/demo/leader" in found.remedy


def test_patroni_s_word_alone_is_told() -> None:
    found = goal(postgres=(primary("pg2", source="rest", problem="no password"),))
    assert severities(found) == {"RECOVERY_ONLY_PATRONI": Severity.WARNING}
    assert "no password" in found[0].detail


def test_a_standby_leader_takes_no_writes() -> None:
    follows = replace(LEADS, standby_cluster=True)
    assert goal(ETCD, follows, postgres=(standby("pg2"),)) == ()
    assert "RECOVERY_NO_LEADER" in severities(goal(ETCD, replace(follows, lease=None)))


def test_a_scope_that_has_no_leader_on_purpose_is_no_blocker() -> None:
    plan = replace(PLAN, scopes=(scope(), scope("old", without_leader=True)))
    assert severities(goal(plan=plan)) == {"RECOVERY_WITHOUT_LEADER": Severity.INFO}


@pytest.mark.parametrize(("hosts", "code"), [(("x:2379",), "HOSTS_STALE"), (("a:2379",), "HOSTS_SINGLE")])
def test_hosts_are_checked_after_a_recovery(hosts: tuple[str, ...], code: str) -> None:
    seen = replace(world.seen(ETCD, LEADS), patroni_hosts=(PatroniHosts("/etc/patroni.yml", hosts),))
    assert code in severities(goal(seen=seen))


def test_the_goal_tells_how_far_the_leaders_are() -> None:
    there = Goal(PLAN, world.seen(ETCD, LEADS), (primary("pg2", 7_000), standby("pg1")), same_data=True)
    assert there.leading() == {"demo": {"leader": "pg2", "timeline": 2, "lsn": 7_000}}


def told(plan: RecoveryPlan, **facts: Any) -> list[Finding]:
    return list(report(plan, RecoveryRecord("op", "p1", 0.0, facts=facts)))


def test_the_report_names_losses_copies_and_fenced_data() -> None:
    plan = replace(PLAN, losses=("DCS: 3 entries",), fence=(*PLAN.fence, fence("d", lost=True)))
    found = told(plan, copies=["/data.copy"], fenced={"b": ["/b.old"], "c": []})
    assert [(one.code, one.subject) for one in found] == [
        ("RECOVERY_LOSS", "etcd"),
        ("RECOVERY_BACKUP", "a"),
        ("RECOVERY_FENCED", "b"),
        ("RECOVERY_LOST_MEMBER", "d"),
    ]


def test_the_report_says_what_was_kept() -> None:
    candidates = (Candidate("pg2", 2, 0x5000, 0), Candidate("pg1", 1, 0x4000, None))
    plan = replace(PLAN, scopes=(scope(candidates=candidates),))
    leading = {"demo": {"leader": "pg2", "timeline": 3, "lsn": 0x6000}}
    found = told(plan, opened="a", revision=42, leading=leading, kept_keys={"demo": ["config", "initialize"]})
    assert [one.subject for one in found if one.code == "RECOVERY_KEPT"] == ["etcd", "demo"]
    assert "up to its commit index 99, revision 42" in found[0].detail
    assert "pg2 leads at timeline 3, 0/6000; collected, it was at timeline 2, 0/5000" in found[1].detail
    assert "all of which it has" in found[1].detail
    assert "keys kept as they were: config, initialize" in found[1].detail


def test_a_leader_with_less_than_it_had_is_told() -> None:
    plan = replace(PLAN, scopes=(scope(candidates=(Candidate("pg2", 2, 0x5000, 0),)),))
    (found,) = told(plan, leading={"demo": {"leader": "pg2", "timeline": 2, "lsn": 0x4000}})
    assert found.detail.endswith(": it has less now")


def test_what_was_started_or_restored_is_kept_too() -> None:
    (started,) = told(replace(PLAN, way=Way.START, scopes=()))
    assert "its own data" in started.detail
    restored = told(replace(PLAN, way=Way.RESTORE, scopes=()), opened="a", revision=7)
    assert restored[0].detail == "all that the snapshot held, revision 7"


def test_the_last_look_s_warnings_are_in_the_report() -> None:
    said = {"code": "RECOVERY_OTHER_LEADER", "subject": "demo", "detail": "x", "remedy": "y"}
    found = told(PLAN, verified=[{**said, "severity": "warning"}, {**said, "severity": "info"}])
    assert severities(tuple(found)) == {"RECOVERY_OTHER_LEADER": Severity.WARNING}


@pytest.mark.parametrize(("paused", "remedy"), [(True, "patronictl failover demo"), (False, "Patroni logs")])
def test_a_paused_scope_without_a_leader_is_told_how_to_get_one(paused: bool, remedy: str) -> None:
    cluster = PatroniCluster("demo", leader=None, lease=None, paused=paused)
    found = Goal(PLAN, world.seen(world.voters(3), cluster), (), same_data=True).findings()
    (told,) = [one for one in found if one.code == "RECOVERY_NO_LEADER"]
    assert remedy in told.remedy


def test_a_survivor_that_was_full_is_in_the_report() -> None:
    record = RecoveryRecord("recover-p1", "p1", 0.0)
    assert "RECOVERY_NO_SPACE" not in {one.code for one in report(PLAN, record)}
    record.facts[NO_SPACE] = True
    (told,) = [one for one in report(PLAN, record) if one.code == "RECOVERY_NO_SPACE"]
    assert "etcdctl compact" in told.remedy
