"""The engine's real parts on an etcd in memory, with nodes that start its members."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from patroni_etcd_reconfig.core.changes import MemberRef, Seat, reference
from patroni_etcd_reconfig.core.model import (
    DataDir,
    EtcdView,
    NodeView,
    Observation,
    PatroniCluster,
    Progress,
)
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.recovery.evidence import DataDirFacts
from patroni_etcd_reconfig.core.steps import Step
from patroni_etcd_reconfig.engine.actions import Actions
from patroni_etcd_reconfig.engine.joining import Joining
from patroni_etcd_reconfig.engine.moving import Moving
from patroni_etcd_reconfig.engine.relocating import Relocating
from patroni_etcd_reconfig.engine.returning import Returning
from patroni_etcd_reconfig.engine.roster import Roster
from patroni_etcd_reconfig.engine.shield import Shielding
from patroni_etcd_reconfig.engine.stopping import Stopping
from patroni_etcd_reconfig.engine.upgrading import Upgrading
from patroni_etcd_reconfig.engine.verification import Verification
from patroni_etcd_reconfig.engine.world import Facts
from patroni_etcd_reconfig.errors import NodeControlError
from patroni_etcd_reconfig.observe.etcd import EtcdObserver
from patroni_etcd_reconfig.ports import DataEntry
from tests.core.builders import IDS, node
from tests.fake_etcd import FakeEtcd, Process, client_url, peer_url

from .fakes import FakeClock

OPERATION = "20260101T000000Z-cycle-abc123"


def seat(name: str) -> Seat:
    """Return a member's seat."""
    return Seat(name, (peer_url(name),))


@dataclass
class FakeNode:
    """NodeControl of one node: its first `exits` starts end at once, later ones run the seat's member."""

    etcd: FakeEtcd
    view: NodeView
    exits: int = 0
    complains: bool = False  # as systemctl does when a start of Type=notify ends at once
    lag: int = 0
    starts: int = 0
    stops: int = 0
    at_once: bool = False  # how it was stopped last
    written: dict[str, str] = field(default_factory=dict)
    aside: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    version: str = "3.4.23"
    modified: int = 1  # when its etcd wrote last
    staged: dict[str, bytes] = field(default_factory=dict)
    staged_at: int = 0
    fenced: bool = False
    names_program: bool = False

    def run_command(self, line: str, timeout: float) -> None:
        self.commands.append(line)
        if line.startswith("fail"):
            raise NodeControlError(f"{self.name}: the command: exit code 1")
        self.version = line.removeprefix("install ")

    def program_version(self) -> str:
        return self.version if self.names_program else ""

    def at(self, data_dir: str, other: str) -> FakeNode:
        return self

    def tree(self) -> FakeTree:
        return FakeTree(self)

    @property
    def name(self) -> str:
        return self.view.name

    @property
    def peer_urls(self) -> tuple[str, ...]:
        return ()

    @property
    def client_urls(self) -> tuple[str, ...]:
        return ()

    def settings(self) -> Mapping[str, str]:
        return self.written

    def look(self) -> NodeView:
        return self.view

    def read_data(self, namespace: str) -> DataDirFacts | None:
        return None

    def stop(self, *, at_once: bool = False) -> None:
        self.stops, self.at_once = self.stops + 1, at_once
        self.view = replace(self.view, service_active=False)
        for process in self.etcd.at.values():
            if self.view.data and process.member_id == self.view.data.member_id:
                process.up = False
        if client_url(self.name) in self.etcd.at:
            self.etcd.process(self.name).up = False

    def start(self) -> None:
        self.starts += 1
        if self.starts <= self.exits and self.complains:
            raise NodeControlError(f"{self.name}: the start command: exit code 1")
        if self.starts > self.exits:
            data = DataDir(self.etcd.cluster_id, self._run().member_id)
            self.modified += 1
            self.view = replace(self.view, service_active=True, data_present=True, data=data)

    def _run(self) -> Process:
        """With the data of a member it is that member, where its configuration says; else the seat's."""
        member = self.etcd.members.get(self.view.data.member_id) if self.view.data else None
        written = self.written.get("advertise-client-urls", "")
        urls = tuple(written.split(",")) if written else ()
        if member is None:
            return self.etcd.start(self.name, lag=self.lag, advertises=urls)
        urls = urls or member.client_urls
        process = self.etcd.restart(member.id, self.name, urls, lag=self.lag)
        process.version = self.version
        return process

    def set_data_aside(self, label: str, *, fence: bool = False) -> tuple[str, ...]:
        if not self.view.data_present:
            return ()
        self.aside.append(label)
        path = f"/data/{self.name}.{label}"
        self.view = replace(self.view, data_present=False, data=None, set_aside=(path,))
        self.fenced = fence
        return (path,)

    def lift_fence(self) -> None:
        self.fenced = False

    def write_config(self, settings: Mapping[str, str], label: str) -> None:
        self.written.update(settings)


