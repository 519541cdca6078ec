"""`resume`: which operation, and from when on its journal is ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from patroni_etcd_reconfig.cli import resume
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.steps import Verify
from patroni_etcd_reconfig.engine.journal import Journal, Record, begin, reopen
from patroni_etcd_reconfig.engine.mirror import Mirror
from patroni_etcd_reconfig.errors import ConfigError
from tests.core.builders import cycle, voters
from tests.engine.fakes import FakeClock

CHANGE = cycle(voters(3))


def record(operation_id: str) -> Record:
    """Return an operation."""
    return Record(operation_id, CHANGE, 0.0, {})


def test_without_a_name_the_newest_is_chosen() -> None:
    newest, older = record("b"), record("a")
    assert resume.choose([newest, older], None) is newest
    assert resume.choose([], None) is None


def test_a_name_chooses_that_operation() -> None:
    newest, older = record("b"), record("a")
    assert resume.choose([newest, older], "a") is older


@pytest.mark.parametrize(("records", "known"), [([record("a")], "a"), ([], "none")])
def test_an_unknown_name_is_answered_with_those_there_are(records: list[Record], known: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resume.choose(records, "x")
    assert caught.value.code == "UNKNOWN_OPERATION"
    assert caught.value.hint.endswith(known)


class Copies(Mirror):
    """Copies in etcd: one journal."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def __call__(self, place: str, line: str) -> None:
        """Copy nothing."""

    def journals(self) -> dict[str, list[str]]:
        return {"op": self._lines}


def go_on(path: Path, run: Callable[..., int], lines: list[str]) -> int:
    """Resume with this stand-in for Operation.run."""
    wiring = SimpleNamespace(
        clock=FakeClock(),
        mirror=Copies(lines),
        journal_path=lambda operation_id: path,
        operation=lambda *args, **options: SimpleNamespace(run=run),
    )
    return cast(int, resume.run_record(cast(Wiring, wiring), record("op"), CHANGE))


def begun(path: Path) -> list[str]:
    """Begin a journal and return its lines."""
    begin(path, "op", CHANGE, holder={}, baseline={}, clock=FakeClock())
    return path.read_text().splitlines()


def test_the_journal_is_read_only_when_the_lock_is_held(tmp_path: Path) -> None:
    path = tmp_path / "op.jsonl"
    lines = begun(path)

    def run(open_journal: Callable[[object], Journal], wait_for_lock: bool) -> int:
        """Stand in for the wait: the run that has the lock still writes meanwhile."""
        reopen(path, FakeClock()).intend(Verify())
        return len(open_journal(None).record.steps)

    assert go_on(path, run, lines) == 1


def test_the_copy_is_fetched_only_when_the_lock_is_held(tmp_path: Path) -> None:
    path = tmp_path / "op.jsonl"
    lines = begun(tmp_path / "elsewhere.jsonl")

    def run(open_journal: Callable[[object], Journal], wait_for_lock: bool) -> int:
        assert not path.exists()
        return open_journal(None).record.entries

    assert go_on(path, run, lines) == 1
