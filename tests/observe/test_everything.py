"""What an operation leaves out of its look."""

from __future__ import annotations

from patroni_etcd_reconfig.observe.etcd import EtcdObserver
from patroni_etcd_reconfig.observe.everything import Observer
from tests.engine.fakes import FakeClock
from tests.fake_etcd import FakeEtcd, client_url, switchboard


def test_scopes_without_a_leader_can_be_left_out() -> None:
    fake = FakeEtcd("a", clock=FakeClock())
    client = fake.connect(client_url("a"), 1.0)
    for scope in ("demo", "old"):
        client.put(f"/service/{scope}/config", "{}")
    etcd = EtcdObserver(switchboard(fake), (client_url("a"),), 1.0)
    view = etcd.look()
    whole = Observer(etcd, "/service")
    assert [one.scope for one in whole.look_at_patroni(view)] == ["demo", "old"]
    without = Observer(etcd, "/service", leave_out=frozenset({"old"}))
    assert [one.scope for one in without.look_at_patroni(view)] == ["demo"]
