"""Data dirs that operations have set aside: renamed, never deleted on the way (law 5)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from patroni_etcd_reconfig.adapters.disk import make_like
from patroni_etcd_reconfig.adapters.fence import is_begun, is_free, put_fence, swap_for_fence
from patroni_etcd_reconfig.adapters.leftovers import OPERATION
from patroni_etcd_reconfig.files import fsync_dir


def set_aside_beside(data_dir: Path) -> tuple[str, ...]:
    """Return the directories beside it that operations have set aside, the newest first."""
    try:
        names = [entry.name for entry in os.scandir(data_dir.parent) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return ()
    ours = re.compile(rf"{re.escape(data_dir.name)}\.(?:[0-9a-f]+|unknown)\.{OPERATION}")
    found = [(match["operation"], name) for name in names if (match := ours.fullmatch(name))]
    paths = [data_dir.parent / name for _, name in sorted(found, reverse=True)]
    return tuple(str(path) for path in paths if not is_begun(path))


def holds(path: Path) -> bool:
    """Tell whether there is something to set aside; an empty directory is as good as none."""
    return os.path.lexists(path) and not (path.is_dir() and is_free(path))


def rename_aside(source: Path, target: Path, fence: bool) -> None:
    """Rename, and leave a fence, or an empty directory: etcd can't make one where its parent is root's.

    What was done before is fine. OSError is let through.
    """
    if not holds(source):
        if fence and target.is_dir():  # killed in between, where the file system has no exchange
            put_fence(source, target.stat())
    elif fence:
        swap_for_fence(source, target)
    else:
        owner = source.stat()
        source.rename(target)
        make_like(source, owner)
        fsync_dir(target.parent)
