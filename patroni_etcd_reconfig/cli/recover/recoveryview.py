"""How a recovery looks: what will happen, and what it came to."""

from __future__ import annotations

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import printable, show_data, show_error, show_findings
from patroni_etcd_reconfig.cli.summary import show_result
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.core.recovery.steps import describe, steps_of
from patroni_etcd_reconfig.engine.result import Result


def plan_text(plan: RecoveryPlan) -> str:
    """Return what will happen, in order, and what is lost by it."""
    lines = [f"Recovery plan {plan.id}"]
    if plan.survivor:
        lines.append(f"  Survivor: {plan.survivor.node} ({plan.survivor.why})")
    for fence in plan.fence:
        how = "declared lost: it is not touched" if fence.lost else "stopped, its data set aside"
        lines.append(f"  Fenced:   {fence.node} ({fence.member_id:x}): {how}")
    for scope in plan.scopes:
        stale = f"; not true in the DCS: {', '.join(scope.stale)}" if scope.stale else ""
        lead = f"{scope.should_lead or scope.leader_in_dcs} leads{', as chosen' if scope.chosen else ''}"
        lines.append(f"  Patroni:  {scope.scope}: {lead}{stale}")
    lines += [f"  Lost:     {loss}" for loss in plan.losses]
    lines += [f"  {number:>2}. {describe(step)}" for number, step in enumerate(steps_of(plan), 1)]
    return "\n".join(printable(line) for line in lines)


def show_recovery(app: App, plan: RecoveryPlan, result: Result, plan_file: str = "PLAN") -> int:
    """Print the result in the wanted format and return the exit code."""
    if app.format == "tsv":
        return show_result(app, result)
    if app.wants_data:
        show_data(app.format, {**result.as_dict(), "plan": plan.id})
        return result.exit_code
    show_findings(result.findings)
    if result.record:
        done = sum(step.state == "done" for step in result.record.steps)
        click.echo(f"Recovery {plan.id}: {result.state} in {result.seconds:.1f} s, {done} steps")
        seconds = (result.measured or {}).get("seconds_to_writable")
        if seconds is not None:
            click.echo(f"  PostgreSQL took writes again after {seconds:.1f} s")
    elif not result.error:
        click.echo("Dry run: the plan fits what is there now; nothing was touched.")
    if result.error:
        show_error(app, result.error)
    else:
        click.echo(f"Next: {app.command_line('recover', 'verify', plan_file)}", err=True)
    return result.exit_code
