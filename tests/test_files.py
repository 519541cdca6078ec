"""Files are replaced as a whole or not at all, and lines are appended whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patroni_etcd_reconfig.files import LIMIT, append_durably, fsync_dir, read_text, write_atomically

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def disk_full(*_: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="larger than 16 MiB"):
        read_text(Path("/dev/zero"))
    (tmp_path / "most").write_bytes(b"x" * LIMIT)
    assert len(read_text(tmp_path / "most")) == LIMIT


def test_text_is_read_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"caf\xe9\r\n")
    assert read_text(tmp_path / "f", "surrogateescape").encode("utf-8", "surrogateescape") == b"caf\xe9\r\n"
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "f")


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(OSError, match="no file"):
            write_atomically(path, "text")
    assert pipe.is_fifo()
    assert names(tmp_path) == ["link", "pipe"]


def test_a_new_file_is_private(tmp_path: Path) -> None:
    write_atomically(tmp_path / "f", "text\n")
    assert (tmp_path / "f").read_text() == "text\n"
    assert mode(tmp_path / "f") == 0o600
    assert names(tmp_path) == ["f"]


def test_the_mode_can_be_given(tmp_path: Path) -> None:
    write_atomically(tmp_path / "f", "text", mode=0o644)
    assert mode(tmp_path / "f") == 0o644


def test_bytes_that_are_no_utf_8_come_out_as_they_went_in(tmp_path: Path) -> None:
    raw = b"caf\xe9\r\n"
    write_atomically(tmp_path / "f", raw.decode("utf-8", "surrogateescape"))
    assert (tmp_path / "f").read_bytes() == raw


def test_the_mode_is_that_of_the_file_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    path.chmod(0o640)
    write_atomically(path, "new", like=path)
    assert (path.read_text(), mode(path)) == ("new", 0o640)


@needs_root
def test_the_owner_is_that_of_the_file_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    os.chown(path, 1234, 4321)
    path.chmod(0o6755)
    write_atomically(path, "new", like=path)
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (1234, 4321, 0o6755)


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").write_text("old")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "f")
    write_atomically(link, "new", like=link)
    assert link.is_symlink()
    assert (tmp_path / "real" / "f").read_text() == "new"
    assert names(tmp_path / "real") == ["f"]


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    monkeypatch.setattr(os, call, disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new", like=path)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["f"]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "f", "new")
    assert names(tmp_path) == []


def test_the_content_is_on_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    log_calls(monkeypatch, seen)
    write_atomically(tmp_path / "f", "new")
    assert seen == ["fsync file", "rename", "fsync directory"]


def log_calls(monkeypatch: pytest.MonkeyPatch, seen: list[str]) -> None:
    """Log syncs and renames, and carry them out."""
    fsync: Callable[[int], None] = os.fsync
    replace: Callable[[Path, Path], Path] = Path.replace

    def logged_fsync(descriptor: int) -> None:
        what = "directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"  # noqa: PTH112
        seen.append(f"fsync {what}")
        fsync(descriptor)

    def logged_replace(path: Path, target: Path) -> Path:
        seen.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(Path, "replace", logged_replace)


def test_a_directory_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "f", "x")
    with pytest.raises(FileNotFoundError):
        fsync_dir(tmp_path / "none")


def test_lines_are_appended_to_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    append_durably(path, "one")
    append_durably(path, "two\n")
    assert path.read_text() == "one\ntwo\n"
    assert mode(path) == 0o600


def test_the_first_line_makes_the_file_itself_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    log_calls(monkeypatch, seen)
    append_durably(tmp_path / "journal", "one")
    append_durably(tmp_path / "journal", "two")
    assert seen == ["fsync file", "fsync directory", "fsync file"]


def test_a_line_that_breaks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line break"):
        append_durably(tmp_path / "journal", "one\ntwo")
    assert not (tmp_path / "journal").exists()


def test_a_line_is_written_whole_even_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    append_durably(tmp_path / "journal", "a long line")
    assert (tmp_path / "journal").read_text() == "a long line\n"


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    append_durably(path, "one")
    write = os.write
    room = iter([3])

    def almost_full(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[:left]) if (left := next(room, 0)) else int(disk_full())

    monkeypatch.setattr(os, "write", almost_full)
    with pytest.raises(OSError, match="No space left"):
        append_durably(path, "two is too long")
    assert path.read_text() == "one\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_a_device_that_is_really_full_is_an_os_error() -> None:
    with pytest.raises(OSError):
        append_durably(Path("/dev/full"), "x")
