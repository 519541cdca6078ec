"""A snapshot is there as a whole and verified, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from patroni_etcd_reconfig.adapters.etcd_snapshot import SnapshotCorruptError
from patroni_etcd_reconfig.engine.snapshot import save_snapshot
from patroni_etcd_reconfig.errors import EtcdTimeoutError, ExitCode, StepFailedError
from patroni_etcd_reconfig.ports import SnapshotInfo
from tests.fake_etcd import DATABASE, FakeEtcd, FakeMember, client_url


@pytest.fixture
def client() -> FakeMember:
    return FakeEtcd("a").connect(client_url("a"), 1.0)


def failing(error: Exception) -> Callable[[FakeMember, BinaryIO], SnapshotInfo]:
    """Return a snapshot call that writes something and then fails."""

    def snapshot(self: FakeMember, sink: BinaryIO) -> SnapshotInfo:
        sink.write(b"half")
        raise error

    return snapshot


def files(directory: Path) -> list[str]:
    """Return the names of all files below."""
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


def test_a_snapshot_is_private_complete_and_told_with_its_digest(client: FakeMember, tmp_path: Path) -> None:
    path = tmp_path / "new" / "dirs" / "x.db"
    facts = save_snapshot(client, path)
    assert facts == {
        "snapshot": str(path),
        "size": len(DATABASE),
        "sha256": hashlib.sha256(DATABASE).hexdigest(),
    }
    assert path.read_bytes() == DATABASE + hashlib.sha256(DATABASE).digest()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert files(tmp_path) == ["x.db"]


def test_how_much_has_come_is_told(client: FakeMember, tmp_path: Path) -> None:
    come: list[int] = []
    save_snapshot(client, tmp_path / "x.db", come.append)
    assert come[-1] == (tmp_path / "x.db").stat().st_size


def test_what_a_killed_run_left_is_written_over(client: FakeMember, tmp_path: Path) -> None:
    (tmp_path / "x.db.part").write_bytes(b"rubbish" * 1000)
    save_snapshot(client, tmp_path / "x.db")
    assert (tmp_path / "x.db").read_bytes().startswith(DATABASE)
    assert files(tmp_path) == ["x.db"]


def test_a_full_disk_changes_nothing_and_leaves_nothing(
    client: FakeMember, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(FakeMember, "snapshot", failing(full))
    with pytest.raises(StepFailedError, match="No space left on device; nothing was changed") as caught:
        save_snapshot(client, tmp_path / "x.db")
    assert (caught.value.code, caught.value.exit_code) == ("SNAPSHOT", ExitCode.STEP_FAILED)
    assert "state_dir" in caught.value.hint
    assert files(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_disk_that_fails_elsewhere_is_told_alike(
    client: FakeMember, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*args: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StepFailedError, match="Input/output error"):
        save_snapshot(client, tmp_path / "x.db")
    monkeypatch.undo()
    assert files(tmp_path) == []


def test_a_directory_that_can_not_be_made_is_told_alike(client: FakeMember, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StepFailedError, match="nothing was changed"):
        save_snapshot(client, tmp_path / "file" / "x.db")


@pytest.mark.parametrize("kind", [SnapshotCorruptError, EtcdTimeoutError])
def test_what_etcd_says_passes_through_and_leaves_nothing(
    client: FakeMember,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[SnapshotCorruptError | EtcdTimeoutError],
) -> None:
    monkeypatch.setattr(FakeMember, "snapshot", failing(kind("wrong digest")))
    with pytest.raises(kind, match="wrong digest"):
        save_snapshot(client, tmp_path / "x.db")
    assert files(tmp_path) == []


def test_an_interrupt_leaves_nothing_half(
    client: FakeMember, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeMember, "snapshot", failing(KeyboardInterrupt()))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        save_snapshot(client, tmp_path / "x.db")
    assert files(tmp_path) == []
