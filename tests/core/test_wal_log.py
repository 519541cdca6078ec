"""How far a write-ahead log goes: a torn tail is normal, damage is named, and nothing ever raises."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from patroni_etcd_reconfig.core.crc32c import crc32c
from patroni_etcd_reconfig.core.wal import RecordType
from patroni_etcd_reconfig.core.wal_append import state_record
from patroni_etcd_reconfig.core.wal_log import End, HardState, LogFacts, Position, read_log
from tests.core.test_wal import WHOSE, frame, metadata, varint

FIRST, SECOND = "0000000000000000-0000000000000000.wal", "0000000000000001-0000000000000003.wal"
Written = tuple[RecordType, bytes]


def entry(index: int, term: int = 2, data: bytes = b"x" * 40) -> Written:
    numbers = b"\x08\x00\x10" + varint(term) + b"\x18" + varint(index)
    return RecordType.ENTRY, numbers + b"\x22" + varint(len(data)) + data


def removal(index: int, member: int, kind: int = 1) -> Written:
    change = b"\x08" + varint(2**63) + b"\x10" + varint(kind) + b"\x18" + varint(member)
    numbers = b"\x08\x01\x10\x02\x18" + varint(index)
    return RecordType.ENTRY, numbers + b"\x22" + varint(len(change)) + change


def state(commit: int, term: int = 2, vote: int = 7) -> Written:
    return RecordType.STATE, b"\x08" + varint(term) + b"\x10" + varint(vote) + b"\x18" + varint(commit)


def snapshot(index: int, term: int = 2) -> Written:
    return RecordType.SNAPSHOT, b"\x08" + varint(index) + b"\x10" + varint(term)


def segment(records: Sequence[Written], crc: int = 0) -> tuple[bytes, int]:
    """Encode a segment as etcd does, and return it with the checksum that the next one begins with."""
    written = frame(RecordType.CRC, crc=crc)
    for kind, data in ((RecordType.METADATA, metadata()), *records):
        crc = crc32c(data, crc)
        written += frame(kind, data, crc)
    return written, crc


def read(*segments: bytes) -> LogFacts:
    names = dict(zip((FIRST, SECOND), segments, strict=False))
    return read_log(names, lambda name: memoryview(names[name]))


RECORDS = [snapshot(0, 0), entry(1), state(0), entry(2), entry(3), state(3)]
WHOLE, CHAIN = segment(RECORDS)


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C (RFC 3720, B.4 gives others)
    assert crc32c(b"56789", crc32c(b"1234")) == 0xE3069283


def test_the_log_ends_where_its_last_entry_is() -> None:
    assert read(WHOLE + bytes(4096)) == LogFacts(WHOSE, HardState(2, 7, 3), Position(2, 3), False, ())


def test_an_entry_written_later_overwrites_all_from_its_index_on() -> None:
    written, _ = segment([*RECORDS, entry(2, term=4), state(2, term=4)])
    assert read(written).last == Position(4, 2)


def test_a_snapshot_beyond_the_log_is_its_end() -> None:
    written, _ = segment([*RECORDS, snapshot(90, term=5)])
    assert read(written).last == Position(5, 90)


def test_a_segment_that_was_just_cut_takes_its_last_entry_from_the_one_before() -> None:
    following, _ = segment([state(3)], CHAIN)
    assert read(WHOLE, following) == LogFacts(WHOSE, HardState(2, 7, 3), Position(2, 3), False, ())


def test_a_snapshot_in_a_segment_without_entries_does_not_hide_the_entry_before_it() -> None:
    following, _ = segment([state(3), snapshot(2)], CHAIN)
    assert read(WHOLE, following).last == Position(2, 3)


def test_a_log_that_ends_before_what_was_committed_has_lost_its_end() -> None:
    written, _ = segment([entry(1), state(5)])
    assert read(written).problems == ("the log ends at index 1, and 5 was committed",)


def test_a_missing_segment_is_named() -> None:
    names = {FIRST: WHOLE, "0000000000000002-0000000000000009.wal": segment([entry(10), state(9)], CHAIN)[0]}
    assert read_log(names, lambda name: memoryview(names[name])).problems == (
        "segment 0000000000000001 is missing",
    )


def test_a_log_cut_anywhere_is_a_prefix_of_itself_with_a_torn_tail_or_a_clean_end() -> None:
    ends = {read(WHOLE[:size]).last for size in range(len(WHOLE))}
    assert ends == {Position(0, 0), Position(2, 1), Position(2, 2), Position(2, 3)}
    for size in range(len(WHOLE)):
        found = read(WHOLE[:size] + bytes(8192))
        assert found.last.index <= 3
        assert not found.problems or found.whose is None or "checksum" in found.problems[0]


def test_a_sector_of_zeros_at_the_end_is_a_torn_write_as_etcd_has_it() -> None:
    whole, _ = segment([entry(1), state(1), entry(2, data=b"y" * 3000)])
    torn = whole[: len(whole) - 2000] + bytes(2000 + 4096)
    found = read(torn)
    assert (found.last, found.torn_tail, found.problems) == (Position(2, 1), True, ())


@pytest.mark.parametrize("back", [7, 200])
def test_damage_that_is_no_torn_tail_is_named_with_its_place(back: int) -> None:
    damaged = bytearray(WHOLE + bytes(512))
    damaged[len(WHOLE) - back] ^= 0x55
    found = read(bytes(damaged))
    assert found.problems
    assert FIRST in found.problems[0]
    assert "at byte" in found.problems[0]
    assert found.last.index <= 3


def test_random_damage_never_raises_and_never_makes_the_log_longer() -> None:
    chance = random.Random(2)  # repeatable damage, no secret
    for _ in range(3_000):
        damaged = bytearray(WHOLE)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        found = read(bytes(damaged))
        assert found.last.index <= 3 or found.problems


def test_no_segment_at_all_is_said() -> None:
    assert read_log([], lambda name: memoryview(b"")).problems == ("no segment says whose it is",)


def test_a_removal_counts_when_it_is_committed() -> None:
    ids = 2**64 - 1, 2**63, 5
    written, _ = segment(
        [entry(1), removal(2, ids[0]), removal(3, ids[2], kind=3), removal(4, ids[1]), state(3)]
    )
    assert read(written).removed == {ids[0]}


@pytest.mark.parametrize("commit", [3, 127, 128, 2**40])
@pytest.mark.parametrize("vote", [0, 7, 2**64 - 1])
def test_a_record_that_is_appended_is_the_last_word_of_the_log(commit: int, vote: int) -> None:
    written, crc = segment([*RECORDS, *(entry(index) for index in range(4, 6))])
    assert read(written + bytes(4096)).end == End(len(written), crc)
    record = state_record(HardState(2, vote, commit), crc)
    assert len(record) % 8 == 0
    preallocated = written + record + bytes(4096 - len(record))
    assert read(preallocated).state == HardState(2, vote, commit)
    assert not read(preallocated).torn_tail
    following = frame(*entry(6), crc32c(entry(6)[1], read(preallocated).end.crc))  # type: ignore[union-attr]
    assert read(written + record + following + bytes(512)).last == Position(2, 6)


def test_nothing_belongs_after_what_is_no_whole_record() -> None:
    torn = WHOLE[:-4]
    wrong = bytearray(WHOLE)
    wrong[-20] ^= 1
    assert [read(data).end for data in (torn, bytes(wrong), b"")] == [None] * 3
