"""Where PostgreSQL nodes are, from keys that anybody may have written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.model import KeyValue
from patroni_etcd_reconfig.core.recovery.addresses import (
    Address,
    addresses_in_keys,
    addresses_in_plan,
    base_url,
    combined,
    told_apart,
)
from patroni_etcd_reconfig.core.recovery.model import Candidate, ScopePlan
from tests.core.recovery.evidences import key


def member(name: str, host: str, port: int = 5432) -> KeyValue:
    """Return a member key as Patroni writes it."""
    data = {
        "conn_url": f"postgres://{host}:{port}/postgres",
        "api_url": f"http://{host}:8008/patroni",
        "state": "running",
    }
    return key(f"members/{name}", json.dumps(data))


def found(*keys: KeyValue) -> tuple[Address, ...]:
    """Return the addresses in one copy of the keys."""
    return addresses_in_keys([keys], "/service")


def test_a_member_key_names_patroni_and_postgresql() -> None:
    assert found(member("pg1", "10.0.0.1", 6432)) == (
        Address("demo", "pg1", ("http://10.0.0.1:8008",), (("10.0.0.1", 6432),)),
    )


def test_the_failsafe_key_names_those_whose_member_key_is_gone() -> None:
    failsafe = key(
        "failsafe", json.dumps({"pg1": "http://10.0.0.1:8008/patroni", "pg2": "https://b:1/patroni"})
    )
    assert found(failsafe) == (
        Address("demo", "pg1", ("http://10.0.0.1:8008",)),
        Address("demo", "pg2", ("https://b:1",)),
    )


def test_copies_that_disagree_are_all_tried_the_newest_first() -> None:
    old, new = (
        replace(member("pg1", "10.0.0.1"), mod_revision=5),
        replace(member("pg1", "10.0.0.9"), mod_revision=9),
    )
    (one,) = addresses_in_keys([(old,), (new,)], "/service")
    assert one.api_urls == ("http://10.0.0.9:8008", "http://10.0.0.1:8008")
    assert (one.host, one.servers[0]) == ("10.0.0.9", ("10.0.0.9", 5432))


def test_a_patroni_that_only_its_address_is_known_of_stays_apart() -> None:
    given = Address("", "", ("http://x:1",))
    assert combined((given, given, Address("", "", ("http://y:1",)))) == (
        given,
        Address("", "", ("http://y:1",)),
    )
    assert given.host == "x"


def test_a_nameless_patroni_at_a_known_node_s_address_is_that_node() -> None:
    pg1 = Address("demo", "pg1", ("http://x:1", "http://old:1"))
    nameless, other = Address("demo", "", ("http://x:1",)), Address("demo", "", ("http://y:1",))
    assert told_apart((nameless, pg1, other)) == (pg1, other)


@pytest.mark.parametrize(
    "value",
    ["", "null", "[]", "5", '{"conn_url": 5, "api_url": null}', "[" * 100_000, '{"api_url": "http://[::1"}',
     '{"api_url": "file:///etc/passwd", "conn_url": "postgres:///x"}', '{"api_url": "http://x:99999/"}'],
)  # fmt: skip
def test_a_member_key_that_nobody_can_read_has_no_address(value: str) -> None:
    assert found(key("members/pg1", value)) == (Address("demo", "pg1"),)


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("http://a:8008/patroni", "http://a:8008"),
        ("https://a", "https://a:443"),
        ("http://[::1]:8008/patroni", "http://[::1]:8008"),
        ("http://user:secret@a:1/x?y", "http://a:1"),
        ("a:8008", ""),
        ("gopher://a:1", ""),
    ],
)
def test_a_base_url_is_scheme_host_and_port(text: str, base: str) -> None:
    assert base_url(text) == base


def test_a_plan_remembers_where_its_nodes_were() -> None:
    candidates = (
        Candidate("pg1", 2, 5, 0, host="10.0.0.1", port=6432, api_url="http://10.0.0.1:8008/patroni"),
        Candidate("pg2", 2, 5, 0, host="10.0.0.2"),
        Candidate("pg3", None, None, None, "not asked", api_url="http://10.0.0.3:8008"),
    )
    assert addresses_in_plan([ScopePlan("demo", "pg1", "pg1", candidates)]) == (
        Address("demo", "pg1", ("http://10.0.0.1:8008",), (("10.0.0.1", 6432),)),
        Address("demo", "pg3", ("http://10.0.0.3:8008",)),
    )
