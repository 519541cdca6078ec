"""`preflight`: every finding at once, before anything is touched."""

from __future__ import annotations

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import accept_option, format_option, show_data, show_findings, tsv
from patroni_etcd_reconfig.cli.running import named
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import cycle_of
from patroni_etcd_reconfig.core.findings import Finding, blockers
from patroni_etcd_reconfig.core.preflight import examine
from patroni_etcd_reconfig.errors import ExitCode


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@format_option
@accept_option
@click.pass_obj
def command(app: App, names: tuple[str, ...]) -> int:
    """Show every finding that a cycle of the named members, or of all, would meet; exit 3 on a blocker."""
    wiring = Wiring(app)
    seen = wiring.observe()
    change = named(lambda _, etcd: cycle_of(etcd, names), wiring, seen.etcd)
    findings = (*wiring.unfinished(change.cluster_id), *examine(seen, change, app.policy))
    _show(app, findings)
    return int(ExitCode.BLOCKED if blockers(findings) else ExitCode.DONE)


def _show(app: App, findings: tuple[Finding, ...]) -> None:
    if app.wants_data:
        data = {"format": 1, "findings": [finding.as_dict() for finding in findings], "error": None}
        show_data(app.format, data)
    elif app.format == "tsv":
        rows = [tuple(finding.as_dict().values()) for finding in findings]
        click.echo(tsv(("Code", "Severity", "Subject", "Detail", "Remedy"), rows))
    else:
        show_findings(findings)
        count = len(blockers(findings))
        click.echo(f"{count} finding(s) stand in the way." if count else "Nothing stands in the way.")
