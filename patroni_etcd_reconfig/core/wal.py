"""The write-ahead log of etcd, as far as it says whose data it holds.

The format has been the same since etcd 2.0 (server/storage/wal/encoder.go, decoder.go, walpb/record.proto):
a segment is a row of frames, each a little-endian 64-bit length field and a protobuf `walpb.Record`,
padded to 8 bytes. The lower 56 bits of the field are the record's length; where the top bit is set, bits
56 to 58 are the number of padding bytes. A segment is preallocated, so zeros follow the last frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from patroni_etcd_reconfig.core.model import DataDir
from patroni_etcd_reconfig.core.protobuf import fields_of


class RecordType(IntEnum):
    """What a record holds; the numbers are etcd's (server/storage/wal/wal.go)."""

    METADATA = 1
    ENTRY = 2
    STATE = 3
    CRC = 4
    SNAPSHOT = 5


@dataclass(frozen=True)
class Record:
    """One record. `type` is a RecordType where etcd wrote it; `crc` is the running checksum, unchecked."""

    type: int
    crc: int
    data: bytes


_LENGTH_SIZE = 8
_LENGTH_MASK = (1 << 56) - 1
_PADDED = 1 << 63


def read_identity(first_segment: bytes) -> DataDir | None:
    """Return the cluster and member id of the first records of a segment, of which the start is enough.

    Every segment begins with a crc and a metadata record, so any one will do. None when these bytes are
    no such segment; never raises.
    """
    for record in iter_records(first_segment):
        if record.type == RecordType.METADATA:
            return _identity(record.data)
        if record.type != RecordType.CRC:
            break
    return None


def iter_records(data: bytes) -> Iterator[Record]:
    """Yield the records of a segment up to its end, or up to the first that is cut off or damaged."""
    at = 0
    while at + _LENGTH_SIZE <= len(data):
        start = at + _LENGTH_SIZE
        field = int.from_bytes(data[at:start], "little")
        end = start + (field & _LENGTH_MASK)
        record = _record(data[start:end]) if start < end <= len(data) else None
        if record is None:
            return
        yield record
        at = end + ((field >> 56) & 7 if field & _PADDED else 0)


def _record(message: bytes) -> Record | None:
    fields = fields_of(message)
    if fields is None:
        return None
    kind, crc, data = fields.get(1, 0), fields.get(2, 0), fields.get(3, b"")
    if isinstance(kind, int) and isinstance(crc, int) and isinstance(data, bytes):
        return Record(kind, crc, data)
    return None


def _identity(metadata: bytes) -> DataDir | None:
    """Read etcdserverpb.Metadata: field 1 is the member's id, field 2 the cluster's."""
    fields = fields_of(metadata)
    if fields is None:
        return None
    member, cluster = fields.get(1), fields.get(2)
    if isinstance(member, int) and isinstance(cluster, int):
        return DataDir(cluster_id=cluster, member_id=member)
    return None
