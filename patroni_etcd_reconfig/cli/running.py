"""What all commands that change something share: preflight, plan, confirmation, run, result."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.output import (
    accept_option,
    dry_run_option,
    format_option,
    shield_option,
    show_findings,
)
from patroni_etcd_reconfig.cli.planview import show_plan
from patroni_etcd_reconfig.cli.progress import QuietReporter, reporter
from patroni_etcd_reconfig.cli.seats import with_client_urls
from patroni_etcd_reconfig.cli.summary import show_nothing, show_result
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import Change, Seat, UnknownMemberError, equality_with
from patroni_etcd_reconfig.core.findings import Finding, blockers
from patroni_etcd_reconfig.core.model import EtcdView, Observation, format_id
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.preflight import examine
from patroni_etcd_reconfig.engine.journal import Journal
from patroni_etcd_reconfig.engine.operation import begin_journal, dry_run, new_operation_id
from patroni_etcd_reconfig.engine.result import Result
from patroni_etcd_reconfig.errors import ConfigError, ExitCode, ReconfigError

# Long enough for an election, for etcd's 5 s rule after a restart, and for a Patroni loop, in seconds.
PATIENCE = 12.0


class PreflightError(ReconfigError):
    """Findings stand in the way; nothing was changed."""

    exit_code = ExitCode.BLOCKED
    code = "PREFLIGHT"


class UnfinishedError(ReconfigError):
    """An earlier operation has to be finished first."""

    exit_code = ExitCode.BLOCKED
    code = "UNFINISHED_OPERATION"


def change_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of everything that changes something."""
    force = click.option("--force", is_flag=True, help="Do not ask for confirmation.")
    options = format_option(accept_option(shield_option(force(dry_run_option(command)))))
    decorated: Callable[..., Any] = options
    return decorated


def carry_out(app: App, wanted: Callable[[Wiring, EtcdView], Change], *, force: bool, dry_run: bool) -> int:
    """Carry a change out from the first look to the result; returns the exit code."""
    wiring = Wiring(app)
    seen = wiring.observe()
    change = with_client_urls(named(wanted, wiring, seen.etcd), seen.etcd, wiring.nodes)
    if change.verb == "update-urls" and not change.relocations:
        return show_nothing(app, "The member has these URLs already: nothing to do.")
    change = replace(change, shield=app.shield)
    refuse_unfinished(wiring, change)
    began = time.time()
    if wiring.prepare(change):
        seen = wiring.observe()
    seen, findings = preflight(wiring, change, seen)
    if blockers(findings):
        return show_result(app, _blocked(app, change, began, findings))
    show_findings(findings, err=True)
    click.echo(show_plan(make_plan(seen, change), seen), err=True)
    if dry_run:
        return show_result(app, simulate(wiring, change, seen))
    confirm(f"Are you sure you want to {change.verb} {', '.join(change.subjects)}?", force)
    return show_result(app, run_change(wiring, change, findings))


def named(wanted: Callable[[Wiring, EtcdView], Change], wiring: Wiring, etcd: EtcdView) -> Change:
    """Return the wanted change; a member that is not there is answered with those that are."""
    try:
        return wanted(wiring, etcd)
    except UnknownMemberError as error:
        known = ", ".join(view.member.name or format_id(view.id) for view in etcd.members)
        node = wiring.nodes.get(error.key)
        more = f"; to make {error.key} one: patronictl-etcd add {error.key}" if node else ""
        raise ConfigError(
            f"no member is called {error.key!r}",
            hint=f"the members are {known} (patronictl-etcd status){more}",
            code="UNKNOWN_MEMBER",
        ) from error


def preflight(wiring: Wiring, change: Change, seen: Observation) -> tuple[Observation, tuple[Finding, ...]]:
    """Examine; while all that blocks can be cured by waiting, wait for a short time."""
    deadline = time.monotonic() + min(PATIENCE, wiring.app.policy.gate_timeout)
    told = False
    while True:
        findings = examine(seen, change, wiring.app.policy)
        stopping = blockers(findings)
        if not stopping or time.monotonic() > deadline or not all(f.transient for f in stopping):
            return seen, findings
        if not told:
            click.echo("waiting for:", err=True)
            show_findings(stopping, err=True)
        told = True
        time.sleep(0.2)
        seen = wiring.observe()


