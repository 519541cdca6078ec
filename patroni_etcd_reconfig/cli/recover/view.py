"""Evidence for people: one table for etcd, one for each Patroni cluster, and what contradicts itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from patroni_etcd_reconfig.cli.output import finding_lines, printable, table, tsv
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import format_id
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence, PostgresEvidence
from patroni_etcd_reconfig.core.recovery.standing import format_lsn

_NUMBERS = ("Term", "Last Index", "Revision")
NODE_COLUMNS = ("Node", "State", "Member", "Cluster", *_NUMBERS, "Data")
POSTGRES_COLUMNS = ("Node", "Host", "Role", "State", "TL", "LSN", "Known By", "Patroni")


def evidence_text(evidence: Evidence, findings: Iterable[Finding]) -> str:
    """Return the evidence as tables, and below them why something could not be read."""
    rows = [_node_row(node) for node in evidence.nodes]
    parts = [table(f"etcd: {_quorum_words(evidence)}", NODE_COLUMNS, rows, _NUMBERS)]
    for scope in sorted({one.scope for one in evidence.postgres}):
        nodes = evidence.scope(scope)
        title = f"Patroni: {scope or 'unknown'}"
        parts.append(table(title, POSTGRES_COLUMNS, [_postgres_row(one) for one in nodes], ("TL", "LSN")))
    return "\n".join([*parts, *_problems(evidence), *finding_lines(findings)])


def evidence_tsv(evidence: Evidence) -> str:
    """Return the same tables as tab-separated lines."""
    nodes = tsv(NODE_COLUMNS, [_node_row(node) for node in evidence.nodes])
    rows = [(one.scope, *_postgres_row(one)) for one in evidence.postgres]
    return "\n\n".join([nodes, tsv(("Cluster", *POSTGRES_COLUMNS), rows)])


def _quorum_words(evidence: Evidence) -> str:
    live = [node.live for node in evidence.nodes if node.live]
    quorum = "a majority serves" if any(one.quorate for one in live) else "NO QUORUM"
    return f"{len(live)} of {len(evidence.nodes)} members answer, {quorum}"


def _node_row(node: NodeEvidence) -> tuple[object, ...]:
    live, data = node.live, node.data
    if live:
        status = live.status
        ids = (format_id(status.member_id), format_id(status.cluster_id))
        return (node.name, _state(node), *ids, status.raft_term, status.raft_index, None, _data(node))
    if data:
        ids = (format_id(data.member_id), format_id(data.cluster_id))
        return (node.name, _state(node), *ids, data.last_term, data.last_index, data.revision, _data(node))
    return (node.name, _state(node), None, None, None, None, None, _data(node))


def _state(node: NodeEvidence) -> str:
    if node.live:
        return "serves" if node.live.quorate else "runs, no quorum"
    if node.answers:
        return "runs, tells nothing"
    if node.service_active is None:
        return "no answer"
    return "runs, no answer" if node.service_active else "stopped"


def _data(node: NodeEvidence) -> str:
    if node.data is None:
        return {True: "there, not read", False: "none", None: "not looked at"}[node.data_present]
    words = [
        "learner" if node.data.is_learner else "",
        "removed" if node.data.is_removed else "",
        "torn tail" if node.data.torn_tail else "",
        "damaged" if node.data.problems else "",
    ]
    return ", ".join(word for word in words if word) or "readable"


def _postgres_row(one: PostgresEvidence) -> tuple[object, ...]:
    roles = {False: "primary", True: "standby", None: one.patroni_role or None}
    states = {True: "running", False: "down", None: one.patroni_state or "unknown"}
    lsn = None if one.lsn is None else f"{'' if one.lsn_is_exact else '>= '}{format_lsn(one.lsn)}"
    source = {"sql": "PostgreSQL", "rest": "Patroni", "controldata": "control file"}.get(one.source)
    patroni = f"answers{', paused' if one.paused else ''}{', failsafe' if one.failsafe_active else ''}"
    return (
        one.name,
        one.host,
        roles[one.in_recovery],
        states[one.running],
        one.timeline,
        lsn,
        source,
        patroni if one.patroni_answers else "no answer",
    )


def _problems(evidence: Evidence) -> Iterator[str]:
    named = [(node.name, node.problem) for node in evidence.nodes]
    named += [(f"{one.scope}/{one.name}", one.problem) for one in evidence.postgres]
    for name, problem in named:
        if problem:
            yield f" {printable(name)}: {printable(problem)}"
