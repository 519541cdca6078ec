"""Changes of Patroni's keys, as values, and which of them make a scope's keys tell the truth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.model import ScopePlan
from patroni_etcd_reconfig.core.recovery.standing import (
    Standing,
    describe,
    history_in,
    is_primary,
    leader_in,
    names_in,
    object_in,
    timeline_in,
)


@dataclass(frozen=True)
class DeleteKey:
    """Delete a key if it still is as it was read (`mod_revision`).

    It need not be: a lease can run out meanwhile. Then nothing is changed, and the audit is made again.
    """

    key: str
    why: str
    mod_revision: int


@dataclass(frozen=True)
class PutKey:
    """Write a key, without a lease, if it still is as it was read; `mod_revision` 0: it must not exist."""

    key: str
    value: str
    why: str
    mod_revision: int


Repair = DeleteKey | PutKey


@dataclass(frozen=True)
class ScopeFacts:
    """All that the repairs of one scope follow from. `prefix` is what its keys begin with."""

    found: ScopeKeys
    standing: Standing
    postgres: tuple[PostgresEvidence, ...]
    lead: PostgresEvidence
    plan: ScopePlan
    prefix: str

    @property
    def paused(self) -> bool:
        """True when the plan, the DCS or a Patroni that answers says so."""
        return self.plan.paused or is_paused(self.found, self.postgres)

    @property
    def alive(self) -> bool:
        """The node that should lead is a primary that runs: nothing may disturb it."""
        return is_primary(self.lead)

    def put(self, name: str, value: str, why: str) -> PutKey:
        """Return the write of a key by its name below the scope."""
        kv = self.found.keys.get(name)
        return PutKey(self.prefix + name, value, why, kv.mod_revision if kv else 0)

    def delete(self, name: str, why: str) -> DeleteKey:
        """Return the deletion of a key that is there."""
        return DeleteKey(self.prefix + name, why, self.found.keys[name].mod_revision)


def is_paused(found: ScopeKeys | None, postgres: Iterable[PostgresEvidence]) -> bool:
    """True when the DCS, or any Patroni that answers, says that the scope is paused."""
    config = object_in(found.keys.get("config")) if found else None
    return bool(config and config.get("pause") is True) or any(one.paused for one in postgres)


def repairs_of(scope: ScopeFacts) -> Iterator[Repair]:
    """Return what makes the keys agree with who should lead, each key once, the leader key last."""
    yield from _initialize(scope)
    yield from _config(scope)
    yield from _history(scope)
    yield from _status(scope)
    yield from _failover(scope)
    yield from _failsafe(scope)
    yield from _sync(scope)
    yield from _members(scope)
    yield from _leader(scope)


def _initialize(scope: ScopeFacts) -> Iterator[Repair]:
    kv, own = scope.found.keys.get("initialize"), scope.lead.system_identifier
    if own and not (kv and kv.value):
        yield scope.put("initialize", own, f"the system identifier of {scope.lead.name} was missing")


def _config(scope: ScopeFacts) -> Iterator[Repair]:
    kv = scope.found.keys.get("config")
    config = object_in(kv)
    if kv and config is None:
        yield scope.delete("config", "not readable; the leader writes the last it knows")
    elif config is not None and scope.paused and config.get("pause") is not True:
        yield scope.put("config", _json({**config, "pause": True}), "Patroni was paused, and the DCS forgot")


def _history(scope: ScopeFacts) -> Iterator[Repair]:
    """A timeline too low lets a returning old primary lead, one too high keeps the right one from it."""
    lead = scope.lead
    known = history_in(scope.found)
    told: list[list[Any]] = [list(line) for line in lead.timeline_history]
    if "history" not in scope.found.keys and lead.timeline == 1:
        return
    why = f"the DCS is at timeline {timeline_in(scope.found)}, {lead.name} at {lead.timeline}"
    if lead.timeline == 1 or (told and told[-1][0] + 1 == lead.timeline):
        wanted = [_enriched(line, known) for line in told]
        if [line[:2] for line in wanted] != [line[:2] for line in known]:
            yield scope.put("history", _json(wanted), why)
    elif timeline_in(scope.found) > (lead.timeline or 0):
        yield scope.delete("history", why)


def _enriched(line: list[Any], known: list[list[Any]]) -> list[Any]:
    """Keep what Patroni noted beside a line: when it was promoted, and who."""
    return next((one for one in known if one[:2] == line[:2]), line)


def _status(scope: ScopeFacts) -> Iterator[Repair]:
    """An LSN too high makes every node lag too much to lead, one too low lets a lagging one lead."""
    kv, lsn = scope.found.keys.get("status"), scope.lead.lsn
    status = object_in(kv)
    if kv and status is None:
        yield scope.delete("status", "not readable; the leader writes it anew")
    elif status is not None and lsn is not None and status.get("optime") != lsn and not scope.alive:
        yield scope.put("status", _json({**status, "optime": lsn}), f"how far {scope.lead.name} really got")


def _failover(scope: ScopeFacts) -> Iterator[Repair]:
    kv = scope.found.keys.get("failover")
    if scope.paused and scope.plan.chosen and not scope.alive:
        request = {"member": scope.lead.name}
        if object_in(kv) != request:
            yield scope.put("failover", _json(request), "in pause only a request can make a standby lead")
    elif kv and object_in(kv) != {} and kv.value:
        yield scope.delete("failover", f"an old request: {kv.value}")


def _failsafe(scope: ScopeFacts) -> Iterator[Repair]:
    kv, known = scope.found.keys.get("failsafe"), object_in(scope.found.keys.get("failsafe"))
    answer = {one.name: _api_url(one) for one in scope.postgres if one.patroni_answers and one.api_url}
    if not kv or known == answer:
        return
    if scope.alive and scope.lead.name in answer:
        yield scope.put("failsafe", _json(answer), "the nodes that answer now")
    else:
        yield scope.delete("failsafe", "other nodes than those that answer; the leader writes it anew")


def _api_url(one: PostgresEvidence) -> str:
    """As Patroni itself registers it (api.py, `connection_string`)."""
    return f"{one.api_url.removesuffix('/patroni')}/patroni"


def _sync(scope: ScopeFacts) -> Iterator[Repair]:
    kv = scope.found.keys.get("sync")
    known = object_in(kv) or {}
    if not scope.plan.synchronous:
        if kv and known.get("leader") not in (None, scope.lead.name):
            yield scope.delete("sync", f"names {known['leader']}; the leader writes it anew")
    elif not _sync_is_true(scope, known):
        standbys = ",".join(sorted(scope.lead.sync_standbys)) if _tells_standbys(scope) else None
        value = _json({"leader": scope.lead.name, "quorum": 0, "sync_standby": standbys})
        yield scope.put("sync", value, f"{scope.lead.name} leads, and who else is synchronous it says itself")


def _sync_is_true(scope: ScopeFacts, known: dict[str, Any]) -> bool:
    standbys = names_in(known.get("sync_standby"))
    if known.get("leader") != scope.lead.name or (standbys and not scope.alive):
        return False
    return set(standbys) <= set(scope.lead.sync_standbys)


def _tells_standbys(scope: ScopeFacts) -> bool:
    """With quorum commit any of several may hold a commit: nobody is safe to name."""
    config = object_in(scope.found.keys.get("config")) or {}
    return scope.alive and bool(scope.lead.sync_standbys) and config.get("synchronous_mode") != "quorum"


def _members(scope: ScopeFacts) -> Iterator[Repair]:
    there = {one.name for one in scope.postgres if one.patroni_answers or one.running}
    for key in sorted(scope.found.keys):
        name = key.partition("/")[2]
        if key.startswith("members/") and name not in there:
            yield scope.delete(key, f"{name} does not answer; its Patroni registers again when it runs")


def _leader(scope: ScopeFacts) -> Iterator[Repair]:
    kv, named, lead = scope.found.keys.get("leader"), leader_in(scope.found), scope.lead
    if scope.paused and not scope.alive:
        if kv:
            yield scope.delete("leader", "in pause the lock is only for a primary that runs, and none does")
    elif named != lead.name or (kv and kv.lease and not scope.alive):
        yield scope.put("leader", lead.name, _why_leader(scope, named))


def _why_leader(scope: ScopeFacts, named: str | None) -> str:
    lead = describe(scope.lead)
    if scope.alive:
        return f"{lead} is the primary and runs; the key named {named or 'nobody'}"
    if named == scope.lead.name:
        return f"{lead} is the most advanced; no lease, so that it can't run out before its Patroni comes"
    other = scope.standing.node(named)
    words = f"{describe(other)}, which is not the most advanced" if other else named or "nobody"
    return f"{lead} is the most advanced; the key named {words}"


def _json(value: object) -> str:
    """As Patroni writes it."""
    return json.dumps(value, separators=(",", ":"))
