"""A member that is cut off from the others while we still reach it: its word is not trusted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.etcd_servers import wait_until
from tests.integration.tool import CLI

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make network namespaces"),
]
# Networks of their own namespaces, of the blocks that are for documentation: nothing of it leaves them.
CLIENTS, PEERS = "192.0.2", "198.51.100"
SETTINGS = ("--heartbeat-interval=100", "--election-timeout=1000", "--strict-reconfig-check=false")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass(frozen=True)
class Divisible:
    """n1 and n2 in one namespace, where the tool runs, too, and n3 in another."""

    root: Path
    etcd_dir: Path
    here: str
    there: str
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def lay_out(self, undo: ExitStack) -> None:
        for space in (self.here, self.there):
            _ip("netns", "add", space)
            undo.callback(_ip, "netns", "del", space)
            _ip("-n", space, "link", "set", "lo", "up")
        ends = ("va", "netns", self.here, "type", "veth", "peer", "name", "vb", "netns", self.there)
        _ip("link", "add", *ends)
        for space, numbers, link in ((self.here, (1, 2), "va"), (self.there, (3,), "vb")):
            for i in numbers:
                for net in (CLIENTS, PEERS):
                    _ip("-n", space, "addr", "add", f"{net}.{i}/24", "dev", link)
            _ip("-n", space, "link", "set", link, "up")

    def cut(self, *nets: str, verb: str = "add") -> None:
        """Let no packet of these networks pass, by default of the peers: clients still reach all."""
        for net in nets or (PEERS,):
            _ip("-n", self.here, "route", verb, "blackhole", f"{net}.3/32")
            for i in (1, 2):
                _ip("-n", self.there, "route", verb, "blackhole", f"{net}.{i}/32")

    def heal(self, *nets: str) -> None:
        """Let the packets pass again."""
        self.cut(*nets, verb="del")

    def start(self, i: int) -> subprocess.Popen[bytes]:
        client, peer = f"http://{CLIENTS}.{i}:2379", f"http://{PEERS}.{i}:2380"
        cluster = ",".join(f"n{n}=http://{PEERS}.{n}:2380" for n in (1, 2, 3))
        flags = [f"--name=n{i}", f"--data-dir={self.root}/n{i}", f"--initial-cluster={cluster}", *SETTINGS]
        flags += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        flags += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        with (self.root / f"n{i}.log").open("wb") as log:
            space = self.there if i == 3 else self.here
            command = ["ip", "netns", "exec", space, str(self.etcd_dir / "etcd"), *flags]
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def run(self, *command: str, space: str = "") -> subprocess.CompletedProcess[str]:
        inside = ["ip", "netns", "exec", space or self.here, *command]
        env = {**os.environ, "ETCDCTL_API": "3"}
        return subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False, env=env)

    def tool(self, *words: str, space: str = "") -> tuple[int, Mapping[str, Any]]:
        files = ("-c", str(self.root / "patroni.yml"), "-i", str(self.root / "etcd-reconfig.yml"))
        done = self.run(*CLI, *files, *words, "-f", "json", space=space)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def control_n3(self) -> None:
        """Name n3's service in the inventory; whoever starts or stops it leaves a mark."""
        touch = f"touch {self.root}/touched-{{name}}"
        n3 = {
            "host": f"{CLIENTS}.3",
            "config_file": str(self.root / "n3.env"),
            "data_dir": str(self.root / "n3"),
            "peer_url": f"http://{PEERS}.3:2380",
            "client_url": f"http://{CLIENTS}.3:2379",
        }
        commands = {"start": touch, "stop": touch, "is_active": "true"}
        defaults = {"via": "local", "manager": "command", "commands": commands}
        (self.root / "n3.env").write_text(f"ETCD_NAME=n3\nETCD_DATA_DIR={self.root}/n3\n")
        inventory = self.root / "etcd-reconfig.yml"
        content = yaml.safe_load(inventory.read_text())
        content["etcd"] = {
            "defaults": {**defaults, "etcd": str(self.etcd_dir / "etcd")},
            "members": {"n3": n3},
        }
        inventory.write_text(yaml.safe_dump(content))

    def is_untouched(self) -> bool:
        """Tell that n3 still runs, and that nobody tried to stop or start it."""
        return self.running[2].poll() is None and not list(self.root.glob("touched-*"))

    def states(self) -> dict[str, str]:
        members = self.tool("status")[1].get("etcd", {}).get("members", [])
        return {member["name"]: member["state"] for member in members}

    def is_divided(self) -> bool:
        """Tell that n3 is without quorum, and that the others have one: it may have been their leader."""
        return self.states() == {"n1": "healthy", "n2": "healthy", "n3": "unhealthy"}

    def list_of(self, i: int) -> list[str]:
        """Return the names in the list that a member itself gives out."""
        code = (
            "from patroni_etcd_reconfig.adapters.etcd_client import Connector; "
            f"members = Connector()('http://{CLIENTS}.{i}:2379', 5).member_list().members; "
            "print(*[member.name or '-' for member in members])"
        )
        return sorted(self.run(sys.executable, "-c", code).stdout.split())


