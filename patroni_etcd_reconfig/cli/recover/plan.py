"""`recover plan`: say who survives, who is fenced, and what is lost; change nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import format_option, printable, show_data
from patroni_etcd_reconfig.cli.recover.asking import asking_options
from patroni_etcd_reconfig.cli.recover.files import read_evidence, write_json
from patroni_etcd_reconfig.cli.recover.planpage import plan_page, plan_tsv
from patroni_etcd_reconfig.core.findings import Finding, Severity, blockers
from patroni_etcd_reconfig.core.recovery.contradictions import contradictions
from patroni_etcd_reconfig.core.recovery.evidence import Evidence
from patroni_etcd_reconfig.core.recovery.listed import heed_hosts
from patroni_etcd_reconfig.core.recovery.logins import check_login
from patroni_etcd_reconfig.core.recovery.model import Choice, RecoveryPlan, Way
from patroni_etcd_reconfig.core.recovery.plan import plan_recovery
from patroni_etcd_reconfig.core.recovery.plan_codec import plan_document
from patroni_etcd_reconfig.errors import ExitCode, ReconfigError


@dataclass(frozen=True)
class Made:
    """A plan that was made, what stands in its way, and what it was made from."""

    plan: RecoveryPlan
    findings: tuple[Finding, ...]
    evidence: Evidence

    @property
    def exit_code(self) -> ExitCode:
        """Return 0 for a plan that can be applied."""
        if not any(node.reachable or node.live for node in self.evidence.nodes):
            return ExitCode.UNREACHABLE
        return ExitCode.BLOCKED if blockers(self.findings) else ExitCode.DONE

    @property
    def document(self) -> dict[str, Any]:
        """Return the contract; as elsewhere, what is blocked has the first blocker's code as its error."""
        document = plan_document(self.plan, self.findings)
        for first in blockers(self.findings)[:1]:
            words = {"message": f"{first.subject}: {first.detail}", "hint": first.remedy}
            document["error"] = {"code": first.code, **words}
        return document


def _leads(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[tuple[str, str], ...]:  # noqa: ARG001
    pairs = [text.rpartition("=") for text in value]
    if any(not scope or not name for scope, _, name in pairs):
        raise click.BadParameter("must be SCOPE=NAME")
    if len({scope for scope, _, _ in pairs}) < len(pairs):
        raise click.BadParameter("names two leaders for one scope")
    return tuple(sorted((scope, name) for scope, _, name in pairs))


leads_option = click.option(
    "--lead", "leads", multiple=True, callback=_leads, metavar="SCOPE=NAME", help="Let this node lead."
)

without_option = click.option(
    "--without-leader",
    "without",
    multiple=True,
    metavar="SCOPE",
    callback=lambda ctx, param, value: tuple(sorted(set(value))),  # noqa: ARG005
    help="This Patroni cluster is gone or stopped on purpose: do not wait for its leader.",
)


@click.command()
@click.argument("files", metavar="[EVIDENCE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--lost", multiple=True, metavar="NAME", help="This member's machine or data is gone for good.")
@click.option("--survivor", default="", metavar="NAME", help="Go on with this member's data.")
@leads_option
@without_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the plan to this file.")
@asking_options
@format_option
@click.pass_obj
def command(
    app: App,
    files: tuple[Path, ...],
    lost: tuple[str, ...],
    survivor: str,
    leads: tuple[tuple[str, str], ...],
    without: tuple[str, ...],
    output: Path | None,
) -> int:
    """Say from what was collected who survives, who is fenced, and what is lost; change nothing.

    EVIDENCE are files that `recover collect -o` wrote, on one machine or on several. Without any, it collects
    itself. Exit 3 when something stands in the way: each blocker says what was seen and which option, if
    any, passes it. Nothing else does.
    """
    evidence, disagreements = evidence_of(app, files) if files else (_collect(app), ())
    plan, findings = plan_recovery(evidence, frozenset(lost), time.time(), Choice(survivor, leads, without))
    planned = completed(app, plan, evidence, (*disagreements, *further(evidence, findings), *findings))
    written = output if planned.exit_code is ExitCode.DONE else None
    if written:
        write_json(written, planned.document)
    return show_plan(app, planned, written)


def evidence_of(app: App, files: tuple[Path, ...]) -> tuple[Evidence, tuple[Finding, ...]]:
    """Read evidence that was collected before: nobody is asked then, so an option that says whom is wrong."""
    if app.patroni_apis or app.pg_user:
        raise click.UsageError("--patroni and --pg-user are for collecting: leave out them, or the EVIDENCE")
    return read_evidence(files)


def completed(app: App, plan: RecoveryPlan, evidence: Evidence, findings: tuple[Finding, ...]) -> Made:
    """Add what the Patroni file at hand, if any, says: whom Patroni finds, and whose login we have."""
    try:
        user, endpoints = app.patroni.username, app.endpoints
    except ReconfigError:
        return Made(plan, findings, evidence)
    plan, order = heed_hosts(plan, evidence, endpoints)
    # It blocks `recover apply`, which may be given another file.
    logins = (replace(finding, severity=Severity.WARNING) for finding in check_login(plan, user))
    return Made(plan, (*findings, *order, *logins), evidence)


def show_plan(app: App, planned: Made, written: Path | None) -> int:
    """Print a plan and what to do next; return the exit code. `written`: the file that holds it, if any."""
    _show(app, planned)
    click.echo(f"Next: {_next(app, planned, written)}", err=True)
    return int(planned.exit_code)


def _collect(app: App) -> Evidence:
    from patroni_etcd_reconfig.cli.recover.collect import collector  # it imports much that a plan needs not

    return collector(app).collect()


def further(evidence: Evidence, planned: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """What contradicts itself in the evidence, where the plan says nothing of it."""
    said = {(finding.code, finding.subject) for finding in planned}
    own = {"RECOVERY_TWO_CLUSTERS"}  # which of them is meant may have been chosen
    found = contradictions(evidence)
    return tuple(one for one in found if one.code not in own and (one.code, one.subject) not in said)


def _show(app: App, planned: Made) -> None:
    if app.wants_data:
        show_data(app.format, planned.document)
    elif app.format == "tsv":
        click.echo(plan_tsv(planned.plan, planned.findings))
    else:
        click.echo(plan_page(planned.plan, planned.findings, planned.evidence))


def _next(app: App, planned: Made, written: Path | None) -> str:
    """Return the one thing to do now."""
    if planned.exit_code is not ExitCode.DONE:
        first = blockers(planned.findings)[0]
        return printable(f"{first.code} {first.subject}: {first.remedy} (no plan was written)")
    if planned.plan.way is Way.NOTHING:
        return app.command_line("status")
    if written:
        return app.command_line("recover", "apply", str(written))
    return "the same command with -o plan.json, then: " + app.command_line("recover", "apply", "plan.json")
