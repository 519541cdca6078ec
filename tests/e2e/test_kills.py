"""The tool killed again and again at random moments, under write load: PostgreSQL never notices."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.lab import health
from patroni_etcd_reconfig.lab.down import down
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.marker import load_secrets
from patroni_etcd_reconfig.lab.up import up
from patroni_etcd_reconfig.lab.writer import Writer, stored_ids
from tests.integration.tool import Tool
from tests.nets import free_net

pytestmark = pytest.mark.e2e

NET = free_net()
KILLS = 4


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Give a lab of etcd, Patroni and PostgreSQL."""
    made = up(tmp_path / "lab", NET, say=print).lab
    try:
        yield made
    finally:
        down(made, say=print)


def _kill_at_random(tool: Tool, seed: int) -> int:
    """Kill cycle and its resumes after random times; return how many kills there were."""
    moments, words = random.Random(seed), ("cycle", "--force")
    for kills in range(KILLS):
        with tool.running(*words) as process:
            try:
                process.wait(moments.uniform(0.4, 4.0))
            except subprocess.TimeoutExpired:
                process.kill()
            else:
                return kills
        words = ("resume", "--force")
    return KILLS


def test_postgresql_does_not_notice_a_cycle_that_is_killed_again_and_again(lab: Lab) -> None:
    seed = time.time_ns()
    tool, before = Tool(lab.layout), health.pg_cluster(lab.layout)
    assert before is not None
    assert before.leader is not None
    address = lab.layout.address(int(before.leader.name.removeprefix("pg")))
    ids = tool.ids()
    writer = Writer(address, load_secrets(lab.layout))
    writer.start()
    try:
        kills = _kill_at_random(tool, seed)
        last = tool.run("resume", "--force", "-f", "json")
        if set(tool.ids().values()) & set(ids.values()):  # the first kill came before anything was begun
            last = tool.run("cycle", "--force", "-f", "json")
    finally:
        written = writer.stop()
    after = health.pg_cluster(lab.layout)
    assert last.code == 0, f"seed {seed}: {last.err}"
    assert kills > 0
    assert not set(tool.ids().values()) & set(ids.values())
    assert written.errors == ()
    assert written.acknowledged <= stored_ids(address, load_secrets(lab.layout))
    assert after is not None
    assert after.leader == before.leader
