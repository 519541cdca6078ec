"""Faults for a lab: a host loses power, comes back, hangs, or loses its etcd for good."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from patroni_etcd_reconfig.errors import ConfigError
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.processes import (
    ProcessId,
    find_postmaster,
    find_process,
    parse_stat,
    running,
    stop_all,
)
from patroni_etcd_reconfig.lab.up import run_service, start_one_patroni

LOST = "lost"  # what a lost data dir is called: <data dir>.lost


def power_off(lab: Lab, i: int) -> tuple[str, ...]:
    """End etcd, Patroni and PostgreSQL of host i at once, as a power cut does; return what was ended."""
    found = _processes(lab, i)
    family = [one for process in found.values() for one in _descendants(process)]
    # Parents first and all before any is waited for: none of them may notice another one's end.
    stop_all([*found.values(), *family], timeout=10, sig=signal.SIGKILL)
    _remove_stale_pid(lab, i)
    return tuple(found)


def power_on(lab: Lab, i: int) -> tuple[str, ...]:
    """Start etcd and Patroni of host i with the data they have; does not wait until they answer."""
    run_service(lab.layout, f"n{i}", "start")
    if running(lab.layout.pid_file(f"patroni-pg{i}")) is None:
        start_one_patroni(lab, i)
    return (f"etcd-n{i}", f"patroni-pg{i}")


def lose_etcd(lab: Lab, i: int) -> tuple[str, ...]:
    """End etcd of host i and take its data away for good; Patroni and PostgreSQL run on."""
    process = running(lab.layout.pid_file(f"etcd-n{i}"))
    stop_all([process] if process else [], timeout=10, sig=signal.SIGKILL)
    data = lab.layout.etcd_data(i)
    if data.exists():
        data.rename(_free_name(data))
    return (f"etcd-n{i}",)


def freeze(lab: Lab, i: int) -> tuple[str, ...]:
    """Stop etcd of host i as a hung machine would be: it accepts connections and never answers."""
    return _signal_etcd(lab, i, signal.SIGSTOP)


def thaw(lab: Lab, i: int) -> tuple[str, ...]:
    """Let a frozen etcd go on."""
    return _signal_etcd(lab, i, signal.SIGCONT)


def _signal_etcd(lab: Lab, i: int, number: signal.Signals) -> tuple[str, ...]:
    process = running(lab.layout.pid_file(f"etcd-n{i}"))
    if process is None:
        raise ConfigError(
            f"etcd-n{i} does not run", hint=f"patronictl-etcd lab status --dir {lab.layout.root}"
        )
    os.kill(process.pid, number)
    return (f"etcd-n{i}",)


def _processes(lab: Lab, i: int) -> dict[str, ProcessId]:
    layout = lab.layout
    found = {
        f"etcd-n{i}": running(layout.pid_file(f"etcd-n{i}")),
        f"patroni-pg{i}": running(layout.pid_file(f"patroni-pg{i}")),
        f"postgresql-pg{i}": find_postmaster(layout.pg_data(i)),
    }
    return {name: process for name, process in found.items() if process}


def _descendants(process: ProcessId) -> Iterator[ProcessId]:
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    waiting = list(children.get(process.pid, ()))
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, ())
        found = find_process(pid)
        if found:
            yield found


def _parents() -> Iterator[tuple[int, int]]:
    """Yield every process with its parent, from the second and fourth field of /proc/PID/stat."""
    for entry in Path("/proc").iterdir():
        try:
            text = (entry / "stat").read_text("utf-8", "replace") if entry.name.isdigit() else ""
        except OSError:
            continue  # it ended meanwhile
        if text and parse_stat(text):
            yield int(entry.name), int(text.rpartition(")")[2].split()[1])


def _remove_stale_pid(lab: Lab, i: int) -> None:
    """As after a reboot: PostgreSQL must not take a process of another boot for its own."""
    (lab.layout.pg_data(i) / "postmaster.pid").unlink(missing_ok=True)


def _free_name(data: Path) -> Path:
    names = (data.with_name(f"{data.name}.{LOST}{number or ''}") for number in range(1000))
    return next(name for name in names if not name.exists())
