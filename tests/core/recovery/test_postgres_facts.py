"""What PostgreSQL, its control file and its Patroni say, read into one piece of evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.postgres_facts import (
    ControlFacts,
    Replies,
    SqlFacts,
    can_be,
    combine,
    identity,
    parse_lsn,
    read_control,
    read_history,
)
from patroni_etcd_reconfig.core.recovery.standing import format_lsn

BASE = PostgresEvidence("demo", "pg1", "10.0.0.1", "http://10.0.0.1:8008")
# As Patroni 4.1.5 answers; the lab's tests hold this against the real one.
PRIMARY: dict[str, Any] = {
    "state": "running",
    "role": "primary",
    "server_version": 150018,
    "xlog": {"location": 67108960},
    "timeline": 3,
    "replication": [
        {"application_name": "pg2", "sync_state": "sync"},
        {"application_name": "pg3", "sync_state": "async"},
    ],
    "database_system_identifier": "7711",
    "pause": True,
    "patroni": {"version": "4.1.5", "scope": "demo", "name": "pg1"},
}
REPLICA: dict[str, Any] = {
    "state": "running",
    "role": "replica",
    "xlog": {"received_location": 90, "replayed_location": 80, "paused": False},
    "timeline": 2,
    "sync_standby": True,
    "failsafe_mode_is_active": True,
    "tags": {"nofailover": True, "nosync": False, "clonefrom": True, "nostream": "true"},
    "database_system_identifier": "7711",
    "patroni": {"version": "4.1.5", "scope": "demo", "name": "pg1"},
}
SQL = SqlFacts(True, 4, 100, "7711", sync_standby_names="", history=((3, 50, "why"),))
CONTROL = ControlFacts("shut down", "7711", 2, 60, alive=False)

CONTROLDATA = """\
pg_control version number:            1300
Database system identifier:           7661234567890123456
Database cluster state:               {state}
Latest checkpoint location:           0/3000060
Latest checkpoint's TimeLineID:       2
Latest checkpoint's PrevTimeLineID:   1
Minimum recovery ending location:     {recovery}
Min recovery ending loc's timeline:   {timeline}
"""


def test_a_patroni_tells_of_a_primary() -> None:
    found = combine(BASE, Replies(rest=PRIMARY))
    assert (found.source, found.running, found.in_recovery, found.timeline) == ("rest", True, False, 3)
    assert (found.lsn, found.lsn_is_exact, found.system_identifier) == (67108960, False, "7711")
    assert (found.patroni_answers, found.paused, found.failsafe_active) == (True, True, False)
    assert (found.sync_standbys, found.patroni_version) == (("pg2",), "4.1.5")


def test_a_patroni_tells_of_a_standby_the_further_of_received_and_replayed() -> None:
    found = combine(BASE, Replies(rest=REPLICA))
    assert (found.in_recovery, found.lsn, found.is_sync_standby) == (True, 90, True)
    assert (found.failsafe_active, found.tags) == (True, ("nofailover",))


@pytest.mark.parametrize(("priority", "tags"), [(0, ("nofailover",)), (1, ()), (True, ()), ("0", ())])
def test_a_failover_priority_of_zero_is_nofailover(priority: object, tags: tuple[str, ...]) -> None:
    assert combine(BASE, Replies(rest={**REPLICA, "tags": {"failover_priority": priority}})).tags == tags


@pytest.mark.parametrize(
    ("state", "running"),
    [
        ("running", True),
        ("stopped", False),
        ("crashed", False),
        ("starting", None),
        ("creating replica", None),
    ],
)
def test_a_patroni_s_state_says_whether_postgresql_runs(state: str, running: bool | None) -> None:
    found = combine(BASE, Replies(rest={"state": state, "role": "replica"}))
    assert (found.running, found.lsn, found.patroni_state) == (running, None, state)


def test_postgresql_s_own_word_counts_before_patroni_s() -> None:
    found = combine(BASE, Replies(rest=PRIMARY, sql=SQL, control=CONTROL))
    assert (found.source, found.in_recovery, found.timeline, found.lsn) == ("sql", True, 4, 100)
    assert (found.lsn_is_exact, found.timeline_history, found.sync_standbys) == (True, ((3, 50, "why"),), ())
    assert (found.patroni_role, found.paused) == ("primary", True)


def test_where_postgresql_can_not_tell_a_standby_s_timeline_patroni_s_word_counts() -> None:
    unsure = replace(SQL, timeline=1, timeline_is_sure=False)
    found = combine(BASE, Replies(rest={**REPLICA, "timeline": 5}, sql=unsure))
    assert (found.source, found.timeline, found.lsn, found.lsn_is_exact) == ("sql", 5, 100, True)
    assert found.timeline_history == ()  # that of timeline 1


def test_a_timeline_that_patroni_remembers_from_before_a_promotion_does_not_count() -> None:
    unsure = replace(SQL, timeline=5, timeline_is_sure=False)
    found = combine(BASE, Replies(rest={**REPLICA, "timeline": 4}, sql=unsure))
    assert (found.timeline, found.timeline_history) == (5, SQL.history)


@pytest.mark.parametrize(
    ("remembered", "expected"), [((1, 999), (2, 60)), ((2, 50), (2, 60)), ((2, 70), (2, 70))]
)
def test_of_a_server_that_is_being_restarted_the_control_file_and_patroni_know_each_a_lower_bound(
    remembered: tuple[int, int], expected: tuple[int, int]
) -> None:
    timeline, lsn = remembered
    said = {**REPLICA, "state": "starting", "timeline": timeline, "xlog": {"replayed_location": lsn}}
    found = combine(BASE, Replies(rest=said, control=replace(CONTROL, timeline=2, lsn=60)))
    assert (found.source, found.timeline, found.lsn) == ("controldata", *expected)
    assert not found.lsn_is_exact


def test_a_timeline_that_nobody_is_sure_of_makes_the_position_a_lower_bound() -> None:
    found = combine(BASE, Replies(sql=replace(SQL, timeline=1, timeline_is_sure=False)))
    assert (found.timeline, found.lsn, found.lsn_is_exact) == (1, 100, False)


def test_a_standby_that_may_still_replay_is_a_lower_bound() -> None:
    found = combine(BASE, Replies(sql=replace(SQL, may_replay_more=True)))
    assert (found.lsn, found.lsn_is_exact, found.may_replay_more) == (100, False, True)


@pytest.mark.parametrize(
    ("xlog", "more"),
    [
        ({"received_location": 90, "replayed_location": 80}, False),
        ({"received_location": 0, "replayed_location": 80}, True),
        ({"replayed_location": 80}, True),
    ],
)
def test_by_its_patroni_a_standby_that_received_nothing_may_still_replay(
    xlog: dict[str, int], more: bool
) -> None:
    assert combine(BASE, Replies(rest={**REPLICA, "xlog": xlog})).may_replay_more is more
    assert not combine(BASE, Replies(rest=PRIMARY)).may_replay_more
    assert not combine(BASE, Replies(rest={**REPLICA, "xlog": xlog}, sql=SQL)).may_replay_more


def test_a_primary_that_crashed_before_its_first_checkpoint_is_of_the_timeline_it_was_promoted_to() -> None:
    """It is noted as the recovery's end (xlog.c, CreateEndOfRecoveryRecord) before writes are taken."""
    facts = read_control(CONTROLDATA.format(state="in production", recovery="0/4273458", timeline=3))
    found = combine(BASE, Replies(control=facts))
    assert (found.in_recovery, found.timeline, found.lsn) == (False, 3, 0x4273458)
    assert not found.lsn_is_exact


