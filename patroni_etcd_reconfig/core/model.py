"""What is known of an etcd cluster, of the Patroni clusters on it, and of its nodes, in one look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


def format_id(member_id: int) -> str:
    """Return a member or cluster id as etcdctl and etcd's logs show it: hex, no leading zeros."""
    return f"{member_id:x}"


class Health(str, Enum):
    """How a member is doing, as far as one look can tell."""

    HEALTHY = "healthy"  # answers, no error of its own, and a linearizable read through it worked
    UNHEALTHY = "unhealthy"  # answers, but has no leader, an alarm, or can't serve a linearizable read
    UNSTARTED = "unstarted"  # in the member list, but has never published a name
    UNREACHABLE = "unreachable"  # did not answer in time


@dataclass(frozen=True)
class Member:
    """One row of etcd's member list."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...] = ()
    is_learner: bool = False

    @property
    def started(self) -> bool:
        """True once the member has published its name: etcd's own definition."""
        return bool(self.name)


@dataclass(frozen=True)
class MemberStatus:
    """What one member says of itself (`/v3/maintenance/status`); needs no quorum. Sizes in bytes."""

    cluster_id: int
    member_id: int
    version: str
    db_size: int
    leader_id: int | None
    raft_term: int
    raft_index: int
    raft_applied_index: int
    is_learner: bool = False
    errors: tuple[str, ...] = ()
    db_size_in_use: int | None = None
    db_size_quota: int | None = None  # from the status of etcd 3.6 and later, else from the metrics


@dataclass(frozen=True)
class Alarm:
    """An alarm that is raised in the cluster: NOSPACE or CORRUPT."""

    member_id: int
    kind: str


@dataclass(frozen=True)
class MemberView:
    """A member of the list, together with what it answered when it was asked itself."""

    member: Member
    status: MemberStatus | None = None
    serves_reads: bool = False  # a linearizable read through this member worked
    connected_to: frozenset[int] | None = None  # ids of peers with live streams; None = not known
    sends_snapshot_to: frozenset[int] = frozenset()  # ids of members that receive one from it now
    error: str = ""
    alarms: tuple[str, ...] = ()
    endpoint: str = ""  # the URL at which it answered

    @property
    def health(self) -> Health:
        """Derive the member's health from what it answered."""
        if not self.member.started and self.status is None:
            return Health.UNSTARTED
        if self.status is None:
            return Health.UNREACHABLE
        sound = self.serves_reads or self.member.is_learner
        return Health.HEALTHY if sound and not self.status.errors and not self.alarms else Health.UNHEALTHY

    @property
    def id(self) -> int:
        """Return the member's id."""
        return self.member.id


@dataclass(frozen=True)
class Stranger:
    """A member that answers where the cluster's members should be, and is none of them.

    `name` as it calls itself; empty when it did not say. `serves_reads`: it has a majority of its own.
    """

    url: str
    cluster_id: int
    member_id: int
    name: str = ""
    serves_reads: bool = False


@dataclass(frozen=True)
class EtcdView:
    """An etcd cluster in one look. `members` is the list of a member that served a linearizable read."""

    cluster_id: int
    members: tuple[MemberView, ...]
    leader_id: int | None
    revision: int = 0
    linearizable: bool = True  # False: nobody served a linearizable read, so the list may be stale
    strangers: tuple[Stranger, ...] = ()

    @property
    def voters(self) -> tuple[MemberView, ...]:
        """Return the voting members, started or not."""
        return tuple(view for view in self.members if not view.member.is_learner)

    @property
    def learners(self) -> tuple[MemberView, ...]:
        """Return the non-voting members."""
        return tuple(view for view in self.members if view.member.is_learner)

    @property
    def healthy_voters(self) -> tuple[MemberView, ...]:
        """Return the voters that are healthy now."""
        return tuple(view for view in self.voters if view.health is Health.HEALTHY)

    def by_id(self, member_id: int | None) -> MemberView | None:
        """Return the member with this id, or None."""
        return next((view for view in self.members if view.id == member_id), None)

    def by_peer_urls(self, peer_urls: tuple[str, ...]) -> MemberView | None:
        """Return the member that has one of these peer URLs, or None."""
        wanted = set(peer_urls)
        return next((view for view in self.members if wanted & set(view.member.peer_urls)), None)

    @property
    def leader(self) -> MemberView | None:
        """Return the raft leader, or None."""
        return self.by_id(self.leader_id)


@dataclass(frozen=True)
class KeyValue:
    """One key of etcd, decoded. `lease` is 0 when there is none."""

    key: str
    value: str
    create_revision: int
    mod_revision: int
    version: int
    lease: int


