from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from patroni_etcd_reconfig.lab import health, verdict
from patroni_etcd_reconfig.lab.verdict import CycleRun, DemoResult, Snapshot
from patroni_etcd_reconfig.lab.writer import WriterReport
from patroni_etcd_reconfig.lab.yardstick import Measured

BEFORE = Snapshot("pg1", 1, {"n1": "a1", "n2": "a2", "n3": "a3"})
AFTER = Snapshot("pg1", 1, {"n1": "b1", "n2": "b2", "n3": "b3"})
WRITTEN = WriterReport(frozenset({1, 2, 3}), (), 30.0, 12.0)


def output(state: str = "done", **measured: Any) -> dict[str, Any]:
    good = {
        "dcs_write_gap_max_ms": 21.0,
        "dcs_write_gaps_over_100ms": 0,
        "patroni_leader_changes": 0,
        "timeline_changes": 0,
    }
    operation = {"state": state, "seconds": 11.0}
    return {"operation": operation, "measured": {**good, **measured}, "error": None}


GOOD = DemoResult(cycle=CycleRun(0, output()), written=WRITTEN, lost_rows=0, before=BEFORE, after=AFTER)


def test_nobody_noticed_when_all_is_as_promised() -> None:
    assert GOOD.disruptions == ()
    assert "Nobody noticed." in verdict.as_text(GOOD)
    assert verdict.as_json(GOOD)["undisturbed"] is True


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cycle": CycleRun(4, output())}, "exit code 4"),
        ({"cycle": CycleRun(-1, {})}, "did not end in time"),
        ({"cycle": CycleRun(0, output("failed"))}, "state failed"),
        ({"cycle": CycleRun(0, {})}, "not done"),
        ({"cycle": CycleRun(0, output(dcs_write_gap_max_ms=101.0))}, "largest DCS write gap: 101.0 ms"),
        ({"cycle": CycleRun(0, output(dcs_write_gap_max_ms=None))}, "largest DCS write gap"),
        ({"cycle": CycleRun(0, output(patroni_leader_changes=1))}, "patroni leader changes: 1"),
        ({"cycle": CycleRun(0, output(timeline_changes=1))}, "timeline changes: 1"),
        ({"lost_rows": 2}, "2 acknowledged rows are lost"),
        ({"written": dataclasses.replace(WRITTEN, errors=("gone",))}, "1 write errors, the first: gone"),
        ({"written": dataclasses.replace(WRITTEN, acknowledged=frozenset())}, "no write was acknowledged"),
        ({"after": dataclasses.replace(AFTER, leader="pg2")}, "moved from pg1 to pg2"),
        ({"after": dataclasses.replace(AFTER, timeline=2)}, "went from 1 to 2"),
        ({"after": dataclasses.replace(AFTER, etcd_ids={**AFTER.etcd_ids, "n2": "a2"})}, "not replaced: n2"),
        ({"after": dataclasses.replace(AFTER, etcd_ids={"n1": "b1", "n2": "b2"})}, "not replaced: n3"),
    ],
)
def test_each_disruption_alone_is_told(change: dict[str, Any], words: str) -> None:
    result = dataclasses.replace(GOOD, **change)
    [disruption] = result.disruptions
    assert words in disruption
    assert f"DISRUPTED: {disruption}" in verdict.as_text(result)


def test_the_tool_s_own_error_is_told() -> None:
    failed = {"operation": None, "measured": None, "error": {"message": "no quorum"}}
    result = dataclasses.replace(GOOD, cycle=CycleRun(8, failed))
    assert result.disruptions == ("the cycle is not done: exit code 8, no quorum",)


def test_the_comparison_stands_beside_our_own_figures() -> None:
    text = verdict.as_text(GOOD.compared((Measured("naive", 20.0, 100, 3300.0),)))
    assert "naive" in text
    assert "3300 ms" in text
    assert "patronictl-etcd" in text


def member(name: str, role: str, state: str) -> dict[str, object]:
    return {"name": name, "role": role, "state": state, "timeline": 1}


def test_a_lab_with_a_leader_and_two_streaming_replicas_lacks_nothing() -> None:
    members = [member("pg1", "replica", "streaming"), member("pg2", "leader", "running")]
    cluster = health.parse_cluster({"members": [*members, member("pg3", "replica", "streaming")]})
    assert cluster.missing() == ""
    assert cluster.leader is not None
    assert cluster.leader.name == "pg2"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([], "a Patroni leader"),
        ([member("pg1", "leader", "starting")], "a Patroni leader"),
        ([member("pg1", "leader", "running")], "2 more streaming replicas"),
        (
            [member("pg1", "leader", "running"), member("pg2", "replica", "streaming")],
            "1 more streaming replica",
        ),
    ],
)
def test_what_a_lab_lacks_is_said(members: list[dict[str, object]], words: str) -> None:
    assert health.parse_cluster({"members": members}).missing() == words


def test_a_strange_answer_of_patroni_is_no_cluster() -> None:
    assert health.parse_cluster({"members": "?"}).members == ()
