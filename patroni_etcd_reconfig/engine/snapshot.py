"""Snapshots on this machine's disk, whole and verified or not there at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from patroni_etcd_reconfig.engine.world import Facts
from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.files import fsync_dir
from patroni_etcd_reconfig.ports import EtcdApi


def save_snapshot(client: EtcdApi, path: Path) -> Facts:
    """Stream a snapshot to `path`, mode 0600; the name appears only once all is on disk and checked.

    Raises StepFailedError when it can't be written, e.g. on a full disk: nothing is left behind then.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        size, sha256 = _receive(client, part)
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


def _receive(client: EtcdApi, part: Path) -> tuple[int, str]:
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        received = client.snapshot(sink)
        sink.flush()
        os.fsync(sink.fileno())
    return received.size, received.sha256
