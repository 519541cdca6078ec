"""The DCS tells the truth before Patroni may reach it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.findings import Severity, blockers
from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys
from patroni_etcd_reconfig.core.recovery.audit import Audit, audit
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.model import Candidate, ScopePlan
from tests.core.recovery.builders import (
    NAMESPACE,
    SYSID,
    applied,
    crashed,
    history,
    keys,
    kv,
    plan_for,
    primary,
    scope_keys,
    silent,
    standby,
    stopped,
    values,
)


def audited(found: ScopeKeys, plan: ScopePlan, *nodes: PostgresEvidence) -> Audit:
    return audit(found, nodes, plan, NAMESPACE)


def truth(found: ScopeKeys, plan: ScopePlan, *nodes: PostgresEvidence) -> Mapping[str, object]:
    """Return the keys' values after the repairs, and see that a second audit finds nothing to do."""
    done = audited(found, plan, *nodes)
    assert not blockers(done.findings), done.findings
    after = applied(found, done.repairs)
    assert audited(after, plan, *nodes).repairs == ()
    return values(after)


def codes(done: Audit, severity: Severity = Severity.BLOCKER) -> set[str]:
    return {finding.code for finding in done.findings if finding.severity is severity}


def test_gives_the_lock_to_the_later_timeline_although_the_old_leader_has_more_bytes() -> None:
    nodes = crashed("pg1", 9_000, 1), standby("pg2", 2_000, 2), standby("pg3", 2_500, 2)
    after = truth(keys("pg1", timeline=1), plan_for("pg3"), *nodes)
    assert after["leader"] == "pg3"
    assert [line[:2] for line in after["history"]] == [[1, 1_000]]  # type: ignore[attr-defined]


def test_the_lock_that_it_writes_has_no_lease_that_could_run_out() -> None:
    found = keys("pg2")
    done = audited(found, plan_for("pg2"), standby("pg2"), standby("pg3", 4_000))
    assert applied(found, done.repairs).keys["leader"].lease == 0


def test_keeps_the_lock_of_a_primary_that_runs() -> None:
    nodes = primary("pg1", 5_000), standby("pg2", 5_600)  # asked later, while the primary went on
    assert audited(keys("pg1"), plan_for("pg1"), *nodes).repairs == ()


def test_gives_a_running_primary_its_lock_back() -> None:
    after = truth(keys("pg2"), plan_for("pg1"), primary("pg1"), standby("pg2"))
    assert after["leader"] == "pg1"


def test_makes_the_lock_where_there_is_none() -> None:
    assert truth(keys(None), plan_for("pg2"), standby("pg2"))["leader"] == "pg2"


def test_heals_an_empty_dcs() -> None:
    done = audited(scope_keys([]), plan_for("pg2"), standby("pg2"), standby("pg3", 4_000))
    assert values(applied(scope_keys([]), done.repairs)) == {
        "leader": "pg2",
        "initialize": int(SYSID),
        "history": [[1, 1_000, "no recovery target specified"]],
    }
    assert "DCS_CONFIG_MISSING" in codes(done, Severity.INFO)


def test_drops_an_old_failover_request_but_not_the_empty_one() -> None:
    old = keys("pg2", failover={"leader": "pg2", "member": "pg3"})
    assert "failover" not in truth(old, plan_for("pg2"), standby("pg2"))
    assert truth(keys("pg2", failover={}), plan_for("pg2"), standby("pg2"))["failover"] == {}


def test_puts_a_lost_pause_back() -> None:
    nodes = primary("pg1", paused=True), standby("pg2", paused=True)
    assert truth(keys("pg1"), plan_for("pg1"), *nodes)["config"] == {
        "ttl": 30,
        "loop_wait": 10,
        "pause": True,
    }


def test_in_pause_no_standby_gets_the_lock() -> None:
    done = audited(keys("pg1"), plan_for("pg2", paused=True), standby("pg2"), standby("pg3", 4_000))
    assert "leader" not in applied(keys("pg1"), done.repairs).keys
    assert "PG_PAUSED_NO_PRIMARY" in codes(done, Severity.WARNING)


