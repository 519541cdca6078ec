"""`restart`, `upgrade`, `move-leader`: the members stay who they are."""

from __future__ import annotations

import shlex

import click

from patroni_etcd_reconfig.adapters.commands import missing_program
from patroni_etcd_reconfig.adapters.inventory_checks import ALLOWED, PLACEHOLDERS, placeholders
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.running import carry_out, change_options
from patroni_etcd_reconfig.core.changes import leader_move, restart_of, upgrade_of
from patroni_etcd_reconfig.core.hazards import parse_version


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@change_options
@click.pass_obj
def restart(app: App, names: tuple[str, ...], force: bool, dry_run: bool) -> int:
    """Restart the named etcd members, or all, one by one: followers first, the leader last."""
    return carry_out(app, lambda _, etcd: restart_of(etcd, names), force=force, dry_run=dry_run)


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--command", "line", required=True, help="Run on each node while its etcd is down; no shell.")
@click.option(
    "--to", "to_version", default="", metavar="VERSION", help="The version that it brings, as 3.5.30."
)
@change_options
@click.pass_obj
def upgrade(app: App, names: tuple[str, ...], line: str, to_version: str, force: bool, dry_run: bool) -> int:
    """Upgrade the named etcd members, or all, one by one: followers first, the leader last.

    Each is stopped, the command is run on its node, and it is started and checked. The command is split into
    words as a shell would, and run without one; {name} {config_file} {data_dir} {host} are filled in. It may
    run twice on a node, when the tool dies in the middle. Never two minor versions at once: tell --to, and
    that is checked before anything is touched.
    """
    _check_line(line, to_version)
    return carry_out(
        app, lambda _, etcd: upgrade_of(etcd, names, line, to_version), force=force, dry_run=dry_run
    )


def _check_line(line: str, to_version: str) -> None:
    try:
        problem = _problem_of(shlex.split(line))
    except ValueError as error:
        raise click.BadParameter(f"--command can't be read as a command line: {error}") from error
    if problem:
        raise click.BadParameter(f"--command: {problem}")
    if to_version and parse_version(to_version) is None:
        raise click.BadParameter(f"--to {to_version} is not a version such as 3.5.30")


def _problem_of(words: list[str]) -> str:
    """What can't work is found while every member runs; all nodes are on this machine in this version."""
    unknown = {name for word in words for name in placeholders(word)} - set(PLACEHOLDERS)
    if unknown:
        return f"unknown placeholder {{{min(unknown)}}}; allowed are {ALLOWED}"
    if not words:
        return "is empty"
    return "" if placeholders(words[0]) else missing_program(words)


@click.command("move-leader")
@click.argument("name", required=False)
@change_options
@click.pass_obj
def move_leader(app: App, name: str | None, force: bool, dry_run: bool) -> int:
    """Move raft leadership to the named voter, or off the leader of now to the most caught-up voter."""
    return carry_out(app, lambda _, etcd: leader_move(etcd, name), force=force, dry_run=dry_run)
