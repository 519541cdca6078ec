"""From a snapshot to a plan: who is fenced, who leads, and which snapshots are refused."""

from __future__ import annotations

from dataclasses import replace

from patroni_etcd_reconfig.core.findings import Finding, Severity, blockers
from patroni_etcd_reconfig.core.recovery.evidence import Evidence
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Way
from patroni_etcd_reconfig.core.recovery.restoring import (
    SnapshotFile,
    Wish,
    choose_node,
    ids_of,
    plan_restore,
)
from patroni_etcd_reconfig.core.recovery.situation import check_situation
from patroni_etcd_reconfig.core.recovery.steps import (
    AwaitLeaders,
    CheckSnapshot,
    DropVolatileKeys,
    FenceMembers,
    OpenToPatroni,
    RebuildMembers,
    RepairKeys,
    RestoreSnapshot,
    VerifyRecovery,
    steps_of,
)
from patroni_etcd_reconfig.core.recovery.volatile import drops_of
from tests.core.recovery.builders import (
    NAMESPACE,
    NOW,
    SCOPE,
    SYSID,
    away,
    down,
    found,
    keys,
    kv,
    members,
    primary,
    serving,
    standby,
    wiped,
)
from tests.core.recovery.builders import alone as running

KEYS = tuple(keys("pg1", timeline=1, members=("pg1", "pg2")).keys.values())
FILE = SnapshotFile("/s.db", "ab" * 32, 4096, True, 50, NOW - 600, KEYS, members("abc"))
NODES = (wiped("a"), wiped("b"), wiped("c"))
POSTGRES = (standby("pg1", 4_000, timeline=1), primary("pg2", 5_000, timeline=2))


def plan(
    evidence: Evidence, file: SnapshotFile = FILE, lost: str = "", *, raw: bool = False
) -> tuple[RecoveryPlan, tuple[Finding, ...]]:
    return plan_restore(evidence, file, Wish("a", frozenset(lost), raw=raw), NOW)


def stopping(findings: tuple[Finding, ...]) -> set[str]:
    return {finding.code for finding in blockers(findings)}


def told(findings: tuple[Finding, ...]) -> dict[str, Severity]:
    return {finding.code: finding.severity for finding in findings}


def test_the_ids_are_those_that_etcd_itself_makes() -> None:
    # n1 of etcd 3.4.23, restored with this URL and token; so do 3.5.1, 3.6.6 and 3.7.1.
    assert ids_of(("http://127.0.0.1:2380",), "token") == (0x5E35A60033E2E0A3, 0x6DB4E7AFDED8809C)


def test_a_snapshot_older_than_a_failover_gives_the_lead_to_the_primary_of_now() -> None:
    made, findings = plan(found(*NODES, *POSTGRES))
    assert not blockers(findings)
    assert made.way is Way.RESTORE
    scope = made.scopes[0]
    assert (scope.leader_in_dcs, scope.should_lead) == ("pg1", "pg2")
    assert {"leader", "history"} <= set(scope.stale)


def test_all_members_of_before_are_fenced_and_all_but_the_restored_one_come_back() -> None:
    made, _ = plan(found(down("a"), down("b"), wiped("c"), *POSTGRES))
    assert [fence.node for fence in made.fence] == ["a", "b", "c"]
    assert [seat.name for seat in made.rebuild] == ["b", "c"]
    kinds = [type(step) for step in steps_of(made)]
    assert kinds == [
        CheckSnapshot,
        FenceMembers,
        RestoreSnapshot,
        DropVolatileKeys,
        RepairKeys,
        OpenToPatroni,
        AwaitLeaders,
        RebuildMembers,
        VerifyRecovery,
    ]


def test_without_any_data_the_members_of_the_snapshot_come_back() -> None:
    made, _ = plan(found(*NODES, *POSTGRES))
    assert [(fence.node, fence.lost) for fence in made.fence] == [("b", False), ("c", False)]
    assert [seat.name for seat in made.rebuild] == ["b", "c"]


def test_each_restore_makes_another_cluster() -> None:
    evidence = found(*NODES, *POSTGRES)
    one, _ = plan(evidence)
    later, _ = plan_restore(evidence, FILE, Wish("a"), NOW + 1)
    other, _ = plan(evidence, replace(FILE, sha256="cd" * 32))
    assert len({one.cluster_id, later.cluster_id, other.cluster_id}) == 3


