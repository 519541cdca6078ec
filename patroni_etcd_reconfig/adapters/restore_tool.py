"""The user's own program that restores snapshots: etcdutl, or etcdctl up to 3.5.

It writes the data dir as its version does, so that it must be of the version that the etcd is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from patroni_etcd_reconfig.errors import ConfigError

_PROBE = 10.0  # seconds for --help or the version
_VERSION = re.compile(r"[Vv]ersion: (\d+\.\d+)\.\d+")


@dataclass(frozen=True)
class RestoreTool:
    """A program, its version's first two numbers, and whether it can raise revisions."""

    program: str
    version: str
    bumps: bool


def find_tool(etcd: str) -> RestoreTool:
    """Return the program that restores for this etcd: beside it, else on PATH.

    ConfigError names all that was looked at when none of them restores, or none is of etcd's version.
    """
    wanted = _version([etcd, "--version"])
    looked: list[str] = []
    for path, beside in _candidates(Path(etcd)).items():
        tool = _probe(path)
        # A program that does not tell its version is etcd's own where it came with it.
        if tool and wanted and (tool.version or (beside and wanted)) == wanted:
            return replace(tool, version=wanted)
        why = f"version {tool.version or 'unknown'}" if tool else "can not restore"
        looked.append(f"{path} ({why})")
    raise ConfigError(
        f"{etcd} is version {wanted or 'unknown'}, and no program of that version restores snapshots; "
        f"looked at: {', '.join(looked) or 'none, there is none'}",
        hint=f"put etcdutl (etcdctl before 3.5) of that version beside {etcd}, or on PATH",
        code="RESTORE_TOOL_MISSING",
    )


def environment() -> dict[str, str]:
    """Return the environment for it: the caller's ETCDCTL_ variables are about servers, and may be secret."""
    return {"PATH": os.environ.get("PATH", os.defpath), "ETCDCTL_API": "3"}


def _candidates(etcd: Path) -> dict[str, bool]:
    """Return programs in the order to try them, and whether each lies beside etcd."""
    names = ("etcdutl", "etcdctl")
    places = [directory / name for directory in (etcd.parent, etcd.resolve().parent) for name in names]
    found = {str(path): True for path in places if os.access(path, os.X_OK) and path.is_file()}
    on_path = (shutil.which(name) for name in names)
    return found | {path: False for path in on_path if path and path not in found}


def _probe(path: str) -> RestoreTool | None:
    told = _output([path, "snapshot", "restore", "--help"])
    if "--initial-cluster-token" not in told or "--data-dir" not in told:
        return None
    return RestoreTool(path, _version([path, "version"]), "--bump-revision" in told)


def _version(argv: Sequence[str]) -> str:
    found = _VERSION.search(_output(argv))
    return found[1] if found else ""


def _output(argv: Sequence[str]) -> str:
    """Return what a program prints; nothing for one that can't be run or does not end."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE,
            env=environment(),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).decode("utf-8", "replace")
