"""Files that are whole or not there, and lines that are on disk when the call returns."""

from __future__ import annotations

import os
from pathlib import Path


def append_durably(path: Path, line: str) -> None:
    """Append a line, fsynced, to a file that is made with mode 0600; raises OSError."""
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        data = line.encode()
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        fsync_dir(path.parent)


def fsync_dir(path: Path) -> None:
    """Make renames and new names in a directory durable; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
