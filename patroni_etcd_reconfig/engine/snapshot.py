"""Snapshots on this machine's disk, whole and verified or not there at all."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from patroni_etcd_reconfig.engine.world import Facts
from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.files import fsync_dir
from patroni_etcd_reconfig.ports import EtcdApi


class _Watched(io.BufferedWriter):
    """A file that tells how many bytes were written to it so far."""

    def __init__(self, descriptor: int, come: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(descriptor, "wb"))
        self._come, self._count = come, 0

    def write(self, data: Any) -> int:
        written = super().write(data)
        self._count += written
        self._come(self._count)
        return written


def save_snapshot(client: EtcdApi, path: Path, come: Callable[[int], None] = lambda _: None) -> Facts:
    """Stream a snapshot to `path`, mode 0600; the name appears only once all is on disk and checked.

    `come` is told often how many bytes have come.
    Raises StepFailedError when it can't be written, e.g. on a full disk: nothing is left behind then.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        size, sha256 = _receive(client, part, come)
        part.replace(path)
        fsync_dir(path.parent)
    except OSError as error:
        raise StepFailedError(
            f"the snapshot could not be written to {path}: {error.strerror or error}; nothing was changed",
            hint="make room there, or set policy.state_dir in the inventory to another disk",
            code="SNAPSHOT",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return {"snapshot": str(path), "size": size, "sha256": sha256}


def _receive(client: EtcdApi, part: Path, come: Callable[[int], None]) -> tuple[int, str]:
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with _Watched(descriptor, come) as sink:
        received = client.snapshot(sink)
        sink.flush()
        os.fsync(sink.fileno())
    return received.size, received.sha256
