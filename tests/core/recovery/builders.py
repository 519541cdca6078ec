"""Builders for recovery: etcd nodes and their data, PostgreSQL nodes, and the DCS keys of their scope."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from patroni_etcd_reconfig.core.model import KeyValue, Member, MemberStatus
from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys
from patroni_etcd_reconfig.core.recovery.evidence import (
    DataDirFacts,
    Evidence,
    LiveMember,
    NodeEvidence,
    PostgresEvidence,
)
from patroni_etcd_reconfig.core.recovery.model import ScopePlan
from patroni_etcd_reconfig.core.recovery.repairs import DeleteKey, Repair

CLUSTER = 0xC1
IDS = {"a": 0xA, "b": 0xB, "c": 0xC, "d": 0xD, "e": 0xE}
NOW = 1_000_000.0
SCOPE, NAMESPACE = "demo", "/service"
SYSID = "7711806244180586782"
LEASE = 0x1EA5E
# Where timeline N ended, for those that went on to N+1.
FORK = {1: 1_000, 2: 2_000, 3: 3_000}


def standby(name: str, lsn: int = 5_000, timeline: int = 2, **facts: object) -> PostgresEvidence:
    """Return a standby that runs, asked itself, with a Patroni that answers."""
    base = PostgresEvidence(
        scope=SCOPE,
        name=name,
        host=f"host-{name}",
        api_url=f"http://{name}:8008/patroni",
        source="sql",
        running=True,
        in_recovery=True,
        timeline=timeline,
        lsn=lsn,
        lsn_is_exact=True,
        system_identifier=SYSID,
        patroni_answers=True,
        patroni_state="running",
        timeline_history=tuple(
            (one, FORK[one], "no recovery target specified") for one in range(1, timeline)
        ),
    )
    return replace(base, **facts)  # type: ignore[arg-type]


def primary(name: str, lsn: int = 5_000, timeline: int = 2, **facts: object) -> PostgresEvidence:
    """Return a primary that runs."""
    return standby(name, lsn, timeline, **{"in_recovery": False, **facts})


def crashed(name: str, lsn: int = 5_000, timeline: int = 2, **facts: object) -> PostgresEvidence:
    """Return a former primary that is down, as its control file tells."""
    said = {"source": "controldata", "running": False, "in_recovery": False, "lsn_is_exact": False}
    return standby(name, lsn, timeline, **{**said, "patroni_answers": False, "timeline_history": (), **facts})


def stopped(name: str, lsn: int = 5_000, timeline: int = 2, **facts: object) -> PostgresEvidence:
    """Return a standby that is down, as its control file tells."""
    return crashed(name, lsn, timeline, **{"in_recovery": True, **facts})


def silent(name: str) -> PostgresEvidence:
    """Return a node that could not be asked anything."""
    return PostgresEvidence(SCOPE, name, api_url=f"http://{name}:8008/patroni", problem="connection refused")


def kv(name: str, value: object, *, lease: int = 0, revision: int = 10, scope: str = SCOPE) -> KeyValue:
    """Return one of a scope's keys; what is no text is written as JSON."""
    text = value if isinstance(value, str) else json.dumps(value)
    return KeyValue(f"{NAMESPACE}/{scope}/{name}", text, revision, revision, 1, lease)


def history(timeline: int) -> list[list[object]]:
    """Return the history key's lines for a scope at this timeline, as Patroni writes them."""
    return [[one, FORK[one], "reason", "2026-01-01T00:00:00+00:00", "pg1"] for one in range(1, timeline)]


def keys(
    leader: str | None = "pg1",
    more: Mapping[str, object] | None = None,
    *,
    timeline: int = 2,
    members: Iterable[str] = (),
    **others: object,
) -> ScopeKeys:
    """Return the keys of a scope as a calm Patroni leaves them; `more`, `others`: None leaves one out."""
    values: dict[str, object] = {
        "initialize": SYSID,
        "config": {"ttl": 30, "loop_wait": 10},
        "history": history(timeline),
        **(more or {}),
        **others,
    }
    found = [kv(name, value) for name, value in values.items() if value is not None]
    found += [kv("leader", leader, lease=LEASE)] if leader else []
    found += [kv(f"members/{name}", {"state": "running"}, lease=LEASE) for name in members]
    return scope_keys(found)


