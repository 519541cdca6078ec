"""`replace`, `add`, `remove`, `promote`, `apply`: every change of who is a member."""

from __future__ import annotations

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.running import carry_out, change_options
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import (
    Change,
    Seat,
    addition_of,
    equality_with,
    find_member,
    promotion_of,
    removal_of,
    replacement_of,
)
from patroni_etcd_reconfig.core.model import EtcdView, format_id
from patroni_etcd_reconfig.errors import ConfigError


@click.command()
@click.argument("name")
@click.option(
    "--by", metavar="NODE", help="The node of the inventory that takes its place; default: its own."
)
@change_options
@click.pass_obj
def replace(app: App, name: str, by: str | None, force: bool, dry_run: bool) -> int:
    """Replace a failed or healthy member by a new one, in place or on another machine.

    A dead member is removed first. A healthy one is removed only after its replacement on another machine
    votes, so that failure tolerance never drops. In place, removal has to come first.
    """

    def wanted(wiring: Wiring, etcd: EtcdView) -> Change:
        present = find_member(etcd, name).member
        own = Seat(present.name, present.peer_urls)
        return replacement_of(etcd, name, seat_of(wiring, by) if by and by != name else own)

    return carry_out(app, wanted, force=force, dry_run=dry_run)


@click.command()
@click.argument("names", metavar="NODE...", nargs=-1, required=True)
@click.option("--learner", is_flag=True, help="Leave the new members learners: no votes.")
@change_options
@click.pass_obj
def add(app: App, names: tuple[str, ...], learner: bool, force: bool, dry_run: bool) -> int:
    """Add nodes of the inventory as members, one by one: as learners first, voters once they caught up."""

    def wanted(wiring: Wiring, etcd: EtcdView) -> Change:
        seats = tuple(seat_of(wiring, name) for name in dict.fromkeys(names))
        _refuse_taken(etcd, seats)
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
@change_options
@click.pass_obj
def apply(app: App, force: bool, dry_run: bool) -> int:
    """Make the membership equal to the inventory (-i): grow, shrink, move, one safe change at a time."""

    def wanted(wiring: Wiring, etcd: EtcdView) -> Change:
        if not wiring.nodes:
            raise ConfigError("the inventory names no members", hint="give one with -i", code="NO_INVENTORY")
        return equality_with(etcd, tuple(_live_or_listed(wiring, etcd, name) for name in wiring.nodes))

    return carry_out(app, wanted, force=force, dry_run=dry_run)


def seat_of(wiring: Wiring, name: str) -> Seat:
    """Return the seat that the inventory gives a node; ConfigError says what is missing there."""
    node = wiring.nodes.get(name)
    if node is None or not node.peer_urls:
        what = "does not name this node" if node is None else "gives it no peer_url"
        raise ConfigError(
            f"{name}: the inventory {what}",
            hint=f"put {name} under etcd.members with host, peer_url and client_url",
            code="UNKNOWN_NODE",
        )
    return Seat(name, node.peer_urls)


def _live_or_listed(wiring: Wiring, etcd: EtcdView, name: str) -> Seat:
    """URLs default to the running member's."""
    node = wiring.nodes[name]
    live = next((view.member for view in etcd.members if view.member.name == name), None)
    return Seat(name, live.peer_urls) if live and not node.peer_urls else seat_of(wiring, name)


def _refuse_taken(etcd: EtcdView, seats: tuple[Seat, ...]) -> None:
    for seat in seats:
        taken = etcd.by_peer_urls(seat.peer_urls)
        if taken:
            who = taken.member.name or format_id(taken.id)
            raise ConfigError(
                f"{seat.name}: {', '.join(seat.peer_urls)} is member {who} already",
                hint=f"patronictl-etcd replace {who}",
                code="ALREADY_MEMBER",
            )
