"""Processes, found by what they hold."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from patroni_etcd_reconfig.adapters.process import kill_holder

HOLD = """
import fcntl, sys
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


def _holding(path: Path) -> subprocess.Popen[bytes]:
    path.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_who_holds_the_lock_of_a_file_is_ended_by_force_and_nobody_else(tmp_path: Path) -> None:
    held, other = tmp_path / "db", tmp_path / "other"
    with _holding(held) as victim, _holding(other) as bystander:
        assert kill_holder(held)
        assert victim.wait(10) == -signal.SIGKILL
        assert bystander.poll() is None
        bystander.kill()
    assert not kill_holder(held)


def test_a_file_that_is_not_there_is_held_by_nobody(tmp_path: Path) -> None:
    assert not kill_holder(tmp_path / "db")
