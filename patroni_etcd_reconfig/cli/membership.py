"""`add`, `remove`, `promote`, `apply`: every change of who is a member."""

from __future__ import annotations

from pathlib import Path

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.planfile import planned_change
from patroni_etcd_reconfig.cli.running import (
    carry_out,
    change_options,
    inventory_change,
    refuse_taken,
    seat_of,
)
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import (
    Change,
    addition_of,
    find_member,
    promotion_of,
    removal_of,
)
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.errors import ConfigError


@click.command()
@click.argument("names", metavar="NODE...", nargs=-1, required=True)
@click.option("--learner", is_flag=True, help="Leave the new members learners: no votes.")
@change_options
@click.pass_obj
def add(app: App, names: tuple[str, ...], learner: bool, force: bool, dry_run: bool) -> int:
    """Add nodes of the inventory as members, one by one: as learners first, voters once they caught up.

    With --learner it is one node: etcd allows one learner at a time.
    """
    if learner and len(set(names)) > 1:
        raise click.UsageError(
            "etcd allows one learner at a time: name one node with --learner; to add the others as voters, "
            "leave --learner out"
        )

    def wanted(wiring: Wiring, etcd: EtcdView) -> Change:
        seats = tuple(seat_of(wiring, name) for name in dict.fromkeys(names))
        for seat in seats:
            refuse_taken(etcd, seat)
        return addition_of(etcd, seats, as_learners=learner)

    return carry_out(app, wanted, force=force, dry_run=dry_run)


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@change_options
@click.pass_obj
def remove(app: App, names: tuple[str, ...], force: bool, dry_run: bool) -> int:
    """Remove members, by name or by id: the dead first, the leader last and after its leadership moved."""
    return carry_out(app, lambda _, etcd: removal_of(etcd, names), force=force, dry_run=dry_run)


@click.command()
@click.argument("name")
@change_options
@click.pass_obj
def promote(app: App, name: str, force: bool, dry_run: bool) -> int:
    """Promote a learner once it is in sync with the leader."""

    def wanted(_: Wiring, etcd: EtcdView) -> Change:
        if not find_member(etcd, name).member.is_learner:
            raise ConfigError(f"{name} votes already", hint="patronictl-etcd status", code="NOT_A_LEARNER")
        return promotion_of(etcd, name)

    return carry_out(app, wanted, force=force, dry_run=dry_run)


@click.command()
@click.argument("plan_file", required=False, type=click.Path(path_type=Path))
@change_options
@click.pass_obj
def apply(app: App, plan_file: Path | None, force: bool, dry_run: bool) -> int:
    """Make the membership equal to the inventory (-i), or carry out a plan file.

    Any mix of additions, removals and moves, one safe change at a time. A plan file is refused, with exit
    code 7, when the cluster is no longer the one it was made for.
    """

    def wanted(wiring: Wiring, etcd: EtcdView) -> Change:
        return planned_change(plan_file, wiring, etcd) if plan_file else inventory_change(wiring, etcd)

    return carry_out(app, wanted, force=force, dry_run=dry_run)
