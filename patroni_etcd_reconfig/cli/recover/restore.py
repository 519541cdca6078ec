"""`restore`: from a snapshot file to a plan, and, once its id is confirmed, to a new cluster."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import click

from patroni_etcd_reconfig.adapters.restore_tool import RestoreTool, find_tool
from patroni_etcd_reconfig.adapters.snapshot_file import read_snapshot
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import format_option
from patroni_etcd_reconfig.cli.recover.apply import carry_out
from patroni_etcd_reconfig.cli.recover.asking import asking_options
from patroni_etcd_reconfig.cli.recover.collect import collector
from patroni_etcd_reconfig.cli.recover.files import write_json
from patroni_etcd_reconfig.cli.recover.leads import decided_so_far, named_now
from patroni_etcd_reconfig.cli.recover.plan import (
    Made,
    completed,
    evidence_of,
    further,
    leads_option,
    show_plan,
    without_option,
)
from patroni_etcd_reconfig.cli.recover.planfile import read_plan
from patroni_etcd_reconfig.cli.recover.planpage import plan_page
from patroni_etcd_reconfig.cli.recover.recoveryview import plan_text
from patroni_etcd_reconfig.cli.recover.wiring import find_etcd
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.recovery.addresses import addresses_in_keys, combined
from patroni_etcd_reconfig.core.recovery.evidence import Evidence
from patroni_etcd_reconfig.core.recovery.model import Choice, RecoveryPlan
from patroni_etcd_reconfig.core.recovery.restoring import (
    SnapshotFile,
    Wish,
    choices_of,
    choose_node,
    plan_restore,
)
from patroni_etcd_reconfig.engine.recovery.journal import begun_recoveries, journal_path
from patroni_etcd_reconfig.errors import ConfigError, ExitCode


@dataclass(frozen=True)
class _Asked:
    """What the operator asks for."""

    file: Path
    evidence: tuple[Path, ...]
    node: str
    lost: frozenset[str]
    choice: Choice
    raw: bool

    @property
    def wish(self) -> Wish:
        """Return it as planning takes it."""
        return Wish(self.node, self.lost, self.choice, self.raw)


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("files", metavar="[EVIDENCE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--node", default="", metavar="NAME", help="Restore on this node; else the first one here.")
@click.option("--lost", multiple=True, metavar="NAME", help="This member's machine or data is gone for good.")
@leads_option
@without_option
@click.option("--raw-database", is_flag=True, help="FILE is a copied member/snap/db, without a hash.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Only write the plan, for `recover apply`."
)
@click.option("--confirm", metavar="PLAN_ID", help="Carry out the plan that was shown under this id.")
@click.option("--dry-run", is_flag=True, help="Plan, and look whether it can be done; change nothing.")
@asking_options
@format_option
@click.pass_obj
def command(
    app: App,
    file: Path,
    files: tuple[Path, ...],
    node: str,
    lost: tuple[str, ...],
    leads: tuple[tuple[str, str], ...],
    without: tuple[str, ...],
    raw_database: bool,
    output: Path | None,
    confirm: str | None,
    dry_run: bool,
) -> int:
    """Make a new etcd cluster from the snapshot FILE, for when no member's data is left.

    Shows a plan, asks for its id, and carries it out, on the machine of the node. All old members are fenced.
    Patroni reaches the new cluster when its keys agree with what PostgreSQL says now, however old the
    snapshot is. EVIDENCE as for `recover plan`. After a crash, give the same command again.
    """
    if output and (confirm is not None or dry_run):
        raise click.UsageError("-o only writes the plan: leave out --confirm and --dry-run")
    asked = _Asked(file.absolute(), files, node, frozenset(lost), Choice("", leads, without), raw_database)
    known = _begun(app, asked) if confirm is None else _confirmed(app, asked, confirm)
    if known and not output:
        return _go_on(app, known, leads, confirm, dry_run=dry_run)
    made = _made(app, asked)
    if made.exit_code is ExitCode.DONE and not dry_run:
        _keep(app, made)
    if output or made.exit_code is not ExitCode.DONE:
        return _only_plan(app, made, output)
    click.echo(plan_page(made.plan, made.findings, made.evidence), err=True)
    return carry_out(app, made.plan, _kept(app, made.plan.id), _again(app, made.plan), None, dry_run=dry_run)


def _go_on(
    app: App, plan: RecoveryPlan, leads: tuple[tuple[str, str], ...], confirm: str | None, *, dry_run: bool
) -> int:
    named = named_now(app, plan, leads)
    plan = decided_so_far(app, plan, named)
    click.echo(plan_text(plan), err=True)
    return carry_out(app, plan, _kept(app, plan.id), _again(app, plan), confirm, dry_run=dry_run, leads=named)


def _confirmed(app: App, asked: _Asked, plan_id: str) -> RecoveryPlan:
    """Return the plan that was shown under this id; ConfigError when none of this file was."""
    path = _kept(app, plan_id.strip())
    plan = read_plan(path) if path.is_file() else None
    if plan is None or not plan.survivor or plan.survivor.snapshot != str(asked.file):
        raise ConfigError(
            f"no plan {plan_id.strip()!r} for {asked.file} was shown here; nothing was changed",
            hint="give the command without --confirm: it shows the plan and its id",
            code="NOT_CONFIRMED",
        )
    return plan


def _begun(app: App, asked: _Asked) -> RecoveryPlan | None:
    """Return the plan of this file that was begun and is not finished.

    With other options it is another plan, except where a new cluster may have been made: only that leads on.
    """
    for record in begun_recoveries(app.state_dir):
        path = _kept(app, record.plan_id)
        plan = read_plan(path) if path.is_file() else None
        if plan is None or not plan.survivor or plan.survivor.snapshot != str(asked.file):
            continue
        if record.forced or plan.choices == tuple(choices_of(asked.wish)):
            return plan
    return None


def _made(app: App, asked: _Asked) -> Made:
    snapshot = read_snapshot(asked.file, app.patroni.namespace)
    evidence, disagreements = evidence_of(app, asked.evidence) if asked.evidence else _collect(app, snapshot)
    here = [name for name, one in app.inventory.nodes.items() if one.via == "local"]
    node = choose_node(evidence, asked.node, here)
    wish = replace(
        asked.wish,
        node=node,
        bumps=_tool(app, node).bumps,
        moved=_moved_with(asked.file, app),
        reserve=app.policy.min_free_bytes,
    )
    plan, findings = plan_restore(evidence, snapshot, wish, time.time())
    return completed(app, plan, evidence, (*disagreements, *further(evidence, findings), *findings))


def _tool(app: App, name: str) -> RestoreTool:
    config = app.inventory.nodes.get(name)
    if config is None or config.via != "local":
        what = f"{name} is not" if name else "none that can be looked at is"
        raise ConfigError(
            f"{what} a node of this machine in the inventory",
            hint="run this on its machine, with an inventory that has it with via: local",
        )
    return find_tool(find_etcd(config))


def _moved_with(file: Path, app: App) -> str:
    """Return the data or log directory that a file lies in, "" where it lies in none."""
    local = [one for one in app.inventory.nodes.values() if one.via == "local"]
    places = [Path(path) for one in local for path in (one.data_dir, one.wal_dir) if path]
    return next((str(path) for path in places if path.resolve() in file.resolve().parents), "")


def _only_plan(app: App, made: Made, output: Path | None) -> int:
    written = output if made.exit_code is ExitCode.DONE else None
    if written:
        write_json(written, made.document)
    return show_plan(app, made, written)


def _keep(app: App, made: Made) -> None:
    """Keep the plan beside the journal that it will have: who confirms its id later means this one."""
    path = _kept(app, made.plan.id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{path.parent}: {error.strerror or error}", hint="correct state_dir") from error
    write_json(path, made.document)


def _kept(app: App, plan_id: str) -> Path:
    if not plan_id.isalnum():
        raise ConfigError(
            f"{plan_id!r} is no plan's id; nothing was changed", hint="give it as shown", code="NOT_CONFIRMED"
        )
    return journal_path(app.state_dir, plan_id).with_suffix(".plan.json")


def _again(app: App, plan: RecoveryPlan) -> str:
    file = plan.survivor.snapshot if plan.survivor else ""
    return app.command_line("restore", file, "--confirm", plan.id)


def _collect(app: App, snapshot: SnapshotFile) -> tuple[Evidence, tuple[Finding, ...]]:
    """Collect; the snapshot names PostgreSQL nodes that nothing else may name any more."""
    collecting = collector(app)
    evidence = collecting.collect()
    named = combined((*addresses_in_keys([snapshot.keys], evidence.namespace), *collecting.addresses))
    found = collecting.postgres.collect(named, collecting.host, evidence.collected_at)
    known = {(one.scope, one.name) for one in evidence.postgres}
    more = tuple(one for one in found if (one.scope, one.name) not in known)
    return replace(evidence, postgres=(*evidence.postgres, *more)), ()
