"""From evidence to a plan: the most harmless way, the most advanced survivor, everybody else fenced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.findings import Finding, Severity, blockers
from patroni_etcd_reconfig.core.model import Member
from patroni_etcd_reconfig.core.recovery.evidence import NodeEvidence, PostgresEvidence
from patroni_etcd_reconfig.core.recovery.model import Choice, RecoveryPlan, Survivor, Way
from patroni_etcd_reconfig.core.recovery.plan import plan_recovery
from patroni_etcd_reconfig.core.recovery.plan_codec import steps_in_words
from tests.core.recovery.builders import (
    IDS,
    NOW,
    alone,
    away,
    crashed,
    data,
    down,
    found,
    keys,
    members,
    peer_urls,
    primary,
    serving,
    silent,
    standby,
    stopped,
    wiped,
)

Planned = tuple[RecoveryPlan, tuple[Finding, ...]]


def plan(
    *nodes: NodeEvidence | PostgresEvidence, lost: str = "", survivor: str = "", **leads: str
) -> Planned:
    choice = Choice(survivor, tuple(leads.items()))
    return plan_recovery(found(*nodes), frozenset(lost), NOW, choice)


def codes(planned: Planned, severity: Severity = Severity.BLOCKER) -> list[str]:
    return sorted(finding.code for finding in planned[1] if finding.severity is severity)


def survivor(planned: Planned) -> Survivor:
    assert planned[0].survivor
    return planned[0].survivor


def detail(planned: Planned, code: str) -> str:
    return next(f"{one.detail} | {one.remedy}" for one in planned[1] if one.code == code)


class TestHarmless:
    def test_nothing_is_recovered_while_a_majority_serves(self) -> None:
        planned = plan(serving(alone("a")), alone("b"), down("c"), lost="c")
        assert planned[0].way is Way.NOTHING
        assert codes(planned) == ["RECOVERY_QUORUM_SERVES"]
        assert steps_in_words(planned[0]) == ()

    def test_stopped_members_that_make_a_majority_are_started(self) -> None:
        planned = plan(alone("a"), down("b"), away("c"))
        assert planned[0].way is Way.START
        assert planned[0].start == ("b",)
        assert blockers(planned[1]) == ()
        assert steps_in_words(planned[0])[0] == "start b with the data they have"

    def test_all_that_can_be_started_are(self) -> None:
        assert plan(down("a"), down("b", 90), down("c"))[0].start == ("a", "b", "c")

    def test_data_that_can_not_vote_makes_no_majority(self) -> None:
        learner, removed = down("b", is_learner=True), down("b", is_removed=True)
        damaged = down("b", problems=("crc mismatch in 1.wal",))
        for bad in (learner, removed, damaged, wiped("b"), down("b", cluster_id=0xBAD)):
            assert plan(down("a"), bad, away("c"), lost="c")[0].way is Way.FORCE

    def test_a_member_that_was_removed_without_knowing_it_is_not_started(self) -> None:
        later = data("a", 120, names="abde")
        planned = plan(replace(down("a"), data=later), down("b", 120, names="abde"), down("c", 90))
        assert planned[0].way is Way.FORCE
        assert "it was removed: the later member list of a" in survivor(planned).why

    def test_members_that_run_and_do_not_find_each_other_are_a_partition(self) -> None:
        planned = plan(alone("a"), alone("b"), away("c"), lost="c")
        assert codes(planned) == ["RECOVERY_MAJORITY_RUNS"]
        assert "network" in detail(planned, "RECOVERY_MAJORITY_RUNS")

    def test_a_named_survivor_goes_before_starting_and_is_recorded(self) -> None:
        planned = plan(down("a"), down("b", 90), down("c"), survivor="a")
        assert (planned[0].way, survivor(planned).node) == (Way.FORCE, "a")
        assert planned[0].choices == ("--survivor a",)

    def test_a_loss_that_is_declared_of_a_member_to_start_is_wrong(self) -> None:
        assert codes(plan(down("a"), down("b"), down("c"), lost="b")) == ["RECOVERY_LOST_WRONG"]


class TestStartedWithOldKeys:
    """A majority of its own list, and older than what PostgreSQL committed since."""

    OLD = tuple(keys("pg1", timeline=1).keys.values())

    def forced_before(self) -> NodeEvidence:
        """Somebody ran --force-new-cluster on this one and stopped it: it is a cluster of one."""
        return down("a", names="a", keys=self.OLD)

    def test_a_forced_cluster_of_one_is_not_just_started_when_postgresql_went_on(self) -> None:
        planned = plan(self.forced_before(), silent("pg2"), standby("pg1", 1_000, 1), standby("pg3"))
        assert (planned[0].way, planned[0].scopes[0].should_lead) == (Way.FORCE, "pg3")
        assert codes(planned) == ["PG_NOT_ASKED"]
        assert "names pg1 (timeline 1" in detail(planned, "RECOVERY_KEYS_OLD")
        assert "ends at timeline 1" in detail(planned, "RECOVERY_KEYS_OLD")

    def test_nor_a_majority_that_came_back_from_old_disks(self) -> None:
        nodes = (down(name, keys=self.OLD) for name in "abc")
        planned = plan(*nodes, crashed("pg1", 9_000, 1), standby("pg2"), standby("pg3", 4_000))
        assert (planned[0].way, planned[0].scopes[0].should_lead) == (Way.FORCE, "pg2")
        assert codes(planned) == []
        assert {"leader", "history"} <= set(planned[0].scopes[0].stale)

    def test_what_can_not_be_fenced_for_that_blocks(self) -> None:
        nodes = down("a", keys=self.OLD), down("b", keys=self.OLD), away("c")
        assert codes(plan(*nodes, standby("pg2"))) == ["RECOVERY_NOT_FENCED"]
        assert codes(plan(*nodes, standby("pg2"), lost="c")) == []

    def test_nodes_that_a_forced_list_left_out_can_come_back_as_the_old_cluster(self) -> None:
        seen = self.forced_before(), away("b"), wiped("c"), standby("pg3")
        planned = plan(*seen)
        assert codes(planned) == ["RECOVERY_NOT_FENCED"]
        assert "--lost b" in detail(planned, "RECOVERY_NOT_FENCED")
        assert codes(plan(*seen, lost="b")) == []
        assert codes(plan(*seen, lost="bx")) == ["RECOVERY_LOST_WRONG"]

    def test_the_leader_of_the_keys_can_be_named_and_then_they_are_started(self) -> None:
        nodes = [down(name, keys=self.OLD) for name in "abc"]
        planned = plan(*nodes, standby("pg1", 900, 1), standby("pg2"), demo="pg1")
        assert planned[0].way is Way.START
        assert planned[0].choices == ("--lead demo=pg1",)
        assert codes(planned) == []
        assert "PG_AHEAD" in codes(planned, Severity.WARNING)
        assert "pg2 (timeline 2" in planned[0].losses[0]
        assert plan(*nodes, standby("pg1", 900, 1), standby("pg2"), demo="pg2")[0].way is Way.FORCE

    @pytest.mark.parametrize(
        "nodes",
        [
            (crashed("pg1", 4_000), standby("pg2"), standby("pg3")),
            (stopped("pg1", 4_900), standby("pg2"), standby("pg3")),
            (standby("pg1"), standby("pg2"), standby("pg3", 4_000)),
            (silent("pg1"), standby("pg2"), standby("pg3", 4_000)),
            (silent("pg1"), stopped("pg2", 4_000), standby("pg3")),
            (silent("pg1"), silent("pg2"), silent("pg3")),
            (silent("pg1"), standby("pg2", 5_000, 1), silent("pg3")),
            (primary("pg1", 9_000, 3), standby("pg2"), standby("pg3")),
            (primary("pg1", failsafe_active=True), standby("pg2", 5_100), silent("pg3")),
        ],
        ids=[
            "its leader crashed",
            "its leader was demoted and stopped",
            "its leader was demoted and runs",
            "its leader is silent",
            "its leader is silent and a standby is down",
            "nobody answers",
            "one answers, of an earlier timeline",
            "its leader was promoted just now",
            "its leader never stopped",
        ],
    )
    def test_keys_that_nothing_proves_old_are_served_and_patroni_decides(
        self, nodes: tuple[PostgresEvidence, ...]
    ) -> None:
        sync = {"leader": "pg1", "sync_standby": "pg2"}
        own = tuple(keys("pg1", sync=sync, status={"optime": 4_000}, members=["pg1"]).keys.values())
        planned = plan(*(down(name, keys=own) for name in "abc"), *nodes)
        assert planned[0].way is Way.START
        assert codes(planned) == []
        assert planned[0].scopes[0].should_lead is None

    @pytest.mark.parametrize(
        ("nodes", "more"),
        [
            ((standby("pg1"), primary("pg2", 4_000)), {}),
            ((standby("pg1", 4_000), standby("pg2")), {}),
            ((standby("pg1", timeline_history=((1, 900, "elsewhere"),)),), {}),
            ((standby("pg2"), crashed("pg9", 9_000, 1)), {"leader": None, "sync": {"leader": "pg9"}}),
        ],
        ids=["another primary runs", "its leader has less", "another origin", "the synchronous one is old"],
    )
    def test_each_proof_counts(self, nodes: tuple[PostgresEvidence, ...], more: dict[str, object]) -> None:
        own = keys(**{"leader": "pg1", **more})  # type: ignore[arg-type]
        planned = plan(*(down(name, keys=tuple(own.keys.values())) for name in "abc"), *nodes)
        assert planned[0].way is Way.FORCE
        assert "RECOVERY_KEYS_OLD" in codes(planned, Severity.WARNING)

    def test_where_nodes_are_left_out_of_the_list_all_must_be_asked(self) -> None:
        seen = self.forced_before(), away("b"), away("c"), standby("pg1", 1_000, 1), silent("pg2")
        planned = plan(*seen)
        assert planned[0].way is Way.START
        assert codes(planned) == ["PG_NOT_ASKED"]
        assert "a list without b, c" in detail(planned, "RECOVERY_START")
        assert codes(plan(*seen, demo="pg1")) == []

    def test_two_primaries_are_not_patroni_s_to_decide(self) -> None:
        own = tuple(keys("pg1").keys.values())
        planned = plan(*(down(name, keys=own) for name in "abc"), primary("pg1"), primary("pg2"))
        assert "PG_TWO_PRIMARIES" in codes(planned)


class TestSurvivor:
    @pytest.mark.parametrize(
        ("a", "b"),
        [
            ({"index": 100}, {"index": 101}),
            ({"index": 900, "term": 5}, {"index": 100, "term": 6}),
            ({"index": 100, "commit": 98}, {"index": 100, "commit": 99}),
            ({"index": 200, "is_learner": True}, {"index": 100}),
            ({"index": 200, "is_removed": True}, {"index": 100}),
            ({"index": 200, "problems": ("crc mismatch",)}, {"index": 100}),
            ({"index": 200, "members": members("bcd")}, {"index": 100}),
        ],
        ids=["index", "term", "commit", "learner", "removed", "damaged", "not in its own list"],
    )
    def test_is_the_most_advanced_that_can_go_on(self, a: dict[str, object], b: dict[str, object]) -> None:
        names = "abcde"
        nodes = down("a", names=names, **a), down("b", names=names, **b)  # type: ignore[arg-type]
        planned = plan(*nodes, *(away(name) for name in "cde"), lost="cde")
        assert survivor(planned).node == "b"

    def test_equal_ones_go_by_name_and_one_that_runs_first(self) -> None:
        three = [away(name) for name in "cde"]
        stopped = plan(down("b", names="abcde"), down("a", names="abcde"), *three, lost="cde")
        assert survivor(stopped).node == "a"
        runs = plan(down("a", names="abcde"), alone("b", names="abcde"), *three, lost="cde")
        assert survivor(runs).node == "b"
        assert "equal, but not running" in survivor(runs).why

    def test_says_with_numbers_why(self) -> None:
        planned = plan(
            *(down(name, 100 - at, names="abcde") for at, name in enumerate("ab")),
            *(away(name) for name in "cde"),
            lost="cde",
        )
        assert survivor(planned).why == (
            "a (term 5, index 100, commit 100), against b (term 5, index 99, commit 99): 1 entries less"
        )

    def test_more_advanced_data_that_can_not_be_used_blocks_until_it_is_chosen(self) -> None:
        nodes = down("a", 100), down("b", 120, problems=("crc mismatch",)), away("c")
        assert "RECOVERY_FRESHER" in codes(plan(*nodes, lost="c"))
        chosen = plan(*nodes, lost="c", survivor="a")
        assert codes(chosen) == []
        assert any("b (term 5, index 120" in line for line in chosen[0].losses)

    def test_damaged_data_goes_on_only_when_it_is_all_there_is_and_chosen(self) -> None:
        nodes = down("a", problems=("crc mismatch",)), away("b"), away("c")
        assert codes(plan(*nodes, lost="bc")) == ["RECOVERY_DAMAGED"]
        assert codes(plan(*nodes, lost="bc", survivor="a")) == []

    def test_data_that_could_not_be_read_may_be_the_most_advanced(self) -> None:
        unread = replace(down("b"), data=None, problem="permission denied")
        assert codes(plan(down("a"), unread, away("c"), lost="c")) == ["RECOVERY_UNREAD"]

    @pytest.mark.parametrize("facts", [{"is_learner": True}, {"is_removed": True}])
    def test_a_learner_or_a_removed_member_never_goes_on(self, facts: dict[str, object]) -> None:
        nodes = down("a", **facts), away("b"), away("c")  # type: ignore[arg-type]
        for name in ("", "a"):
            planned = plan(*nodes, lost="bc", survivor=name)
            assert codes(planned) == ["RECOVERY_NO_SURVIVOR"]
            assert "restore FILE" in detail(planned, "RECOVERY_NO_SURVIVOR")

    def test_a_survivor_that_can_not_go_on_is_refused_by_name(self) -> None:
        planned = plan(down("a"), down("b", is_learner=True), away("c"), survivor="b")
        assert codes(planned) == ["RECOVERY_NO_SURVIVOR"]
        assert detail(planned, "RECOVERY_NO_SURVIVOR").startswith(
            "its data can not go on: b (term 5, index 100, commit 100): it is a learner | "
        )
        assert "--survivor b" in detail(planned, "RECOVERY_NO_SURVIVOR")
        assert "no data was found" in detail(plan(down("a"), survivor="x"), "RECOVERY_NO_SURVIVOR")

    def test_two_clusters_with_the_same_names_are_told_apart(self) -> None:
        nodes = down("a"), down("b", 500, cluster_id=0xC2), away("c")
        assert "RECOVERY_TWO_CLUSTERS" in codes(plan(*nodes, lost="c"))
        chosen = plan(*nodes, lost="c", survivor="a")
        assert codes(chosen) == []
        assert chosen[0].cluster_id == 0xC1

    def test_its_new_address_is_noted(self) -> None:
        moved = replace(down("a"), peer_urls=("http://new:2380",))
        planned = plan(moved, away("b"), away("c"), lost="bc")
        assert survivor(planned).peer_urls == ("http://new:2380",)
        assert codes(planned, Severity.INFO) == ["RECOVERY_NEW_ADDRESS"]

    def test_the_minimum_term_is_the_highest_that_anybody_saw(self) -> None:
        voted = replace(down("b"), data=replace(data("b", 90, term=2), term=9))
        assert plan(down("a", 100, term=3), voted, away("c"), lost="c", survivor="a")[0].minimum_term == 9


class TestFencing:
    def test_everybody_else_is_fenced_and_comes_back_unless_lost(self) -> None:
        planned = plan(down("a", 100), down("b", 90, is_learner=True), away("c"), lost="c")
        assert [(fence.node, fence.lost) for fence in planned[0].fence] == [("b", False), ("c", True)]
        assert planned[0].rebuild == (Seat("b", peer_urls("b")),)
        assert codes(planned) == []

    def test_out_of_reach_is_not_stopped(self) -> None:
        planned = plan(alone("a"), away("b"), away("c"), lost="b")
        assert codes(planned) == ["RECOVERY_NOT_FENCED"]
        assert "--lost c" in detail(planned, "RECOVERY_NOT_FENCED")
        assert "ssh: connection timed out" in detail(planned, "RECOVERY_NOT_FENCED")

    def test_a_member_that_is_not_in_the_inventory_must_be_declared_lost(self) -> None:
        assert codes(plan(down("a"))) == ["RECOVERY_NOT_FENCED"] * 2
        assert codes(plan(down("a"), lost="bc")) == []

    def test_one_that_answers_and_can_not_be_controlled_blocks_either_way(self) -> None:
        answers = replace(away("b"), live=alone("b").live)
        nodes = down("a"), answers, away("c")
        assert "RECOVERY_NOT_FENCED" in codes(plan(*nodes, lost="c", survivor="a"))
        assert "RECOVERY_LOST_WRONG" in codes(plan(*nodes, lost="bc", survivor="a"))

    @pytest.mark.parametrize("name", ["a", "d", "x"])
    def test_a_loss_that_contradicts_what_was_seen_is_refused(self, name: str) -> None:
        nodes = down("a", names="abcd"), wiped("b"), away("c"), down("d", 50, is_learner=True)
        assert "RECOVERY_LOST_WRONG" in codes(plan(*nodes, lost=f"c{name}"))

    def test_a_member_within_reach_whose_data_is_gone_may_be_declared_lost_and_is_fenced_all_the_same(
        self,
    ) -> None:
        declared = plan(down("a"), wiped("b"), away("c"), lost="bc")
        assert codes(declared) == []
        assert [(fence.node, fence.lost) for fence in declared[0].fence] == [("b", False), ("c", True)]
        assert declared[0].rebuild == plan(down("a"), wiped("b"), away("c"), lost="c")[0].rebuild

    def test_what_only_another_machine_controls_must_be_empty_there(self) -> None:
        here, there = replace(down("a"), collected_by="h1"), replace(down("b", 50), collected_by="h2")
        refused = plan(here, there, away("c"), lost="c", survivor="a")
        assert codes(refused) == ["RECOVERY_NOT_FENCED"]
        assert "rename its data dir" in detail(refused, "RECOVERY_NOT_FENCED")
        empty = replace(wiped("b"), collected_by="h2")
        planned = plan(here, empty, away("c"), lost="c")
        assert codes(planned) == []
        assert [(fence.node, fence.lost) for fence in planned[0].fence] == [("b", True), ("c", True)]
        assert planned[0].rebuild == ()

    def test_members_of_an_older_list_are_fenced_too(self) -> None:
        older = replace(down("b", 50), data=data("b", 50, members=members("abd")))
        planned = plan(down("a"), older, away("c"), away("d"), lost="cd", survivor="a")
        assert [fence.node for fence in planned[0].fence] == ["b", "c", "d"]
        assert [seat.name for seat in planned[0].rebuild] == ["b"]

    def test_nodes_at_new_addresses_are_known_by_their_data(self) -> None:
        nodes = [
            replace(down(name, index), name=f"new-{name}", peer_urls=(f"http://10.0.0.{at}:2380",))
            for at, (name, index) in enumerate([("a", 100), ("b", 90), ("c", 80)])
        ]
        planned = plan(*nodes, survivor="new-a")
        assert [fence.node for fence in planned[0].fence] == ["new-b", "new-c"]
        assert planned[0].fence[0].member_id == IDS["b"]
        assert planned[0].rebuild[0] == Seat("new-b", ("http://10.0.0.1:2380",))

    def test_of_two_ids_on_one_node_the_later_counts(self) -> None:
        replaced = (*members("ac"), Member(0xBB, "b", peer_urls("b")))
        nodes = replace(down("a"), data=data("a", members=replaced)), down("c", 40), away("b")
        planned = plan(*nodes, lost="b", survivor="a")
        assert {fence.node: fence.member_id for fence in planned[0].fence} == {"b": 0xBB, "c": IDS["c"]}

    def test_a_primary_that_leads_without_failsafe_may_have_a_quorum_elsewhere(self) -> None:
        nodes = down("a"), away("b"), away("c")
        leading = primary("pg2", failsafe_active=False)
        assert codes(plan(*nodes, leading, lost="bc")) == ["RECOVERY_QUORUM_ELSEWHERE"]
        assert codes(plan(*nodes, primary("pg2", failsafe_active=True), lost="bc")) == []

    def test_five_members_with_three_lost(self) -> None:
        names = "abcde"
        nodes = down("a", 100, names=names), alone("b", 99, names=names), *map(away, "cde")
        planned = plan(*nodes, lost="cde")
        assert survivor(planned).node == "a"
        assert [fence.node for fence in planned[0].fence if fence.lost] == ["c", "d", "e"]
        assert [seat.name for seat in planned[0].rebuild] == ["b"]
        assert codes(planned) == []


class TestScopes:
    def stale_host(self) -> NodeEvidence:
        """Host 1 of the case that must never lose data: its DCS still says that pg1 leads."""
        old = keys("pg1", timeline=1, status={"optime": 900}).keys.values()
        return down("a", keys=tuple(old))

    def test_the_stalest_survives_and_the_most_advanced_postgresql_leads(self) -> None:
        nodes = crashed("pg1", 1_100, 1), standby("pg2", 2_000, 2), standby("pg3", 2_500, 2)
        planned = plan(self.stale_host(), wiped("b"), wiped("c"), *nodes)
        scope = planned[0].scopes[0]
        assert (scope.leader_in_dcs, scope.should_lead) == ("pg1", "pg3")
        assert {"leader", "history"} <= set(scope.stale)
        assert {one.name: one.behind for one in scope.candidates} == {"pg3": 0, "pg2": 500, "pg1": 1_500}
        assert codes(planned) == []
        assert any("only b, c had" in line and "last written 60 s ago" in line for line in planned[0].losses)
        assert any("100 bytes after" in line for line in planned[0].losses)

    def test_an_unreachable_postgresql_blocks_until_the_leader_is_named(self) -> None:
        nodes = self.stale_host(), wiped("b"), wiped("c"), standby("pg2"), silent("pg3")
        planned = plan(*nodes)
        assert codes(planned) == ["PG_NOT_ASKED"]
        assert "--lead demo=pg2" in detail(planned, "PG_NOT_ASKED")
        chosen = plan(*nodes, demo="pg2")
        assert codes(chosen) == []
        assert chosen[0].choices == ("--lead demo=pg2",)
        assert chosen[0].scopes[0].chosen
        assert any(line.startswith("demo: not asked how far they got: pg3") for line in chosen[0].losses)

    def test_no_postgresql_reachable_blocks(self) -> None:
        assert codes(plan(self.stale_host(), wiped("b"), wiped("c"), silent("pg1"))) == ["PG_NOBODY"]

    def test_a_failsafe_primary_keeps_the_lead(self) -> None:
        found_keys = tuple(keys("pg1").keys.values())
        nodes = down("a", keys=found_keys), wiped("b"), wiped("c")
        planned = plan(*nodes, primary("pg1", failsafe_active=True), standby("pg2", 5_100))
        assert planned[0].scopes[0].should_lead == "pg1"
        assert planned[0].scopes[0].stale == ()
        assert codes(planned) == []

    def test_the_keys_of_a_member_that_runs_are_read_from_it(self) -> None:
        live = alone("a", keys=tuple(keys("pg9").keys.values()))
        assert live.live
        fresh = replace(live, live=replace(live.live, keys=tuple(keys("pg1").keys.values())))
        planned = plan(fresh, wiped("b"), wiped("c"), standby("pg1"))
        assert planned[0].scopes[0].leader_in_dcs == "pg1"

    def test_every_citus_group_is_a_scope(self) -> None:
        nodes = (standby("pg1", scope="demo/0"), standby("pg2", scope="demo/1"))
        planned = plan(down("a"), wiped("b"), wiped("c"), *nodes)
        assert [(one.scope, one.should_lead) for one in planned[0].scopes] == [
            ("demo/0", "pg1"),
            ("demo/1", "pg2"),
        ]

    def test_an_address_that_did_not_say_whose_it_is_makes_no_scope(self) -> None:
        nodes = standby("pg1"), silent("10.0.0.9")
        planned = plan(down("a"), wiped("b"), wiped("c"), nodes[0], replace(nodes[1], scope=""))
        assert [one.scope for one in planned[0].scopes] == ["demo"]

    def test_pause_and_synchronous_mode_are_seen(self) -> None:
        config = {"synchronous_mode": True}
        nodes = down("a", keys=tuple(keys("pg1", config=config).keys.values())), wiped("b"), wiped("c")
        scope = plan(*nodes, primary("pg1", paused=True))[0].scopes[0]
        assert (scope.paused, scope.synchronous) == (True, True)
        assert "config" in scope.stale


class TestLosses:
    def test_entries_that_are_not_marked_as_committed_are_counted(self) -> None:
        planned = plan(down("a", 100, commit=97), wiped("b"), wiped("c"))
        assert any("up to 3 entries of a after its commit index 97" in line for line in planned[0].losses)

    @pytest.mark.parametrize(
        ("facts", "commit"),
        [({}, 99), ({"torn_tail": True}, 97), ({"problems": ("damaged",)}, 97)],
        ids=["sound", "torn", "damaged"],
    )
    def test_what_the_database_has_applied_is_kept_where_the_log_is_whole(
        self, facts: dict[str, Any], commit: int
    ) -> None:
        planned = plan(
            down("a", 100, commit=97, consistent_index=99, **facts), wiped("b"), wiped("c"), survivor="a"
        )
        assert any(f"after its commit index {commit}" in line for line in planned[0].losses)

    def test_old_evidence_is_warned_of(self) -> None:
        evidence = found(down("a"), wiped("b"), wiped("c"))
        _, findings = plan_recovery(evidence, frozenset(), NOW + 5_000)
        assert [one.code for one in findings if one.severity is Severity.WARNING] == ["EVIDENCE_OLD"]


def test_the_steps_are_told_in_order() -> None:
    planned = plan(alone("a"), down("b", 50, is_learner=True), away("c"), primary("pg1"), lost="c")
    assert steps_in_words(planned[0]) == (
        "save a snapshot of a, which runs",
        "stop a cleanly",
        "copy the data dir of a and compare the copy",
        "fence b: stopped, data set aside, no new cluster by an accidental start",
        "start a in quarantine, once with --force-new-cluster: it goes on alone",
        "restart a in quarantine without the flag until its raft term is 5 or more",
        "compare Patroni's keys with PostgreSQL, and repair them: demo",
        "end the quarantine and start a as its service",
        "wait until demo has a leader that takes writes",
        "rebuild b as learners, and promote them",
        "verify etcd, Patroni and its list of etcd hosts",
    )


def test_a_plan_without_a_survivor_has_no_steps() -> None:
    assert steps_in_words(plan(wiped("a"), wiped("b"))[0]) == ()


def test_a_learner_is_fenced_and_not_made_new_among_the_voters() -> None:
    here = replace(down("a"), data=replace(data("a"), members=members("abd", learners="d")))
    seen = found(here, wiped("b"), down("d", 50, names="abd", is_learner=True))
    planned, findings = plan_recovery(seen, frozenset(), NOW)
    assert [fence.node for fence in planned.fence] == ["b", "d"]
    assert [seat.name for seat in planned.rebuild] == ["b"]
    left = {one.subject: one.remedy for one in findings if one.code == "RECOVERY_LEARNER_LEFT"}
    assert left == {"d": "afterwards: patronictl-etcd add d --learner"}
