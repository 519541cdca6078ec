"""The entry point: a lazy group of commands, and the one place where errors become messages."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from patroni_etcd_reconfig import __version__
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.lazy import LazyGroup
from patroni_etcd_reconfig.cli.output import show_error, wanted_format
from patroni_etcd_reconfig.errors import ConfigError, ExitCode, InterruptedOperationError, ReconfigError

# Commands are imported when they are called: a read-only command must feel instant.
_CLI = "patroni_etcd_reconfig.cli"
COMMANDS = {
    "status": (f"{_CLI}.status:command", "One look at etcd and every Patroni cluster on it."),
    "list": (f"{_CLI}.status:command", "The same as status."),
    "preflight": (f"{_CLI}.preflight:command", "Everything that would stand in the way of a change."),
    "cycle": (f"{_CLI}.cycle:command", "Replace all or the named etcd members, one by one, in place."),
    "replace": (f"{_CLI}.replace:command", "Replace one member, in place or on another machine."),
    "add": (f"{_CLI}.membership:add", "Add nodes of the inventory as members."),
    "remove": (f"{_CLI}.membership:remove", "Remove members, by name or by id."),
    "promote": (f"{_CLI}.membership:promote", "Promote a learner once it is in sync."),
    "plan": (f"{_CLI}.planfile:command", "Show what apply would do, and write it to a file."),
    "apply": (f"{_CLI}.membership:apply", "Make the membership equal to the inventory."),
    "restart": (f"{_CLI}.service:restart", "Restart members one by one, the leader last."),
    "upgrade": (f"{_CLI}.service:upgrade", "Restart members one by one, with a command while each is down."),
    "update-urls": (f"{_CLI}.relocation:update_urls", "Give a member other peer or client URLs."),
    "move-data": (
        f"{_CLI}.relocation:move_data",
        "Move a member's data to another place.",
    ),
    "move-leader": (f"{_CLI}.service:move_leader", "Move raft leadership to another voter."),
    "snapshot": (f"{_CLI}.snapshot:command", "Save a snapshot, whole and verified."),
    "hosts": (f"{_CLI}.hosts:command", "What each Patroni's etcd list means at its next start."),
    "history": (f"{_CLI}.history:command", "What was done to this etcd, and how it ended."),
    "cleanup": (f"{_CLI}.cleanup:command", "Delete what was set aside, once its retention is over."),
    "abort": (f"{_CLI}.abort:command", "End an interrupted operation at a safe state."),
    "resume": (f"{_CLI}.resume:command", "Finish an operation that was interrupted."),
    "recover": (f"{_CLI}.recover:recover", "Bring etcd back when a majority is lost."),
    "restore": (f"{_CLI}.recover.restore:command", "Plan a new etcd from a snapshot, when no data is left."),
    "lab": (f"{_CLI}.lab:lab", "Labs of real etcd, Patroni and PostgreSQL on this machine."),
}


@click.command(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-c", "--config-file", envvar="PATRONICTL_CONFIG_FILE", help="Patroni's configuration file.")
@click.option("-i", "--inventory", "inventory_file", help="How nodes are controlled (etcd-reconfig.yml).")
@click.option("-k", "--insecure", is_flag=True, help="Do not verify TLS certificates.")
@click.version_option(__version__, prog_name="patronictl-etcd")
@click.pass_obj
def cli(app: App, config_file: str | None, inventory_file: str | None, insecure: bool) -> None:
    """Change, cycle and rescue the etcd under Patroni clusters, without disturbing a PostgreSQL leader."""
    app.config_file, app.inventory_file, app.insecure = config_file, inventory_file, insecure


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; every error ends here."""
    logging.basicConfig(
        level=getattr(logging, os.environ.get("LOGLEVEL", "").upper(), logging.WARNING),
        format="%(asctime)s - %(levelname)s - %(message)s",
        stream=sys.stderr,
    )
    app = App()
    try:
        return _run(app, arguments)
    except OSError as error:  # everything else has ended before
        return _forget_stdout(error)


def _run(app: App, arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="patronictl-etcd", standalone_mode=False, obj=app)
    except ReconfigError as error:
        show_error(app, error)
        return int(error.exit_code)
    except click.ClickException as error:
        return _show_usage(app, error, sys.argv[1:] if arguments is None else arguments)
    except (click.Abort, KeyboardInterrupt):
        show_error(
            app,
            InterruptedOperationError("interrupted", hint="patronictl-etcd resume, if a change had begun"),
        )
        return int(ExitCode.INTERRUPTED)
    except Exception as error:
        if _is_of_output(error):
            raise
        return _report_bug(app, error)
    return code if isinstance(code, int) else 0


def _show_usage(app: App, error: click.ClickException, arguments: Sequence[str]) -> int:
    """A wrong command line: as click shows it, or in the contract's form where that was asked for."""
    app.format = wanted_format(arguments) or app.format
    if app.wants_data:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "patronictl-etcd"
        show_error(app, ConfigError(error.format_message(), hint=f"{path} --help", code="USAGE"))
    else:
        error.show()
    return int(ExitCode.USAGE)


def _is_of_output(error: Exception) -> bool:
    """Tell whether what failed is writing our output: all of it goes through click's echo."""
    return isinstance(error, OSError) and traceback.extract_tb(error.__traceback__)[-1].name == "echo"


def _forget_stdout(error: OSError) -> int:
    """Whoever read our output is gone (`| head`): no bug, and nobody to tell. A full disk is for people."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        words = ReconfigError(
            f"the output could not be written: {error.strerror}",
            hint="make room there; what was done, and how it ended: patronictl-etcd history",
        )
        with contextlib.suppress(OSError):
            show_error(App(), words)
    return int(ExitCode.BUG)


def _report_bug(app: App, error: Exception) -> int:
    """An error nobody foresaw: say so, and keep the traceback where it can be sent from."""
    click.echo(traceback.format_exc(), err=True)
    bug = ReconfigError(
        f"unexpected {type(error).__name__}: {error}",
        hint="this is a bug in patronictl-etcd: please report it with the lines above; "
        "if an operation was running: patronictl-etcd resume",
    )
    show_error(app, bug)
    return int(ExitCode.BUG)


def _terminate(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
    raise KeyboardInterrupt


def _fill_streams() -> None:
    """Open what a supervisor started us without: no journal or connection shall become a standard stream."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - for the life of the process


def main() -> None:
    """Run as a program: SIGTERM and a lost terminal end an operation as cleanly as Ctrl-C does."""
    _fill_streams()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _terminate)
    sys.exit(run())


if __name__ == "__main__":
    main()