@pytest.fixture
def divisible(tmp_path: Path, etcd_dir: Path) -> Iterator[Divisible]:
    """Give three members; Patroni's file names only n3."""
    made = Divisible(tmp_path, etcd_dir, f"etcd-here-{os.getpid()}", f"etcd-there-{os.getpid()}")
    (tmp_path / "patroni.yml").write_text(f"scope: demo\nname: x\netcd3: {{hosts: ['{CLIENTS}.3:2379']}}\n")
    (tmp_path / "etcd-reconfig.yml").write_text(
        f"policy: {{state_dir: {tmp_path}/state, gate_timeout: 1.0}}\n"
    )
    with ExitStack() as undo:
        try:
            made.lay_out(undo)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this machine gives us no network namespaces: {error}")
        for i in (1, 2, 3):
            process = made.start(i)
            made.running.append(process)
            undo.callback(process.wait)
            undo.callback(process.kill)
        wait_until(lambda: list(made.states().values()) == ["healthy"] * 3, 30, "three healthy members")
        yield made


def test_the_list_of_a_member_that_is_cut_off_is_never_trusted(divisible: Divisible) -> None:
    divisible.cut()
    wait_until(divisible.is_divided, 15, "n3 to be cut off, and the others to have a leader")
    ctl = (str(divisible.etcd_dir / "etcdctl"), f"--endpoints=http://{CLIENTS}.1:2379")
    added = divisible.run(*ctl, "member", "add", "n9", "--learner", f"--peer-urls=http://{PEERS}.9:2380")
    assert added.returncode == 0, added.stderr
    assert divisible.list_of(3) == ["n1", "n2", "n3"]  # etcd answers with it, and without a word of doubt
    etcd = divisible.tool("status")[1]["etcd"]
    assert sorted((m["name"], m["state"]) for m in etcd["members"]) == [
        *(("", "unstarted"), ("n1", "healthy"), ("n2", "healthy"), ("n3", "unhealthy"))
    ]
    for process in divisible.running[:2]:
        process.kill()
    code, alone = divisible.tool("status")
    assert (code, "NO_QUORUM" in [finding["code"] for finding in alone["findings"]]) == (0, True)
    code, refused = divisible.tool("remove", "n1", "--force", "--accept", "MEMBER_UNHEALTHY")
    assert (code, refused["error"]["code"]) == (3, "PREFLIGHT")
    assert "NO_QUORUM" in [finding["code"] for finding in refused["findings"]]


def test_who_sees_both_sides_of_a_partition_is_told_that_the_majority_is_alive(divisible: Divisible) -> None:
    divisible.control_n3()
    divisible.cut()
    wait_until(divisible.is_divided, 15, "n3 to be cut off, and the others to have a leader")
    for lost in ((), ("--lost", "n1", "--lost", "n2")):
        code, refused = divisible.tool("recover", "plan", *lost)
        assert code == 3
        assert "RECOVERY_QUORUM_SERVES" in [finding["code"] for finding in refused["findings"]]
    assert divisible.is_untouched()


def test_who_sees_the_minority_only_is_refused_and_refused_again_when_the_majority_is_back(
    divisible: Divisible,
) -> None:
    """A partition is no loss. From this side nothing tells them apart but the operator's word."""
    divisible.control_n3()
    divisible.cut(PEERS, CLIENTS)

    def alone() -> tuple[int, Mapping[str, Any]]:
        return divisible.tool("recover", "plan", space=divisible.there)

    def blocked() -> bool:
        return alone()[1]["error"] is not None

    wait_until(blocked, 15, "n3 to be cut off")
    code, refused = alone()
    assert code == 3
    found = {
        finding["subject"]: finding for finding in refused["findings"] if finding["severity"] == "blocker"
    }
    assert {"n1", "n2"} <= set(found)
    assert all(f"--lost {name}" in found[name]["remedy"] for name in ("n1", "n2"))
    plan = str(divisible.root / "plan.json")
    words = ("recover", "plan", "--lost", "n1", "--lost", "n2", "-o", plan)
    code, planned = divisible.tool(*words, space=divisible.there)
    assert code == 0, planned
    assert planned["plan"]["survivor"]["node"] == "n3"
    divisible.heal(CLIENTS)  # the operator was wrong: they are there, and serve
    wait_until(divisible.is_divided, 15, "the others to have a leader")
    code, refused = divisible.tool(
        "recover", "apply", plan, "--confirm", planned["plan"]["id"], space=divisible.there
    )
    assert (code, refused["error"]["code"]) == (3, "MAJORITY_ALIVE")
    assert divisible.is_untouched()
    divisible.heal(PEERS)
    wait_until(lambda: list(divisible.states().values()) == ["healthy"] * 3, 30, "n3 to be back")
