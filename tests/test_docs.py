"""The documentation says what the code does: codes, commands, options, policy, files to copy, links."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import click
import pytest

from patroni_etcd_reconfig.adapters import inventory, patroni_config
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.main import cli
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.status import status_as_dict
from patroni_etcd_reconfig.engine.result import Result
from patroni_etcd_reconfig.errors import ExitCode
from tests.core.builders import patroni, seen, voters

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "patroni_etcd_reconfig"
CONF = ROOT / "patroni-conf"
README = (ROOT / "README.md").read_text("utf-8")
FINDINGS = (ROOT / "docs" / "findings.md").read_text("utf-8")
REFERENCE = (ROOT / "docs" / "reference.md").read_text("utf-8")
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(page for part in ("docs", "patroni-conf", "vagrant") for page in (ROOT / part).rglob("*.md")),
    ]
)

CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
# Calls that make a finding. `make` stands for blocker or warning, whichever the case deserves.
MAKERS = {"blocker", "warning", "info", "make", "Finding", "Hazard"}
ROW = re.compile(r"^\| `([A-Z][A-Z0-9_]+)` \|(.*)\|$", re.MULTILINE)


def _calls(*folders: str) -> Iterator[ast.Call]:
    for folder in folders:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            yield from (n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call))


def _code_of(node: ast.expr | None) -> str:
    """Return a string literal that looks like a code, else ""."""
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) and CODE.fullmatch(value) else ""


@cache
def _findings() -> dict[str, list[ast.Call]]:
    """Return the calls in core and engine that make a finding, by its code."""
    found: dict[str, list[ast.Call]] = {}
    for call in _calls("core", "engine"):
        if isinstance(call.func, ast.Name) and call.func.id in MAKERS and call.args:
            code = _code_of(call.args[0])
            if code:
                found.setdefault(code, []).append(call)
    return found


@cache
def _errors() -> set[str]:
    """Return every `code = "..."` of a class and every `code="..."` of a call."""
    found = {_code_of(word.value) for call in _calls(".") for word in call.keywords if word.arg == "code"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                found |= {_code_of(line.value) for line in node.body if _assigns_code(line)}  # type: ignore[attr-defined]
    return found - {""}


def _assigns_code(line: ast.stmt) -> bool:
    return isinstance(line, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "code" for target in line.targets
    )


def _rows(text: str) -> dict[str, list[str]]:
    """Return the other cells of every table row that begins with a code."""
    return {match[1]: [cell.strip() for cell in match[2].split("|")] for match in ROW.finditer(text)}


@cache
def _documented() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the rows of the findings and of the errors."""
    findings, _, errors = FINDINGS.partition("\n# Error codes\n")
    return _rows(findings), _rows(errors)


def test_every_finding_is_documented_and_no_other() -> None:
    assert set(_documented()[0]) == set(_findings())


def test_every_error_is_documented_and_no_other() -> None:
    assert set(_documented()[1]) == _errors()


def test_the_codes_were_really_found() -> None:
    assert {"DB_QUOTA", "HAZARD_CORRUPTION", "NO_PATRONI", "EVEN_SIZE"} <= set(_findings())
    assert {"UNEXPECTED", "LOCK_LOST", "SNAPSHOT_CORRUPT", "LAB_NOT_READY"} <= _errors()


@pytest.mark.parametrize("code", sorted(_findings()))
def test_severity_and_waiting_are_as_documented(code: str) -> None:
    severity, waited_for = _documented()[0][code][:2]
    kinds = {call.func.id for call in _findings()[code] if isinstance(call.func, ast.Name)}
    for kind in kinds & {"blocker", "warning", "info"}:
        assert kind in severity.split()
    for call in _findings()[code]:
        if isinstance(call.func, ast.Name) and call.func.id == "Hazard":
            assert isinstance(call.args[3], ast.Attribute)
            assert severity == call.args[3].attr.lower()
    waits = any(word.arg == "transient" for call in _findings()[code] for word in call.keywords)
    assert waited_for == ("yes" if waits else "no")


