"""One recovery at a time, without an etcd: files that are locked as long as the process lives.

The kernel lets go of a lock when its holder ends, however it ends. What a file says of its holder is for
people only.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from patroni_etcd_reconfig.errors import LockedError, StepFailedError


class FileLocks:
    """Locks on several files at once: the one of this tool's state, and one beside each node's data dir."""

    def __init__(self, paths: Iterable[Path], holder: Mapping[str, Any]) -> None:
        self._paths = tuple(paths)
        self._text = json.dumps(dict(holder)) + "\n"
        self._held: list[tuple[Path, int]] = []

    def __enter__(self) -> FileLocks:
        """Take all; raises LockedError, which says who holds one of them."""
        try:
            for path in self._paths:
                self._held.append((path, self._take(path)))
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of all."""
        self._release()

    def _take(self, path: Path) -> int:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            while True:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                if self._lock(path, descriptor):
                    return descriptor
                os.close(descriptor)
        except OSError as error:
            raise StepFailedError(
                f"{path}: {error.strerror or error}",
                hint="a recovery locks this file: correct the rights there; nothing was changed",
            ) from error

    def _lock(self, path: Path, descriptor: int) -> bool:
        """Lock an open file; False when it was removed by who held it before, so that it locks nothing."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise _locked(path, holder) from None
        if not _is_at(path, descriptor):
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, self._text.encode())
        return True

    def _release(self) -> None:
        for path, descriptor in self._held:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)
        self._held.clear()


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        there, ours = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _holder(descriptor: int) -> Mapping[str, Any]:
    try:
        data = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _locked(path: Path, holder: Mapping[str, Any]) -> LockedError:
    who = (
        f"{holder.get('user') or 'somebody'} on {holder.get('host')}, pid {holder.get('pid')}, "
        f"operation {holder.get('operation')}, since {holder.get('since')}"
        if holder
        else "somebody who left no name"
    )
    return LockedError(
        f"another recovery holds {path}: {who}",
        hint="wait until it has ended; then look again: patronictl-etcd recover collect",
    )
