"""Which operations wait to be resumed: from files, from etcd, and with whom nobody can trust."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from patroni_etcd_reconfig.core.steps import AddLearner, RemoveMember, SaveSnapshot
from patroni_etcd_reconfig.engine.journal import ETCD_PREFIX, Journal, begin
from patroni_etcd_reconfig.engine.mirror import Mirror
from patroni_etcd_reconfig.engine.roster import Roster
from patroni_etcd_reconfig.engine.unfinished import fetch, find_unfinished, prune_copies
from patroni_etcd_reconfig.errors import JournalError, ReconfigError, UnreachableError
from tests.core.builders import CLUSTER, cycle, voters
from tests.fake_etcd import FakeEtcd, client_url

from .fakes import FakeClock
from .rig import Rig, seat

CHANGE = cycle(voters(3))
REMOVE = RemoveMember(CHANGE.victims[0])


class NoMirror(Mirror):
    """Copies in an etcd that does not answer."""

    def __init__(self) -> None:
        pass

    def journals(self) -> dict[str, list[str]]:
        raise UnreachableError("no etcd member is healthy")


class Copies(Mirror):
    """Copies as a test wants them."""

    def __init__(self, **lines: list[str]) -> None:
        self._lines = lines

    def journals(self) -> dict[str, list[str]]:
        return self._lines


def path_of(state_dir: Path, name: str = "op") -> Path:
    """Return where an operation's journal lies."""
    return state_dir / "operations" / f"{name}.jsonl"


def begun(
    state_dir: Path, name: str = "op", at: float = 1000.0, mirror: Callable[[str, str], None] | None = None
) -> Journal:
    """Begin an operation and its removal, as one that was killed then."""
    clock = FakeClock(at)
    path = path_of(state_dir, name)
    journal = begin(path, name, CHANGE, holder={}, baseline={}, clock=clock, mirror=mirror)
    journal.intend(REMOVE)
    return journal


def lines_of(journal: Journal) -> list[str]:
    """Return a journal's lines."""
    assert journal.path is not None
    return journal.path.read_text().splitlines()


def names(state_dir: Path, mirror: Mirror | None = None, cluster_id: int = CLUSTER) -> list[str]:
    """Return the ids of the unfinished operations."""
    return [r.operation_id for r in find_unfinished(state_dir, mirror or NoMirror(), cluster_id)]


def test_without_any_journal_nothing_is_unfinished(tmp_path: Path) -> None:
    assert names(tmp_path / "not there") == []


def test_an_operation_that_was_killed_is_unfinished(tmp_path: Path) -> None:
    begun(tmp_path)
    assert names(tmp_path) == ["op"]


@pytest.mark.parametrize("state", ["failed", "blocked", "interrupted"])
def test_an_operation_that_stopped_is_unfinished(tmp_path: Path, state: str) -> None:
    begun(tmp_path).end(state, {})
    assert names(tmp_path) == ["op"]


def test_an_operation_that_is_done_is_finished(tmp_path: Path) -> None:
    begun(tmp_path).end("done", {})
    assert names(tmp_path) == []


def test_an_operation_that_only_took_a_snapshot_is_finished(tmp_path: Path) -> None:
    journal = begin(path_of(tmp_path), "op", CHANGE, holder={}, baseline={}, clock=FakeClock())
    journal.intend(SaveSnapshot(seat("b")))
    assert names(tmp_path) == []


def test_an_operation_on_another_cluster_is_not_ours(tmp_path: Path) -> None:
    begun(tmp_path)
    assert names(tmp_path, cluster_id=0xBEEF) == []


def test_the_newest_comes_first(tmp_path: Path) -> None:
    for name, at in (("b", 2000.0), ("a", 3000.0), ("c", 1000.0)):
        begun(tmp_path, name, at)
    assert names(tmp_path) == ["a", "b", "c"]


def test_a_torn_last_line_did_not_happen(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    assert journal.path is not None
    with journal.path.open("a") as file:
        file.write('{"kind":"end","state":"do')
    assert names(tmp_path) == ["op"]


def test_an_empty_file_was_killed_before_anything_was_intended(tmp_path: Path) -> None:
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).touch()
    assert names(tmp_path) == []


