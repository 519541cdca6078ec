"""`status`, also `list`: one look at everything, in about a second whatever is down."""

from __future__ import annotations

import time
from functools import partial

import click

from patroni_etcd_reconfig.adapters.nodes import controllable
from patroni_etcd_reconfig.cli.app import LOOK_DEADLINE, App
from patroni_etcd_reconfig.cli.output import as_text, finding_lines, format_option, table, tsv
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import (
    EtcdView,
    MemberView,
    NodeView,
    Observation,
    PatroniCluster,
    format_id,
)
from patroni_etcd_reconfig.core.preflight import examine_state
from patroni_etcd_reconfig.core.quorum import failure_tolerance, quorum
from patroni_etcd_reconfig.core.status import role_of, status_as_dict
from patroni_etcd_reconfig.engine.pending import pending_findings
from patroni_etcd_reconfig.engine.roster import Roster
from patroni_etcd_reconfig.errors import ReconfigError, UnreachableError
from patroni_etcd_reconfig.observe.everything import Observer

MIB = 1024 * 1024
_COUNTS = ("DB Size", "Term", "Index")
ETCD_COLUMNS = (
    *("Member", "ID", "Role", "State", "Version"),
    *_COUNTS,
    *("Alarms", "Client URLs", "Peer URLs"),
)
PATRONI_COLUMNS = ("Member", "Host", "Role", "State", "TL", "Lag in MB")


@click.command()
@format_option
@click.option("-W", "watch", is_flag=True, help="Watch: look again every 2 seconds.")
@click.option(
    "-w", "--watch", "seconds", type=click.FloatRange(min=0.1), help="Watch: look again every SECONDS."
)
@click.pass_obj
def command(app: App, watch: bool, seconds: float | None) -> None:
    """Show etcd's members, quorum and failure tolerance, and every Patroni cluster that depends on them."""
    while True:
        text = _look_again(app) if watch or seconds else _look(app)
        if watch or seconds:
            click.clear()
        click.echo(text, nl=not text.endswith("\n"))
        if not (watch or seconds):
            return
        time.sleep(seconds or 2.0)


def _look_again(app: App) -> str:
    """While one watches, what can't be seen now is shown as that, and looked at again."""
    try:
        return _look(app)
    except ReconfigError as error:
        return f"{error}\nNext: {error.hint}" if error.hint else str(error)


def _look(app: App) -> str:
    observer = app.observer(controllable(app.inventory), LOOK_DEADLINE)
    try:
        seen = observer.observe()
    except UnreachableError as error:
        raise _with_nodes(error, observer) from error
    found = examine_state(seen, app.policy)
    if app.format == "tsv":  # which has no place for findings
        return _tsv(seen)
    findings = (*_pending(app, seen.etcd), *found)
    return as_text(app.format, status_as_dict(seen, findings)) if app.wants_data else _pretty(seen, findings)


def _pending(app: App, etcd: EtcdView) -> tuple[Finding, ...]:
    roster = Roster(app.connector, app.look_deadline)
    roster.update(etcd)
    return pending_findings(app.state_dir, roster, etcd, partial(app.command_line, "resume"))


def _with_nodes(error: UnreachableError, observer: Observer) -> UnreachableError:
    """Nobody answers: say at least what the nodes themselves can tell."""
    nodes = observer.look_at_nodes()
    words = [f"{name}: {_node_words(node)}" for name, node in sorted(nodes.items())]
    return UnreachableError("; ".join([error.message, *words]), hint=error.hint)


def _node_words(node: NodeView) -> str:
    if node.problem:
        return node.problem
    service = "its service runs" if node.service_active else "its service is stopped"
    return f"{service}, its data is {'there' if node.data_present else 'gone'}"


def _pretty(seen: Observation, findings: tuple[Finding, ...]) -> str:
    etcd = seen.etcd
    title = f"etcd: {format_id(etcd.cluster_id)} ({_quorum_words(etcd)})"
    parts = [table(title, ETCD_COLUMNS, [_etcd_row(view, etcd) for view in etcd.members], _COUNTS)]
    parts += [_patroni_table(cluster) for cluster in seen.patroni]
    return "\n".join([*parts, *finding_lines(findings)])


def _quorum_words(etcd: EtcdView) -> str:
    left, count = failure_tolerance(etcd), len(etcd.voters)
    if not etcd.linearizable:
        answering = sum(view.status is not None for view in etcd.voters)
        return f"{answering} of {count} voters answer, quorum {quorum(count)}, NO QUORUM"
    tolerance = "NO QUORUM" if left < 0 else f"{left} more may fail"
    return f"{len(etcd.healthy_voters)} of {count} voters healthy, quorum {quorum(count)}, {tolerance}"


def _etcd_row(view: MemberView, etcd: EtcdView) -> tuple[object, ...]:
    said = view.status
    return (
        view.member.name,
        format_id(view.id),
        role_of(view, etcd),
        view.health.value,
        said.version if said else None,
        _size(said.db_size) if said else None,
        said.raft_term if said else None,
        said.raft_index if said else None,
        ", ".join(view.alarms),
        ", ".join(view.member.client_urls),
        ", ".join(view.member.peer_urls),
    )


def _size(count: int) -> str:
    return f"{count / MIB:.1f} MB" if count >= MIB else f"{count / 1024:.0f} kB"


def _patroni_table(cluster: PatroniCluster) -> str:
    lease = f"lease {cluster.lease.remaining:.0f} of {cluster.ttl:.0f} s" if cluster.lease else "no lease"
    title = f"Patroni: {cluster.scope} (leader {cluster.leader or 'none'}, {lease})"
    facts = (
        f" ttl {cluster.ttl:.0f}, loop_wait {cluster.loop_wait:.0f}, "
        f"retry_timeout {cluster.retry_timeout:.0f}; write-gap budget {cluster.write_gap_budget:.1f} s; "
        f"failsafe_mode {'on' if cluster.failsafe_mode else 'off'}"
    )
    rows = _patroni_rows(cluster)
    drawn = table(title, PATRONI_COLUMNS, rows, ("TL", "Lag in MB"))
    return "\n".join([drawn, facts, *([" Maintenance mode: on"] if cluster.paused else [])])


def _patroni_rows(cluster: PatroniCluster) -> list[tuple[object, ...]]:
    return [
        (m.name, m.host, m.role.capitalize(), m.state, m.timeline, None if m.lag is None else m.lag // MIB)
        for m in cluster.members
    ]


def _tsv(seen: Observation) -> str:
    parts = [tsv(("Cluster", *ETCD_COLUMNS), [("etcd", *_etcd_row(v, seen.etcd)) for v in seen.etcd.members])]
    for cluster in seen.patroni:
        rows = [(cluster.scope, *row) for row in _patroni_rows(cluster)]
        parts.append(tsv(("Cluster", *PATRONI_COLUMNS), rows))
    return "\n\n".join(parts)
