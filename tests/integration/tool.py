"""The tool as a user runs it, on a real etcd of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from patroni_etcd_reconfig.adapters.etcd_client import Connector, EtcdClient
from patroni_etcd_reconfig.lab import configs
from patroni_etcd_reconfig.lab.etcd_only import etcd_only
from patroni_etcd_reconfig.lab.layout import Layout
from tests.nets import lab_net

CLI = (sys.executable, "-m", "patroni_etcd_reconfig.cli.main")


@dataclass(frozen=True)
class Outcome:
    """What a run of the tool left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Return stdout as JSON."""
        data: dict[str, Any] = json.loads(self.out)
        return data


@dataclass(frozen=True)
class Tool:
    """A lab of etcd alone, and the tool on it."""

    layout: Layout

    def command(self, *words: str) -> list[str]:
        """Return the command line for a subprocess."""
        files = ("-c", str(self.layout.patroni_file), "-i", str(self.layout.inventory))
        return [*CLI, *files, *words]

    def run(self, *words: str, seconds: float = 90.0, env: Mapping[str, str] | None = None) -> Outcome:
        """Run to the end, with these variables besides those there are."""
        done = subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Give a run under way, with pipes for its output; it is ended if it still runs afterwards."""
        process = subprocess.Popen(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def run_until(self, line: str, signum: int, *words: str) -> Outcome:
        """Run until stderr shows a line with this text, then send the signal and wait for the end."""
        with self.running(*words) as process:
            said = wait_for_line(process, line)
            process.send_signal(signum)
            out, err = process.communicate(timeout=60)
            return Outcome(process.returncode, out, said + err)

    def plan_node(self, i: int) -> None:
        """Prepare a further machine: its configuration file, and its entry in the inventory."""
        self.layout.etcd_env(i).write_text(configs.etcd_env(self.layout, i))
        inventory = yaml.safe_load(self.layout.inventory.read_text())
        inventory["etcd"]["members"][f"n{i}"] = configs.member(self.layout, i)
        self.layout.inventory.write_text(yaml.safe_dump(inventory, sort_keys=False))

    def forget_node(self, i: int) -> None:
        """Take a machine out of the inventory."""
        inventory = yaml.safe_load(self.layout.inventory.read_text())
        del inventory["etcd"]["members"][f"n{i}"]
        self.layout.inventory.write_text(yaml.safe_dump(inventory, sort_keys=False))

    def service(self, name: str, verb: str) -> int:
        """Start or stop a member behind the tool's back, as an operator would."""
        return subprocess.run([str(self.layout.etcd_service), name, verb], check=False).returncode

    def client(self, i: int, timeout: float = 2.0) -> EtcdClient:
        """Return a client of member i."""
        return self.at(self.layout.client_url(i), timeout)

    def at(self, url: str, timeout: float = 2.0) -> EtcdClient:
        """Return a client of whoever serves this URL."""
        return Connector()(url, timeout)

    def members(self) -> dict[str, dict[str, Any]]:
        """Return the members by name, as status tells them."""
        etcd = self.run("status", "-f", "json").json["etcd"]
        return {member["name"]: member for member in etcd["members"]}

    def ids(self) -> dict[str, int]:
        """Return the members' ids by name."""
        return {name: int(member["id"], 16) for name, member in self.members().items()}

    def leader(self) -> str:
        """Return the name of the raft leader."""
        leader = self.client(1).status().leader_id
        return next(name for name, member_id in self.ids().items() if member_id == leader)

    def etcd_pid(self, i: int) -> int:
        """Return the process id of etcd member i."""
        return int(self.layout.pid_file(f"etcd-n{i}").read_text().split()[0])

    @contextmanager
    def frozen(self, i: int) -> Iterator[None]:
        """Stop member i as a hung machine would be: it accepts connections and never answers."""
        os.kill(self.etcd_pid(i), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.etcd_pid(i), signal.SIGCONT)


def wait_for_line(process: subprocess.Popen[str], text: str) -> str:
    """Read stderr up to a line with this text; AssertionError when the tool ends before."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return said
    raise AssertionError(f"the tool ended without saying {text!r}:\n{said}")


@contextmanager
def tool_on(
    root: Path, etcd_dir: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Tool]:
    """Give the tool on a fresh etcd, with these settings of etcd besides the lab's, by flag name."""
    with lab_net() as net, etcd_only(root, net, etcd_dir, settings=settings) as layout:
        yield Tool(layout)