def scope_keys(found: Iterable[KeyValue], scope: str = SCOPE) -> ScopeKeys:
    """Return keys by their name below the scope."""
    prefix = f"{NAMESPACE}/{scope}/"
    return ScopeKeys(scope, {one.key.removeprefix(prefix): one for one in found})


def plan_for(lead: str | None, **facts: object) -> ScopePlan:
    """Return the plan that gives the lead to this node."""
    return replace(ScopePlan(SCOPE, None, lead), **facts)  # type: ignore[arg-type]


def applied(found: ScopeKeys, repairs: Iterable[Repair]) -> ScopeKeys:
    """Return the keys after the repairs, each compared with what is there, as etcd does it."""
    prefix = f"{NAMESPACE}/{found.scope}/"
    after: dict[str, KeyValue] = dict(found.keys)
    for repair in repairs:
        name = repair.key.removeprefix(prefix)
        there = after.pop(name, None)
        assert (there.mod_revision if there else 0) == repair.mod_revision, f"{repair} does not fit {there}"
        if not isinstance(repair, DeleteKey):
            after[name] = kv(name, repair.value, revision=99, scope=found.scope)
    return ScopeKeys(found.scope, after)


def values(found: ScopeKeys) -> Mapping[str, object]:
    """Return the keys' values, JSON read where it is some."""
    return {name: _read(one.value) for name, one in found.keys.items()}


def _read(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def peer_urls(name: str) -> tuple[str, ...]:
    """Return the peer URLs of a member."""
    return (f"http://{name}:2380",)


def members(names: str, *, learners: str = "") -> tuple[Member, ...]:
    """Return a member list: one letter, one member."""
    return tuple(
        Member(IDS[name], name, peer_urls(name), (f"http://{name}:2379",), name in learners) for name in names
    )


def data(name: str, index: int = 100, *, term: int = 5, names: str = "abc", **facts: object) -> DataDirFacts:
    """Return what a sound voter's data dir holds."""
    base = DataDirFacts(
        path=f"/var/lib/etcd/{name}",
        cluster_id=CLUSTER,
        member_id=IDS[name],
        term=term,
        vote=0,
        commit=index,
        last_term=term,
        last_index=index,
        is_learner=False,
        members=members(names),
        last_written_at=NOW - 60,
    )
    return replace(base, **facts)  # type: ignore[arg-type]


def down(name: str, index: int = 100, *, term: int = 5, names: str = "abc", **facts: object) -> NodeEvidence:
    """Return a node in reach whose etcd is stopped; `facts` are of its data dir."""
    return NodeEvidence(
        name=name,
        host=f"host-{name}",
        peer_urls=peer_urls(name),
        reachable=True,
        service_active=False,
        data=data(name, index, term=term, names=names, **facts),
        data_present=True,
        collected_at=NOW,
    )


def alone(name: str, index: int = 100, *, term: int = 5, names: str = "abc", **facts: object) -> NodeEvidence:
    """Return a node in reach whose etcd runs, and has no quorum."""
    status = MemberStatus(CLUSTER, IDS[name], "3.4.23", 20480, None, term, index, index)
    stopped = down(name, index, term=term, names=names, **facts)
    return replace(stopped, service_active=True, live=LiveMember(status, members(names)))


def away(name: str) -> NodeEvidence:
    """Return a node that nobody could look at."""
    return NodeEvidence(name, peer_urls=peer_urls(name), problem="ssh: connection timed out")


def wiped(name: str) -> NodeEvidence:
    """Return a node in reach that has no data any more."""
    return replace(down(name), data=None, data_present=False)


def serving(node: NodeEvidence) -> NodeEvidence:
    """Return a member that served a linearizable read."""
    assert node.live
    return replace(node, live=replace(node.live, quorate=True))


def found(*nodes: NodeEvidence | PostgresEvidence, **facts: object) -> Evidence:
    """Return the evidence on these nodes."""
    base = Evidence(
        NAMESPACE,
        tuple(one for one in nodes if isinstance(one, NodeEvidence)),
        tuple(one for one in nodes if isinstance(one, PostgresEvidence)),
        NOW,
        ("here",),
    )
    return replace(base, **facts)  # type: ignore[arg-type]
