"""Patroni's keys before Patroni is let on: repaired if unchanged since they were read, then read back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patroni_etcd_reconfig.core.model import KeyValue
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.model import ScopePlan
from patroni_etcd_reconfig.core.recovery.resuming import with_leads
from patroni_etcd_reconfig.engine.recovery.isolation import RecoveryBlockedError
from patroni_etcd_reconfig.engine.recovery.repairing import SETTLING, Repairing
from patroni_etcd_reconfig.errors import StepFailedError
from tests.core.recovery.builders import SYSID, standby
from tests.core.recovery.recovery_plans import forced
from tests.engine.fakes import FakeClock
from tests.fake_etcd import FakeEtcd, FakeMember, client_url

PLAN = forced("a", scopes=(ScopePlan("demo", "pg1", "pg2"),))
BEHIND, AHEAD = standby("pg1", lsn=4_000, timeline=1), standby("pg2", lsn=5_000, timeline=2)


class Rig:
    """A lone etcd whose DCS says that pg1 leads, while pg2 is ahead."""

    def __init__(self, *postgres: PostgresEvidence) -> None:
        self.clock = FakeClock()
        self.etcd = FakeEtcd("a", clock=self.clock)
        self.postgres = postgres or (BEHIND, AHEAD)
        self.noted: list[Any] = []
        self.said: list[str] = []
        client = self.client()
        client.put("/service/demo/leader", "pg1", lease=client.grant_lease(30))
        client.put("/service/demo/initialize", SYSID)
        client.put("/other", "not Patroni's")
        self.repairing = Repairing(
            PLAN, self.client, self.ask, self.noted.append, self.said.append, self.clock, "go on"
        )

    def client(self) -> FakeMember:
        return self.etcd.connect(client_url("a"), 1.0)

    def ask(self, kvs: tuple[KeyValue, ...]) -> tuple[PostgresEvidence, ...]:
        assert all(kv.key.startswith("/service/") for kv in kvs)
        return self.postgres

    def value(self, key: str) -> str | None:
        found = self.client().range(key).kvs
        return found[0].value if found else None


def test_the_leader_key_names_the_node_that_is_ahead_before_patroni_sees_it() -> None:
    rig = Rig()
    done = rig.repairing.repair()["repairs"]
    assert rig.value("/service/demo/leader") == "pg2"
    assert any("/service/demo/leader" in line for line in done)
    assert rig.value("/other") == "not Patroni's"


def test_what_is_about_to_change_is_in_the_journal_before_without_values() -> None:
    rig = Rig()
    rig.repairing.repair()
    assert any("/service/demo/leader" in line for line in rig.noted[0]["repairing"])
    assert not any(SYSID in line for line in rig.noted[0]["repairing"])


def test_repairing_twice_finds_nothing_left() -> None:
    rig = Rig()
    rig.repairing.repair()
    revision = rig.etcd.revision
    assert rig.repairing.repair()["repairs"] == []
    assert rig.etcd.revision == revision


def test_a_key_that_changes_meanwhile_is_read_again() -> None:
    rig = Rig()
    asked = 0

    def ask(kvs: tuple[KeyValue, ...]) -> tuple[PostgresEvidence, ...]:
        nonlocal asked
        asked += 1
        if asked == 1:  # right after the keys were read
            rig.client().delete("/service/demo/leader")
        return rig.postgres

    rig.repairing.postgres = ask
    rig.repairing.repair()
    assert rig.value("/service/demo/leader") == "pg2"
    assert any("changed meanwhile" in line for line in rig.said)


def test_what_people_must_decide_stops_it_with_nothing_changed() -> None:
    rig = Rig(BEHIND)
    revision = rig.etcd.revision
    with pytest.raises(RecoveryBlockedError) as stopped:
        rig.repairing.repair()
    assert stopped.value.findings
    assert all("go on --lead " in one.remedy for one in stopped.value.findings if "--lead" in one.remedy)
    assert stopped.value.code == stopped.value.findings[0].code
    assert rig.etcd.revision == revision


def test_a_postgresql_that_is_starting_is_asked_again() -> None:
    rig = Rig(BEHIND)
    asked: list[float] = []

    def ask(kvs: tuple[KeyValue, ...]) -> tuple[PostgresEvidence, ...]:
        asked.append(rig.clock.now)
        return (BEHIND,) if len(asked) < 4 else (BEHIND, AHEAD)

    rig.repairing.postgres = ask
    rig.repairing.repair()
    assert rig.value("/service/demo/leader") == "pg2"
    assert asked[3] - asked[0] < SETTLING
    assert len([line for line in rig.said if line.startswith("asking PostgreSQL again")]) == 1


def test_people_decide_once_the_time_for_postgresql_to_start_is_over() -> None:
    rig = Rig(BEHIND)
    began = rig.clock.now
    with pytest.raises(RecoveryBlockedError):
        rig.repairing.repair()
    assert SETTLING <= rig.clock.now - began < SETTLING + 1


def test_a_planned_leader_that_is_gone_has_a_way_on() -> None:
    rig = Rig(BEHIND, replace(AHEAD, name="pg3"))
    with pytest.raises(RecoveryBlockedError) as stopped:
        rig.repairing.repair()
    assert "PG_PLAN_OUTDATED" in {one.code for one in stopped.value.findings}
    assert "go on --lead demo=" in str(stopped.value.findings)
    assert "make a new plan" not in str(stopped.value.findings)
    rig.repairing.plan = with_leads(PLAN, {"demo": "pg3"})
    rig.repairing.repair()
    assert rig.value("/service/demo/leader") == "pg3"


def test_somebody_else_who_writes_is_not_fought_for_ever() -> None:
    rig = Rig()

    def ask(kvs: tuple[KeyValue, ...]) -> tuple[PostgresEvidence, ...]:
        rig.client().put("/service/demo/leader", "pg1")
        return rig.postgres

    rig.repairing.postgres = ask
    with pytest.raises(StepFailedError, match="still want repairs"):
        rig.repairing.repair()


def test_the_keys_that_stay_as_they_were_are_told() -> None:
    assert Rig().repairing.repair()["kept_keys"] == {"demo": ["initialize"]}
