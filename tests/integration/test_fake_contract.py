"""The etcd in memory answers as real ones do: one script, run against both, gives the same answers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from patroni_etcd_reconfig.adapters.etcd_client import Connector
from patroni_etcd_reconfig.core.model import KeyValue
from patroni_etcd_reconfig.errors import EtcdError, UnhealthyClusterError
from patroni_etcd_reconfig.ports import EtcdApi
from tests.fake_etcd import FakeEtcd, client_url, peer_url
from tests.integration.etcd_servers import EtcdCluster, etcd_cluster, wait_until

pytestmark = pytest.mark.etcd

TIMEOUT = 5.0
NAMES = "abc"


class Place(Protocol):
    """A cluster of three voters, real or not."""

    def client(self, number: int) -> EtcdApi:
        """Return a client of a member, from 0; 3 is the seat beside them."""

    def peer_url(self, number: int) -> str:
        """Return a member's peer URL."""

    def start_learner(self) -> None:
        """Start the learner on seat 3 and return when it follows the leader."""


class Real:
    """Servers."""

    def __init__(self, cluster: EtcdCluster) -> None:
        self._cluster = cluster

    def client(self, number: int) -> EtcdApi:
        return Connector()(self._cluster.client_url(number + 1), TIMEOUT)

    def peer_url(self, number: int) -> str:
        return self._cluster.peer_url(number + 1)

    def start_learner(self) -> None:
        self._cluster.configure(4, state="existing", members=(1, 2, 3, 4))
        self._cluster.start(4)
        wait_until(lambda: self.client(3).status().leader_id is not None, 20, "the learner to follow")


class Fake:
    """The one in memory."""

    def __init__(self) -> None:
        self._etcd = FakeEtcd(*NAMES)

    def client(self, number: int) -> EtcdApi:
        return self._etcd.connect(client_url("abcd"[number]), TIMEOUT)

    def peer_url(self, number: int) -> str:
        return peer_url("abcdefg"[number])

    def start_learner(self) -> None:
        self._etcd.start("d").connected_since = 0.0


