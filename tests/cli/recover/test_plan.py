"""`recover plan`: from evidence files to a page, a contract, a plan file, and the next command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from patroni_etcd_reconfig.cli.main import run
from patroni_etcd_reconfig.cli.recover.files import write_json
from patroni_etcd_reconfig.cli.recover.planfile import read_plan
from patroni_etcd_reconfig.core.recovery.codec import evidence_document
from patroni_etcd_reconfig.core.recovery.evidence import NodeEvidence, PostgresEvidence
from patroni_etcd_reconfig.errors import ConfigError, ExitCode
from tests.core.recovery.builders import alone, away, crashed, down, found, keys, serving, standby, wiped

OLD_KEYS = tuple(keys("pg1", timeline=1).keys.values())
# The case that must never lose data: host 1 comes back, and its etcd says that pg1 leads.
CASE = (
    down("a", keys=OLD_KEYS),
    wiped("b"),
    away("c"),
    crashed("pg1", 1_100, 1),
    standby("pg2", 2_000, 2),
    standby("pg3", 2_500, 2),
)


class Runs:
    """A directory with evidence files, and the command run on them."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.capsys = path, capsys

    def write(self, *nodes: NodeEvidence | PostgresEvidence, name: str = "evidence.json") -> str:
        write_json(self.path / name, evidence_document(found(*nodes)))
        return str(self.path / name)

    def run(self, *words: str) -> tuple[int, str, str]:
        code = run(["recover", "plan", *words])
        told = self.capsys.readouterr()
        return code, click.unstyle(told.out), click.unstyle(told.err)

    def json(self, *words: str) -> tuple[int, dict[str, Any]]:
        code, out, _ = self.run("-f", "json", *words)
        document: dict[str, Any] = json.loads(out)
        return code, document


@pytest.fixture
def runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Runs:
    return Runs(tmp_path, capsys)


def test_a_plan_is_shown_written_and_leads_to_the_next_command(runs: Runs) -> None:
    target = runs.path / "plan.json"
    code, out, err = runs.run(runs.write(*CASE), "--lost", "c", "-o", str(target))
    assert code == ExitCode.DONE, out
    plan = read_plan(target)
    assert out.startswith(f"Recovery plan {plan.id}\n")
    assert "What was found: etcd c1: stopped, has data: a; has no data: b; not looked at: c" in out
    assert "Survivor: a: a (term 5, index 100, commit 100)" in out
    assert "Fenced: c (c): declared lost; it must never start with its old data" in out
    assert "+ Patroni: demo (should lead: pg3, in the DCS: pg1) " in out
    assert "stale in the DCS: history, leader" in out
    assert "Decided without proof: --lost c" in out
    assert err == f"Next: patronictl-etcd recover apply {target}\n"
    assert target.stat().st_mode & 0o777 == 0o600


def test_what_programs_read_is_the_contract(runs: Runs) -> None:
    code, document = runs.json(runs.write(*CASE), "--lost", "c")
    assert code == ExitCode.DONE
    assert set(document) == {"format", "plan", "findings", "error"}
    assert document["error"] is None
    assert document["plan"]["survivor"]["node"] == "a"
    assert [(one["node"], one["lost"]) for one in document["plan"]["fence"]] == [("b", False), ("c", True)]
    assert document["plan"]["steps"]


def test_a_blocker_writes_no_plan_and_says_what_to_do(runs: Runs) -> None:
    target = runs.path / "plan.json"
    evidence = runs.write(*CASE)
    code, _, err = runs.run(evidence, "-o", str(target))
    assert code == ExitCode.BLOCKED
    assert not target.exists()
    assert "RECOVERY_NOT_FENCED c" in err
    assert "--lost c" in err
    code, document = runs.json(evidence)
    assert code == ExitCode.BLOCKED
    assert document["error"]["code"] == "RECOVERY_NOT_FENCED"
    assert document["plan"]["survivor"]["node"] == "a"


def test_a_named_leader_passes_a_doubt_and_is_recorded(runs: Runs) -> None:
    nodes = [replace(one, timeline=None, lsn=None) if one is CASE[4] else one for one in CASE]
    evidence = runs.write(*nodes)
    assert runs.json(evidence, "--lost", "c")[1]["error"]["code"] == "PG_NOT_ASKED"
    code, document = runs.json(evidence, "--lost", "c", "--lead", "demo=pg3")
    assert code == ExitCode.DONE
    assert document["plan"]["choices"] == ["--lost c", "--lead demo=pg3"]


def test_pieces_of_several_machines_make_one_plan(runs: Runs) -> None:
    files = [runs.write(CASE[0], *CASE[3:], name="1"), runs.write(wiped("b"), name="2")]
    assert runs.json(*files, "--lost", "c")[0] == ExitCode.DONE


def test_the_harmless_way_comes_first(runs: Runs) -> None:
    _, out, _ = runs.run(runs.write(alone("a"), down("b"), away("c")))
    assert "runs without quorum: a; stopped, has data: b; not looked at: c" in out
    assert "The way: start what is stopped" in out
    assert "To start: b" in out


def test_a_majority_that_serves_is_left_alone(runs: Runs) -> None:
    code, document = runs.json(runs.write(serving(alone("a")), alone("b"), away("c")), "--lost", "c")
    assert code == ExitCode.BLOCKED
    assert document["error"]["code"] == "RECOVERY_QUORUM_SERVES"
    assert document["plan"]["way"] == "nothing"


def test_nobody_in_reach_is_its_own_exit_code(runs: Runs) -> None:
    code, document = runs.json(runs.write(away("a"), away("b")))
    assert code == ExitCode.UNREACHABLE
    assert document["error"]["code"] == "RECOVERY_NO_SURVIVOR"


def test_a_data_dir_of_another_node_is_told(runs: Runs) -> None:
    wrong = replace(down("b"), data=down("c", 50).data)
    _, document = runs.json(runs.write(down("a", 100), wrong, wiped("c")), "--survivor", "a")
    assert "EVIDENCE_CONTRADICTS" in {one["code"] for one in document["findings"]}


@pytest.mark.parametrize("words", [["--lead", "pg1"], ["--lead", "demo=a", "--lead", "demo=b"]])
def test_a_wrong_choice_is_a_usage_error(runs: Runs, words: list[str]) -> None:
    assert runs.run(runs.write(*CASE), *words)[0] == ExitCode.USAGE


def test_tsv_has_steps_and_findings(runs: Runs) -> None:
    _, out, _ = runs.run("-f", "tsv", runs.write(*CASE))
    assert out.splitlines()[0] == "Plan\t#\tStep"
    assert "\nRECOVERY_NOT_FENCED\tblocker\tc\t" in out


def test_a_plan_file_that_was_edited_is_a_usage_error(runs: Runs) -> None:
    target = runs.path / "plan.json"
    runs.run(runs.write(*CASE), "--lost", "c", "-o", str(target))
    document = json.loads(target.read_text())
    document["plan"]["survivor"]["node"] = "b"
    target.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"plan\.id"):
        read_plan(target)


def test_names_from_outside_send_no_control_characters(runs: Runs) -> None:
    bad = "x\x1b]0;owned\x07\ny"
    nodes = [replace(CASE[0], name=bad), replace(CASE[3], name=bad), *CASE[4:]]
    for form in ("pretty", "tsv"):
        _, out, err = runs.run("-f", form, runs.write(*nodes))  # type: ignore[arg-type]
        assert all(char.isprintable() or char in "\n\t" for char in out + err)
