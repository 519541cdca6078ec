"""`hosts`: what each Patroni's etcd list means at its next start."""

from __future__ import annotations

import os
from pathlib import Path

import click

from patroni_etcd_reconfig.adapters.patroni_config import endpoints, load
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import format_option, show_data, table, tsv
from patroni_etcd_reconfig.core.hosts import HostsVerdict, judge_hosts
from patroni_etcd_reconfig.core.model import PatroniHosts
from patroni_etcd_reconfig.errors import ExitCode

COLUMNS = ("File", "Members", "Not members", "Missing", "At its next start")


@click.command()
@click.argument("files", metavar="[PATRONI_FILE]...", nargs=-1, type=click.Path(path_type=Path))
@format_option
@click.pass_obj
def command(app: App, files: tuple[Path, ...]) -> int:
    """Compare the etcd endpoints in Patroni files (default: the one of -c) with the live membership.

    Only files of this machine are read: what Patronis on other machines list, it does not know.

    Patroni reads its list only when it starts, and then asks those for the real one: exit 3 if none of
    the endpoints in a file is a healthy member.
    """
    etcd = app.observer().etcd.look()
    verdicts = [judge_hosts(etcd, hosts) for hosts in _read(app, files)]
    _show(app, verdicts)
    return int(ExitCode.DONE if all(verdict.starts for verdict in verdicts) else ExitCode.BLOCKED)


def _read(app: App, files: tuple[Path, ...]) -> list[PatroniHosts]:
    configs = [load(str(path), os.environ) for path in files] or [app.patroni]
    return [
        PatroniHosts(config.path, tuple(url.split("://", 1)[-1] for url in endpoints(config)))
        for config in configs
    ]


def _show(app: App, verdicts: list[HostsVerdict]) -> None:
    if app.wants_data:
        data = [verdict.as_dict() for verdict in verdicts]
        show_data(app.format, {"format": 1, "hosts": data, "error": None})
        return
    rows = [
        (v.source, ", ".join(v.members), ", ".join(v.strangers), ", ".join(v.missing), v.words)
        for v in verdicts
    ]
    click.echo(tsv(COLUMNS, rows) if app.format == "tsv" else table("Patroni's etcd hosts", COLUMNS, rows))