def refuse_unfinished(wiring: Wiring, change: Change) -> None:
    """Raise UnfinishedError when an operation on this cluster waits to be resumed."""
    for finding in wiring.unfinished(change.cluster_id):
        raise UnfinishedError(f"{finding.subject}: {finding.detail}", hint=finding.remedy)


def confirm(question: str, force: bool) -> None:
    """Ask, unless forced; without a terminal to ask on, say which option is missing."""
    if force:
        return
    if not sys.stdin.isatty():
        raise ConfigError(
            "there is no terminal to confirm on; nothing was changed",
            hint="add --force",
            code="NOT_CONFIRMED",
        )
    if not click.confirm(question, err=True):
        raise ConfigError("not confirmed; nothing was changed", code="NOT_CONFIRMED")


def run_change(wiring: Wiring, change: Change, findings: tuple[Finding, ...]) -> Result:
    """Begin the change's operation and carry it out.

    The prompt may have stood for long: what waits to be finished is looked up again under the lock.
    """
    operation_id = new_operation_id(change, wiring.clock)

    def open_journal(before: Observation) -> Journal:
        refuse_unfinished(wiring, change)
        return begin_journal(wiring.journal_path(operation_id), operation, before, wiring.mirror)

    with reporter() as progress:
        operation = wiring.operation(operation_id, change, progress, findings)
        return operation.run(open_journal)


def simulate(wiring: Wiring, change: Change, seen: Observation, goal: str = "done") -> Result:
    """Carry the change out on a copy of what is seen."""
    return dry_run(change, seen, wiring.app.policy, wiring.clock, QuietReporter(), goal)


def _blocked(app: App, change: Change, began: float, findings: tuple[Finding, ...]) -> Result:
    first = blockers(findings)[0]
    error = PreflightError(
        f"{len(blockers(findings))} finding(s) stand in the way; nothing was changed",
        hint=f"{first.remedy}; then: {app.command_line('preflight')}",
    )
    return Result(change.verb, "blocked", began, time.time() - began, findings=findings, error=error)


def inventory_change(wiring: Wiring, etcd: EtcdView) -> Change:
    """Return the change that makes the membership equal to the inventory."""
    if not wiring.nodes:
        raise ConfigError("the inventory names no members", hint="give one with -i", code="NO_INVENTORY")
    return equality_with(etcd, tuple(_live_or_listed(wiring, etcd, name) for name in wiring.nodes))


def seat_of(wiring: Wiring, name: str) -> Seat:
    """Return the seat that the inventory gives a node; ConfigError says what is missing there."""
    node = wiring.nodes.get(name)
    if node is None or not node.peer_urls:
        what = "does not name this node" if node is None else "gives it no peer_url"
        raise ConfigError(
            f"{name}: the inventory {what}",
            hint=f"put {name} under etcd.members with host, peer_url and client_url",
            code="UNKNOWN_NODE",
        )
    return Seat(name, node.peer_urls)


def refuse_taken(etcd: EtcdView, seat: Seat, by: int = 0) -> None:
    """Raise ConfigError when a member has the seat's URLs or machine; `by` is the id that may have them."""
    for view in etcd.members:
        member, who = view.member, view.member.name or format_id(view.id)
        shared = {*seat.peer_urls, *seat.client_urls} & {*member.peer_urls, *member.client_urls}
        if view.id != by and (shared or member.name == seat.name):
            what = f"{', '.join(sorted(shared))} is that of" if shared else "its machine runs"
            raise ConfigError(
                f"{seat.name}: {what} member {who} already",
                hint=f"name a machine and URLs without a member, or: patronictl-etcd replace {who}",
                code="ALREADY_MEMBER",
            )


def _live_or_listed(wiring: Wiring, etcd: EtcdView, name: str) -> Seat:
    """URLs default to the running member's."""
    node = wiring.nodes[name]
    live = next((view.member for view in etcd.members if view.member.name == name), None)
    return Seat(name, live.peer_urls) if live and not node.peer_urls else seat_of(wiring, name)
