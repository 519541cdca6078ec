"""The seams: what the engine needs from etcd, nodes, clocks and journals, as Protocols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from patroni_etcd_reconfig.core.model import Alarm, KeyValue, Member, MemberStatus, NodeView

if TYPE_CHECKING:  # only recovery needs them
    from patroni_etcd_reconfig.core.recovery.evidence import DataDirFacts
    from patroni_etcd_reconfig.core.recovery.postgres_facts import ControlFacts, SqlFacts


@dataclass(frozen=True)
class MemberList:
    """The member list as one member knows it. Stale on a partitioned 3.4 member: do a range first."""

    cluster_id: int
    answered_by: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class RangeResult:
    """Keys in order, and the store's revision when they were read."""

    revision: int
    kvs: tuple[KeyValue, ...]


@dataclass(frozen=True)
class LeaseLeft:
    """A lease's granted TTL and what is left of it, in whole seconds; `remaining` -1 = gone."""

    ttl: int
    remaining: int


@dataclass(frozen=True)
class Metrics:
    """What a member's own metrics tell that no call does. `quota` in bytes, None = not told."""

    connected: frozenset[int]  # ids of the peers it has live streams with
    sends_snapshot_to: frozenset[int] = frozenset()  # ids of the members that receive one from it now
    quota: int | None = None


@dataclass(frozen=True)
class HashKv:
    """The hash of all keys up to a revision; comparable between members when `compact_revision` agrees."""

    hash: int
    compact_revision: int


@dataclass(frozen=True)
class SnapshotInfo:
    """A received snapshot: bytes of the database (without the trailing digest) and its SHA-256."""

    size: int
    sha256: str


class EtcdApi(Protocol):
    """One etcd member, one attempt per call, an explicit timeout; errors are subclasses of EtcdError."""

    @property
    def endpoint(self) -> str:
        """Return the client URL that this client talks to."""

    def within(self, seconds: float) -> EtcdApi:
        """Return the same client with another total timeout per call, in seconds."""

    def member_list(self) -> MemberList:
        """Return the member list as this member knows it (a local read on etcd 3.4)."""

    def status(self) -> MemberStatus:
        """Return what the member says of itself; needs no quorum."""

    def alarms(self) -> tuple[Alarm, ...]:
        """Return the alarms that are raised in the cluster."""

    def disarm(self, alarm: Alarm) -> None:
        """Take an alarm away; sent once."""

    def metrics(self) -> Metrics | None:
        """Return what the member's metrics tell; None where they are not served at the client URL."""

    def hash_kv(self, revision: int) -> HashKv | None:
        """Return the hash of the key space at a revision; None where the version doesn't offer it."""

    def add_learner(self, peer_urls: tuple[str, ...]) -> Member:
        """Add a learner; sent once."""

    def remove_member(self, member_id: int) -> None:
        """Remove a member by id; sent once."""

    def update_member(self, member_id: int, peer_urls: tuple[str, ...]) -> None:
        """Change a member's peer URLs in the list; sent once. Never on a learner (etcd issue 21694)."""

    def promote_member(self, member_id: int) -> None:
        """Promote a learner; sent once."""

    def transfer_leadership(self, target_id: int) -> None:
        """Move raft leadership from this member, which must lead, to a voter; sent once."""

    def snapshot(self, sink: BinaryIO) -> SnapshotInfo:
        """Stream a snapshot into `sink`, digest included, and check the digest. Needs no quorum."""

    def range(self, key: str, *, prefix: bool = False, serializable: bool = False) -> RangeResult:
        """Read a key, or all keys with a prefix; linearizable unless `serializable`."""

    def put(self, key: str, value: str, *, lease: int = 0) -> int:
        """Write a key; return the new revision."""

    def put_if_absent(self, key: str, value: str, *, lease: int) -> KeyValue | None:
        """Create a key; return None when created, else the key that is there already."""

    def put_if_unchanged(self, key: str, value: str, *, mod_revision: int) -> int | None:
        """Write a key that is still as it was at this revision; return the new one, None when it is not."""

    def delete(self, key: str, *, prefix: bool = False) -> int:
        """Delete a key or a prefix; return how many keys went."""

    def delete_if_unchanged(self, key: str, *, mod_revision: int) -> bool:
        """Delete a key that is still as it was at this revision; return whether it was. Sent once."""

    def grant_lease(self, ttl: int) -> int:
        """Grant a lease of `ttl` seconds; return its id."""

    def keep_alive(self, lease: int) -> bool:
        """Renew a lease once; False when it is gone."""

    def revoke_lease(self, lease: int) -> None:
        """Revoke a lease, with every key on it; a lease that is gone already is fine."""

    def lease_left(self, lease: int) -> LeaseLeft:
        """Return what is left of a lease."""


class EtcdConnector(Protocol):
    """Makes clients with the user's TLS and credentials."""

    def __call__(self, url: str, timeout: float) -> EtcdApi:
        """Return a client for one client URL; `timeout` is the total per call, in seconds."""


