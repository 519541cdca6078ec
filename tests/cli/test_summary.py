"""What an operation came to, as people and scripts are told."""

from __future__ import annotations

import json

import pytest

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.summary import show_result
from patroni_etcd_reconfig.core.findings import blocker
from patroni_etcd_reconfig.core.model import format_id
from patroni_etcd_reconfig.engine.journal import Record, StepRecord
from patroni_etcd_reconfig.engine.result import Result
from patroni_etcd_reconfig.engine.verification import NotVerifiedError
from patroni_etcd_reconfig.errors import ExitCode, StepFailedError
from tests.core.builders import CLUSTER, cycle, voters

MEASURED = {
    "dcs_write_gap_max_ms": 61.4,
    "dcs_write_gaps_over_100ms": 0,
    "patroni_leader_changes": 0,
    "timeline_changes": 0,
}
STEPS = [
    StepRecord("SaveSnapshot", "b", "save a snapshot through b", "done", 0.25),
    StepRecord("RemoveMember", "c", "remove c (c)", "failed", 1.5),
]


def result(**facts: object) -> Result:
    """Return a result of an operation with two steps."""
    record = Record("op-1", cycle(voters(3)), 0.0, {}, steps=STEPS)
    base = {"record": record, "measured": MEASURED, **facts}
    return Result("cycle", "done", 0.0, 12.3, **base)  # type: ignore[arg-type]


def test_the_proof_stands_beside_what_was_promised(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_result(App(), result()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Operation op-1: done in 12.3 s, 1 steps"
    assert " ".join(lines[1].split()) == "largest DCS write gap 61 ms promised: at most 100 ms"
    assert [line.split()[-3:] for line in lines[2:]] == [["0", "promised:", "0"]] * 3


def test_an_error_comes_last_with_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    error = NotVerifiedError("Patroni did not stay as it was", hint="patronictl history")
    assert show_result(App(), result(error=error)) == ExitCode.NOT_VERIFIED
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "Error: Patroni did not stay as it was",
        "Next: patronictl history",
    ]
    assert "Operation op-1" in captured.out


def test_what_stood_in_the_way_is_shown_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    show_result(App(), result(findings=(blocker("CODE", "n1", "is down", "start it"),)))
    assert "BLOCKER CODE n1: is down\n    -> start it\n" in capsys.readouterr().out


def test_without_measures_there_is_no_proof(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_result(App(), result(measured=None)) == 0
    assert "Operation" not in capsys.readouterr().out


def test_tsv_has_a_line_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    show_result(App(format="tsv"), result())
    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == [
        ["Step", "Subject", "State", "Seconds"],
        ["SaveSnapshot", "b", "done", "0.250"],
        ["RemoveMember", "c", "failed", "1.500"],
    ]


def test_tsv_of_nothing_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    show_result(App(format="tsv"), result(record=None))
    assert capsys.readouterr().out == "Step\tSubject\tState\tSeconds\n"


def test_json_is_the_contract_on_stdout_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    error = StepFailedError("no", hint="do that", code="WAIT_TIMEOUT")
    assert show_result(App(format="json"), result(error=error)) == ExitCode.STEP_FAILED
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert captured.err == ""
    assert data["operation"] == {
        "id": "op-1",
        "change": "cycle",
        "state": "done",
        "started_at": "1970-01-01T00:00:00.000+00:00",
        "seconds": 12.3,
    }
    assert data["steps"][1] == {"name": "RemoveMember", "subject": "c", "state": "failed", "seconds": 1.5}
    assert data["measured"] == MEASURED
    assert data["error"] == {"code": "WAIT_TIMEOUT", "message": "no", "hint": "do that"}
    assert format_id(CLUSTER) not in captured.out
