"""Patroni's clusters through etcd: found under the namespace, with what is left of their leases."""

from __future__ import annotations

import json
import time

import pytest

from patroni_etcd_reconfig.core.gates import check_calm
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.errors import EtcdError, EtcdTimeoutError, ReconfigError
from patroni_etcd_reconfig.observe.etcd import EtcdObserver
from patroni_etcd_reconfig.observe.everything import Observer
from patroni_etcd_reconfig.observe.patroni import look_at_patroni
from tests.engine.fakes import FakeClock
from tests.fake_etcd import FakeEtcd, FakeMember, client_url

CONFIG = json.dumps({"ttl": 30, "loop_wait": 10, "retry_timeout": 10, "failsafe_mode": True})


@pytest.fixture
def etcd() -> FakeEtcd:
    return FakeEtcd("a", "b", "c")


def scope(etcd: FakeEtcd, name: str, *, namespace: str = "/service/", ttl: int = 30) -> int:
    """Write what a Patroni cluster with one node writes; return the leader's lease."""
    client = member(etcd)
    lease = client.grant_lease(ttl)
    client.put(f"{namespace}{name}/config", CONFIG)
    client.put(f"{namespace}{name}/leader", "pg1", lease=lease)
    client.put(f"{namespace}{name}/members/pg1", json.dumps({"role": "primary", "timeline": 3}))
    return lease


def member(etcd: FakeEtcd, name: str = "a") -> FakeMember:
    """Return a client of a member."""
    return etcd.connect(client_url(name), 1.0)


def everything(etcd: FakeEtcd, namespace: str = "/service/") -> Observer:
    """Return an observer of etcd and Patroni."""
    return Observer(EtcdObserver(etcd.connect, tuple(map(client_url, "abc")), 0.5), namespace)


def test_every_scope_under_the_namespace_is_found(etcd: FakeEtcd) -> None:
    for name in ("demo", "other", "citus/0", "citus/1"):
        scope(etcd, name)
    scope(etcd, "elsewhere", namespace="/services/")
    found = look_at_patroni(member(etcd), "/service", seconds=1)
    assert [cluster.scope for cluster in found] == ["citus/0", "citus/1", "demo", "other"]
    assert {(cluster.leader, cluster.timeline) for cluster in found} == {("pg1", 3)}


@pytest.mark.parametrize("namespace", ["/", ""])
def test_the_root_can_be_the_namespace(etcd: FakeEtcd, namespace: str) -> None:
    scope(etcd, "demo", namespace="/")
    member(etcd).put("/patroni-etcd-reconfig/journal/op/000001", "{}")
    member(etcd).put("/patroni-etcd-reconfig/lock", "{}")
    assert [c.scope for c in look_at_patroni(member(etcd), namespace, seconds=1)] == ["demo"]


def test_a_lease_tells_when_it_was_renewed_last(etcd: FakeEtcd) -> None:
    scope(etcd, "demo")
    assert isinstance(etcd.clock, FakeClock)
    etcd.clock.sleep(7)
    before = time.monotonic()
    lease = look_at_patroni(member(etcd), "/service", seconds=1)[0].lease
    assert lease is not None
    assert (lease.ttl, lease.remaining) == (30, 23)
    assert before - 7 <= lease.renewed_after <= time.monotonic() - 7


def test_a_leader_key_without_a_lease_is_no_leader_to_rely_on(etcd: FakeEtcd) -> None:
    member(etcd).put("/service/demo/leader", "pg1")
    cluster = look_at_patroni(member(etcd), "/service", seconds=1)[0]
    assert (cluster.leader, cluster.lease) == ("pg1", None)
    assert etcd.called("lease_left") == 0


def test_a_lease_that_can_not_be_read_is_not_known_and_holds_every_step_up(etcd: FakeEtcd) -> None:
    scope(etcd, "demo")
    etcd.refusals["lease_left"] = [EtcdTimeoutError("no answer")]
    cluster = look_at_patroni(member(etcd), "/service", seconds=1)[0]
    assert cluster.lease is None
    assert [f.code for f in check_calm(cluster, 0, Policy())] == ["PATRONI_NO_LEADER"]


def test_a_lease_that_ended_meanwhile_is_none(etcd: FakeEtcd) -> None:
    lease = scope(etcd, "demo")

    def expire(call: str) -> None:
        if call == "lease_left":
            etcd.leases.pop(lease, None)

    etcd.before = expire
    assert look_at_patroni(member(etcd), "/service", seconds=1)[0].lease is None


def test_an_empty_etcd_has_no_patroni(etcd: FakeEtcd) -> None:
    assert look_at_patroni(member(etcd), "/service", seconds=1) == ()
    assert everything(etcd).observe().patroni == ()


def test_patroni_is_read_through_another_voter_when_one_fails(etcd: FakeEtcd) -> None:
    scope(etcd, "demo")
    watch = everything(etcd)
    seen = watch.etcd.look()
    etcd.process("a").up = False
    assert [cluster.scope for cluster in watch.look_at_patroni(seen)] == ["demo"]


def test_without_quorum_patroni_is_read_as_the_survivor_knows_it(etcd: FakeEtcd) -> None:
    scope(etcd, "demo")
    etcd.process("b").up = etcd.process("c").up = False
    assert [cluster.scope for cluster in everything(etcd).observe().patroni] == ["demo"]


def test_without_quorum_the_members_are_shown_although_patroni_can_not_be_read(etcd: FakeEtcd) -> None:
    scope(etcd, "demo")
    etcd.process("b").up = etcd.process("c").up = False

    def refuse(call: str) -> None:
        if call == "range":  # with auth on even a serializable read wants a login, which wants quorum
            raise EtcdTimeoutError("no answer")

    etcd.before = refuse
    seen = everything(etcd).observe()
    assert (len(seen.etcd.members), seen.etcd.linearizable, seen.patroni) == (3, False, ())


@pytest.mark.parametrize("error", [EtcdTimeoutError("no answer"), EtcdError("etcdserver: too many requests")])
def test_keys_that_can_not_be_read_are_not_taken_for_no_patroni(etcd: FakeEtcd, error: EtcdError) -> None:
    scope(etcd, "demo")
    watch = everything(etcd)
    seen = watch.etcd.look()
    etcd.refusals["range"] = [error] * 3
    with pytest.raises(ReconfigError):
        watch.look_at_patroni(seen)
