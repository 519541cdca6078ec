"""`restore`: a new etcd from a snapshot file, when no member's data is left; on real servers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from patroni_etcd_reconfig.adapters.data_dir import read_data_dir
from patroni_etcd_reconfig.adapters.inventory import load as load_inventory
from patroni_etcd_reconfig.adapters.restore_tool import find_tool
from patroni_etcd_reconfig.adapters.snapshot_file import read_snapshot
from patroni_etcd_reconfig.adapters.snapshot_restore import BUMP, restore
from patroni_etcd_reconfig.core.findings import Severity
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.core.recovery.plan_codec import with_id
from patroni_etcd_reconfig.core.recovery.restoring import Wish, plan_restore
from patroni_etcd_reconfig.engine.failpoint import VARIABLE
from patroni_etcd_reconfig.errors import ConfigError
from tests.integration.recoveries import Scene, scene_of, wait
from tests.integration.tool import Outcome, Tool, tool_on

pytestmark = pytest.mark.etcd

KEYS = 20


@pytest.fixture(scope="module", autouse=True)
def _can_restore(etcd_dir: Path) -> None:
    try:
        find_tool(str(etcd_dir / "etcd"))
    except ConfigError as error:
        pytest.skip(error.message)


@pytest.fixture
def scene(tmp_path: Path, etcd_dir: Path) -> Iterator[Scene]:
    """Give an etcd of three members with a snapshot in `<root>/snapshot.db`, and a few keys after it."""
    with tool_on(tmp_path / "lab", etcd_dir) as tool:
        accept(tool, "HAZARD_CORRUPTION")  # of an old version that the tests run on
        client = tool.client(1)
        for number in range(KEYS):
            client.put(f"/app/{number}", str(number))
        assert tool.run("snapshot", "-o", str(snapshot(tool))).code == 0
        client.put("/app/later", "lost with the restore")
        yield scene_of(tool)


def accept(tool: Tool, code: str) -> None:
    inventory = yaml.safe_load(tool.layout.inventory.read_text())
    inventory["policy"] = {**inventory.get("policy", {}), "accept": [code]}
    tool.layout.inventory.write_text(yaml.safe_dump(inventory, sort_keys=False))


def snapshot(tool: Tool) -> Path:
    return tool.layout.root / "snapshot.db"


def plan(scene: Scene, *words: str) -> Outcome:
    path = str(scene.tool.layout.root / "plan.json")
    file = str(snapshot(scene.tool))
    return scene.tool.run("restore", file, "--node", "n1", "-o", path, "-f", "json", *words)


def codes(outcome: Outcome) -> list[str]:
    return [finding["code"] for finding in outcome.json["findings"] if finding["severity"] == "blocker"]


def planned(scene: Scene) -> RecoveryPlan:
    """Return the plan: there is no Patroni here, which is all that may stand in its way."""
    file = read_snapshot(snapshot(scene.tool), "/service")
    plan, findings = plan_restore(scene.evidence(), file, Wish("n1"), time.time())
    assert {one.code for one in findings if one.severity is Severity.BLOCKER} == {"RESTORE_NO_KEYS"}
    return with_id(replace(plan, scopes=()))


def test_all_members_come_back_with_the_snapshot_s_data_and_a_new_cluster_id(scene: Scene) -> None:
    scene.kill(1, 2, 3)
    plan = planned(scene)
    outcome = scene.apply(plan)
    assert outcome.code == 0, outcome.err
    members = {m.name: m.id for m in scene.tool.client(1).member_list().members}
    assert set(members) == {"n1", "n2", "n3"}
    assert not set(members.values()) & set(scene.ids.values())
    assert scene.tool.client(1).status().cluster_id == plan.cluster_id != scene.cluster_id
    for i in (1, 2, 3):
        names = {kv.key for kv in scene.tool.client(i).range("/app/", prefix=True).kvs}
        assert len(names) == KEYS
        assert "/app/later" not in names
    data = scene.tool.layout.root / "data"
    assert len(list(data.glob(f"n[123].*.recover-{plan.id}"))) == 3  # all old data is set aside
    assert not list(data.glob("*.part")) + list(data.glob("*.restored.*"))


def test_the_revision_goes_forward_where_the_tool_can_do_that(scene: Scene, etcd_dir: Path) -> None:
    revision = scene.tool.client(1).range("/app/later").revision
    scene.kill(1, 2, 3)
    assert scene.apply(planned(scene)).code == 0
    found = scene.tool.client(1).range("/app/", prefix=True).revision
    if find_tool(str(etcd_dir / "etcd")).bumps:
        assert found >= BUMP + revision - 1
    else:
        assert found < BUMP


def test_killed_at_every_step_a_restore_goes_on(scene: Scene) -> None:
    scene.kill(1, 2, 3)
    plan = replace(planned(scene), rebuild=())
    plan = with_id(plan)
    outcome, _ = scene.apply_killed_at_every_step(plan)
    assert outcome.code == 0, outcome.err
    assert len(scene.tool.client(1).range("/app/", prefix=True).kvs) == KEYS
    assert scene.tool.client(1).status().cluster_id == plan.cluster_id


def test_a_restore_is_refused_while_etcd_serves(scene: Scene) -> None:
    outcome = plan(scene)
    assert outcome.code == 3
    assert "RESTORE_QUORUM_SERVES" in codes(outcome)
    assert not (scene.tool.layout.root / "plan.json").exists()


def test_members_out_of_sight_must_be_declared_lost(scene: Scene) -> None:
    scene.stop(3, 2, 1)  # after a kill, a database may not have the names yet
    scene.tool.forget_node(3)
    outcome = plan(scene)
    assert "RECOVERY_NOT_FENCED" in codes(outcome)
    assert "RECOVERY_NOT_FENCED" not in codes(plan(scene, "--lost", "n3"))
    assert "RECOVERY_LOST_WRONG" in codes(plan(scene, "--lost", "n3", "--lost", "n2"))


def test_newer_data_that_is_sound_is_told(scene: Scene) -> None:
    scene.stop(3, 2, 1)
    told = {f["subject"] for f in plan(scene).json["findings"] if f["code"] == "RESTORE_NEWER_DATA"}
    assert "n1" in told


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty", "missing"])
def test_a_file_that_is_no_sound_snapshot_is_refused(scene: Scene, damage: str) -> None:
    path = snapshot(scene.tool)
    content = bytearray(path.read_bytes())
    half = bytes(content[: len(content) // 2 + 77])
    content[len(content) // 2] ^= 1
    harm = {"cut": half, "flipped": bytes(content), "text": b"hello" * 999, "empty": b""}
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(harm[damage])
    outcome = plan(scene)
    assert outcome.code == 2
    assert outcome.json["error"]["code"] == "SNAPSHOT_UNFIT"


def test_a_raw_database_needs_to_be_asked_for(scene: Scene) -> None:
    scene.stop(3, 2, 1)
    data = read_data_dir(scene.tool.layout.root / "data" / "n1", None, "/service")
    assert data is not None
    shutil.copy(Path(data.path) / "member" / "snap" / "db", snapshot(scene.tool))
    assert "RESTORE_RAW" in codes(plan(scene))
    assert "RESTORE_RAW" not in codes(plan(scene, "--raw-database"))


def test_a_snapshot_without_patroni_s_keys_is_that_of_another_etcd(scene: Scene) -> None:
    scene.kill(1, 2, 3)
    assert "RESTORE_NO_KEYS" in codes(plan(scene))


def test_a_file_that_was_exchanged_after_planning_is_not_restored(scene: Scene) -> None:
    scene.kill(1, 2, 3)
    plan = planned(scene)
    with snapshot(scene.tool).open("ab") as file:
        file.write(b"x")
    outcome = scene.apply(plan)
    assert outcome.code == 4
    assert outcome.json["error"]["code"] == "RESTORE"
    assert "is not the file that the plan was made for" in outcome.json["error"]["message"]
    assert [step["name"] for step in outcome.json["steps"]] == ["CheckSnapshot"]  # nothing was stopped


def test_a_separate_wal_dir_is_filled_and_a_killed_run_goes_on_from_any_half(
    scene: Scene, etcd_dir: Path, tmp_path: Path
) -> None:
    scene.kill(1, 2, 3)
    plan = planned(scene)
    assert plan.survivor
    config = replace(
        load_inventory(str(scene.tool.layout.inventory), "").nodes["n1"],
        data_dir=str(tmp_path / "data"),
        wal_dir=str(tmp_path / "wal"),
    )
    tool = find_tool(str(etcd_dir / "etcd"))
    half = tmp_path / "data.op.part" / "member"
    half.mkdir(parents=True)
    restore(config, tool, plan, "op")
    for undo in ((), ("data",), ("data", "wal")):  # back to what a kill between the renames leaves
        for name in undo:
            (tmp_path / name).rename(tmp_path / f"{name}.op")
        restore(config, tool, plan, "op")
        found = read_data_dir(tmp_path / "data", tmp_path / "wal", "/service")
        assert found is not None
        assert (found.cluster_id, found.member_id) == (plan.cluster_id, plan.survivor.member_id)
        assert found.problems == ()
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != "lab") == ["data", "wal"]


def test_what_the_snapshot_cannot_know_is_dropped_before_patroni_sees_it(scene: Scene) -> None:
    kept, dropped = ("config", "initialize"), ("leader", "members/pg1", "failover", "status", "failsafe")
    for name in (*kept, *dropped):
        scene.tool.client(1).put(f"/service/old/{name}", "{}")
    snapshot(scene.tool).unlink()
    assert scene.tool.run("snapshot", "-o", str(snapshot(scene.tool))).code == 0
    scene.kill(1, 2, 3)
    file = read_snapshot(snapshot(scene.tool), "/service")
    made, _ = plan_restore(scene.evidence(), file, Wish("n1"), time.time())
    assert set(dropped) <= set(next(one for one in made.scopes if one.scope == "old").stale)
    outcome = scene.apply(with_id(replace(made, scopes=(), rebuild=())))
    assert outcome.code == 0, outcome.err
    names = {kv.key for kv in scene.tool.client(1).range("/service/old/", prefix=True).kvs}
    assert names == {f"/service/old/{name}" for name in kept}


def test_old_members_that_come_back_do_not_join_it(scene: Scene) -> None:
    scene.kill(1, 2, 3)
    made = planned(scene)
    lost = tuple(replace(one, lost=one.node != "n1") for one in made.fence)
    for i in (2, 3):
        scene.tool.forget_node(i)
    outcome = scene.apply(with_id(replace(made, fence=lost, rebuild=())))
    assert outcome.code == 0, outcome.err
    told = [f for f in outcome.json["findings"] if f["code"] == "RECOVERY_LOST_MEMBER"]
    assert [f["subject"] for f in told] == ["n2", "n3"]
    assert "beside the new one" in told[0]["detail"]
    scene.start(2, 3)
    wait(lambda: scene.tool.client(2).status().leader_id, "the old members to find each other")
    assert scene.tool.client(2).status().cluster_id == scene.cluster_id
    assert [member.name for member in scene.tool.client(1).member_list().members] == ["n1"]
    assert scene.tool.client(1).put("/app/new", "x")
    assert scene.tool.client(2).range("/app/new").kvs == ()


@pytest.mark.parametrize("place", ["wal-n1", "data/n1/wal"])
def test_with_a_log_directory_of_its_own_it_gets_that_back(scene: Scene, place: str) -> None:
    scene.stop(1, 2, 3)
    data, wal = scene.tool.layout.etcd_data(1), scene.tool.layout.root / place
    (data / "member" / "wal").rename(wal)
    data.chmod(0o750)
    inventory = yaml.safe_load(scene.tool.layout.inventory.read_text())
    inventory["etcd"]["members"]["n1"]["wal_dir"] = str(wal)
    scene.tool.layout.inventory.write_text(yaml.safe_dump(inventory))
    env = scene.tool.layout.etcd_env(1)
    env.write_text(f"{env.read_text()}ETCD_WAL_DIR={wal}\n")
    outcome = scene.apply(with_id(replace(planned(scene), rebuild=())))
    assert outcome.code == 0, outcome.err
    assert list(wal.glob("*.wal"))
    assert not (data / "member" / "wal").exists()
    assert data.stat().st_mode & 0o777 == 0o750
    assert len(scene.tool.client(1).range("/app/", prefix=True).kvs) == KEYS


def test_once_it_has_begun_only_its_own_plan_leads_on(scene: Scene) -> None:
    scene.kill(1, 2, 3)
    one = with_id(replace(planned(scene), rebuild=()))
    words = ("recover", "apply", str(scene.write(one)), "--confirm", one.id, "-f", "json")
    assert scene.tool.run(*words, env={VARIABLE: "acted:3"}).code == -9
    other = with_id(replace(one, made_at=one.made_at + 1))
    assert scene.apply(other).json["error"]["code"] == "UNFINISHED_RECOVERY"
    scene.write(one)
    assert scene.tool.run(*words).code == 0


def test_a_file_in_a_data_dir_and_a_small_disk_are_refused(scene: Scene) -> None:
    scene.kill(1, 2, 3)
    inside = scene.tool.layout.etcd_data(2) / "snapshot.db"
    shutil.copy(snapshot(scene.tool), inside)
    inventory = yaml.safe_load(scene.tool.layout.inventory.read_text())
    inventory["policy"]["min_free_bytes"] = 2**59
    scene.tool.layout.inventory.write_text(yaml.safe_dump(inventory))
    outcome = scene.tool.run("restore", str(inside), "-f", "json")
    assert outcome.code == 3
    assert {"RESTORE_FILE_INSIDE", "DISK_SPACE"} <= set(codes(outcome))
    assert outcome.json["plan"]["survivor"]["node"] == "n1"


def test_a_tool_of_another_version_is_none(scene: Scene, tmp_path: Path, etcd_dir: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(etcd_dir / "etcd", other / "etcd")
    says = "etcdutl version: 3.3.9 --data-dir --initial-cluster-token"
    (other / "etcdutl").write_text(f"#!/bin/sh\necho {says}\n")
    (other / "etcdutl").chmod(0o755)
    inventory = yaml.safe_load(scene.tool.layout.inventory.read_text())
    inventory["etcd"]["defaults"]["etcd"] = str(other / "etcd")
    scene.tool.layout.inventory.write_text(yaml.safe_dump(inventory))
    outcome = scene.tool.run("restore", str(snapshot(scene.tool)), "-f", "json", env={"PATH": "/nowhere"})
    assert (outcome.code, outcome.json["error"]["code"]) == (2, "RESTORE_TOOL_MISSING")
    assert "version 3.3" in outcome.json["error"]["message"]
