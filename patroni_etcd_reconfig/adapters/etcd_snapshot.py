"""etcd's snapshot stream: JSON lines of base64 pieces, and at the end the SHA-256 of all before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO

from patroni_etcd_reconfig.adapters import etcd_json
from patroni_etcd_reconfig.adapters.etcd_errors import classify, refusal
from patroni_etcd_reconfig.errors import EtcdError
from patroni_etcd_reconfig.ports import SnapshotInfo

_DIGEST_SIZE = 32  # SHA-256, appended by etcd's server/etcdserver/api/v3rpc/maintenance.go
_LONGEST_LINE = 16 * 1024 * 1024  # etcd sends 45 to 90 kB per line; far more is not a snapshot


class SnapshotCorruptError(EtcdError):
    """A snapshot broke off or does not match its digest: the file is useless."""

    code = "SNAPSHOT_CORRUPT"


def copy_snapshot(chunks: Iterable[bytes], sink: BinaryIO, endpoint: str) -> SnapshotInfo:
    """Decode the stream into `sink`, digest included as `etcdctl snapshot save` does, and check it.

    Holds no more than a few lines at a time. SnapshotCorruptError when it isn't complete; an error that
    etcd sends before the first piece is classified as for any other call.
    """
    digest, tail, size = hashlib.sha256(), b"", 0
    for line in _lines(chunks):
        piece = _piece(line, endpoint, first=not size)
        sink.write(piece)
        size += len(piece)
        held = tail + piece
        digest.update(held[:-_DIGEST_SIZE])  # all but what may turn out to be the digest itself
        tail = held[-_DIGEST_SIZE:]
    if digest.digest() != tail:
        raise _corrupt(f"the snapshot is incomplete or damaged: wrong digest after {size} bytes", endpoint)
    return SnapshotInfo(size - _DIGEST_SIZE, digest.hexdigest())


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream into lines, holding no more than one line and one chunk."""
    pending = bytearray()
    for chunk in chunks:
        pending += chunk
        if b"\n" in chunk:
            *lines, rest = bytes(pending).split(b"\n")
            pending = bytearray(rest)
            yield from filter(None, lines)
        if len(pending) > _LONGEST_LINE:
            break  # the reader can't make sense of what it gets then, and says so
    if pending:
        yield bytes(pending)


def _piece(line: bytes, endpoint: str, *, first: bool) -> bytes:
    with suppress(LookupError, ValueError, TypeError, AttributeError):
        return etcd_json.blob(json.loads(line)["result"])
    words = refusal(line)
    if words is None:
        raise _corrupt(f"not a line of a snapshot: {line[:80]!r}", endpoint)
    raise classify(*words, endpoint) if first else _corrupt(f"the snapshot broke off: {words[0]}", endpoint)


def _corrupt(message: str, endpoint: str) -> SnapshotCorruptError:
    hint = "Throw the file away and take the snapshot again, from another member if need be."
    return SnapshotCorruptError(message, endpoint=endpoint, hint=hint)
