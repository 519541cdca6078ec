"""`history`: what was done to this etcd, by whom, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import format_option, show_data, table, tsv
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.engine.journal import Record
from patroni_etcd_reconfig.engine.recovery.journal import RecoveryRecord, all_recoveries
from patroni_etcd_reconfig.engine.result import timestamp
from patroni_etcd_reconfig.engine.unfinished import all_records
from patroni_etcd_reconfig.errors import ReconfigError

COLUMNS = ("Operation", "Change", "Members", "State", "Started", "By", "Steps", "Max gap in ms")


@click.command()
@format_option
@click.pass_obj
def command(app: App) -> None:
    """Show the operations on this etcd, newest first: from this host's journals and from etcd's copies.

    And the recoveries that were begun on this host, which are written down here only.
    """
    wiring = Wiring(app)
    try:
        wiring.observe()
    except ReconfigError as error:
        click.echo(f"only this host's journals: {error}", err=True)
    records = all_records(app.state_dir, wiring.mirror)
    recoveries = all_recoveries(app.state_dir)
    if app.wants_data:
        operations = [_as_dict(record) for record in records]
        recovered = [_recovery_as_dict(record) for record in recoveries]
        data = {"format": 1, "operations": operations, "recoveries": recovered, "error": None}
        show_data(app.format, data)
        return
    dated = [(r.started_at, tuple(_as_dict(r).values())) for r in records]
    dated += [(r.started_at, _recovery_row(r)) for r in recoveries]
    rows = [row for _, row in sorted(dated, key=lambda pair: pair[0], reverse=True)]
    click.echo(tsv(COLUMNS, rows) if app.format == "tsv" else table("History", COLUMNS, rows, COLUMNS[-2:]))
    days, command_line = app.policy.retention_days, app.command_line("cleanup")
    click.echo(
        f"Data set aside and snapshots stay; to delete those of {days} days ago: {command_line}", err=True
    )


def _as_dict(record: Record) -> dict[str, object]:
    gap = record.measured.get("dcs_write_gap_max_ms")
    return {
        "id": record.operation_id,
        "change": record.change.verb,
        "members": ", ".join(record.change.subjects),
        "state": record.state if record.finished or record.state != "running" else "unfinished",
        "started_at": timestamp(record.started_at),
        "by": _who(record.holder),
        "steps": len(record.steps),
        "dcs_write_gap_max_ms": gap,
    }


def _recovery_as_dict(record: RecoveryRecord) -> dict[str, object]:
    return {
        "id": record.operation_id,
        "change": record.verb,
        "state": "unfinished" if record.state == "running" else record.state,
        "started_at": timestamp(record.started_at),
        "ended_at": None if record.ended_at is None else timestamp(record.ended_at),
        "by": _who(record.holder),
        "steps": len(record.steps),
    }


def _recovery_row(record: RecoveryRecord) -> tuple[object, ...]:
    facts = _recovery_as_dict(record)
    shown = ("id", "change", "", "state", "started_at", "by", "steps", "")
    return tuple(facts.get(key) for key in shown)


def _who(holder: Mapping[str, Any]) -> str:
    return f"{holder.get('user') or 'somebody'}@{holder.get('host', '')}"
