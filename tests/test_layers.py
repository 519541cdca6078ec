"""Imports go down only; the core is pure; what must feel instant imports little."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "patroni_etcd_reconfig"
# What each part may import of this package, besides itself. `adapters` are put in by `cli` and `lab`.
LEAVES = {"errors", "ports", "files", "parallel", "clock"}
ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "errors": set(),
    "files": set(),
    "parallel": set(),
    "callback": set(),
    "ports": {"core"},
    "clock": {"errors", "ports"},
    "observe": {"core", *LEAVES},
    "engine": {"core", "observe", *LEAVES},
    "adapters": {"core", *LEAVES},
    "lab": {"core", "adapters", "engine", "observe", *LEAVES},
    "cli": {"core", "adapters", "engine", "observe", "lab", *LEAVES},
}
HEAVY = ("patroni", "psycopg", "requests", "prettytable", "concurrent.futures")  # to load
FORBIDDEN_IN_CORE = {
    "os",
    "time",
    "datetime",
    "logging",
    "random",
    "socket",
    "subprocess",
    "threading",
    "pathlib",
}


def _modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _part(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else ""


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    part = relative.parts[0].removesuffix(".py")
    inner = {_part(name) for name in _imports(path) if name.startswith("patroni_etcd_reconfig.")}
    assert inner - {part, "__version__"} <= ALLOWED[part]


def test_the_core_uses_neither_clock_nor_environment_nor_anything_installed() -> None:
    for path in (PACKAGE / "core").rglob("*.py"):
        roots = {name.split(".")[0] for name in _imports(path)} - {"patroni_etcd_reconfig"}
        assert not roots & FORBIDDEN_IN_CORE, path
        assert roots <= sys.stdlib_module_names, path


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        *(("status", name) for name in HEAVY),
        # What recovery knows is a tenth of the start of a command that does not need it.
        *((name, "patroni_etcd_reconfig.core.recovery") for name in ("status", "replace", "cycle")),
    ],
)
def test_a_command_does_not_import_what_it_has_no_use_for(command: str, heavy: str) -> None:
    code = (
        f"import sys, patroni_etcd_reconfig.cli.main, patroni_etcd_reconfig.cli.{command};"
        f"sys.exit({heavy!r} in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_module_stays_below_three_hundred_lines() -> None:
    long = {str(path): n for path in _modules() if (n := len(path.read_text().splitlines())) > 300}
    assert long == {}
