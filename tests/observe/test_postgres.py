"""Where a PostgreSQL node answered is where later looks go first; a Patroni that does not say its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patroni_etcd_reconfig.core.recovery.addresses import Address
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.postgres_facts import SqlFacts
from patroni_etcd_reconfig.errors import UnreachableError
from patroni_etcd_reconfig.observe.postgres import PostgresCollector

OLD, NEW = "10.0.0.1", "10.0.0.9"


class Rest:
    """pg1 at its new address; at the old one another node of the cluster answers."""

    def __call__(self, url: str, timeout: float) -> Mapping[str, Any]:
        name = "pg1" if NEW in url else "pg2"
        return {"state": "running", "patroni": {"scope": "demo", "name": name}}

    def failsafe(self, url: str, timeout: float) -> Mapping[str, str]:
        return {}


def sql(host: str, port: int) -> SqlFacts:
    if host == OLD:
        raise UnreachableError("refused")
    return SqlFacts(False, 2, 5_000, "1")


def test_evidence_names_the_addresses_that_answered() -> None:
    address = Address("demo", "pg1", (f"http://{OLD}:8008", f"http://{NEW}:8008"), ((OLD, 5432), (NEW, 6432)))
    (found,) = PostgresCollector(Rest(), sql, {}, 5432, 2.0).collect([address], "here", 0.0)
    assert (found.api_url, found.host, found.port) == (f"http://{NEW}:8008", NEW, 6432)


class Nameless:
    """Patronis before 3.2: they say their scope only; with failsafe_mode they know each other by name."""

    def __init__(self, **members: str) -> None:
        self.members = members

    def __call__(self, url: str, timeout: float) -> Mapping[str, Any]:
        said = {"state": "running", "role": "master", "timeline": 2, "pause": True}
        return {**said, "xlog": {"location": 5_000}, "patroni": {"version": "3.0.4", "scope": "demo"}}

    def failsafe(self, url: str, timeout: float) -> Mapping[str, str]:
        return self.members


def refused(host: str, port: int) -> SqlFacts:
    raise UnreachableError("refused")


def collect(rest: Nameless, *addresses: Address) -> tuple[PostgresEvidence, ...]:
    return PostgresCollector(rest, refused, {}, 5432, 2.0).collect(addresses, "here", 0.0)


def test_a_patroni_that_does_not_say_its_name_is_believed_where_the_keys_name_it() -> None:
    (found,) = collect(Nameless(), Address("demo", "pg1", (f"http://{NEW}:8008",)))
    assert (found.name, found.source, found.lsn, found.patroni_answers) == ("pg1", "rest", 5_000, True)
    assert (found.in_recovery, found.paused) == (False, True)


def test_of_another_scope_it_is_not() -> None:
    (found,) = collect(Nameless(), Address("other", "pg1", (f"http://{NEW}:8008",)))
    assert (found.source, found.patroni_answers) == ("none", False)
    assert f"http://{NEW}:8008: is demo" in found.problem


def test_an_operator_s_address_of_a_node_that_the_keys_name_is_no_further_node() -> None:
    given = Address("", "", (f"http://{NEW}:8008",))
    (found,) = collect(Nameless(), Address("demo", "pg1", (f"http://{NEW}:8008",)), given)
    assert (found.name, found.source) == ("pg1", "rest")
    (found,) = collect(Nameless(pg1=f"http://{NEW}:8008/patroni"), given)
    assert (found.scope, found.name, found.source) == ("demo", "pg1", "rest")


def test_one_that_nothing_names_counts_for_no_node_and_says_why() -> None:
    (found,) = collect(Nameless(), Address("", "", (f"http://{NEW}:8008",)))
    assert (found.scope, found.name, found.source) == ("", NEW, "none")
    assert "recover collect" in found.problem
