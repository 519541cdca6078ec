"""What recovery writes into files, as plain JSON data and back, strictly.

What stands in such a file decides whose data survives, so nothing is guessed: an unknown key, a missing
one, a wrong type or a number out of range is an error that names the place. A field with a default may
be missing, so that a later version can add some. Member, cluster and lease ids are hex, as etcdctl has them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import format_id
from patroni_etcd_reconfig.core.recovery.evidence import Evidence

FORMAT = 1
# Fields that hold one of etcd's 64-bit ids, wherever their type is int.
IDS = frozenset({"id", "cluster_id", "member_id", "leader_id", "vote", "lease"})
HEX_ID = re.compile(r"[0-9a-f]{1,16}")

T = TypeVar("T")


class NotReadableError(ValueError):
    """The data is not what was expected; the message names the place and what belongs there."""


def evidence_document(evidence: Evidence, findings: Iterable[Finding] = ()) -> dict[str, Any]:
    """Return the contract of `recover collect`: what `-f json` prints and what the file holds."""
    return {
        "format": FORMAT,
        "evidence": encode(evidence),
        "findings": [finding.as_dict() for finding in findings],
        "error": None,
    }


def read_evidence_document(data: Any) -> Evidence:
    """Return the evidence of such a document; NotReadableError for anything else."""
    return decode(Evidence, checked(data, "evidence"), "evidence")


def checked(data: Any, key: str) -> Any:
    """Return what a document holds under its key, after a look at its format."""
    if not isinstance(data, dict) or "format" not in data or key not in data:
        raise NotReadableError(f"holds no {key}")
    if type(data["format"]) is not int or data["format"] != FORMAT:
        raise NotReadableError(f"format: is {data['format']!r}, and this version reads {FORMAT}")
    if data[key] is None:
        raise NotReadableError(f"{key}: is null: that run ended with an error")
    return data[key]


def encode(value: Any, name: str = "") -> Any:
    """Return a dataclass, or what is in one, as JSON data. `name` is the field that it is the value of."""
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name), field.name) for field in fields(value)}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return format_id(value) if name in IDS and type(value) is int else value


def decode(kind: type[T], data: Any, where: str) -> T:
    """Return a dataclass from JSON data; NotReadableError names the place, which begins with `where`."""
    if not isinstance(data, dict):
        raise NotReadableError(f"{where}: must be an object")
    shape: Any = kind
    hints = _hints(shape)
    for key in data:
        if key not in hints:
            raise NotReadableError(f"{where}: {key!r} does not belong there")
    values = {key: _value(hints[key], data[key], f"{where}.{key}", key) for key in data}
    missing = [name for name in _required(shape) if name not in values]
    if missing:
        raise NotReadableError(f"{where}: {missing[0]} is missing")
    return kind(**values)


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


@cache
def _required(kind: Any) -> tuple[str, ...]:
    plain = (field for field in fields(kind) if field.default is MISSING)
    return tuple(field.name for field in plain if field.default_factory is MISSING)


def _value(kind: Any, data: Any, where: str, name: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return None if data is None else _value(_not_none(kind), data, where, name)
    if origin is tuple:
        return _tuple(get_args(kind), data, where)
    if is_dataclass(kind) and isinstance(kind, type):
        return decode(kind, data, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _member_of(kind, data, where)
    return _id(data, where) if kind is int and name in IDS else _plain(kind, data, where)


def _not_none(kind: Any) -> Any:
    return next(item for item in get_args(kind) if item is not type(None))


def _tuple(kinds: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise NotReadableError(f"{where}: must be a list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(data)
    if len(kinds) != len(data):
        raise NotReadableError(f"{where}: must have {len(kinds)} items")
    pairs = zip(kinds, data, strict=True)
    return tuple(_value(kind, item, f"{where}[{at}]", "") for at, (kind, item) in enumerate(pairs))


def _member_of(kind: type[Enum], data: Any, where: str) -> Enum:
    for member in kind:
        if type(data) is str and member.value == data:
            return member
    raise NotReadableError(f"{where}: must be one of {', '.join(str(member.value) for member in kind)}")


def _id(data: Any, where: str) -> int:
    if not isinstance(data, str) or not HEX_ID.fullmatch(data):
        raise NotReadableError(f"{where}: must be an id in hex, as text")
    return int(data, 16)


def _plain(kind: Any, data: Any, where: str) -> Any:
    """JSON has one kind of number; true is none, and neither are NaN and Infinity, which Python lets in."""
    if kind is float and type(data) in (int, float) and math.isfinite(data):
        return float(data)
    if type(data) is not kind or kind is float:
        words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        raise NotReadableError(f"{where}: must be {words[kind]}")
    return data
