"""What etcd's database says of the cluster and of the key space (server/storage/schema, mvccpb/kv.proto)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from patroni_etcd_reconfig.core.bolt import Bolt, BoltError, Item, Read
from patroni_etcd_reconfig.core.model import KeyValue, Member
from patroni_etcd_reconfig.core.protobuf import bytes_in, fields_of, number_in, repeated_in

_REVISION = 17  # bytes of a key in the bucket `key`: main revision, "_", sub revision
_TOMBSTONE = b"t"  # behind it: the key was deleted
_COMPACTIONS = (b"finishedCompactRev", b"scheduledCompactRev")  # server/storage/schema/bucket.go
_CORRUPT = 2  # etcdserverpb.AlarmType
_ROLES = 3  # field of authpb.User
_HEAD = 512  # bytes of a value that hold the key's name, if it is one of ours


@dataclass(frozen=True)
class StoreFacts:
    """What a database holds. `voters` and `learners`: raft's own configuration (3.5 and later), else None."""

    consistent_index: int | None = None
    term: int | None = None
    revision: int | None = None
    voters: frozenset[int] | None = None
    learners: frozenset[int] | None = None
    members: tuple[Member, ...] = ()
    removed: frozenset[int] = frozenset()
    keys: tuple[KeyValue, ...] = ()
    corrupt: frozenset[int] = frozenset()  # members for which the alarm CORRUPT is raised
    auth_roots: tuple[str, ...] | None = None  # who has the role root; None = authentication is off


def read_store(read: Read, prefix: str) -> StoreFacts:
    """Read a database, and the live keys that begin with `prefix`; raises BoltError when it is damaged.

    Large values of other keys are passed over: memory stays small whatever the database holds.
    """
    bolt = Bolt(read)
    meta = {item.key: bolt.value(item, 1 << 20) for item in bolt.bucket(b"meta")}
    configuration = _object(meta.get(b"confState", b""))
    revision, keys = _key_space(bolt, prefix.encode())
    return StoreFacts(
        consistent_index=_big_endian(meta.get(b"consistent_index")),
        term=_big_endian(meta.get(b"term")),
        revision=max(revision, *(int.from_bytes(meta.get(name, b"")[:8], "big") for name in _COMPACTIONS)),
        voters=_ids(configuration, "voters"),
        learners=_ids(configuration, "learners"),
        members=tuple(_members(bolt)),
        removed=frozenset(int(item.key, 16) for item in bolt.bucket(b"members_removed") if _is_id(item)),
        keys=keys,
        corrupt=frozenset(_corrupt(bolt)),
        auth_roots=_auth_roots(bolt),
    )


def _corrupt(bolt: Bolt) -> Iterator[int]:
    """An alarm is a key of its own, an etcdserverpb.AlarmMember: member id, kind."""
    for item in bolt.bucket(b"alarm"):
        fields = fields_of(item.key)
        if number_in(fields, 2) == _CORRUPT:
            yield number_in(fields, 1)


def _auth_roots(bolt: Bolt) -> tuple[str, ...] | None:
    """As etcd keeps them (server/storage/schema/auth.go): a flag, and an authpb.User by name."""
    on = any(item.key == b"authEnabled" and bolt.value(item, 1) == b"\x01" for item in bolt.bucket(b"auth"))
    if not on:
        return None
    users = ((item.key, repeated_in(bolt.value(item), _ROLES)) for item in bolt.bucket(b"authUsers"))
    return tuple(name.decode("utf-8", "replace") for name, roles in users if b"root" in roles)


def _key_space(bolt: Bolt, prefix: bytes) -> tuple[int, tuple[KeyValue, ...]]:
    """Walk every revision of every key, in order: the last one of each counts.

    The last revision can be gone by compaction, when it deleted a key: then the compaction tells it.
    """
    revision, live = 1, dict[str, KeyValue]()  # an empty store is at revision 1
    for item in bolt.bucket(b"key"):
        revision = int.from_bytes(item.key[:8], "big")
        name = _name_of(bolt, item)
        if not name.startswith(prefix):
            continue
        found = _key_value(bolt.value(item))
        if item.key[_REVISION:] == _TOMBSTONE:
            live.pop(found.key, None)
        else:
            live[found.key] = found
    return revision, tuple(sorted(live.values(), key=lambda kv: kv.key))


def _name_of(bolt: Bolt, item: Item) -> bytes:
    """mvccpb.KeyValue begins with field 1, the key: a length and so many bytes."""
    head = bolt.value(item, _HEAD)
    length, at, shift = 0, 1, 0
    while at < len(head):
        length |= (head[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if head[at - 1] < 0x80:
            break
    return head[at : at + length] if head[:1] == b"\x0a" else b""


def _key_value(message: bytes) -> KeyValue:
    fields = fields_of(message)
    if fields is None:
        raise BoltError("a key's value is no mvccpb.KeyValue")
    return KeyValue(
        key=bytes_in(fields, 1).decode("utf-8", "replace"),
        value=bytes_in(fields, 5).decode("utf-8", "replace"),
        create_revision=number_in(fields, 2),
        mod_revision=number_in(fields, 3),
        version=number_in(fields, 4),
        lease=number_in(fields, 6),
    )


def _members(bolt: Bolt) -> Iterator[Member]:
    for item in bolt.bucket(b"members"):
        row = _object(bolt.value(item, 1 << 20))
        if row and isinstance(row.get("id"), int):
            yield Member(
                id=row["id"],
                name=str(row.get("name", "")),
                peer_urls=_texts(row.get("peerURLs")),
                client_urls=_texts(row.get("clientURLs")),
                is_learner=row.get("isLearner") is True,
            )


def _is_id(item: Item) -> bool:
    try:
        int(item.key, 16)
    except ValueError:
        return False
    return True


def _big_endian(data: bytes | None) -> int | None:
    return int.from_bytes(data, "big") if data else None


def _ids(configuration: Mapping[str, Any] | None, key: str) -> frozenset[int] | None:
    if configuration is None:
        return None
    listed = configuration.get(key) or []
    return frozenset(one for one in listed if isinstance(one, int)) if isinstance(listed, list) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list) else ()


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
