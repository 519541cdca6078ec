"""Patroni's keys as Patroni writes them, and as a human or a broken program may leave them."""

from __future__ import annotations

import json

import pytest

from patroni_etcd_reconfig.core.model import KeyValue, Lease, PatroniCluster
from patroni_etcd_reconfig.core.patroni_keys import group_by_scope, read_cluster

LEASE = Lease(30, 29, 100.0)
MIB = 1024 * 1024


def kv(key: str, value: object = "", *, lease: int = 0, created: int = 1, modified: int = 1) -> KeyValue:
    """Return a key; what is no text is written as JSON."""
    text = value if isinstance(value, str) else json.dumps(value)
    return KeyValue(key, text, created, modified, 1, lease)


def read(*kvs: KeyValue, namespace: str = "/service") -> PatroniCluster:
    """Return the one cluster that these keys describe."""
    (found,) = group_by_scope(kvs, namespace)
    return read_cluster(found, LEASE)


def keys(**values: object) -> list[KeyValue]:
    """Return keys of the scope `demo`; `members_x` is the member key of x."""
    return [kv(f"/service/demo/{name.replace('_', '/')}", value) for name, value in values.items()]


def test_a_cluster_is_read_as_patroni_writes_it() -> None:
    cluster = read(
        kv("/service/demo/config", {"ttl": 20, "loop_wait": 5, "retry_timeout": 8, "failsafe_mode": True}),
        kv("/service/demo/leader", "pg1", lease=77, created=41, modified=42),
        kv("/service/demo/status", {"optime": 50 * MIB}, modified=90),
        kv(
            "/service/demo/members/pg1",
            {
                "conn_url": "postgres://10.0.0.1:5432/postgres",
                "api_url": "http://10.0.0.1:8008/patroni",
                "state": "running",
                "role": "primary",
                "xlog_location": 50 * MIB,
                "timeline": 4,
                "version": "4.1.5",
            },
        ),
        kv("/service/demo/members/pg2", {"role": "replica", "state": "streaming", "xlog_location": 48 * MIB}),
    )
    assert (cluster.scope, cluster.leader, cluster.leader_created) == ("demo", "pg1", 41)
    assert (cluster.ttl, cluster.loop_wait, cluster.retry_timeout) == (20, 5, 8)
    assert (cluster.failsafe_mode, cluster.paused, cluster.failover) == (True, False, "")
    assert (cluster.timeline, cluster.status_revision, cluster.lease) == (4, 90, LEASE)
    first, second = cluster.members
    assert (first.role, first.host, first.lag) == ("leader", "10.0.0.1:5432", None)
    assert (first.version, second.version) == ("4.1.5", "")
    assert (second.role, second.state, second.lag) == ("replica", "streaming", 2 * MIB)


def test_citus_groups_are_scopes_of_their_own() -> None:
    found = group_by_scope(
        [kv("/service/citus/0/leader"), kv("/service/citus/1/leader"), kv("/service/citus/1/members/w1")],
        "/service/",
    )
    assert [(scope.scope, sorted(scope.keys)) for scope in found] == [
        ("citus/0", ["leader"]),
        ("citus/1", ["leader", "members/w1"]),
    ]


@pytest.mark.parametrize("namespace", ["/", "", "//"])
def test_the_namespace_may_be_the_root(namespace: str) -> None:
    assert read(kv("/demo/leader", "pg1"), namespace=namespace).scope == "demo"


def test_keys_that_are_not_patronis_are_left_out() -> None:
    others = ("lock", "probe", "demo/unknown", "demo/members", "leader")
    assert group_by_scope([kv(f"/service/{key}") for key in others], "/service") == ()


def test_the_position_that_patroni_before_2_1_left_behind_is_no_cluster() -> None:
    found = group_by_scope([*keys(leader="pg1"), kv("/service/demo/optime/leader", "67108864")], "/service")
    assert [scope.scope for scope in found] == ["demo"]


@pytest.mark.parametrize("name", ["leader", "sync", "config"])
def test_a_node_with_the_name_of_a_key_is_a_node(name: str) -> None:
    assert [m.name for m in read(*keys(leader=name), kv(f"/service/demo/members/{name}", {})).members] == [
        name
    ]


