"""Real etcd servers on loopback addresses, for integration tests.

Each cluster has a /24 of its own in 127.0.100.0 to 127.0.199.0 and default ports, so several clusters,
and several test runs on one machine, do not get in each other's way.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from patroni_etcd_reconfig.adapters.etcd_client import EtcdClient
from patroni_etcd_reconfig.errors import EtcdError
from tests.nets import CLIENT_PORT, PEER_PORT, reserve

_SUBNETS = range(100, 200)
_START = 'set -a; . "$1"; exec "$0"'


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Return once the condition holds; an EtcdError means "not yet". AssertionError when time is up."""
    deadline, last = time.monotonic() + seconds, ""
    while True:
        try:
            if condition():
                return
        except EtcdError as exc:
            last = f" (last error: {exc})"
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}{last}")
        time.sleep(0.05)


def want_logins(client: EtcdClient, password: str) -> None:
    """Turn auth on, with a user root that has this password."""
    for path, request in (
        ("auth/user/add", {"name": "root", "password": password}),
        ("auth/role/add", {"name": "root"}),
        ("auth/user/grant", {"user": "root", "role": "root"}),
        ("auth/enable", {}),
    ):
        client._call(path, request, lambda _: None)


def etcd_dirs() -> list[tuple[str, Path]]:
    """Return version and directory of PATH's etcd and of those in ETCD_DIRS (separated by colons)."""
    found = shutil.which("etcd")
    listed = [Path(entry) for entry in os.environ.get("ETCD_DIRS", "").split(":") if entry]
    dirs = ([Path(found).parent] if found else []) + listed
    return list({etcd_version(directory): directory for directory in reversed(dirs)}.items())[::-1]


