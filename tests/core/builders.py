"""Builders for observations, so that a test says only what matters to it."""

from __future__ import annotations

from dataclasses import replace

from patroni_etcd_reconfig.core.changes import Reshape, cycle_of
from patroni_etcd_reconfig.core.model import (
    DataDir,
    EtcdView,
    Lease,
    Member,
    MemberStatus,
    MemberView,
    NodeView,
    Observation,
    PatroniCluster,
)

CLUSTER = 0xC1
IDS = {"a": 0xA, "b": 0xB, "c": 0xC, "d": 0xD, "e": 0xE, "f": 0xF, "g": 0x10}
GIB = 1024**3


def urls(name: str) -> tuple[str, ...]:
    """Return the peer URLs of a seat."""
    return (f"http://{name}:2380",)


def status(member_id: int, *, version: str = "3.4.23", lag: int = 0, db_size: int = 20480) -> MemberStatus:
    """Return what a sound member says of itself."""
    return MemberStatus(CLUSTER, member_id, version, db_size, IDS["a"], 2, 1000, 1000 - lag)


def voter(name: str, *, version: str = "3.4.23", lag: int = 0, db_size: int = 20480) -> MemberView:
    """Return a healthy voter, connected to every other seat."""
    member = Member(IDS[name], name, urls(name), (f"http://{name}:2379",))
    connected = frozenset(IDS.values()) - {IDS[name]}
    said = status(member.id, version=version, lag=lag, db_size=db_size)
    return MemberView(member, said, serves_reads=True, connected_to=connected)


def learner(name: str, *, started: bool = True, member_id: int = 0x99) -> MemberView:
    """Return a learner on a seat, started or not."""
    member = Member(member_id, name if started else "", urls(name), is_learner=True)
    return MemberView(member, status(member_id) if started else None)


def down(name: str) -> MemberView:
    """Return a voter that does not answer."""
    return replace(
        voter(name), status=None, serves_reads=False, connected_to=None, error="connection refused"
    )


def etcd(*views: MemberView, leader: str = "a") -> EtcdView:
    """Return a cluster of these members."""
    return EtcdView(CLUSTER, views, IDS[leader])


def voters(count: int, leader: str = "a") -> EtcdView:
    """Return a healthy cluster of `count` voters."""
    return etcd(*(voter(name) for name in list(IDS)[:count]), leader=leader)


def patroni(
    scope: str = "demo", *, age: float = 1.0, leader: str | None = "pg1", **facts: object
) -> PatroniCluster:
    """Return a calm Patroni cluster whose lease was renewed `age` seconds before time 100."""
    base = PatroniCluster(scope, leader, Lease(30, 30 - age, 100.0), failsafe_mode=True)
    return replace(base, **facts)  # type: ignore[arg-type]


def node(name: str) -> NodeView:
    """Return a node that runs the member of its name."""
    return NodeView(
        name,
        service_active=True,
        data_present=True,
        data=DataDir(CLUSTER, IDS[name]),
        data_free_bytes=GIB,
    )


def seen(cluster: EtcdView, *clusters: PatroniCluster, **facts: object) -> Observation:
    """Return an observation at time 100 in which every named member's node can be controlled."""
    names = [view.member.name for view in cluster.members if view.member.name in IDS]
    base = Observation(
        cluster, clusters, {name: node(name) for name in names}, state_dir_free_bytes=GIB, at=100.0
    )
    return replace(base, **facts)  # type: ignore[arg-type]


def cycle(cluster: EtcdView, *names: str) -> Reshape:
    """Return the cycle of the named members, or of all."""
    return cycle_of(cluster, names)