def test_a_node_that_nobody_could_look_at_must_be_declared_lost() -> None:
    evidence = found(wiped("a"), wiped("b"), away("c"), *POSTGRES)
    assert stopping(plan(evidence)[1]) == {"RECOVERY_NOT_FENCED"}
    made, findings = plan(evidence, lost="c")
    assert not blockers(findings)
    assert [(fence.node, fence.lost) for fence in made.fence] == [("b", False), ("c", True)]
    assert made.choices == ("--lost c",)
    assert [seat.name for seat in made.rebuild] == ["b"]


def test_members_of_other_machines_must_be_empty_there_and_join_later() -> None:
    there = replace(wiped("b"), collected_by="elsewhere")
    made, findings = plan(found(down("a"), there, wiped("c"), *POSTGRES))
    assert not blockers(findings)
    assert [(fence.node, fence.lost) for fence in made.fence] == [("a", False), ("b", True), ("c", False)]
    assert [seat.name for seat in made.rebuild] == ["c"]
    there = replace(down("b"), collected_by="elsewhere")
    assert stopping(plan(found(down("a"), there, wiped("c"), *POSTGRES))[1]) == {"RECOVERY_NOT_FENCED"}


def test_a_loss_that_is_none_is_refused() -> None:
    assert stopping(plan(found(*map(down, "abc"), *POSTGRES), lost="b")[1]) == {"RECOVERY_LOST_WRONG"}


def test_the_snapshot_of_another_postgresql_cluster_is_refused() -> None:
    others = tuple(replace(one, system_identifier="1" + SYSID) for one in POSTGRES)
    assert "PG_SYSTEM_ID" in stopping(plan(found(*NODES, *others))[1])


def test_a_snapshot_without_patroni_is_refused() -> None:
    foreign = replace(FILE, keys=(kv("leader", "x", scope="x"),), members=())
    assert "RESTORE_NO_KEYS" not in told(plan(found(*NODES, *POSTGRES), foreign)[1])
    assert "RESTORE_NO_KEYS" in stopping(plan(found(*NODES, *POSTGRES), replace(FILE, keys=()))[1])


def test_nothing_is_restored_while_etcd_serves() -> None:
    assert "RESTORE_QUORUM_SERVES" in stopping(plan(found(*NODES[:2], serving(running("c")), *POSTGRES))[1])


def test_a_file_without_a_hash_must_be_asked_for() -> None:
    raw = replace(FILE, hashed=False)
    assert stopping(plan(found(*NODES, *POSTGRES), raw)[1]) == {"RESTORE_RAW"}
    made, findings = plan(found(*NODES, *POSTGRES), raw, raw=True)
    assert told(findings)["RESTORE_RAW"] is Severity.WARNING
    assert "--raw-database" in made.choices


def test_newer_data_that_could_go_on_is_told() -> None:
    _, findings = plan(found(down("a", revision=60), *NODES[1:], *POSTGRES))
    assert told(findings)["RESTORE_NEWER_DATA"] is Severity.WARNING


def test_a_pause_of_then_is_told_and_a_pause_of_now_is_kept() -> None:
    then = keys("pg1", timeline=1, config={"pause": True})
    file = replace(FILE, keys=tuple(then.keys.values()))
    assert "RESTORE_PAUSED" in told(plan(found(*NODES, *POSTGRES), file)[1])
    paused = tuple(replace(one, paused=True) for one in POSTGRES)
    made, findings = plan(found(*NODES, *paused))
    assert "RESTORE_PAUSED" not in told(findings)
    assert made.scopes[0].scope == SCOPE
    assert made.scopes[0].paused


def test_where_no_data_is_left_a_member_that_only_the_snapshot_knows_must_be_declared_lost() -> None:
    evidence = found(wiped("a"), wiped("b"), *POSTGRES)
    assert stopping(plan(evidence)[1]) == {"RECOVERY_NOT_FENCED"}
    made, findings = plan(evidence, lost="c")
    assert not blockers(findings)
    assert [(fence.node, fence.lost) for fence in made.fence] == [("b", False), ("c", True)]


