"""Where a PostgreSQL node answered is where later looks go first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patroni_etcd_reconfig.core.recovery.addresses import Address
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
