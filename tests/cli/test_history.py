"""`history`: operations and recoveries in one table, and apart for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patroni_etcd_reconfig.cli import history
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.recovery.steps import StopSurvivor
from patroni_etcd_reconfig.core.steps import Verify
from patroni_etcd_reconfig.engine.journal import begin
from patroni_etcd_reconfig.engine.recovery.journal import journal_path, open_journal
from patroni_etcd_reconfig.errors import UnreachableError
from tests.core.builders import cycle, voters
from tests.engine.fakes import FakeClock
from tests.engine.test_unfinished import NoMirror


class _Wiring:
    """Of a cluster that does not answer."""

    def __init__(self, _: App) -> None:
        self.mirror = NoMirror()

    def observe(self) -> None:
        raise UnreachableError("nobody answers")


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """Return an invocation where an operation was begun at 5 and a recovery at 9."""
    made, holder = App(), {"user": "joe", "host": "n1"}
    made.__dict__.update(state_dir=tmp_path, policy=Policy())
    path = tmp_path / "operations" / "op.jsonl"
    begin(path, "op", cycle(voters(3)), holder=holder, baseline={}, clock=FakeClock(5.0)).intend(Verify())
    recovery = open_journal(journal_path(tmp_path, "p1"), "p1", holder, FakeClock(20.0), 9.0)
    recovery.intend(StopSurvivor("a"))
    recovery.end("failed", {})
    monkeypatch.setattr(history, "Wiring", _Wiring)
    return made


def test_recoveries_are_a_list_of_their_own_for_programs(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    history.command.main(["-f", "json"], standalone_mode=False, obj=app)
    data = json.loads(capsys.readouterr().out)
    assert [operation["id"] for operation in data["operations"]] == ["op"]
    assert data["recoveries"] == [
        {
            "id": "recover-p1",
            "change": "recover",
            "state": "failed",
            "started_at": "1970-01-01T00:00:09.000+00:00",
            "ended_at": "1970-01-01T00:00:20.000+00:00",
            "by": "joe@n1",
            "steps": 1,
        }
    ]


def test_recoveries_stand_among_the_operations_in_the_table(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    history.command.main(["-f", "tsv"], standalone_mode=False, obj=app)
    rows = [line.split("\t")[:2] for line in capsys.readouterr().out.splitlines()]
    assert rows == [["Operation", "Change"], ["recover-p1", "recover"], ["op", "cycle"]]