def test_in_pause_a_chosen_standby_is_asked_to_lead() -> None:
    plan = plan_for("pg2", paused=True, chosen=True)
    after = truth(keys("pg1"), plan, standby("pg2"), standby("pg3", 4_000))
    assert "leader" not in after
    assert after["failover"] == {"member": "pg2"}


def test_a_wrong_system_identifier_blocks_and_a_missing_one_is_written() -> None:
    wrong = audited(keys("pg2", initialize="123"), plan_for("pg2"), standby("pg2"))
    assert codes(wrong) == {"PG_SYSTEM_ID"}
    assert wrong.repairs == ()
    assert truth(keys("pg2", initialize=None), plan_for("pg2"), standby("pg2"))["initialize"] == int(SYSID)
    assert truth(keys("pg2", initialize=""), plan_for("pg2"), standby("pg2"))["initialize"] == int(SYSID)


@pytest.mark.parametrize("optime", [1, 4_999])
def test_the_status_says_how_far_the_leader_got_and_keeps_the_slots(optime: int) -> None:
    found = keys("pg2", status={"optime": optime, "retain_slots": ["pg9"]})
    after = truth(found, plan_for("pg2"), standby("pg2", 5_000))
    assert after["status"] == {"optime": 5_000, "retain_slots": ["pg9"]}


def test_keeps_what_patroni_noted_beside_the_history_it_has() -> None:
    after = truth(keys("pg1", timeline=2), plan_for("pg3"), standby("pg3", 4_000, 3))
    assert after["history"] == [history(2)[0], [2, 2_000, "no recovery target specified"]]


def test_members_that_do_not_answer_are_deleted() -> None:
    found = keys("pg2", members=["pg2", "pg3", "pg9"])
    plan = plan_for("pg2", chosen=True)
    after = truth(found, plan, standby("pg2"), standby("pg3"), silent("pg9"))
    assert {"members/pg2", "members/pg3"} == {name for name in after if name.startswith("members/")}


class TestFailsafe:
    URLS = {"pg1": "http://pg1:8008/patroni", "pg2": "http://pg2:8008/patroni"}  # noqa: RUF012

    def test_a_running_primary_finds_the_nodes_that_answer(self) -> None:
        found = keys("pg1", failsafe={**self.URLS, "pg9": "http://pg9:8008/patroni"})
        assert truth(found, plan_for("pg1"), primary("pg1"), standby("pg2"))["failsafe"] == self.URLS

    def test_otherwise_a_stale_one_is_dropped(self) -> None:
        found = keys("pg1", failsafe={"pg9": "http://pg9:8008/patroni"})
        assert "failsafe" not in truth(found, plan_for("pg1"), standby("pg1"), standby("pg2", 4_000))

    def test_an_address_is_written_as_patroni_registers_it(self) -> None:
        found = keys("pg1", failsafe=self.URLS)
        nodes = [replace(one, api_url=one.api_url[:-8]) for one in (primary("pg1"), standby("pg2"))]
        assert audited(found, plan_for("pg1"), *nodes).repairs == ()

    def test_a_true_one_stays(self) -> None:
        found = keys("pg1", failsafe=self.URLS)
        assert truth(found, plan_for("pg1"), standby("pg1"), standby("pg2", 1))["failsafe"] == self.URLS


