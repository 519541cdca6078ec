"""Run an operator's commands: without a shell, without a terminal, and never without an end."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from patroni_etcd_reconfig.adapters.process import end_with

LAST_LINES = 10
OUTPUT_BYTES = 8192
GRACE = 2.0  # seconds between SIGTERM and SIGKILL for a command that takes too long


@dataclass(frozen=True)
class Outcome:
    """How a command ended. `code` is None when it did not start or not end by itself: see `trouble`."""

    code: int | None
    output: str
    trouble: str = ""

    def describe(self) -> str:
        """Return what went wrong, with the last lines the command wrote."""
        what = self.trouble or f"exit code {self.code}"
        return f"{what}: {self.output}" if self.output else what


def split_command(line: str, values: Mapping[str, str]) -> list[str]:
    """Return the words of a command with its placeholders filled in.

    The line is split first: whatever a value holds, it stays within its word.
    """
    return [word.format_map(values) for word in shlex.split(line)]


def missing_program(argv: Sequence[str]) -> str:
    """Say that a command's program is not there; "" where it is, or where there are no words."""
    missing = argv and shutil.which(argv[0]) is None
    return f"{argv[0]}: no such program" if missing else ""


def run(
    argv: Sequence[str],
    timeout: float,
    *,
    env: Mapping[str, str] | None = None,
    ends_with_us: bool = False,
) -> Outcome:
    """Run a command; `timeout` in seconds, `env` instead of our own environment.

    With `ends_with_us` the kernel ends it when this process ends, however that happens.

    Its output goes to a file: a daemon that it starts may inherit and keep a pipe, and who reads that pipe
    to its end waits as long as the daemon lives. It gets a session of its own, so that a Ctrl-C meant for
    us does not stop the etcd it has just started.
    """
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=env,
                preexec_fn=end_with(os.getpid()) if ends_with_us else None,
            )
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or error
            return Outcome(None, "", f"{argv[0]} could not be run: {words}")
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            return Outcome(None, _tail(output), f"{argv[0]} did not end within {timeout:g} s")
        except BaseException:
            _end(process)
            raise
        return _outcome(argv[0], code, _tail(output))


def _outcome(program: str, code: int, output: str) -> Outcome:
    if code < 0:
        return Outcome(None, output, f"{program} was ended by signal {-code}")
    if code in (126, 127):  # what a shell says when it can't run, or doesn't find, a program
        return Outcome(code, output, f"{program} could not run its program (exit code {code})")
    return Outcome(code, output)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with all it started in its session: one that runs on would act behind our back."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(GRACE)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - OUTPUT_BYTES))
    lines = output.read().decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[-LAST_LINES:])
