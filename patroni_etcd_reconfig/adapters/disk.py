"""Directories and file systems of this machine, as far as node control has to know them."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path


def database_bytes(data_dir: Path) -> int | None:
    """Return the bytes of the database, or of the one that arrives: etcd receives it beside the old one.

    Seen on etcd 3.4.23, 3.5.1 and 3.6.6: `member/snap/tmp*` grows while a snapshot is received, and becomes
    `db` in the end.
    """
    try:
        sizes = [path.stat().st_size for path in (data_dir / "member" / "snap").iterdir()]
    except OSError:  # no data, or a file that was renamed between the two calls
        return None
    return max(sizes, default=None)


def free_bytes(path: Path) -> int | None:
    """Return what the file system has free for a directory, which may not be there yet."""
    for place in (path, *path.parents):
        try:
            state = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return state.f_bavail * state.f_frsize
    return None


def is_mount(path: Path) -> bool:
    """Return whether something is mounted there; a bind mount is seen only in the kernel's table."""
    if os.path.ismount(path):
        return True
    try:
        table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return False
    points = (line.split(" ")[4] for line in table)  # proc(5): the fifth field, blanks as \040
    return str(path.resolve()) in {
        re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point) for point in points
    }


def size_of(directory: Path) -> int:
    """Return the size of all files in a directory, as far as they can be seen."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):  # etcd deletes old files at any time
                total += Path(parent, name).lstat().st_size
    return total


def make_like(path: Path, model: os.stat_result) -> None:
    """Make a directory with the mode and owner of another."""
    path.mkdir(mode=0o700)
    path.chmod(stat.S_IMODE(model.st_mode))
    if (model.st_uid, model.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(path, model.st_uid, model.st_gid)
