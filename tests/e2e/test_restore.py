"""A snapshot that is older than a failover, restored under real Patroni and PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from patroni_etcd_reconfig.engine.failpoint import VARIABLE
from patroni_etcd_reconfig.lab import drill, faults, rows
from patroni_etcd_reconfig.lab.down import down
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.layout import NODES
from patroni_etcd_reconfig.lab.up import up
from tests.integration.etcd_servers import wait_until
from tests.integration.tool import CLI, Outcome, Tool
from tests.nets import free_net

pytestmark = [pytest.mark.e2e, pytest.mark.patroni]


@pytest.fixture
def lab(tmp_path: Path, patroni_dir: Path | None) -> Iterator[Lab]:
    arrived = up(tmp_path / "lab", free_net(), say=lambda _: None, patroni_dir=patroni_dir).lab
    yield arrived
    down(arrived, say=lambda _: None)


def test_a_snapshot_older_than_a_failover_does_not_bring_the_old_leader_back(lab: Lab) -> None:
    tool, snapshot = Tool(lab.layout), lab.layout.root / "snapshot.db"
    first = drill.leader_host(lab)
    rows.make_table(lab, first)
    assert tool.run("snapshot", "-o", str(snapshot)).code == 0
    last, other = fail_over(lab, first)
    rows.commit_rows(lab, last, other)
    for i in NODES:
        faults.lose_etcd(lab, i)
    faults.power_on(lab, first)  # its etcd has no data: only the snapshot says who led
    running = patroni_pids(lab)
    done = restore(alone(lab, first), snapshot, first)
    assert done.code == 0, done.err
    assert done.json["measured"]["seconds_to_writable"] > 0
    assert patroni_pids(lab) == running  # those that run have accepted the new cluster id
    outcome = drill.judge(lab, "restore", 0.0, done.json)
    assert outcome.lost_rows == 0
    assert outcome.good
    assert outcome.leader in (f"pg{last}", f"pg{other}")
    assert len(tool.members()) == len(NODES)


@dataclass(frozen=True)
class OwnFile(Tool):
    """The tool as on a machine of its own, whose Patroni file names its node only."""

    patroni_file: Path

    def command(self, *words: str) -> list[str]:
        return [*CLI, "-c", str(self.patroni_file), "-i", str(self.layout.inventory), *words]


def alone(lab: Lab, host: int) -> OwnFile:
    """Give host its own file: after the keys are dropped only the plan knows where the others are."""
    directory = lab.layout.root / "own"
    directory.mkdir()
    own = shutil.copy(lab.layout.pg_yml(host), directory / "patroni.yml")
    return OwnFile(lab.layout, Path(own))


def patroni_pids(lab: Lab) -> list[str]:
    return [lab.layout.pid_file(f"patroni-pg{i}").read_text() for i in NODES]


def fail_over(lab: Lab, first: int) -> tuple[int, int]:
    """Cut the leader's power; return who leads then, and the third."""
    faults.power_off(lab, first)
    wait_until(lambda: drill.leader_host(lab) != first, 90, "another PostgreSQL leader")
    last = drill.leader_host(lab)
    return last, next(i for i in NODES if i not in (first, last))


def restore(tool: Tool, snapshot: Path, on: int) -> Outcome:
    """Have the plan shown and confirm its id; killed on the way, the same command goes on."""
    words = ("restore", str(snapshot), "--node", f"n{on}", "-f", "json")
    asked: list[Outcome] = []

    def planned() -> bool:
        asked.append(tool.run(*words))
        return asked[-1].code == 2

    wait_until(planned, 90, "a plan that nothing stands in the way of")
    assert asked[-1].json["error"]["code"] == "NOT_CONFIRMED"
    plan_id = asked[-1].json["error"]["hint"].split()[-1]
    killed = tool.run(*words, "--confirm", plan_id, env={VARIABLE: "acted:3"})
    assert killed.code == -9, killed.err
    return tool.run(*words, "--confirm", plan_id, seconds=240)