def test_what_only_another_machine_controls_must_be_empty_there() -> None:
    elsewhere = replace(down("b"), collected_by="another")
    assert stopping(plan(found(down("a"), elsewhere, wiped("c"), *POSTGRES))[1]) == {"RECOVERY_NOT_FENCED"}


def test_members_that_run_and_do_not_find_each_other_are_no_loss() -> None:
    nodes = (wiped("a"), running("b"), running("c"))
    assert "RECOVERY_MAJORITY_RUNS" in stopping(plan(found(*nodes, *POSTGRES))[1])
    made, _ = plan(found(*NODES, *POSTGRES))
    assert "RECOVERY_MAJORITY_RUNS" in stopping(check_situation(made, found(*nodes), 0))


def test_the_disk_must_have_room_for_the_new_data_beside_the_old() -> None:
    little = replace(wiped("a"), data_free_bytes=64_000_000)
    assert stopping(plan(found(little, *NODES[1:], *POSTGRES))[1]) == {"DISK_SPACE"}
    made, _ = plan(found(*NODES, *POSTGRES))
    assert stopping(check_situation(made, found(little, *NODES[1:]), 0)) == {"DISK_SPACE"}


def test_a_file_that_would_be_set_aside_is_refused() -> None:
    wish = Wish("a", moved="/var/lib/etcd")
    assert stopping(plan_restore(found(*NODES, *POSTGRES), FILE, wish, NOW)[1]) == {"RESTORE_FILE_INSIDE"}


def test_a_tool_that_cannot_raise_revisions_is_told() -> None:
    _, findings = plan_restore(found(*NODES, *POSTGRES), FILE, Wish("a", bumps=False), NOW)
    assert told(findings)["RESTORE_REVISION_BACK"] is Severity.WARNING
    assert "RESTORE_REVISION_BACK" not in told(plan(found(*NODES, *POSTGRES))[1])


def test_what_is_lost_is_counted_against_the_data_that_was_found() -> None:
    assert "how many writes is not known" in plan(found(*NODES, *POSTGRES))[0].losses[0]
    made, _ = plan(found(down("a", revision=80), *NODES[1:], *POSTGRES))
    assert "a had reached 80, so at least 30" in made.losses[0]


def test_the_first_node_within_reach_gets_the_data_unless_another_is_named() -> None:
    evidence = found(away("a"), wiped("b"), wiped("c"))
    assert choose_node(evidence, "", "cba") == "b"
    assert choose_node(evidence, "c", "abc") == "c"
    assert choose_node(evidence, "", "a") == ""


def test_what_a_snapshot_cannot_know_is_stale_and_dropped_in_all_scopes_leaders_first() -> None:
    assert {"leader", "members/pg1", "members/pg2"} <= set(plan(found(*NODES, *POSTGRES))[0].scopes[0].stale)
    volatile = [kv(name, {}) for name in ("failover", "status", "failsafe", "sync")]
    kvs = (*KEYS, *volatile, kv("leader", "x", scope="other"))
    dropped = [drop.key for drop in drops_of(kvs, NAMESPACE)]
    assert dropped[:2] == [f"{NAMESPACE}/{SCOPE}/leader", f"{NAMESPACE}/other/leader"]
    left = {one.key.rpartition("/")[2] for one in kvs if one.key not in dropped}
    assert left == {"initialize", "config", "history", "sync"}


def test_before_its_first_step_a_restore_looks_again() -> None:
    made, _ = plan(found(down("a"), down("b"), down("c"), *POSTGRES))

    def now(*nodes: object) -> set[str]:
        return stopping(check_situation(made, found(*nodes), 0))  # type: ignore[arg-type]

    assert now(down("a"), down("b"), down("c")) == set()
    assert now(down("a"), down("b"), serving(running("c"))) == {"RESTORE_QUORUM_SERVES"}
    assert now(down("a"), down("b"), away("c")) == {"CANNOT_FENCE"}
    assert now(down("a"), down("b"), down("c", member_id=99)) == {"PLAN_OTHER_CLUSTER"}
    lost, _ = plan(found(down("a"), down("b"), away("c"), *POSTGRES), lost="c")
    seen = check_situation(lost, found(down("a"), down("b"), running("c")), 0)
    assert stopping(seen) == {"LOST_ANSWERS"}
