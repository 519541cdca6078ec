"""Patroni's keys in etcd, read as Patroni clusters (Patroni's dcs/__init__.py names and places them)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from patroni_etcd_reconfig.core.model import KeyValue, Lease, PatroniCluster, PatroniMember

# Keys directly under a scope, by which a scope is recognised.
_SCOPE_KEYS = frozenset(
    {"leader", "initialize", "config", "status", "history", "sync", "failover", "failsafe"}
)


@dataclass(frozen=True)
class ScopeKeys:
    """The keys of one scope by their name below it, e.g. `leader` or `members/pg1`."""

    scope: str
    keys: Mapping[str, KeyValue]

    @property
    def leader_lease(self) -> int:
        """Return the lease on the leader key; 0 when there is none."""
        return self.keys["leader"].lease if "leader" in self.keys else 0


def group_by_scope(kvs: Iterable[KeyValue], namespace: str) -> tuple[ScopeKeys, ...]:
    """Sort the keys under a namespace by scope; Citus groups (`scope/0`) are scopes of their own."""
    scopes: dict[str, dict[str, KeyValue]] = defaultdict(dict)
    prefix = namespace.rstrip("/") + "/"
    for kv in kvs:
        parts = kv.key.removeprefix(prefix).split("/")
        if len(parts) >= 3 and parts[-2] == "members":  # first: a node may be called `leader`
            scopes["/".join(parts[:-2])]["/".join(parts[-2:])] = kv
        elif len(parts) >= 2 and parts[-1] in _SCOPE_KEYS and parts[-2] != "optime":  # before Patroni 2.1
            scopes["/".join(parts[:-1])][parts[-1]] = kv
    return tuple(ScopeKeys(scope, keys) for scope, keys in sorted(scopes.items()))


def read_cluster(found: ScopeKeys, lease: Lease | None) -> PatroniCluster:
    """Return the cluster that the keys describe; values that are not as Patroni writes them are ignored."""
    config = _json(found.keys.get("config"))
    leader = found.keys.get("leader")
    name = leader.value if leader and leader.value else None
    members = _members(found, name, _optime(found))
    cluster = PatroniCluster(
        scope=found.scope,
        leader=name,
        lease=lease,
        leader_created=leader.create_revision if leader else 0,
        ttl=_number(config, "ttl", 30),
        loop_wait=_number(config, "loop_wait", 10),
        retry_timeout=_number(config, "retry_timeout", 10),
        failsafe_mode=is_on(config.get("failsafe_mode")),
        failsafe_setting=failsafe_setting(found.keys["config"].value) if "config" in found.keys else None,
        failsafe_members=tuple(sorted(_json(found.keys.get("failsafe")))),
        failsafe_revision=found.keys["failsafe"].mod_revision if "failsafe" in found.keys else 0,
        paused=config.get("pause") is True,
        failover=_pending(_json(found.keys.get("failover"))),
        members=members,
        status_revision=found.keys["status"].mod_revision if "status" in found.keys else 0,
        standby_cluster=is_standby_cluster(config.get("standby_cluster")),
    )
    return replace(cluster, timeline=next((m.timeline for m in members if m.name == name), None))


def is_standby_cluster(value: object) -> bool:
    """Tell whether `standby_cluster` of a configuration is one, as Patroni does (global_config.py)."""
    return isinstance(value, dict) and any(value.get(key) for key in ("host", "port", "restore_command"))


def is_on(value: object) -> bool:
    """Tell whether a mode is on, as Patroni's parse_bool (utils.py) reads it."""
    return str(value).lower() in ("on", "true", "yes", "1")


def failsafe_setting(config: str) -> str | None:
    """Return what a dynamic configuration says of failsafe_mode, as JSON; "" = nothing, None = it is none."""
    try:
        data = json.loads(config)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    return json.dumps(data["failsafe_mode"]) if "failsafe_mode" in data else ""


def with_failsafe(config: str, setting: str) -> str:
    """Return a dynamic configuration with another failsafe_mode and all else as it is, as Patroni writes it.

    Raises ValueError when it is none, which `failsafe_setting` tells.
    """
    data = json.loads(config)
    if setting:
        data["failsafe_mode"] = json.loads(setting)
    else:
        data.pop("failsafe_mode", None)
    return json.dumps(data, separators=(",", ":"))


def _members(found: ScopeKeys, leader: str | None, optime: int) -> tuple[PatroniMember, ...]:
    names = sorted(key.partition("/")[2] for key in found.keys if key.startswith("members/"))
    return tuple(_member(name, _json(found.keys[f"members/{name}"]), leader, optime) for name in names)


def _member(name: str, data: Mapping[str, Any], leader: str | None, optime: int) -> PatroniMember:
    position = data.get("xlog_location")
    lag = max(0, optime - position) if isinstance(position, int) and optime else None
    timeline = data.get("timeline")
    return PatroniMember(
        name=name,
        role="leader" if name == leader else str(data.get("role", "")),
        state=str(data.get("state", "")),
        timeline=timeline if isinstance(timeline, int) else None,
        lag=None if name == leader else lag,
        host=_host(str(data.get("conn_url", ""))),
        api_url=str(data.get("api_url", "")),
        version=str(data.get("version", "")),
    )


def _optime(found: ScopeKeys) -> int:
    """The leader's last known position: `status`, or its own member key where that is ahead."""
    optime = _json(found.keys.get("status")).get("optime")
    leader = found.keys.get("leader")
    own = _json(found.keys.get(f"members/{leader.value}")).get("xlog_location") if leader else None
    return max((value for value in (optime, own) if isinstance(value, int)), default=0)


def _host(conn_url: str) -> str:
    return conn_url.partition("://")[2].partition("/")[0].rpartition("@")[2]


def _json(kv: KeyValue | None) -> Mapping[str, Any]:
    try:
        data = json.loads(kv.value) if kv else {}
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _number(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key, default)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def _pending(request: Mapping[str, Any]) -> str:
    words = [f"{key} {request[key]}" for key in ("leader", "member", "scheduled_at") if request.get(key)]
    return ", ".join(words)