def test_the_control_file_counts_when_postgresql_is_down_as_a_lower_bound() -> None:
    stopped = {"state": "stopped", "role": "replica", "patroni": PRIMARY["patroni"]}
    found = combine(BASE, Replies(rest=stopped, control=CONTROL, sql_problem="connection refused"))
    assert (found.source, found.running, found.lsn, found.lsn_is_exact) == ("controldata", False, 60, False)
    assert (found.in_recovery, found.patroni_answers, found.problem) == (False, True, "connection refused")


def test_a_patroni_that_tells_a_position_knows_more_than_the_control_file() -> None:
    assert combine(BASE, Replies(rest=PRIMARY, control=CONTROL)).source == "rest"


def test_without_any_answer_all_the_reasons_are_kept() -> None:
    found = combine(BASE, Replies(rest_problem="a", sql_problem="b", control_problem="c"))
    assert (found.source, found.running, found.problem) == ("none", None, "b; a; c")


@pytest.mark.parametrize(
    "rest",
    [
        {"state": 5, "role": [], "xlog": "x", "timeline": "3", "replication": {}, "tags": [], "patroni": 1},
        {"state": "running", "xlog": {"location": -1}, "timeline": 0, "replication": [None, 5, {}]},
        {"state": "running", "xlog": {"location": True}, "timeline": True},
        {"state": "running", "replication": [{"sync_state": "sync", "application_name": None}]},
    ],
)
def test_an_answer_that_is_not_as_patroni_s_is_no_position(rest: dict[str, Any]) -> None:
    found = combine(BASE, Replies(rest=rest))
    assert (found.lsn, found.timeline, found.patroni_answers) == (None, None, True)
    assert identity(rest) == ("", "")


