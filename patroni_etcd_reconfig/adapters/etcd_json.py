"""Requests and answers of etcd's gRPC gateway as JSON: no I/O.

64-bit numbers are decimal strings, keys and values base64, and fields that are zero, false or empty
are left out. Reading an answer that isn't etcd's raises LookupError, ValueError, TypeError or
AttributeError.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Any

from patroni_etcd_reconfig.core.model import Alarm, KeyValue, Member, MemberStatus
from patroni_etcd_reconfig.ports import HashKv, LeaseLeft, MemberList, Metrics, RangeResult

Json = dict[str, Any]

_ACTIVE_PEER = re.compile(rb'^etcd_network_active_peers\{.*Remote="([0-9a-f]+)".*\} ([0-9.e+]+)$', re.M)
_SENT_SNAPSHOT = re.compile(
    rb'^etcd_network_snapshot_send_inflights_total\{.*To="([0-9a-f]+)".*\} ([0-9.e+]+)$', re.M
)
_QUOTA = re.compile(rb"^etcd_server_quota_backend_bytes ([0-9.e+]+)$", re.M)


def span(key: str, prefix: bool) -> Json:
    """Return the request fields for one key, or for all that begin with it (empty: all keys)."""
    start = key.encode()
    if not prefix:
        return {"key": _encode(start)}
    if not start:
        return {"key": _encode(b"\0"), "range_end": _encode(b"\0")}  # etcd: from "\0" to "\0" is everything
    end = start[:-1] + bytes([start[-1] + 1])  # no UTF-8 ends in 0xff, so this never overflows
    return {"key": _encode(start), "range_end": _encode(end)}


def put(key: str, value: str, lease: int) -> Json:
    """Return a put request."""
    return {"key": _encode(key.encode()), "value": _encode(value.encode()), "lease": str(lease)}


def create(key: str, value: str, lease: int) -> Json:
    """Return a transaction that creates a key, or reads it where it is there already."""
    return {
        "compare": [{"key": _encode(key.encode()), "target": "CREATE", "create_revision": "0"}],
        "success": [{"request_put": put(key, value, lease)}],
        "failure": [{"request_range": span(key, prefix=False)}],
    }


def succeeded(answer: Json) -> bool:
    """Read whether a transaction's comparisons held."""
    answer["header"]["revision"]
    return bool(answer.get("succeeded"))


def holder(answer: Json) -> KeyValue | None:
    """Return the key that kept `create` from creating one; None when it was created."""
    if answer.get("succeeded"):
        return None
    return _key_value(answer["responses"][0]["response_range"]["kvs"][0])


def swap(key: str, value: str, mod_revision: int) -> Json:
    """Return a transaction that writes a key if its last change is still the one of this revision."""
    return {
        "compare": [{"key": _encode(key.encode()), "target": "MOD", "mod_revision": str(mod_revision)}],
        "success": [{"request_put": put(key, value, 0)}],
    }


def discard(key: str, mod_revision: int) -> Json:
    """Return a transaction that deletes a key if its last change is still the one of this revision."""
    return {
        "compare": [{"key": _encode(key.encode()), "target": "MOD", "mod_revision": str(mod_revision)}],
        "success": [{"request_delete_range": span(key, prefix=False)}],
    }


def swapped(answer: Json) -> int | None:
    """Read the revision that `swap` made; None when the key had changed."""
    made = revision(answer)
    return made if answer.get("succeeded") else None


def member_list(answer: Json) -> MemberList:
    """Read a member list."""
    header = answer["header"]
    members = tuple(member(row) for row in answer["members"])
    return MemberList(int(header["cluster_id"]), int(header["member_id"]), members)


def member(row: Json) -> Member:
    """Read one row of a member list; one that never started has no name and no client URLs."""
    return Member(
        id=int(row["ID"]),
        name=row.get("name", ""),
        peer_urls=tuple(row.get("peerURLs", ())),
        client_urls=tuple(row.get("clientURLs", ())),
        is_learner=bool(row.get("isLearner")),
    )


def status(answer: Json) -> MemberStatus:
    """Read a member's status; fields that its version doesn't have are None."""
    return MemberStatus(
        cluster_id=int(answer["header"]["cluster_id"]),
        member_id=int(answer["header"]["member_id"]),
        version=answer["version"],
        db_size=_int(answer, "dbSize"),
        leader_id=_int(answer, "leader") or None,
        raft_term=_int(answer, "raftTerm"),
        raft_index=_int(answer, "raftIndex"),
        raft_applied_index=_int(answer, "raftAppliedIndex"),
        is_learner=bool(answer.get("isLearner")),
        errors=tuple(answer.get("errors", ())),
        db_size_in_use=_int(answer, "dbSizeInUse") or None,
        db_size_quota=_int(answer, "dbSizeQuota") or None,
    )


def alarms(answer: Json) -> tuple[Alarm, ...]:
    """Read the alarms that are raised."""
    return tuple(Alarm(int(row["memberID"]), str(row["alarm"])) for row in answer.get("alarms", ()))


def hash_kv(answer: Json) -> HashKv:
    """Read the hash of the key space."""
    return HashKv(_int(answer, "hash"), _int(answer, "compact_revision"))


def read_range(answer: Json) -> RangeResult:
    """Read the keys of a range."""
    return RangeResult(revision(answer), tuple(_key_value(row) for row in answer.get("kvs", ())))


def revision(answer: Json) -> int:
    """Read the store's revision."""
    return int(answer["header"]["revision"])


def deleted(answer: Json) -> int:
    """Read how many keys were deleted."""
    answer["header"]["revision"]  # an answer of etcd's, not just any JSON
    return _int(answer, "deleted")


def lease_left(answer: Json) -> LeaseLeft:
    """Read what is left of a lease: TTL is -1 when it is gone, and left out in its last second."""
    answer["header"]["revision"]
    return LeaseLeft(_int(answer, "grantedTTL"), _int(answer, "TTL"))


def renewed(answer: Json) -> bool:
    """Read whether a lease was renewed: etcd leaves the TTL out when the lease is gone."""
    return "TTL" in answer["result"]


def metrics(text: bytes) -> Metrics | None:
    """Read `/metrics`; None where these aren't etcd's metrics."""
    if b"etcd_server_" not in text:
        return None
    quota = _QUOTA.search(text)
    return Metrics(
        connected=_positive(_ACTIVE_PEER, text),
        sends_snapshot_to=_positive(_SENT_SNAPSHOT, text),
        quota=int(float(quota[1])) if quota and float(quota[1]) > 0 else None,
    )


def _positive(gauge: re.Pattern[bytes], text: bytes) -> frozenset[int]:
    """Return the members for which a gauge is above 0."""
    return frozenset(int(member, 16) for member, value in gauge.findall(text) if float(value) > 0)


def blob(result: Json) -> bytes:
    """Read one piece of a snapshot."""
    return b64decode(result.get("blob", ""), validate=True)


def _encode(raw: bytes) -> str:
    return b64encode(raw).decode()


def _decode(text: str) -> str:
    """Decode a key or value; what isn't UTF-8 is not ours nor Patroni's, so it needs no round trip."""
    return b64decode(text).decode("utf-8", "replace")


def _int(fields: Json, name: str) -> int:
    return int(fields.get(name, 0))


def _key_value(row: Json) -> KeyValue:
    return KeyValue(
        key=_decode(row["key"]),
        value=_decode(row.get("value", "")),
        create_revision=_int(row, "create_revision"),
        mod_revision=_int(row, "mod_revision"),
        version=_int(row, "version"),
        lease=_int(row, "lease"),
    )
