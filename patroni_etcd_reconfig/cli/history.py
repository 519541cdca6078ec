"""`history`: what was done to this etcd, by whom, and how it ended."""

from __future__ import annotations

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import format_option, show_data, table, tsv
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.engine.journal import Record
from patroni_etcd_reconfig.engine.result import timestamp
from patroni_etcd_reconfig.engine.unfinished import all_records
from patroni_etcd_reconfig.errors import ReconfigError

COLUMNS = ("Operation", "Change", "Members", "State", "Started", "By", "Steps", "Max gap in ms")


@click.command()
@format_option
@click.pass_obj
def command(app: App) -> None:
    """Show the operations on this etcd, newest first: from this host's journals and from etcd's copies."""
    wiring = Wiring(app)
    try:
        wiring.observe()
    except ReconfigError as error:
        click.echo(f"only this host's journals: {error}", err=True)
    records = all_records(app.state_dir, wiring.mirror)
    if app.wants_data:
        show_data(app.format, {"format": 1, "operations": [_as_dict(r) for r in records], "error": None})
        return
    rows = [tuple(_as_dict(record).values()) for record in records]
    click.echo(tsv(COLUMNS, rows) if app.format == "tsv" else table("History", COLUMNS, rows, COLUMNS[-2:]))
    days, command_line = app.policy.retention_days, app.command_line("cleanup")
    click.echo(
        f"Data set aside and snapshots stay; to delete those of {days} days ago: {command_line}", err=True
    )


def _as_dict(record: Record) -> dict[str, object]:
    gap = record.measured.get("dcs_write_gap_max_ms")
    holder = record.holder
    return {
        "id": record.operation_id,
        "change": record.change.verb,
        "members": ", ".join(record.change.subjects),
        "state": record.state if record.finished or record.state != "running" else "unfinished",
        "started_at": timestamp(record.started_at),
        "by": f"{holder.get('user') or 'somebody'}@{holder.get('host', '')}",
        "steps": len(record.steps),
        "dcs_write_gap_max_ms": gap,
    }
