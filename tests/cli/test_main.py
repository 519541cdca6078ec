"""The entry point: every error ends there, in words, with the right exit code, in the wanted format."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from patroni_etcd_reconfig.cli import main as module
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.main import COMMANDS, run
from patroni_etcd_reconfig.cli.output import format_option
from patroni_etcd_reconfig.errors import ConfigError, ExitCode, LockedError, ReconfigError, UnreachableError

Install = Callable[[Callable[[], object]], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Give a way to put a body in the place of the command `status`."""

    def put(body: Callable[[], object]) -> None:
        @click.command()
        @format_option
        @click.pass_obj
        def command(app: App) -> object:
            return body()

        monkeypatch.setattr(module, "_test_command", command, raising=False)
        monkeypatch.setitem(COMMANDS, "status", (f"{module.__name__}:_test_command", "A test."))

    return put


def raising(error: BaseException) -> Callable[[], object]:
    """Return a body that fails."""

    def body() -> object:
        raise error

    return body


def test_the_exit_code_of_a_command_is_what_it_returns(install: Install) -> None:
    install(lambda: 3)
    assert run(["status"]) == 3
    install(lambda: None)
    assert run(["status"]) == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), ExitCode.USAGE),
        (LockedError("x"), ExitCode.LOCKED),
        (UnreachableError("x"), ExitCode.UNREACHABLE),
    ],
)
def test_an_error_of_ours_is_told_without_a_traceback(
    install: Install, capsys: pytest.CaptureFixture[str], error: ReconfigError, code: int
) -> None:
    error.hint = "do that"
    install(raising(error))
    assert run(["status"]) == code
    assert capsys.readouterr().err == "Error: x\nNext: do that\n"


@pytest.mark.parametrize(
    "words", [["nonsense"], ["status", "--nonsense"], ["status", "-f", "xml"], ["cycle", "--wat"]]
)
def test_a_wrong_command_line_is_exit_2_with_the_usage(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert run(words) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert "Usage: patronictl-etcd" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "words",
    [
        ["status", "--nonsense", "-f", "json"],
        ["status", "-fjson", "--nonsense"],
        ["nonsense", "--format=json"],
        ["promote", "--format", "json"],
        ["status", "-f", "json", "-f", "xml"],
    ],
)
def test_a_wrong_command_line_is_told_in_json_where_that_is_wanted(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert run(words) == ExitCode.USAGE
    data = json.loads(capsys.readouterr().out)
    assert (data["format"], data["operation"], data["error"]["code"]) == (1, None, "USAGE")
    assert data["error"]["message"]
    assert data["error"]["hint"].endswith("--help")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["status", "--help"], ["--version"]])
