"""A recovery plan as the operator reads it: what happened, who goes on, what is lost, what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from patroni_etcd_reconfig.cli.output import finding_lines, printable, table, tsv
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import format_id
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence
from patroni_etcd_reconfig.core.recovery.model import Fence, RecoveryPlan, ScopePlan, Way
from patroni_etcd_reconfig.core.recovery.plan_codec import steps_in_words
from patroni_etcd_reconfig.core.recovery.standing import format_lsn

POSTGRES_COLUMNS = ("Node", "TL", "LSN", "Bytes Behind", "Note")
_NUMBERS = ("TL", "LSN", "Bytes Behind")
_WAYS = {
    Way.NOTHING: "nothing to recover: a majority serves",
    Way.START: "start what is stopped: that makes a majority, and loses nothing",
    Way.FORCE: "one member goes on alone, the others are fenced and made new",
    Way.RESTORE: "a new cluster from a snapshot",
}


def plan_page(plan: RecoveryPlan, findings: Iterable[Finding], evidence: Evidence) -> str:
    """Return the page."""
    parts = [
        f"Recovery plan {plan.id}",
        f"  What was found: {_which(plan)}{_found(evidence)}",
        f"  The way: {_WAYS[plan.way]}",
        *_survivor(plan),
        *(f"  Fenced: {_fence(fence)}" for fence in plan.fence),
    ]
    lines = [printable(line) for line in parts]
    lines += [_scope(scope) for scope in plan.scopes]
    lines += [printable(f"  Lost: {loss}") for loss in plan.losses]
    lines += [printable(f"  Decided without proof: {choice}") for choice in plan.choices]
    lines += [
        printable(f"  {number:>2}. {step}") for number, step in enumerate(steps_in_words(plan), start=1)
    ]
    return "\n".join([*lines, *finding_lines(findings)])


def plan_tsv(plan: RecoveryPlan, findings: Iterable[Finding]) -> str:
    """Return steps and findings as tab-separated lines."""
    steps = [(plan.id, number, step) for number, step in enumerate(steps_in_words(plan), start=1)]
    found = [tuple(finding.as_dict().values()) for finding in findings]
    return "\n\n".join(
        [
            tsv(("Plan", "#", "Step"), steps),
            tsv(("Code", "Severity", "Subject", "Detail", "Remedy"), found),
        ]
    )


def _which(plan: RecoveryPlan) -> str:
    """The id of a restore's plan is that of the cluster which is yet to be made."""
    return "" if plan.way is Way.RESTORE else f"etcd {format_id(plan.cluster_id)}: "


def _found(evidence: Evidence) -> str:
    groups: dict[str, list[str]] = {}
    for node in evidence.nodes:
        groups.setdefault(_state(node), []).append(node.name)
    return "; ".join(f"{state}: {', '.join(names)}" for state, names in groups.items()) or "no etcd node"


def _state(node: NodeEvidence) -> str:
    if node.live:
        return "serves" if node.live.quorate else "runs without quorum"
    if not node.reachable:
        return "not looked at"
    runs = {True: "runs without an answer", False: "stopped", None: "not known whether it runs"}
    if node.data:
        return f"{runs[node.service_active]}, has data"
    return "has no data" if node.data_present is False else "its data can't be read"


def _survivor(plan: RecoveryPlan) -> Iterator[str]:
    if plan.survivor:
        yield f"  Survivor: {plan.survivor.node}: {plan.survivor.why}"
    if plan.start:
        yield f"  To start: {', '.join(plan.start)}"


def _fence(fence: Fence) -> str:
    how = "declared lost; it must never start with its old data" if fence.lost else "stopped, its data aside"
    return f"{fence.node} ({format_id(fence.member_id)}): {how}"


def _scope(scope: ScopePlan) -> str:
    title = f"Patroni: {scope.scope} (should lead: {scope.should_lead or 'nobody known'}, "
    title += f"in the DCS: {scope.leader_in_dcs or 'nobody'})"
    rows = [(c.name, c.timeline, format_lsn(c.lsn), c.behind, c.note) for c in scope.candidates]
    facts = [
        f"stale in the DCS: {', '.join(scope.stale)}" if scope.stale else "",
        "paused" if scope.paused else "",
        "synchronous" if scope.synchronous else "",
    ]
    words = "; ".join(fact for fact in facts if fact)
    drawn = table(title, POSTGRES_COLUMNS, rows, _NUMBERS)
    return "\n".join([drawn, *([printable(f" {words}")] if words else [])])