def _commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with the words it is called by."""
    if not isinstance(group, click.Group):
        yield " ".join(path), group
        return
    context = click.Context(group, obj=App())
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from _commands(command, (*path, name))


COMMANDS = {words: command for words, command in _commands(cli) if words != "list"}


def _section(heading: str) -> str:
    """Return the reference's text below a command's heading."""
    match = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^#)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert match, f"docs/reference.md has no heading '### {heading}'"
    return match[1]


def _long_options(command: click.Command) -> set[str]:
    return {
        option
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--")
    }


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_is_in_the_reference_with_its_options(words: str) -> None:
    documented = set(re.findall(r"--[a-z][a-z-]+", _section(words)))
    assert documented == _long_options(COMMANDS[words])


def test_options_before_the_command_are_in_the_reference() -> None:
    head = REFERENCE.partition("### ")[0]
    assert _long_options(cli) <= set(re.findall(r"--[a-z][a-z-]+", head))
    assert "`list` is the same command" in _section("status")


@pytest.mark.parametrize("field", fields(Policy), ids=lambda field: field.name)
def test_every_limit_of_the_policy_is_in_the_reference_with_its_default(field) -> None:  # type: ignore[no-untyped-def]
    row = re.search(rf"^\| `{field.name}` \|(.*?)\|", REFERENCE, re.MULTILINE)
    assert row
    default = getattr(Policy(), field.name)
    words = {frozenset(): "`[]`", "": "(by user)"}.get(default)
    number = f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
    assert row[1].strip() == (words or number)


@pytest.mark.parametrize("key", sorted({*inventory.MEMBER, *inventory.COMMANDS, *inventory.POLICY_CHECKS}))
def test_every_key_of_the_inventory_is_in_the_reference(key: str) -> None:
    assert f"`{key}`" in REFERENCE


def _keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return {*value, *(key for item in value.values() for key in _keys(item))}
    return {key for item in value for key in _keys(item)} if isinstance(value, list) else set()


def test_every_field_of_the_json_contracts_is_in_the_reference() -> None:
    status = status_as_dict(seen(voters(3), patroni()), ())
    keys = _keys(status) | _keys(Result("cycle", "done", 0.0, 0.0).as_dict())
    missing = {key for key in keys if not re.search(rf"[`.\"]{key}[`.\"\[]", REFERENCE)}
    assert missing == set()


@pytest.mark.parametrize("code", list(ExitCode))
def test_every_exit_code_is_in_the_tables(code: ExitCode) -> None:
    for text in (README, REFERENCE):
        assert re.search(rf"^\| {code.value} \|", text, re.MULTILINE)


def test_the_example_inventory_is_valid_and_shows_the_defaults() -> None:
    loaded = inventory.load(str(CONF / "etcd-reconfig.yml"), "")
    assert len(loaded.nodes) == 3
    assert {(node.via, node.manager) for node in loaded.nodes.values()} == {("local", "command")}
    shown = {field.name: getattr(loaded.policy, field.name) for field in fields(Policy)}
    assert {**shown, "state_dir": ""} == {
        field.name: getattr(Policy(), field.name) for field in fields(Policy)
    }


def test_the_example_patroni_file_is_valid_and_calls_the_callback() -> None:
    loaded = patroni_config.load(str(CONF / "patroni.yml"), {})
    assert len(loaded.hosts) == 3
    callbacks = loaded.raw["postgresql"]["callbacks"]
    assert {"on_start", "on_stop", "on_role_change"} <= set(callbacks)
    assert set(callbacks.values()) == {"patroni-etcd-callback"}
    assert "patroni-etcd-callback = " in (ROOT / "setup.cfg").read_text("utf-8")


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    for link in (link for link in links if "://" not in link):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link
