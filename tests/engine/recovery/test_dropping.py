"""Keys that a snapshot can't know go in quarantine: all scopes, noted before, and a stubborn one is told."""

from __future__ import annotations

from typing import Any

import pytest

from patroni_etcd_reconfig.engine.recovery.dropping import drop_volatile
from patroni_etcd_reconfig.errors import StepFailedError
from tests.engine.fakes import FakeClock
from tests.fake_etcd import FakeEtcd, FakeMember, client_url


def filled() -> FakeMember:
    client = FakeEtcd("a", clock=FakeClock()).connect(client_url("a"), 1.0)
    for key in ("one/leader", "one/config", "two/members/pg1", "two/failover", "two/sync"):
        client.put(f"/service/{key}", "{}")
    client.put("/other/leader", "not Patroni's")
    return client


def left(client: FakeMember) -> set[str]:
    return {kv.key for kv in client.range("/", prefix=True).kvs}


def test_they_go_in_all_scopes_and_nothing_else_does() -> None:
    client, noted = filled(), list[Any]()
    done = drop_volatile(client, "/service/", noted.append)
    gone = ["/service/one/leader", "/service/two/failover", "/service/two/members/pg1"]
    assert done == {"dropped": gone}
    assert noted == [{"dropping": gone}]
    assert left(client) == {"/service/one/config", "/service/two/sync", "/other/leader"}


def test_done_again_it_finds_nothing_to_do() -> None:
    client, noted = filled(), list[Any]()
    drop_volatile(client, "/service/", noted.append)
    assert drop_volatile(client, "/service/", noted.append) == {"dropped": []}
    assert len(noted) == 1


def test_one_that_comes_again_each_time_ends_it() -> None:
    client = filled()

    def note(_: object) -> None:
        client.put("/service/one/leader", "pg9")

    with pytest.raises(StepFailedError, match="/service/one/leader was deleted 5 times") as raised:
        drop_volatile(client, "/service/", note)
    assert raised.value.code == "REPAIR"
