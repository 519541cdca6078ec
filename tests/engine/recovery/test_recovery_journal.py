"""A recovery's journal: what was intended and what came of it, whatever a crash leaves of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from patroni_etcd_reconfig.core.recovery.steps import (
    BackUpData,
    CheckSnapshot,
    ForceNewCluster,
    StopSurvivor,
)
from patroni_etcd_reconfig.engine.recovery.journal import (
    FLAG_INTENDED,
    RecoveryJournal,
    all_recoveries,
    journal_path,
    open_journal,
    other_recoveries,
)
from patroni_etcd_reconfig.errors import JournalError
from tests.engine.fakes import FakeClock

STOP, COPY, FORCE = StopSurvivor("a"), BackUpData("a"), ForceNewCluster("a")


def opened(state: Path, plan: str = "p1", began_at: float = 5.0) -> RecoveryJournal:
    return open_journal(journal_path(state, plan), plan, {"pid": 1}, FakeClock(), began_at)


def test_what_was_done_is_known_to_the_next_run(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.intend(STOP)
    journal.conclude(STOP, "done", 0.5, {"stopped": "a"})
    journal.intend(COPY)
    record = opened(tmp_path, began_at=99.0).record
    assert record.done == {STOP}
    assert record.begun == {STOP, COPY}
    assert record.facts == {"stopped": "a"}
    assert record.started_at == 5.0
    assert [(step.name, step.state) for step in record.steps] == [
        ("StopSurvivor", "done"),
        ("BackUpData", "started"),
    ]


def test_a_line_that_a_crash_tore_never_happened(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.intend(STOP)
    with journal_path(tmp_path, "p1").open("a") as file:
        file.write('{"kind":"outcome","st')
    again = opened(tmp_path)
    assert again.record.done == set()
    again.conclude(STOP, "done", 0.1, {})
    assert opened(tmp_path).record.done == {STOP}


def test_a_first_line_that_a_crash_tore_begins_anew(tmp_path: Path) -> None:
    path = journal_path(tmp_path, "p1")
    path.parent.mkdir()
    path.write_text('{"kind":"beg')
    assert opened(tmp_path).record.begun == set()
    assert opened(tmp_path).record.plan_id == "p1"


def test_a_failed_step_is_not_done(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.intend(STOP)
    journal.conclude(STOP, "failed", 0.5, {"stopped": "a"})
    assert (journal.record.done, journal.record.facts) == (set(), {})


def test_only_what_changes_something_has_to_be_finished(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.intend(COPY)
    assert not journal.record.touched
    journal.intend(STOP)
    assert journal.record.touched
    assert not journal.record.forced


def test_a_recovery_that_gave_the_flag_and_is_not_finished_is_found_by_others(tmp_path: Path) -> None:
    journal = opened(tmp_path, "p1")
    journal.intend(FORCE)
    assert other_recoveries(tmp_path, "p2") == []
    journal.note({FLAG_INTENDED: True})
    assert [record.plan_id for record in other_recoveries(tmp_path, "p2")] == ["p1"]
    assert other_recoveries(tmp_path, "p1") == []
    journal.end("done", {"seconds_to_writable": 3.0})
    assert other_recoveries(tmp_path, "p2") == []
    assert opened(tmp_path).record.measured == {"seconds_to_writable": 3.0}


def test_a_file_that_is_no_journal_stops_everything(tmp_path: Path) -> None:
    path = journal_path(tmp_path, "p1")
    path.parent.mkdir()
    path.write_text('{"kind":"intent"}\n')
    with pytest.raises(JournalError, match="not a journal of a recovery"):
        opened(tmp_path)


def test_every_recovery_of_this_host_is_listed_newest_first_with_its_end(tmp_path: Path) -> None:
    assert all_recoveries(tmp_path) == []
    opened(tmp_path, "p1", 5.0).intend(STOP)
    other = opened(tmp_path, "p2", 7.0)
    other.intend(CheckSnapshot("a"))
    other.end("done", {})
    found = [(r.operation_id, r.verb, r.state, r.ended_at is None) for r in all_recoveries(tmp_path)]
    assert found == [("recover-p2", "restore", "done", False), ("recover-p1", "recover", "running", True)]
    assert all_recoveries(tmp_path)[0].holder == {"pid": 1}


def test_listing_recoveries_leaves_a_line_that_is_being_written_alone(tmp_path: Path) -> None:
    opened(tmp_path).intend(STOP)
    with journal_path(tmp_path, "p1").open("a") as file:
        file.write('{"kind":"outcome","st')
    before = journal_path(tmp_path, "p1").read_text()
    assert [len(record.steps) for record in all_recoveries(tmp_path)] == [1]
    assert journal_path(tmp_path, "p1").read_text() == before
