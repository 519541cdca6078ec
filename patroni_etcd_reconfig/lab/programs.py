"""Find the programs of a lab: etcd, PostgreSQL and Patroni."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.errors import ConfigError

APT_LINE = "apt-get install etcd-server etcd-client postgresql"
_POSTGRESQL = ("initdb", "postgres", "pg_ctl", "pg_basebackup", "pg_isready", "pg_controldata")
# Debian and PGDG keep the server programs off PATH, in a directory per major version.
_VERSIONED = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")
_DRIVERS = ("psycopg", "psycopg2")
# Patroni works with either driver.
_IMPORT = f"""
import importlib.util, sys
import patroni
sys.exit(not any(importlib.util.find_spec(name) for name in {_DRIVERS}))
"""


@dataclass(frozen=True)
class Programs:
    """The programs that a lab runs; `python` is the interpreter that has Patroni."""

    etcd: Path
    pg_bin: Path
    python: Path


def find_programs(etcd_dir: Path | None, patroni_dir: Path | None = None) -> Programs:
    """Return the programs, or raise one ConfigError that names all that are missing."""
    etcd, pg_bin, python = _find_etcd(etcd_dir), _find_postgresql(), patroni_python(patroni_dir)
    missing = [] if etcd else [f"etcd (looked in {etcd_dir or 'PATH'})"]
    missing += [] if pg_bin else [f"PostgreSQL's server programs (looked in PATH, {', '.join(_VERSIONED)})"]
    missing += [] if _has_patroni(patroni_dir) else [f"Patroni with psycopg (looked in {python})"]
    if etcd is None or pg_bin is None or missing:
        raise _missing_error(missing, None if etcd else etcd_dir, patroni_dir)
    return Programs(etcd, pg_bin, python)


def patroni_python(patroni_dir: Path | None) -> Path:
    """Return the interpreter of the Patroni in a virtual environment; None: our own one."""
    # Not resolved: by its link's name the interpreter knows its virtual environment.
    return patroni_dir.absolute() / "bin" / "python3" if patroni_dir else Path(sys.executable)


def find_etcd(etcd_dir: Path | None) -> Path:
    """Return the etcd program, or raise a ConfigError that says how to get it."""
    etcd = _find_etcd(etcd_dir)
    if etcd is None:
        raise _missing_error([f"etcd (looked in {etcd_dir or 'PATH'})"], etcd_dir)
    return etcd


def _missing_error(missing: list[str], etcd_dir: Path | None, patroni_dir: Path | None = None) -> ConfigError:
    hint = f"on Debian and Ubuntu: {APT_LINE}"
    if etcd_dir:
        hint += "; or give --etcd-dir a directory with etcd in it"
    if patroni_dir:
        hint += "; --patroni-dir wants a virtual environment with Patroni and psycopg in it"
    return ConfigError(f"not found: {'; '.join(missing)}", hint=hint, code="LAB_PROGRAM_MISSING")


def _find_etcd(etcd_dir: Path | None) -> Path | None:
    found = shutil.which("etcd", path=str(etcd_dir) if etcd_dir else None)
    return Path(found).absolute() if found else None


def _find_postgresql() -> Path | None:
    return next((directory for directory in _postgresql_dirs() if _has_all(directory)), None)


def _postgresql_dirs() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).absolute().parent
    for pattern in _VERSIONED:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)


def _version(directory: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(directory))]


def _has_all(directory: Path) -> bool:
    return all(os.access(directory / program, os.X_OK) for program in _POSTGRESQL)


def _has_patroni(patroni_dir: Path | None) -> bool:
    if patroni_dir:
        return _imports_patroni(patroni_python(patroni_dir))
    return _importable("patroni") and any(_importable(driver) for driver in _DRIVERS)


def _imports_patroni(python: Path) -> bool:
    try:
        done = subprocess.run((python, "-c", _IMPORT), cwd="/", capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _importable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
