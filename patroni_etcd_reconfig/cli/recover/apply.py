"""`recover apply`: carry out a plan, step by step, resumable."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import format_option
from patroni_etcd_reconfig.cli.progress import reporter
from patroni_etcd_reconfig.cli.recover.asking import asking_options
from patroni_etcd_reconfig.cli.recover.leads import decided_so_far, named_now
from patroni_etcd_reconfig.cli.recover.plan import leads_option
from patroni_etcd_reconfig.cli.recover.planfile import read_plan
from patroni_etcd_reconfig.cli.recover.recoveryview import plan_text, show_recovery
from patroni_etcd_reconfig.cli.recover.wiring import RecoveryWiring
from patroni_etcd_reconfig.cli.summary import show_nothing
from patroni_etcd_reconfig.core.findings import Finding, blockers
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.core.recovery.steps import describe, steps_of
from patroni_etcd_reconfig.engine.recovery.operation import VERB, SituationError
from patroni_etcd_reconfig.engine.result import Result
from patroni_etcd_reconfig.errors import ConfigError


@click.command()
@click.argument("plan_file", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--confirm", metavar="PLAN_ID", help="The plan's id, for scripts; else it is asked for.")
@click.option("--dry-run", is_flag=True, help="Look whether the plan still fits; change nothing.")
@leads_option
@asking_options
@format_option
@click.pass_obj
def command(
    app: App, plan_file: Path, confirm: str | None, dry_run: bool, leads: tuple[tuple[str, str], ...]
) -> int:
    """Carry out the recovery of PLAN, a file that `recover plan` wrote.

    Shows what will happen, in order, and asks for the plan's id. After a crash, give the same command again.
    --lead names a leader where the planned one is gone; the recovery remembers it.
    """
    plan = read_plan(plan_file)
    named = named_now(app, plan, leads)
    plan = decided_so_far(app, plan, named)
    click.echo(plan_text(plan), err=True)
    if not steps_of(plan):
        return show_nothing(app, "A majority of etcd serves: nothing to recover.")
    again = app.command_line("recover", "apply", str(plan_file))
    return carry_out(app, plan, plan_file, again, confirm, dry_run=dry_run, leads=named)


def carry_out(
    app: App,
    plan: RecoveryPlan,
    plan_file: Path,
    again: str,
    confirm: str | None,
    *,
    dry_run: bool,
    leads: Mapping[str, str] | None = None,
) -> int:
    """Have the plan, which was shown, confirmed, and do it; return the exit code.

    `again` is the command that goes on with it, `leads` what the plan has from the options of this one.
    """
    began = time.time()
    if not dry_run and _confirmed(plan, confirm):
        began = time.time()  # the reading and typing is not the tool's
    with reporter(describe) as progress:
        recovery = RecoveryWiring(app, plan, again, leads).recovery(progress, began)
        try:
            result = _dry(recovery.check(), began) if dry_run else recovery.run()
        except SituationError as error:
            result = Result(VERB, "blocked", began, time.time() - began, error=error, findings=error.findings)
    return show_recovery(app, plan, result, str(plan_file))


def _dry(findings: tuple[Finding, ...], began: float) -> Result:
    stopping = blockers(findings)
    error = SituationError(stopping) if stopping else None
    state = "blocked" if stopping else "done"
    return Result("recover", state, began, time.time() - began, findings=findings, error=error, promised={})


def _confirmed(plan: RecoveryPlan, given: str | None) -> bool:
    """Have the plan's id typed; True when somebody was asked. Nothing here runs on a mere yes."""
    if given is None and not sys.stdin.isatty():
        raise ConfigError(
            "there is no terminal to confirm on; nothing was changed",
            hint=f"read the plan, then add --confirm {plan.id}",
            code="NOT_CONFIRMED",
        )
    typed = given if given is not None else click.prompt("Type the plan's id to go on", err=True, default="")
    if typed.strip() != plan.id:
        raise ConfigError(
            f"{typed.strip()!r} is not the id of this plan; nothing was changed",
            hint=f"the plan's id is {plan.id}",
            code="NOT_CONFIRMED",
        )
    return given is None
