"""What a member's write-ahead log ends with: its vote, its term, and how far its log goes.

etcd cuts a new segment at 64 MB, and begins it with a checksum, the metadata and the HardState. So the last
segment tells nearly all; earlier ones are read, from the back, only until an entry is found. Frames are
walked to the end, but checksums are verified over the last `CHECKED` bytes of records only: what a crash
tears is at the end, and Python is slow at checksums. Damage further back shows when etcd starts, on a copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from patroni_etcd_reconfig.core.crc32c import crc32c
from patroni_etcd_reconfig.core.model import DataDir
from patroni_etcd_reconfig.core.protobuf import bytes_in, fields_of, number_in
from patroni_etcd_reconfig.core.wal import RecordType, read_identity

CHECKED = 4 * 1024**2
_SECTOR = 512  # etcd's minSectorSize (server/storage/wal/decoder.go): what a disk writes whole or not at all
_LONGEST = 10 * 1024**2  # etcd's maxWALEntrySizeLimit: a longer record is no record
_FIELD = 8  # bytes of a frame's length field
_TYPE_FIELD = 0x08  # how every record begins: field 1, a number
_LENGTH_MASK = (1 << 56) - 1
_CONF_CHANGE, _REMOVE_NODE = 1, 1  # raftpb.EntryType and raftpb.ConfChangeType (raft.proto)
_SHORT = 128  # bytes; a removal has numbers only: five of at most 10 bytes, and their keys
_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.wal")
_HEAD = 4096  # bytes; the metadata is the second record of a segment


@dataclass(frozen=True)
class HardState:
    """The raft state that survives a restart (raftpb.HardState)."""

    term: int
    vote: int
    commit: int


@dataclass(frozen=True)
class Position:
    """A place in the raft log."""

    term: int
    index: int


@dataclass(frozen=True)
class Removal:
    """An entry that removes a member; it counts once it is committed."""

    index: int
    member_id: int


@dataclass(frozen=True)
class End:
    """Where the next record belongs: the offset in bytes after the last one, and the checksum of that."""

    offset: int
    crc: int


@dataclass(frozen=True)
class Segment:
    """What one segment tells: its last entry and its last snapshot, None without any.

    `torn`: the last write was cut off, as a crash does. `damage`: something else is wrong, and where.
    `end` is None where it does not end with a whole record.
    """

    state: HardState | None
    entry: Position | None
    snapshot: Position | None = None
    torn: bool = False
    damage: str = ""
    removals: tuple[Removal, ...] = ()
    end: End | None = None


@dataclass(frozen=True)
class LogFacts:
    """What the whole log tells; `problems` name the file and the place, `end` is that of the last segment."""

    whose: DataDir | None
    state: HardState
    last: Position
    torn_tail: bool
    problems: tuple[str, ...]
    removed: frozenset[int] = frozenset()  # ids whose removal was committed; the database may not have it yet
    end: End | None = field(default=None, compare=False)  # a place, not a state


@dataclass(frozen=True)
class _Frame:
    """One record in its place: `start` and `end` of the message, and where the next frame begins."""

    start: int
    end: int
    after: int


def is_segment(name: str) -> bool:
    """Tell whether a file is named as etcd names the segments of a log."""
    return _NAME.fullmatch(name) is not None


def read_log(names: Iterable[str], content: Callable[[str], memoryview]) -> LogFacts:
    """Read the segments of a log; `content` gives the bytes of one by name. Never raises on what it reads."""
    segments = sorted(filter(is_segment, names))
    problems = _gaps(segments)
    state, ends, torn = HardState(0, 0, 0), [Position(0, 0)], False
    removals: list[Removal] = []
    end: End | None = None
    for number, name in enumerate(reversed(segments)):
        found = read_segment(content(name), is_last=number == 0)
        end = found.end if number == 0 else end
        state, torn = (state if state.term else found.state or state), torn or found.torn
        ends += [one for one in (found.entry, found.snapshot) if one]
        removals += found.removals
        problems += [f"{name}: {found.damage}"] if found.damage else []
        if state.term and found.entry:  # a snapshot alone can be of an index before the last entry
            break
    last = max(ends, key=lambda one: one.index)
    if state.commit > last.index:
        problems.append(f"the log ends at index {last.index}, and {state.commit} was committed")
    whose = read_identity(bytes(content(segments[-1])[:_HEAD])) if segments else None
    whose = whose or (read_identity(bytes(content(segments[0])[:_HEAD])) if segments else None)
    problems += [] if whose else ["no segment says whose it is"]
    removed = frozenset(one.member_id for one in removals if one.index <= state.commit)
    return LogFacts(whose, state, last, torn, tuple(problems), removed, end)


def read_segment(data: memoryview, *, is_last: bool) -> Segment:
    """Return what one segment tells."""
    frames, rest = _frames(data)
    torn, damage = False, ""
    if rest is not None:
        torn = is_last and _is_torn(data, rest)
        damage = "" if torn else f"no record at byte {rest.start - _FIELD}"
    bad = _first_bad(data, frames)
    if bad is not None:
        torn = is_last and bad == len(frames) - 1 and _is_torn(data, frames[bad])
        damage = "" if torn else f"wrong checksum at byte {frames[bad].start}"
        frames = frames[:bad]
    whole = frames and not torn and not damage
    return Segment(
        _state(data, frames),
        _entry(data, frames),
        _snapshot(data, frames),
        torn,
        damage,
        tuple(_removals(data, frames)),
        End(frames[-1].after, _crc_of(data, frames[-1])) if whole else None,
    )


def _removals(data: memoryview, frames: Sequence[_Frame]) -> Iterator[Removal]:
    """Find raftpb.ConfChange entries (type 1: type 1, index 3, data 4) that remove (2: 1) a node (3).

    Such an entry is short, which saves reading most of the others.
    """
    for frame in frames:
        if frame.end - frame.start <= _SHORT and _kind(data, frame) == RecordType.ENTRY:
            entry = _payload(data, frame)
            change = fields_of(bytes_in(entry, 4)) if number_in(entry, 1) == _CONF_CHANGE else None
            if change and number_in(change, 2) == _REMOVE_NODE:
                yield Removal(number_in(entry, 3), number_in(change, 3))


def _gaps(names: Sequence[str]) -> list[str]:
    numbers = [int(name[:16], 16) for name in names]
    return [f"segment {one + 1:016x} is missing" for one, other in pairwise(numbers) if other != one + 1]


def _frames(data: memoryview) -> tuple[list[_Frame], _Frame | None]:
    """Return the frames up to the preallocated zeros, and the one that is no whole record, if any."""
    frames: list[_Frame] = []
    at = 0
    while at + _FIELD <= len(data):
        field = int.from_bytes(data[at : at + _FIELD], "little")
        if field == 0:
            break
        start, length = at + _FIELD, field & _LENGTH_MASK
        at = start + length + (field >> 56 & 7 if field >> 63 else 0)
        frame = _Frame(start, start + length, at)
        if at > len(data) or length < 2 or data[start] != _TYPE_FIELD:
            return frames, frame
        frames.append(frame)
    return frames, None


def _kind(data: memoryview, frame: _Frame) -> int:
    """Every record begins with its type, field 1, a number below 128."""
    return data[frame.start + 1]


def _first_bad(data: memoryview, frames: Sequence[_Frame]) -> int | None:
    """Return the first of the last records whose checksum does not follow from the one before it."""
    first, size = len(frames), 0
    while first > 0 and size < CHECKED:
        first -= 1
        size += frames[first].end - frames[first].start
    crc = _crc_of(data, frames[first - 1]) if first > 0 else 0
    for number in range(first, len(frames)):
        message = fields_of(bytes(data[frames[number].start : frames[number].end]))
        written = number_in(message, 2)
        if number_in(message, 1) != RecordType.CRC:
            crc = crc32c(bytes_in(message, 3), crc)
        elif number == 0 or crc == 0:
            crc = written
        if message is None or written != crc:
            return number
    return None


def _crc_of(data: memoryview, frame: _Frame) -> int:
    return number_in(fields_of(bytes(data[frame.start : frame.end])), 2)


def _is_torn(data: memoryview, frame: _Frame) -> bool:
    """As etcd tells a torn write (decoder.go): the file ends within it, or a sector of it is all zeros."""
    if frame.after > len(data):
        return frame.after - frame.start < _LONGEST
    at = frame.start
    while at < frame.after:
        end = min(frame.after, at + _SECTOR - at % _SECTOR)
        if not any(data[at:end]):
            return True
        at = end
    return False


def _payload(data: memoryview, frame: _Frame) -> dict[int, int | bytes] | None:
    return fields_of(bytes_in(fields_of(bytes(data[frame.start : frame.end])), 3))


def _newest(data: memoryview, frames: Sequence[_Frame], kind: RecordType) -> dict[int, int | bytes] | None:
    frame = next((one for one in reversed(frames) if _kind(data, one) == kind), None)
    return _payload(data, frame) if frame else None


def _state(data: memoryview, frames: Sequence[_Frame]) -> HardState | None:
    fields = _newest(data, frames, RecordType.STATE)
    return HardState(number_in(fields, 1), number_in(fields, 2), number_in(fields, 3)) if fields else None


def _entry(data: memoryview, frames: Sequence[_Frame]) -> Position | None:
    """An entry overwrites what was there from its index on, so the last one written is the last there is."""
    found = _newest(data, frames, RecordType.ENTRY)
    return Position(number_in(found, 2), number_in(found, 3)) if found else None


def _snapshot(data: memoryview, frames: Sequence[_Frame]) -> Position | None:
    """A snapshot of the leader can go beyond the log; the member's own ones do not (walpb.Snapshot)."""
    found = _newest(data, frames, RecordType.SNAPSHOT)
    return Position(number_in(found, 2), number_in(found, 1)) if number_in(found, 1) else None