class TestSync:
    plan = plan_for("pg2", synchronous=True)

    def test_a_stale_key_names_the_new_leader_alone(self) -> None:
        found = keys("pg1", sync={"leader": "pg1", "sync_standby": "pg3", "quorum": 0})
        after = truth(found, self.plan, standby("pg2"), standby("pg3", 4_000))
        assert after["sync"] == {"leader": "pg2", "quorum": 0, "sync_standby": None}

    def test_is_written_where_it_is_missing_so_that_only_the_leader_may_race(self) -> None:
        after = truth(keys("pg1"), self.plan, standby("pg2"), standby("pg3", 4_000))
        assert after["sync"] == {"leader": "pg2", "quorum": 0, "sync_standby": None}

    def test_of_a_running_primary_says_who_is_synchronous_now(self) -> None:
        found = keys("pg2", sync={"leader": "pg2", "sync_standby": "pg9", "quorum": 0})
        after = truth(found, self.plan, primary("pg2", sync_standbys=("pg3",)), standby("pg3"))
        assert after["sync"] == {"leader": "pg2", "quorum": 0, "sync_standby": "pg3"}

    def test_of_a_running_primary_stays_when_it_is_true(self) -> None:
        found = keys("pg2", sync={"leader": "pg2", "sync_standby": "pg3", "quorum": 0})
        nodes = primary("pg2", sync_standbys=("pg3", "pg4")), standby("pg3")
        assert audited(found, self.plan, *nodes).repairs == ()

    def test_with_quorum_commit_nobody_is_named_beside_the_leader(self) -> None:
        found = keys("pg2", sync={"leader": "pg1"}, config={"synchronous_mode": "quorum"})
        after = truth(found, self.plan, primary("pg2", sync_standbys=("pg3",)), standby("pg3"))
        assert after["sync"] == {"leader": "pg2", "quorum": 0, "sync_standby": None}

    def test_of_another_leader_is_dropped_where_replication_is_not_synchronous(self) -> None:
        found = keys("pg1", sync={"leader": "pg1", "sync_standby": "pg3"})
        assert "sync" not in truth(found, plan_for("pg2"), standby("pg2"))

    @pytest.mark.parametrize("told", [None, False, True])
    def test_that_a_node_was_synchronous_proves_nothing_when_another_was_not_asked(
        self, told: bool | None
    ) -> None:
        found = keys("pg1", sync={"leader": "pg1", "sync_standby": "pg2", "quorum": 0})
        done = audited(found, self.plan, standby("pg2", is_sync_standby=told), silent("pg1"))
        assert codes(done) == {"PG_NOT_ASKED"}
        named = replace(self.plan, chosen=True)
        done = audited(found, named, standby("pg2", is_sync_standby=told), silent("pg1"))
        assert codes(done, Severity.WARNING) == {"PG_NOT_ASKED"}
        assert not blockers(done.findings)

    def test_nor_does_it_for_the_leader_that_the_sync_key_names(self) -> None:
        found = keys("pg1", sync={"leader": "pg1", "sync_standby": "pg2", "quorum": 0})
        done = audited(found, plan_for("pg1", synchronous=True), crashed("pg1"), silent("pg2"))
        assert codes(done) == {"PG_NOT_ASKED"}


class TestStandbyCluster:
    """Two sites: one follows the other, and only one of them may have a primary."""

    FOLLOWS = {"ttl": 30, "standby_cluster": {"host": "10.0.0.9"}}  # noqa: RUF012
    leads = standby("pg1", patroni_role="standby_leader")

    def test_a_configuration_that_forgot_it_would_make_a_second_primary(self) -> None:
        for chosen in (False, True):
            done = audited(keys("pg1"), plan_for("pg1", chosen=chosen), self.leads, standby("pg2", 4_000))
            assert codes(done) == {"DCS_STANDBY_CLUSTER"}
            assert done.repairs == ()
            assert "patronictl edit-config demo" in done.findings[0].remedy

    def test_one_that_knows_it_is_repaired_as_any(self) -> None:
        found = keys("pg2", config=self.FOLLOWS)
        assert truth(found, plan_for("pg1"), self.leads, standby("pg2", 4_000))["leader"] == "pg1"

    def test_a_site_that_was_promoted_since_would_be_demoted(self) -> None:
        found = keys("pg1", config=self.FOLLOWS)
        promoted = primary("pg1", patroni_role="primary")
        assert codes(audited(found, plan_for("pg1"), promoted)) == {"DCS_STANDBY_CLUSTER"}

    def test_without_a_patroni_that_answers_nobody_promotes_before_it_is_corrected(self) -> None:
        silent_ones = replace(self.leads, patroni_answers=False), standby("pg2", 4_000, patroni_answers=False)
        assert not blockers(audited(keys("pg1"), plan_for("pg1"), *silent_ones).findings)

    @pytest.mark.parametrize("config", [None, "{"])
    def test_without_a_configuration_patroni_goes_on_with_the_last_it_knows(self, config: object) -> None:
        assert not blockers(audited(keys("pg1", config=config), plan_for("pg1"), self.leads).findings)


