"""A majority lost in many ways: what was acknowledged, or replicated to who is left, is there after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from patroni_etcd_reconfig.core.recovery.model import Way
from patroni_etcd_reconfig.engine.recovery.locks import FileLocks
from patroni_etcd_reconfig.lab import drill, faults, rows
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.layout import NODES, Layout
from patroni_etcd_reconfig.lab.processes import running
from patroni_etcd_reconfig.lab.up import run_service, start_one_patroni
from tests.e2e.recovering import (
    apply,
    apply_killed_at_every_step,
    assert_complete,
    assert_rows,
    lab_in,
    plan,
    plan_file,
    sync_standby_is,
)
from tests.integration.etcd_servers import wait_until
from tests.integration.tool import Tool
from tests.nets import free_net

pytestmark = pytest.mark.e2e

# The etcd that most tests run on has a bug that the tool refuses to work with.
ACCEPT = ("--accept", "HAZARD_CORRUPTION", "--force", "-f", "json")


def add(tool: Tool, *numbers: int, learner: bool = False) -> None:
    """Add members on machines of their own, which have no PostgreSQL."""
    for i in numbers:
        tool.plan_node(i)
    words = [f"n{i}" for i in numbers] + ["--learner"] * learner
    added = tool.run("add", *words, *ACCEPT)
    assert added.code == 0, added.out + added.err


def written(tool: Tool) -> dict[str, Any]:
    """Return the plan as it was written down."""
    found: dict[str, Any] = json.loads(plan_file(tool).read_text())["plan"]
    return found


def lead(tool: Tool) -> int:
    """Return the number of the node that should lead by the plan."""
    return int(written(tool)["scopes"][0]["should_lead"].removeprefix("pg"))


def test_of_five_with_three_lost_the_fresh_one_goes_on_and_not_the_stale_one(tmp_path: Path) -> None:
    with lab_in(tmp_path) as lab:
        tool = Tool(lab.layout)
        try:
            add(tool, 4, 5)
            stage = drill.fail_over(lab, failsafe=False, say=print)
            faults.lose_etcd(lab, 4)
            drill.lose_the_others(lab, stage, failsafe=False, say=print)
            plan_id = plan(tool)
            assert written(tool)["survivor"]["node"] == "n5"
            assert f"n{stage.first}" in [fence["node"] for fence in written(tool)["fence"]]
            assert lead(tool) in (stage.last, stage.other)
            done = apply(tool, plan_id)
            assert done.code == 0, done.out + done.err
            assert_complete(lab, lead(tool), voters=(*NODES, 4, 5))
            assert_rows(lab)
        finally:
            for i in (4, 5):
                run_service(lab.layout, f"n{i}", "stop")


def test_a_learner_that_knows_more_than_the_voter_that_is_left_never_goes_on(tmp_path: Path) -> None:
    with lab_in(tmp_path) as lab:
        tool = Tool(lab.layout)
        try:
            add(tool, 4, learner=True)
            stage = drill.lose_the_majority(lab, failsafe=False, say=print)
            refused = tool.run("recover", "plan", "-f", "json")
            assert refused.code == 3
            fresher = next(one for one in refused.json["findings"] if one["code"] == "RECOVERY_FRESHER")
            assert (fresher["subject"], "it is a learner" in fresher["detail"]) == ("n4", True)
            plan_id = plan(tool, "--survivor", f"n{stage.first}")
            assert "n4" in [fence["node"] for fence in written(tool)["fence"]]
            done = apply(tool, plan_id)
            assert done.code == 0, done.out + done.err
            assert lead(tool) in (stage.last, stage.other)
            assert_rows(lab)
            assert_complete(lab, lead(tool))
        finally:
            run_service(lab.layout, "n4", "stop")


def test_a_survivor_whose_term_patroni_has_outlived_is_raised_until_patroni_takes_it(tmp_path: Path) -> None:
    with lab_in(tmp_path) as lab:
        tool = Tool(lab.layout)
        ids, term = tool.ids(), tool.client(1).status().raft_term
        stage = drill.fail_over(lab, failsafe=False, say=print)
        # --force-new-cluster raises the term by one, and the first help by one more.
        seen = outlive(tool, ids, term + 3, stage.last, stage.other)
        time.sleep(3)  # a few loops, in which all Patronis see it
        for i in (stage.last, stage.other):
            faults.lose_etcd(lab, i)
        wait_until(lambda: rows.in_recovery(lab, stage.last), 60, f"pg{stage.last} to be read-only")
        start_one_patroni(lab, stage.first)  # its etcd stays down: alone it would campaign, with higher terms
        plan_id = plan(tool)
        assert written(tool)["survivor"]["term"] <= term
        for refusal in (_other_data_dir, _no_room, _another_operator, _no_snapshot):
            refusal(tool, stage.first, plan_id)
            assert running(lab.layout.pid_file(f"etcd-n{stage.first}")) is None
        done = apply(tool, plan_id)
        assert done.code == 0, done.out + done.err
        assert tool.client(stage.first).status().raft_term >= seen
        log = "".join(lab.layout.log(f"patroni-pg{i}").read_text() for i in NODES)
        assert f"Old known term {seen}" in log  # why Patroni did not take etcd at first
        assert_rows(lab)
        assert_complete(lab, lead(tool))


def outlive(tool: Tool, ids: dict[str, int], term: int, *two: int) -> int:
    """Move leadership to and fro between two members up to this raft term; return the one they have then."""
    while (status := tool.client(two[0]).status()).raft_term < term:
        leads, follows = sorted(two, key=lambda i: ids[f"n{i}"] != status.leader_id)
        tool.client(leads).transfer_leadership(ids[f"n{follows}"])
        wait_until(lambda: tool.client(leads).status().leader_id == ids[f"n{follows}"], 10, "another leader")  # noqa: B023
    return status.raft_term


def _refused(tool: Tool, code: str, *words: str) -> None:
    done = tool.run(*words, "-f", "json", seconds=120)
    assert (done.code != 0, done.json["error"]["code"]) == (True, code), done.out + done.err


def _apply_refused(tool: Tool, code: str, plan_id: str) -> None:
    _refused(tool, code, "recover", "apply", str(plan_file(tool)), "--confirm", plan_id)


def _with_inventory(tool: Tool, change: Callable[[dict[str, Any]], None], then: Callable[[], None]) -> None:
    """Do something while the inventory is another one."""
    before = tool.layout.inventory.read_text()
    inventory = yaml.safe_load(before)
    change(inventory)
    tool.layout.inventory.write_text(yaml.safe_dump(inventory))
    then()
    tool.layout.inventory.write_text(before)


def _other_data_dir(tool: Tool, survivor: int, plan_id: str) -> None:
    def change(inventory: dict[str, Any]) -> None:
        inventory["etcd"]["members"][f"n{survivor}"]["data_dir"] = str(tool.layout.root / "logs")

    _with_inventory(tool, change, lambda: _apply_refused(tool, "NODE_CONFIG", plan_id))


def _no_room(tool: Tool, _: int, plan_id: str) -> None:
    def change(inventory: dict[str, Any]) -> None:
        inventory["policy"]["min_free_bytes"] = 2**59

    _with_inventory(tool, change, lambda: _apply_refused(tool, "DISK_SPACE", plan_id))


def _another_operator(tool: Tool, _: int, plan_id: str) -> None:
    other = {"host": "db9", "pid": 1, "user": "anna", "operation": "recover-x", "since": "now"}
    with FileLocks([tool.layout.state_dir / "recover.lock"], other):
        _apply_refused(tool, "LOCKED", plan_id)


def _no_snapshot(tool: Tool, survivor: int, _: str) -> None:
    wrong = tool.layout.root / "no-snapshot.db"
    wrong.write_bytes(b"\0" * 8192)
    _refused(tool, "SNAPSHOT_UNFIT", "restore", str(wrong), "--node", f"n{survivor}")


@pytest.mark.patroni
def test_killed_at_every_step_with_synchronous_mode_every_acknowledged_row_is_there(
    tmp_path: Path, patroni_dir: Path | None
) -> None:
    with lab_in(tmp_path, patroni_dir) as lab:
        tool = Tool(lab.layout)
        drill.set_config(lab, {"synchronous_mode": True})
        wait_until(lambda: len(synchronous(lab)) == 1, 30, "a synchronous standby")
        stage = drill.lose_the_majority(lab, failsafe=False, say=print)
        plan_id = plan(tool)
        assert written(tool)["scopes"][0]["synchronous"]
        apply_killed_at_every_step(tool, plan_id)
        done = apply(tool, plan_id)
        assert done.code == 0, done.out + done.err
        assert lead(tool) in (stage.last, stage.other)
        assert_rows(lab)
        assert_complete(lab, lead(tool))


def synchronous(lab: Lab) -> list[int]:
    """Return the nodes that Patroni calls synchronous standbys."""
    return [i for i in NODES if sync_standby_is(lab, i)]


def test_members_that_only_stopped_are_started_and_postgresql_is_writable_again(tmp_path: Path) -> None:
    with lab_in(tmp_path) as lab:
        tool, leader = Tool(lab.layout), drill.leader_host(lab)
        drill.set_config(lab, {"failsafe_mode": False})
        rows.make_table(lab, leader)
        rows.commit_rows(lab, leader, next(i for i in NODES if i != leader))
        for i in NODES:
            run_service(lab.layout, f"n{i}", "stop")
        wait_until(lambda: rows.in_recovery(lab, leader), 60, f"pg{leader} to be read-only")
        plan_id = plan(tool)
        assert written(tool)["way"] == Way.START.value
        done = apply(tool, plan_id)
        assert done.code == 0, done.out + done.err
        assert_complete(lab, drill.leader_host(lab))
        assert_rows(lab)


def test_when_all_hosts_have_new_addresses_no_row_is_lost(tmp_path: Path) -> None:
    with lab_in(tmp_path) as lab:
        leader = drill.leader_host(lab)
        rows.make_table(lab, leader)
        rows.commit_rows(lab, leader, next(i for i in NODES if i != leader))
        for i in NODES:
            faults.power_off(lab, i)
        moved = readdressed(lab, free_net())
        for i in NODES:
            faults.power_on(moved, i)
        tool = Tool(moved.layout)
        done = apply(tool, plan(tool))
        assert done.code == 0, done.out + done.err
        assert_complete(moved, lead(tool))
        assert_rows(moved)
        members = tool.members()
        assert [m["peer_urls"] for m in members.values()] == [[moved.layout.peer_url(i)] for i in NODES]


def readdressed(lab: Lab, net: int) -> Lab:
    """Give all hosts other addresses, in all files that name them."""
    layout = lab.layout
    for path in (layout.inventory, *map(layout.etcd_env, NODES), *map(layout.pg_yml, NODES)):
        path.write_text(path.read_text().replace(f"127.0.{layout.net}.", f"127.0.{net}."))
    return replace(lab, layout=Layout(layout.root, net))
