"""Bring a lab up: what is missing of it, and only that."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from patroni_etcd_reconfig.errors import ConfigError, StepFailedError, UnreachableError
from patroni_etcd_reconfig.lab import addresses, configs, health, privileges, programs
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.layout import DEFAULT_NET, NODES, Layout
from patroni_etcd_reconfig.lab.marker import (
    Marker,
    ensure_secrets,
    locked,
    open_layout,
    save_marker,
    write_private,
)
from patroni_etcd_reconfig.lab.processes import running, start_detached
from patroni_etcd_reconfig.lab.programs import Programs

Say = Callable[[str], None]

PROBE_INTERVAL = 0.05  # seconds between two probe writes of the tool's sentinel
_READY_TIMEOUT = 90.0  # seconds; about 10 are enough on an idle machine with two cores


@dataclass(frozen=True)
class Arrival:
    """What `up` did: the lab, the processes it started, how long it took, what runs now."""

    lab: Lab
    started: tuple[str, ...]
    seconds: float
    etcd_version: str
    cluster: health.PgCluster


def up(
    root: Path | None = None,
    net: int | None = None,
    etcd_dir: Path | None = None,
    *,
    say: Say,
    probe_interval: float = PROBE_INTERVAL,
    patroni_dir: Path | None = None,
) -> Arrival:
    """Bring a lab up, or what is missing of it, and wait until PostgreSQL has a leader and two replicas.

    Changes nothing about what already runs. `patroni_dir` is a virtual environment with another Patroni.
    Errors: ConfigError when it can't be started as asked, StepFailedError when a process ends,
    UnreachableError after 90 s.
    """
    begin = time.monotonic()
    layout, marker = open_layout(root, net, DEFAULT_NET)
    marker = _wanted(layout, marker, etcd_dir, patroni_dir)
    _check_user(marker)
    found = programs.find_programs(_path(marker.etcd_dir), _path(marker.patroni_dir))
    lab = Lab(layout, marker)
    was_alive = lab.alive()
    addresses.check_free(one for one in layout.endpoints() if one.process not in was_alive)
    _make_directories(layout)
    with locked(layout):
        lab = _ensure_files(lab, found, probe_interval)
        _start_etcd(lab, say)
        _start_patroni(lab, say)
    return _arrival(lab, lab.alive() - was_alive, time.monotonic() - begin)


def _wanted(layout: Layout, marker: Marker | None, etcd_dir: Path | None, patroni_dir: Path | None) -> Marker:
    """Return what the lab remembers, with what is given now."""
    marker = marker or Marker(str(layout.root), layout.net, None)
    return replace(
        marker,
        etcd_dir=str(etcd_dir.absolute()) if etcd_dir else marker.etcd_dir,
        patroni_dir=str(patroni_dir.absolute()) if patroni_dir else marker.patroni_dir,
    )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _check_user(marker: Marker) -> None:
    way = marker.privileges
    if way and (way == privileges.DIRECT) == (os.geteuid() == 0):
        who = "an ordinary user" if way == privileges.DIRECT else "root"
        raise ConfigError(f"the lab in {marker.root} was made as {who}", hint=f"run this as {who}")


def _make_directories(layout: Layout) -> None:
    try:
        _try_make_directories(layout)
    except OSError as error:
        message = f"the lab's directory can't be made: {error}"
        raise ConfigError(message, hint="choose one with --dir") from error


def _try_make_directories(layout: Layout) -> None:
    layout.root.parent.mkdir(parents=True, exist_ok=True)
    # Others may pass but not look around: the user that PostgreSQL runs as may have to get to its data.
    for path in (layout.root, layout.root / "data", *layout.directories):
        if not path.is_dir():
            path.mkdir()
            path.chmod(0o711 if path in (layout.root, layout.root / "data") else 0o700)


def _ensure_files(lab: Lab, found: Programs, probe_interval: float) -> Lab:
    """Write what is missing. Files that are there stay: a cycle changes etcd's, a user may change all."""
    layout = lab.layout
    save_marker(layout, lab.marker)
    texts = {layout.inventory: configs.inventory(layout, probe_interval, found.etcd)}
    texts |= {layout.etcd_env(i): configs.etcd_env(layout, i) for i in NODES}
    secrets = ensure_secrets(layout)
    texts |= {layout.pg_yml(i): configs.patroni_yml(layout, i, secrets, found.pg_bin) for i in NODES}
    for path, text in texts.items():
        if not path.exists():
            write_private(path, text)
    write_private(layout.etcd_service, configs.etcd_service(layout, found.etcd), 0o700)
    if not layout.patroni_file.exists():
        layout.patroni_file.symlink_to(layout.pg_yml(1).name)
    return _settle_privileges(lab, found)


