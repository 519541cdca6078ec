"""Where the PostgreSQL nodes and their Patronis are, from everything that names them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from patroni_etcd_reconfig.core.model import KeyValue
from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys, group_by_scope
from patroni_etcd_reconfig.core.recovery.model import ScopePlan


@dataclass(frozen=True)
class Address:
    """One PostgreSQL node and where it may be, the likeliest first; sources can disagree.

    `scope` and `name` are empty for a Patroni that only an operator's --patroni names.
    """

    scope: str
    name: str
    api_urls: tuple[str, ...] = ()  # base URLs of Patroni's REST API
    servers: tuple[tuple[str, int], ...] = ()  # host and port of PostgreSQL
    local: bool = False  # of the Patroni file that was given

    @property
    def host(self) -> str:
        """Return where the node most likely is."""
        if self.servers:
            return self.servers[0][0]
        return (urlsplit(self.api_urls[0]).hostname or "") if self.api_urls else ""


def addresses_in_keys(copies: Iterable[tuple[KeyValue, ...]], namespace: str) -> tuple[Address, ...]:
    """Return the nodes that Patroni's keys name, in any of several members' copies, newest keys first."""
    found: list[tuple[int, Address]] = []
    for copy in copies:
        for scope in group_by_scope(copy, namespace):
            found += _of_members(scope)
            found += _of_failsafe(scope)
    return combined(address for _, address in sorted(found, key=lambda pair: -pair[0]))


def addresses_in_plan(scopes: Iterable[ScopePlan]) -> tuple[Address, ...]:
    """Return where the nodes were when a plan was made: a snapshot's keys that named them are dropped."""
    return tuple(
        Address(
            scope.scope,
            one.name,
            (base_url(one.api_url),) if base_url(one.api_url) else (),
            ((one.host, one.port),) if one.host and one.port else (),
        )
        for scope in scopes
        for one in scope.candidates
        if base_url(one.api_url) or (one.host and one.port)
    )


def combined(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Return one address for each node, with all that is said of it."""
    known: dict[tuple[str, ...], Address] = {}
    for one in addresses:
        key = (one.scope, one.name) if one.name else ("", "", *one.api_urls)
        other = known.get(key, Address(one.scope, one.name))
        known[key] = replace(
            other,
            api_urls=_unique((*other.api_urls, *one.api_urls)),
            servers=_unique((*other.servers, *one.servers)),
            local=other.local or one.local,
        )
    return tuple(known.values())


def told_apart(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Leave out the nameless at a named node's URL: before 3.2 Patroni does not say its name."""
    found = tuple(addresses)
    known = {url for one in found if one.name for url in one.api_urls}
    return tuple(one for one in found if one.name or not known.intersection(one.api_urls))


def base_url(text: str) -> str:
    """Return http(s)://host:port of a URL; "" for what is none."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host:
        return ""
    place = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{place}:{port or (443 if parts.scheme == 'https' else 80)}"


def _of_members(scope: ScopeKeys) -> Iterator[tuple[int, Address]]:
    for key, kv in scope.keys.items():
        if key.startswith("members/"):
            data = _object(kv)
            api, servers = base_url(str(data.get("api_url", ""))), _servers(str(data.get("conn_url", "")))
            yield kv.mod_revision, Address(scope.scope, key.partition("/")[2], (api,) if api else (), servers)


def _of_failsafe(scope: ScopeKeys) -> Iterator[tuple[int, Address]]:
    """The `failsafe` key holds every member's API URL by name, without a lease."""
    kv = scope.keys.get("failsafe")
    for name, url in _object(kv).items() if kv else ():
        api = base_url(str(url))
        if kv and api:
            yield kv.mod_revision, Address(scope.scope, name, (api,))


def _servers(conn_url: str) -> tuple[tuple[str, int], ...]:
    try:
        parts = urlsplit(conn_url)
        return ((parts.hostname, parts.port or 5432),) if parts.hostname else ()
    except ValueError:
        return ()


def _object(kv: KeyValue | None) -> dict[str, Any]:
    try:
        data = json.loads(kv.value) if kv else {}
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _unique(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(items))
