"""Files that survive a crash: written aside and renamed, or appended and synced. OSError is let through."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

PRIVATE = 0o600
LIMIT = 16 * 1024 * 1024  # bytes; configurations, plans and evidence are a thousand times smaller


def read_text(path: Path, errors: str = "strict") -> str:
    """Return a file's text, line ends as they are; OSError for one too large to be meant, as /dev/zero is."""
    with path.open("rb") as file:
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise OSError(errno.EFBIG, f"larger than {LIMIT >> 20} MiB")
    return data.decode("utf-8", errors)


def write_atomically(path: Path, text: str, mode: int = PRIVATE, like: Path | None = None) -> None:
    """Replace a file as a whole: after a crash it is the old one or the new one, on disk.

    With `like`, owner and mode are those of that file. Of a symbolic link the target is replaced, so that
    the link stays. Text that was decoded with `surrogateescape` comes out byte for byte. What is there and
    is no file stays: root can replace /dev/null.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise OSError(errno.EEXIST, "is there, and is no file")
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
            file.flush()
            _set_rights(file.fileno(), mode, like)
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_dir(target.parent)


def append_durably(path: Path, line: str) -> None:
    """Append one line and wait until it is on disk; a line that can't be written whole is taken back.

    For files with one writer, as journals are.
    """
    data = (line.removesuffix("\n") + "\n").encode()
    if data.count(b"\n") != 1:
        raise ValueError("a journal's line holds no line break")
    new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        _append_whole(descriptor, data)
    finally:
        os.close(descriptor)
    if new:
        fsync_dir(path.parent)


def fsync_dir(path: Path) -> None:
    """Wait until a directory's entries (a rename, a new file) are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _append_whole(descriptor: int, data: bytes) -> None:
    size = os.fstat(descriptor).st_size
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _set_rights(descriptor: int, mode: int, like: Path | None) -> None:
    """Give a new file its rights before it gets its name, owner first: chown clears setuid bits."""
    if like is not None:
        model = like.stat()
        mode = model.st_mode & 0o7777
        own = os.fstat(descriptor)
        if (own.st_uid, own.st_gid) != (model.st_uid, model.st_gid):
            os.fchown(descriptor, model.st_uid, model.st_gid)
    os.fchmod(descriptor, mode)
