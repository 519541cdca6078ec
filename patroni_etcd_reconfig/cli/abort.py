"""`abort`: end an interrupted operation at a safe state instead of finishing it."""

from __future__ import annotations

from dataclasses import replace

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import accept_option, format_option
from patroni_etcd_reconfig.cli.planview import show_plan
from patroni_etcd_reconfig.cli.resume import choose, run_record
from patroni_etcd_reconfig.cli.running import confirm
from patroni_etcd_reconfig.cli.summary import show_nothing, show_result
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import Change, abort_of
from patroni_etcd_reconfig.core.hiding import reveals
from patroni_etcd_reconfig.core.model import Observation
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.relocating import holds
from patroni_etcd_reconfig.core.remains import in_words, what_stays
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
@click.pass_obj
def command(app: App, operation_id: str | None, force: bool) -> int:
    """End an interrupted operation at a safe state: a half-joined learner is removed again.

    What is already replaced stays replaced: undoing a membership change is another dangerous change.
    """
    wiring = Wiring(app)
    seen = wiring.observe()
    record = choose(find_unfinished(app.state_dir, wiring.mirror, seen.etcd.cluster_id), operation_id)
    if record is None:
        return show_nothing(app, "Nothing to abort.")
    kinds = frozenset(step.name for step in record.steps)
    if wiring.know_addresses(record.change):
        seen = wiring.observe()
    change = record.turned or _way_out(seen, record.change, kinds)
    if wiring.prepare(change):
        seen = wiring.observe()
    refuse_only_forward(seen, change)
    seen = replace(seen, progress=record.progress)
    click.echo(show_plan(make_plan(seen, change), seen), err=True)
    left = what_stays(seen.etcd, record.change)
    for finding in left:
        click.echo(in_words(finding), err=True)
    confirm(f"Are you sure you want to abort {record.operation_id}?", force)
    return show_result(app, run_record(wiring, record, change, goal="aborted", findings=left))


def _way_out(seen: Observation, begun: Change, kinds: frozenset[str]) -> Change:
    """A new voter stays one: if it still hides behind others' URLs, it gets its own."""
    change = abort_of(seen.etcd, begun, kinds)
    return replace(change, relocations=(*change.relocations, *reveals(seen.etcd, begun)))


def refuse_only_forward(seen: Observation, change: Change) -> None:
    """Once the old data was set aside, the copy is all there is to go on with."""
    for to in change.taken_back:
        if not holds(seen.nodes.get(to.member.name), to.member):
            raise OnlyForwardError(
                f"the old data of {to.member.name} was set aside: from here on there is only the copy",
                hint="patronictl-etcd resume",
            )
