"""Evidence for people: what stands, what not, and nothing of what strangers put into names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click
import pytest

from patroni_etcd_reconfig.cli.recover.view import evidence_text, evidence_tsv
from patroni_etcd_reconfig.core.findings import warning
from patroni_etcd_reconfig.core.recovery.evidence import NodeEvidence
from tests.core.recovery.evidences import data, evidence, live, node, pg

STOPPED = node("b", reachable=True, service_active=False, data=data("b", revision=7), data_present=True)
FULL = evidence(
    node("a", reachable=True, service_active=True, live=live("a"), data_present=True),
    STOPPED,
    node("c", problem="no route to host"),
    pg("pg1", source="sql", running=True, in_recovery=False, timeline=2, lsn=0x5000000, lsn_is_exact=True),
    pg("pg2", source="controldata", running=False, in_recovery=True, timeline=1, lsn=0x16B374D848),
    pg("pg3", patroni_answers=True, paused=True, failsafe_active=True, patroni_state="starting"),
)


def row(text: str, name: str) -> list[str]:
    """Return the cells of a row."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_node_has_its_state_ids_and_position() -> None:
    text = evidence_text(FULL, ())
    assert "+ etcd: 1 of 3 members answer, NO QUORUM " in text
    assert row(text, "a") == ["a", "runs, no quorum", "a", "c1", "3", "100", "", "there, not read"]
    assert row(text, "b") == ["b", "stopped", "b", "c1", "3", "100", "7", "readable"]
    assert row(text, "c") == ["c", "no answer", "", "", "", "", "", "not looked at"]
    assert " c: no route to host" in text.splitlines()


def test_each_postgresql_has_its_role_and_a_lower_bound_is_shown_as_one() -> None:
    text = evidence_text(FULL, ())
    assert row(text, "pg1")[2:] == ["primary", "running", "2", "0/5000000", "PostgreSQL", "no answer"]
    assert row(text, "pg2")[2:7] == ["standby", "down", "1", ">= 16/B374D848", "control file"]
    assert row(text, "pg3")[2:] == ["", "starting", "", "", "", "answers, paused, failsafe"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"is_learner": True}, "learner"),
        ({"is_removed": True, "torn_tail": True}, "removed, torn tail"),
        ({"problems": ("x",)}, "damaged"),
    ],
)
def test_what_is_special_about_a_data_dir(more: dict[str, Any], words: str) -> None:
    special = replace(STOPPED, data=data("b", **more))
    assert row(evidence_text(evidence(special), ()), "b")[7] == words


@pytest.mark.parametrize(
    ("special", "state"),
    [
        (node("a", live=live("a", quorate=True)), "serves"),
        (node("a", reachable=True, service_active=True), "runs, no answer"),
    ],
)
def test_whether_a_member_runs_and_serves(special: NodeEvidence, state: str) -> None:
    assert row(evidence_text(evidence(special), ()), "a")[1] == state


def test_control_characters_are_shown_not_sent() -> None:
    bad = "x\x1b]0;owned\x07\ny"
    hostile = evidence(
        replace(node("a"), name=bad, problem=bad),
        replace(pg(bad, host=bad, problem=bad, patroni_role=bad, patroni_state=bad), scope=bad),
    )
    finding = warning("X", bad, bad, bad)
    for text in (click.unstyle(evidence_text(hostile, (finding,))), evidence_tsv(hostile)):
        assert all(char.isprintable() or char in "\n\t" for char in text)
