"""Whose data a write-ahead log holds, and that no bytes whatever make the reader fall over."""

from __future__ import annotations

import random

import pytest

from patroni_etcd_reconfig.core.model import DataDir
from patroni_etcd_reconfig.core.wal import Record, RecordType, iter_records, read_identity

MEMBER, CLUSTER = 0x8E9E05C52164694D, 0xCDF818194E3A8C32  # both above 2**63, as sha1 gives them
WHOSE = DataDir(cluster_id=CLUSTER, member_id=MEMBER)


def varint(number: int) -> bytes:
    """Encode a number as protobuf does."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def metadata(member: int = MEMBER, cluster: int = CLUSTER) -> bytes:
    """Encode an etcdserverpb.Metadata."""
    return b"\x08" + varint(member) + b"\x10" + varint(cluster)


def frame(kind: int, data: bytes | None = None, crc: int = 0) -> bytes:
    """Encode a record in its frame, padded to 8 bytes as etcd does."""
    record = b"\x08" + varint(kind) + b"\x10" + varint(crc)
    if data is not None:
        record += b"\x1a" + varint(len(data)) + data
    padding = -len(record) % 8
    field = len(record) | ((0x80 | padding) << 56 if padding else 0)
    return field.to_bytes(8, "little") + record + bytes(padding)


CRC = frame(RecordType.CRC)
SEGMENT = CRC + frame(RecordType.METADATA, metadata(), crc=0xDEADBEEF) + frame(RecordType.SNAPSHOT, b"")
PREALLOCATED = SEGMENT + bytes(4096)


def test_identity_is_read_from_the_metadata_record() -> None:
    assert read_identity(PREALLOCATED) == WHOSE


def test_identity_needs_no_more_than_the_first_two_frames() -> None:
    assert read_identity(CRC + frame(RecordType.METADATA, metadata())) == WHOSE


def test_records_come_in_order_and_end_at_the_preallocated_zeros() -> None:
    assert list(iter_records(PREALLOCATED)) == [
        Record(RecordType.CRC, 0, b""),
        Record(RecordType.METADATA, 0xDEADBEEF, metadata()),
        Record(RecordType.SNAPSHOT, 0, b""),
    ]


@pytest.mark.parametrize("size", range(30))
def test_frames_of_every_length_are_followed_by_the_next(size: int) -> None:
    records = list(iter_records(frame(RecordType.ENTRY, bytes(size)) + CRC))
    assert [len(record.data) for record in records] == [size, 0]


def test_a_truncated_segment_never_gives_a_wrong_identity() -> None:
    whole = len(CRC + frame(RecordType.METADATA, metadata(), crc=0xDEADBEEF))
    found = [read_identity(SEGMENT[:size]) for size in range(len(SEGMENT))]
    assert set(found) == {None, WHOSE}
    assert WHOSE not in found[: whole - 7]  # up to 7 bytes of padding may be missing


def test_damaged_bytes_never_raise() -> None:
    chance = random.Random(1)  # repeatable damage, no secret
    for _ in range(20_000):
        damaged = bytearray(PREALLOCATED[:80])
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        read_identity(bytes(damaged))
        list(iter_records(bytes(damaged)))


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0" * 4096,
        b"\xff" * 4096,
        b"not a write-ahead log at all, but long enough for some frames" * 20,
        CRC,
        frame(RecordType.ENTRY, metadata()) + SEGMENT,  # no segment begins with an entry
        CRC + frame(RecordType.METADATA),  # empty, as `etcdutl snapshot restore` never leaves it
        CRC + frame(RecordType.METADATA, b"\x08\x01"),  # a member without a cluster
        CRC + frame(RecordType.METADATA, b"\x0a\x011\x12\x012"),  # strings where numbers must be
        CRC + frame(RecordType.METADATA, b"\x08" + b"\xff" * 11),  # a number that does not end
        CRC + frame(RecordType.METADATA, b"\x0b"),  # a wire type that is no more
    ],
)
def test_what_is_no_write_ahead_log_has_no_identity(garbage: bytes) -> None:
    assert read_identity(garbage) is None


def test_fields_that_a_later_etcd_may_add_are_passed_over() -> None:
    more = b"\x1a\x03abc" + b"\x21" + bytes(8) + b"\x2d" + bytes(4)
    assert read_identity(CRC + frame(RecordType.METADATA, metadata() + more)) == WHOSE
