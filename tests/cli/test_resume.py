"""`resume`: which operation, and from when on its journal is ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from patroni_etcd_reconfig.cli import abort, resume, running
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import Change, Seat, abort_of, addition_of
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import Observation
from patroni_etcd_reconfig.core.steps import AddLearner, Verify
from patroni_etcd_reconfig.engine.journal import Journal, Record, begin, reopen
from patroni_etcd_reconfig.engine.mirror import Mirror
from patroni_etcd_reconfig.engine.pending import unfinished_findings
from patroni_etcd_reconfig.errors import ConfigError, ExitCode
from tests.core.builders import IDS, cycle, etcd, learner, seen, urls, voters
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


class Waiting:
    """An operation that waits for the lock: what others do meanwhile comes before it opens the journal."""

    def __init__(self, meanwhile: Callable[[], object], before: Observation) -> None:
        self.meanwhile, self.before = meanwhile, before
        self.findings: tuple[Finding, ...] = ()
        self.opened: Journal | None = None

    def run(self, open_journal: Callable[[Observation], Journal], wait_for_lock: bool) -> None:
        assert wait_for_lock
        self.meanwhile()
        self.opened = open_journal(self.before)

    @property
    def record(self) -> Record:
        """Return what the journal told under the lock."""
        assert self.opened is not None
        return self.opened.record


def go_on(path: Path, waiting: Waiting, lines: list[str], **options: Any) -> Record:
    """Resume, or abort with `options`, with this stand-in for the operation."""
    wiring = SimpleNamespace(
        clock=FakeClock(),
        mirror=Copies(lines),
        journal_path=lambda operation_id: path,
        operation=lambda *args, **options: waiting,
        app=SimpleNamespace(command_line=lambda *words: " ".join(("patronictl-etcd", *words))),
    )
    wanted = {"confirmed": CHANGE, "decide": resume.what_is_left, **options}
    resume.run_record(cast(Wiring, wiring), record("op"), **wanted)
    return waiting.record


def begun(path: Path, change: Change = CHANGE) -> list[str]:
    """Begin a journal and return its lines."""
    journal = begin(path, "op", change, holder={}, baseline={}, clock=FakeClock())
    journal.intend(AddLearner(Seat("d", urls("d"))))
    return path.read_text().splitlines()


def of_another(path: Path, do: Callable[[Journal], object]) -> Callable[[], object]:
    """Return what another run writes while this one waits."""
    return lambda: do(reopen(path, FakeClock()))


THREE = seen(voters(3))


def test_the_journal_is_read_only_when_the_lock_is_held(tmp_path: Path) -> None:
    path = tmp_path / "op.jsonl"
    lines = begun(path)
    waiting = Waiting(of_another(path, lambda journal: journal.intend(Verify())), THREE)
    assert len(go_on(path, waiting, lines).steps) == 2


def test_the_copy_is_fetched_only_when_the_lock_is_held(tmp_path: Path) -> None:
    path = tmp_path / "op.jsonl"
    lines = begun(tmp_path / "elsewhere.jsonl")
    there: list[bool] = []
    waiting = Waiting(lambda: there.append(path.exists()), THREE)
    assert go_on(path, waiting, lines).entries == 2
    assert there == [False]


def test_what_another_run_finished_meanwhile_needs_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "op.jsonl"
    lines = begun(path)
    waiting = Waiting(of_another(path, lambda journal: journal.end("done", {})), THREE)
    with pytest.raises(resume.EndedMeanwhile, match="op is done by now"):
        go_on(path, waiting, lines)


def test_what_another_run_turned_into_an_abort_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "op.jsonl"
    lines = begun(path)
    turned = abort_of(voters(3), CHANGE)
    waiting = Waiting(of_another(path, lambda journal: journal.turn(turned)), THREE)
    with pytest.raises(resume.ConfirmedOtherwiseError) as caught:
        go_on(path, waiting, lines)
    assert (caught.value.exit_code, caught.value.hint) == (
        ExitCode.PLAN_MISMATCH,
        "look at the new plan: patronictl-etcd resume op",
    )


ADDITION = addition_of(voters(3), (Seat("d", urls("d")),))
HALF = seen(etcd(*voters(3).members, learner("d", member_id=IDS["d"])))


def _abort(path: Path, under_the_lock: Observation) -> Record:
    """Abort what was half done when the plan was shown."""
    lines = begun(path, ADDITION)
    shown = abort.decide(HALF, reopen(path, FakeClock()).record)
    assert [victim.name for victim in shown.victims] == ["d"]
    waiting = Waiting(lambda: None, under_the_lock)
    return go_on(path, waiting, lines, confirmed=shown, decide=abort.decide, goal="aborted")


def test_an_abort_of_what_is_as_it_was_shown_turns_the_operation(tmp_path: Path) -> None:
    turned = _abort(tmp_path / "op.jsonl", HALF).turned
    assert turned is not None
    assert [victim.name for victim in turned.victims] == ["d"]


def test_an_abort_of_a_learner_that_was_promoted_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "op.jsonl"
    with pytest.raises(resume.ConfirmedOtherwiseError) as caught:
        _abort(path, seen(voters(4)))
    assert caught.value.hint == "look at the new plan: patronictl-etcd abort op"
    assert reopen(path, FakeClock()).record.turned is None


def test_an_abort_that_was_begun_for_a_learner_is_made_anew_once_that_votes(tmp_path: Path) -> None:
    path = tmp_path / "op.jsonl"
    record = _abort(path, HALF)
    assert abort.way_out(HALF, record) == record.turned
    assert abort.way_out(seen(voters(4)), record).victims == ()


def test_what_stays_is_told_as_it_is_under_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "op.jsonl"
    lines, waiting = begun(path, ADDITION), Waiting(lambda: None, HALF)
    change = abort.decide(HALF, reopen(path, FakeClock()).record)
    go_on(path, waiting, lines, confirmed=change, decide=abort.decide, goal="aborted", stays=abort.stays)
    assert [finding.subject for finding in waiting.findings] == ["d"]


def test_no_change_begins_over_one_that_was_left_half_done_during_the_prompt(tmp_path: Path) -> None:
    half_done = tmp_path / "operations" / "op.jsonl"
    paths: list[Path] = []

    def journal_path(operation_id: str) -> Path:
        paths.append(tmp_path / "operations" / f"{operation_id}.jsonl")
        return paths[-1]

    waiting = SimpleNamespace(run=lambda open_journal: open_journal(begun(half_done) and THREE))
    wiring = SimpleNamespace(
        clock=FakeClock(),
        mirror=Copies([]),
        journal_path=journal_path,
        operation=lambda *args, **options: waiting,
        unfinished=partial(unfinished_findings, tmp_path, Copies([]), resume="resume {}".format),
    )
    with pytest.raises(running.UnfinishedError) as caught:
        running.run_change(cast(Wiring, wiring), CHANGE, ())
    assert caught.value.hint == "resume op"
    assert not any(path.exists() for path in paths)
