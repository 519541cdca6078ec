"""`snapshot`: save a snapshot of etcd, whole and verified."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
@click.option("--dry-run", is_flag=True, help="Say what would be written and deleted; do neither.")
@click.pass_obj
def command(app: App, output: Path | None, keep: int | None, dry_run: bool) -> None:
    """Save a snapshot through a follower, check its digest, and say where it is. Needs no quorum."""
    if output and keep:
        raise click.UsageError("--keep is for snapshots under their default names: leave out -o or --keep")
    wiring = Wiring(app)
    seen = wiring.observe()
    source = best_transferee(seen.etcd, seen.etcd.leader_id) or next(_answering(seen.etcd.voters), None)
    if source is None:
        raise UnreachableError("no voter answers", hint=app.command_line("status"))
    path = output or _default_path(app, seen.etcd.cluster_id)
    if path.exists():
        raise ConfigError(f"{path} is there already", hint="choose another file", code="FILE_EXISTS")
    past = past_snapshots(path, seen.etcd.cluster_id, keep) if keep else []
    facts = {"snapshot": str(path), "size": None, "sha256": None} if dry_run else _save(wiring, source, path)
    for old in [] if dry_run else past:
        old.unlink()
    facts = {**facts, "through": source.member.name, "removed": list(map(str, past)), "dry_run": dry_run}
    _show(app, facts)


def _save(wiring: Wiring, source: MemberView, path: Path) -> dict[str, object]:
    total = source.status.db_size if source.status else 0
    copying = Copying("the snapshot", total, wiring.clock, PlainReporter().progress)
    client = wiring.roster.of(source, wiring.app.policy.step_timeout)
    return dict(save_snapshot(client, path, copying.come))


def _answering(views: tuple[MemberView, ...]) -> filter[MemberView]:
    return filter(lambda view: bool(view.status and view.member.client_urls), views)


def _default_path(app: App, cluster_id: int) -> Path:
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return app.state_dir / "snapshots" / f"{format_id(cluster_id)}-{moment}{SUFFIX}"


def past_snapshots(new: Path, cluster_id: int, keep: int) -> list[Path]:
    """Return what goes when the new one and the newest of the others are kept, `keep` in all.

    Only what this command wrote of this cluster under its default names; operations' snapshots stay.
    """
    found = sorted(new.parent.glob(f"{format_id(cluster_id)}-*{SUFFIX}"))
    others = [path for path in found if path != new]
    return others[: len(others) - (keep - 1)] if len(others) >= keep else []


def _show(app: App, facts: dict[str, object]) -> None:
    if app.wants_data:
        show_data(app.format, {"format": 1, "snapshot": facts, "error": None})
    elif app.format == "tsv":
        click.echo(tsv(tuple(facts), [tuple(facts.values())]))
    else:
        click.echo("\n".join(_in_words(facts)))


def _in_words(facts: Mapping[str, Any]) -> Iterator[str]:
    if facts["dry_run"]:
        yield f"{facts['snapshot']}: would be saved through {facts['through']}; nothing was done"
    else:
        yield f"{facts['snapshot']}: {facts['size']} bytes through {facts['through']}, SHA-256 verified"
    for path in facts["removed"]:
        yield f"{path}: {'would be deleted' if facts['dry_run'] else 'deleted'}"
