"""`cycle`: replace etcd members one by one, in place."""

from __future__ import annotations

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.running import carry_out, change_options
from patroni_etcd_reconfig.core.changes import cycle_of


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@change_options
@click.pass_obj
def command(app: App, names: tuple[str, ...], force: bool, dry_run: bool) -> int:
    """Replace the named etcd members, or all, one by one in place.

    Followers come first and the leader last, after its leadership was moved. Each new member joins as a
    learner and votes once it has caught up. A snapshot is saved before the first change, old data dirs are
    renamed aside, and Patroni must be calm before every step.
    """
    return carry_out(app, lambda _, etcd: cycle_of(etcd, names), force=force, dry_run=dry_run)
