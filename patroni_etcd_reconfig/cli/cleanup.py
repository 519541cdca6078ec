"""`cleanup`: delete what finished operations set aside, once its time is over and when told to."""

from __future__ import annotations

import time
from typing import Any

import click

from patroni_etcd_reconfig.adapters.leftovers import Leftover, delete, find_leftovers
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import format_option, show_data, table, tsv
from patroni_etcd_reconfig.cli.running import confirm
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.engine.result import timestamp
from patroni_etcd_reconfig.engine.unfinished import all_records
from patroni_etcd_reconfig.errors import StepFailedError

COLUMNS = ("Path", "Kind", "Operation", "Begun", "Bytes")
DAY = 86400.0


@click.command()
@click.option(
    "--older-than", type=click.IntRange(min=0), metavar="DAYS", help="Default: policy.retention_days."
)
@format_option
@click.option("--force", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", is_flag=True, help="List only.")
@click.pass_obj
def command(app: App, older_than: int | None, force: bool, dry_run: bool) -> None:
    """List what finished operations left on this machine and is past its retention, and delete it.

    Old data dirs, configurations from before, and operations' snapshots. Nothing of an operation that can
    still be resumed, or that no journal knows, such as a recovery; and no journal. Without this command
    nothing is ever deleted.
    """
    days = app.policy.retention_days if older_than is None else older_than
    past, kept = _past_retention(Wiring(app), days)
    if past and not app.wants_data:
        rows = [tuple(_as_dict(item).values()) for item in past]
        listed = (
            tsv(COLUMNS, rows) if app.format == "tsv" else table("To delete", COLUMNS, rows, COLUMNS[-1:])
        )
        click.echo(listed)
    if past and not dry_run:
        confirm(f"Are you sure you want to delete these {len(past)} for good?", force)
        _delete_all(past)
    done = "would be deleted" if dry_run else "deleted"
    if app.wants_data:
        items = [_as_dict(item) for item in past]
        data = {"older_than_days": days, "dry_run": dry_run, "deleted": items, "kept": kept}
        show_data(app.format, {"format": 1, "cleanup": data, "error": None})
    click.echo(
        f"{len(past)} {done}, {kept} kept: not older than {days} days, or not known to be finished.", err=True
    )


def _past_retention(wiring: Wiring, days: int) -> tuple[list[Leftover], int]:
    """Return what may go, and how much stays: of operations that no journal tells the end of, everything.

    etcd is looked at: it knows what other hosts have done.
    """
    wiring.observe()
    wiring.mirror.journals()  # an error here is no reason to take them for finished
    records = all_records(wiring.app.state_dir, wiring.mirror)
    finished = {record.operation_id for record in records if record.finished}
    found = find_leftovers(wiring.app.inventory.nodes.values(), wiring.app.state_dir)
    old = time.time() - days * DAY
    past = [item for item in found if item.at < old and item.operation_id in finished]
    return past, len(found) - len(past)


def _delete_all(items: list[Leftover]) -> None:
    for item in items:
        try:
            delete(item)
        except OSError as error:
            raise StepFailedError(
                f"{item.path} can't be deleted: {error.strerror or error}",
                hint="correct the rights there, then: patronictl-etcd cleanup",
            ) from error


def _as_dict(item: Leftover) -> dict[str, Any]:
    return {
        "path": str(item.path),
        "kind": item.kind,
        "operation": item.operation_id,
        "begun_at": timestamp(item.at),
        "bytes": item.size,
    }
