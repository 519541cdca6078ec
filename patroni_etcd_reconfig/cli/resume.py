"""`resume`: finish what an interrupted operation began."""

from __future__ import annotations

from dataclasses import replace

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import accept_option, format_option
from patroni_etcd_reconfig.cli.planview import show_plan
from patroni_etcd_reconfig.cli.progress import reporter
from patroni_etcd_reconfig.cli.running import confirm
from patroni_etcd_reconfig.cli.summary import show_nothing, show_result
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import Change
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import Observation
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.engine.journal import Journal, Record, reopen
from patroni_etcd_reconfig.engine.result import Result
from patroni_etcd_reconfig.engine.unfinished import fetch, find_unfinished
from patroni_etcd_reconfig.errors import ConfigError


@click.command()
@click.argument("operation_id", required=False)
@format_option
@accept_option
@click.option("--force", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def command(app: App, operation_id: str | None, force: bool) -> int:
    """Finish an interrupted operation: the newest one on this cluster, or the one named."""
    wiring = Wiring(app)
    seen = wiring.observe()
    open_ones = find_unfinished(app.state_dir, wiring.mirror, seen.etcd.cluster_id)
    record = choose(open_ones, operation_id)
    if record is None:
        return show_nothing(app, "Nothing to resume.")
    if wiring.prepare(record.turned or record.change):
        seen = wiring.observe()
    seen = replace(seen, progress=record.progress)
    click.echo(show_plan(make_plan(seen, record.turned or record.change), seen), err=True)
    confirm(f"Are you sure you want to go on with {record.operation_id}?", force)
    goal = "aborted" if record.turned else "done"
    return show_result(app, run_record(wiring, record, record.turned or record.change, goal=goal))


def choose(records: list[Record], operation_id: str | None) -> Record | None:
    """Return the named operation, or the newest; ConfigError lists those there are."""
    if operation_id is None:
        return records[0] if records else None
    for record in records:
        if record.operation_id == operation_id:
            return record
    known = ", ".join(record.operation_id for record in records) or "none"
    raise ConfigError(
        f"no unfinished operation is called {operation_id!r}",
        hint=f"unfinished operations: {known}",
        code="UNKNOWN_OPERATION",
    )


def run_record(
    wiring: Wiring,
    record: Record,
    change: Change,
    *,
    goal: str = "done",
    findings: tuple[Finding, ...] = (),
) -> Result:
    """Go on under the journal of an earlier run, with its change or with what ends it."""
    path = wiring.journal_path(record.operation_id)

    def open_journal(_: Observation) -> Journal:
        """Only under the lock: the run that had it may have written until now."""
        fetch(path, record.operation_id, wiring.mirror)
        journal = reopen(path, wiring.clock, wiring.mirror)
        if change != (record.turned or record.change):
            journal.turn(change)
        return journal

    with reporter() as progress:
        operation = wiring.operation(record.operation_id, change, progress, findings, goal)
        return operation.run(open_journal, wait_for_lock=True)