@pytest.fixture(scope="module")
def real(etcd_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give three servers that all scripts share, and leave as they found them."""
    with etcd_cluster(tmp_path_factory.mktemp("contract"), 3, etcd_dir=etcd_dir) as cluster:
        yield Real(cluster)


@pytest.fixture(scope="module")
def fake() -> Place:
    """Give the fake, shared in the same way."""
    return Fake()


def outcome(call: Callable[[], Any]) -> Any:
    """Return what a call gives, or the class of its error; etcd's 5 s rule is waited for."""
    found: list[Any] = []

    def attempt() -> bool:
        try:
            found.append(call())
        except UnhealthyClusterError:
            raise  # not yet
        except EtcdError as error:
            found.append(type(error).__name__)
        return True

    wait_until(attempt, 15, "etcd to allow the change")
    return found[0]


def leading(place: Place) -> int:
    """Return the number of the leader."""
    found: list[int] = []

    def look() -> bool:
        statuses = [place.client(i).status() for i in range(3)]
        found[:] = [i for i, s in enumerate(statuses) if s.leader_id == s.member_id]
        return len(found) == 1

    wait_until(look, 10, "one leader")
    return found[0]


def row(kv: KeyValue | None) -> Any:
    """Return what of a key does not depend on what went before."""
    return kv and (kv.key, kv.value, kv.version, bool(kv.lease), kv.mod_revision - kv.create_revision)


def keys_are_written_read_and_deleted(place: Place) -> Iterator[Any]:
    etcd, other = place.client(0), place.client(1)
    first = etcd.put("/kv/a", "1")
    yield etcd.put("/kv/a", "2") - first
    yield etcd.put("/kv/b", "ü") - first
    etcd.put("/kw", "beside the prefix")
    found = other.range("/kv/", prefix=True)
    yield [row(kv) for kv in found.kvs]
    yield found.revision - first
    yield [row(kv) for kv in other.range("/kv", prefix=False).kvs]
    yield [kv.key for kv in other.range("/k", prefix=True).kvs]
    yield len(etcd.range("/kv/a", serializable=True).kvs)
    yield (etcd.delete("/kv/", prefix=True), etcd.delete("/kw"), etcd.delete("/kw"))
    yield other.range("/k", prefix=True).kvs


def a_key_is_created_once(place: Place) -> Iterator[Any]:
    etcd = place.client(0)
    mine, yours = etcd.grant_lease(60), etcd.grant_lease(60)
    yield etcd.put_if_unchanged("/none", "x", mod_revision=1)
    made = etcd.put("/config", "one")
    written = etcd.put_if_unchanged("/config", "two", mod_revision=made)
    yield written is not None and written > made
    yield etcd.put_if_unchanged("/config", "three", mod_revision=made)
    yield etcd.range("/config").kvs[0].value, etcd.range("/config").kvs[0].mod_revision == written
    yield row(etcd.put_if_absent("/lock", "me", lease=mine))
    yield row(etcd.put_if_absent("/lock", "you", lease=yours))
    yield [row(kv) for kv in etcd.range("/lock").kvs]
    etcd.revoke_lease(mine)
    yield etcd.range("/lock").kvs
    yield row(etcd.put_if_absent("/lock", "you", lease=yours))
    etcd.revoke_lease(yours)


def a_key_is_deleted_only_if_nobody_changed_it(place: Place) -> Iterator[Any]:
    etcd = place.client(0)
    first = etcd.put("/gone", "1")
    etcd.put("/gone", "2")
    yield etcd.delete_if_unchanged("/gone", mod_revision=first)
    last = etcd.range("/gone").kvs[0].mod_revision
    yield last - first
    yield (etcd.delete_if_unchanged("/gone", mod_revision=last), etcd.range("/gone").kvs)
    yield etcd.delete_if_unchanged("/gone", mod_revision=last)


def a_lease_lives_until_it_is_revoked(place: Place) -> Iterator[Any]:
    etcd = place.client(0)
    lease = etcd.grant_lease(60)
    left = etcd.lease_left(lease)
    yield (left.ttl, 58 <= left.remaining <= 60)
    etcd.put("/with", "x", lease=lease)
    yield row(place.client(2).range("/with").kvs[0])
    yield etcd.keep_alive(lease)
    etcd.revoke_lease(lease)
    etcd.revoke_lease(lease)
    yield etcd.range("/with").kvs
    yield (etcd.keep_alive(lease), etcd.lease_left(lease).remaining)
    yield outcome(lambda: etcd.put("/with", "x", lease=lease))
    yield outcome(lambda: etcd.put_if_absent("/with", "x", lease=lease))


def _connected(member: EtcdApi) -> frozenset[int]:
    metrics = member.metrics()
    return metrics.connected if metrics else frozenset()


def every_member_says_the_same_of_the_cluster(place: Place) -> Iterator[Any]:
    lists = [place.client(i).member_list() for i in range(3)]
    statuses = [place.client(i).status() for i in range(3)]
    yield len({tuple(sorted(m.id for m in listed.members)) for listed in lists})
    yield [listed.answered_by == s.member_id for listed, s in zip(lists, statuses, strict=True)]
    yield len({(s.cluster_id, s.leader_id, s.raft_term) for s in statuses})
    yield [(s.is_learner, s.errors) for s in statuses]
    yield [member.started for member in lists[0].members]
    yield place.client(0).alarms()
    wait_until(lambda: len(_connected(place.client(0))) == 2, 10, "both peers connected")
    yield statuses[0].member_id in _connected(place.client(0))


def leadership_moves_when_the_leader_is_asked(place: Place) -> Iterator[Any]:
    leader = leading(place)
    follower = (leader + 1) % 3
    target = place.client(follower).status().member_id
    yield outcome(lambda: place.client(follower).transfer_leadership(target))
    yield outcome(lambda: place.client(leader).transfer_leadership(12345))
    yield outcome(lambda: place.client(leader).transfer_leadership(target))
    yield leading(place) == follower


def members_that_do_not_fit_are_refused(place: Place) -> Iterator[Any]:
    etcd = place.client(leading(place))
    yield outcome(lambda: etcd.remove_member(12345))
    yield outcome(lambda: etcd.promote_member(12345))
    yield outcome(lambda: etcd.promote_member(etcd.status().member_id))
    yield outcome(lambda: etcd.add_learner((place.peer_url(1),)))


def a_learner_is_added_promoted_and_removed(place: Place) -> Iterator[Any]:
    etcd = place.client(leading(place))
    learner = outcome(lambda: etcd.add_learner((place.peer_url(3),)))
    yield (learner.is_learner, learner.started, learner.peer_urls == (place.peer_url(3),))
    yield outcome(lambda: etcd.add_learner((place.peer_url(5),)))
    yield outcome(lambda: etcd.promote_member(learner.id))
    place.start_learner()
    new = place.client(3)
    yield new.status().is_learner
    yield [outcome(call) for call in (new.member_list, lambda: new.range("x"))]
    wait_until(lambda: etcd.promote_member(learner.id) is None, 10, "the learner to be promoted")  # type: ignore[func-returns-value]
    wait_until(lambda: not new.status().is_learner, 10, "the member to know that it votes")
    yield outcome(lambda: etcd.promote_member(learner.id))
    yield outcome(lambda: etcd.remove_member(learner.id))
    yield outcome(lambda: etcd.remove_member(learner.id))
    yield len(etcd.member_list().members)


def peer_urls_change_in_the_list_at_once(place: Place) -> Iterator[Any]:
    etcd = place.client(leading(place))
    follower = (leading(place) + 1) % 3
    own = place.client(follower).status().member_id
    yield outcome(lambda: etcd.update_member(12345, (place.peer_url(6),)))
    yield outcome(lambda: etcd.update_member(own, (place.peer_url(leading(place)),)))
    yield outcome(lambda: etcd.update_member(own, (place.peer_url(6),)))
    yield outcome(lambda: etcd.update_member(own, (place.peer_url(6),)))
    place.client(follower).range("/x")  # a linearizable read: the list below is not older
    listed = place.client(follower).member_list().members
    yield [m.peer_urls == (place.peer_url(6),) for m in listed if m.id == own]
    yield [m.is_learner for m in listed if m.id == own]
    yield outcome(lambda: etcd.update_member(own, (place.peer_url(follower),)))
    yield len(etcd.member_list().members)


def a_snapshot_comes_with_its_digest(place: Place) -> Iterator[Any]:
    sink = io.BytesIO()
    info = place.client(1).snapshot(sink)
    content = sink.getvalue()
    yield (info.size == len(content) - 32, bytes.fromhex(info.sha256) == content[-32:])


SCRIPTS = (
    keys_are_written_read_and_deleted,
    a_key_is_created_once,
    a_key_is_deleted_only_if_nobody_changed_it,
    a_lease_lives_until_it_is_revoked,
    every_member_says_the_same_of_the_cluster,
    leadership_moves_when_the_leader_is_asked,
    members_that_do_not_fit_are_refused,
    a_learner_is_added_promoted_and_removed,
    peer_urls_change_in_the_list_at_once,
    a_snapshot_comes_with_its_digest,
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_the_fake_answers_as_real_servers_do(
    real: Place, fake: Place, script: Callable[[Place], Iterator[Any]]
) -> None:
    assert list(script(fake)) == list(script(real))
