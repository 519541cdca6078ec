"""How results look: tables as patronictl's, tab-separated lines, findings, and errors as a contract."""

from __future__ import annotations

import json

import pytest
import yaml

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import (
    finding_lines,
    printable,
    show_data,
    show_error,
    show_findings,
    table,
    tsv,
)
from patroni_etcd_reconfig.core.findings import blocker, info, warning
from patroni_etcd_reconfig.errors import ConfigError, EtcdTimeoutError

COLUMNS = ("Member", "Lag")
NASTY = "a\x1b[31mb\tc\nd\x07\x9b"


def test_a_table_has_its_title_in_the_top_rule_and_numbers_to_the_right() -> None:
    drawn = table("etcd: c1", COLUMNS, [("a", 5), ("bb", 1000)], ("Lag",))
    assert drawn.splitlines() == [
        "+ etcd: c1 -----+",
        "| Member |  Lag |",
        "+--------+------+",
        "| a      |    5 |",
        "| bb     | 1000 |",
        "+--------+------+",
    ]


def test_a_title_that_is_too_long_does_not_make_the_table_wider() -> None:
    lines = table("x" * 200, COLUMNS, [("a", 1)]).splitlines()
    assert {len(line) for line in lines} == {len(lines[1])}


def test_what_is_not_known_is_an_empty_cell() -> None:
    assert "| a      |     |" in table("t", COLUMNS, [("a", None)])
    assert tsv(COLUMNS, [("a", None)]).splitlines()[1] == "a\t"


def test_a_zero_is_not_taken_for_unknown() -> None:
    assert tsv(COLUMNS, [("a", 0)]).splitlines()[1] == "a\t0"


def test_an_empty_table_has_its_header() -> None:
    assert "Member" in table("t", COLUMNS, [])
    assert tsv(COLUMNS, []) == "Member\tLag"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü → 日本", "plain ü → 日本"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\tb\nc\rd", "a\\tb\\nc\\rd"),
        ("\u202e\u200b", "\\u202e\\u200b"),
        ("", ""),
    ],
)
def test_control_characters_are_shown_not_sent(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_names_from_outside_can_not_break_any_format() -> None:
    finding = blocker("CODE", NASTY, NASTY, NASTY)
    texts = [table(NASTY, COLUMNS, [(NASTY, 1)]), tsv(COLUMNS, [(NASTY, 1)])]
    texts += [line.replace("\x1b[31m", "").replace("\x1b[1m", "").replace("\x1b[0m", "") for line in finding_lines([finding])]  # fmt: skip  # noqa: E501
    for text in texts:
        assert printable(text.replace("\n", "").replace("\t", "")) == text.replace("\n", "").replace("\t", "")
    assert len(tsv(COLUMNS, [(NASTY, 1)]).splitlines()) == 2
    assert tsv(COLUMNS, [(NASTY, 1)]).splitlines()[1].count("\t") == 1


def test_a_finding_shows_weight_code_evidence_and_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    show_findings(
        [blocker("B", "n1", "is down", "start it"), warning("W", "x", "y", "z"), info("I", "x", "y", "z")]
    )
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["BLOCKER B n1: is down", "    -> start it"]
    assert [line.split()[0] for line in out[2::2]] == ["WARNING", "INFO"]


def test_an_error_is_told_in_words_on_stderr_with_what_to_do_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_error(App(), ConfigError("p.yml:3: no hosts", hint="add hosts"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["Error: p.yml:3: no hosts", "Next: add hosts"]


def test_an_error_without_a_hint_has_no_next(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(App(format="tsv"), ConfigError("no"))
    assert capsys.readouterr().err == "Error: no\n"


def test_control_characters_in_an_error_are_shown_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(App(), ConfigError(NASTY, hint=NASTY))
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("fmt", ["json", "yaml", "yml"])
def test_an_error_keeps_the_contract_on_stdout(capsys: pytest.CaptureFixture[str], fmt: str) -> None:
    error = EtcdTimeoutError("no answer within 1 s", endpoint="http://a:2379", hint="look again")
    show_error(App(format=fmt), error)
    captured = capsys.readouterr()
    data = json.loads(captured.out) if fmt == "json" else yaml.safe_load(captured.out)
    assert captured.err == ""
    assert data == {
        "format": 1,
        "operation": None,
        "steps": [],
        "measured": None,
        "findings": [],
        "error": {
            "code": "ETCD_TIMEOUT",
            "message": "no answer within 1 s (http://a:2379)",
            "hint": "look again",
        },
    }


@pytest.mark.parametrize("fmt", ["json", "yaml"])
def test_data_survives_with_any_text(capsys: pytest.CaptureFixture[str], fmt: str) -> None:
    data = {"text": "ü\x1b\n'\"", "none": None, "list": [1, 2.5, True], "id": "0123"}
    show_data(fmt, data)
    out = capsys.readouterr().out
    assert (json.loads(out) if fmt == "json" else yaml.safe_load(out)) == data
    assert "\x1b" not in out


def test_each_problem_has_its_line_and_none_passes_for_the_next_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_error(App(), ConfigError("f:1: a\nf:2: b\nNext: rm -rf\x1b[0m", hint="correct them"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["Error: f:1: a", "       f:2: b", "       Next: rm -rf\\x1b[0m", "Next: correct them"]
