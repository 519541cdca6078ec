"""What an operation leaves out of its look."""

from __future__ import annotations

from patroni_etcd_reconfig.observe.etcd import EtcdObserver
from patroni_etcd_reconfig.observe.everything import OWN_READ, Observer
from patroni_etcd_reconfig.ports import EtcdApi
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


def test_without_quorum_patronis_keys_are_not_waited_for_as_long_as_a_login_takes() -> None:
    fake = FakeEtcd("a", "b", "c", clock=FakeClock())
    fake.process("b").up = fake.process("c").up = False
    asked: list[float] = []

    def connect(url: str, timeout: float) -> EtcdApi:
        asked.append(timeout)
        return fake.connect(url, timeout)

    etcd = EtcdObserver(connect, (client_url("a"),), 2.9)
    view = etcd.look()
    asked.clear()
    Observer(etcd, "/service").look_at_patroni(view)
    assert asked == [OWN_READ]
