"""Fresh etcd clusters for the ways to work on, the writer beside them, and the tool as a child process."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
import yaml

from patroni_etcd_reconfig.adapters.etcd_config_file import read_settings, set_settings
from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.lab import configs
from patroni_etcd_reconfig.lab.bench.figures import Run
from patroni_etcd_reconfig.lab.etcd_only import etcd_only
from patroni_etcd_reconfig.lab.layout import NODES, Layout
from patroni_etcd_reconfig.lab.processes import read_pid_file
from patroni_etcd_reconfig.lab.up import run_service
from patroni_etcd_reconfig.lab.yardstick import Putter, RefusedError, call, retry

CLI = (sys.executable, "-m", "patroni_etcd_reconfig.cli.main")


@dataclass(frozen=True)
class Options:
    """Where and with what to measure. `size` in bytes, of the large database; times in seconds.

    settle  what etcd gets before each way: its strict reconfiguration check wants peers connected for 5 s
    around  what the writer writes before and after what is measured
    """

    rounds: int = 3
    net: int = 97
    etcd_dir: Path | None = None
    tmp: Path | None = None
    size: int = 2 * 1024**3
    settle: float = 6.0
    around: float = 1.0


@dataclass(frozen=True)
class Cost:
    """What one run of a program cost, and what it said. Peak memory in MiB."""

    seconds: float
    peak_mib: float
    out: str = ""
    err: str = ""


@dataclass
class Ground:
    """A running etcd cluster, changed by nothing but the calls and the services that an operator has."""

    layout: Layout
    nodes: Sequence[int]
    options: Options
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, maxsize=4))

    def call(self, i: int, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call member i once."""
        return call(self.http, self.layout, i, path, dict(body or {}), read=6.0)

    def members(self, asked: int) -> dict[int, dict[str, Any]]:
        """Return the members by node number; one that has not published its name by its peer URL."""
        listed = self.call(asked, "cluster/member/list")["members"]
        return {next(i for i in self.nodes if self.layout.peer_url(i) in m["peerURLs"]): m for m in listed}

    def leader(self, asked: int = 1) -> int:
        """Return the node that leads."""
        leader = self.call(asked, "maintenance/status")["leader"]
        return next(i for i, member in self.members(asked).items() if member["ID"] == leader)

    def remove(self, i: int, asked: int) -> None:
        """Remove a member, however often etcd has to be asked."""
        victim = {"ID": self.members(asked)[i]["ID"]}
        retry(lambda: self.call(asked, "cluster/member/remove", victim), pause=0.02)

    def add(self, i: int, asked: int, *, learner: bool) -> dict[str, Any]:
        """Add a member, however often etcd has to be asked, and write its configuration; return its ID."""
        wanted = {"peerURLs": [self.layout.peer_url(i)], "isLearner": learner}
        added = retry(lambda: self.call(asked, "cluster/member/add", wanted), pause=0.02)
        self.configure(i, asked)
        return {"ID": added["member"]["ID"]}

    def ready(self, asked: int) -> None:
        """Return once etcd allows the next change of members: its own 5 s after the last one.

        Asked with an addition that it must refuse, as the peer URL is taken: nothing changes.
        """
        again = {"peerURLs": [self.layout.peer_url(asked)], "isLearner": True}

        def attempt() -> None:
            try:
                self.call(asked, "cluster/member/add", again)
            except RefusedError as error:
                if "exists" not in str(error):
                    raise

        retry(attempt, pause=0.02)

    def promote(self, new: Mapping[str, Any], asked: int, seconds: float = 60) -> None:
        """Promote a learner, however often etcd has to be asked."""
        retry(lambda: self.call(asked, "cluster/member/promote", new), pause=0.02, seconds=seconds)

    def transfer(self, source: int, target: int) -> None:
        """Move leadership from one member to another; does nothing when it leads no more."""
        members = self.members(source)
        if self.leader(source) == source:
            body = {"targetID": members[target]["ID"]}
            self.call(source, "maintenance/transfer-leadership", body)

    def configure(self, i: int, asked: int) -> None:
        """Write what node i needs to join the cluster that there is."""
        peers = ",".join(
            f"{m.get('name') or f'n{j}'}={m['peerURLs'][0]}" for j, m in self.members(asked).items()
        )
        joining = {"initial-cluster": peers, "initial-cluster-state": "existing"}
        path = self.layout.etcd_env(i)
        path.write_text(set_settings(path.read_text(), joining, False))

    def start(self, i: int) -> None:
        """Start node i's service."""
        run_service(self.layout, f"n{i}", "start")

    def stop(self, i: int) -> None:
        """Stop node i's service in order."""
        run_service(self.layout, f"n{i}", "stop")

    def kill(self, i: int) -> None:
        """End node i's member as a crash would."""
        process = read_pid_file(self.layout.pid_file(f"etcd-n{i}"))
        if process:
            os.kill(process.pid, signal.SIGKILL)
        self.stop(i)  # which waits until it is gone

    @contextlib.contextmanager
    def frozen(self, i: int) -> Iterator[None]:
        """Make node i a machine that is gone: connections to it stay open, and nobody answers."""
        process = read_pid_file(self.layout.pid_file(f"etcd-n{i}"))
        if process is None:
            raise StepFailedError(f"etcd-n{i} does not run")
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            self.kill(i)

    def data_dir(self, i: int) -> Path:
        """Return where node i's configuration says that its data is: it may have been moved."""
        return Path(read_settings(self.layout.etcd_env(i).read_text(), False)["data-dir"])

    def wipe(self, i: int) -> None:
        """Remove node i's data, as the guide does."""
        shutil.rmtree(self.layout.etcd_data(i), ignore_errors=True)

    def serves(self, i: int, seconds: float = 60) -> None:
        """Return once node i serves a linearizable read."""
        retry(lambda: self.call(i, "kv/range", {"key": "YQ=="}), pause=0.02, seconds=seconds)

    def settle(self) -> None:
        """Wait until etcd allows the next change."""
        time.sleep(self.options.settle)

    def inventory(self, nodes: Sequence[int]) -> Path:
        """Write an inventory with these nodes only, beside the one of all; return its path."""
        content = yaml.safe_load(self.layout.inventory.read_text())
        content["etcd"]["members"] = {f"n{i}": configs.member(self.layout, i) for i in nodes}
        path = self.layout.root / f"inventory-{'-'.join(map(str, nodes))}.yml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    def tool(self, *words: str, inventory: Path | None = None) -> Cost:
        """Run the real command, process start to exit; StepFailedError when it fails."""
        files = ("-c", str(self.layout.patroni_file), "-i", str(inventory or self.layout.inventory))
        return cost((*CLI, *files, *words))

    def change(self, *words: str, inventory: Path | None = None) -> Cost:
        """Run a command that changes something, unasked; old versions under test have known bugs."""
        options = ("--force", "-f", "json", "--accept", "HAZARD_CORRUPTION")
        return self.tool(*words, *options, inventory=inventory)


