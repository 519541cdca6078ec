"""What an operation came to, for people and for scripts."""

from __future__ import annotations

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import nothing_done, show_data, show_error, show_findings, tsv
from patroni_etcd_reconfig.core.findings import blockers
from patroni_etcd_reconfig.engine.operation import DRY_RUN
from patroni_etcd_reconfig.engine.result import MEASURES, Result, exceeded, shield_findings


def show_result(app: App, result: Result) -> int:
    """Print the result in the wanted format and return the exit code."""
    if app.wants_data:
        show_data(app.format, result.as_dict())
    elif app.format == "tsv":
        steps = result.record.steps if result.record else []
        rows = [(step.name, step.subject, step.state, f"{step.seconds:.3f}") for step in steps]
        click.echo(tsv(("Step", "Subject", "State", "Seconds"), rows))
    else:
        _show_pretty(app, result)
    return result.exit_code


def show_nothing(app: App, text: str) -> int:
    """Say that there was nothing to do, in the contract's form where that is wanted."""
    click.echo(text, err=True)
    if app.wants_data:
        show_data(app.format, nothing_done())
    return 0


def _show_pretty(app: App, result: Result) -> None:
    shield = shield_findings(result.record) if result.record and result.measured else ()
    show_findings([*blockers(result.findings), *exceeded(result.measured or {}), *shield])
    if result.record and result.record.operation_id == DRY_RUN and not result.error:
        click.echo(f"Dry run: {len(result.record.steps)} steps pass their gates now; nothing was touched.")
    elif result.record and result.measured:
        click.echo("\n".join(_proof(result)))
    if result.error:
        show_error(app, result.error)


def _proof(result: Result) -> list[str]:
    measured = {key: (result.measured or {}).get(key, 0) for key in MEASURES}
    operation_id = result.record.operation_id if result.record else ""
    done = sum(step.state == "done" for step in (result.record.steps if result.record else ()))
    return [
        f"Operation {operation_id}: {result.state} in {result.seconds:.1f} s, {done} steps",
        _line("largest DCS write gap", f"{measured['dcs_write_gap_max_ms']:.0f} ms", "at most 100 ms"),
        _line("DCS write gaps above 100 ms", f"{measured['dcs_write_gaps_over_100ms']:.0f}", "0"),
        _line("Patroni leader changes", f"{measured['patroni_leader_changes']:.0f}", "0"),
        _line("PostgreSQL timeline changes", f"{measured['timeline_changes']:.0f}", "0"),
    ]


def _line(what: str, value: str, promise: str) -> str:
    return f"  {what:<28} {value:>8}   promised: {promise}"