class TestDoubts:
    def test_two_primaries_block_and_no_choice_passes_that(self) -> None:
        nodes = primary("pg1", 9_000, 1), primary("pg2", 3_000, 2)
        for chosen in (False, True):
            done = audited(keys("pg1"), plan_for("pg2", chosen=chosen), *nodes)
            assert "PG_TWO_PRIMARIES" in codes(done)
            assert done.repairs == ()

    def test_a_stale_primary_that_still_runs_must_be_stopped_first(self) -> None:
        done = audited(keys("pg1"), plan_for("pg2"), primary("pg1", 9_000, 1), standby("pg2", 3_000, 2))
        assert codes(done) == {"PG_STALE_PRIMARY"}

    def test_one_timeline_number_with_two_origins_blocks(self) -> None:
        other = standby("pg3", 4_000, timeline_history=((1, 900, "elsewhere"),))
        assert codes(audited(keys("pg2"), plan_for("pg2"), standby("pg2"), other)) == {"PG_DIVERGED"}

    def test_a_standby_that_is_down_can_be_ahead(self) -> None:
        done = audited(keys("pg2"), plan_for("pg2"), standby("pg2"), stopped("pg3", 4_000))
        assert codes(done) == {"PG_POSITION_UNSURE"}
        assert "--lead demo=pg2" in done.findings[0].remedy

    def test_a_standby_that_runs_can_not_be_ahead_of_what_its_patroni_says(self) -> None:
        told = standby("pg3", 4_000, source="rest", lsn_is_exact=False)
        assert not blockers(audited(keys("pg2"), plan_for("pg2"), standby("pg2"), told).findings)

    def test_a_standby_that_runs_and_whose_timeline_is_not_sure_can_be(self) -> None:
        told = standby("pg3", 4_000, 1, lsn_is_exact=False)
        done = audited(keys("pg2"), plan_for("pg2"), standby("pg2"), told)
        assert codes(done) == {"PG_POSITION_UNSURE"}
        assert "is down" not in done.findings[-1].detail

    @pytest.mark.parametrize("source", ["sql", "rest"])
    def test_a_standby_that_may_still_replay_its_own_wal_can_be(self, source: str) -> None:
        told = standby("pg3", 4_000, source=source, lsn_is_exact=False, may_replay_more=True)
        done = audited(keys("pg2"), plan_for("pg2"), standby("pg2"), told)
        assert codes(done) == {"PG_POSITION_UNSURE"}
        assert "wait until pg3 has replayed it" in done.findings[-1].remedy

    def test_a_former_primary_of_an_earlier_timeline_can_not(self) -> None:
        done = audited(keys("pg1"), plan_for("pg2"), standby("pg2"), crashed("pg1", 9_000, 1))
        assert not blockers(done.findings)

    def test_the_former_primary_of_the_last_timeline_has_all_that_any_standby_has(self) -> None:
        nodes = crashed("pg1", 4_000, 2), standby("pg2", 4_500, 2)
        after = truth(keys("pg2"), plan_for("pg1"), *nodes)
        assert after["leader"] == "pg1"

    def test_its_bytes_after_the_fork_are_named(self) -> None:
        done = audited(keys("pg1"), plan_for("pg2"), standby("pg2"), crashed("pg1", 9_000, 1))
        tails = [one for one in done.findings if one.code == "PG_DIVERGED_TAIL"]
        assert "8000 bytes" in tails[0].detail

    @pytest.mark.parametrize(
        "more",
        [
            {"status": {"optime": 6_000}},
            {"members/pg9": {"timeline": 2, "xlog_location": 6_000}},
            {"members/pg9": {"timeline": 3, "xlog_location": 10}},
        ],
    )
    def test_wal_that_only_the_dcs_remembers_blocks(self, more: dict[str, object]) -> None:
        done = audited(
            keys("pg9", more), plan_for("pg2"), standby("pg1", 4_000), standby("pg2"), silent("pg9")
        )
        assert "PG_DCS_AHEAD" in codes(done)

    def test_a_node_that_speaks_for_itself_counts_more_than_what_the_dcs_remembers_of_it(self) -> None:
        found = keys("pg1", status={"optime": 5_200})
        done = audited(found, plan_for("pg1"), standby("pg1"), standby("pg2", 4_000))
        assert codes(done) == set()
        assert codes(done, Severity.WARNING) == {"PG_DCS_AHEAD"}

    def test_what_the_dcs_remembers_of_a_node_that_is_down_counts_for_that_node(self) -> None:
        found = keys("pg1", {"members/pg1": {"timeline": 2, "xlog_location": 6_000}})
        assert not blockers(audited(found, plan_for("pg1"), crashed("pg1", 100), standby("pg2")).findings)

    def test_a_node_that_must_not_lead_and_is_ahead_blocks(self) -> None:
        tagged = standby("pg1", 6_000, tags=("nofailover",))
        assert codes(audited(keys("pg1"), plan_for("pg2"), tagged, standby("pg2"))) == {"PG_NOFAILOVER_AHEAD"}

    def test_an_equal_node_that_may_lead_goes_before_one_that_must_not(self) -> None:
        tagged = standby("pg1", tags=("nofailover",))
        assert truth(keys("pg1"), plan_for("pg2"), tagged, standby("pg2"))["leader"] == "pg2"

    def test_a_node_that_was_not_asked_blocks_unless_a_failsafe_primary_never_stopped(self) -> None:
        assert codes(audited(keys("pg1"), plan_for("pg1"), primary("pg1"), silent("pg2"))) == {"PG_NOT_ASKED"}
        running = primary("pg1", failsafe_active=True)
        assert not blockers(audited(keys("pg1"), plan_for("pg1"), running, silent("pg2")).findings)

    def test_a_node_that_was_asked_when_the_plan_was_made_need_not_answer_again(self) -> None:
        plan = plan_for("pg2", candidates=(Candidate("pg2", 2, 5_000, 0), Candidate("pg1", 1, 900, None)))
        assert not blockers(audited(keys("pg1"), plan, standby("pg2"), silent("pg1")).findings)
        never = plan_for(
            "pg2", candidates=(Candidate("pg2", 2, 5_000, 0), Candidate("pg1", None, None, None))
        )
        assert codes(audited(keys("pg1"), never, standby("pg2"), silent("pg1"))) == {"PG_NOT_ASKED"}

    def test_a_choice_passes_what_is_a_matter_of_evidence_and_says_so(self) -> None:
        nodes = standby("pg2", 4_000), standby("pg3"), silent("pg9")
        done = audited(keys("pg1"), plan_for("pg2", chosen=True), *nodes)
        assert codes(done, Severity.WARNING) == {"PG_AHEAD", "PG_NOT_ASKED"}
        assert all("(chosen by the operator)" in one.detail for one in done.findings)

    def test_nobody_known_blocks(self) -> None:
        assert codes(audited(keys("pg1"), plan_for(None), silent("pg1"))) == {"PG_NOBODY"}

    def test_a_plan_that_the_evidence_overtook_blocks(self) -> None:
        done = audited(keys("pg1"), plan_for("pg2"), standby("pg2", 4_000), standby("pg3"))
        assert codes(done) == {"PG_PLAN_OUTDATED"}
        assert done.repairs == ()

    def test_a_leader_whose_patroni_is_silent_is_named(self) -> None:
        done = audited(keys("pg2"), plan_for("pg2"), standby("pg2", patroni_answers=False))
        assert codes(done, Severity.WARNING) == {"PG_PATRONI_SILENT"}


def test_keys_that_are_not_readable_are_left_to_patroni() -> None:
    found = keys("pg2", config="{", status="[]")
    assert {"config", "status"}.isdisjoint(truth(found, plan_for("pg2"), standby("pg2")))


def test_a_citus_group_keeps_its_prefix() -> None:
    found = scope_keys([kv("leader", "pg1", scope="demo/0")], "demo/0")
    plan = ScopePlan("demo/0", "pg1", "pg2")
    done = audit(found, [standby("pg2", scope="demo/0")], plan, "service/")
    assert done.repairs[-1].key == "/service/demo/0/leader"
