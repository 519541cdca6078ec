"""The lab with real processes. One lab serves the tests in the order in which they stand here."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patroni_etcd_reconfig.errors import ExitCode
from patroni_etcd_reconfig.lab.addresses import is_taken
from patroni_etcd_reconfig.lab.layout import Layout
from tests.nets import free_net

pytestmark = pytest.mark.e2e

NET, OTHER_NET = free_net(), free_net()
CLI = (sys.executable, "-m", "patroni_etcd_reconfig.cli.main", "lab")


class Lab:
    """A lab's directory, and the command line to handle it, called from a directory that is not ours."""

    def __init__(self, root: Path, net: int = NET) -> None:
        self.layout = Layout(root, net)

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = (*CLI, *words, "--dir", str(self.layout.root))
        return subprocess.run(
            command, cwd="/", env={**os.environ, **env}, capture_output=True, text=True, timeout=120
        )

    def up(self) -> str:
        done = self.run("up", "--net", str(self.layout.net))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def processes(self) -> dict[str, dict[str, Any]]:
        status = json.loads(self.run("status", "-f", "json").stdout)
        return {process["name"]: process for process in status["processes"]}

    def pids(self) -> dict[str, int]:
        return {name: process["pid"] for name, process in self.processes().items() if process["alive"]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("e2e") / "a lab")
    yield made
    made.run("down")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_up_brings_a_leader_and_two_streaming_replicas(lab: Lab) -> None:
    told = lab.up()
    assert "2 streaming replicas" in told
    assert f"-i '{lab.layout.inventory}' status" in told
    assert len(lab.pids()) == 9


def test_secrets_are_for_the_owner_only(lab: Lab) -> None:
    root = lab.layout.root
    readable = [path for path in root.iterdir() if path.is_file() and path.stat().st_mode & 0o044]
    assert [path.name for path in readable if path.name != "lab.lock"] == []


def test_up_again_changes_nothing(lab: Lab) -> None:
    before = lab.pids()
    assert "was running already" in lab.up()
    assert lab.pids() == before


def test_status_shows_a_dead_process_and_up_starts_just_that(lab: Lab) -> None:
    before = lab.pids()
    kill(before["etcd-n2"])
    assert not lab.processes()["etcd-n2"]["alive"]
    assert "started 1 processes" in lab.up()
    after = lab.pids()
    assert {name for name in after if after[name] != before[name]} == {"etcd-n2"}


def test_postgresql_survives_its_patroni_and_is_taken_over(lab: Lab) -> None:
    before = lab.pids()
    kill(before["patroni-pg3"])
    lab.up()
    after = lab.pids()
    assert {name for name in after if after[name] != before[name]} == {"patroni-pg3"}


def test_a_directory_that_is_half_there_is_completed(lab: Lab) -> None:
    lost = (lab.layout.inventory, lab.layout.pg_yml(2), lab.layout.patroni_file, lab.layout.etcd_service)
    texts = [path.read_text() for path in lost]
    for path in lost:
        path.unlink()
    lab.up()
    assert [path.read_text() for path in lost] == texts


def test_a_second_lab_on_the_same_addresses_is_refused_and_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    other = Lab(tmp_path / "other")
    done = other.run("up", "--net", str(NET))
    assert done.returncode == ExitCode.USAGE
    assert f"127.0.{NET}.1:2379 is taken by pid {lab.pids()['etcd-n1']}" in done.stderr
    assert "--net N" in done.stderr
    assert not other.layout.root.exists()


def test_a_frozen_etcd_goes_on_after_its_thaw(lab: Lab) -> None:
    assert lab.run("fault", "freeze", "2").returncode == 0
    state = Path(f"/proc/{lab.pids()['etcd-n2']}/stat").read_text().rpartition(")")[2].split()[0]
    assert state == "T"
    assert lab.run("fault", "thaw", "2").returncode == 0
    lab.up()


def test_a_power_cut_ends_a_host_at_once_and_it_comes_back_with_its_data(lab: Lab) -> None:
    before = lab.pids()
    done = lab.run("fault", "power-off", "2")
    assert "etcd-n2, patroni-pg2, postgresql-pg2" in done.stdout
    assert set(before) - set(lab.pids()) == {"etcd-n2", "patroni-pg2", "postgresql-pg2"}
    data = lab.layout.etcd_data(2)
    assert data.is_dir()
    assert lab.run("fault", "power-on", "2").returncode == 0
    lab.up()
    assert len(lab.pids()) == 9


def test_a_lost_etcd_leaves_patroni_running_and_its_data_out_of_reach(lab: Lab) -> None:
    before, data = lab.pids(), lab.layout.etcd_data(3)
    assert "etcd-n3" in lab.run("fault", "lose-etcd", "3").stdout
    assert set(before) - set(lab.pids()) == {"etcd-n3"}
    aside = data.with_name("n3.lost")
    assert (aside / "member").is_dir()
    assert not data.exists()
    aside.rename(data)
    lab.up()


def test_down_ends_exactly_its_processes(lab: Lab) -> None:
    # A pid file that lies: its process died, and another got the pid.
    bystander = subprocess.Popen(["sleep", "60"])
    kill(lab.pids()["etcd-n3"])
    lab.layout.pid_file("etcd-n3").write_text(f"{bystander.pid} 1\n")
    pids = lab.pids()
    done = lab.run("down")
    assert done.returncode == 0, done.stderr
    assert all(f"{name} ({pid})" in done.stdout for name, pid in pids.items())
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    assert lab.pids() == {}
    assert not any(is_taken(one.address, one.port) for one in lab.layout.endpoints())


def test_down_twice_is_fine(lab: Lab) -> None:
    assert "nothing was running" in lab.run("down").stdout


def test_down_ends_a_postgresql_whose_patroni_is_gone(lab: Lab) -> None:
    lab.up()
    pids = lab.pids()
    for name in ("patroni-pg1", "patroni-pg2", "patroni-pg3", "etcd-n1", "etcd-n2"):
        kill(pids[name])
    done = lab.run("down", "--remove")
    assert done.returncode == 0, done.stderr
    assert not any(is_taken(one.address, one.port) for one in lab.layout.endpoints())
    assert not lab.layout.root.exists()


def test_an_address_taken_by_another_program_is_named(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab", OTHER_NET)
    with socket.socket() as server:
        server.bind((lab.layout.address(1), 2379))
        server.listen(1)
        done = lab.run("up", "--net", str(lab.layout.net))
    assert done.returncode == ExitCode.USAGE
    assert f"127.0.{OTHER_NET}.1:2379 is taken by pid {os.getpid()}" in done.stderr


def test_a_missing_etcd_comes_with_the_apt_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = Lab(tmp_path / "lab").run("up", "--etcd-dir", str(tmp_path / "empty"))
    assert done.returncode == ExitCode.USAGE
    assert "apt-get install etcd-server etcd-client postgresql" in done.stderr


def test_a_directory_that_is_no_lab_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    lab = Lab(tmp_path)
    for words in (("up",), ("down", "--remove"), ("status",)):
        done = lab.run(*words)
        assert done.returncode == ExitCode.USAGE
        assert "not a lab's directory" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_lab_whose_etcd_can_t_start_says_why(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab", OTHER_NET)
    fake = tmp_path / "bin" / "etcd"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'etcdmain: the disk is on fire' >&2\nexit 1\n")
    fake.chmod(0o755)
    done = lab.run("up", "--net", str(lab.layout.net), "--etcd-dir", str(fake.parent))
    lab.run("down")
    assert done.returncode == ExitCode.STEP_FAILED
    assert "the disk is on fire" in done.stderr
