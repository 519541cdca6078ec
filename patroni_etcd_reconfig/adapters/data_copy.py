"""A copy of a stopped etcd's data, compared byte for byte, beside the original.

It is made under another name and gets its own only when all of it is on disk and equal: a copy that has
its name is whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.adapters.inventory import NodeConfig
from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.files import fsync_dir

BLOCK = 1 << 20
MOST_COPIES = 100


@dataclass(frozen=True)
class Copied:
    """A finished copy: where, of how many bytes, and the SHA-256 over all names and contents."""

    path: str
    size: int
    sha256: str


def back_up(config: NodeConfig, label: str, reserve: int) -> tuple[Copied, ...]:
    """Copy the data dir, and a separate WAL dir, to `<dir>.<label>`; keep `reserve` bytes of the disk free.

    A copy that is there stays; one that is no longer equal, because etcd ran meanwhile, gets a second one
    beside it, `<dir>.<label>.2`. Raises StepFailedError, and leaves no half of a copy behind, when the
    disk is too small or fails: the original is only read.
    """
    sources = [Path(path) for path in (config.data_dir, config.wal_dir) if path]
    return tuple(_copy(config.name, source, Path(f"{source}.{label}"), reserve) for source in sources)


def _copy(name: str, source: Path, target: Path, reserve: int) -> Copied:
    try:
        target, there = _place(source, target)
        if there:
            return there
    except OSError as error:
        raise _failed(name, source, target, error) from error
    part = target.with_name(f"{target.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # the half of a copy, left by a run that was killed
        _check_room(name, source, reserve)
        _copy_tree(source, part)
        copied = _compared(name, source, part)
        part.rename(target)
        fsync_dir(target.parent)
        return Copied(str(target), copied.size, copied.sha256)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise _failed(name, source, target, error) from error


def _place(source: Path, target: Path) -> tuple[Path, Copied | None]:
    """Return the copy that is equal to the source, or else where a new one can be made."""
    places = (target, *(target.with_name(f"{target.name}.{number}") for number in range(2, MOST_COPIES)))
    for place in places:
        if not place.exists():
            return place, None
        if (found := _digest(place)) == _digest(source):
            return place, Copied(str(place), *found)
    raise OSError(errno.EEXIST, f"there are {len(places)} copies already")


def _failed(name: str, source: Path, target: Path, error: OSError) -> StepFailedError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return StepFailedError(
        f"{name}: {source} could not be copied to {target}: {error.strerror or error}; it was not changed",
        hint=f"{'make room' if full else 'correct that'}, then give the same command again",
        code="BACKUP",
    )


def _check_room(name: str, source: Path, reserve: int) -> None:
    need = sum(path.stat().st_blocks * 512 for path in source.rglob("*") if path.is_file())
    state = os.statvfs(source.parent)
    free = state.f_bavail * state.f_frsize
    if free < need + reserve:
        raise StepFailedError(
            f"{name}: {free} bytes are free beside {source}, its copy needs {need}, and {reserve} stay free; "
            "it was not changed",
            hint="make room there, or lower policy.min_free_bytes; then give the same command again",
            code="BACKUP",
        )


def _copy_tree(source: Path, target: Path) -> None:
    """Copy files with their owners and modes, and wait until all is on disk."""
    target.mkdir(mode=0o700)
    for path in sorted(source.rglob("*")):
        there = target / path.relative_to(source)
        if path.is_dir():
            there.mkdir(mode=0o700)
        elif path.is_file():
            _copy_file(path, there)
    for path in (*sorted(source.rglob("*"), reverse=True), source):
        there = target / path.relative_to(source)
        if path.is_dir():
            _take_over(path, there)
            fsync_dir(there)


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file; blocks of zeros become holes: etcd allocates its log 64 MB ahead."""
    with target.open("xb") as writing:
        for offset, block in _blocks(source):
            writing.seek(offset)
            writing.write(block)
        writing.truncate(source.stat().st_size)
        writing.flush()
        os.fsync(writing.fileno())
    _take_over(source, target)


def _take_over(source: Path, target: Path) -> None:
    state = source.stat()
    if (state.st_uid, state.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(target, state.st_uid, state.st_gid)
    target.chmod(state.st_mode & 0o7777)
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))


def _compared(name: str, source: Path, copy: Path) -> Copied:
    ours, theirs = _digest(source), _digest(copy)
    if ours != theirs:
        raise StepFailedError(
            f"{name}: {copy} is not equal to {source}; it was not changed",
            hint=f"move {copy} away, see that nothing writes to {source}, and give the same command again",
            code="BACKUP",
        )
    return Copied(str(copy), ours[0], ours[1])


def _digest(directory: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    for path in sorted(directory.rglob("*")):
        digest.update(str(path.relative_to(directory)).encode("utf-8", "surrogateescape") + b"\0")
        if path.is_file():
            length = path.stat().st_size
            digest.update(str(length).encode() + b"\0")
            size += length
            for offset, block in _blocks(path):
                digest.update(str(offset).encode() + b"\0" + block)
    return size, digest.hexdigest()


def _blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield what a file holds, with offsets; blocks that are all zeros are left out, holes not even read."""
    with path.open("rb") as file:
        at = 0
        while (at := _next_data(file.fileno(), at)) >= 0:
            file.seek(at)
            block = file.read(BLOCK)
            if block.count(0) != len(block):
                yield at, block
            at += BLOCK


def _next_data(descriptor: int, at: int) -> int:
    """Return the block in which the next data begins; -1 behind the last."""
    try:
        return os.lseek(descriptor, at, os.SEEK_DATA) // BLOCK * BLOCK
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return -1
