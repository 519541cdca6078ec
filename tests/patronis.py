"""Which Patronis the tests run on."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_VERSION = "from importlib.metadata import version; print(version('patroni'))"


def patroni_dirs() -> list[tuple[str, Path | None]]:
    """Return version and virtual environment of each Patroni in PATRONI_DIRS (separated by colons).

    Without that the only one is ours: None.
    """
    listed = [Path(entry) for entry in os.environ.get("PATRONI_DIRS", "").split(":") if entry]
    return [(patroni_version(directory), directory) for directory in listed] or [(_own(), None)]


def patroni_version(directory: Path | None) -> str:
    """Return the version of the Patroni in a virtual environment; None: of ours."""
    if directory is None:
        return _own()
    command = (directory / "bin" / "python3", "-c", _VERSION)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _own() -> str:
    try:
        return version("patroni")
    except PackageNotFoundError:
        return "none"
