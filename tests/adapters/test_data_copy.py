"""The copy of a data dir: whole and equal, or not there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.adapters import data_copy
from patroni_etcd_reconfig.adapters.data_copy import back_up
from patroni_etcd_reconfig.adapters.inventory import NodeConfig
from patroni_etcd_reconfig.errors import StepFailedError


def node(data_dir: Path, wal_dir: str = "") -> NodeConfig:
    return NodeConfig("a", "", "local", "command", "", "/etc/etcd", str(data_dir), wal_dir)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give a data dir with a log that is mostly a hole, a database, and an empty directory."""
    directory = tmp_path / "data"
    (directory / "member" / "wal").mkdir(parents=True)
    (directory / "member" / "empty").mkdir()
    with (directory / "member" / "wal" / "0.wal").open("wb") as log:
        log.write(b"begin")
        log.seek(3 << 20)
        log.write(b"end")
        log.truncate(64 << 20)
    (directory / "member" / "db").write_bytes(bytes(range(256)) * 5000)
    (directory / "member" / "db").chmod(0o640)
    return directory


def test_the_copy_has_every_byte_name_and_right(data: Path) -> None:
    (copied,) = back_up(node(data), "backup.x", 0)
    copy = Path(copied.path)
    assert copy == data.with_name("data.backup.x")
    names = [path.relative_to(data) for path in sorted(data.rglob("*"))]
    assert names == [path.relative_to(copy) for path in sorted(copy.rglob("*"))]
    for name in names:
        if (data / name).is_file():
            assert (data / name).read_bytes() == (copy / name).read_bytes()
        assert (data / name).stat().st_mode == (copy / name).stat().st_mode
    assert copied.size == (64 << 20) + 256 * 5000


def test_holes_stay_holes(data: Path) -> None:
    (copied,) = back_up(node(data), "backup.x", 0)
    assert (Path(copied.path) / "member" / "wal" / "0.wal").stat().st_blocks * 512 < 8 << 20


def test_a_separate_wal_dir_is_copied_too(data: Path, tmp_path: Path) -> None:
    (tmp_path / "wal").mkdir()
    (tmp_path / "wal" / "0.wal").write_text("log")
    paths = [Path(one.path).name for one in back_up(node(data, str(tmp_path / "wal")), "b", 0)]
    assert paths == ["data.b", "wal.b"]


def test_a_copy_that_is_there_and_equal_is_kept(data: Path) -> None:
    first = back_up(node(data), "backup.x", 0)
    inode = Path(first[0].path).stat().st_ino
    assert back_up(node(data), "backup.x", 0) == first
    assert Path(first[0].path).stat().st_ino == inode


def test_a_copy_that_is_there_and_differs_stays_and_gets_another_beside_it(data: Path) -> None:
    first = back_up(node(data), "backup.x", 0)
    before = (data / "member" / "db").read_bytes()
    (data / "member" / "db").write_bytes(b"other")
    second = back_up(node(data), "backup.x", 0)
    assert second[0].path == f"{first[0].path}.2"
    assert Path(first[0].path, "member", "db").read_bytes() == before
    assert Path(second[0].path, "member", "db").read_bytes() == b"other"
    assert back_up(node(data), "backup.x", 0) == second


def test_the_half_of_a_copy_that_a_killed_run_left_is_made_anew(data: Path) -> None:
    part = data.with_name("data.backup.x.part")
    part.mkdir()
    (part / "rubbish").write_text("")
    (copied,) = back_up(node(data), "backup.x", 0)
    assert not part.exists()
    assert not (Path(copied.path) / "rubbish").exists()


def test_without_room_for_it_nothing_is_written(data: Path) -> None:
    with pytest.raises(StepFailedError, match="stay free; it was not changed") as stopped:
        back_up(node(data), "backup.x", 2**60)
    assert stopped.value.code == "BACKUP"
    assert [path.name for path in data.parent.iterdir()] == ["data"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 8 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full_in_the_middle_leaves_the_data_and_no_half_of_a_copy(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small_disk / "data"
    data.mkdir()
    (data / "db").write_bytes(os.urandom(5 << 20))
    before = (data / "db").read_bytes()
    monkeypatch.setattr(data_copy, "_check_room", lambda *_: None)
    with pytest.raises(StepFailedError, match="it was not changed") as stopped:
        back_up(node(data), "backup.x", 0)
    assert "make room" in stopped.value.hint
    assert [path.name for path in small_disk.iterdir()] == ["data"]
    assert (data / "db").read_bytes() == before
