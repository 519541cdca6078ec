"""`plan` and plan files: a change that was looked at in peace, and is refused when the cluster moved on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import format_option, show_data
from patroni_etcd_reconfig.cli.planview import show_plan
from patroni_etcd_reconfig.cli.running import inventory_change, named
from patroni_etcd_reconfig.cli.seats import with_client_urls
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import Change
from patroni_etcd_reconfig.core.codec import decode_change, encode_change
from patroni_etcd_reconfig.core.gates import check_plan_fits
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.core.planner import Plan, make_plan
from patroni_etcd_reconfig.core.step_words import describe
from patroni_etcd_reconfig.engine.result import timestamp
from patroni_etcd_reconfig.errors import ConfigError, ExitCode, ReconfigError
from patroni_etcd_reconfig.files import write_atomically

FORMAT = 1


class PlanMismatchError(ReconfigError):
    """The cluster is not the one that the plan was made for, nor one that the plan leads through."""

    exit_code = ExitCode.PLAN_MISMATCH
    code = "PLAN_MISMATCH"


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the plan to this file.")
@format_option
@click.pass_obj
def command(app: App, output: Path | None) -> None:
    """Show what `apply` would do to make the membership equal to the inventory; change nothing."""
    wiring = Wiring(app)
    seen = wiring.observe()
    change = with_client_urls(named(inventory_change, wiring, seen.etcd), seen.etcd, wiring.nodes)
    plan = make_plan(seen, change)
    data = _as_dict(plan)
    if output:
        _write(output, data)
    if app.wants_data:
        show_data(app.format, {**data, "error": None})
    else:
        click.echo(show_plan(plan, seen))
    if output:
        click.echo(f"Next: {app.command_line('apply', str(output))}", err=True)


def _as_dict(plan: Plan) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "plan": {
            "made_at": timestamp(time.time()),
            "change": encode_change(plan.change),
            "steps": [describe(step) for step in plan.steps],
        },
    }


def _write(path: Path, data: dict[str, Any]) -> None:
    try:
        write_atomically(path, json.dumps(data, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}", hint="choose another file") from error


def planned_change(path: Path, etcd: EtcdView) -> Change:
    """Return the change of a plan file, if it still fits this cluster; else PlanMismatchError.

    It fits as long as all that happened since is what the plan itself would have done.
    """
    try:
        change = decode_change(json.loads(path.read_text("utf-8"))["plan"]["change"])
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}", hint="give a file that plan wrote") from error
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{path}: not a plan file: {error}", hint="give one that plan -o wrote") from error
    misfits = check_plan_fits(etcd, change)
    if misfits:
        raise PlanMismatchError(
            f"{path} was made for another membership: {misfits[0].subject}: {misfits[0].detail}",
            hint=f"make a new plan: patronictl-etcd plan -o {path}",
        )
    return change
