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
_MAX_VARINT = 10  # bytes that a 64-bit number can take in protobuf

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types

Value = int | bytes


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
    fields = _fields(message)
    if fields is None:
        return None
    kind, crc, data = fields.get(1, 0), fields.get(2, 0), fields.get(3, b"")
    if isinstance(kind, int) and isinstance(crc, int) and isinstance(data, bytes):
        return Record(kind, crc, data)
    return None


def _identity(metadata: bytes) -> DataDir | None:
    """Read etcdserverpb.Metadata: field 1 is the member's id, field 2 the cluster's."""
    fields = _fields(metadata)
    if fields is None:
        return None
    member, cluster = fields.get(1), fields.get(2)
    if isinstance(member, int) and isinstance(cluster, int):
        return DataDir(cluster_id=cluster, member_id=member)
    return None


def _fields(message: bytes) -> dict[int, Value] | None:
    """Return a protobuf message's fields by number, the last of each; None where it isn't well-formed."""
    fields: dict[int, Value] = {}
    at = 0
    while at < len(message):
        key = _varint(message, at)
        value = _value(message, key[1], key[0] & 7) if key else None
        if key is None or value is None:
            return None
        fields[key[0] >> 3], at = value
    return fields


def _value(message: bytes, at: int, wire_type: int) -> tuple[Value, int] | None:
    """Return one field's value and where it ends; None when it is cut off or of no known wire type."""
    if wire_type == _VARINT:
        return _varint(message, at)
    if wire_type == _BYTES:
        length = _varint(message, at)
        return _slice(message, length[1], length[0]) if length else None
    size = {_FIXED64: 8, _FIXED32: 4}.get(wire_type)
    return _slice(message, at, size) if size else None


def _slice(message: bytes, at: int, size: int) -> tuple[bytes, int] | None:
    return (message[at : at + size], at + size) if at + size <= len(message) else None


def _varint(message: bytes, at: int) -> tuple[int, int] | None:
    """Return a base-128 number, as an unsigned 64-bit one, and where it ends; None when it is cut off."""
    number = 0
    for shift, byte in enumerate(message[at : at + _MAX_VARINT]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return number & (1 << 64) - 1, at + shift + 1
    return None
