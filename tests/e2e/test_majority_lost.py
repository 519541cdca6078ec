"""The case that must never lose data, on real parts; and what the wiki page does to it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from patroni_etcd_reconfig.cli.recover.planfile import read_plan
from patroni_etcd_reconfig.core.recovery.steps import steps_of
from patroni_etcd_reconfig.lab import drill, faults, health
from patroni_etcd_reconfig.lab.down import down
from patroni_etcd_reconfig.lab.drill import ROWS, DrillOptions, run_drill
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.layout import NODES, REST_PORT
from patroni_etcd_reconfig.lab.marker import load_secrets
from patroni_etcd_reconfig.lab.up import up
from patroni_etcd_reconfig.lab.writer import Writer, connect, stored_ids
from tests.integration.etcd_servers import wait_until
from tests.integration.tool import Outcome, Tool
from tests.nets import free_net

pytestmark = pytest.mark.e2e


@contextmanager
def lab_in(root: Path) -> Iterator[Lab]:
    """Give a lab of etcd, Patroni and PostgreSQL."""
    made = up(root / "lab", free_net(), say=print).lab
    try:
        yield made
    finally:
        down(made, say=print)


def plan(tool: Tool, *words: str) -> str:
    """Write a plan into the lab's directory and return its id."""
    planned = tool.run("recover", "plan", "-o", str(plan_file(tool)), "-f", "json", *words)
    assert planned.code == 0, planned.out + planned.err
    plan_id = planned.json["plan"]["id"]
    assert isinstance(plan_id, str)
    return plan_id


def plan_file(tool: Tool) -> Path:
    return tool.layout.root / "plan.json"


def apply(tool: Tool, plan_id: str) -> Outcome:
    return tool.run("recover", "apply", str(plan_file(tool)), "--confirm", plan_id, "-f", "json", seconds=240)


def assert_complete(lab: Lab, leader: int) -> None:
    """The node leads, both others stream from it, and etcd has three healthy voters again."""
    wait_until(
        lambda: (c := health.pg_cluster(lab.layout)) is not None and not c.missing(),
        60,
        "two replicas to stream",
    )
    cluster = health.pg_cluster(lab.layout)
    assert cluster is not None
    assert cluster.leader is not None
    assert cluster.leader.name == f"pg{leader}"
    members = Tool(lab.layout).members()
    assert [(m["name"], m["state"]) for m in members.values()] == [(f"n{i}", "healthy") for i in NODES]


def rest(lab: Lab, host: int) -> dict[str, object]:
    return health.get_json(lab.layout.address(host), REST_PORT, "/patroni", timeout=3) or {}


def sync_standby_is(lab: Lab, host: int) -> bool:
    return bool(rest(lab, host).get("sync_standby"))


def test_the_naive_way_brings_the_old_leader_back_without_the_committed_rows(tmp_path: Path) -> None:
    outcome = run_drill(DrillOptions(free_net(), tmp_path / "lab", naive=True), say=print)
    assert outcome.lost_rows == ROWS
    assert not outcome.good
    log = "".join(path.read_text() for path in (tmp_path / "lab" / "logs").glob("patroni-*.log"))
    assert "promoted self to leader because I had the session lock" in log


def test_no_committed_row_is_lost_although_the_survivor_is_stale_and_the_tool_is_killed_at_every_step(
    tmp_path: Path,
) -> None:
    with lab_in(tmp_path) as lab:
        stage, tool = drill.lose_the_majority(lab, failsafe=False, say=print), Tool(lab.layout)
        plan_id = plan(tool)
        written = json.loads(plan_file(tool).read_text())["plan"]
        assert written["survivor"]["node"] == f"n{stage.first}"
        lead = written["scopes"][0]["should_lead"]
        assert lead in (f"pg{stage.last}", f"pg{stage.other}")
        for kind in (type(step).__name__ for step in steps_of(read_plan(plan_file(tool)))):
            # It acted and could not note so: it looks at that step again, and is killed after the next one.
            assert _killed(tool, plan_id, f"acted:{kind}").code == -signal.SIGKILL, kind
        done = apply(tool, plan_id)
        assert done.code == 0, done.out + done.err
        assert_complete(lab, int(lead.removeprefix("pg")))
        assert all(drill.stored_rows(lab, i) >= frozenset(range(ROWS)) for i in NODES)
        verified = tool.run("recover", "verify", str(plan_file(tool)), "-f", "json")
        assert verified.code == 0, verified.out + verified.err


