"""A reader of bbolt, the database file of etcd; read-only, and of a file that may be cut or damaged.

The format (go.etcd.io/bbolt: page.go, bucket.go, db.go) has been the same since etcd 3.0: pages of a fixed
size; the first two are meta pages, of which the valid one with the higher transaction id counts; branch
and leaf pages make a B+tree for each bucket, and buckets lie within buckets. A page may overflow into
the ones behind it. Nothing is read that is not needed: `read` gives bytes by offset and size.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Read = Callable[[int, int], bytes]

_MAGIC, _VERSION = 0xED0CDAED, 2
_BRANCH, _LEAF = 0x01, 0x02  # page flags
_IS_BUCKET = 0x01  # flag of a leaf element
_PAGE_HEAD = struct.Struct("<QHHI")  # id, flags, count, overflow
_META = struct.Struct("<IIIIQQQQQ")  # magic, version, page size, flags, root, sequence, freelist, pages, txid
_BRANCH_ELEMENT = struct.Struct("<IIQ")  # position, key size, page
_LEAF_ELEMENT = struct.Struct("<IIII")  # flags, position, key size, value size
_BUCKET_HEAD = 16  # root page and sequence
_PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)  # where the second meta page can be when the first is broken


class BoltError(ValueError):
    """The file is no bbolt database, or it is damaged: says where."""


@dataclass(frozen=True)
class Item:
    """A key and where its value is: values can be large, and most are not wanted."""

    key: bytes
    offset: int
    size: int
    is_bucket: bool


@dataclass(frozen=True)
class _Meta:
    page_size: int
    root: int
    txid: int


class Bolt:
    """An open database. Raises BoltError when neither meta page is valid."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._meta = _newest_meta(read)

    def bucket(self, name: bytes) -> Iterator[Item]:
        """Yield the items of a top-level bucket in the order of their keys; nothing when there is none."""
        for item in self._page(self._meta.root, set()):
            if item.key == name and item.is_bucket:
                yield from self._inside(item)

    def value(self, item: Item, most: int | None = None) -> bytes:
        """Return an item's value, or its first `most` bytes."""
        return self._exactly(item.offset, item.size if most is None else min(item.size, most))

    def _inside(self, bucket: Item) -> Iterator[Item]:
        root = int.from_bytes(self._exactly(bucket.offset, 8), "little")
        if root:
            yield from self._page(root, set())
        else:  # a small bucket lies inline, behind its head
            yield from self._leaf(bucket.offset + _BUCKET_HEAD)

    def _page(self, number: int, seen: set[int]) -> Iterator[Item]:
        """Walk a tree; a page that comes up twice means that a damaged tree runs in a circle."""
        offset = number * self._meta.page_size
        found, flags, count, _ = _PAGE_HEAD.unpack(self._exactly(offset, _PAGE_HEAD.size))
        if found != number or number in seen or not flags & (_BRANCH | _LEAF):
            raise BoltError(f"page {number} at byte {offset} is not what the tree says")
        if flags & _LEAF:
            yield from self._leaf(offset)
            return
        seen.add(number)
        elements = self._exactly(offset + _PAGE_HEAD.size, count * _BRANCH_ELEMENT.size)
        for _, _, child in _BRANCH_ELEMENT.iter_unpack(elements):
            yield from self._page(child, seen)

    def _leaf(self, offset: int) -> Iterator[Item]:
        _, _, count, _ = _PAGE_HEAD.unpack(self._exactly(offset, _PAGE_HEAD.size))
        first = offset + _PAGE_HEAD.size
        elements = self._exactly(first, count * _LEAF_ELEMENT.size)
        for number, (flags, position, key_size, size) in enumerate(_LEAF_ELEMENT.iter_unpack(elements)):
            at = first + number * _LEAF_ELEMENT.size + position
            key = self._exactly(at, key_size)
            yield Item(key, at + key_size, size, bool(flags & _IS_BUCKET))

    def _exactly(self, offset: int, size: int) -> bytes:
        data = self._read(offset, size)
        if len(data) != size:
            raise BoltError(f"the file ends before byte {offset + size}")
        return data


def _newest_meta(read: Read) -> _Meta:
    first = _meta_at(read, 0)
    sizes = (first.page_size,) if first else _PAGE_SIZES
    found = [meta for meta in (first, *(_meta_at(read, size) for size in sizes)) if meta]
    if not found:
        raise BoltError("neither meta page is valid: no database of etcd, or a damaged one")
    return max(found, key=lambda meta: meta.txid)


def _meta_at(read: Read, offset: int) -> _Meta | None:
    data = read(offset + _PAGE_HEAD.size, _META.size + 8)
    if len(data) != _META.size + 8:
        return None
    magic, version, page_size, _, root, _, _, _, txid = _META.unpack_from(data)
    good = magic == _MAGIC and version == _VERSION and page_size in (*_PAGE_SIZES, 512, 1024, 2048)
    checksum = int.from_bytes(data[_META.size :], "little")
    return _Meta(page_size, root, txid) if good and checksum == _fnv1a(data[: _META.size]) else None


def _fnv1a(data: bytes) -> int:
    """Return the 64-bit FNV-1a hash, bbolt's checksum of a meta page."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return value