@pytest.mark.parametrize(
    ("said", "same"),
    [
        ({"scope": "demo", "name": "pg1"}, True),
        ({"scope": "demo", "name": "pg2"}, False),
        ({"scope": "other", "name": "pg1"}, False),
        ({"scope": "demo"}, True),  # before Patroni 3.2
        ({"scope": "other"}, False),
        ({}, True),
    ],
)
def test_an_answer_can_be_a_node_s_unless_it_names_another(said: dict[str, str], same: bool) -> None:
    assert can_be({"state": "running", "patroni": said}, "demo", "pg1") is same


@pytest.mark.parametrize(
    ("state", "recovery", "timeline", "expected"),
    [
        ("shut down", "0/0", 0, (False, 2, 0x3000060)),
        ("in production", "0/0", 0, (False, 2, 0x3000060)),
        ("shut down in recovery", "1/0", 3, (True, 3, 1 << 32)),
        ("in archive recovery", "0/3000010", 1, (True, 2, 0x3000060)),
        ("starting up", "0/0", 0, (None, 2, 0x3000060)),
    ],
)
def test_a_control_file_says_state_timeline_and_position(
    state: str, recovery: str, timeline: int, expected: tuple[bool | None, int, int]
) -> None:
    facts = read_control(CONTROLDATA.format(state=state, recovery=recovery, timeline=timeline))
    assert facts is not None
    found = combine(BASE, Replies(control=facts))
    assert (found.in_recovery, found.timeline, found.lsn) == expected
    assert found.system_identifier == "7661234567890123456"


@pytest.mark.parametrize("text", ["", "pg_controldata: error", "Database system identifier: none"])
def test_what_is_no_control_file_is_none(text: str) -> None:
    assert read_control(text) is None


def test_a_history_file_says_where_each_timeline_ended() -> None:
    text = "1\t0/5000098\tno recovery target specified\n\n2\t1/A0\tat restore point\tx\nrubbish\n3 4\n"
    assert read_history(text) == (
        (1, 0x5000098, "no recovery target specified"),
        (2, 0x1000000A0, "at restore point\tx"),
    )


@pytest.mark.parametrize("text", ["", "0", "0/", "g/0", "0/123456789", "0/1 ", "0/1\n"])
def test_what_is_no_position_is_none(text: str) -> None:
    assert parse_lsn(text) is None


@pytest.mark.parametrize("lsn", [0, 1, 0x16B374D848, (1 << 64) - 1])
def test_a_position_comes_back_as_it_was(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn
