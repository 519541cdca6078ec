"""`restore`: which plan a command means, and that none is carried out without its id."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from patroni_etcd_reconfig.adapters.restore_tool import RestoreTool
from patroni_etcd_reconfig.cli.main import run
from patroni_etcd_reconfig.cli.recover import restore
from patroni_etcd_reconfig.cli.recover.files import write_json
from patroni_etcd_reconfig.core.recovery.codec import evidence_document
from patroni_etcd_reconfig.core.recovery.restoring import SnapshotFile
from patroni_etcd_reconfig.core.recovery.steps import FenceMembers
from patroni_etcd_reconfig.engine.recovery.journal import FLAG_INTENDED, journal_path, open_journal
from patroni_etcd_reconfig.errors import ExitCode
from tests.core.recovery.builders import NOW, away, data, down, found, keys, members, primary, wiped
from tests.engine.fakes import FakeClock

KEYS = tuple(keys("pg1", timeline=1).keys.values())
POSTGRES = primary("pg2", 5_000, timeline=2)


class Runs:
    """A machine with node a, evidence of all three, and a snapshot; reading that is tested elsewhere."""

    def __init__(
        self, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.capsys, self.file, self.state = capsys, path / "etcd.db", path / "state"
        self.evidence, self.plan_file = path / "evidence.json", path / "plan.json"
        self.files = [str(path / "patroni.yml"), str(path / "inventory.yml")]
        Path(self.files[0]).write_text("scope: demo\netcd3: {hosts: ['127.0.0.1:1']}\n")
        commands = dict.fromkeys(("start", "stop", "is_active"), "/bin/false")
        control = {"via": "local", "manager": "command", "commands": commands}
        node = {"config_file": "/etc/etcd-a", "data_dir": "/data/a", **control}
        inventory = {"etcd": {"members": {"a": node}}, "policy": {"state_dir": str(self.state)}}
        Path(self.files[1]).write_text(yaml.safe_dump(inventory))
        write_json(self.evidence, evidence_document(found(wiped("a"), wiped("b"), away("c"), POSTGRES)))
        facts = SnapshotFile(str(self.file), "ab" * 32, 4096, True, 50, NOW, KEYS, members("abc"))
        monkeypatch.setattr(restore, "read_snapshot", lambda *_: facts)
        monkeypatch.setattr(restore, "find_tool", lambda _: RestoreTool("/bin/etcdutl", "3.6", True))
        monkeypatch.setattr(restore, "find_etcd", lambda _: "/bin/etcd")

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        options = ["-c", self.files[0], "-i", self.files[1]]
        code = run([*options, "restore", str(self.file), str(self.evidence), "-f", "json", *words])
        document: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return code, document

    def shown(self, *words: str) -> str:
        """Return the id of the plan that is shown, which nobody confirms."""
        code, document = self.run(*words)
        assert (code, document["error"]["code"]) == (ExitCode.USAGE, "NOT_CONFIRMED")
        hint: str = document["error"]["hint"]
        return hint.split()[-1]

    def begin(self, plan_id: str, *, forced: bool) -> None:
        journal = open_journal(journal_path(self.state, plan_id), plan_id, {}, FakeClock(), 0.0)
        journal.intend(FenceMembers(("b",)))
        if forced:
            journal.note({FLAG_INTENDED: True})


@pytest.fixture
def runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(tmp_path, capsys, monkeypatch)


def test_a_plan_that_was_shown_is_kept_for_who_confirms_its_id(runs: Runs) -> None:
    plan_id = runs.shown("--lost", "c")
    kept = json.loads((runs.state / "recoveries" / f"{plan_id}.plan.json").read_text())
    assert kept["plan"]["id"] == plan_id
    assert kept["plan"]["survivor"]["node"] == "a"


@pytest.mark.parametrize("given", ["another", "../x", ""])
def test_an_id_that_was_not_shown_is_none(runs: Runs, given: str) -> None:
    runs.shown("--lost", "c")
    code, document = runs.run("--confirm", given)
    assert (code, document["error"]["code"]) == (ExitCode.USAGE, "NOT_CONFIRMED")


def test_the_id_of_another_files_plan_is_none(runs: Runs) -> None:
    plan_id = runs.shown("--lost", "c")
    runs.file = runs.file.with_name("other.db")
    code, document = runs.run("--confirm", plan_id)
    assert (code, document["error"]["code"]) == (ExitCode.USAGE, "NOT_CONFIRMED")


def test_with_an_output_it_only_writes_the_plan(runs: Runs) -> None:
    code, document = runs.run("--lost", "c", "-o", str(runs.plan_file))
    assert code == ExitCode.DONE, document
    assert json.loads(runs.plan_file.read_text()) == document
    assert runs.run("-o", str(runs.plan_file), "--dry-run")[0] == ExitCode.USAGE


def test_what_is_blocked_writes_and_keeps_no_plan(runs: Runs) -> None:
    code, document = runs.run("-o", str(runs.plan_file))
    assert (code, document["error"]["code"]) == (ExitCode.BLOCKED, "RECOVERY_NOT_FENCED")
    assert not runs.plan_file.exists()
    assert not (runs.state / "recoveries").exists()


def test_a_data_dir_of_another_node_blocks_as_it_does_in_recover_plan(runs: Runs) -> None:
    wrong = replace(down("a"), data=data("b"))
    write_json(runs.evidence, evidence_document(found(wrong, wiped("b"), wiped("c"), POSTGRES)))
    code, document = runs.run("-o", str(runs.plan_file))
    assert (code, document["error"]["code"]) == (ExitCode.BLOCKED, "EVIDENCE_CONTRADICTS")
    assert not runs.plan_file.exists()


def test_the_same_command_goes_on_with_the_plan_that_was_begun(runs: Runs) -> None:
    plan_id = runs.shown("--lost", "c")
    assert runs.shown("--lost", "c") != plan_id  # nothing was begun: a plan is of its moment
    runs.begin(plan_id, forced=False)
    assert runs.shown("--lost", "c") == plan_id
    assert runs.shown("--lost", "c", "--lead", "demo=pg2") != plan_id


def test_once_a_new_cluster_may_be_there_only_its_plan_is_meant(runs: Runs) -> None:
    plan_id = runs.shown("--lost", "c")
    runs.begin(plan_id, forced=True)
    assert runs.shown("--lost", "c", "--lead", "demo=pg2") == plan_id
