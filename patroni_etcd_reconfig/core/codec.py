"""Changes and steps as plain data for journals and plan files, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from patroni_etcd_reconfig.core.changes import Change, MemberRef, Relocation, Reshape, Seat
from patroni_etcd_reconfig.core.model import format_id
from patroni_etcd_reconfig.core.steps import Shield, Step

STEP_TYPES: Mapping[str, type[Any]] = {kind.__name__: kind for kind in Step.__args__}


def encode_step(step: Step) -> dict[str, Any]:
    """Return the step as JSON data; ids in hex, as everywhere a person may read them."""
    return {"kind": type(step).__name__, **{key: _encode(value) for key, value in asdict(step).items()}}


def decode_step(data: Mapping[str, Any]) -> Step:
    """Return the step; raises KeyError, TypeError or ValueError for data that is none."""
    kind = STEP_TYPES[data["kind"]]
    values = {field.name: _decode(data[field.name]) for field in fields(kind) if field.name in data}
    step: Step = kind(**values)
    return step


def encode_change(change: Change) -> dict[str, Any]:
    """Return the change as JSON data."""
    return {
        "kind": change.verb,
        "cluster_id": format_id(change.cluster_id),
        "shield": change.shield,
        "spare": _encode_ref(asdict(change.spare)) if change.spare else None,
        "victims": [_encode_ref(asdict(ref)) for ref in change.victims],
        "joiners": [_encode_ref(asdict(seat)) for seat in change.joiners],
        "others": [_encode_ref(asdict(ref)) for ref in change.others],
        "as_learners": change.as_learners,
        "restarts": [_encode_ref(asdict(ref)) for ref in change.restarts],
        "stepping_down": _encode_ref(asdict(change.stepping_down)) if change.stepping_down else None,
        "successor": _encode_ref(asdict(change.successor)) if change.successor else None,
        "relocations": [_encode_ref(asdict(relocation)) for relocation in change.relocations],
        "command": change.command,
        "to_version": change.to_version,
        "taken_back": [_encode_ref(asdict(relocation)) for relocation in change.taken_back],
    }


def decode_change(data: Mapping[str, Any]) -> Change:
    """Return the change; raises KeyError, TypeError or ValueError for data that is none."""
    return Reshape(
        str(data["kind"]),
        int(data["cluster_id"], 16),
        tuple(_member(item) for item in data["victims"]),
        tuple(_seat(item) for item in data["joiners"]),
        tuple(_member(item) for item in data["others"]),
        bool(data["as_learners"]),
        tuple(_member(item) for item in data["restarts"]),
        _member(data["stepping_down"]) if data["stepping_down"] else None,
        _seat(data["successor"]) if data["successor"] else None,
        spare=_seat(data["spare"]) if data.get("spare") else None,
        shield=bool(data.get("shield")),
        relocations=tuple(_relocation(item) for item in data.get("relocations", ())),
        command=str(data.get("command", "")),
        to_version=str(data.get("to_version", "")),
        taken_back=tuple(_relocation(item) for item in data.get("taken_back", ())),
    )


def _encode(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return _encode_ref(value) if isinstance(value, dict) else value


def _encode_ref(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: format_id(item) if key == "id" else _encode(item) for key, item in value.items()}


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if isinstance(value, dict):
        return _shield(value) if "scope" in value else _member(value) if "id" in value else _seat(value)
    return value


def _shield(value: Mapping[str, Any]) -> Shield:
    return Shield(str(value["scope"]), str(value["before"]))


def _relocation(value: Mapping[str, Any]) -> Relocation:
    return Relocation(
        _member(value["member"]),
        _seat(value["seat"]),
        tuple(value["client_urls"]),
        tuple(value["former_client_urls"]),
        *(str(value[key]) for key in ("target", "source_dir", "target_dir")),
    )


def _seat(value: Mapping[str, Any]) -> Seat:
    return Seat(value["name"], tuple(value["peer_urls"]), tuple(value.get("client_urls", ())))


def _member(value: Mapping[str, Any]) -> MemberRef:
    return MemberRef(int(value["id"], 16), value["name"], tuple(value["peer_urls"]))
