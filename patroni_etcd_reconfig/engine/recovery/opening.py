"""The end of the quarantine: from here on Patroni is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from patroni_etcd_reconfig.clock import wait_until
from patroni_etcd_reconfig.core.model import MemberStatus, PatroniCluster
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.engine.recovery.fencing import client_url_of
from patroni_etcd_reconfig.engine.recovery.isolation import AGAIN, RecoveryBlockedError
from patroni_etcd_reconfig.engine.recovery.leading import Leaders
from patroni_etcd_reconfig.engine.recovery.loop import Facts
from patroni_etcd_reconfig.errors import EtcdError, StepFailedError
from patroni_etcd_reconfig.ports import Clock, EtcdApi, EtcdConnector, NodeControl

READY = 60.0  # seconds for the service's start: a large log has to be read
ELSEWHERE = 600.0  # seconds for people to start members on other machines
CALL = 1.0
EXITS_CHECK = 0.5  # seconds between two looks at whether the service still runs
FLAG = "force-new-cluster"


@dataclass
class Opening:
    """Opens the survivor to Patroni. `look_at_patroni` reads the clusters through a client."""

    plan: RecoveryPlan
    nodes: Mapping[str, NodeControl]
    connect: EtcdConnector
    clock: Clock
    say: Callable[[str], None]
    prove_stopped: Callable[[], None]
    end_quarantine: Callable[[], None]
    look_at_patroni: Callable[[EtcdApi], tuple[PatroniCluster, ...]]
    look_at_postgres: Callable[[EtcdApi, str, str], PostgresEvidence | None]  # scope, member name
    ready: float = READY
    served_at: float = field(init=False)  # monotonic; of this run, where an earlier one opened it

    def __post_init__(self) -> None:
        self.served_at = self.clock.monotonic()

    def open(self, name: str) -> Facts:
        """Start the survivor as its service and wait until it serves at its own address."""
        node = self.nodes[name]
        self.refuse_flag(name)
        self.prove_stopped()
        self.end_quarantine()
        return self._serve(node)

    def refuse_flag(self, name: str) -> None:
        """Raise RecoveryBlockedError when the service would give the flag at every start."""
        if self.nodes[name].settings().get(FLAG, "false").lower() not in ("", "false", "0"):
            raise RecoveryBlockedError(
                f"the configuration of {name} says {FLAG}: each start would throw the others out again",
                hint="take it out of the configuration and of the unit; then give the same command again",
                code="FLAG_IN_CONFIG",
            )

    def await_quorum(self) -> Facts:
        """Wait until a linearizable read works through one of the members of the plan."""
        names = {*self.plan.start, *(fence.node for fence in self.plan.fence), *self.nodes}
        clients = [self.connect(client_url_of(self.nodes[n]), CALL) for n in names if n in self.nodes]
        elsewhere = ", ".join(name for name in self.plan.start if name not in self.nodes)
        start = f"start etcd on {elsewhere}, on its own machine, and " if elsewhere else ""
        wait_until(
            lambda: any(_serving(client) for client in clients),
            what=f"etcd to have a quorum: {start}look at the etcd logs of {', '.join(self.plan.start)}",
            seconds=max(self.ready, ELSEWHERE if elsewhere else 0.0),
            clock=self.clock,
            pause=0.05,
        )
        return {}

    def await_leaders(self, scopes: Iterable[str], began_at: float) -> Facts:
        """Wait until each scope has a leader; see Leaders."""
        survivor = self.plan.survivor
        leaders = Leaders(
            plan=self.plan,
            clock=self.clock,
            say=self.say,
            client=self.client,
            look_at_patroni=self.look_at_patroni,
            look_at_postgres=self.look_at_postgres,
            restart=partial(self._restart, survivor.node) if survivor else None,
            since=self.served_at,
        )
        return leaders.wait(scopes, began_at)

    def peer_urls(self) -> frozenset[str]:
        """Return the peer URLs of all members that the new cluster has by now."""
        members = self.client().member_list().members
        return frozenset(url for member in members for url in member.peer_urls)

    def client(self) -> EtcdApi:
        """Return a client of the survivor as its service; of any member that serves after a mere start."""
        names = [self.plan.survivor.node] if self.plan.survivor else list(self.nodes)
        clients = [self.connect(client_url_of(self.nodes[name]), CALL) for name in names]
        return next((client for client in clients if len(clients) == 1 or _serving(client)), clients[0])

    def _serve(self, node: NodeControl) -> Facts:
        if not node.look().service_active:
            node.start()
        checked = self.clock.monotonic()

        def ready() -> MemberStatus | None:
            nonlocal checked
            status = _serving(self.connect(client_url_of(node), CALL))
            if status is None and self.clock.monotonic() - checked > EXITS_CHECK:
                checked = self.clock.monotonic()
                _must_run(node)
            return status

        what = f"{node.name} to serve at {client_url_of(node)}: look at its etcd log"
        status = wait_until(ready, what=what, seconds=self.ready, clock=self.clock, pause=0.02)
        self.served_at = self.clock.monotonic()
        return {"opened": node.name, "term": status.raft_term}

    def _restart(self, name: str) -> None:
        node = self.nodes[name]
        node.stop()
        self._serve(node)


def _serving(client: EtcdApi) -> MemberStatus | None:
    try:
        client.range("/")
        return client.status()
    except EtcdError:
        return None


def _must_run(node: NodeControl) -> None:
    view = node.look()
    if not view.service_active:
        raise StepFailedError(
            f"etcd on {node.name} ended after its start: {view.problem or 'see its log'}",
            hint=f"correct what its log says; {AGAIN}",
            code="MEMBER_EXITS",
        )