@dataclass
class FakeTree:
    """A data dir of two files: whose data it is, and something large."""

    node: FakeNode

    @property
    def place(self) -> str:
        return f"/data/{self.node.name}"

    def entries(self) -> tuple[DataEntry, ...]:
        if self.node.view.data is None:
            return ()
        sizes = {"wal": len(self._content("wal")), "db": len(self._content("db"))}
        files = [DataEntry(p, False, n, 0o600, 0, 0, self.node.modified) for p, n in sizes.items()]
        return (DataEntry("", True, 0, 0o700, 0, 0, 0), *files)

    def read(self, path: str) -> Iterator[bytes]:
        content = self._content(path)
        yield content[:10]
        yield content[10:]

    def _content(self, path: str) -> bytes:
        data = self.node.view.data
        assert data is not None
        return f"{data.cluster_id} {data.member_id}".encode() if path == "wal" else b"x" * 50

    def stage(self, entry: DataEntry, pieces: Iterator[bytes], label: str) -> str:
        content = b"".join(pieces)
        self.node.staged[entry.path] = content
        self.node.staged_at = entry.modified_ns or self.node.staged_at
        return hashlib.sha256(content).hexdigest()

    def adopt(self, label: str) -> None:
        cluster, member = map(int, self.node.staged["wal"].split())
        self.node.view = replace(self.node.view, data_present=True, data=DataDir(cluster, member))
        self.node.staged = {}
        self.node.modified = self.node.staged_at

    def staged(self, label: str) -> FakeStaged:
        return FakeStaged(self.node)

    def discard(self, label: str) -> None:
        self.node.staged = {}


@dataclass
class FakeStaged(FakeTree):
    """A copy that has no place yet."""

    def entries(self) -> tuple[DataEntry, ...]:
        held = self.node.staged
        files = [DataEntry(p, False, len(held[p]), 0o600, 0, 0, self.node.staged_at) for p in held if p]
        return (DataEntry("", True, 0, 0o700, 0, 0, 0), *files) if held else ()

    def _content(self, path: str) -> bytes:
        return self.node.staged[path]


class Rig:
    """Everything that `Wiring` puts together, on a fake etcd."""

    def __init__(self, *names: str, policy: Policy | None = None, snapshots: Path = Path("/nowhere")) -> None:
        self.clock = FakeClock()
        self.etcd = FakeEtcd(*names, clock=self.clock)
        self.policy = policy or Policy(step_timeout=7.0)
        self.observer = EtcdObserver(self.etcd.connect, tuple(map(client_url, names)), deadline=2.0)
        self.roster = Roster(self.etcd.connect, 1.0)
        self.nodes = {name: FakeNode(self.etcd, node(name)) for name in names}
        self.progress = Progress()
        self.patroni: tuple[PatroniCluster, ...] = ()
        self.last_change = 0.0
        self.joining = Joining(
            self.roster, self.nodes, self.policy, self.clock, OPERATION, self.look, self.look_at_links
        )
        self.verification = Verification(
            self.roster, self.policy, self.clock, self.look, lambda: self.patroni, lambda: self.last_change
        )
        self.shielding = Shielding(self.roster, "/service/", self.policy, self.clock, lambda: self.patroni)
        returning = Returning(self.nodes, self.policy, self.clock, self.look_at_links, self.may_stop)
        self.said: list[str] = []
        self.before_stop: Callable[[], object] = list
        self.still_ours: Callable[[], None] = lambda: None
        self.actions = Actions(
            roster=self.roster,
            nodes=self.nodes,
            policy=self.policy,
            clock=self.clock,
            operation_id=OPERATION,
            snapshots=snapshots,
            observe_etcd=self.look,
            observe_links=self.look_at_links,
            progress=lambda: self.progress,
            verification=self.verification,
            joining=self.joining,
            shielding=self.shielding,
            relocating=Relocating(self.roster, self.nodes, returning, OPERATION, self.policy.step_timeout),
            upgrading=Upgrading(self.nodes, returning, self.look, self.said.append),
            moving=Moving(
                self.roster,
                self.nodes,
                returning,
                self.policy,
                self.clock,
                OPERATION,
                self.look,
                self.said.append,
            ),
        )
        self.look()

    def may_stop(self, member: MemberRef, *seats: Seat) -> None:
        """Take the last look before a stop, at which a test may let something happen."""
        self.before_stop()
        Stopping(self.roster, self.look, self.still_ours).may_stop(member, *seats)

    def look(self) -> EtcdView:
        """Look at etcd and remember whom to talk to."""
        etcd = self.observer.look()
        self.roster.update(etcd)
        return etcd

    def look_at_links(self) -> EtcdView:
        """Look at etcd, with the members' connections."""
        etcd = self.observer.look(connections=True)
        self.roster.update(etcd)
        return etcd

    def act(self, step: Step) -> Facts:
        """Do one step."""
        return self.actions.act(step, Observation(self.look()))

    def ref(self, name: str) -> MemberRef:
        """Return the reference to a first member."""
        return reference(self.etcd.members[IDS[name]])

    def remove(self, name: str) -> None:
        """Take a first member away behind the engine's back, with its process and data."""
        del self.etcd.members[IDS[name]]
        self.etcd.at.pop(client_url(name), None)
        self.nodes[name].view = NodeView(name)
        self.look()

    def vacate(self, name: str) -> None:
        """Replace a first member by a learner that was added and never ran."""
        self.remove(name)
        self.etcd.connect(client_url("a"), 1.0).add_learner((peer_url(name),))
        self.look()
