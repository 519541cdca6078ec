"""One record more at the end of a write-ahead log: a HardState with a higher commit index.

As etcd's server/storage/wal/encoder.go writes it; the format is in core/wal.py.
"""

from __future__ import annotations

from patroni_etcd_reconfig.core.crc32c import crc32c
from patroni_etcd_reconfig.core.protobuf import varint
from patroni_etcd_reconfig.core.wal import RecordType
from patroni_etcd_reconfig.core.wal_log import HardState

_ALIGNED = 8  # bytes


def state_record(state: HardState, crc: int) -> bytes:
    """Return the frame of a HardState that follows a record with this checksum."""
    data = b"\x08" + varint(state.term) + b"\x10" + varint(state.vote) + b"\x18" + varint(state.commit)
    head = b"\x08" + varint(RecordType.STATE) + b"\x10" + varint(crc32c(data, crc))
    message = head + b"\x1a" + varint(len(data)) + data
    padding = -len(message) % _ALIGNED
    field = len(message) | ((0x80 | padding) << 56 if padding else 0)
    return field.to_bytes(_ALIGNED, "little") + message + bytes(padding)