@contextlib.contextmanager
def ground(
    options: Options,
    nodes: Sequence[int] = NODES,
    settings: Mapping[str, str] | None = None,
    prepare: Callable[[Layout], None] | None = None,
) -> Iterator[Ground]:
    """Give a settled 3-member cluster; nodes beyond 3 are machines without a member."""
    with (
        tempfile.TemporaryDirectory(prefix="patronictl-etcd-bench-", dir=options.tmp) as root,
        etcd_only(Path(root), options.net, options.etcd_dir, settings=settings, prepare=prepare) as layout,
    ):
        made = Ground(layout, nodes, options)
        for i in nodes[len(NODES) :]:
            layout.etcd_env(i).write_text(configs.etcd_env(layout, i, settings))
        made.inventory(nodes).replace(layout.inventory)
        made.settle()
        try:
            yield made
        finally:
            made.http.clear()


def under_load(made: Ground, action: Callable[[], Cost | None]) -> Run:
    """Do something while a writer writes, and return what it cost and the writer's largest gap."""
    putter = Putter(made.layout, made.nodes)
    putter.start()
    time.sleep(made.options.around)
    try:
        began = time.monotonic()
        used = action()
        seconds = time.monotonic() - began
        time.sleep(made.options.around)
    finally:
        putter.stop()
    return Run(seconds, putter.largest_gap * 1000, used.peak_mib if used else None)


def cost(command: Sequence[str]) -> Cost:
    """Run a program to its end; the kernel says what this very process used. StepFailedError if it fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said = [_text(stream) for stream in (out, err)]
    if process.returncode:
        last = "".join(reversed(said))[-1500:]  # with -f json what is wrong is said on stdout
        raise StepFailedError(f"{' '.join(command)}: exit code {process.returncode}: {last}")
    return Cost(seconds, usage.ru_maxrss / 1024, *said)


def _text(stream: Any) -> str:
    stream.seek(0)
    return str(stream.read().decode("utf-8", "replace"))
