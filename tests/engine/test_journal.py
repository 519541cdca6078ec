"""The journal: durable before and after, torn tails, and nothing that is not a journal."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from patroni_etcd_reconfig.core.changes import (
    Seat,
    abort_of,
    leader_move,
    move_of,
    relocation_of,
    restart_of,
    upgrade_of,
)
from patroni_etcd_reconfig.core.codec import (
    STEP_TYPES,
    decode_change,
    decode_step,
    encode_change,
    encode_step,
)
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.steps import RemoveMember
from patroni_etcd_reconfig.engine.journal import Journal, begin, reopen
from patroni_etcd_reconfig.errors import ExitCode, JournalError
from tests.core.builders import cycle, patroni, seen, voters

from .fakes import FakeClock

CHANGE = cycle(voters(3))
STEPS = make_plan(seen(voters(3), patroni()), CHANGE).steps


def _begin(path: Path) -> Journal:
    return begin(
        path, "op", CHANGE, holder={"pid": 1}, baseline={"demo": {"leader": "pg1"}}, clock=FakeClock()
    )


def test_every_step_and_change_survives_the_journal() -> None:
    cluster = voters(3)
    restart, move = restart_of(cluster, ()), leader_move(cluster, "b")
    shielded = replace(CHANGE, shield=True, spare=Seat("d", ("http://d:2380",), ("http://d:2379",)))
    off = patroni(failsafe_mode=False, failsafe_setting="false")
    urls = relocation_of(cluster, "b", ("http://x:1",), ("http://x:2",))
    place = {"target": "d", "source_dir": "/b", "target_dir": "/d"}
    data = move_of(cluster, "b", Seat("d", ("http://d:2380",)), ("http://d:2379",), **place)
    given_up = abort_of(cluster, data, frozenset({"StopMember"}))
    copied = replace(seen(cluster).nodes["b"], name="d", service_active=False)
    upgrade = upgrade_of(cluster, (), "apt-get install -y etcd-server", "3.5.30")
    states = [(seen(cluster), change) for change in (restart, move, urls, data, upgrade)]
    states += [(seen(cluster, nodes={**seen(cluster).nodes, "d": copied}), given_up)]
    changes = (restart, move, urls, data, given_up, upgrade)
    steps = [*STEPS, *(step for state, change in states for step in make_plan(state, change).steps)]
    steps += make_plan(seen(cluster, off), shielded).steps
    assert {type(step).__name__ for step in steps} == set(STEP_TYPES)
    for step in steps:
        assert decode_step(json.loads(json.dumps(encode_step(step)))) == step
    for change in (CHANGE, shielded, *changes):
        assert decode_change(json.loads(json.dumps(encode_change(change)))) == change


def test_what_was_written_is_what_is_read_again(tmp_path: Path) -> None:
    journal = _begin(tmp_path / "j")
    journal.intend(STEPS[0])
    journal.conclude(STEPS[0], "done", 1.25, {"snapshot": "/s.db"})
    journal.intend(STEPS[1])
    record = reopen(tmp_path / "j", FakeClock()).record
    assert record == journal.record
    assert record.progress.snapshot == "/s.db"
    assert [step.state for step in record.steps] == ["done", "started"]
    assert record.touched
    assert not record.finished


def test_a_journal_is_for_its_owner_only(tmp_path: Path) -> None:
    _begin(tmp_path / "deep" / "j")
    assert stat.S_IMODE((tmp_path / "deep" / "j").stat().st_mode) == 0o600


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_torn_last_line_is_cut_off_and_the_rest_holds(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j"
    journal = _begin(path)
    journal.intend(STEPS[1])
    path.write_bytes(path.read_bytes()[:-cut])
    again = reopen(path, FakeClock())
    assert again.record.steps == []
    again.intend(STEPS[2])
    assert [step.name for step in reopen(path, FakeClock()).record.steps] == [type(STEPS[2]).__name__]


@pytest.mark.parametrize("content", [b"", b"hello\n", b'{"kind": "end"}\n', b'["begin"]\n'])
def test_a_file_that_is_no_journal_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=str(path)):
        reopen(path, FakeClock())


def test_an_operation_that_changed_nothing_is_finished(tmp_path: Path) -> None:
    journal = _begin(tmp_path / "j")
    journal.intend(STEPS[0])
    journal.end("blocked", {})
    assert journal.record.finished


def test_an_operation_that_was_done_is_finished_and_resumed_runs_add_up(tmp_path: Path) -> None:
    journal = _begin(tmp_path / "j")
    journal.intend(RemoveMember(CHANGE.victims[0]))
    journal.end("interrupted", {"dcs_write_gap_max_ms": 40.0, "patroni_leader_changes": 1})
    assert not journal.record.finished
    again = reopen(tmp_path / "j", FakeClock())
    again.end("done", {"dcs_write_gap_max_ms": 30.0, "patroni_leader_changes": 1})
    assert again.record.finished
    assert again.record.measured == {"dcs_write_gap_max_ms": 40.0, "patroni_leader_changes": 2}


def test_a_disk_that_takes_no_journal_stops_the_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = _begin(tmp_path / "j")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(JournalError, match="No space left") as caught:
        journal.intend(STEPS[0])
    assert caught.value.exit_code is ExitCode.STEP_FAILED
    assert caught.value.hint


def test_a_reopened_journal_fills_the_gaps_in_its_copy(tmp_path: Path) -> None:
    _begin(tmp_path / "j").intend(STEPS[0])
    copies: dict[str, str] = {}
    reopen(tmp_path / "j", FakeClock(), copies.__setitem__)
    assert "\n".join(copies.values()) + "\n" == (tmp_path / "j").read_text()


def test_every_line_is_offered_to_the_mirror(tmp_path: Path) -> None:
    copies: dict[str, str] = {}
    journal = begin(
        tmp_path / "j", "op", CHANGE, holder={}, baseline={}, clock=FakeClock(), mirror=copies.__setitem__
    )
    journal.intend(STEPS[0])
    assert list(copies) == ["op/000001", "op/000002"]
    assert "\n".join(copies.values()) + "\n" == (tmp_path / "j").read_text()
