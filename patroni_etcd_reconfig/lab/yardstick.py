"""What replacing all members of a 3-member etcd costs without this tool: the naive way, and the floor.

Naive is the wiki page: remove, wipe, add as voter, start, in name order, refusals retried. The floor
does nothing but the changes, in the right order: followers first, the leader last after a transfer,
learners promoted as soon as etcd takes it, no checks, no snapshot. It is the limit to compare with.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import urllib3

from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.lab.addresses import check_free
from patroni_etcd_reconfig.lab.layout import NODES, Layout

Mode = Literal["naive", "floor"]
T = TypeVar("T")

_SETTLE = 6.0  # seconds; etcd's strict reconfiguration check wants peers connected for 5 s
_KEY = base64.b64encode(b"/yardstick").decode()


@dataclass(frozen=True)
class Measured:
    """The cost of one way to replace all members."""

    mode: str
    seconds: float
    puts: int
    largest_gap_ms: float


class RefusedError(Exception):
    """etcd said no, or not yet."""


def check_addresses(net: int) -> None:
    """Raise ConfigError when an address that `measure` needs is taken."""
    layout = Layout(Path(), net)
    check_free(one for one in layout.endpoints() if one.process.startswith("etcd-"))


def measure(mode: Mode, etcd: Path, net: int) -> Measured:
    """Replace all members of a cluster made for it on 127.0.NET.1 to .3, under a writer."""
    check_addresses(net)
    with _Cluster(etcd, net) as cluster:
        cluster.start_new()
        time.sleep(_SETTLE)
        putter = Putter(cluster.layout)
        putter.start()
        try:
            time.sleep(1)
            begin = time.monotonic()
            for i in _order(cluster, mode):
                _replace(cluster, i, mode)
            seconds = time.monotonic() - begin
            time.sleep(1)
        finally:
            putter.stop()
    return Measured(mode, seconds, putter.puts, putter.largest_gap * 1000)


def _order(cluster: _Cluster, mode: Mode) -> list[int]:
    leader = cluster.call(1, "maintenance/status")["leader"]
    ids = cluster.ids(1)
    return sorted(NODES, key=lambda i: mode == "floor" and ids[f"n{i}"] == leader)


def _replace(cluster: _Cluster, i: int, mode: Mode) -> None:
    other = next(n for n in NODES if n != i)
    known = cluster.ids(other)
    victim = known[f"n{i}"]
    if mode == "floor" and cluster.call(other, "maintenance/status").get("leader") == victim:
        cluster.call(i, "maintenance/transfer-leadership", {"targetID": known[f"n{other}"]})
    retry(lambda: cluster.call(other, "cluster/member/remove", {"ID": victim}), pause=0.05)
    cluster.wipe(i)
    wanted = {"peerURLs": [cluster.layout.peer_url(i)], "isLearner": mode == "floor"}
    added = retry(lambda: cluster.call(other, "cluster/member/add", wanted), pause=0.1)
    cluster.start(i, cluster.initial_cluster(other, i), "existing")
    if mode == "floor":
        new = {"ID": added["member"]["ID"]}
        retry(lambda: cluster.call(other, "cluster/member/promote", new), pause=0.02)
    else:
        retry(lambda: cluster.call(i, "kv/range", {"key": _KEY}), pause=0.1)


def retry(action: Callable[[], T], *, pause: float, seconds: float = 60) -> T:
    """Ask until etcd takes it; StepFailedError when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except (RefusedError, urllib3.exceptions.HTTPError, ValueError) as error:
            if time.monotonic() > deadline:
                raise StepFailedError(
                    f"the yardstick's etcd did not answer for {seconds:.0f} s: {error}"
                ) from error
        time.sleep(pause)


def call(
    http: urllib3.PoolManager, layout: Layout, i: int, path: str, body: dict[str, Any], *, read: float
) -> dict[str, Any]:
    """Call member i once; `read` is the read timeout in seconds."""
    answer = http.request(
        "POST",
        f"{layout.client_url(i)}/v3/{path}",
        body=json.dumps(body),
        timeout=urllib3.Timeout(connect=1, read=read),
    )
    data: dict[str, Any] = json.loads(answer.data)
    if answer.status != 200:
        raise RefusedError(data.get("message") or data)
    return data


@dataclass
class _Cluster:
    """Three etcd processes in a temporary directory, gone with the context."""

    etcd: Path
    net: int
    layout: Layout = field(init=False)
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, maxsize=4))

    def __enter__(self) -> _Cluster:
        self.layout = Layout(Path(tempfile.mkdtemp(prefix="etcd-yardstick-")), self.net)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for i in tuple(self.processes):
            self.kill(i)
        self.http.clear()
        shutil.rmtree(self.layout.root, ignore_errors=True)

    def start_new(self) -> None:
        everyone = ",".join(f"n{j}={self.layout.peer_url(j)}" for j in NODES)
        for i in NODES:
            self.start(i, everyone, "new")
        retry(lambda: self.call(1, "kv/range", {"key": _KEY}), pause=0.1)

    def start(self, i: int, initial_cluster: str, state: str) -> None:
        client, peer = self.layout.client_url(i), self.layout.peer_url(i)
        options = {
            "name": f"n{i}",
            "data-dir": str(self.data_dir(i)),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": initial_cluster,
            "initial-cluster-state": state,
            "initial-cluster-token": "yardstick",
        }
        words = [f"--{key}={value}" for key, value in options.items()]
        with (self.layout.root / f"n{i}.log").open("ab") as log:
            command = [str(self.etcd), *words]
            self.processes[i] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def data_dir(self, i: int) -> Path:
        return self.layout.root / f"n{i}"

    def kill(self, i: int) -> None:
        process = self.processes.pop(i)
        process.kill()
        process.wait()

    def wipe(self, i: int) -> None:
        self.kill(i)
        shutil.rmtree(self.data_dir(i))

    def call(self, i: int, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return call(self.http, self.layout, i, path, body or {}, read=6.0)

    def members(self, asked: int) -> list[dict[str, Any]]:
        members: list[dict[str, Any]] = self.call(asked, "cluster/member/list")["members"]
        return members

    def ids(self, asked: int) -> dict[str, str]:
        return {member.get("name", ""): member["ID"] for member in self.members(asked)}

    def initial_cluster(self, asked: int, new: int) -> str:
        listed = self.members(asked)
        return ",".join(f"{member.get('name') or f'n{new}'}={member['peerURLs'][0]}" for member in listed)


class Putter:
    """Puts a key about every 2 ms through any member that answers; notes the gaps between answers."""

    def __init__(self, layout: Layout, nodes: Sequence[int] = NODES) -> None:
        self.puts = 0
        self.largest_gap = 0.0
        self._layout = layout
        self._nodes = nodes
        self._http = urllib3.PoolManager(retries=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="putter", daemon=True)

    def start(self) -> None:
        """Begin to put."""
        self._thread.start()

    def stop(self) -> None:
        """End it; the figures are final then."""
        self._stop.set()
        self._thread.join(timeout=10)
        self._http.clear()

    def _run(self) -> None:
        turn, last = 0, time.monotonic()
        while not self._stop.wait(0.002):
            asked = self._nodes[turn % len(self._nodes)]
            value = base64.b64encode(str(time.time()).encode()).decode()
            try:
                call(self._http, self._layout, asked, "kv/put", {"key": _KEY, "value": value}, read=3.3)
            except (RefusedError, urllib3.exceptions.HTTPError, ValueError):
                turn += 1
                self._stop.wait(0.005)
                continue
            now = time.monotonic()
            self.puts += 1
            self.largest_gap, last = max(self.largest_gap, now - last), now
