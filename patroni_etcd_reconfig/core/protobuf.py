"""The wire format of protobuf, as far as etcd's files use it: fields by number, nothing is raised."""

from __future__ import annotations

Value = int | bytes

_MAX_VARINT = 10  # bytes that a 64-bit number can take
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # the wire types


def fields_of(message: bytes) -> dict[int, Value] | None:
    """Return a message's fields by number, the last of each; None where it isn't well-formed."""
    fields: dict[int, Value] = {}
    at = 0
    while at < len(message):
        key = _varint(message, at)
        value = _value(message, key[1], key[0] & 7) if key else None
        if key is None or value is None:
            return None
        fields[key[0] >> 3], at = value
    return fields


def repeated_in(message: bytes, number: int) -> tuple[bytes, ...]:
    """Return all values of a repeated field of bytes, up to where the message isn't well-formed."""
    found: list[bytes] = []
    at = 0
    while key := _varint(message, at):
        value = _value(message, key[1], key[0] & 7)
        if value is None:
            break
        if key[0] >> 3 == number and isinstance(value[0], bytes):
            found.append(value[0])
        at = value[1]
    return tuple(found)


def number_in(fields: dict[int, Value] | None, number: int) -> int:
    """Return a number by its field, 0 where it is left out or of another kind."""
    value = fields.get(number, 0) if fields else 0
    return value if isinstance(value, int) else 0


def bytes_in(fields: dict[int, Value] | None, number: int) -> bytes:
    """Return bytes by their field, none where they are left out or of another kind."""
    value = fields.get(number, b"") if fields else b""
    return value if isinstance(value, bytes) else b""


def varint(number: int) -> bytes:
    """Return a number as it is written: base 128, the lowest digits first."""
    written = b""
    while number > 0x7F:
        written += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return written + bytes((number,))


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
