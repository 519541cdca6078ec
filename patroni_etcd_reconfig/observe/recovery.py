"""All that can be known when etcd has lost its majority. Reads only; any number of times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from patroni_etcd_reconfig.core.model import NodeView
from patroni_etcd_reconfig.core.recovery.addresses import Address, addresses_in_keys, combined
from patroni_etcd_reconfig.core.recovery.assemble import Looked, Place, assemble
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence
from patroni_etcd_reconfig.errors import ReconfigError
from patroni_etcd_reconfig.observe.members import MembersLook
from patroni_etcd_reconfig.observe.postgres import PostgresCollector
from patroni_etcd_reconfig.parallel import Answers, Crowd, gather
from patroni_etcd_reconfig.ports import Clock, EtcdConnector, NodeControl

# What a machine that says nothing gets in one look at etcd, in seconds: a connection's first packet, if lost,
# is sent again after 1 s, and once more after 3 (RFC 6298).
ETCD_DEADLINE = 3.5
# What a read through quorum gets, in seconds: an election under way must not pass for a lost quorum.
ETCD_PATIENCE = 1.5
# Reading a log of several hundred MB from a slow disk must be possible; a dead NFS server must not hang us.
DATA_DEADLINE = 120.0


@dataclass(frozen=True)
class Collector:
    """Collects evidence from one machine. `addresses` are Patronis known from elsewhere than the DCS.

    `patience` is what a read through quorum gets, in seconds, from members that answer everything else.
    """

    connect: EtcdConnector
    seeds: tuple[str, ...]
    namespace: str
    postgres: PostgresCollector
    clock: Clock
    host: str
    nodes: Mapping[str, NodeControl] = field(default_factory=dict)
    places: Sequence[Place] = ()
    addresses: Sequence[Address] = ()
    patience: float = ETCD_PATIENCE

    def collect(self) -> Evidence:
        """Return the evidence; what could not be read is in it as a problem."""
        at = self.clock.wall()
        members = self._look()
        copies = [node.live.keys for node in members if node.live]
        copies += [node.data.keys for node in members if node.data]
        addresses = combined((*addresses_in_keys(copies, self.namespace), *self.addresses))
        postgres = self.postgres.collect(addresses, self.host, self.clock.wall())
        return Evidence(self.namespace, members, postgres, at, (self.host,))

    def look_at_members(self) -> Evidence:
        """Return the evidence on etcd alone."""
        return Evidence(self.namespace, self._look(), (), self.clock.wall(), (self.host,))

    def _look(self) -> tuple[NodeEvidence, ...]:
        at = self.clock.wall()
        known = tuple(url for place in self.places for url in place.client_urls)
        seeds = (*self.seeds, *known)
        etcd = MembersLook(self.connect, seeds, self.namespace, ETCD_DEADLINE, self.patience)
        looked: Answers[Looked] = Answers()
        crowd = Crowd()
        crowd.start(lambda: looked.results.update(self._look_at_nodes()))
        heard = etcd.look()
        crowd.wait(DATA_DEADLINE)
        found = dict(looked.results)
        if set(_stored_urls(found)) - {one.url for one in heard}:
            etcd.ask(_stored_urls(found))
            heard = etcd.look()
        return assemble(self.places, heard, found, by=self.host, at=at)

    def _look_at_nodes(self) -> dict[str, Looked]:
        calls = {name: partial(self._look_at, node) for name, node in self.nodes.items()}
        answers = gather(calls, DATA_DEADLINE)
        return {name: answers.results.get(name) or _silent(name, answers) for name in self.nodes}

    def _look_at(self, node: NodeControl) -> Looked:
        view = node.look()
        if not view.data_present:
            return Looked(view)
        try:
            return Looked(view, node.read_data(self.namespace))
        except ReconfigError as error:
            return Looked(view, data_problem=str(error))


def _stored_urls(looked: Mapping[str, Looked]) -> tuple[str, ...]:
    """Return the client URLs that data dirs know of: of members that nothing else may name."""
    stored = (member for one in looked.values() if one.data for member in one.data.members)
    return tuple(url for member in stored for url in member.client_urls)


def _silent(name: str, answers: Answers[Looked]) -> Looked:
    error = answers.errors.get(name)
    problem = (
        str(error) if error else f"its commands and its disk did not answer within {DATA_DEADLINE:.0f} s"
    )
    return Looked(NodeView(name, problem=problem))
