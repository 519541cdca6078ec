"""`restore`: from a snapshot file to a plan for `recover apply`; changes nothing itself."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click

from patroni_etcd_reconfig.adapters.snapshot_file import read_snapshot
from patroni_etcd_reconfig.adapters.snapshot_restore import find_tool
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import format_option
from patroni_etcd_reconfig.cli.recover.collect import collector
from patroni_etcd_reconfig.cli.recover.files import read_evidence, write_json
from patroni_etcd_reconfig.cli.recover.plan import Made, leads_option, show_plan
from patroni_etcd_reconfig.cli.recover.wiring import find_etcd
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.recovery.addresses import addresses_in_keys, combined
from patroni_etcd_reconfig.core.recovery.evidence import Evidence
from patroni_etcd_reconfig.core.recovery.model import Choice
from patroni_etcd_reconfig.core.recovery.restoring import SnapshotFile, Wish, plan_restore
from patroni_etcd_reconfig.errors import ConfigError, ExitCode


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("files", metavar="[EVIDENCE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--node", required=True, metavar="NAME", help="The node, on this machine, to restore on.")
@click.option("--lost", multiple=True, metavar="NAME", help="This member's machine or data is gone for good.")
@leads_option
@click.option("--raw-database", is_flag=True, help="FILE is a copied member/snap/db, without a hash.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the plan to this file.")
@format_option
@click.pass_obj
def command(
    app: App,
    file: Path,
    files: tuple[Path, ...],
    node: str,
    lost: tuple[str, ...],
    leads: tuple[tuple[str, str], ...],
    raw_database: bool,
    output: Path | None,
) -> int:
    """Plan a new etcd cluster from the snapshot FILE, for when no member's data is left; change nothing.

    All old members are fenced. Patroni reaches the new cluster when its keys agree with what PostgreSQL says
    now, however old the snapshot is. EVIDENCE as for `recover plan`. `recover apply` carries the plan out.
    """
    _check_tool(app, node)
    snapshot = read_snapshot(file, app.patroni.namespace)
    evidence, disagreements = read_evidence(files) if files else _collect(app, snapshot)
    wish = Wish(node, frozenset(lost), Choice(leads=leads), raw_database)
    plan, findings = plan_restore(evidence, snapshot, wish, time.time())
    made = Made(plan, (*disagreements, *findings), evidence)
    written = output if made.exit_code is ExitCode.DONE else None
    if written:
        write_json(written, made.document)
    return show_plan(app, made, written)


def _check_tool(app: App, name: str) -> None:
    config = app.inventory.nodes.get(name)
    if config is None or config.via != "local":
        raise ConfigError(
            f"{name} is not a node of this machine in the inventory",
            hint="run this on its machine, with an inventory that has it with via: local",
        )
    find_tool(find_etcd(config))


def _collect(app: App, snapshot: SnapshotFile) -> tuple[Evidence, tuple[Finding, ...]]:
    """Collect; the snapshot names PostgreSQL nodes that nothing else may name any more."""
    collecting = collector(app)
    evidence = collecting.collect()
    named = combined((*addresses_in_keys([snapshot.keys], evidence.namespace), *collecting.addresses))
    found = collecting.postgres.collect(named, collecting.host, evidence.collected_at)
    known = {(one.scope, one.name) for one in evidence.postgres}
    more = tuple(one for one in found if (one.scope, one.name) not in known)
    return replace(evidence, postgres=(*evidence.postgres, *more)), ()
