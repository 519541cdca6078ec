"""Majority lost, on real etcd: the survivor goes on alone, once, in quarantine; the others are made new."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Way
from patroni_etcd_reconfig.core.recovery.plan_codec import read_plan_document, with_id
from patroni_etcd_reconfig.engine.failpoint import VARIABLE
from patroni_etcd_reconfig.engine.recovery.locks import FileLocks
from tests.integration.recoveries import Scene, scene_of, wait
from tests.integration.tool import Tool, tool_on, wait_for_line

pytestmark = pytest.mark.etcd

KEYS = 20


@pytest.fixture
def scene(tmp_path: Path, etcd_dir: Path) -> Iterator[Scene]:
    """Give a healthy etcd of three members, with a few keys."""
    with tool_on(tmp_path / "lab", etcd_dir) as tool:
        fill(tool)
        yield scene_of(tool)


def fill(tool: Tool) -> None:
    for number in range(KEYS):
        tool.client(1).put(f"/app/{number}", str(number))


def keys(scene: Scene, i: int) -> int:
    return len(scene.tool.client(i).range("/app/", prefix=True).kvs)


def flags_given(scene: Scene, plan: RecoveryPlan) -> int:
    journal = scene.tool.layout.state_dir / "recoveries" / f"{plan.id}.jsonl"
    return journal.read_text().count('"flag_intended":true')


def etcd_log(scene: Scene, i: int) -> str:
    return scene.tool.layout.log(f"etcd-n{i}").read_text()


def test_a_running_survivor_goes_on_alone_and_the_others_are_rebuilt(scene: Scene) -> None:
    scene.kill(2, 3)
    scene.await_no_leader(1)
    plan = scene.plan(1, 2, 3)
    outcome = scene.apply(plan)
    assert outcome.code == 0, outcome.err
    members = scene.tool.members()
    assert sorted(members) == ["n1", "n2", "n3"]
    assert int(members["n1"]["id"], 16) == scene.ids["n1"]
    assert not {scene.ids["n2"], scene.ids["n3"]} & {int(m["id"], 16) for m in members.values()}
    assert scene.tool.client(1).status().cluster_id == scene.cluster_id
    assert [keys(scene, i) for i in (1, 2, 3)] == [KEYS] * 3
    data = scene.tool.layout.root / "data"
    assert len(list(data.glob(f"n[23].*.recover-{plan.id}"))) == 2
    assert (data / f"n1.backup.recover-{plan.id}" / "member" / "wal").is_dir()
    assert "existing" in scene.tool.layout.etcd_env(2).read_text()
    # The flag was for one start: the service does not have it, and throws nobody out when it starts again.
    scene.stop(1)
    scene.start(1)
    wait(lambda: len(scene.tool.client(1).member_list().members) == 3, "n1 to serve")
    assert keys(scene, 2) == KEYS


def test_after_a_power_cut_the_survivor_is_started_without_those_that_are_lost(scene: Scene) -> None:
    scene.kill(1, 2, 3)
    outcome = scene.apply(scene.plan(1, lost=(2, 3), minimum_term=9))
    assert outcome.code == 0, outcome.err
    assert [step["name"] for step in outcome.json["steps"]] == [
        "StopSurvivor",
        "BackUpData",
        "ForceNewCluster",
        "RaiseTerm",
        "OpenToPatroni",
        "VerifyRecovery",
    ]
    status = scene.tool.client(1).status()
    assert status.raft_term >= 9
    assert keys(scene, 1) == KEYS
    assert [m.id for m in scene.tool.client(1).member_list().members] == [scene.ids["n1"]]
    lost = [f for f in outcome.json["findings"] if f["code"] == "RECOVERY_LOST_MEMBER"]
    assert [f["subject"] for f in lost] == ["n2", "n3"]
    assert "patronictl-etcd add n2" in lost[0]["remedy"]
    # What was lost comes back with its old data: it ends by itself, and the survivor does not notice.
    scene.start(2, 3)
    wait(lambda: not scene.is_active(2) and not scene.is_active(3), "the old members to end")
    assert "removed" in etcd_log(scene, 2)
    assert scene.tool.client(1).put("/app/after", "x")
    assert scene.tool.client(1).status().raft_term == status.raft_term


def test_killed_at_every_step_it_goes_on_and_gives_the_flag_once(scene: Scene) -> None:
    scene.kill(2, 3)
    scene.await_no_leader(1)
    plan = scene.plan(1, 2, lost=(3,), rebuild=())
    outcome, said = scene.apply_killed_at_every_step(plan)
    assert outcome.code == 0, outcome.err
    assert "took effect in the earlier run: it is not given again" in said
    assert flags_given(scene, plan) == 1
    assert scene.tool.client(1).status().leader_id == scene.ids["n1"]
    assert keys(scene, 1) == KEYS
    assert scene.apply(plan).json["operation"]["state"] == "done"


def _position(scene: Scene, i: int) -> tuple[int, int, int | None]:
    """Return what must be equal on all members, that none of them is found to be ahead of another."""
    status = scene.tool.client(i).status()
    return status.raft_term, status.raft_applied_index, status.leader_id


def test_resumed_when_etcd_serves_again_it_touches_nobody_and_never_takes_a_copy_that_is_behind(
    scene: Scene,
) -> None:
    scene.kill(2, 3)
    scene.await_no_leader(1)
    plan = scene.plan(1, 2, 3)
    words = ("recover", "apply", str(scene.write(plan)), "--confirm", plan.id, "-f", "json")
    assert scene.tool.run(*words, env={VARIABLE: "intended:FenceMembers"}).code == -signal.SIGKILL
    scene.start(1, 2, 3)
    wait(lambda: scene.tool.client(1).put("/app/later", "x"), "etcd to serve")
    wait(lambda: len({_position(scene, i) for i in (1, 2, 3)}) == 1, "elections to be over")
    outcome = scene.tool.run(*words)
    assert (outcome.code, outcome.json["error"]["code"]) == (3, "MAJORITY_ALIVE")
    assert all(scene.is_active(i) for i in (1, 2, 3))
    scene.stop(1)
    wait(lambda: scene.tool.client(2).put("/app/last", "only n2 and n3 have it"), "etcd to serve")
    scene.stop(2, 3)
    outcome = scene.tool.run(*words)
    assert (outcome.code, outcome.json["error"]["code"]) == (7, "SURVIVOR_CHANGED")
    assert flags_given(scene, plan) == 0


def test_interrupted_in_quarantine_it_leaves_no_etcd_and_goes_on(scene: Scene) -> None:
    scene.kill(2, 3)
    scene.await_no_leader(1)
    plan = scene.plan(1, 2, lost=(3,), rebuild=(), minimum_term=60)
    words = ("recover", "apply", str(scene.write(plan)), "--confirm", plan.id, "-f", "json")
    stopped = scene.tool.run_until("60 or more ...", signal.SIGTERM, *words)
    assert stopped.code == 130, stopped.err
    assert stopped.json["operation"]["state"] == "interrupted"
    assert "recover apply" in stopped.json["error"]["hint"]
    assert not list((scene.tool.layout.state_dir / "quarantine").glob("*.pid"))
    assert not scene.is_active(1)
    outcome = scene.tool.run(*words)
    assert outcome.code == 0, outcome.err
    assert scene.tool.client(1).status().raft_term >= 60
    assert flags_given(scene, plan) == 1


def test_a_service_that_would_give_the_flag_itself_is_refused_while_nothing_is_stopped(scene: Scene) -> None:
    scene.kill(2, 3)
    scene.await_no_leader(1)
    with scene.tool.layout.etcd_env(1).open("a") as file:
        file.write("ETCD_FORCE_NEW_CLUSTER=true\n")
    outcome = scene.apply(scene.plan(1, 2, 3))
    assert (outcome.code, outcome.json["error"]["code"]) == (3, "FLAG_IN_CONFIG")
    assert scene.is_active(1)


def test_a_learner_and_voters_of_five_go(tmp_path: Path, etcd_dir: Path) -> None:
    with tool_on(tmp_path / "lab", etcd_dir) as tool:
        fill(tool)
        tool.plan_node(4)
        added = tool.run("add", "n4", "--learner", "--force", "--accept", "HAZARD_CORRUPTION")
        assert added.code == 0, added.err
        scene = scene_of(tool)
        scene.kill(1, 2, 4)
        scene.await_no_leader(3)
        outcome = scene.apply(scene.plan(3, 1, 4, lost=(2,), rebuild=()))
        assert outcome.code == 0, outcome.err
        assert [m.name for m in tool.client(3).member_list().members] == ["n3"]
        assert keys(scene, 3) == KEYS


def test_it_refuses_while_a_majority_is_alive_and_changes_nothing(scene: Scene) -> None:
    scene.kill(2, 3)
    scene.await_no_leader(1)
    plan = scene.plan(1, 2, 3)
    scene.start(2)
    wait(lambda: scene.tool.client(1).status().leader_id, "a leader")
    outcome = scene.apply(plan)
    assert (outcome.code, outcome.json["error"]["code"]) == (3, "MAJORITY_ALIVE")
    assert outcome.json["operation"]["state"] == "blocked"
    assert scene.is_active(1)
    assert scene.is_active(2)
    assert keys(scene, 2) == KEYS


def test_it_refuses_when_a_member_that_was_declared_lost_runs(scene: Scene) -> None:
    scene.stop(3, 2, 1)  # what is stopped last is ahead
    plan = scene.plan(1, 2, lost=(3,))
    scene.start(3)
    wait(lambda: scene.is_active(3), "n3 to run")
    outcome = scene.apply(plan)
    assert (outcome.code, outcome.json["error"]["code"]) == (3, "LOST_ANSWERS")
    assert scene.is_active(3)


def test_it_refuses_another_data_dir_than_the_plans(scene: Scene) -> None:
    scene.kill(1, 2, 3)
    plan = scene.plan(1, lost=(2, 3))
    inventory = yaml.safe_load(scene.tool.layout.inventory.read_text())
    inventory["etcd"]["members"]["n1"]["data_dir"] = str(scene.tool.layout.etcd_data(2))
    del inventory["etcd"]["members"]["n2"]
    scene.tool.layout.inventory.write_text(yaml.safe_dump(inventory))
    scene.tool.layout.etcd_env(1).write_text(
        scene.tool.layout.etcd_env(1)
        .read_text()
        .replace(str(scene.tool.layout.etcd_data(1)), str(scene.tool.layout.etcd_data(2)))
    )
    outcome = scene.apply(plan)
    assert (outcome.code, outcome.json["error"]["code"]) == (7, "PLAN_OTHER_CLUSTER")


def test_it_refuses_where_a_copy_of_the_data_has_no_room(scene: Scene) -> None:
    scene.kill(1, 2, 3)
    plan = scene.plan(1, lost=(2, 3))
    inventory = yaml.safe_load(scene.tool.layout.inventory.read_text())
    inventory["policy"]["min_free_bytes"] = 2**59
    scene.tool.layout.inventory.write_text(yaml.safe_dump(inventory))
    outcome = scene.apply(plan)
    assert (outcome.code, outcome.json["error"]["code"]) == (3, "DISK_SPACE")
    assert not list((scene.tool.layout.root / "data").glob("n1.backup.*"))


def test_of_two_operators_one_is_told_who_the_other_is(scene: Scene) -> None:
    scene.kill(1, 2, 3)
    plan = scene.plan(1, 2, lost=(3,))
    other = {"host": "db9", "pid": 1, "user": "anna", "operation": "recover-x", "since": "now"}
    for path in (
        scene.tool.layout.state_dir / "recover.lock",
        Path(f"{scene.tool.layout.etcd_data(2)}.recovery-lock"),
    ):
        with FileLocks([path], other):
            outcome = scene.apply(plan)
        assert (outcome.code, outcome.json["error"]["code"]) == (6, "LOCKED")
        assert "anna on db9" in outcome.json["error"]["message"]


def test_nothing_runs_without_the_plans_id(scene: Scene) -> None:
    scene.kill(1, 2, 3)
    plan = scene.plan(1, lost=(2, 3))
    path = str(scene.write(plan))
    for words in ((), ("--confirm", "another")):
        outcome = scene.tool.run("recover", "apply", path, "-f", "json", *words)
        assert (outcome.code, outcome.json["error"]["code"]) == (2, "NOT_CONFIRMED")
        assert plan.id in outcome.json["error"]["hint"]
    assert not scene.is_active(1)


def test_a_dry_run_looks_and_touches_nothing(scene: Scene) -> None:
    scene.kill(2, 3)
    scene.await_no_leader(1)
    path = str(scene.write(scene.plan(1, 2, 3)))
    outcome = scene.tool.run("recover", "apply", path, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert re.search(r"start n1 in quarantine, once with --force-new-cluster", outcome.err)
    assert scene.is_active(1)
    assert not (scene.tool.layout.state_dir / "recoveries").exists()


def test_stopped_members_are_just_started_where_that_is_enough(scene: Scene) -> None:
    scene.stop(1, 2, 3)
    path = scene.tool.layout.root / "planned.json"
    planned = scene.tool.run("recover", "plan", "-o", str(path), "-f", "json")
    assert planned.code == 0, planned.out + planned.err
    plan = read_plan_document(json.loads(path.read_text()))
    assert (plan.way, plan.start) == (Way.START, ("n1", "n2", "n3"))
    outcome, _ = scene.apply_killed_at_every_step(plan)
    assert outcome.code == 0, outcome.err
    assert {step["name"] for step in outcome.json["steps"]} == {"StartNodes", "AwaitQuorum", "VerifyRecovery"}
    assert scene.tool.ids() == scene.ids
    assert keys(scene, 2) == KEYS


def test_a_member_of_another_machine_is_named_and_waited_for(scene: Scene) -> None:
    scene.stop(1, 2, 3)
    plan = with_id(replace(scene.plan(1), way=Way.START, survivor=None, start=("n1", "n2", "n3")))
    scene.tool.forget_node(2)
    scene.tool.forget_node(3)
    words = ("recover", "apply", str(scene.write(plan)), "--confirm", plan.id, "-f", "json")
    with scene.tool.running(*words) as process:
        wait_for_line(process, "n2, n3: not a node that this machine controls: start etcd there")
        scene.start(2, 3)
        out, err = process.communicate(timeout=90)
    assert [step["state"] for step in json.loads(out)["steps"]][:2] == ["done", "done"], err
    assert scene.tool.client(1).status().leader_id


def test_old_members_are_not_started_beside_a_new_cluster(scene: Scene) -> None:
    scene.stop(1, 2, 3)
    start = with_id(replace(scene.plan(1), way=Way.START, survivor=None, start=("n1", "n2")))
    assert scene.apply(scene.plan(3, lost=(1, 2), choices=("--survivor n3",))).code == 0
    outcome = scene.apply(start)
    # Whether n3 answers in time or not: its data tells it, too.
    assert (outcome.code, outcome.json["error"]["code"]) in ((7, "START_OUTDATED"), (3, "START_UNFIT"))
    assert not scene.is_active(1)
    assert not scene.is_active(2)


def test_verify_says_what_a_recovery_has_not_reached(scene: Scene) -> None:
    scene.kill(2, 3)
    scene.await_no_leader(1)
    plan = scene.plan(1, lost=(2, 3))
    path = str(scene.write(plan))
    before = scene.tool.run("recover", "verify", path, "-f", "json")
    assert before.code == 5
    assert "RECOVERY_NO_QUORUM" in {finding["code"] for finding in before.json["findings"]}
    assert scene.tool.run("recover", "apply", path, "--confirm", plan.id).code == 0
    after = scene.tool.run("recover", "verify", path, "-f", "json")
    assert (after.code, after.json["verified"]) == (0, True)
