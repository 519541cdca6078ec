"""`snapshot`: save a snapshot of etcd, whole and verified."""

from __future__ import annotations

import time
from pathlib import Path

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import format_option, show_data, tsv
from patroni_etcd_reconfig.cli.progress import PlainReporter
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.model import MemberView, format_id
from patroni_etcd_reconfig.core.simulate import best_transferee
from patroni_etcd_reconfig.engine.receiving import Copying
from patroni_etcd_reconfig.engine.snapshot import save_snapshot
from patroni_etcd_reconfig.errors import ConfigError, UnreachableError

SUFFIX = "-manual.db"


@click.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The file to write; default: state_dir."
)
@click.option("--keep", type=click.IntRange(min=1), help="Keep the newest N of this command's snapshots.")
@format_option
@click.pass_obj
def command(app: App, output: Path | None, keep: int | None) -> None:
    """Save a snapshot through a follower, check its digest, and say where it is. Needs no quorum."""
    wiring = Wiring(app)
    seen = wiring.observe()
    source = best_transferee(seen.etcd, seen.etcd.leader_id) or next(_answering(seen.etcd.voters), None)
    if source is None:
        raise UnreachableError("no voter answers", hint=app.command_line("status"))
    path = output or _default_path(app, seen.etcd.cluster_id)
    if path.exists():
        raise ConfigError(f"{path} is there already", hint="choose another file", code="FILE_EXISTS")
    total = source.status.db_size if source.status else 0
    copying = Copying("the snapshot", total, wiring.clock, PlainReporter().progress)
    facts = save_snapshot(wiring.roster.of(source, app.policy.step_timeout), path, copying.come)
    removed = _drop_old(app, keep) if keep else []
    _show(app, {**facts, "through": source.member.name, "removed": removed})


def _answering(views: tuple[MemberView, ...]) -> filter[MemberView]:
    return filter(lambda view: bool(view.status and view.member.client_urls), views)


def _default_path(app: App, cluster_id: int) -> Path:
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return app.state_dir / "snapshots" / f"{format_id(cluster_id)}-{moment}{SUFFIX}"


def _drop_old(app: App, keep: int) -> list[str]:
    """Delete only what this command wrote under its default names; operations' snapshots stay."""
    found = sorted((app.state_dir / "snapshots").glob(f"*{SUFFIX}"), key=lambda path: path.name[-26:])
    for path in found[:-keep]:
        path.unlink()
    return [str(path) for path in found[:-keep]]


def _show(app: App, facts: dict[str, object]) -> None:
    if app.wants_data:
        show_data(app.format, {"format": 1, "snapshot": facts, "error": None})
    elif app.format == "tsv":
        click.echo(tsv(tuple(facts), [tuple(facts.values())]))
    else:
        click.echo(f"{facts['snapshot']}: {facts['size']} bytes through {facts['through']}, SHA-256 verified")
