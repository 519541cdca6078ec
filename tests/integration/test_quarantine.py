"""etcd in quarantine, a real one: out of reach, with its node's settings, and never longer than the tool."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from patroni_etcd_reconfig.adapters.etcd_client import Connector
from patroni_etcd_reconfig.adapters.inventory import NodeConfig
from patroni_etcd_reconfig.adapters.process import process_start
from patroni_etcd_reconfig.adapters.quarantine import LocalQuarantine, free_ports
from patroni_etcd_reconfig.clock import SystemClock
from patroni_etcd_reconfig.core.model import MemberStatus
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Survivor, Way
from patroni_etcd_reconfig.engine.recovery.isolation import NO_SPACE, Isolation
from patroni_etcd_reconfig.errors import EtcdError
from tests.integration.recoveries import wait

pytestmark = pytest.mark.etcd

UNREACHABLE = "http://192.0.2.1:2379"  # TEST-NET: what etcd must not listen on


def config(root: Path, suffix: str) -> NodeConfig:
    """Return a node whose etcd would listen where it can't: only the quarantine's own addresses work."""
    settings = {
        "name": "a",
        "data-dir": str(root / "data"),
        "listen-client-urls": UNREACHABLE,
        "listen-peer-urls": "http://192.0.2.1:2380",
        "advertise-client-urls": UNREACHABLE,
        "initial-advertise-peer-urls": "http://127.0.0.1:23790",
        "initial-cluster": "a=http://127.0.0.1:23790",
        "listen-metrics-urls": "http://192.0.2.1:2381",
        "quota-backend-bytes": "123456789",
    }
    path = root / f"etcd{suffix}"
    if suffix == ".yml":
        path.write_text(yaml.safe_dump({**settings, "quota-backend-bytes": 123456789}))
    else:
        lines = (f"ETCD_{name.upper().replace('-', '_')}='{value}'\n" for name, value in settings.items())
        path.write_text("".join(lines))
    (root / "data").mkdir(mode=0o700)
    return NodeConfig("a", "", "local", "command", "", str(path), str(root / "data"))


@contextmanager
def quarantined(root: Path, etcd_dir: Path, suffix: str = ".env") -> Iterator[LocalQuarantine]:
    """Give a quarantine, which is ended whatever happens."""
    quarantine = LocalQuarantine(config(root, suffix), root / "state", str((etcd_dir / "etcd").absolute()))
    try:
        yield quarantine
    finally:
        quarantine.stop()


def leading(quarantine: LocalQuarantine) -> MemberStatus:
    def probe() -> MemberStatus | None:
        assert quarantine.running, quarantine.last_words()
        status = Connector()(quarantine.url, 1.0).status()
        return status if status.leader_id == status.member_id else None

    status = wait(probe, "etcd to lead in quarantine")
    assert isinstance(status, MemberStatus)
    return status


def pid_of(root: Path) -> int:
    return int((root / "state" / "a.pid").read_text().split()[0])


@pytest.mark.parametrize("suffix", [".env", ".yml"])
def test_it_has_the_nodes_settings_but_its_own_addresses(tmp_path: Path, etcd_dir: Path, suffix: str) -> None:
    with quarantined(tmp_path, etcd_dir, suffix) as quarantine:
        quarantine.start(force=False)
        status = leading(quarantine)
        assert quarantine.url.startswith("http://127.0.0.1:")
        assert status.db_size_quota in (None, -1)  # not the service's
        client = Connector()(quarantine.url, 2.0)
        (member,) = client.member_list().members
        wait(lambda: client.member_list().members[0].client_urls == (UNREACHABLE,), "the member to publish")
        assert member.peer_urls == ("http://127.0.0.1:23790",)
        quarantine.stop()
        assert not quarantine.running
        quarantine.start(force=True)
        assert leading(quarantine).raft_term == status.raft_term + 1
        arguments = Path(f"/proc/{pid_of(tmp_path)}/cmdline").read_text()
        environment = Path(f"/proc/{pid_of(tmp_path)}/environ").read_text()
        assert ("--force-new-cluster" in arguments) == (suffix == ".env")
        assert "FORCE_NEW_CLUSTER" not in environment
        assert "force" not in (tmp_path / f"etcd{suffix}").read_text()


def test_it_dies_with_the_tool(tmp_path: Path, etcd_dir: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.integration.test_quarantine import *\n"
        "root = Path(sys.argv[1])\n"
        "quarantine = LocalQuarantine(config(root, '.env'), root / 'state', sys.argv[2])\n"
        "quarantine.start(force=False)\n"
        "leading(quarantine)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str((etcd_dir / "etcd").absolute())]
    assert subprocess.run(command, timeout=60, check=False).returncode == -9
    pid = pid_of(tmp_path)
    wait(lambda: process_start(pid) == "", "the etcd to be gone")


def test_one_that_an_earlier_run_has_left_is_ended_and_nobody_else(tmp_path: Path, etcd_dir: Path) -> None:
    with quarantined(tmp_path, etcd_dir) as quarantine:
        left = subprocess.Popen(["sleep", "60"])
        other = subprocess.Popen(["sleep", "60"])
        try:
            (tmp_path / "state").mkdir()
            (tmp_path / "state" / "a.pid").write_text(f"{left.pid} {process_start(left.pid)}\n")
            quarantine.end_leftover()
            assert left.wait(10) == -15
            (tmp_path / "state" / "a.pid").write_text(f"{other.pid} 1\n")  # a pid that was given away since
            quarantine.end_leftover()
            assert other.poll() is None
        finally:
            other.kill()
            other.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run etcd as another user")
def test_as_root_it_runs_as_the_owner_of_the_data(tmp_path: Path, etcd_dir: Path) -> None:
    with quarantined(tmp_path, etcd_dir, ".yml") as quarantine:
        for path in (tmp_path, *tmp_path.parents):
            if not path.stat().st_mode & 0o005:  # pytest's own directories, however many there are
                path.chmod(0o755)
        os.chown(tmp_path / "data", 65534, 65534)
        quarantine.start(force=False)
        leading(quarantine)
        assert Path(f"/proc/{pid_of(tmp_path)}").stat().st_uid == 65534
        assert {path.stat().st_uid for path in (tmp_path / "data").rglob("*")} == {65534}


def test_an_etcd_that_ends_leaves_its_last_words(tmp_path: Path, etcd_dir: Path) -> None:
    with quarantined(tmp_path, etcd_dir) as quarantine:
        Path(quarantine.config.config_file).write_text("ETCD_LOG_LEVEL=nonsense\nETCD_LOGGER=zap\n")
        quarantine.start(force=False)
        deadline = time.monotonic() + 10
        while quarantine.running and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not quarantine.running
        assert quarantine.last_words()


def test_a_full_database_is_repaired_without_its_quota(tmp_path: Path, etcd_dir: Path) -> None:
    with quarantined(tmp_path, etcd_dir) as quarantine:
        _fill(quarantine)
        quarantine.start(force=False)
        status = leading(quarantine)
        noted: list[object] = []
        client = Connector()(quarantine.url, 2.0)
        with pytest.raises(EtcdError, match="space"):
            client.put("/service/demo/leader", "pg2")
        isolated(quarantine, status, noted).make_room()
        client.put("/service/demo/leader", "pg2")
        client.put("/service/demo/history", "x" * 100_000)
        assert client.alarms() == ()
        assert noted == [{NO_SPACE: True}]


def isolated(quarantine: LocalQuarantine, status: MemberStatus, noted: list[object]) -> Isolation:
    survivor = Survivor("a", status.member_id, 0, 0, 0, 0, False, "test")
    return Isolation(
        plan=RecoveryPlan("p1", 0.0, Way.FORCE, "/service", status.cluster_id, survivor=survivor),
        survivor=survivor,
        quarantine=quarantine,
        connect=Connector(),
        clock=SystemClock(),
        say=print,
        copy=str,
        revision_seen=int,
        note=noted.append,
    )


def _fill(quarantine: LocalQuarantine) -> None:
    """Write through a service with a tiny quota until etcd raises NOSPACE."""
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    places = {"listen-client-urls": client, "advertise-client-urls": client, "listen-peer-urls": peer}
    given = {**places, "data-dir": quarantine.config.data_dir, "quota-backend-bytes": "1000000"}
    given |= {"name": "a", "initial-advertise-peer-urls": "http://127.0.0.1:23790"}
    given["initial-cluster"] = "a=http://127.0.0.1:23790"
    log = (quarantine.directory.parent / "service.log").open("wb")
    with (
        log,
        subprocess.Popen(
            [quarantine.etcd, *(f"--{flag}={value}" for flag, value in given.items())], stdout=log, stderr=log
        ) as process,
    ):
        try:
            api = Connector()(client, 2.0)
            wait(lambda: api.status().leader_id, "etcd to lead")
            with pytest.raises(EtcdError, match="space"):
                for number in range(200):
                    api.put(f"/fill/{number}", "x" * 100_000)
        finally:
            process.terminate()
