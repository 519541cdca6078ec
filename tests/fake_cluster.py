"""The state of an etcd cluster in memory: members, processes, keys and leases; see `tests.fake_etcd`."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from patroni_etcd_reconfig.core.model import Alarm, KeyValue, Member, MemberStatus
from patroni_etcd_reconfig.core.quorum import quorum
from patroni_etcd_reconfig.errors import EtcdError
from patroni_etcd_reconfig.ports import Clock, HashKv
from tests.core.builders import CLUSTER, IDS
from tests.engine.fakes import FakeClock

HEALTH_INTERVAL = 5.0  # etcd's server/etcdserver/server.go


def peer_url(name: str) -> str:
    """Return a member's peer URL."""
    return f"http://{name}:2380"


def client_url(name: str) -> str:
    """Return a member's client URL."""
    return f"http://{name}:2379"


@dataclass
class Process:
    """One running (or stopped) etcd, whoever it takes itself for."""

    member_id: int
    up: bool = True
    hung: bool = False
    lag: int = 0
    connected_since: float = float("-inf")
    version: str = "3.4.23"
    hash_kv: HashKv | None = None  # None, as etcd 3.4 has no such call in its gateway
    sees: MemberStatus | None = None  # what it says of itself when that is not what is true

    @property
    def live(self) -> bool:
        """Tell whether it answers."""
        return self.up and not self.hung


class Cluster:
    """The state of a cluster. Break it: `at[url].up`, `at[url].hung`, `refusals`, `lost`, `before`, `cut`.

    `refusals` are raised, one a call, instead of acting; a call named in `lost` acts, once, and then has
    its answer lost; `before` is told every call and may change anything.
    """

    def __init__(self, *names: str, clock: Clock | None = None, cluster_id: int = CLUSTER) -> None:
        self.clock = clock or FakeClock()
        self.cluster_id = cluster_id
        self.members = {IDS[n]: Member(IDS[n], n, (peer_url(n),), (client_url(n),)) for n in names}
        self.at = {client_url(name): Process(IDS[name]) for name in names}
        self.leader_id: int = IDS[names[0]]
        self.term, self.revision, self.extra_entries = 2, 1, 1000
        self.keys: dict[str, KeyValue] = {}
        self.leases: dict[int, tuple[int, float]] = {}  # granted TTL, end
        self.raised: list[Alarm] = []
        self.calls: list[tuple[str, str]] = []
        self.refusals: defaultdict[str, list[EtcdError]] = defaultdict(list)
        self.lost: set[str] = set()
        self.receiving: frozenset[int] = frozenset()  # ids of members that the leader sends a snapshot to
        self.quota: int | None = None
        self.cut: set[tuple[int, int]] = set()  # (one, other): the one has no live stream to the other
        self.before: Callable[[str], None] = lambda call: None
        self.real_hang = 0.0  # seconds of real time that a hung member takes
        self.turn = threading.RLock()
        self._next_id = 0x100

    def process(self, name: str) -> Process:
        """Return the process behind a member's client URL."""
        return self.at[client_url(name)]

    def start(self, name: str, *, lag: int = 0, advertises: tuple[str, ...] = ()) -> Process:
        """Start the member that was added on this name's seat: it publishes itself and connects."""
        member = next(m for m in self.members.values() if peer_url(name) in m.peer_urls)
        self.members[member.id] = replace(member, name=name, client_urls=advertises or (client_url(name),))
        now = self.clock.monotonic()
        self.at[client_url(name)] = Process(member.id, lag=lag, connected_since=now)
        return self.at[client_url(name)]

    def restart(self, member_id: int, name: str, client_urls: tuple[str, ...], *, lag: int = 0) -> Process:
        """Start a member that has its data: it publishes itself again, perhaps elsewhere."""
        self.members[member_id] = replace(self.members[member_id], name=name, client_urls=client_urls)
        self.at = {url: p for url, p in self.at.items() if p.member_id != member_id}
        started = Process(member_id, lag=lag, connected_since=self.clock.monotonic())
        self.at[client_urls[0]] = started
        return started

    def called(self, name: str) -> int:
        """Tell how often a call was made."""
        return sum(call == name for call, _ in self.calls)

    def raise_alarm(self, name: str, kind: str) -> None:
        """Raise an alarm about a member, which every member then reports."""
        self.raised.append(Alarm(IDS[name], kind))

    def running(self, member_id: int) -> Process | None:
        """Return the live process of a member."""
        return next((p for p in self.at.values() if p.member_id == member_id and p.live), None)

    def voters(self) -> list[int]:
        """Return the ids of the voters."""
        return [member.id for member in self.members.values() if not member.is_learner]

    def has_quorum(self) -> bool:
        """Tell whether enough voters live; a dead leader is succeeded by the first of them."""
        live = [member_id for member_id in self.voters() if self.running(member_id)]
        enough = len(live) >= quorum(len(self.voters()))
        if enough and self.leader_id not in live:
            self.leader_id, self.term = live[0], self.term + 1
        return enough

    def settled(self) -> list[int]:
        """Return the voters that have been connected for etcd's 5 s."""
        now = self.clock.monotonic()
        found = {member_id: self.running(member_id) for member_id in self.voters()}
        return [i for i, p in found.items() if p and now - p.connected_since >= HEALTH_INTERVAL]

    def new_id(self) -> int:
        """Return an id that nobody had."""
        self._next_id += 1
        return self._next_id

    def drop_expired(self) -> None:
        """Let leases end, with their keys."""
        now = self.clock.monotonic()
        for lease in [lease for lease, (_, end) in self.leases.items() if end <= now]:
            self.drop_lease(lease)

    def drop_lease(self, lease: int) -> None:
        """End a lease, with its keys."""
        if self.leases.pop(lease, None):
            self.keys = {key: kv for key, kv in self.keys.items() if kv.lease != lease}
            self.revision += 1
