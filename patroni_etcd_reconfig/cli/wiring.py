"""Puts the parts of an operation together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from patroni_etcd_reconfig.adapters.nodes import make_nodes
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.clock import SystemClock
from patroni_etcd_reconfig.core.changes import Change
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import EtcdView, Observation, PatroniCluster
from patroni_etcd_reconfig.core.planner import staying_learners
from patroni_etcd_reconfig.engine.actions import Actions
from patroni_etcd_reconfig.engine.joining import Joining
from patroni_etcd_reconfig.engine.journal import Record
from patroni_etcd_reconfig.engine.lock import Lock
from patroni_etcd_reconfig.engine.loop import Reporter
from patroni_etcd_reconfig.engine.mirror import Mirror
from patroni_etcd_reconfig.engine.moving import Moving
from patroni_etcd_reconfig.engine.operation import Operation
from patroni_etcd_reconfig.engine.pending import unfinished_findings
from patroni_etcd_reconfig.engine.relocating import Relocating
from patroni_etcd_reconfig.engine.returning import Returning
from patroni_etcd_reconfig.engine.roster import Roster
from patroni_etcd_reconfig.engine.sentinel import Sentinel
from patroni_etcd_reconfig.engine.shield import Shielding
from patroni_etcd_reconfig.engine.stopping import Stopping
from patroni_etcd_reconfig.engine.unfinished import prune_copies
from patroni_etcd_reconfig.engine.upgrading import Upgrading
from patroni_etcd_reconfig.engine.verification import Verification
from patroni_etcd_reconfig.engine.world import RealWorld, World
from patroni_etcd_reconfig.errors import ReconfigError
from patroni_etcd_reconfig.observe.everything import Observer


class Wiring:
    """The parts that observe and act for one invocation."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.clock = SystemClock()
        self.nodes = dict(make_nodes(app.inventory))
        self.observer: Observer = app.observer(self.nodes)
        self._lock: Lock | None = None
        self._tell: Callable[[str], None] = lambda _: None
        self._say: Callable[[str], None] = lambda _: None
        self.roster = Roster(app.connector, app.look_deadline)
        self.mirror = Mirror(self.roster)

    def observe(self, *, connections: bool = True) -> Observation:
        """Look at everything, the members' connections included, and remember whom to talk to."""
        seen = self.observer.observe(connections=connections)
        self.roster.update(seen.etcd)
        return seen

    def unfinished(self, cluster_id: int) -> tuple[Finding, ...]:
        """Return a blocker for every operation on this cluster that waits to be resumed."""
        again = partial(self.app.command_line, "resume")
        return unfinished_findings(self.app.state_dir, self.mirror, cluster_id, again)

    def prepare(self, change: Change) -> bool:
        """Know the places that data moves from and to, and new members' URLs, whatever the inventory says.

        Returns whether that is news: they were not looked at yet then.
        """
        moves = [to for to in (*change.relocations, *change.taken_back) if to.target]
        for to in moves:
            name, _, directory = to.target.partition(":")
            node, target = self.nodes.get(to.member.name), self.nodes.get(name)
            if node and target:
                same = bool(directory)  # then its configuration may name either
                self.nodes[to.member.name] = node.at(to.source_dir, to.target_dir if same else to.source_dir)
                self.nodes[to.target] = target.at(to.target_dir, to.source_dir if same else to.target_dir)
        return self.know_addresses(change) or bool(moves)

    def know_addresses(self, change: Change) -> bool:
        """Know where to ask new members while they hide behind others' URLs; tell whether that is news."""
        known = self.observer.etcd.addresses
        named = {seat.name: seat.client_urls for seat in change.seats if seat.client_urls}
        self.observer.etcd.addresses = {**known, **named}
        return known != self.observer.etcd.addresses

    def journal_path(self, operation_id: str) -> Path:
        """Return where the journal of an operation lies."""
        return self.app.state_dir / "operations" / f"{operation_id}.jsonl"

    def operation(
        self,
        operation_id: str,
        change: Change,
        reporter: Reporter,
        findings: tuple[Finding, ...] = (),
        goal: str = "done",
    ) -> Operation:
        """Return the operation, ready to run."""
        self._lock = Lock(self.roster.voters, self.app.policy.lock_ttl, self.clock)
        self._tell = reporter.progress
        self._say = reporter.say
        return Operation(
            operation_id=operation_id,
            change=change,
            policy=self.app.policy,
            clock=self.clock,
            reporter=reporter,
            lock=self._lock,
            sentinel=Sentinel(self.roster.voters, self._patroni, self.app.policy.probe_interval, self.clock),
            world_for=self._world,
            observe=partial(self.observe, connections=False),
            observe_patroni=self._patroni,
            flush_copies=self._end_copies,
            resume_hint=self.app.command_line("resume"),
            findings=findings,
            goal=goal,
        )

    def _end_copies(self) -> None:
        """Best effort: an operation does not fail for its copies, nor for those of others."""
        self.mirror.flush()
        with suppress(ReconfigError):
            prune_copies(self.app.state_dir, self.mirror, self.app.policy.journal_copies)

    def _still_ours(self) -> None:
        if self._lock:
            self._lock.check()

    def _etcd(self, *, connections: bool = False) -> EtcdView:
        etcd = self.observer.etcd.look(connections=connections)
        self.roster.update(etcd)
        return etcd

    def _patroni(self) -> tuple[PatroniCluster, ...]:
        return self.observer.look_at_patroni(self.roster.seen)

    def _world(self, record: Record, change: Change) -> World:
        verification = Verification(
            self.roster,
            self.app.policy,
            self.clock,
            self._etcd,
            self._patroni,
            lambda: record.last_change_at,
            staying_learners(change),
            frozenset(change.subjects) if change.verb == "abort" else None,
        )
        actions = self._actions(record, verification)
        return RealWorld(self.observer, self.roster, change, actions.act)

    def _actions(self, record: Record, verification: Verification) -> Actions:
        policy, clock, operation_id = self.app.policy, self.clock, record.operation_id
        links = partial(self._etcd, connections=True)
        returning = Returning(
            self.nodes, policy, clock, links, Stopping(self.roster, self._etcd, self._still_ours).may_stop
        )
        return Actions(
            roster=self.roster,
            nodes=self.nodes,
            policy=policy,
            clock=clock,
            operation_id=operation_id,
            snapshots=self.app.state_dir / "snapshots",
            observe_etcd=self._etcd,
            observe_links=links,
            progress=lambda: record.progress,
            verification=verification,
            joining=self._joining(record, links),
            shielding=self._shielding(),
            relocating=Relocating(
                self.roster, self.nodes, returning, operation_id, policy.step_timeout, self._still_ours
            ),
            upgrading=Upgrading(self.nodes, returning, self._etcd, self._say),
            moving=self._moving(operation_id, returning),
            still_ours=self._still_ours,
        )

    def _joining(self, record: Record, links: Callable[[], EtcdView]) -> Joining:
        return Joining(
            self.roster,
            self.nodes,
            self.app.policy,
            self.clock,
            record.operation_id,
            self._etcd,
            links,
            self._still_ours,
            lambda: record.progress.joined,
            self._tell,
        )

    def _shielding(self) -> Shielding:
        namespace, policy = self.app.patroni.namespace, self.app.policy
        return Shielding(self.roster, namespace, policy, self.clock, self._patroni, self._still_ours)

    def _moving(self, operation_id: str, returning: Returning) -> Moving:
        return Moving(
            self.roster,
            self.nodes,
            returning,
            self.app.policy,
            self.clock,
            operation_id,
            self._etcd,
            self._say,
            self._tell,
            self._still_ours,
        )