def test_the_lease_is_that_of_the_leader_key() -> None:
    (found,) = group_by_scope([kv("/service/demo/leader", "pg1", lease=77)], "/service")
    assert found.leader_lease == 77
    (leaderless,) = group_by_scope([kv("/service/demo/config")], "/service")
    assert leaderless.leader_lease == 0


@pytest.mark.parametrize("garbage", ["", "{", "null", "[1]", '"text"', "17", "\x00"])
def test_garbage_is_as_good_as_nothing(garbage: str) -> None:
    values = dict.fromkeys(("config", "status", "failover", "members_pg1", "members_pg2"), garbage)
    cluster = read(*keys(leader="pg1", **values))
    assert (cluster.ttl, cluster.loop_wait, cluster.retry_timeout) == (30, 10, 10)
    assert (cluster.failsafe_mode, cluster.paused, cluster.failover) == (False, False, "")
    assert [(m.name, m.lag, m.timeline) for m in cluster.members] == [
        ("pg1", None, None),
        ("pg2", None, None),
    ]


@pytest.mark.parametrize("value", ["30", None, True, [], {}])
def test_a_setting_that_is_no_number_has_patronis_default(value: object) -> None:
    assert read(*keys(config={"ttl": value, "loop_wait": 3})).ttl == 30


def test_a_cluster_of_nothing_but_a_configuration_has_no_leader() -> None:
    cluster = read(*keys(config={}))
    assert (cluster.leader, cluster.timeline, cluster.members) == (None, None, ())


def test_an_empty_leader_key_is_no_leader() -> None:
    assert read(*keys(leader="")).leader is None


@pytest.mark.parametrize(("value", "paused"), [(True, True), (False, False), (None, False), ("true", False)])
def test_pause_is_what_patroni_takes_for_it(value: object, paused: bool) -> None:
    assert read(*keys(config={"pause": value})).paused is paused


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"leader": "pg1", "member": "pg2"}, "leader pg1, member pg2"),
        ({"member": "pg2"}, "member pg2"),
        ({"leader": "pg1", "scheduled_at": "2026-01-01T00:00:00+00:00"}, "leader pg1, scheduled_at 2026"),
        ({}, ""),
        ({"leader": "", "member": None}, ""),
    ],
)
def test_a_pending_failover_is_told_in_words(request_: dict[str, object], words: str) -> None:
    failover = read(*keys(failover=request_)).failover
    assert failover.startswith(words)
    assert bool(failover) is bool(words)


def test_lag_counts_from_the_leaders_own_position_when_that_is_ahead() -> None:
    members = {"members_pg1": {"xlog_location": 900}, "members_pg2": {"xlog_location": 400}}
    cluster = read(*keys(leader="pg1", status={"optime": 500}, **members))
    assert [m.lag for m in cluster.members] == [None, 500]


def test_lag_is_never_negative() -> None:
    cluster = read(*keys(leader="pg1", status={"optime": 500}, members_pg2={"xlog_location": 600}))
    assert cluster.members[0].lag == 0


@pytest.mark.parametrize("position", [None, "500", 5.5])
def test_lag_is_not_known_without_a_position(position: object) -> None:
    cluster = read(*keys(leader="pg1", status={"optime": 500}, members_pg2={"xlog_location": position}))
    assert cluster.members[0].lag is None


def test_lag_is_not_known_without_the_leaders_position() -> None:
    cluster = read(*keys(leader="pg1", members_pg2={"xlog_location": 600}))
    assert cluster.members[0].lag is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgres://10.0.0.1:5432/postgres", "10.0.0.1:5432"),
        ("postgres://user:p%40ss@db1:5432/postgres?x=1", "db1:5432"),
        ("postgres://[2001:db8::1]:5432/postgres", "[2001:db8::1]:5432"),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_the_host_is_shown_without_the_rest_of_the_url(url: str, host: str) -> None:
    assert read(*keys(leader="pg1", members_pg1={"conn_url": url})).members[0].host == host
