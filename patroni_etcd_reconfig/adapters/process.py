"""Processes by pid and start time: a pid that went to another process since is never taken for ours."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PR_SET_PDEATHSIG = 1  # linux/prctl.h
POLL = 0.01  # seconds between two looks at a process that is to end


# Looked up now: between fork and exec another thread's lock on the linker would hold the child up for ever.
_PRCTL = ctypes.CDLL(None).prctl


@dataclass(frozen=True)
class Child:
    """A process: its pid, and its start time in clock ticks after boot, as text."""

    pid: int
    started: str


def process_start(pid: int) -> str:
    """Return the start time of a process (proc(5), stat field 22); "" when it is gone, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return "" if fields[0] in ("Z", "X") else fields[19]
    except (OSError, IndexError):
        return ""


def read_child(pid_file: Path) -> Child | None:
    """Return the process that a pid file names, if it is alive; None for a missing or broken file."""
    try:
        pid, started = pid_file.read_text("ascii").split()
        child = Child(int(pid), started)
    except (OSError, ValueError):
        return None
    return child if process_start(child.pid) == started else None


def accepts(url: str, seconds: float = 0.5) -> bool:
    """Tell whether somebody accepts connections at a URL; a host that does not answer in time does not."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), seconds):
            return True
    except OSError:
        return False


def end_process(child: Child, *, seconds: float) -> bool:
    """End exactly this process, cleanly, after `seconds` by force; return whether it is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process_start(child.pid) == child.started:
            with suppress(ProcessLookupError):
                os.kill(child.pid, number)
        deadline = time.monotonic() + seconds
        while process_start(child.pid) == child.started and time.monotonic() < deadline:
            time.sleep(POLL)
    return process_start(child.pid) != child.started


def kill_holder(path: Path) -> bool:
    """End by force who holds the flock on a file; return whether one was found (proc_locks(5)).

    Nobody is found on a file system whose device numbers differ from the kernel's own.
    """
    try:
        found = path.stat()
        lines = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return False
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    locks = (line.split() for line in lines)
    holders = [int(fields[4]) for fields in locks if fields[1] == "FLOCK" and fields[5] == file]
    holders = [pid for pid in holders if pid > 1 and pid != os.getpid()]  # 0: of another pid namespace
    for pid in holders:
        with suppress(OSError):  # it has just ended, or is another user's: the stop command comes next
            os.kill(pid, signal.SIGKILL)
    return bool(holders)


def end_with(parent: int) -> Callable[[], None]:
    """Return what a child does before it becomes its program: ask to be killed when its parent ends.

    The kernel sends the signal when the thread ends that made the child: make it in the main thread.
    """

    def prepare() -> None:
        _PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before we could ask
            os._exit(1)

    return prepare
