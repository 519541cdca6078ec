"""`abort`: end an interrupted operation at a safe state instead of finishing it."""

from __future__ import annotations

from dataclasses import replace

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import accept_option, dry_run_option, format_option
from patroni_etcd_reconfig.cli.planview import show_plan
from patroni_etcd_reconfig.cli.resume import EndedMeanwhile, choose, run_record
from patroni_etcd_reconfig.cli.running import confirm, simulate
from patroni_etcd_reconfig.cli.summary import show_nothing, show_result
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.aborting import promoted
from patroni_etcd_reconfig.core.changes import Change, abort_of
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.hiding import reveals
from patroni_etcd_reconfig.core.model import Observation
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.relocating import holds
from patroni_etcd_reconfig.core.remains import in_words, what_stays
from patroni_etcd_reconfig.engine.journal import Record
from patroni_etcd_reconfig.engine.unfinished import find_unfinished
from patroni_etcd_reconfig.errors import ExitCode, ReconfigError


class OnlyForwardError(ReconfigError):
    """The operation can be finished, and not be taken back any more."""

    exit_code = ExitCode.BLOCKED
    code = "ONLY_FORWARD"


@click.command()
@click.argument("operation_id", required=False)
@format_option
@accept_option
@click.option("--force", is_flag=True, help="Do not ask for confirmation.")
@dry_run_option
@click.pass_obj
def command(app: App, operation_id: str | None, force: bool, dry_run: bool) -> int:
    """End an interrupted operation at a safe state: a half-joined learner is removed again.

    What is already replaced stays replaced: undoing a membership change is another dangerous change.
    """
    wiring = Wiring(app)
    seen = wiring.observe()
    record = choose(find_unfinished(app.state_dir, wiring.mirror, seen.etcd.cluster_id), operation_id)
    if record is None:
        return show_nothing(app, "Nothing to abort.")
    if wiring.know_addresses(record.change):
        seen = wiring.observe()
    if wiring.prepare(way_out(seen, record)):
        seen = wiring.observe()
    change = decide(seen, record)
    seen = replace(seen, progress=record.progress)
    click.echo(show_plan(make_plan(seen, change), seen), err=True)
    left = stays(seen, record)
    for finding in left:
        click.echo(in_words(finding), err=True)
    if dry_run:
        result = simulate(wiring, change, seen, "aborted")
        return show_result(app, replace(result, findings=(*result.findings, *left)))
    confirm(f"Are you sure you want to abort {record.operation_id}?", force)
    try:
        return show_result(app, run_record(wiring, record, change, decide, goal="aborted", stays=stays))
    except EndedMeanwhile as ended:
        return show_nothing(app, f"Nothing to abort: {ended}.")


def decide(seen: Observation, record: Record) -> Change:
    """Return what ends the operation; raises OnlyForwardError where nothing can but its end."""
    change = way_out(seen, record)
    refuse_only_forward(seen, change)
    return change


def way_out(seen: Observation, record: Record) -> Change:
    """Return the abort that was begun, unless it is out of date, or else a new one.

    A new voter stays one: if it still hides behind others' URLs, it gets its own.
    """
    if record.turned and not promoted(seen.etcd, record.turned):
        return record.turned
    change = abort_of(seen.etcd, record.change, frozenset(step.name for step in record.steps))
    return replace(change, relocations=(*change.relocations, *reveals(seen.etcd, record.change)))


def stays(seen: Observation, record: Record) -> tuple[Finding, ...]:
    """Say what becomes of every member that the operation was about."""
    step = "UpgradeMember" if record.change.command else "RestartMember"
    done = (past.subject for past in record.steps if past.name == step and past.state == "done")
    return what_stays(seen.etcd, record.change, frozenset(done))


def refuse_only_forward(seen: Observation, change: Change) -> None:
    """Once the old data was set aside, the copy is all there is to go on with."""
    for to in change.taken_back:
        if not holds(seen.nodes.get(to.member.name), to.member):
            raise OnlyForwardError(
                f"the old data of {to.member.name} was set aside: from here on there is only the copy",
                hint="patronictl-etcd resume",
            )
