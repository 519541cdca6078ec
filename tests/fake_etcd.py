"""An etcd cluster in memory: what the engine sees of one, with etcd's own refusals and on a fake clock.

`tests/integration/test_fake_contract.py` holds it against real servers. Names are single words: member
`a` has the URLs http://a:2380 and http://a:2379, as in `tests.core.builders`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO, TypeVar

from patroni_etcd_reconfig.core.model import Alarm, KeyValue, Member, MemberStatus
from patroni_etcd_reconfig.core.quorum import quorum
from patroni_etcd_reconfig.errors import (
    EtcdError,
    EtcdTimeoutError,
    EtcdUnreachableError,
    LearnerNotReadyError,
    MemberNotFoundError,
    MemberNotLearnerError,
    NotLeaderError,
    NotSupportedError,
    PeerUrlExistsError,
    TooManyLearnersError,
    UnhealthyClusterError,
)
from patroni_etcd_reconfig.ports import (
    EtcdConnector,
    HashKv,
    LeaseLeft,
    MemberList,
    Metrics,
    RangeResult,
    SnapshotInfo,
)
from tests.fake_cluster import Cluster as Cluster
from tests.fake_cluster import Process as Process
from tests.fake_cluster import client_url as client_url
from tests.fake_cluster import peer_url as peer_url

T = TypeVar("T")
DATABASE = b"the whole database"


class FakeEtcd(Cluster):
    """A cluster that gives out clients."""

    def connect(self, url: str, timeout: float) -> FakeMember:
        """Return a client: an EtcdConnector."""
        return FakeMember(self, url, timeout)


@dataclass(frozen=True)
class FakeMember:
    """A client of one URL; see ports.EtcdApi."""

    etcd: Cluster
    endpoint: str
    timeout: float

    def within(self, seconds: float) -> FakeMember:
        return replace(self, timeout=seconds)

    def member_list(self) -> MemberList:
        def act(me: Process) -> MemberList:
            self._no_learner(me)
            return MemberList(self.etcd.cluster_id, me.member_id, tuple(self.etcd.members.values()))

        return self._call("member_list", act, quorum=False)

    def status(self) -> MemberStatus:
        def act(me: Process) -> MemberStatus:
            if me.sees:
                return me.sees
            etcd, quorate = self.etcd, self.etcd.has_quorum()
            index = etcd.revision + etcd.extra_entries
            errors = [f"memberID:{alarm.member_id} alarm:{alarm.kind} " for alarm in etcd.raised]
            errors += [] if quorate else ["etcdserver: no leader"]
            leader = etcd.leader_id if quorate else None
            ours = (etcd.cluster_id, me.member_id, me.version, 20480, leader, etcd.term, index)
            return MemberStatus(*ours, index - me.lag, self._is_learner(me), tuple(errors))

        return self._call("status", act, quorum=False)

    def alarms(self) -> tuple[Alarm, ...]:
        return self._call("alarms", lambda me: tuple(self.etcd.raised))

    def disarm(self, alarm: Alarm) -> None:
        def act(me: Process) -> None:
            self.etcd.raised.remove(alarm)

        self._call("disarm", act)

    def metrics(self) -> Metrics | None:
        def act(me: Process) -> Metrics:
            others = set(self.etcd.members) - {me.member_id}
            cut = self.etcd.cut
            live = frozenset(i for i in others if self.etcd.running(i) and (me.member_id, i) not in cut)
            sends = self.etcd.receiving if me.member_id == self.etcd.leader_id else frozenset()
            return Metrics(live, sends, self.etcd.quota)

        return self._call("metrics", act, quorum=False)

    def hash_kv(self, revision: int) -> HashKv | None:
        return self._call("hash_kv", lambda me: me.hash_kv, quorum=False)

    def add_learner(self, peer_urls: tuple[str, ...]) -> Member:
        def act(me: Process) -> Member:
            etcd = self.etcd
            self._refuse(len(etcd.settled()) < len(etcd.voters()), UnhealthyClusterError, "unhealthy cluster")
            taken = {url for member in etcd.members.values() for url in member.peer_urls}
            self._refuse(bool(taken & set(peer_urls)), PeerUrlExistsError, "Peer URLs already exists")
            learners = len(etcd.members) - len(etcd.voters())
            self._refuse(learners > 0, TooManyLearnersError, "too many learner members in cluster")
            added = Member(etcd.new_id(), "", peer_urls, is_learner=True)
            etcd.members[added.id] = added
            return added

        return self._call("add_learner", act)

    def remove_member(self, member_id: int) -> None:
        def act(me: Process) -> None:
            etcd, voters = self.etcd, self.etcd.voters()
            few = len(etcd.settled()) - 1 < quorum(len(voters) - 1)
            safe = member_id not in voters or etcd.running(member_id) is None
            self._refuse(few and not safe, UnhealthyClusterError, "unhealthy cluster")
            self._refuse(member_id not in etcd.members, MemberNotFoundError, "member not found")
            del etcd.members[member_id]
            etcd.at = {url: p for url, p in etcd.at.items() if p.member_id != member_id}

        self._call("remove_member", act)

    def update_member(self, member_id: int, peer_urls: tuple[str, ...]) -> None:
        def act(me: Process) -> None:
            members = self.etcd.members
            self._refuse(member_id not in members, MemberNotFoundError, "member not found")
            taken = {url for m in members.values() if m.id != member_id for url in m.peer_urls}
            self._refuse(bool(taken & set(peer_urls)), PeerUrlExistsError, "Peer URLs already exists")
            members[member_id] = replace(members[member_id], peer_urls=peer_urls)

        self._call("update_member", act)

    def promote_member(self, member_id: int) -> None:
        def act(me: Process) -> None:
            member, index = self.etcd.members.get(member_id), self.etcd.revision + self.etcd.extra_entries
            if member is None:
                raise self._error(MemberNotFoundError, "member not found")
            self._refuse(not member.is_learner, MemberNotLearnerError, "can only promote a learner member")
            process = next((p for p in self.etcd.at.values() if p.member_id == member_id), None)
            behind = process is None or process.lag > index * 0.1  # etcd's rule: it may be stopped by now
            self._refuse(behind, LearnerNotReadyError, "can only promote a learner member which is in sync")
            self.etcd.members[member_id] = replace(member, is_learner=False)

        self._call("promote_member", act)

    def transfer_leadership(self, target_id: int) -> None:
        def act(me: Process) -> None:
            self._refuse(me.member_id != self.etcd.leader_id, NotLeaderError, "not leader")
            self._refuse(target_id not in self.etcd.voters(), NotLeaderError, "bad leader transferee")
            self.etcd.leader_id, self.etcd.term = target_id, self.etcd.term + 1

        self._call("transfer_leadership", act)

    def snapshot(self, sink: BinaryIO) -> SnapshotInfo:
        def act(me: Process) -> SnapshotInfo:
            digest = hashlib.sha256(DATABASE)
            sink.write(DATABASE + digest.digest())
            return SnapshotInfo(len(DATABASE), digest.hexdigest())

        return self._call("snapshot", act, quorum=False)

    def range(self, key: str, *, prefix: bool = False, serializable: bool = False) -> RangeResult:
        def act(me: Process) -> RangeResult:
            self._no_learner(me)
            found = [kv for name, kv in sorted(self.etcd.keys.items()) if _matches(name, key, prefix)]
            return RangeResult(self.etcd.revision, tuple(found))

        return self._call("range", act, quorum=not serializable)

    def put(self, key: str, value: str, *, lease: int = 0) -> int:
        def act(me: Process) -> int:
            etcd, old = self.etcd, self.etcd.keys.get(key)
            gone = lease != 0 and lease not in etcd.leases
            self._refuse(gone, EtcdError, "requested lease not found")
            etcd.revision += 1
            created, version = (old.create_revision, old.version) if old else (etcd.revision, 0)
            etcd.keys[key] = KeyValue(key, value, created, etcd.revision, version + 1, lease)
            return etcd.revision

        return self._call("put", act)

    def put_if_absent(self, key: str, value: str, *, lease: int) -> KeyValue | None:
        def act(me: Process) -> KeyValue | None:
            there = self.etcd.keys.get(key)
            if there is None:
                self.put(key, value, lease=lease)
            return there

        return self._call("put_if_absent", act)

    def put_if_unchanged(self, key: str, value: str, *, mod_revision: int) -> int | None:
        def act(me: Process) -> int | None:
            there = self.etcd.keys.get(key)
            same = (there.mod_revision if there else 0) == mod_revision
            return self.put(key, value) if same else None

        return self._call("put_if_unchanged", act)

    def delete_if_unchanged(self, key: str, *, mod_revision: int) -> bool:
        def act(me: Process) -> bool:
            there = self.etcd.keys.get(key)
            same = (there.mod_revision if there else 0) == mod_revision
            if same:
                self.delete(key)
            return same

        return self._call("delete_if_unchanged", act)

    def delete(self, key: str, *, prefix: bool = False) -> int:
        def act(me: Process) -> int:
            gone = [name for name in self.etcd.keys if _matches(name, key, prefix)]
            for name in gone:
                del self.etcd.keys[name]
            self.etcd.revision += bool(gone)
            return len(gone)

        return self._call("delete", act)

    def grant_lease(self, ttl: int) -> int:
        def act(me: Process) -> int:
            lease = self.etcd.new_id()
            self.etcd.leases[lease] = (ttl, self.etcd.clock.monotonic() + ttl)
            return lease

        return self._call("grant_lease", act)

    def keep_alive(self, lease: int) -> bool:
        def act(me: Process) -> bool:
            if lease not in self.etcd.leases:
                return False
            ttl = self.etcd.leases[lease][0]
            self.etcd.leases[lease] = (ttl, self.etcd.clock.monotonic() + ttl)
            return True

        return self._call("keep_alive", act)

    def revoke_lease(self, lease: int) -> None:
        self._call("revoke_lease", lambda me: self.etcd.drop_lease(lease))

    def lease_left(self, lease: int) -> LeaseLeft:
        def act(me: Process) -> LeaseLeft:
            ttl, end = self.etcd.leases.get(lease, (0, 0.0))
            return LeaseLeft(ttl, int(end - self.etcd.clock.monotonic()) if ttl else -1)

        return self._call("lease_left", act)

    def _call(self, name: str, act: Callable[[Process], T], *, quorum: bool = True) -> T:
        self.etcd.before(name)
        with self.etcd.turn:
            self.etcd.calls.append((name, self.endpoint))
            me, refusals = self.etcd.at.get(self.endpoint), self.etcd.refusals[name]
            if me is None or not me.up:
                raise EtcdUnreachableError("Connection refused", endpoint=self.endpoint)
            answers = me.live and (self.etcd.has_quorum() or not quorum)
            if answers:
                self.etcd.drop_expired()
                if refusals:
                    raise refusals.pop(0)
                answer = act(me)
            if answers and name not in self.etcd.lost:
                return answer
            self.etcd.lost.discard(name)
        time.sleep(min(self.timeout, self.etcd.real_hang))
        raise EtcdTimeoutError("no answer in time", endpoint=self.endpoint)

    def _is_learner(self, me: Process) -> bool:
        member = self.etcd.members.get(me.member_id)
        return member is not None and member.is_learner

    def _no_learner(self, me: Process) -> None:
        self._refuse(self._is_learner(me), NotSupportedError, "rpc not supported for learner")

    def _refuse(self, wrong: bool, kind: type[EtcdError], words: str) -> None:
        if wrong:
            raise self._error(kind, words)

    def _error(self, kind: type[EtcdError], words: str) -> EtcdError:
        return kind(f"etcdserver: {words}", endpoint=self.endpoint)


def switchboard(*clusters: FakeEtcd) -> EtcdConnector:
    """Return a connector to several clusters: a URL belongs to the first that has it."""

    def connect(url: str, timeout: float) -> FakeMember:
        found = next((cluster for cluster in clusters if url in cluster.at), clusters[0])
        return found.connect(url, timeout)

    return connect


def _matches(name: str, key: str, prefix: bool) -> bool:
    return name.startswith(key) if prefix else name == key
