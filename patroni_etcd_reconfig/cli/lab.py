"""`patronictl-etcd lab`: labs of real etcd, Patroni and PostgreSQL on this machine's loopback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from patroni_etcd_reconfig.errors import ExitCode

_Command = Callable[..., Any]


def _lab_options(command: _Command) -> _Command:
    net = click.option("--net", type=click.IntRange(1, 255), metavar="N", help="Use 127.0.N.1 to .3.")
    directory = click.option(
        "--dir", "root", type=click.Path(path_type=Path), help="The lab's directory (default .lab/lab-N)."
    )
    return net(directory(command))


def _programs_options(command: _Command) -> _Command:
    kind = click.Path(exists=True, file_okay=False, path_type=Path)
    etcd = click.option("--etcd-dir", type=kind, help="Directory of the etcd programs (default: PATH).")
    words = "Virtual environment of another Patroni (default: the one that this runs in)."
    return etcd(click.option("--patroni-dir", type=kind, help=words)(command))


def _format_option(command: _Command) -> _Command:
    kind = click.Choice(("pretty", "json"))
    option = click.option("-f", "--format", "style", type=kind, default="pretty", help="Output format.")
    return option(command)


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.group()
def lab() -> None:
    """Run 3 etcd and 3 Patroni/PostgreSQL on 127.0.N.1 to .3, with their default ports.

    Each lab has a directory with everything in it (configuration, data, logs, pids) and a network
    number N, 77 by default; labs with different numbers run side by side.
    """


@lab.command("up")
@_lab_options
@_programs_options
def up_command(net: int | None, root: Path | None, etcd_dir: Path | None, patroni_dir: Path | None) -> None:
    """Bring a lab up, or start what is missing of it."""
    from patroni_etcd_reconfig.lab import report, up

    click.echo(report.arrival(up.up(root, net, etcd_dir, say=_say, patroni_dir=patroni_dir)))


@lab.command("down")
@_lab_options
@click.option("--remove", is_flag=True, help="Delete the lab's directory as well.")
def down_command(net: int | None, root: Path | None, remove: bool) -> None:
    """End the processes that the lab started."""
    from patroni_etcd_reconfig.lab import down, report
    from patroni_etcd_reconfig.lab.lab import find_lab

    click.echo(report.departure(down.down(find_lab(root, net), say=_say, remove=remove)))


@lab.command("status")
@_lab_options
@_format_option
def status_command(net: int | None, root: Path | None, style: str) -> None:
    """Show the lab's processes."""
    from patroni_etcd_reconfig.lab import report
    from patroni_etcd_reconfig.lab.lab import find_lab

    status = report.status(find_lab(root, net))
    click.echo(report.as_json(status) if style == "json" else report.status_text(status))


@lab.command("demo")
@_lab_options
@_programs_options
@_format_option
@click.option("--compare", is_flag=True, help="Measure the naive way and the floor as well.")
@click.option("--keep", is_flag=True, help="Leave the lab running.")
def demo_command(
    net: int | None,
    root: Path | None,
    etcd_dir: Path | None,
    patroni_dir: Path | None,
    style: str,
    compare: bool,
    keep: bool,
) -> int:
    """Replace all etcd members of a fresh lab under write load; check that nobody noticed."""
    from patroni_etcd_reconfig.lab import demo, report, verdict

    options = demo.DemoOptions(net or demo.DEMO_NET, root, etcd_dir, compare, keep, patroni_dir=patroni_dir)
    result = demo.run_demo(options, say=_say)
    click.echo(report.as_json(verdict.as_json(result)) if style == "json" else verdict.as_text(result))
    return int(ExitCode.NOT_VERIFIED if result.disruptions else ExitCode.DONE)


@lab.command("drill")
@_lab_options
@_programs_options
@_format_option
@click.option("--naive", is_flag=True, help="Do what wiki pages say instead: --force-new-cluster.")
@click.option("--failsafe", is_flag=True, help="With Patroni's failsafe_mode on.")
@click.option("--keep", is_flag=True, help="Leave the lab running.")
def drill_command(
    net: int | None,
    root: Path | None,
    etcd_dir: Path | None,
    patroni_dir: Path | None,
    style: str,
    naive: bool,
    failsafe: bool,
    keep: bool,
) -> int:
    """Lose the majority of etcd in a fresh lab, and bring it back; count the committed rows that are there.

    What is left of etcd still names a PostgreSQL leader that is 1,000 committed rows behind.
    """
    from patroni_etcd_reconfig.lab import drill, report

    options = drill.DrillOptions(
        net or drill.DRILL_NET, root, etcd_dir, naive, failsafe, keep, patroni_dir=patroni_dir
    )
    outcome = drill.run_drill(options, say=_say)
    click.echo(report.as_json(outcome.as_dict()) if style == "json" else outcome.as_text())
    return int(ExitCode.DONE if outcome.good else ExitCode.NOT_VERIFIED)


@lab.command("fault")
@click.argument("verb", type=click.Choice(("power-off", "power-on", "lose-etcd", "freeze", "thaw")))
@click.argument("host", type=click.IntRange(1, 3))
@_lab_options
def fault_command(verb: str, host: int, net: int | None, root: Path | None) -> None:
    """Break host HOST of the lab (1 to 3), or bring it back.

    power-off ends etcd, Patroni and PostgreSQL at once; power-on starts them with the data they have;
    lose-etcd ends etcd and takes its data away; freeze stops etcd as a hung machine would be.
    """
    from patroni_etcd_reconfig.lab import faults
    from patroni_etcd_reconfig.lab.lab import find_lab

    act = getattr(faults, verb.replace("-", "_"))
    click.echo(f"{verb} of host {host}: {', '.join(act(find_lab(root, net), host)) or 'nothing ran'}")
