"""What in the evidence can't all be true, or is not as it should be: shown, never smoothed over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from patroni_etcd_reconfig.core.findings import Finding, blocker, warning
from patroni_etcd_reconfig.core.model import (
    DataDir,
    EtcdView,
    MemberView,
    NodeView,
    Observation,
    Stranger,
    format_id,
)
from patroni_etcd_reconfig.core.recovery.doubts import system_ids, two_primaries
from patroni_etcd_reconfig.core.recovery.evidence import (
    Evidence,
    LiveMember,
    NodeEvidence,
    PostgresEvidence,
)
from patroni_etcd_reconfig.core.recovery.postgres_facts import PRIMARY_ROLES
from patroni_etcd_reconfig.core.recovery.standing import standing_of
from patroni_etcd_reconfig.core.zombies import check_set_aside, check_zombies


def contradictions(evidence: Evidence) -> tuple[Finding, ...]:
    """Return what an operator must know before planning with this evidence; blockers first."""
    found = [*_etcd(evidence), *_old_data(evidence)]
    found += [finding for node in evidence.nodes for finding in _node(node, evidence)]
    found += [finding for one in evidence.postgres for finding in _postgres(one)]
    for scope in sorted({one.scope for one in evidence.postgres}):
        found += _scope(scope, evidence.scope(scope))
    order = ["blocker", "warning", "info"]
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity.value)))


def _etcd(evidence: Evidence) -> Iterator[Finding]:
    if not any(node.live or node.data for node in evidence.nodes):
        yield warning(
            "NO_ETCD_EVIDENCE",
            "etcd",
            "no member answers, and no data dir could be read",
            "run recover collect on each etcd machine, with an inventory that names its member",
        )
    clusters: dict[int, set[str]] = defaultdict(set)
    for node in evidence.nodes:
        for cluster in _clusters(node):
            clusters[cluster].add(node.name)
    if len(clusters) > 1:
        words = "; ".join(
            f"{format_id(c)}: {', '.join(sorted(names))}" for c, names in sorted(clusters.items())
        )
        yield blocker(
            "RECOVERY_TWO_CLUSTERS",
            "etcd",
            f"the members are of different clusters: {words}",
            "find out which of them is Patroni's; stop the other members and move their data dirs away, "
            "or take them out of the Patroni file and the inventory; then collect again",
        )


def _old_data(evidence: Evidence) -> Iterator[Finding]:
    """Say as `status` does who is no member any more, where somebody knows; and whose data lies aside."""
    nodes = {node.name: _view(node) for node in evidence.nodes}
    yield from check_set_aside(Observation(EtcdView(0, (), None), nodes=nodes))
    quorate = [node.live for node in evidence.nodes if node.live and node.live.quorate]
    if not quorate:
        return
    serving = {live.status.member_id for live in quorate}
    best = max(quorate, key=lambda live: (bool(serving - _ids(live)), live.status.raft_index))
    told = {node.live.status.member_id: node.live.status for node in evidence.nodes if node.live}
    members = tuple(MemberView(member, told.get(member.id)) for member in best.members)
    strangers = tuple(
        Stranger(
            (*node.client_urls, node.name)[0], said.cluster_id, said.member_id, node.name, node.live.quorate
        )
        for node in evidence.nodes
        if node.live and (said := node.live.status).cluster_id == best.status.cluster_id
        if said.member_id not in _ids(best)
    )
    view = EtcdView(best.status.cluster_id, members, None, strangers=strangers)
    yield from check_zombies(Observation(view, nodes=nodes))


def _ids(live: LiveMember) -> set[int]:
    return {member.id for member in live.members}


def _view(node: NodeEvidence) -> NodeView:
    return NodeView(
        node.name,
        problem="" if node.reachable else "not looked at",
        service_active=bool(node.service_active),
        data_present=bool(node.data_present),
        data=DataDir(node.data.cluster_id, node.data.member_id) if node.data else None,
        set_aside=node.set_aside,
    )


def _clusters(node: NodeEvidence) -> set[int]:
    live = {node.live.status.cluster_id} if node.live else set()
    return live | ({node.data.cluster_id} if node.data else set())


def _node(node: NodeEvidence, evidence: Evidence) -> Iterator[Finding]:
    owner = node.data.member_id if node.data else None
    if node.live and owner is not None and owner != node.live.status.member_id:
        yield blocker(
            "EVIDENCE_CONTRADICTS",
            node.name,
            f"member {format_id(node.live.status.member_id)} answers, but the data dir "
            f"{node.data.path if node.data else ''} holds member {format_id(owner)}",
            "correct data_dir, config_file or client_url of this node in the inventory; then collect again",
        )
    elif owner is not None:
        yield from _wrong_directory(node, owner, evidence)
    if node.live and node.service_active is False:
        yield blocker(
            "EVIDENCE_CONTRADICTS",
            node.name,
            "it answers, but is_active says that its service is down",
            "correct commands or client_url of this node in the inventory; then collect again",
        )
    at_rest = node.data is not None and node.live is None and not node.service_active
    for problem in node.data.problems if node.data and at_rest else ():
        yield warning(
            "DATA_DAMAGED",
            node.name,
            f"{node.data.path if node.data else ''}: {problem}",
            "prefer another survivor; copy this directory before anything starts on it",
        )


def _wrong_directory(node: NodeEvidence, owner: int, evidence: Evidence) -> Iterator[Finding]:
    """A data dir that, as the lists say, is another node's: the inventory names the wrong one."""
    stored = [one.data.members for one in evidence.nodes if one.data]
    lists = [*(one.live.members for one in evidence.nodes if one.live), *stored]
    names = {member.name for rows in lists for member in rows if member.id == owner and member.name}
    if names and node.name not in names:
        yield blocker(
            "EVIDENCE_CONTRADICTS",
            node.name,
            f"its data dir holds member {format_id(owner)}, which is {', '.join(sorted(names))}",
            "correct data_dir of this node in the inventory; then collect again",
        )


def _postgres(one: PostgresEvidence) -> Iterator[Finding]:
    subject = f"{one.scope}/{one.name}"
    if one.source == "sql" and one.in_recovery and one.patroni_role in PRIMARY_ROLES:
        yield warning(
            "PATRONI_MISTAKEN",
            subject,
            f"its Patroni says {one.patroni_role}, but PostgreSQL itself is in recovery",
            "look at its Patroni's log; PostgreSQL's own word counts here",
        )
    if one.source == "sql" and one.in_recovery is False and one.patroni_role == "replica":
        yield warning(
            "PATRONI_MISTAKEN",
            subject,
            "its Patroni says replica, but PostgreSQL itself is a primary",
            "look at its Patroni's log; PostgreSQL's own word counts here",
        )
    ids = {one.system_identifier, one.patroni_system_identifier} - {""}
    if len(ids) > 1:
        yield blocker(
            "PG_SYSTEM_ID",
            subject,
            f"its Patroni says {one.patroni_system_identifier}, PostgreSQL says {one.system_identifier}",
            "find out which PostgreSQL answers on that address; then collect again",
        )


def _scope(scope: str, nodes: tuple[PostgresEvidence, ...]) -> Iterator[Finding]:
    standing = standing_of(nodes, None)
    yield from two_primaries(scope, standing)
    yield from system_ids(scope, standing)
