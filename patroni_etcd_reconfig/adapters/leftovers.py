"""What operations left on this machine's disks: data set aside, former configurations, snapshots.

Told by their names alone, which hold the operation's id and with it the time.
"""

from __future__ import annotations

import calendar
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.adapters.inventory import NodeConfig

# As new_operation_id makes them: 20260101T000000Z-cycle-abc123.
OPERATION = r"(?P<operation>(?P<moment>[0-9]{8}T[0-9]{6}Z)-[a-z-]+-[0-9a-f]{6})"
PART = r"\.part"  # ends the name of what was not whole yet: its process was killed


@dataclass(frozen=True)
class Leftover:
    """One file or directory: `at` in seconds since the epoch, of the operation's begin; `size` in bytes."""

    path: Path
    kind: str  # data, config, snapshot
    operation_id: str
    at: float
    size: int


def find_leftovers(nodes: Iterable[NodeConfig], state_dir: Path) -> list[Leftover]:
    """Return what operations left here, oldest first; nothing that the inventory says is in use."""
    local = [node for node in nodes if node.via == "local"]
    in_use = {Path(path) for node in local for path in _places(node)}
    found = [item for node in local for item in _of_node(node)]
    found += _matching(state_dir / "snapshots", f"[0-9a-f]+-{OPERATION}\\.db({PART})?", "snapshot")
    unique = {item.path: item for item in found if not _holds(item.path, in_use)}
    return sorted(unique.values(), key=lambda item: (item.at, str(item.path)))


def delete(item: Leftover) -> None:
    """Delete it. OSError is let through; killed in between, what is left keeps its name."""
    if item.path.is_dir():
        shutil.rmtree(item.path)
    else:
        item.path.unlink(missing_ok=True)


def _places(node: NodeConfig) -> tuple[str, ...]:
    return tuple(path for path in (node.data_dir, node.wal_dir, node.config_file) if path)


def _of_node(node: NodeConfig) -> Iterator[Leftover]:
    for place in (node.data_dir, node.wal_dir):
        if place:
            name = re.escape(Path(place).name)
            for pattern in (f"{name}\\.([0-9a-f]+|unknown)\\.{OPERATION}", f"{name}\\.{OPERATION}{PART}"):
                yield from _matching(Path(place).parent, pattern, "data")
    config = Path(node.config_file)
    yield from _matching(config.parent, f"{re.escape(config.name)}\\.{OPERATION}", "config")


def _matching(directory: Path, pattern: str, kind: str) -> Iterator[Leftover]:
    for path in directory.iterdir() if directory.is_dir() else ():
        match = re.fullmatch(pattern, path.name)
        if match and not path.is_symlink():
            moment = time.strptime(match["moment"], "%Y%m%dT%H%M%SZ")
            yield Leftover(path, kind, match["operation"], calendar.timegm(moment), _size(path))


def _size(path: Path) -> int:
    files = (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files)


def _holds(path: Path, in_use: set[Path]) -> bool:
    """Tell whether deleting the path would take something in use with it."""
    return any(path == used or path in used.parents for used in in_use)
