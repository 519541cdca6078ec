"""Start processes that outlive the command, and stop exactly those.

A pid file holds the pid and the process's start time. A pid that went to another process since has
another start time, so that other process is never taken for ours.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.errors import StepFailedError

_POLL = 0.02  # seconds between two looks at a process that is to end

# The shell writes the pid file itself, so that no Ctrl-C comes between the start and the note of it.
_DETACH = """
pid_file=$1 log=$2; shift 2
setsid "$@" </dev/null >>"$log" 2>&1 &
read -r line <"/proc/$!/stat" || exit 1
set -- $! ${line##*) }
echo "$1 ${21}" >"$pid_file"
"""


@dataclass(frozen=True)
class ProcessId:
    """A process for good: its pid, and its start time in clock ticks after boot."""

    pid: int
    started: int


def parse_stat(text: str) -> tuple[str, int] | None:
    """Return state and start time from the text of /proc/PID/stat.

    The command name, second in the line, may contain blanks and brackets: count from its last one.
    """
    fields = text.rpartition(")")[2].split()
    return (fields[0], int(fields[19])) if len(fields) > 19 else None


def find_process(pid: int) -> ProcessId | None:
    """Return the process that has this pid now; None when there is none, or only a zombie."""
    try:
        stat = parse_stat(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace"))
    except OSError:
        return None
    return None if stat is None or stat[0] in "ZX" else ProcessId(pid, stat[1])


def read_pid_file(path: Path) -> ProcessId | None:
    """Return the process that a pid file names, alive or not; None for a missing or broken file."""
    try:
        pid, started = path.read_text("ascii").split()
        return ProcessId(int(pid), int(started))
    except (OSError, ValueError):
        return None


def is_alive(process: ProcessId) -> bool:
    """Tell whether this very process is there."""
    return find_process(process.pid) == process


def running(pid_file: Path) -> ProcessId | None:
    """Return the process of a pid file if it is alive."""
    process = read_pid_file(pid_file)
    return process if process and is_alive(process) else None


def start_detached(
    command: Sequence[str], *, pid_file: Path, log: Path, cwd: Path, env: Mapping[str, str]
) -> ProcessId:
    """Start a process in a session of its own, its output appended to `log`; note it in `pid_file`."""
    shell = ("/bin/sh", "-c", _DETACH, "lab", str(pid_file), str(log), *command)
    # A session of its own for the shell, too: Ctrl-C must not end it halfway.
    done = subprocess.run(shell, cwd=cwd, env=dict(env), start_new_session=True, capture_output=True)
    process = read_pid_file(pid_file)
    if done.returncode or process is None:
        words = done.stderr.decode("utf-8", "replace").strip()
        raise StepFailedError(f"{command[0]} could not be started: {words}", hint=f"see {log}")
    return process


def stop_all(processes: Sequence[ProcessId], *, timeout: float, sig: int = signal.SIGTERM) -> None:
    """End these processes, all at once, and return when they are gone; SIGKILL after `timeout` seconds."""
    for process in processes:
        _signal(process, sig)
    if not _gone_within(processes, timeout):
        for process in processes:
            _signal(process, signal.SIGKILL)
        if not _gone_within(processes, 10):
            left = ", ".join(str(process.pid) for process in processes if is_alive(process))
            raise StepFailedError(f"processes that don't end even on SIGKILL: {left}")


def _signal(process: ProcessId, sig: int) -> None:
    if is_alive(process):
        try:
            os.kill(process.pid, sig)
        except ProcessLookupError:
            return


def _gone_within(processes: Sequence[ProcessId], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(is_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def find_postmaster(data_dir: Path) -> ProcessId | None:
    """Return the PostgreSQL server of a data directory.

    Its pid file alone proves nothing after a crash; a server's working directory is its data directory.
    """
    try:
        pid = int((data_dir / "postmaster.pid").read_text("utf-8", "replace").split("\n", 1)[0])
        same = Path(f"/proc/{pid}/cwd").samefile(data_dir)
    except (OSError, ValueError):
        return None
    return find_process(pid) if same else None