@dataclass(frozen=True)
class PatroniMember:
    """A Patroni node as its member key says it is. `lag` in bytes behind the leader, None = unknown."""

    name: str
    role: str
    state: str
    timeline: int | None = None
    lag: int | None = None
    host: str = ""
    api_url: str = ""
    version: str = ""  # of Patroni; empty = not told


@dataclass(frozen=True)
class Lease:
    """The lease on a leader key: granted TTL and what is left of it, in seconds, when it was read.

    etcd gives whole seconds, cut off: the real remainder is in [remaining, remaining + 1).
    """

    ttl: float
    remaining: float
    read_at: float  # on the same clock as Observation.at

    @property
    def renewed_after(self) -> float:
        """Return the latest moment before which the last renewal can be ruled out."""
        return self.read_at - (self.ttl - self.remaining)


@dataclass(frozen=True)
class PatroniCluster:
    """One Patroni cluster found under the namespace. Times in seconds."""

    scope: str
    leader: str | None
    lease: Lease | None
    leader_created: int = 0  # create revision of the leader key: changes when the lock was lost
    ttl: float = 30
    loop_wait: float = 10
    retry_timeout: float = 10
    failsafe_mode: bool = False
    failsafe_setting: str | None = None  # JSON text in the dynamic configuration, "" = not set; None = no key
    failsafe_members: tuple[str, ...] = ()  # whom the leader wrote down to ask when the DCS is gone
    failsafe_revision: int = 0  # of the `failsafe` key, which only the leader writes
    paused: bool = False
    failover: str = ""  # what a pending failover or switchover asks for; empty = none
    timeline: int | None = None
    members: tuple[PatroniMember, ...] = ()
    status_revision: int = 0  # of the `status` key, which the leader writes right after a renewal
    standby_cluster: bool = False  # its leader follows another cluster, and never takes writes

    @property
    def write_gap_budget(self) -> float:
        """Return how long, in seconds, the DCS may refuse writes before Patroni can give up.

        Patroni stops retrying up to 3 s before `retry_timeout` is over (its etcd.py gives up when
        less than a second would remain after the next sleep; see patroni issue 1195).
        """
        return max(0.0, self.retry_timeout - 3.0)


@dataclass(frozen=True)
class DataDir:
    """Whose data a data dir holds, read from its write-ahead log."""

    cluster_id: int
    member_id: int


@dataclass(frozen=True)
class NodeView:
    """What node control says of one node. Sizes in bytes. `problem` is empty when all could be read."""

    name: str
    problem: str = ""
    service_active: bool = False
    data_present: bool = False
    data: DataDir | None = None  # None with data_present: the directory holds no readable write-ahead log
    data_free_bytes: int | None = None
    data_is_mount: bool = False
    config_problem: str = ""
    set_aside: tuple[str, ...] = ()  # directories beside it that an operation set aside, the newest first
    peer_urls: tuple[str, ...] = ()  # that the inventory gives; empty = those of the running member
    client_urls: tuple[str, ...] = ()
    database_bytes: int | None = None  # on its disk, with what it is receiving; None = not known
    data_bytes: int | None = None  # size of all files of the data dir


@dataclass(frozen=True)
class PatroniHosts:
    """The etcd endpoints (host:port) that one Patroni configuration lists for its next start."""

    source: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """What the journal adds to what can be seen: the steps' traces that leave no mark in etcd."""

    snapshot: str = ""  # path of the verified snapshot of this operation
    settled: frozenset[int] = frozenset()  # ids of members this operation has proven settled
    joined: Mapping[int, float] = field(default_factory=dict)  # id -> when it was first seen connected
    restarted: frozenset[int] = frozenset()  # ids of members this operation has restarted
    copied: frozenset[int] = frozenset()  # ids of members whose data was copied since they were stopped
    versions: Mapping[int, str] = field(default_factory=dict)  # id -> what it ran when its upgrade began
    discarded: frozenset[int] = frozenset()  # ids of members whose copy was given up
    verified: bool = False
    shields: Mapping[str, str] = field(default_factory=dict)  # scope -> failsafe_mode before we turned it on
    shielded: frozenset[str] = frozenset()  # scopes whose Patroni was seen to act on it


@dataclass(frozen=True)
class Observation:
    """Everything that one look gathered. `at` is a monotonic time in seconds."""

    etcd: EtcdView
    patroni: tuple[PatroniCluster, ...] = ()
    nodes: Mapping[str, NodeView] = field(default_factory=dict)
    patroni_hosts: tuple[PatroniHosts, ...] = ()
    progress: Progress = field(default_factory=Progress)
    state_dir_free_bytes: int | None = None
    at: float = 0.0