def test_a_file_that_is_no_journal_is_an_error_that_names_it(tmp_path: Path) -> None:
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).write_text("something else\n")
    with pytest.raises(JournalError) as caught:
        names(tmp_path)
    assert str(path_of(tmp_path)) in caught.value.message
    assert caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_journal_that_may_not_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    begun(tmp_path)
    path_of(tmp_path).chmod(0)
    with pytest.raises(JournalError):
        names(tmp_path)


def test_a_journal_that_can_not_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    path_of(tmp_path).mkdir(parents=True)  # stands in for a permission: the tests may run as root
    with pytest.raises(JournalError):
        names(tmp_path)


# Copies in etcd


def test_another_host_sees_the_copy(tmp_path: Path) -> None:
    lines = lines_of(begun(tmp_path / "first"))
    assert names(tmp_path / "second", Copies(op=lines)) == ["op"]


def test_the_file_is_ahead_of_its_copy(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    lines = lines_of(journal)
    journal.end("done", {})
    assert names(tmp_path, Copies(op=lines)) == []


def test_a_copy_that_another_host_finished_is_ahead_of_the_file(tmp_path: Path) -> None:
    lines = lines_of(begun(tmp_path / "first"))
    resumed = begun(tmp_path / "second")
    resumed.end("done", {})
    assert lines_of(resumed)[: len(lines)] == lines
    assert names(tmp_path / "first", Copies(op=lines_of(resumed))) == []


@pytest.mark.parametrize(
    "lines", [[], ["garbage"], ["{}"], ["[]"], ['{"kind":"begin","format":99}'], ["null"]]
)
def test_a_copy_that_is_no_journal_is_passed_over(tmp_path: Path, lines: list[str]) -> None:
    assert names(tmp_path, Copies(op=lines)) == []


@pytest.mark.parametrize("name", ["../x", "a b", "x" * 65, "a.b", ""])
def test_a_copy_with_an_unsafe_id_is_passed_over(tmp_path: Path, name: str) -> None:
    lines = lines_of(begun(tmp_path / "first"))
    assert names(tmp_path, Copies(**{name: lines})) == []


def test_a_copy_that_gives_itself_another_id_is_passed_over(tmp_path: Path) -> None:
    first, *rest = lines_of(begun(tmp_path / "first"))
    forged = json.dumps({**json.loads(first), "id": "../../../somewhere/else"})
    assert names(tmp_path, Copies(op=[forged, *rest])) == []


def test_a_copy_with_a_hole_does_not_break_the_tool(tmp_path: Path) -> None:
    journal = begun(tmp_path / "first")
    journal.conclude(REMOVE, "done", 1.0, {})
    first, _, outcome = lines_of(journal)  # etcd was busy when the intent was copied
    names(tmp_path, Copies(op=[first, outcome]))


def test_a_fetched_journal_is_the_copy_line_by_line(tmp_path: Path) -> None:
    lines = lines_of(begun(tmp_path / "first"))
    path = path_of(tmp_path / "second")
    fetch(path, "op", Copies(op=lines, other=["x"]))
    assert path.read_text().splitlines() == lines
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_journal_that_is_here_is_not_fetched(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    before = lines_of(journal)
    fetch(path_of(tmp_path), "op", Copies(op=before[:1], other=["x"]))
    assert lines_of(journal) == before


def test_what_another_host_did_since_is_added_to_the_journal_that_is_here(tmp_path: Path) -> None:
    before = lines_of(begun(tmp_path / "first"))
    elsewhere = begun(tmp_path / "second")
    elsewhere.end("interrupted", {})
    fetch(path_of(tmp_path / "first"), "op", Copies(op=lines_of(elsewhere)))
    assert path_of(tmp_path / "first").read_text().splitlines() == lines_of(elsewhere)
    assert lines_of(elsewhere)[: len(before)] == before


def test_a_copy_with_a_hole_is_not_added(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    before = lines_of(journal)
    fetch(path_of(tmp_path), "op", Copies(op=[before[0], "something else", "and more"]))
    assert lines_of(journal) == before


def test_a_journal_that_can_not_be_fetched_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "operations").write_text("a file in the place of the directory")
    with pytest.raises(ReconfigError):
        fetch(path_of(tmp_path), "op", Copies(op=["{}"]))


# The mirror itself


@pytest.fixture
def rig() -> Rig:
    return Rig("a", "b", "c")


def test_every_line_is_copied_in_order_and_read_back(tmp_path: Path, rig: Rig) -> None:
    mirror = Mirror(rig.roster)
    journal = begun(tmp_path, mirror=mirror)
    for _ in range(12):
        journal.intend(AddLearner(seat("c")))
    mirror.flush()
    assert Mirror(rig.roster).journals() == {"op": lines_of(journal)}


def test_a_copy_that_fails_is_in_nobodys_way(tmp_path: Path, rig: Rig) -> None:
    mirror = Mirror(rig.roster)
    rig.etcd.process("b").up = rig.etcd.process("c").up = False
    journal = begun(tmp_path, mirror=mirror)
    mirror.flush()
    assert len(lines_of(journal)) == 2
    assert rig.etcd.keys == {}


def test_a_mirror_that_was_never_used_has_nothing_to_flush(rig: Rig) -> None:
    Mirror(rig.roster).flush()


def test_two_operations_in_etcd_are_kept_apart() -> None:
    etcd = FakeEtcd("a")
    client = etcd.connect(client_url("a"), 1.0)
    for place in ("one/000001", "one/000002", "two/000001"):
        client.put(ETCD_PREFIX + place, place)
    roster = Roster(etcd.connect, 1.0)
    roster.update(Rig("a").look())
    assert Mirror(roster).journals() == {"one": ["one/000001", "one/000002"], "two": ["two/000001"]}


def _copied(rig: Rig, state_dir: Path, name: str, at: float, state: str = "") -> Mirror:
    """Begin an operation, with its copies in etcd."""
    mirror = Mirror(rig.roster)
    journal = begun(state_dir, name, at, mirror)
    if state:
        journal.end(state, {})
    mirror.flush()
    return mirror


def test_only_the_newest_copies_stay_in_etcd_and_those_that_can_be_resumed(rig: Rig, tmp_path: Path) -> None:
    _copied(rig, tmp_path, "op-0-interrupted", 100.0, "interrupted")
    _copied(rig, tmp_path, "op-1-killed", 200.0)
    for number, state in enumerate(("done", "aborted", "done", "done"), 2):
        mirror = _copied(rig, tmp_path, f"op-{number}-{state}", number * 1000.0, state)
    assert prune_copies(tmp_path, mirror, keep=2) == ["op-3-aborted", "op-2-done"]
    assert set(mirror.journals()) == {"op-0-interrupted", "op-1-killed", "op-4-done", "op-5-done"}
    assert len(list((tmp_path / "operations").iterdir())) == 6  # the files stay
    assert prune_copies(tmp_path, mirror, keep=2) == []


def test_a_copy_with_a_gap_is_pruned_once_the_file_says_that_it_is_finished(rig: Rig, tmp_path: Path) -> None:
    mirror = _copied(rig, tmp_path, "op", 100.0, "done")
    rig.etcd.connect(client_url("a"), 1.0).delete(f"{ETCD_PREFIX}op/000002")
    assert prune_copies(tmp_path / "other host", mirror, keep=0) == []  # what it knows could be resumed
    assert prune_copies(tmp_path, mirror, keep=0) == ["op"]


def test_what_is_no_journal_in_etcd_is_left_alone(rig: Rig, tmp_path: Path) -> None:
    client = rig.etcd.connect(client_url("a"), 1.0)
    client.put(f"{ETCD_PREFIX}stranger/000001", "hello")
    assert prune_copies(tmp_path, Mirror(rig.roster), keep=0) == []
    assert client.range(f"{ETCD_PREFIX}stranger/000001").kvs
