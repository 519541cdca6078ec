"""Take a lab down: end exactly the processes that it started."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.errors import ConfigError
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.layout import NODES, Layout
from patroni_etcd_reconfig.lab.marker import locked
from patroni_etcd_reconfig.lab.processes import ProcessId, find_postmaster, running, stop_all

_TIMEOUT = 60.0  # seconds; PostgreSQL writes a checkpoint before it ends


@dataclass(frozen=True)
class Departure:
    """What `down` did: the processes that it ended, with pid, and whether the directory is gone."""

    root: Path
    ended: tuple[tuple[str, int], ...]
    removed: bool


def down(lab: Lab, *, say: Callable[[str], None], remove: bool = False) -> Departure:
    """End the lab's processes, Patroni with PostgreSQL first, then etcd; with `remove` delete it, too.

    A lab that is half there, or not running, is fine. The directory stays unless `remove`.
    """
    layout = lab.layout
    with locked(layout):
        ended = [(state.name, state.pid) for state in lab.processes() if state.alive and state.pid]
        _stop_named(layout, [f"patroni-pg{i}" for i in NODES], say)
        _stop_postmasters(layout, say)
        # One after the other: an etcd leader that ends while all others do waits 7 s for its successor.
        for i in NODES:
            _stop_named(layout, [f"etcd-n{i}"], say)
        if remove:
            _remove(layout)
    return Departure(layout.root, tuple(ended), remove)


def _stop_named(layout: Layout, names: Iterable[str], say: Callable[[str], None]) -> None:
    files = {name: layout.pid_file(name) for name in names}
    alive = {name: process for name, path in files.items() if (process := running(path))}
    _stop(alive, say)
    for path in files.values():
        path.unlink(missing_ok=True)


def _stop_postmasters(layout: Layout, say: Callable[[str], None]) -> None:
    """End the PostgreSQL servers whose Patroni was killed and couldn't stop them."""
    found = {f"postgresql-pg{i}": find_postmaster(layout.pg_data(i)) for i in NODES}
    # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for all clients to leave.
    _stop({name: process for name, process in found.items() if process}, say, signal.SIGINT)


def _stop(alive: dict[str, ProcessId], say: Callable[[str], None], sig: int = signal.SIGTERM) -> None:
    if alive:
        say(f"stopping {', '.join(alive)}")
        stop_all(list(alive.values()), timeout=_TIMEOUT, sig=sig)


def _remove(layout: Layout) -> None:
    if not layout.marker.is_file():
        message = f"{layout.root} is not removed: it has no {layout.marker.name}"
        raise ConfigError(message, code="LAB_NOT_A_LAB")
    shutil.rmtree(layout.root)
