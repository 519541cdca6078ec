"""How results look: patronictl's tables, tsv, JSON and YAML on stdout; everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.errors import ReconfigError

FORMATS = ("pretty", "tsv", "json", "yaml", "yml")
Rows = Sequence[Sequence[object]]
_COLOURS = {"blocker": "red", "warning": "yellow", "info": "cyan"}


def _set_format(ctx: click.Context, param: click.Parameter, value: str) -> str:  # noqa: ARG001 - click's signature
    ctx.ensure_object(App).format = value
    return value


format_option: Callable[[Any], Any] = click.option(
    "-f",
    "--format",
    "fmt",
    type=click.Choice(FORMATS),
    default="pretty",
    callback=_set_format,
    expose_value=False,
    help="Output format.",
)


def wanted_format(arguments: Sequence[str]) -> str:
    """Return the format that a command line asks for, also one that click could not read; "" for none."""
    for word, following in zip(arguments, (*arguments[1:], ""), strict=True):
        value = following if word in ("-f", "--format") else ""
        for start in ("--format=", "-f"):
            if word.startswith(start) and not value:
                value = word.removeprefix(start)
        if value in FORMATS:
            return value
    return ""


def _set_accept(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> None:  # noqa: ARG001
    ctx.ensure_object(App).accept = frozenset(value)


accept_option: Callable[[Any], Any] = click.option(
    "--accept",
    multiple=True,
    metavar="CODE",
    callback=_set_accept,
    expose_value=False,
    help="Pass a blocking finding knowingly; it is recorded. Can be given more than once.",
)


def _set_shield(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001
    ctx.ensure_object(App).shield = value


shield_option: Callable[[Any], Any] = click.option(
    "--shield",
    is_flag=True,
    callback=_set_shield,
    expose_value=False,
    help="Turn failsafe_mode on where it is off, for the time of the operation, and put it back.",
)


dry_run_option: Callable[[Any], Any] = click.option(
    "--dry-run", is_flag=True, help="Run the same engine on a simulated cluster; touch nothing."
)


def as_text(fmt: str, data: dict[str, Any]) -> str:
    """Return data as JSON or YAML."""
    if fmt == "json":
        return json.dumps(data, indent=2) + "\n"
    import yaml

    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return text


def show_data(fmt: str, data: dict[str, Any]) -> None:
    """Print data as JSON or YAML."""
    click.echo(as_text(fmt, data), nl=False)


def table(title: str, columns: Sequence[str], rows: Rows, numbers: Iterable[str] = ()) -> str:
    """Return a table as patronictl draws it: the title in the top rule, numbers to the right."""
    from prettytable import PrettyTable

    drawn = PrettyTable(list(columns))
    drawn.align = "l"
    for column in numbers:
        drawn.align[column] = "r"
    drawn.add_rows([["" if cell is None else printable(str(cell)) for cell in row] for row in rows])
    first, *rest = drawn.get_string().splitlines()
    head = f"+ {printable(title)} "
    return "\n".join([head[: len(first)] + first[len(head) :], *rest])


def printable(text: str) -> str:
    """Return the text with control characters shown, not sent: names come from outside."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def tsv(columns: Sequence[str], rows: Rows) -> str:
    """Return tab-separated lines with a header."""
    cells = [list(columns), *[["" if cell is None else str(cell) for cell in row] for row in rows]]
    return "\n".join("\t".join(printable(cell) for cell in row) for row in cells)


def finding_lines(findings: Iterable[Finding]) -> Iterable[str]:
    """Yield each finding with its evidence and its remedy."""
    for finding in findings:
        head = click.style(finding.severity.value.upper(), fg=_COLOURS[finding.severity.value], bold=True)
        yield f"{head} {finding.code} {printable(finding.subject)}: {printable(finding.detail)}"
        yield f"    -> {printable(finding.remedy)}"


def show_findings(findings: Iterable[Finding], *, err: bool = False) -> None:
    """Print findings."""
    for line in finding_lines(findings):
        click.echo(line, err=err)


def nothing_done() -> dict[str, Any]:
    """Return the contract's form of a result without an operation."""
    return {"format": 1, "operation": None, "steps": [], "measured": None, "findings": [], "error": None}


def show_error(app: App, error: ReconfigError) -> None:
    """Print an error: as the contract's JSON on stdout, or in words on stderr."""
    words = {"code": error.code, "message": str(error), "hint": error.hint}
    if app.wants_data:
        show_data(app.format, {**nothing_done(), "error": words})
        return
    first, *further = map(printable, str(error).splitlines() or [""])
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {first}", err=True)
    for line in further:  # indented: what comes from outside does not pass for a line of ours
        click.echo(f"       {line}", err=True)
    if error.hint:
        click.echo(f"Next: {printable(error.hint)}", err=True)
