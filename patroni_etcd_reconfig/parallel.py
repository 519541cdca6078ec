"""Work at the same time on many endpoints, under one deadline.

Daemon threads instead of a pool: an endpoint that accepts and never answers must not hold up the exit
of the process, as joining a pool's threads would.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Crowd:
    """Tasks that may start further tasks; `wait` returns when all ended or the deadline passed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0

    def start(self, task: Callable[[], None]) -> None:
        """Run the task in a thread of its own; it must handle its own errors."""
        with self._changed:
            self._running += 1
        threading.Thread(target=self._run, args=(task,), daemon=True).start()

    def wait(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> bool:
        """Return True when all tasks ended, or `enough` says so; False when the time is over first.

        `enough` is asked whenever a task ends.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0 or enough(), max(0.0, seconds))

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


class Answers(Generic[T]):
    """What came back of `gather`: results by key, errors by key; a key in neither had no answer in time."""

    def __init__(self) -> None:
        self.results: dict[str, T] = {}
        self.errors: dict[str, Exception] = {}


def gather(calls: Mapping[str, Callable[[], T]], seconds: float) -> Answers[T]:
    """Run all calls at the same time and return what had come in when the time was over."""
    answers: Answers[T] = Answers()
    crowd = Crowd()
    for key, call in calls.items():
        crowd.start(_into(answers, key, call))
    crowd.wait(seconds)
    final: Answers[T] = Answers()
    final.results, final.errors = dict(answers.results), dict(answers.errors)
    return final


def _into(answers: Answers[T], key: str, call: Callable[[], T]) -> Callable[[], None]:
    def task() -> None:
        try:
            answers.results[key] = call()
        except Exception as error:
            answers.errors[key] = error

    return task