@dataclass(frozen=True)
class DataEntry:
    """A file or directory of a data dir. `path` is relative, "" for the data dir itself; size in bytes."""

    path: str
    directory: bool
    size: int
    mode: int
    uid: int
    gid: int
    modified_ns: int


class DataTree(Protocol):
    """The data dir of a stopped member, to be copied from or to. Errors: NodeControlError."""

    @property
    def place(self) -> str:
        """Return the directory."""

    def entries(self) -> tuple[DataEntry, ...]:
        """Return what is in it, directories before what they hold; empty when there is nothing."""

    def read(self, path: str) -> Iterator[bytes]:
        """Read one file, piece by piece."""

    def stage(self, entry: DataEntry, pieces: Iterator[bytes], label: str) -> str:
        """Write an entry to `<place>.<label>.part`, durably; return the SHA-256 of a file as it is read back.

        Owner, mode and time are those of the entry.
        """

    def staged(self, label: str) -> DataTree:
        """Return what was staged and not adopted, to be read; nothing can be started there."""

    def adopt(self, label: str) -> None:
        """Give what was staged its place, durably, in one step; what is there already is an error."""

    def discard(self, label: str) -> None:
        """Delete what was staged and not adopted."""


class NodeControl(Protocol):
    """One node: its etcd service, configuration and data dir. Errors: NodeControlError."""

    @property
    def name(self) -> str:
        """Return the member's name in the inventory."""

    @property
    def peer_urls(self) -> tuple[str, ...]:
        """Return the peer URLs the inventory gives; empty = those of the running member."""

    @property
    def client_urls(self) -> tuple[str, ...]:
        """Return the client URLs the inventory gives; empty = those of the running member."""

    def settings(self) -> Mapping[str, str]:
        """Return the etcd settings in the node's configuration file, by flag name."""

    def look(self) -> NodeView:
        """Read the node's state; never changes anything, never raises for what a NodeView can say."""

    def read_data(self, namespace: str) -> DataDirFacts | None:
        """Read the data dir without changing anything; None when it holds no write-ahead log.

        `namespace` is that of Patroni's keys, which are read from its database.
        """

    def stop(self, *, at_once: bool = False) -> None:
        """Stop the service and return when it is down; a service that is down already is fine.

        `at_once`: its clients shall see a broken connection, not what etcd answers while it ends.
        """

    def start(self) -> None:
        """Start the service; does not wait until etcd answers."""

    def run_command(self, line: str, timeout: float) -> None:
        """Run an operator's command with the node's placeholders filled in, without a shell.

        NodeControlError when it fails or takes longer than `timeout` seconds, with its last lines.
        """

    def program_version(self) -> str:
        """Return the version of the program that its service would start now; "" where that is not known."""

    def at(self, data_dir: str, other: str) -> NodeControl:
        """Return the same node with its data in `data_dir`; its configuration may still name the other."""

    def tree(self) -> DataTree:
        """Return the data dir, to be copied."""

    def set_data_aside(self, label: str, *, fence: bool = False) -> tuple[str, ...]:
        """Rename the data dir (and a separate WAL dir) to `<dir>.<label>`, durably; return the new paths.

        A directory that is not there is fine (done before); an existing target is an error. With `fence` what
        is left in its place is a directory that no etcd starts in, from the rename on; it counts as empty.
        """

    def lift_fence(self) -> None:
        """Let etcd start in a data dir that was fenced; one that was not is fine."""

    def write_config(self, settings: Mapping[str, str], label: str) -> None:
        """Set these etcd settings (flag names without dashes in front) in the node's configuration file.

        Atomic; keeps all else in the file, its owner and mode; the former file stays as `<file>.<label>`.
        """


class PatroniRestApi(Protocol):
    """Asks Patronis over their REST API; needs no DCS."""

    def __call__(self, url: str, timeout: float) -> Mapping[str, Any]:
        """Return the answer to GET /patroni of a base URL; `timeout` is the total, in seconds.

        Raises UnreachableError when nobody answers, or it is no Patroni.
        """

    def failsafe(self, url: str, timeout: float) -> Mapping[str, str]:
        """Return the other members' API URLs by name, as a Patroni with failsafe_mode remembers them.

        Needs no DCS. Empty without failsafe_mode, and where nobody answers.
        """


class PostgresApi(Protocol):
    """Asks PostgreSQL servers; ends within a few seconds whatever they do."""

    def __call__(self, host: str, port: int) -> SqlFacts:
        """Return what a server says of itself; UnreachableError with its own words when it doesn't."""


class ControlDataApi(Protocol):
    """Reads the control file of the PostgreSQL on this machine."""

    def __call__(self) -> ControlFacts:
        """Return what the control file says; UnreachableError when it can't be read."""


class Clock(Protocol):
    """Time as an argument."""

    def monotonic(self) -> float:
        """Return a monotonic time in seconds."""

    def wall(self) -> float:
        """Return seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
