"""`replace`: one member by a new one, in place, with other URLs, or on another machine."""

from __future__ import annotations

from dataclasses import dataclass

import click

from patroni_etcd_reconfig.adapters.inventory_checks import is_base_url
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.running import carry_out, change_options, refuse_taken, seat_of
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import Change, Seat, find_member, replacement_of
from patroni_etcd_reconfig.core.model import EtcdView, Member
from patroni_etcd_reconfig.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """Where the new member shall be, as the command line says it; empty = as it is, or as listed."""

    by: str = ""
    host: str = ""
    peer_url: str = ""
    client_url: str = ""


def _url(ctx: click.Context, param: click.Parameter, value: str) -> str:  # noqa: ARG001 - click's signature
    if value and not is_base_url(value):
        raise click.BadParameter(f"{value} is not http(s)://host:port, with nothing after the port")
    return value


@click.command()
@click.argument("name")
@click.option("--by", default="", metavar="NODE", help="The inventory's node that takes its place.")
@click.option("--host", default="", help="The same, by the node's host in the inventory.")
@click.option("--peer-url", default="", callback=_url, help="The new member's peer URL.")
@click.option("--client-url", default="", callback=_url, help="The new member's client URL.")
@change_options
@click.pass_obj
def command(app: App, /, name: str, force: bool, dry_run: bool, **place: str) -> int:
    """Replace a failed or healthy member by a new one, in place or on another node of the inventory.

    A dead member is removed first. A healthy one is removed only after its replacement on another node
    votes, so that failure tolerance never drops. On its own node, also with other URLs, removal has to
    come first: that node runs one etcd.
    """
    wanted = Place(**place)

    def change(wiring: Wiring, etcd: EtcdView) -> Change:
        return replacement_of(etcd, name, new_seat(wiring, etcd, name, wanted))

    code = carry_out(app, change, force=force, dry_run=dry_run)
    if code == 0 and not dry_run and (wanted.peer_url or wanted.client_url):
        click.echo(
            f"Next: see what the new URLs mean for Patroni's next start: {app.command_line('hosts')}",
            err=True,
        )
    return code


def new_seat(wiring: Wiring, etcd: EtcdView, name: str, place: Place) -> Seat:
    """Return the seat of the replacement; ConfigError for what can't be meant, with the way to say it."""
    victim = find_member(etcd, name).member
    node = _node(wiring, victim, place)
    client = (place.client_url,) if place.client_url else ()
    if place.peer_url:
        seat = Seat(node, (place.peer_url,), client)
    elif node == victim.name:
        seat = Seat(node, victim.peer_urls, client)
    else:
        seat = Seat(node, seat_of(wiring, node).peer_urls, client)
    refuse_taken(etcd, seat, by=victim.id)
    return seat


def _node(wiring: Wiring, victim: Member, place: Place) -> str:
    """Return the name of the inventory's node that shall run the new member."""
    if place.by and place.host:
        raise ConfigError("--by and --host both name the machine", hint="give one of them")
    if place.by and place.by not in wiring.nodes:
        seat_of(wiring, place.by)
    return _on_host(wiring, victim, place.host) if place.host else place.by or victim.name


def _on_host(wiring: Wiring, victim: Member, host: str) -> str:
    found = [node.name for node in wiring.app.inventory.nodes.values() if node.host == host]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(
            f"the inventory has no node on host {host}",
            hint=f"put it under etcd.members with host: {host}, config_file and data_dir; "
            f"or leave --host out if it is the machine of {victim.name}",
            code="UNKNOWN_NODE",
        )
    raise ConfigError(
        f"several nodes of the inventory are on host {host}: {', '.join(found)}",
        hint=f"name the one: --by {found[-1]}",
        code="UNKNOWN_NODE",
    )
