"""A data dir that no etcd may start in, because the member's data went elsewhere.

An etcd whose data dir is merely empty, with `initial-cluster-state: existing` and a peer URL that is in the
list, joins as that member with an empty log: what it had acknowledged would be forgotten. So a file takes the
name of etcd's directory `member`, and every etcd ends at its start (seen on 3.4.23 to 3.7.1).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from patroni_etcd_reconfig.adapters.disk import make_like
from patroni_etcd_reconfig.files import fsync_dir

MARK = "patroni-etcd-reconfig: the data of this etcd member was moved; etcd must not start here.\n"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def is_fenced(directory: Path) -> bool:
    """Tell whether a directory holds nothing but the file that keeps etcd from starting there."""
    try:
        return (
            _names(directory) == {"member"} and (directory / "member").read_text("utf-8", "replace") == MARK
        )
    except OSError:  # there is no such directory, or `member` is one
        return False


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def is_free(directory: Path) -> bool:
    """Tell whether there is no data: no directory, a fence, or nothing, as packages and mounts leave it."""
    return not directory.is_dir() or not any(directory.iterdir()) or is_fenced(directory)


def lift_fence(directory: Path) -> None:
    """Let an etcd start there again; nothing happens where there is no fence. OSError is let through."""
    if is_fenced(directory):
        (directory / "member").unlink()
        fsync_dir(directory)


def is_begun(directory: Path) -> bool:
    """Tell whether a directory is no more than a fence, perhaps one that was not finished."""
    try:
        return _names(directory) <= {"member"} and not (directory / "member").is_dir()
    except OSError:
        return False


def put_fence(directory: Path, model: os.stat_result) -> None:
    """Fence a directory that is not there, or empty, durably; with mode and owner of another."""
    if not directory.is_dir():
        make_like(directory, model)
    descriptor = os.open(directory / "member", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(MARK)
        file.flush()
        os.fsync(file.fileno())
    fsync_dir(directory)
    fsync_dir(directory.parent)


def swap_for_fence(directory: Path, aside: Path) -> None:
    """Rename a directory aside, and leave one that is fenced: in one step, where the file system can do that.

    Elsewhere there is no directory for an instant. OSError is let through; what a kill left is used again.
    """
    put_fence(aside, directory.stat())
    if not _exchange(directory, aside):
        spare = aside.with_name(f"{aside.name}.fence")
        aside.rename(spare)
        directory.rename(aside)
        spare.rename(directory)
    fsync_dir(directory.parent)


def _exchange(one: Path, other: Path) -> bool:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc 2.28
    if rename is None:
        return False
    names = (os.fsencode(one), os.fsencode(other))
    return bool(rename(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0)
