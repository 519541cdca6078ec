"""`recover verify`: did the recovery reach its goal? Reads only."""

from __future__ import annotations

from pathlib import Path

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import format_option, show_data, show_findings
from patroni_etcd_reconfig.cli.recover.asking import asking_options
from patroni_etcd_reconfig.cli.recover.leads import decided_so_far
from patroni_etcd_reconfig.cli.recover.planfile import read_plan
from patroni_etcd_reconfig.cli.recover.verification import look
from patroni_etcd_reconfig.cli.recover.wiring import RecoveryWiring
from patroni_etcd_reconfig.core.findings import Finding, blockers
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.errors import ExitCode


@click.command()
@click.argument("plan_file", metavar="PLAN", type=click.Path(path_type=Path))
@asking_options
@format_option
@click.pass_obj
def command(app: App, plan_file: Path) -> int:
    """Check that the recovery of PLAN reached its goal; change nothing. Exit code 5 when it did not."""
    plan = decided_so_far(app, read_plan(plan_file))
    again = app.command_line("recover", "apply", str(plan_file))
    findings = look(app, RecoveryWiring(app, plan, again)).findings()
    good = not blockers(findings)
    _show(app, plan, findings, good)
    return int(ExitCode.DONE if good else ExitCode.NOT_VERIFIED)


def _show(app: App, plan: RecoveryPlan, findings: tuple[Finding, ...], good: bool) -> None:
    if app.wants_data:
        data = {"plan": plan.id, "verified": good, "findings": [finding.as_dict() for finding in findings]}
        show_data(app.format, {"format": 1, **data, "error": None})
        return
    show_findings(findings)
    click.echo("The recovery reached its goal." if good else "The recovery has not reached its goal.")
