"""A data dir that is copied: every byte, owner, mode and time, and whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from patroni_etcd_reconfig.adapters.data_tree import LocalTree
from patroni_etcd_reconfig.errors import NodeControlError


@pytest.fixture
def source(tmp_path: Path) -> LocalTree:
    data = tmp_path / "old" / "data"
    (data / "member" / "wal").mkdir(parents=True)
    data.chmod(0o700)
    (data / "member" / "wal" / "1.wal").write_bytes(os.urandom(3 * 1024 * 1024))
    (data / "member" / "wal" / "1.wal").chmod(0o600)
    (data / "empty").touch()
    return LocalTree("n1", data)


def _copy(source: LocalTree, target: LocalTree) -> None:
    for entry in source.entries():
        pieces = iter(()) if entry.directory else source.read(entry.path)
        digest = target.stage(entry, pieces, "op")
        if not entry.directory:
            content = (source.directory / entry.path).read_bytes()
            assert digest == hashlib.sha256(content).hexdigest()


def test_a_copy_has_the_same_content_modes_and_times(source: LocalTree, tmp_path: Path) -> None:
    target = LocalTree("n1", tmp_path / "new")
    _copy(source, target)
    assert target.entries() == ()
    target.adopt("op")
    assert target.entries() == source.entries()
    assert (tmp_path / "new" / "empty").read_bytes() == b""
    assert not (tmp_path / "new.op.part").exists()


def test_a_copy_takes_the_place_of_an_empty_directory_and_of_no_other(
    source: LocalTree, tmp_path: Path
) -> None:
    target = LocalTree("n1", tmp_path / "new")
    target.directory.mkdir()
    _copy(source, target)
    (target.directory / "file").touch()
    with pytest.raises(NodeControlError):
        target.adopt("op")
    (target.directory / "file").unlink()
    target.adopt("op")
    assert target.entries() == source.entries()


def test_half_a_copy_is_deleted_and_no_other(source: LocalTree, tmp_path: Path) -> None:
    target = LocalTree("n1", tmp_path / "new")
    target.stage(source.entries()[0], iter(()), "op")
    target.stage(source.entries()[0], iter(()), "other")
    target.discard("op")
    target.discard("op")
    assert [path.name for path in tmp_path.glob("new*")] == ["new.other.part"]


def test_a_link_in_the_data_is_named_and_not_copied(source: LocalTree, tmp_path: Path) -> None:
    (source.directory / "link").symlink_to(tmp_path)
    with pytest.raises(NodeControlError, match="link is neither a file nor a directory"):
        source.entries()


def test_a_full_disk_is_told_with_its_place(
    source: LocalTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = LocalTree("n1", tmp_path / "new")
    root, *rest = source.entries()
    target.stage(root, iter(()), "op")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NodeControlError, match="No space left") as caught:
        target.stage(next(e for e in rest if not e.directory), iter([b"x"]), "op")
    assert caught.value.code == "COPY_FAILED"


def test_nothing_is_nothing(tmp_path: Path) -> None:
    assert LocalTree("n1", tmp_path / "absent").entries() == ()
    assert LocalTree("n1", tmp_path).entries() == ()
