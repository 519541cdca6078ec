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
from patroni_etcd_reconfig.core.changes import Change, Reshape
from patroni_etcd_reconfig.core.codec import decode_change, encode_change
from patroni_etcd_reconfig.core.gates import check_plan_fits
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.core.plan_rest import misfit
from patroni_etcd_reconfig.core.planner import Plan, make_plan
from patroni_etcd_reconfig.core.step_words import describe
from patroni_etcd_reconfig.engine.result import timestamp
from patroni_etcd_reconfig.errors import ConfigError, ExitCode, ReconfigError
from patroni_etcd_reconfig.files import read_text, write_atomically

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


def planned_change(path: Path, wiring: Wiring, etcd: EtcdView) -> Change:
    """Return the change of a plan file, if it still fits this cluster; else PlanMismatchError.

    It fits as long as all that happened since is what the plan itself would have done.
    """
    change, steps = read_plan(path)
    for finding in check_plan_fits(etcd, change):
        raise _mismatch(path, f"was made for another membership: {finding.subject}: {finding.detail}")
    odd = misfit(wiring.observe(), change, steps)
    if odd:
        raise _mismatch(path, f"does not fit any more: {odd}")
    return change


def read_plan(path: Path) -> tuple[Change, tuple[str, ...]]:
    """Return the change and the steps, in words, of a plan file; ConfigError for what is none."""
    try:
        data = json.loads(read_text(path))
        written, plan = data["format"], data["plan"]
        change, steps = decode_change(plan["change"]), plan["steps"]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}", hint="give a file that plan wrote") from error
    except KeyError as error:
        raise _no_plan(path, f"not a plan file: it has no {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _no_plan(path, f"not a plan file: {error}") from error
    if written != FORMAT:
        raise _no_plan(path, f"its format is {written!r}, this version reads {FORMAT}")
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise _no_plan(path, "not a plan file: its steps are no list of words")
    members = Reshape("apply", change.cluster_id, change.victims, change.joiners, change.others)
    if change != members:
        raise _no_plan(path, "it was edited: plan writes changes of who is a member, and nothing else")
    return change, tuple(steps)


def _no_plan(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path}: {why}", hint="give a file as plan -o wrote it")


def _mismatch(path: Path, why: str) -> PlanMismatchError:
    return PlanMismatchError(f"{path} {why}", hint=f"make a new plan: patronictl-etcd plan -o {path}")