def etcd_version(directory: Path) -> str:
    """Return what `etcd --version` says, like "3.4.23"."""
    told = subprocess.run([directory / "etcd", "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split()[2]


class EtcdCluster:
    """n real etcd servers n1 to n<size>, each configured by `<root>/n<i>/etcd.env` as on Debian.

    `settings` go into every env file, in flag names ("snapshot-count"). Nodes beyond `size` can be made
    with `configure(i, state="existing", …)` and joined. `host_count` addresses are checked to be free.
    """

    def __init__(
        self,
        root: Path,
        size: int = 3,
        *,
        etcd_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
        host_count: int = 9,
    ) -> None:
        self.root, self.size = root, size
        self.etcd = str(etcd_dir / "etcd") if etcd_dir else "etcd"
        self.settings = {"heartbeat-interval": "100", "election-timeout": "1000", **(settings or {})}
        self.subnet, self._keeper = reserve(_SUBNETS, range(1, max(size, host_count) + 1))
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        for i in self.nodes:
            self.configure(i)

    def __enter__(self) -> EtcdCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def nodes(self) -> range:
        """Return the numbers of the first members: 1 to size."""
        return range(1, self.size + 1)

    @property
    def running(self) -> tuple[int, ...]:
        """Return the numbers of the nodes whose process lives (a paused one does)."""
        return tuple(i for i, process in self._running.items() if process.poll() is None)

    def name(self, i: int) -> str:
        """Return a node's member name."""
        return f"n{i}"

    def host(self, i: int) -> str:
        """Return a node's loopback address."""
        return f"127.0.{self.subnet}.{i}"

    def client_url(self, i: int) -> str:
        """Return a node's client URL."""
        return f"http://{self.host(i)}:{CLIENT_PORT}"

    def peer_url(self, i: int) -> str:
        """Return a node's peer URL."""
        return f"http://{self.host(i)}:{PEER_PORT}"

    def node_dir(self, i: int) -> Path:
        """Return the directory of a node's env file, log and data."""
        return self.root / self.name(i)

    def data_dir(self, i: int) -> Path:
        """Return a node's data dir."""
        return self.node_dir(i) / "data"

    def env_file(self, i: int) -> Path:
        """Return a node's configuration file."""
        return self.node_dir(i) / "etcd.env"

    def log(self, i: int) -> str:
        """Return what a node has logged."""
        return (self.node_dir(i) / "etcd.log").read_text(errors="replace")

    def pid(self, i: int) -> int:
        """Return a running node's process id."""
        return self._running[i].pid

    def configure(self, i: int, *, state: str = "new", members: tuple[int, ...] = (), **more: str) -> None:
        """Write a node's env file; `members` (default: the first members) make up its initial cluster.

        `more` are settings with underscores for dashes, which win over all others.
        """
        peers = ",".join(f"{self.name(n)}={self.peer_url(n)}" for n in members or self.nodes)
        settings = {
            "name": self.name(i),
            "data-dir": str(self.data_dir(i)),
            "listen-client-urls": self.client_url(i),
            "advertise-client-urls": self.client_url(i),
            "listen-peer-urls": self.peer_url(i),
            "initial-advertise-peer-urls": self.peer_url(i),
            "initial-cluster": peers,
            "initial-cluster-state": state,
            "initial-cluster-token": f"test-{self.subnet}",
            **self.settings,
        }
        variables = {_variable(flag): value for flag, value in {**settings, **more}.items()}
        self.node_dir(i).mkdir(parents=True, exist_ok=True)
        lines = [f"{variable}={shlex.quote(value)}\n" for variable, value in variables.items()]
        self.env_file(i).write_text("".join(lines))

    def start(self, i: int) -> None:
        """Start a node with what its env file says now; does not wait until it answers."""
        if i in self.running:
            raise AssertionError(f"{self.name(i)} is running already")
        with (self.node_dir(i) / "etcd.log").open("ab") as log:
            self._running[i] = subprocess.Popen(
                ["/bin/sh", "-c", _START, self.etcd, str(self.env_file(i))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={key: value for key, value in os.environ.items() if not key.startswith("ETCD")},
                start_new_session=True,  # an interrupted test run stops its servers itself, in order
            )

    def start_all(self) -> None:
        """Start the first members and wait until all of them serve."""
        for i in self.nodes:
            self.start(i)
        self.wait_ready()

    def stop(self, i: int) -> None:
        """Stop a node in order, and return when it is down; one that is down already is fine."""
        self._end(i, signal.SIGTERM)

    def kill(self, i: int) -> None:
        """End a node as a crash would, and return when it is down."""
        self._end(i, signal.SIGKILL)

    def pause(self, i: int) -> None:
        """Freeze a node: the kernel goes on accepting connections for it, nobody answers."""
        os.kill(self.pid(i), signal.SIGSTOP)

    def resume(self, i: int) -> None:
        """Let a frozen node go on."""
        os.kill(self.pid(i), signal.SIGCONT)

    def wait_ready(self, *nodes: int, seconds: float = 20) -> None:
        """Wait until these nodes (default: all that run) serve linearizable reads."""
        for i in nodes or self.running:
            wait_until(lambda i=i: self.healthy(i), seconds, f"{self.name(i)} to serve")  # type: ignore[misc]

    def healthy(self, i: int) -> bool:
        """Ask a node's /health, which does a linearizable read and needs no login."""
        connection = http.client.HTTPConnection(self.host(i), CLIENT_PORT, timeout=2)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False

    def close(self) -> None:
        """End every server that still runs and free the subnet."""
        try:
            for i in self.running:
                self.kill(i)
        finally:
            self._keeper.close()

    def _end(self, i: int, number: signal.Signals) -> None:
        process = self._running.get(i)
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a frozen one would not see a SIGTERM
        process.wait(timeout=20)


def _variable(flag: str) -> str:
    return "ETCD_" + flag.replace("-", "_").upper()


@contextlib.contextmanager
def etcd_cluster(root: Path, size: int = 3, *, etcd_dir: Path | None = None) -> Iterator[EtcdCluster]:
    """Run a cluster that serves, and end it whatever happens."""
    with EtcdCluster(root, size, etcd_dir=etcd_dir) as cluster:
        cluster.start_all()
        yield cluster
