"""Old members that come back after a recovery, and status in the night of a lost majority, on real etcd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from patroni_etcd_reconfig.errors import ExitCode
from tests.integration.etcd_servers import EtcdCluster, wait_until
from tests.integration.tool import CLI, Outcome, tool_on

pytestmark = pytest.mark.etcd


def status(patroni_file: Path, *words: str) -> Outcome:
    """Run status without an inventory."""
    done = subprocess.run([*CLI, "-c", str(patroni_file), "status", *words], capture_output=True, text=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


def zombies(data: dict[str, Any]) -> set[str]:
    return {one["subject"] for one in data["findings"] if one["code"] == "ZOMBIE_MEMBER"}


def recover_alone(etcd: EtcdCluster) -> None:
    """Let n1 go on alone with a new peer URL, so that the others don't hear from it that they are removed."""
    peer = f"http://{etcd.host(4)}:2380"
    for i in etcd.nodes:
        etcd.kill(i)
    etcd.configure(1, force_new_cluster="true", listen_peer_urls=peer, initial_advertise_peer_urls=peer)
    etcd.start(1)
    etcd.wait_ready(1)
    etcd.stop(1)
    etcd.configure(1, listen_peer_urls=peer, initial_advertise_peer_urls=peer)
    etcd.start(1)
    etcd.wait_ready(1)


def test_status_recognises_old_members_that_are_a_majority_of_the_old_cluster(
    tmp_path: Path, etcd_dir: Path
) -> None:
    with EtcdCluster(tmp_path, etcd_dir=etcd_dir) as etcd:
        etcd.start_all()
        hosts = ", ".join(etcd.client_url(i).removeprefix("http://") for i in etcd.nodes)
        patroni_file = tmp_path / "patroni.yml"
        patroni_file.write_text(f"scope: demo\netcd3: {{hosts: [{hosts}]}}\n")
        recover_alone(etcd)
        assert zombies(status(patroni_file, "-f", "json").json) == set()
        etcd.start(2)
        etcd.start(3)
        etcd.wait_ready(2, 3)
        done = status(patroni_file, "-f", "json")
        assert zombies(done.json) == {"n2", "n3"}
        assert [member["name"] for member in done.json["etcd"]["members"]] == ["n1"]
        etcd.kill(3)
        wait_until(lambda: not etcd.healthy(2), 10, "n2 to lose its majority")
        assert zombies(status(patroni_file, "-f", "json").json) == {"n2"}


def test_the_night_of_a_lost_majority(tmp_path: Path, etcd_dir: Path) -> None:
    with tool_on(tmp_path, etcd_dir) as tool:
        for i in (2, 3):
            os.kill(tool.etcd_pid(i), signal.SIGKILL)
        done = tool.run("status")
        assert done.code == 0
        assert "1 of 3 voters answer, quorum 2, NO QUORUM" in done.out
        assert "recover collect -o evidence.json" in done.out
        assert "patronictl list" not in done.out  # it hangs without quorum
        with tool.frozen(1):
            done = tool.run("status", "-f", "json")
            assert done.code == ExitCode.UNREACHABLE
            assert "n1: its service runs, its data is there" in done.json["error"]["message"]
            assert "n2: its service is stopped, its data is there" in done.json["error"]["message"]
            assert "recover collect" in done.json["error"]["hint"]
        assert "Traceback" not in done.err
        assert sys.executable not in done.err
