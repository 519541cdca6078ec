"""A snapshot file as `snapshot save` writes it: a bbolt database, and behind it its SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from patroni_etcd_reconfig.adapters.data_dir import read_database
from patroni_etcd_reconfig.core.bolt import BoltError
from patroni_etcd_reconfig.core.recovery.restoring import SnapshotFile
from patroni_etcd_reconfig.errors import ConfigError

_DIGEST = 32  # bytes of a SHA-256 (etcdutl/snapshot/v3_snapshot.go)
_UNIT = 512  # a database is a multiple of this; by that etcd itself tells whether a hash follows
_BLOCK = 1 << 20
_HINT = "use another snapshot: nothing was changed"


def read_snapshot(path: Path, namespace: str) -> SnapshotFile:
    """Return what a snapshot holds; ConfigError for a file that is damaged, cut off, or none.

    The hash is checked over all of it. A raw database has none: `hashed` is False then.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            sha256, hashed = _checked(file, size, path)
        store = read_database(path, namespace)
        written_at = path.stat().st_mtime
    except OSError as error:
        raise _unfit(f"{path}: {error.strerror or error}") from error
    except BoltError as error:
        raise _unfit(f"{path}: {error}") from error
    if store.revision is None or store.consistent_index is None:
        raise _unfit(f"{path}: a database, but not etcd's")
    return SnapshotFile(
        path=str(path.absolute()),
        sha256=sha256,
        size=size,
        hashed=hashed,
        revision=store.revision,
        written_at=written_at,
        keys=store.keys,
        members=store.members,
        auth_roots=store.auth_roots,
    )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a whole file, in hex."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _checked(file: BinaryIO, size: int, path: Path) -> tuple[str, bool]:
    """Return the SHA-256 of the whole, and whether the end is that of all before it."""
    content, left = hashlib.sha256(), size - _DIGEST
    while left > 0 and (block := file.read(min(_BLOCK, left))):
        content.update(block)
        left -= len(block)
    whole, tail = content.copy(), file.read(_DIGEST)
    whole.update(tail)
    if content.digest() == tail:
        return whole.hexdigest(), True
    if size % _UNIT == 0 and size:
        return whole.hexdigest(), False
    raise _unfit(f"{path}: the hash at its end is not that of its content: damaged, cut off, or no snapshot")


def _unfit(message: str) -> ConfigError:
    return ConfigError(message, hint=_HINT, code="SNAPSHOT_UNFIT")
