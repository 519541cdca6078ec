"""`update-urls`, `move-data`: a member stays who it is and is found elsewhere."""

from __future__ import annotations

import click

from patroni_etcd_reconfig.adapters.inventory_checks import is_base_url
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.places import to_another_node, to_dir_of
from patroni_etcd_reconfig.cli.running import carry_out, change_options
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import Change, find_member, relocation_of
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.errors import ConfigError


@click.command("update-urls")
@click.argument("name")
@click.option("--peer-url", "peer_urls", metavar="URL", multiple=True, help="A new peer URL; repeatable.")
@click.option(
    "--client-url", "client_urls", metavar="URL", multiple=True, help="A new client URL; repeatable."
)
@change_options
@click.pass_obj
def update_urls(
    app: App, name: str, peer_urls: tuple[str, ...], client_urls: tuple[str, ...], force: bool, dry_run: bool
) -> int:
    """Give a member other peer or client URLs; it keeps its id and its data.

    Peer URLs change in etcd's member list first, then in the member's configuration; client URLs only there,
    since etcd publishes them itself. The member is restarted once, after its leadership was moved.
    """
    _check_urls(peer_urls, client_urls)
    return carry_out(
        app, lambda _, etcd: relocation_of(etcd, name, peer_urls, client_urls), force=force, dry_run=dry_run
    )


@click.command("move-data")
@click.argument("name")
@click.option("--to-dir", metavar="DIRECTORY", help="Another directory of the same node; must be empty.")
@click.option("--to-host", metavar="NODE", help="Another node of the inventory, with its own URLs.")
@change_options
@click.pass_obj
def move_data(
    app: App, name: str, to_dir: str | None, to_host: str | None, force: bool, dry_run: bool
) -> int:
    """Move a member's data to another directory or node; it stays the member it is, with its id.

    It is stopped, its data dir copied and checked file by file, the old one set aside, and only then is it
    started on the copy. For large databases: no snapshot goes over the network, and no member is removed.
    """
    if bool(to_dir) == bool(to_host):
        raise click.UsageError("give either --to-dir or --to-host")

    def wanted(wiring: Wiring, etcd: EtcdView) -> Change:
        member = find_member(etcd, name).member
        return (
            to_another_node(wiring, etcd, member, to_host)
            if to_host
            else to_dir_of(wiring, etcd, member, to_dir or "")
        )

    return carry_out(app, wanted, force=force, dry_run=dry_run)


def _check_urls(peer_urls: tuple[str, ...], client_urls: tuple[str, ...]) -> None:
    if not peer_urls and not client_urls:
        raise ConfigError("no new URL is given", hint="add --peer-url or --client-url", code="NO_URL")
    for url in (*peer_urls, *client_urls):
        if not is_base_url(url):
            raise click.BadParameter(f"{url} is not http(s)://host:port, with nothing after the port")
