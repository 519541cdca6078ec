"""What is known of an etcd that lost its majority, of its data, and of the PostgreSQL nodes on it.

Everything here is read, never derived from what should be. Evidence of several machines can be merged:
of the same node the piece that knows more counts, then the later one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from patroni_etcd_reconfig.core.model import KeyValue, Member, MemberStatus


@dataclass(frozen=True)
class DataDirFacts:
    """What a data dir holds, from its write-ahead log and its database; nothing in it was changed.

    Raft order is (`last_term`, `last_index`): who is ahead of whom. `commit` is what the last HardState
    says; the real commit index can be higher. `problems` names what is damaged; a torn tail is normal
    after a crash and is no problem.
    """

    path: str
    cluster_id: int
    member_id: int
    term: int
    vote: int
    commit: int
    last_term: int
    last_index: int
    consistent_index: int | None = None  # of the database: what has been applied to it; None = not readable
    revision: int | None = None  # of the key space in the database; trails the log
    is_learner: bool | None = None  # as its own store says; None = not known
    is_removed: bool = False  # its own store says that it was removed from the cluster
    members: tuple[Member, ...] = ()  # the membership that its store knows
    keys: tuple[KeyValue, ...] = ()  # Patroni's keys in its database; may trail what was committed
    torn_tail: bool = False
    problems: tuple[str, ...] = ()
    size: int = 0  # bytes on disk
    auth_roots: tuple[str, ...] | None = None  # users with etcd's role root; None: no authentication is on
    last_written_at: float | None = None  # wall time of the last change to the log or the database


@dataclass(frozen=True)
class LiveMember:
    """What a running member says of itself, which needs no quorum."""

    status: MemberStatus
    members: tuple[Member, ...] = ()
    quorate: bool = False  # it served a linearizable read
    keys: tuple[KeyValue, ...] = ()  # Patroni's keys as it knows them (a serializable read)
    hears_leader: bool | None = None  # it has a live connection to whom it takes for the leader


@dataclass(frozen=True)
class NodeEvidence:
    """One etcd node. A node that nobody could look at has `reachable` False and says why in `problem`."""

    name: str
    host: str = ""
    peer_urls: tuple[str, ...] = ()
    client_urls: tuple[str, ...] = ()
    reachable: bool = False  # node control worked: its service and its disk were looked at
    service_active: bool | None = None  # None = not known
    answers: bool = False  # an etcd answers on its client URL, be it that it tells nothing without a login
    live: LiveMember | None = None
    data: DataDirFacts | None = None
    data_present: bool | None = None  # None = not known
    data_free_bytes: int | None = None
    config_problem: str = ""
    set_aside: tuple[str, ...] = ()  # directories beside its data that operations set aside, the newest first
    problem: str = ""
    collected_by: str = ""  # host that looked
    collected_at: float = 0.0  # wall time


@dataclass(frozen=True)
class PostgresEvidence:
    """One PostgreSQL node, as Patroni's REST API, PostgreSQL itself, or its control file tells.

    `lsn` is how far it surely got, in bytes: what is flushed on a primary, the further of received and
    replayed on a standby, a lower bound from the control file when it is down.
    """

    scope: str
    name: str
    host: str = ""
    api_url: str = ""
    port: int = 0  # of PostgreSQL; 0 = nothing names it
    source: str = "none"  # sql, rest, controldata, none
    running: bool | None = None
    in_recovery: bool | None = None
    timeline: int | None = None
    lsn: int | None = None
    lsn_is_exact: bool = False  # False: a lower bound
    may_replay_more: bool = (
        False  # a standby that runs, and may have WAL on disk that it has not replayed yet
    )
    system_identifier: str = ""
    patroni_answers: bool = False
    patroni_state: str = ""
    patroni_version: str = ""
    patroni_role: str = (
        ""  # as its Patroni says; `in_recovery` is PostgreSQL's own word where it has been asked
    )
    patroni_system_identifier: str = ""
    paused: bool | None = None
    failsafe_active: bool | None = None
    sync_standby_names: str | None = None  # PostgreSQL's own synchronous_standby_names
    sync_standbys: tuple[str, ...] = ()  # application names of standbys that are synchronous now
    is_sync_standby: bool | None = None  # as its Patroni says
    tags: tuple[str, ...] = ()  # of nofailover, nosync, nostream, noloadbalance: those that are set
    timeline_history: tuple[tuple[int, int, str], ...] = ()  # (timeline, LSN where it ended, reason)
    problem: str = ""
    collected_by: str = ""
    collected_at: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """All that one or several collections found. `namespace` as in the Patroni file."""

    namespace: str
    nodes: tuple[NodeEvidence, ...] = ()
    postgres: tuple[PostgresEvidence, ...] = ()
    collected_at: float = 0.0
    collectors: tuple[str, ...] = field(default=())  # hosts, each once

    def node(self, name: str) -> NodeEvidence | None:
        """Return the evidence on one etcd node."""
        return next((node for node in self.nodes if node.name == name), None)

    def has_leader(self, live: LiveMember) -> bool:
        """Tell whether this member's word proves a raft leader, and with it a majority, or a moment ago.

        A learner does not campaign, so it never learns that its leader is gone (raft.go, tickElection): its
        word counts while it is connected to that one, unless that one answers us and can speak for itself.
        """
        leader = live.status.leader_id
        if leader is None or not live.status.is_learner:
            return leader is not None
        speaks = any(node.live and node.live.status.member_id == leader for node in self.nodes)
        return live.hears_leader is not False and not speaks

    def scope(self, scope: str) -> tuple[PostgresEvidence, ...]:
        """Return the PostgreSQL nodes of one Patroni cluster."""
        return tuple(one for one in self.postgres if one.scope == scope)
