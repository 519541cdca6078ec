"""Evidence for tests: `node("a")`, `live("a")`, `data("a")`, `pg("pg1")`."""

from __future__ import annotations

from typing import Any

from patroni_etcd_reconfig.core.model import KeyValue, Member, MemberStatus
from patroni_etcd_reconfig.core.recovery.evidence import (
    DataDirFacts,
    Evidence,
    LiveMember,
    NodeEvidence,
    PostgresEvidence,
)

CLUSTER = 0xC1


def member_id(name: str) -> int:
    """Return the id that the member `a`, `b`, ... has: a, b, ... in hex."""
    return int(name[0], 16)


def member(name: str) -> Member:
    """Return a row of the member list."""
    return Member(member_id(name), name, (f"http://{name}:2380",), (f"http://{name}:2379",))


def key(name: str, value: str, lease: int = 0) -> KeyValue:
    """Return a key of Patroni's scope `demo`."""
    return KeyValue(f"/service/demo/{name}", value, 5, 6, 1, lease)


def live(name: str, cluster: int = CLUSTER, **more: Any) -> LiveMember:
    """Return what a running member says."""
    status = MemberStatus(cluster, member_id(name), "3.4.23", 20480, None, 3, 100, 100)
    return LiveMember(status, **{"members": tuple(member(one) for one in "abc"), **more})


def data(name: str, cluster: int = CLUSTER, **more: Any) -> DataDirFacts:
    """Return what a data dir holds."""
    facts = {"term": 3, "vote": 0, "commit": 99, "last_term": 3, "last_index": 100}
    return DataDirFacts(f"/data/{name}", cluster, member_id(name), **{**facts, **more})


def node(name: str, **more: Any) -> NodeEvidence:
    """Return the evidence on a node that nothing is known of but where it should be."""
    base: dict[str, Any] = {
        "host": name,
        "peer_urls": (f"http://{name}:2380",),
        "client_urls": (f"http://{name}:2379",),
        "collected_by": "db1",
        "collected_at": 1000.0,
    }
    return NodeEvidence(name, **{**base, **more})


def pg(name: str, **more: Any) -> PostgresEvidence:
    """Return the evidence on a PostgreSQL node that nothing is known of."""
    return PostgresEvidence("demo", name, **{"collected_by": "db1", "collected_at": 1000.0, **more})


def evidence(*items: NodeEvidence | PostgresEvidence, **more: Any) -> Evidence:
    """Return these as one collection."""
    base = {"namespace": "/service", "collected_at": 1000.0, "collectors": ("db1",), **more}
    return Evidence(
        nodes=tuple(item for item in items if isinstance(item, NodeEvidence)),
        postgres=tuple(item for item in items if isinstance(item, PostgresEvidence)),
        **base,
    )
