"""`recover collect`: ask every node what it has; change nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import click

from patroni_etcd_reconfig.adapters.nodes import controllable
from patroni_etcd_reconfig.adapters.patroni_local import (
    configs_on_this_machine,
    control_data,
    given_address,
    local_address,
    postgres_port,
)
from patroni_etcd_reconfig.adapters.patroni_rest import PatroniRest
from patroni_etcd_reconfig.adapters.pg_controldata import ControlData
from patroni_etcd_reconfig.adapters.postgres import PostgresSql, connection_options
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import format_option, show_data
from patroni_etcd_reconfig.cli.recover.asking import asking_options
from patroni_etcd_reconfig.cli.recover.files import write_json
from patroni_etcd_reconfig.cli.recover.view import evidence_text, evidence_tsv
from patroni_etcd_reconfig.clock import SystemClock
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.recovery.addresses import Address
from patroni_etcd_reconfig.core.recovery.assemble import Place
from patroni_etcd_reconfig.core.recovery.codec import evidence_document
from patroni_etcd_reconfig.core.recovery.contradictions import contradictions
from patroni_etcd_reconfig.core.recovery.evidence import Evidence
from patroni_etcd_reconfig.observe.postgres import PostgresCollector
from patroni_etcd_reconfig.observe.recovery import Collector

# For Patroni and PostgreSQL together, in seconds; a little more than libpq's shortest connect timeout.
POSTGRES_DEADLINE = 2.5


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the evidence to this file.")
@asking_options
@format_option
@click.pass_obj
def command(app: App, output: Path | None) -> None:
    """Ask every etcd, Patroni and PostgreSQL node what it has; change nothing.

    Works with any number of members down, and can be run any number of times. Where one machine can't reach
    all the others, run it on each of them and give all the files to `recover plan`.
    """
    evidence = collector(app).collect()
    findings = contradictions(evidence)
    if output:
        write_json(output, evidence_document(evidence, findings))
    _show(app, evidence, findings)
    click.echo(f"Next: {app.command_line(*_next(evidence, output))}", err=True)


def _next(evidence: Evidence, output: Path | None) -> tuple[str, ...]:
    if any(node.live and node.live.quorate for node in evidence.nodes):
        return ("status",)
    return ("recover", "plan", str(output)) if output else ("recover", "collect", "-o", "evidence.json")


def collector(app: App) -> Collector:
    """Return what collects with the files and options of this invocation."""
    config, inventory = app.patroni, app.inventory
    postgres = PostgresCollector(
        rest=PatroniRest(config, app.insecure),
        sql=PostgresSql(connection_options(config.raw, os.environ, app.pg_user)),
        control=_control_files(app),
        port=postgres_port(config),
        deadline=POSTGRES_DEADLINE,
    )
    return Collector(
        connect=app.connector,
        seeds=app.endpoints,
        namespace=config.namespace,
        postgres=postgres,
        clock=SystemClock(),
        host=socket.gethostname(),
        nodes=controllable(inventory),
        places=[
            Place(one.name, one.host, _urls(one.peer_url), _urls(one.client_url))
            for one in inventory.nodes.values()
        ],
        addresses=_addresses(app),
    )


def _control_files(app: App) -> dict[tuple[str, str], ControlData]:
    """A PostgreSQL that is down is known by its control file, on its own machine."""
    configs = configs_on_this_machine(app.patroni)
    pairs = [(local_address(config), control_data(config)) for config in configs]
    return {(own.scope, own.name): reader for own, reader in pairs if own and reader}


def _urls(url: str) -> tuple[str, ...]:
    return (url,) if url else ()


def _addresses(app: App) -> tuple[Address, ...]:
    given = tuple(given_address(text, app.patroni) for text in app.patroni_apis)
    own = (local_address(config) for config in configs_on_this_machine(app.patroni))
    return (*(address for address in own if address), *given)


def _show(app: App, evidence: Evidence, findings: tuple[Finding, ...]) -> None:
    if app.wants_data:
        show_data(app.format, evidence_document(evidence, findings))
    elif app.format == "tsv":
        click.echo(evidence_tsv(evidence))
    else:
        click.echo(evidence_text(evidence, findings))
