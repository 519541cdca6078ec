"""The case that must never lose data, on real parts; and what the wiki page does to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patroni_etcd_reconfig.lab import drill, faults, rows
from patroni_etcd_reconfig.lab.drill import DrillOptions, run_drill
from patroni_etcd_reconfig.lab.layout import NODES
from patroni_etcd_reconfig.lab.marker import load_secrets
from patroni_etcd_reconfig.lab.rows import ROWS
from patroni_etcd_reconfig.lab.writer import Writer, stored_ids
from tests.e2e.recovering import (
    apply,
    apply_killed_at_every_step,
    assert_complete,
    assert_rows,
    lab_in,
    plan,
    plan_file,
    rest,
    sync_standby_is,
)
from tests.integration.etcd_servers import wait_until
from tests.integration.tool import Tool
from tests.nets import free_net

pytestmark = [pytest.mark.e2e, pytest.mark.patroni]


def test_the_naive_way_brings_the_old_leader_back_without_the_committed_rows(
    tmp_path: Path, patroni_dir: Path | None
) -> None:
    options = DrillOptions(free_net(), tmp_path / "lab", naive=True, patroni_dir=patroni_dir)
    outcome = run_drill(options, say=print)
    assert outcome.lost_rows == ROWS
    assert not outcome.good
    log = "".join(path.read_text() for path in (tmp_path / "lab" / "logs").glob("patroni-*.log"))
    assert "promoted self to leader because I had the session lock" in log


def test_no_committed_row_is_lost_although_the_survivor_is_stale_and_the_tool_is_killed_at_every_step(
    tmp_path: Path, patroni_dir: Path | None
) -> None:
    with lab_in(tmp_path, patroni_dir) as lab:
        stage, tool = drill.lose_the_majority(lab, failsafe=False, say=print), Tool(lab.layout)
        plan_id = plan(tool)
        written = json.loads(plan_file(tool).read_text())["plan"]
        assert written["survivor"]["node"] == f"n{stage.first}"
        lead = written["scopes"][0]["should_lead"]
        assert lead in (f"pg{stage.last}", f"pg{stage.other}")
        apply_killed_at_every_step(tool, plan_id)
        done = apply(tool, plan_id)
        assert done.code == 0, done.out + done.err
        assert_complete(lab, int(lead.removeprefix("pg")))
        assert_rows(lab)
        verified = tool.run("recover", "verify", str(plan_file(tool)), "-f", "json")
        assert verified.code == 0, verified.out + verified.err


def test_with_failsafe_mode_no_write_fails_during_the_whole_recovery(
    tmp_path: Path, patroni_dir: Path | None
) -> None:
    with lab_in(tmp_path, patroni_dir) as lab:
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


def test_a_stale_sync_key_does_not_promote_a_node_that_misses_acknowledged_commits(
    tmp_path: Path, patroni_dir: Path | None
) -> None:
    with lab_in(tmp_path, patroni_dir) as lab:
        tool, leader = Tool(lab.layout), drill.leader_host(lab)
        drill.set_config(lab, {"synchronous_mode": True, "failsafe_mode": False})
        followers = [i for i in NODES if i != leader]
        wait_until(lambda: any(sync_standby_is(lab, i) for i in followers), 30, "a synchronous standby")
        stale = next(i for i in followers if sync_standby_is(lab, i))
        fresh = next(i for i in followers if i != stale)
        faults.power_off(lab, stale)  # its etcd will remember it as the synchronous one
        wait_until(lambda: sync_standby_is(lab, fresh), 60, f"pg{fresh} to be synchronous")
        rows.make_table(lab, leader)
        rows.commit_rows(lab, leader, fresh)
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
        assert_rows(lab, fresh, stale)
        assert not rows.in_recovery(lab, fresh)
        assert rows.in_recovery(lab, stale)


def test_a_pause_that_the_survivor_never_heard_of_is_put_back(
    tmp_path: Path, patroni_dir: Path | None
) -> None:
    with lab_in(tmp_path, patroni_dir) as lab:
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
        assert not rows.in_recovery(lab, leader)
