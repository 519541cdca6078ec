"""What is done to nodes in a recovery: stop, copy, fence, start. Nothing is deleted (law 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from patroni_etcd_reconfig.clock import wait_until
from patroni_etcd_reconfig.core.model import format_id
from patroni_etcd_reconfig.core.recovery.model import Fence, RecoveryPlan, Survivor
from patroni_etcd_reconfig.engine.recovery.isolation import AGAIN, RecoveryBlockedError
from patroni_etcd_reconfig.engine.recovery.loop import Facts
from patroni_etcd_reconfig.engine.snapshot import save_snapshot
from patroni_etcd_reconfig.errors import EtcdError, NodeControlError, StepFailedError
from patroni_etcd_reconfig.parallel import gather
from patroni_etcd_reconfig.ports import Clock, EtcdApi, EtcdConnector, NodeControl

T = TypeVar("T")

STEPPING_DOWN = 5.0  # seconds in which a leader without a quorum knows it (checkQuorum: one election timeout)
NODE_WORK = 120.0  # seconds for the commands of one node
PORTS_CLOSE = 5.0  # seconds after which a stopped etcd's ports must be closed
CALL = 2.0  # seconds
ANSWER = 0.5  # seconds in which a member that serves surely says its status


@dataclass
class Fencing:
    """Handles the services and data of nodes. `port_answers` tells whether anybody accepts at a URL."""

    plan: RecoveryPlan
    nodes: Mapping[str, NodeControl]
    connect: EtcdConnector
    clock: Clock
    operation_id: str
    snapshots: Path
    copy_data: Callable[[str, str], Facts]  # node, label -> where the copy is
    port_answers: Callable[[str], bool]
    say: Callable[[str], None]

    def save_snapshot(self, survivor: Survivor) -> Facts:
        """Snapshot the running survivor; one that does not answer goes without: its data is copied."""
        node = self.nodes[survivor.node]
        client = self._client(node)
        try:
            client.within(ANSWER).status()  # one that was started without a quorum never answers
            revision = client.range("/", serializable=True).revision
            path = self.snapshots / f"{self.operation_id}.db"
            return {**save_snapshot(client, path), "revision_seen": revision}
        except EtcdError as error:
            self.say(
                f"no snapshot of {survivor.node}, which does not answer ({error}): its data dir is copied"
            )
            return {}

    def stop_survivor(self, survivor: Survivor) -> Facts:
        """Stop it once it knows that it does not lead: then there is no quorum on its side."""
        node = self.nodes[survivor.node]
        if node.look().service_active:
            if survivor.running:  # else it has never answered, and has not led
                self._await_no_leader(node)
            _end(node)
        self._await_closed([node.name])
        return {"stopped": survivor.node}

    def back_up(self, survivor: Survivor) -> Facts:
        """Copy the data of the survivor, which must be down."""
        self._must_be_down(survivor.node)
        return self.copy_data(survivor.node, f"backup.{self.operation_id}")

    def fence(self, names: Iterable[str]) -> Facts:
        """Fence all at the same time."""
        fences = {fence.node: fence for fence in self.plan.fence if fence.node in set(names)}
        calls = {name: partial(self._fence, fence) for name, fence in fences.items()}
        aside = self._on_all(calls)
        self._await_closed(fences)
        return {"fenced": {name: list(paths) for name, paths in aside.items()}}

    def start(self, names: Iterable[str]) -> Facts:
        """Start those of this machine that do not run, all at the same time, and name the others."""
        here = [name for name in names if name in self.nodes]
        elsewhere = ", ".join(name for name in names if name not in self.nodes)
        self._on_all({name: partial(self._start, self.nodes[name]) for name in here})
        if elsewhere:
            self.say(
                f"{elsewhere}: not a node that this machine controls: start etcd there, if it does not run"
            )
        return {"started": here}

    def keep_down(self, survivor: Survivor) -> None:
        """Stop the survivor's service, which a boot or somebody may have started: its data is ours now."""
        node = self.nodes[survivor.node]
        if self.is_active(survivor.node):
            self.say(f"the service of {survivor.node} runs again, outside of the quarantine: stopping it")
            _end(node)
            self._await_closed([survivor.node])

    def is_active(self, name: str) -> bool:
        """Tell whether a node's service runs."""
        return bool(self.nodes[name].look().service_active)

    def prove_stopped(self, back: Callable[[], frozenset[str]] = frozenset) -> None:
        """Raise RecoveryBlockedError unless every other member is down as far as can be told (law 8).

        `back` returns the peer URLs of those that are members of the new cluster already.
        """
        survivor = self.plan.survivor.node if self.plan.survivor else ""
        # A restore fences its own node, too.
        others = [fence for fence in self.plan.fence if fence.node != survivor]
        members = back()
        others = [fence for fence in others if not members & set(fence.seat.peer_urls)]
        here = [fence.node for fence in others if not fence.lost]
        self._on_all({name: partial(self._must_be_down, name) for name in here})
        urls = {url: fence.node for fence in others for url in self._urls(fence)}
        for url in self._answering(urls):
            raise RecoveryBlockedError(
                f"{urls[url]}: something answers at {url}: this member is not stopped",
                hint="stop its etcd and keep it stopped; then give the same command again",
                code="NOT_FENCED",
            )

    def _fence(self, fence: Fence) -> tuple[str, ...]:
        node = self.nodes[fence.node]
        view = node.look()
        if view.problem:
            raise NodeControlError(f"{fence.node}: {view.problem}", hint=f"correct the inventory; {AGAIN}")
        if view.data is not None and view.data.member_id != fence.member_id:
            raise NodeControlError(
                f"{fence.node}: its data dir is that of {format_id(view.data.member_id)}, not of "
                f"{format_id(fence.member_id)}: left alone",
                hint="correct data_dir in the inventory; then give the same command again",
            )
        _end(node)
        # First: an empty data dir and `new` would make a new cluster with the same ids, if the survivor is
        # away, and after a power cut nobody asks us before etcd is started.
        node.write_config({"initial-cluster-state": "existing"}, self.operation_id)
        return node.set_data_aside(f"{format_id(fence.member_id)}.{self.operation_id}")

    def _start(self, node: NodeControl) -> None:
        if not node.look().service_active and not self._answering(node.client_urls):
            node.start()

    def _must_be_down(self, name: str) -> None:
        view = self.nodes[name].look()
        if view.problem or view.service_active:
            raise RecoveryBlockedError(
                f"{name}: {view.problem or 'its service runs'}",
                hint="stop its etcd and keep it stopped; then give the same command again",
                code="NOT_FENCED",
            )

    def _await_no_leader(self, node: NodeControl) -> None:
        client = self._client(node).within(ANSWER)

        def leaderless() -> bool:
            try:
                return client.status().leader_id is None
            except EtcdError:
                return True

        try:
            wait_until(leaderless, what="", seconds=STEPPING_DOWN, clock=self.clock, pause=0.05)
        except StepFailedError:
            raise RecoveryBlockedError(
                f"{node.name} has a raft leader: a majority is alive",
                hint="nothing is to be recovered while there is one: patronictl-etcd status",
                code="MAJORITY_ALIVE",
            ) from None

    def _await_closed(self, names: Iterable[str]) -> None:
        urls = [url for name in names for url in self._urls_of_node(name)]
        what = f"the ports of {', '.join(names)} to close"
        wait_until(
            lambda: not self._answering(urls), what=what, seconds=PORTS_CLOSE, clock=self.clock, pause=0.05
        )

    def _answering(self, urls: Iterable[str]) -> list[str]:
        answers = gather({url: partial(self.port_answers, url) for url in urls}, CALL)
        return [url for url, answered in answers.results.items() if answered]

    def _urls(self, fence: Fence) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*fence.seat.peer_urls, *self._urls_of_node(fence.node))))

    def _urls_of_node(self, name: str) -> tuple[str, ...]:
        node = self.nodes.get(name)
        return (*node.peer_urls, *node.client_urls) if node else ()

    def _client(self, node: NodeControl) -> EtcdApi:
        return self.connect(client_url_of(node), CALL)

    def _on_all(self, calls: Mapping[str, Callable[[], T]]) -> Mapping[str, T]:
        """Do it on all nodes at once; the first error counts when all have ended."""
        answers = gather(calls, NODE_WORK)
        for error in answers.errors.values():
            raise error
        silent = [name for name in calls if name not in answers.results]
        if silent:
            raise NodeControlError(f"{', '.join(silent)}: did not end within {NODE_WORK:.0f} s", hint=AGAIN)
        return answers.results


def client_url_of(node: NodeControl) -> str:
    """Return where the node's etcd serves clients as its service: NodeControlError when nothing says so."""
    urls = node.client_urls or tuple(node.settings().get("advertise-client-urls", "").split(","))
    if not urls or not urls[0]:
        raise NodeControlError(
            f"{node.name}: neither the inventory nor its configuration says where it serves clients",
            hint=f"put client_url under etcd.members.{node.name} in the inventory",
        )
    return urls[0]


def _end(node: NodeControl) -> None:
    """Stop a member without a quorum at once, for the sake of the requests that hang in it.

    When an etcd that ends cleanly cancels the renewal of a leader in failsafe mode, Patroni demotes it; a
    broken connection is no reason to.
    """
    node.stop(at_once=True)
