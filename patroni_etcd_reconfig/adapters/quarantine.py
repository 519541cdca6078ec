"""etcd as a child of this process, out of everybody's reach: loopback addresses and other ports only.

It has the node's own settings, data dir and user, except for where it listens and how fast it elects.
It dies with this process (PR_SET_PDEATHSIG), and a run that comes after one that was killed finds it by
its pid file. It must be started by the main thread: the kernel sends that signal when the thread ends
that made the child.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from patroni_etcd_reconfig.adapters.commit_mark import raise_commit_mark
from patroni_etcd_reconfig.adapters.etcd_config_file import is_yaml, read_settings
from patroni_etcd_reconfig.adapters.inventory import NodeConfig
from patroni_etcd_reconfig.adapters.process import end_process, end_with, process_start, read_child
from patroni_etcd_reconfig.errors import NodeControlError
from patroni_etcd_reconfig.files import read_text, write_atomically

# Fast elections for a member that has nobody to wait for; etcd wants 5 heartbeats in an election timeout.
# A start takes 0.05 s with these, 0.15 s with 10 and 100, and 1.4 s with etcd's defaults (3.4.23, 3.6.6).
HEARTBEAT_MS, ELECTION_MS = 2, 10
# Settings that would open a port of the service, need another machine, or write elsewhere.
DROPPED = frozenset(
    {
        "discovery",
        "discovery-fallback",
        "discovery-proxy",
        "discovery-srv",
        "discovery-srv-name",
        "enable-log-rotation",
        "force-new-cluster",
        "listen-client-http-urls",
        "listen-metrics-urls",
        "log-output",
        "log-outputs",
        "log-rotation-config-json",
    }
)
NUMBER = re.compile(r"-?[0-9]+")
LOG_TAIL = 4096  # bytes of etcd's log that an error shows at most


@dataclass
class LocalQuarantine:
    """The quarantine of one node of this machine. `directory` holds its pid file and etcd's log."""

    config: NodeConfig
    directory: Path
    etcd: str
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _url: str = field(default="", init=False)

    @property
    def url(self) -> str:
        """Return the client URL of the etcd that runs in quarantine."""
        return self._url

    @property
    def running(self) -> bool:
        """Tell whether the etcd that this process started still runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, force: bool) -> None:
        """Start etcd, with --force-new-cluster or without; does not wait until it answers."""
        self.end_leftover()
        client, peer = free_ports(2)
        self._url = f"http://127.0.0.1:{client}"
        changes = {
            "name": self.config.name,
            "data-dir": self.config.data_dir,
            "listen-client-urls": self._url,
            "listen-peer-urls": f"http://127.0.0.1:{peer}",
            "heartbeat-interval": str(HEARTBEAT_MS),
            "election-timeout": str(ELECTION_MS),
            "log-outputs": "stderr",
            "quota-backend-bytes": "-1",  # none: what has to be repaired is written, however full it is
            **({"wal-dir": self.config.wal_dir} if self.config.wal_dir else {}),
        }
        try:
            self._start(changes, force)
        except OSError as error:
            raise self._failed(f"etcd could not be started in quarantine: {_words(error)}") from error

    def stop(self) -> None:
        """Stop etcd cleanly and return when it is gone."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10.0)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process = None
        self.end_leftover()

    def raise_commit_mark(self) -> tuple[int, int] | None:
        """Mark what the database has applied as committed; the index before and after, None if it was."""
        wal = Path(self.config.wal_dir) if self.config.wal_dir else None
        try:
            return raise_commit_mark(Path(self.config.data_dir), wal)
        except OSError as error:
            raise self._failed(f"its log could not be read or written: {_words(error)}") from error

    def end_leftover(self) -> None:
        """End the etcd that an earlier run left in quarantine, if there is one, and forget it."""
        left = read_child(self._pid_file)
        if left is not None and not end_process(left, seconds=10.0):
            raise self._failed(f"the etcd of an earlier run (pid {left.pid}) does not end")
        self._pid_file.unlink(missing_ok=True)

    def last_words(self) -> str:
        """Return the end of etcd's log."""
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - LOG_TAIL))
                lines = file.read().decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-6:])

    @property
    def _pid_file(self) -> Path:
        return self.directory / f"{self.config.name}.pid"

    @property
    def _log(self) -> Path:
        return self.directory / f"{self.config.name}.log"

    def _start(self, changes: Mapping[str, str], force: bool) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = Path(self.config.config_file)
        text = read_text(path, "surrogateescape")
        make = _yaml_launch if is_yaml(path.name) else _environment_launch
        launch = make(self.etcd, text, changes, force)
        try:
            with self._log.open("ab") as log:
                os.fchmod(log.fileno(), 0o600)
                self._process = subprocess.Popen(
                    launch.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=launch.environment,
                    start_new_session=True,
                    pass_fds=launch.descriptors,
                    preexec_fn=end_with(os.getpid()),
                    **_owner(Path(self.config.data_dir)),
                )
        finally:
            for descriptor in launch.descriptors:
                os.close(descriptor)
        pid = self._process.pid
        write_atomically(self._pid_file, f"{pid} {process_start(pid)}\n")

    def _failed(self, message: str) -> NodeControlError:
        return NodeControlError(
            f"{self.config.name}: {message}", hint=f"see {self._log}; then give the same command again"
        )


@dataclass(frozen=True)
class _Launch:
    """How etcd is started: `descriptors` are open files that it gets, and that are ours to close."""

    argv: list[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...] = ()


def _environment_launch(etcd: str, text: str, changes: Mapping[str, str], force: bool) -> _Launch:
    """Settings of a KEY=value file become the environment, as its service makes them."""
    settings = {flag: value for flag, value in read_settings(text, yaml=False).items() if flag not in DROPPED}
    settings |= changes
    environment = {f"ETCD_{flag.upper().replace('-', '_')}": value for flag, value in settings.items()}
    argv = [etcd, *(["--force-new-cluster"] if force else [])]
    return _Launch(argv, {"PATH": os.environ.get("PATH", os.defpath), **environment})


def _yaml_launch(etcd: str, text: str, changes: Mapping[str, str], force: bool) -> _Launch:
    """A configuration file excludes flags and environment: etcd gets a changed copy of it.

    The copy may hold secrets and must be readable by etcd's user: it lies in memory, never on disk.
    """
    loaded = yaml.safe_load(text) or {}
    settings: dict[str, Any] = {key: value for key, value in loaded.items() if key not in DROPPED}
    settings |= {key: int(value) if NUMBER.fullmatch(value) else value for key, value in changes.items()}
    settings |= {"log-outputs": ["stderr"], "force-new-cluster": force, "enable-grpc-gateway": True}
    descriptor = os.memfd_create("etcd.yml", 0)
    os.write(descriptor, yaml.safe_dump(settings).encode())
    argv = [etcd, "--config-file", f"/proc/self/fd/{descriptor}"]
    return _Launch(argv, {"PATH": os.environ.get("PATH", os.defpath)}, (descriptor,))


def _owner(data_dir: Path) -> dict[str, Any]:
    """As root, run etcd as the owner of its data: files it makes must stay its own."""
    owner = data_dir.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return {}
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}


def free_ports(count: int) -> list[int]:
    """Return loopback ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def _words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
