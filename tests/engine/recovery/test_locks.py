"""Locks on files: one holder, told by name, and never a lock that outlives its holder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from patroni_etcd_reconfig.engine.recovery.locks import FileLocks
from patroni_etcd_reconfig.errors import LockedError, StepFailedError

ME = {"user": "anna", "host": "db1", "pid": 7, "operation": "recover-x", "since": "noon"}


def test_the_second_is_told_who_the_first_is(tmp_path: Path) -> None:
    with FileLocks([tmp_path / "a"], ME):
        with pytest.raises(LockedError, match="anna on db1, pid 7, operation recover-x, since noon"):
            FileLocks([tmp_path / "b", tmp_path / "a"], {}).__enter__()
        assert not (tmp_path / "b").exists()
    with FileLocks([tmp_path / "a", tmp_path / "b"], {}):
        assert (tmp_path / "b").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_holder_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from patroni_etcd_reconfig.engine.recovery.locks import FileLocks;"
        "FileLocks([Path(sys.argv[1])], {}).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False).returncode == -9
    assert (tmp_path / "a").exists()
    with FileLocks([tmp_path / "a"], ME):
        assert "anna" in (tmp_path / "a").read_text()


def test_who_left_no_name_is_a_holder_all_the_same(tmp_path: Path) -> None:
    with FileLocks([tmp_path / "a"], {}), pytest.raises(LockedError, match="somebody who left no name"):
        FileLocks([tmp_path / "a"], ME).__enter__()


def test_a_place_that_can_not_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StepFailedError, match="file"):
        FileLocks([tmp_path / "file" / "lock"], ME).__enter__()
