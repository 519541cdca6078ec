"""A lab that exists, and the state of its processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.errors import ConfigError
from patroni_etcd_reconfig.lab.layout import DEFAULT_NET, Layout
from patroni_etcd_reconfig.lab.marker import Marker, open_layout
from patroni_etcd_reconfig.lab.processes import ProcessId, find_postmaster, read_pid_file, running


@dataclass(frozen=True)
class ProcessState:
    """One process of the lab; `pid` is None when it was never started, or was stopped."""

    name: str
    pid: int | None
    alive: bool
    listens: tuple[str, ...]


@dataclass(frozen=True)
class Lab:
    """A lab that exists."""

    layout: Layout
    marker: Marker

    def processes(self) -> tuple[ProcessState, ...]:
        """Return the state of each process."""
        names = dict.fromkeys(endpoint.process for endpoint in self.layout.endpoints())
        return tuple(self._state(name) for name in names)

    def _state(self, name: str) -> ProcessState:
        kind, _, node = name.partition("-")
        listens = tuple(str(one) for one in self.layout.endpoints() if one.process == name)
        if kind == "postgresql":
            postmaster = find_postmaster(self.layout.pg_data(int(node[-1])))
            return _process_state(name, postmaster, postmaster is not None, listens)
        path = self.layout.pid_file(name)
        return _process_state(name, read_pid_file(path), running(path) is not None, listens)

    def alive(self) -> frozenset[str]:
        """Return the names of the processes that run."""
        return frozenset(state.name for state in self.processes() if state.alive)


def _process_state(
    name: str, process: ProcessId | None, alive: bool, listens: tuple[str, ...]
) -> ProcessState:
    return ProcessState(name, process.pid if process else None, alive, listens)


def find_lab(root: Path | None, net: int | None) -> Lab:
    """Return an existing lab, or raise ConfigError."""
    layout, marker = open_layout(root, net, DEFAULT_NET)
    if marker is None:
        raise ConfigError(
            f"there is no lab in {layout.root}",
            hint="name its directory with --dir, or make one: patronictl-etcd lab up",
            code="LAB_NOT_A_LAB",
        )
    return Lab(layout, marker)
