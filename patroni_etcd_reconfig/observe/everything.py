"""The whole observation: etcd, Patroni, nodes and disks, read at the same time."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from patroni_etcd_reconfig.core.model import (
    EtcdView,
    NodeView,
    Observation,
    PatroniCluster,
    PatroniHosts,
    Progress,
)
from patroni_etcd_reconfig.errors import EtcdError
from patroni_etcd_reconfig.observe.etcd import EtcdObserver
from patroni_etcd_reconfig.observe.patroni import look_at_patroni
from patroni_etcd_reconfig.parallel import Answers, Crowd, gather
from patroni_etcd_reconfig.ports import NodeControl

# How long a node's own commands (is the service active?) may take in one look, in seconds.
NODE_DEADLINE = 15.0
# What a member without quorum has to read Patroni's keys, in seconds: it does so at once, or wants a login
# first, which hangs without quorum.
OWN_READ = 0.9


@dataclass
class Observer:
    """Gathers observations. `names` limits the nodes that are looked at; None = every node."""

    etcd: EtcdObserver
    namespace: str
    nodes: Mapping[str, NodeControl] = field(default_factory=dict)
    patroni_hosts: tuple[PatroniHosts, ...] = ()
    state_dir: Path | None = None
    names: frozenset[str] | None = None
    node_deadline: float = NODE_DEADLINE
    leave_out: frozenset[str] = frozenset()  # Patroni scopes that are not looked at

    def observe(self, progress: Progress | None = None, *, connections: bool = False) -> Observation:
        """Return everything there is to see now; raises what EtcdObserver.look raises."""
        looked: Answers[NodeView] = Answers()
        crowd = Crowd()
        crowd.start(lambda: looked.results.update(self.look_at_nodes()))
        etcd = self.etcd.look(connections=connections)
        patroni = self.look_at_patroni(etcd)
        crowd.wait(self.node_deadline)
        return Observation(
            etcd=etcd,
            patroni=patroni,
            nodes=dict(looked.results),
            patroni_hosts=self.patroni_hosts,
            progress=progress or Progress(),
            state_dir_free_bytes=free_bytes(self.state_dir) if self.state_dir else None,
            at=time.monotonic(),
        )

    def look_at_patroni(self, etcd: EtcdView) -> tuple[PatroniCluster, ...]:
        """Return the Patroni clusters: through a healthy voter, or as anybody who answers knows them.

        Raises EtcdError when healthy members do not give the keys: that is not the same as no Patroni.
        """
        failed: EtcdError | None = None
        healthy = [view for view in etcd.healthy_voters if view.member.client_urls]
        answering = [view for view in etcd.voters if view.status and view.member.client_urls]
        for view in healthy or answering:
            client = self.etcd.client(view.member.client_urls[0], None if healthy else OWN_READ)
            try:
                found = look_at_patroni(
                    client, self.namespace, seconds=self.etcd.deadline, serializable=not healthy
                )
                return tuple(cluster for cluster in found if cluster.scope not in self.leave_out)
            except EtcdError as error:
                failed = failed or error
        if failed and healthy:
            raise failed
        return ()

    def look_at_nodes(self) -> dict[str, NodeView]:
        """Return what node control says of every node; one that does not answer in time is a problem."""
        wanted = {name: node for name, node in self.nodes.items() if self.names is None or name in self.names}
        answers = gather({name: node.look for name, node in wanted.items()}, self.node_deadline)
        silent = {name: NodeView(name, problem=self._why(answers, name)) for name in wanted}
        return {**silent, **answers.results}

    def _why(self, answers: Answers[NodeView], name: str) -> str:
        error = answers.errors.get(name)
        return str(error) if error else f"its commands did not answer within {self.node_deadline:g} s"


def free_bytes(path: Path) -> int | None:
    """Return what is free for us on the file system that will hold `path`; None when it can't be told."""
    existing = next((parent for parent in (path, *path.parents) if parent.exists()), None)
    try:
        stat = os.statvfs(existing) if existing else None
    except OSError:
        return None
    return stat.f_bavail * stat.f_frsize if stat else None
