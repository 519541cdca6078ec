"""`resume`: finish what an interrupted operation began."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import accept_option, dry_run_option, format_option
from patroni_etcd_reconfig.cli.planview import show_plan
from patroni_etcd_reconfig.cli.progress import reporter
from patroni_etcd_reconfig.cli.running import confirm, simulate
from patroni_etcd_reconfig.cli.summary import show_nothing, show_result
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import Change
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import Observation
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.engine.journal import Journal, Record, reopen
from patroni_etcd_reconfig.engine.result import Result
from patroni_etcd_reconfig.engine.unfinished import fetch, find_unfinished
from patroni_etcd_reconfig.errors import ConfigError, ExitCode, ReconfigError

# What is to be done, by a look and by what the journal tells at that time.
Decide = Callable[[Observation, Record], Change]
Stays = Callable[[Observation, Record], tuple[Finding, ...]]


class ConfirmedOtherwiseError(ReconfigError):
    """While this run asked or waited, another one changed what is to be done."""

    exit_code = ExitCode.PLAN_MISMATCH
    code = "CONFIRMED_OTHERWISE"


class EndedMeanwhile(Exception):  # noqa: N818 - no error: nothing is left to be done
    """Another run finished the operation while this one asked or waited."""


@click.command()
@click.argument("operation_id", required=False)
@format_option
@accept_option
@click.option("--force", is_flag=True, help="Do not ask for confirmation.")
@dry_run_option
@click.pass_obj
def command(app: App, operation_id: str | None, force: bool, dry_run: bool) -> int:
    """Finish an interrupted operation: the newest one on this cluster, or the one named."""
    wiring = Wiring(app)
    seen = wiring.observe()
    open_ones = find_unfinished(app.state_dir, wiring.mirror, seen.etcd.cluster_id)
    record = choose(open_ones, operation_id)
    if record is None:
        return show_nothing(app, "Nothing to resume.")
    change, goal = what_is_left(seen, record), "aborted" if record.turned else "done"
    if wiring.prepare(change):
        seen = wiring.observe()
    seen = replace(seen, progress=record.progress)
    click.echo(show_plan(make_plan(seen, change), seen), err=True)
    if dry_run:
        return show_result(app, simulate(wiring, change, seen, goal))
    confirm(f"Are you sure you want to go on with {record.operation_id}?", force)
    try:
        return show_result(app, run_record(wiring, record, change, what_is_left, goal=goal))
    except EndedMeanwhile as ended:
        return show_nothing(app, f"Nothing to resume: {ended}.")


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


def what_is_left(_: Observation, record: Record) -> Change:
    """Return what an unfinished operation goes for: what it was begun for, or its abort."""
    return record.turned or record.change


def run_record(
    wiring: Wiring,
    record: Record,
    confirmed: Change,
    decide: Decide,
    *,
    goal: str = "done",
    stays: Stays = lambda _, __: (),
) -> Result:
    """Go on under the journal of an earlier run, with its change or with what ends it.

    The plan was shown, and confirmed, without the lock, which another run may have had till now. So what is
    to be done is decided again under it. Raises EndedMeanwhile when that is nothing, and
    ConfirmedOtherwiseError when it is something else.
    """
    path = wiring.journal_path(record.operation_id)

    def open_journal(before: Observation) -> Journal:
        fetch(path, record.operation_id, wiring.mirror)
        journal = reopen(path, wiring.clock, wiring.mirror)
        if journal.record.finished:
            raise EndedMeanwhile(f"{record.operation_id} is {journal.record.state} by now")
        if decide(before, journal.record) != confirmed:
            raise _otherwise(wiring, record.operation_id, "resume" if goal == "done" else "abort")
        operation.findings = stays(before, journal.record)
        if confirmed != what_is_left(before, journal.record):
            journal.turn(confirmed)
        return journal

    with reporter() as progress:
        operation = wiring.operation(record.operation_id, confirmed, progress, goal=goal)
        return operation.run(open_journal, wait_for_lock=True)


def _otherwise(wiring: Wiring, operation_id: str, command: str) -> ConfirmedOtherwiseError:
    return ConfirmedOtherwiseError(
        f"{operation_id} went on, or the members changed, since the plan was shown: what is left to be done "
        "is something else now; this run changed nothing",
        hint=f"look at the new plan: {wiring.app.command_line(command, operation_id)}",
    )
