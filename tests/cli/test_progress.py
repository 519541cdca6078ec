"""Progress: plain lines for logs, and a table that draws itself over on a terminal."""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from types import SimpleNamespace

import click
import pytest

from patroni_etcd_reconfig.cli.progress import LiveReporter, PlainReporter, reporter
from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.findings import blocker
from patroni_etcd_reconfig.core.step_words import describe
from patroni_etcd_reconfig.core.steps import (
    AddLearner,
    PromoteLearner,
    StartMember,
    Step,
    Verify,
)

SYS = "patroni_etcd_reconfig.cli.progress.sys"
SEAT = Seat("n1", ("http://n1:2380",))
STEPS: tuple[Step, ...] = (AddLearner(SEAT), StartMember(SEAT), PromoteLearner(SEAT), Verify())
ADD, START, PROMOTE, VERIFY = STEPS
LONG = blocker("CODE", "demo", "evidence " * 30, "remedy")


class Screen(io.StringIO):
    """A terminal that understands what the live table sends: up, clear line, clear below."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """Return what is to be seen."""
        rows: list[str] = []
        at = 0
        for part in re.split(r"(\x1b\[\d*[AJ]|\x1b\[2K|\r|\n)", click_colours_off(self.getvalue())):
            if part.endswith("A") and part.startswith("\x1b"):
                at -= int(part[2:-1] or 1)
            elif part == "\x1b[J":
                rows = rows[:at]
            elif part == "\x1b[2K":
                rows = [*rows[:at], "", *rows[at + 1 :]]
            elif part == "\n":
                at += 1
            elif part not in ("", "\r"):
                rows = [*rows[:at], part, *rows[at + 1 :]]
        return rows


def click_colours_off(text: str) -> str:
    """Take colours away and leave what moves the cursor."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    made = Screen()
    monkeypatch.setattr(SYS, SimpleNamespace(stderr=made))  # pytest sets stderr itself, later
    size_of(monkeypatch, 120, 40)
    return made


def size_of(monkeypatch: pytest.MonkeyPatch, columns: int, lines: int) -> None:
    """Give the terminal a size."""
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: os.terminal_size((columns, lines)))


def plain_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what stderr got, without the time in front."""
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    return [line[9:] for line in lines]


def test_plain_progress_is_one_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainReporter() as told:
        told.held_up(ADD, (blocker("CODE", "demo", "not calm", "wait"), blocker("C2", "x", "y", "z")))
        told.started(STEPS)
        told.ended(ADD, "done", 1.234)
        told.say("a note")
    assert plain_lines(capsys) == [
        f"waiting before '{describe(ADD)}': demo: not calm; x: y",
        f"{describe(ADD)} ...",
        f"{describe(ADD)}: done in 1.23 s",
        "a note",
    ]


def test_plain_progress_stays_one_line_whatever_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    PlainReporter().say("two\nlines\x1b[2J")
    assert plain_lines(capsys) == ["two\\nlines\\x1b[2J"]


def test_of_the_progress_of_one_step_a_log_gets_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = PlainReporter()
    for amount in range(50):
        told.progress(f"{amount} of 50 MiB")
    assert plain_lines(capsys) == ["0 of 50 MiB"]


def test_a_log_gets_lines_and_a_terminal_gets_the_table(
    monkeypatch: pytest.MonkeyPatch, screen: Screen
) -> None:
    assert isinstance(reporter(), LiveReporter)
    monkeypatch.setattr(SYS, SimpleNamespace(stderr=io.StringIO()))
    assert not isinstance(reporter(), LiveReporter)


def test_the_table_shows_what_is_done_what_runs_and_what_is_to_come(screen: Screen) -> None:
    live = LiveReporter()
    live.started(STEPS)
    live.ended(ADD, "done", 1.234)
    live.started(STEPS[1:])
    assert [line.split(maxsplit=1)[0] for line in screen.lines()] == ["done", "running", "-", "-"]
    assert screen.lines()[0] == f"  done      1.23 s  {describe(ADD)}"
    assert screen.lines()[1].endswith(f" s  {describe(START)}")
    assert screen.lines()[3].endswith(describe(VERIFY))


@pytest.mark.parametrize(("state", "word"), [("done", "done"), ("failed", "failed"), ("unknown", "unknown")])
def test_each_way_to_end_has_its_word(screen: Screen, state: str, word: str) -> None:
    live = LiveReporter()
    live.started(STEPS)
    live.ended(ADD, state, 0.5)
    assert screen.lines()[0].split() == [word, "0.50", "s", *describe(ADD).split()]
    assert len(screen.lines()) == len(STEPS)


def test_a_plan_that_became_shorter_leaves_nothing_behind(screen: Screen) -> None:
    live = LiveReporter()
    live.started(STEPS)
    live.started(STEPS[3:])
    assert [line.split(maxsplit=3)[-1] for line in screen.lines()] == [describe(VERIFY)]


def test_a_note_stands_below_until_the_next_step(screen: Screen) -> None:
    live = LiveReporter()
    live.started(STEPS[:1])
    live.held_up(START, (blocker("CODE", "demo", "not calm", "wait"),))
    assert screen.lines()[-1] == f"  waiting before '{describe(START)}': demo: not calm"
    live.started(STEPS[1:])
    assert len(screen.lines()) == 3


def test_a_note_can_not_move_the_cursor(screen: Screen) -> None:
    LiveReporter().say("x\x1b[5Ay\nz")
    assert screen.lines() == ["  x\\x1b[5Ay\\nz"]


def test_a_small_terminal_shows_the_part_around_the_running_step(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    size_of(monkeypatch, 120, 8)
    live = LiveReporter()
    for _ in range(20):
        live.started((ADD, *[START] * 10))
        live.ended(ADD, "done", 1.0)
    live.started((ADD, *[START] * 10))
    lines = screen.lines()
    assert len(lines) == 6
    assert any("running" in line for line in lines)
    assert lines[0].split()[0] == "done"
    assert lines[-1].split()[0] == "-"


def test_time_goes_on_while_a_step_runs_and_the_last_state_stays(screen: Screen) -> None:
    with LiveReporter() as live:
        live.started(STEPS[:1])
        time.sleep(0.25)
        drawn = screen.getvalue().count("running")
        live.ended(ADD, "done", 0.25)
    assert drawn >= 2
    assert screen.lines() == [f"  done      0.25 s  {describe(ADD)}"]


def test_no_line_is_wider_than_the_terminal(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    size_of(monkeypatch, 60, 24)
    live = LiveReporter()
    live.started(STEPS)
    live.held_up(ADD, (LONG,))
    assert max(len(click.unstyle(line)) for line in screen.lines()) <= 60
