"""`cycle`: replace etcd members one by one, in place, or with a spare machine that stands in."""

from __future__ import annotations

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.running import carry_out, change_options, refuse_taken, seat_of
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import Change, cycle_of, cycle_with_spare
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.errors import ConfigError


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--spare", metavar="NODE", help="A node without a member that stands in: tolerance never drops."
)
@click.option(
    "--keep-spare", is_flag=True, help="The spare stays; the last victim's machine is the next one."
)
@change_options
@click.pass_obj
def command(
    app: App, names: tuple[str, ...], spare: str | None, keep_spare: bool, force: bool, dry_run: bool
) -> int:
    """Replace the named etcd members, or all, one by one in place.

    Followers come first and the leader last, after its leadership was moved. Each new member joins as a
    learner and votes once it has caught up. A snapshot is saved before the first change, old data dirs are
    renamed aside, and Patroni must be calm before every step.

    With --spare, the spare node is added and promoted before the first member goes, and removed after the
    last one is back: at no step can fewer members fail than before.
    """
    if keep_spare and not spare:
        raise ConfigError("--keep-spare says what becomes of --spare", hint="name the node: --spare NODE")

    def wanted(wiring: Wiring, etcd: EtcdView) -> Change:
        if spare is None:
            return cycle_of(etcd, names)
        seat = seat_of(wiring, spare)
        refuse_taken(etcd, seat)
        return cycle_with_spare(etcd, names, seat, keep=keep_spare)

    return carry_out(app, wanted, force=force, dry_run=dry_run)