def _settle_privileges(lab: Lab, found: Programs) -> Lab:
    layout, way = lab.layout, lab.marker.privileges
    if not way or lab.marker.patroni_dir:  # another Patroni may be new here
        trial = privileges.Trial(layout.pg_home(1), layout.pg_yml(1), found.python, found.pg_bin / "postgres")
        tried = privileges.choose(trial, way)
        lab = replace(lab, marker=replace(lab.marker, privileges=tried.way))
        save_marker(layout, lab.marker)
    paths = [path for i in NODES for path in (layout.pg_home(i), layout.pg_yml(i))]
    privileges.by_name(lab.marker.privileges).hand_over(paths)
    return lab


def _start_etcd(lab: Lab, say: Say) -> None:
    layout = lab.layout
    names = [f"etcd-n{i}" for i in NODES]
    missing = [name for name in names if running(layout.pid_file(name)) is None]
    if missing:
        say(f"starting {', '.join(missing)}")
    for name in missing:
        try:
            run_service(layout, name.removeprefix("etcd-"), "start")
        except StepFailedError:
            _show_logs(lab, [name], say)
            raise
    _wait(lab, names, lambda: health.etcd_missing(layout), say)


def run_service(layout: Layout, name: str, verb: str) -> None:
    """Run the lab's etcd-service script; StepFailedError with its words when it fails."""
    command = ("/bin/sh", str(layout.etcd_service), name, verb)
    done = subprocess.run(command, cwd=layout.root, capture_output=True, text=True)
    if done.returncode:
        raise StepFailedError(f"etcd-service {name} {verb}: {done.stderr.strip()}")


def _start_patroni(lab: Lab, say: Say) -> None:
    names = [f"patroni-pg{i}" for i in NODES]
    missing = [i for i in NODES if running(lab.layout.pid_file(f"patroni-pg{i}")) is None]
    if missing:
        say(f"starting {', '.join(f'patroni-pg{i}' for i in missing)}")
    for i in missing:
        start_one_patroni(lab, i)
    _wait(lab, names, lambda: health.postgresql_missing(lab.layout), say)


def start_one_patroni(lab: Lab, i: int) -> None:
    """Start Patroni of node i; does not wait until it answers."""
    layout, name = lab.layout, f"patroni-pg{i}"
    prefix = privileges.by_name(lab.marker.privileges).prefix
    python = programs.patroni_python(_path(lab.marker.patroni_dir))
    command = (*prefix, str(python), "-m", "patroni", str(layout.pg_yml(i)))
    home = layout.pg_home(i)
    start_detached(command, pid_file=layout.pid_file(name), log=layout.log(name), cwd=home, env=_env(home))


def _env(home: Path) -> dict[str, str]:
    """Return an environment in which nothing of the caller's settings overrides the lab's files."""
    foreign = ("PATRONI_", "PG", "ETCD")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return {**kept, "HOME": str(home), "LC_ALL": "C.UTF-8"}


def _wait(lab: Lab, names: list[str], missing: Callable[[], str], say: Say) -> None:
    def missing_or_dead() -> str:
        dead = [name for name in names if running(lab.layout.pid_file(name)) is None]
        if dead:
            _show_logs(lab, dead, say)
            raise StepFailedError(f"{', '.join(dead)} ended", hint=_hint(lab), code="LAB_NOT_READY")
        return missing()

    what = health.wait_until_nothing_is_missing(missing_or_dead, timeout=_READY_TIMEOUT, say=say)
    if what:
        _show_logs(lab, names, say)
        message = f"waited {_READY_TIMEOUT:.0f} s for {what}"
        raise UnreachableError(message, hint=_hint(lab), code="LAB_NOT_READY")


def _hint(lab: Lab) -> str:
    root = lab.layout.root
    return f"see the logs in {root / 'logs'}; to end what runs: patronictl-etcd lab down --dir {root}"


def _show_logs(lab: Lab, names: Iterable[str], say: Say) -> None:
    for name in names:
        log = lab.layout.log(name)
        say(f"the last lines of {log}:")
        for line in _last_lines(log):
            say(f"  {line}")


def _last_lines(log: Path, count: int = 6) -> list[str]:
    try:
        return log.read_text("utf-8", "replace").splitlines()[-count:]
    except OSError:
        return []


def _arrival(lab: Lab, started: frozenset[str], seconds: float) -> Arrival:
    cluster = health.pg_cluster(lab.layout) or health.PgCluster(())
    return Arrival(lab, tuple(sorted(started)), seconds, health.etcd_version(lab.layout), cluster)
