"""Progress on stderr: a live table on a terminal, one plain line an event otherwise."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import click

from patroni_etcd_reconfig.cli.output import printable
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.step_words import describe
from patroni_etcd_reconfig.core.steps import (
    Step,
)

TICK = 0.2  # seconds between two redraws of the live table
SPARSE = 2.0  # seconds between two plain lines about the progress of one step


class PlainReporter:
    """One line an event; what logs and pipes get. `words` says a step in words."""

    def __init__(self, words: Callable[[Any], str] = describe) -> None:
        self.words = words

    _progressed_at = float("-inf")

    def __enter__(self) -> PlainReporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to restore."""

    def started(self, steps: tuple[Any, ...]) -> None:
        """Say which step begins."""
        self.say(f"{self.words(steps[0])} ...")

    def ended(self, step: Any, state: str, seconds: float) -> None:
        """Say how it ended."""
        self.say(f"{self.words(step)}: {state} in {seconds:.2f} s")

    def held_up(self, step: Step, findings: tuple[Finding, ...]) -> None:
        """Say why a step has to wait."""
        reasons = "; ".join(f"{finding.subject}: {finding.detail}" for finding in findings)
        self.say(f"waiting before '{self.words(step)}': {reasons}")

    def say(self, text: str) -> None:
        """Print one line with the time; that nobody reads it must not stop an operation."""
        with contextlib.suppress(OSError):
            click.echo(f"{time.strftime('%H:%M:%S')} {printable(text)}", err=True)

    def progress(self, text: str) -> None:
        """Print a line now and then: a log is no place for every step of a long wait."""
        if time.monotonic() - self._progressed_at >= SPARSE:
            self._progressed_at = time.monotonic()
            self.say(text)


class QuietReporter(PlainReporter):
    """For dry runs: the plan was shown, and steps that nobody does are not worth a line."""

    def started(self, steps: tuple[Any, ...]) -> None:
        """Nothing begins."""

    def ended(self, step: Any, state: str, seconds: float) -> None:
        """Nothing ends."""


class LiveReporter(PlainReporter):
    """A table that is drawn over itself: what is done, what runs and for how long, what is to come."""

    def __init__(self, words: Callable[[Any], str] = describe) -> None:
        super().__init__(words)
        self._done: list[str] = []
        self._ahead: tuple[Step, ...] = ()
        self._running_since: float | None = None
        self._note = ""
        self._height = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> LiveReporter:
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        self._stop.set()
        self._ticker.join()
        self._draw()

    def started(self, steps: tuple[Any, ...]) -> None:
        """Show the first step as running and the others as to come."""
        with self._lock:
            self._ahead, self._running_since, self._note = steps, time.monotonic(), ""
        self._draw()

    def ended(self, step: Any, state: str, seconds: float) -> None:
        """Show the step as ended."""
        mark = {"done": click.style("done   ", fg="green"), "failed": click.style("failed ", fg="red")}
        with self._lock:
            shown = mark.get(state, click.style("unknown", fg="yellow"))
            self._done.append(f"  {shown} {seconds:6.2f} s  {_cut(self.words(step))}")
            self._ahead, self._running_since = self._ahead[1:], None
        self._draw()

    def say(self, text: str) -> None:
        """Show a note below the table."""
        with self._lock:
            self._note = text
        self._draw()

    def progress(self, text: str) -> None:
        """Show how far it has come in the place of the last note."""
        self.say(text)

    def _tick(self) -> None:
        while not self._stop.wait(TICK):
            self._draw()

    def _lines(self) -> list[str]:
        lines = list(self._done)
        for index, step in enumerate(self._ahead):
            if index == 0 and self._running_since is not None:
                seconds = time.monotonic() - self._running_since
                lines.append(
                    f"  {click.style('running', fg='cyan')} {seconds:6.2f} s  {_cut(self.words(step))}"
                )
            else:
                lines.append(f"  {click.style('-', dim=True)}                {_cut(self.words(step))}")
        note = click.style(_cut(self._note, indent=2), fg="yellow")
        return [*lines, f"  {note}"] if self._note else lines

    def _draw(self) -> None:
        """Redraw; on a small terminal only the part around the running step is shown."""
        size = shutil.get_terminal_size()
        with self._lock:
            lines, done = self._lines(), len(self._done)
            room = max(4, size.lines - 2)
            first = max(0, min(done - room // 2, len(lines) - room))
            shown = lines[first : first + room]
            up = f"\x1b[{self._height}A" if self._height else ""
            self._height = len(shown)
            with contextlib.suppress(OSError):  # the terminal may be gone: the operation goes on
                sys.stderr.write(up + "".join(f"\r\x1b[2K{line}\n" for line in shown) + "\x1b[J")
                sys.stderr.flush()


def _cut(text: str, indent: int = 20) -> str:
    """Return what fits into one line of the terminal: one that wraps would spoil the redrawing."""
    return printable(text)[: max(10, shutil.get_terminal_size().columns - indent)]


def reporter(words: Callable[[Any], str] = describe) -> PlainReporter:
    """Return the reporter that fits stderr."""
    live: PlainReporter = LiveReporter(words) if sys.stderr.isatty() else PlainReporter(words)
    return live