def _killed(tool: Tool, plan_id: str, failpoint: str) -> Outcome:
    words = ("recover", "apply", str(plan_file(tool)), "--confirm", plan_id, "-f", "json")
    return tool.run(*words, seconds=240, env={"PATRONI_ETCD_RECONFIG_FAILPOINT": failpoint})


def test_with_failsafe_mode_no_write_fails_during_the_whole_recovery(tmp_path: Path) -> None:
    with lab_in(tmp_path) as lab:
        tool, leader = Tool(lab.layout), drill.leader_host(lab)
        address, secrets = lab.layout.address(leader), load_secrets(lab.layout)
        survivor = next(i for i in NODES if i != leader)
        writer = Writer(address, secrets)
        writer.start()
        try:
            for i in NODES:
                if i != survivor:
                    faults.lose_etcd(lab, i)
            wait_until(lambda: bool(rest(lab, leader).get("failsafe_mode_is_active")), 40, "failsafe mode")
            done = apply(tool, plan(tool))
        finally:
            written = writer.stop()
        assert done.code == 0, done.out + done.err
        assert done.json["measured"]["seconds_to_writable"] > 0
        assert written.errors == ()
        assert written.acknowledged <= stored_ids(address, secrets)
        assert_complete(lab, leader)


def test_a_stale_sync_key_does_not_promote_a_node_that_misses_acknowledged_commits(tmp_path: Path) -> None:
    with lab_in(tmp_path) as lab:
        tool, leader = Tool(lab.layout), drill.leader_host(lab)
        drill.set_config(lab, {"synchronous_mode": True, "failsafe_mode": False})
        followers = [i for i in NODES if i != leader]
        wait_until(lambda: any(sync_standby_is(lab, i) for i in followers), 30, "a synchronous standby")
        stale = next(i for i in followers if sync_standby_is(lab, i))
        fresh = next(i for i in followers if i != stale)
        faults.power_off(lab, stale)  # its etcd will remember it as the synchronous one
        wait_until(lambda: sync_standby_is(lab, fresh), 60, f"pg{fresh} to be synchronous")
        with connect(lab.layout.address(leader), load_secrets(lab.layout)) as connection:
            connection.execute("CREATE TABLE drill_rows (id bigint PRIMARY KEY)")
        drill.commit_rows(lab, leader, fresh)
        faults.power_off(lab, leader)
        lab.layout.pg_home(leader).rename(tmp_path / "the disk of a dead host")
        for i in (leader, fresh):
            faults.lose_etcd(lab, i)
        faults.power_on(lab, stale)
        refused = tool.run("recover", "plan", "-f", "json")
        assert refused.code == 3
        assert "PG_NOT_ASKED" in [finding["code"] for finding in refused.json["findings"]]
        assert f"--lead lab=pg{fresh}" in refused.out
        done = apply(tool, plan(tool, "--lead", f"lab=pg{fresh}"))
        assert done.code == 0, done.out + done.err
        wait_until(
            lambda: drill.stored_rows(lab, stale) >= frozenset(range(ROWS)), 60, f"pg{stale} to follow"
        )
        assert not drill.in_recovery(lab, fresh)
        assert drill.in_recovery(lab, stale)
        assert drill.stored_rows(lab, fresh) >= frozenset(range(ROWS))


def test_a_pause_that_the_survivor_never_heard_of_is_put_back(tmp_path: Path) -> None:
    with lab_in(tmp_path) as lab:
        tool, leader = Tool(lab.layout), drill.leader_host(lab)
        survivor = next(i for i in NODES if i != leader)
        faults.power_off(lab, survivor)
        drill.set_config(lab, {"pause": True})
        wait_until(lambda: bool(rest(lab, leader).get("pause")), 30, "Patroni to be paused")
        for i in NODES:
            if i != survivor:
                faults.lose_etcd(lab, i)
        faults.power_on(lab, survivor)
        done = apply(tool, plan(tool))
        assert done.code == 0, done.out + done.err
        assert tool.run("status", "-f", "json").json["patroni"][0]["paused"]
        assert not drill.in_recovery(lab, leader)
