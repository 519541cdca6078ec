"""`restart`, `move-leader`: the members stay who they are."""

from __future__ import annotations

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.running import carry_out, change_options
from patroni_etcd_reconfig.core.changes import leader_move, restart_of


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@change_options
@click.pass_obj
def restart(app: App, names: tuple[str, ...], force: bool, dry_run: bool) -> int:
    """Restart the named etcd members, or all, one by one: followers first, the leader last."""
    return carry_out(app, lambda _, etcd: restart_of(etcd, names), force=force, dry_run=dry_run)


@click.command("move-leader")
@click.argument("name", required=False)
@change_options
@click.pass_obj
def move_leader(app: App, name: str | None, force: bool, dry_run: bool) -> int:
    """Move raft leadership to the named voter, or off the leader of now to the most caught-up voter."""
    return carry_out(app, lambda _, etcd: leader_move(etcd, name), force=force, dry_run=dry_run)
