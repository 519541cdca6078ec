"""The plan as the operator reads it before saying yes: steps, worst write gaps, failure tolerance."""

from __future__ import annotations

from patroni_etcd_reconfig.cli.output import printable, table
from patroni_etcd_reconfig.core.changes import Change
from patroni_etcd_reconfig.core.model import Observation
from patroni_etcd_reconfig.core.planner import Plan
from patroni_etcd_reconfig.core.quorum import failure_tolerance
from patroni_etcd_reconfig.core.simulate import apply_step
from patroni_etcd_reconfig.core.step_words import describe
from patroni_etcd_reconfig.core.steps import (
    Step,
    worst_write_gap,
)

COLUMNS = ("#", "Step", "Worst DCS write gap", "Tolerates")


def show_plan(plan: Plan, seen: Observation) -> str:
    """Return the plan as a table, with the budget that the write gaps must fit into."""
    rows: list[tuple[object, ...]] = []
    state = seen
    for number, step in enumerate(plan.steps, 1):
        state = apply_step(state, step)
        rows.append((number, describe(step), _gap(step), _tolerance(state)))
    names = ", ".join(plan.change.subjects)
    drawn = table(f"Plan: {plan.change.verb} {names}", COLUMNS, rows, ("#", "Worst DCS write gap"))
    return "\n".join([drawn, *_ending(plan.change), *_budgets(seen)])


def _ending(change: Change) -> list[str]:
    """Say on which machines the members are after a cycle with a spare."""
    if change.spare is None:
        return []
    kept = {seat.name for seat in change.joiners}
    free = [
        *([change.spare.name] if change.stand_in else []),
        *(v.name for v in change.victims if v.name not in kept),
    ]
    names = sorted({*kept, *(ref.name for ref in change.others)})
    return [printable(f" at the end: members on {', '.join(names)}; {', '.join(free)} is free again")]


def _gap(step: Step) -> str:
    gap = worst_write_gap(step)
    return f"{gap * 1000:.0f} ms" if gap else "-"


def _tolerance(state: Observation) -> str:
    left = failure_tolerance(state.etcd)
    return f"{left} failure{'' if left == 1 else 's'}"


def _budgets(seen: Observation) -> list[str]:
    return [
        printable(
            f" {cluster.scope}: leader {cluster.leader}, write-gap budget {cluster.write_gap_budget:.1f} s"
        )
        for cluster in seen.patroni
    ]