def test_help_and_version_are_exit_0(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert run(words) == 0
    assert capsys.readouterr().out


def test_help_lists_every_command_with_its_line_and_imports_none() -> None:
    names = [name for name in COMMANDS if name != "list"]
    code = (
        "import sys; from patroni_etcd_reconfig.cli.main import run; run(['--help']);"
        "sys.exit(any(name.startswith('patroni_etcd_reconfig.lab') or name.endswith('cli.status')"
        " for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert all(name in lines and len(lines[name].split()) > 2 for name in names)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_in_the_table_can_be_imported_and_helps(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run([name, "--help"]) == 0
    assert f"Usage: patronictl-etcd {name}" in capsys.readouterr().out


def test_an_error_that_nobody_foresaw_is_said_to_be_a_bug(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(raising(ZeroDivisionError("division by zero")))
    assert run(["status"]) == ExitCode.BUG
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "Error: unexpected ZeroDivisionError: division by zero" in err
    assert "this is a bug in patronictl-etcd: please report it" in err
    assert "patronictl-etcd resume" in err


def test_a_bug_keeps_the_json_contract(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(raising(KeyError("x")))
    assert run(["status", "-f", "json"]) == ExitCode.BUG
    data = json.loads(capsys.readouterr().out)
    assert data["error"]["code"] == "UNEXPECTED"
    assert "bug" in data["error"]["hint"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_exit_130(
    install: Install, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    install(raising(error))
    assert run(["status"]) == int(ExitCode.INTERRUPTED) == 130
    err = capsys.readouterr().err
    assert "Error: interrupted" in err
    assert "Traceback" not in err


def test_an_interrupt_keeps_the_json_contract(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(raising(KeyboardInterrupt()))
    assert run(["status", "-f", "json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "INTERRUPTED"


def test_sigterm_ends_as_ctrl_c_does() -> None:
    with pytest.raises(KeyboardInterrupt):
        module._terminate(signal.SIGTERM, None)


def test_the_options_in_front_reach_the_command(monkeypatch: pytest.MonkeyPatch, install: Install) -> None:
    seen: list[tuple[object, ...]] = []

    def body() -> None:
        app = click.get_current_context().obj
        seen.append((app.config_file, app.inventory_file, app.insecure, app.format))

    install(body)
    assert run(["-c", "p.yml", "-i", "i.yml", "-k", "status", "-f", "tsv"]) == 0
    monkeypatch.setenv("PATRONICTL_CONFIG_FILE", "from-env.yml")
    assert run(["status"]) == 0
    assert seen == [("p.yml", "i.yml", True, "tsv"), ("from-env.yml", None, False, "pretty")]


def test_an_unknown_log_level_is_no_traceback(monkeypatch: pytest.MonkeyPatch, install: Install) -> None:
    monkeypatch.setenv("LOGLEVEL", "verbose")
    monkeypatch.setattr(logging.root, "handlers", [])
    install(lambda: 0)
    assert run(["status"]) in (0, ExitCode.USAGE)


def test_one_learner_at_a_time_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["add", "n4", "n5", "--learner"]) == ExitCode.USAGE
    assert "one learner at a time" in capsys.readouterr().err


def _in_shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run the program with its streams as the line redirects them."""
    program = f"{shlex.quote(sys.executable)} -m patroni_etcd_reconfig.cli.main"
    return subprocess.run(["/bin/sh", "-c", line.replace("TOOL", program)], capture_output=True, text=True)


@pytest.mark.parametrize("words", ["--help", "status -c /nowhere -f json", "status -f json --nonsense"])
def test_output_that_a_full_disk_does_not_take_is_no_bug(words: str) -> None:
    done = _in_shell(f"TOOL {words} > /dev/full")
    assert done.returncode == 1
    assert "Error: the output could not be written: No space left on device" in done.stderr
    assert "patronictl-etcd history" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_nobody_is_told_that_the_reader_is_gone() -> None:
    done = _in_shell("TOOL --help | true")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_that_nobody_can_be_told_of_has_its_exit_code() -> None:
    assert _in_shell("TOOL status --nonsense 2> /dev/full").returncode != 0


@pytest.mark.parametrize("closed", ["0<&-", ">&-", "2>&-", "0<&- >&- 2>&-"])
def test_closed_streams_stop_nothing(closed: str) -> None:
    assert _in_shell(f"TOOL --help {closed}").returncode == 0


def test_what_is_opened_next_becomes_no_standard_stream() -> None:
    code = (
        "import os; from patroni_etcd_reconfig.cli.main import _fill_streams; _fill_streams();"
        "import sys; fd = os.open('/dev/null', os.O_RDONLY); sys.exit(fd < 3 or not sys.stderr.writable())"
    )
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} 0<&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", line]).returncode == 0


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "is empty"),
        ("sh 'x", "can't be read as a command line"),
        ("sh {nam}", "unknown placeholder {nam}"),
        ("exit 3", "exit: no such program"),
        ("/nowhere/upgrade {name}", "/nowhere/upgrade: no such program"),
    ],
)
def test_an_upgrade_that_could_not_be_run_stops_nobody(
    capsys: pytest.CaptureFixture[str], line: str, problem: str
) -> None:
    assert run(["upgrade", "--command", line]) == ExitCode.USAGE
    assert problem in capsys.readouterr().err
