"""The whole cycle on real etcd: done, interrupted, killed, resumed, refused."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.adapters.etcd_client import EtcdClient
from patroni_etcd_reconfig.core.model import Member
from patroni_etcd_reconfig.core.steps import Step
from patroni_etcd_reconfig.lab.etcd_only import start_members
from tests.integration.etcd_servers import wait_until
from tests.integration.kills import SCENARIOS
from tests.integration.tool import Tool, tool_on, wait_for_line

pytestmark = pytest.mark.etcd
# Old versions that the tests run on have bugs that the tool refuses to work with.
ACCEPT = ("--accept", "HAZARD_CORRUPTION")


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory, etcd_dir: Path) -> Iterator[Tool]:
    """Give one etcd for all tests: each leaves it healthy, with three voters."""
    with tool_on(tmp_path_factory.mktemp("cycle"), etcd_dir) as made:
        yield made


def _assert_healthy(tool: Tool) -> None:
    etcd = tool.run("status", "-f", "json").json["etcd"]
    assert [(m["name"], m["state"]) for m in etcd["members"]] == [(f"n{i}", "healthy") for i in (1, 2, 3)]
    assert {m["role"] for m in etcd["members"]} == {"leader", "voter"}


def test_a_cycle_replaces_every_member_and_proves_it(tool: Tool) -> None:
    before = tool.ids()
    tool.client(1).put("/kept", "value")
    done = tool.run("cycle", "--force", "-f", "json", *ACCEPT)
    assert done.code == 0, done.err
    after = tool.ids()
    assert sorted(after) == sorted(before)
    assert not set(after.values()) & set(before.values())
    assert [tool.client(i).range("/kept").kvs[0].value for i in (1, 2, 3)] == ["value"] * 3
    _assert_healthy(tool)
    data = done.json
    assert data["format"] == 1
    assert data["operation"]["state"] == "done"
    assert data["error"] is None
    assert {step["state"] for step in data["steps"]} == {"done"}
    assert [step["name"] for step in data["steps"]].count("RemoveMember") == 3
    assert data["measured"]["patroni_leader_changes"] == 0
    assert data["measured"]["dcs_write_gap_max_ms"] > 0


def test_old_data_and_a_verified_snapshot_are_kept(tool: Tool) -> None:
    old = tool.ids()["n2"]
    operation = tool.run("cycle", "n2", "--force", "-f", "json", *ACCEPT).json["operation"]["id"]
    aside = tool.layout.root / "data" / f"n2.{old:x}.{operation}"
    assert (aside / "member" / "wal").is_dir()
    snapshots = list((tool.layout.state_dir / "snapshots").glob(f"*{operation}.db"))
    assert len(snapshots) == 1
    assert snapshots[0].stat().st_mode & 0o777 == 0o600
    assert not list((tool.layout.state_dir / "snapshots").glob("*.part"))


def test_a_dry_run_shows_the_steps_and_touches_nothing(tool: Tool) -> None:
    before, revision = tool.ids(), tool.client(1).range("/x").revision
    done = tool.run("cycle", "--dry-run", "-f", "json", *ACCEPT)
    assert done.code == 0, done.err
    names = [step["name"] for step in done.json["steps"]]
    assert len(names) - names.count("ReaddressMember") == 20  # since etcd 3.6 one for each: test_hiding.py
    assert (tool.ids(), tool.client(1).range("/x").revision) == (before, revision)


def test_without_a_terminal_and_without_force_nothing_is_done(tool: Tool) -> None:
    before = tool.ids()
    refused = tool.run("cycle", *ACCEPT)
    assert refused.code == 2
    assert "--force" in refused.err
    assert tool.ids() == before


def test_ctrl_c_in_the_middle_is_exit_130_and_resumable(tool: Tool) -> None:
    before = tool.ids()
    stopped = tool.run_until(
        "add n1 as a learner ...", signal.SIGINT, "cycle", "n1", "--force", "-f", "json", *ACCEPT
    )
    assert stopped.code == 130, stopped.err
    assert stopped.json["operation"]["state"] == "interrupted"
    assert stopped.json["error"]["hint"].endswith("resume")
    again = tool.run("cycle", "--force", "-f", "json", *ACCEPT)
    assert again.code == 3
    assert again.json["error"]["code"] == "UNFINISHED_OPERATION"
    resumed = tool.run("resume", "--force", "-f", "json", *ACCEPT)
    assert resumed.code == 0, resumed.err
    assert resumed.json["operation"]["id"] == stopped.json["operation"]["id"]
    _assert_healthy(tool)
    assert tool.ids()["n1"] != before["n1"]
    assert tool.run("resume", "--force").err.strip() == "Nothing to resume."


# Where a cycle of the leader says that a step begins: right before it acts.
STEP_LINES = {
    "SaveSnapshot": "save a snapshot",
    "TransferLeadership": "move leadership off",
    "RemoveMember": "remove n",
    "SetDataAside": "set its data aside",
    "AddLearner": "as a learner ...",
    "StartMember": "wait until it joins",
    "PromoteLearner": "when in sync",
    "Verify": "verify the cluster",
    "AwaitSettled": "is settled",
}


def test_every_kind_of_step_is_killed_in_some_test() -> None:
    elsewhere = {"RestartMember"}  # test_membership.py
    elsewhere |= {kind for scenario in SCENARIOS for kind in scenario.lines}
    assert set(STEP_LINES) | elsewhere == {kind.__name__ for kind in Step.__args__}


@pytest.mark.parametrize("suffix", [" ...", ": done"], ids=["before", "after"])
@pytest.mark.parametrize("kind", [kind for kind in STEP_LINES if kind != "AwaitSettled"])
def test_killed_around_a_step_the_operation_can_be_resumed(tool: Tool, kind: str, suffix: str) -> None:
    victim, before = tool.leader(), tool.ids()
    line = STEP_LINES[kind].removesuffix(" ...")
    with tool.running("cycle", victim, "--force", *ACCEPT) as process:
        assert process.stderr is not None
        for said in process.stderr:
            if line in said and suffix in said:
                break
        process.kill()
        process.wait()
    resumed = tool.run("resume", "--force", "-f", "json", *ACCEPT)
    assert resumed.code == 0, resumed.err
    _assert_healthy(tool)
    if "Nothing to resume" not in resumed.err:
        assert tool.ids()[victim] != before[victim]


def test_killed_between_two_members_it_goes_on_with_the_next(tool: Tool) -> None:
    before = tool.ids()
    stopped = tool.run_until("is settled ...", signal.SIGKILL, "cycle", "--force", *ACCEPT)
    assert stopped.code == -signal.SIGKILL
    assert len(set(tool.ids().values()) - set(before.values())) == 1
    resumed = tool.run("resume", "--force", "-f", "json", *ACCEPT)
    assert resumed.code == 0, resumed.err
    assert not set(tool.ids().values()) & set(before.values())


def test_another_host_resumes_from_the_copy_in_etcd(tool: Tool) -> None:
    stopped = tool.run_until("as a learner ...", signal.SIGINT, "cycle", "n3", "--force", *ACCEPT)
    assert stopped.code == 130
    for journal in (tool.layout.state_dir / "operations").glob("*.jsonl"):
        journal.unlink()
    resumed = tool.run("resume", "--force", "-f", "json", *ACCEPT)
    assert resumed.code == 0, resumed.err
    assert resumed.json["operation"]["state"] == "done"
    _assert_healthy(tool)


def test_a_second_operation_is_told_who_holds_the_lock_and_since_when(tool: Tool) -> None:
    with tool.running("cycle", "n1", "--force", *ACCEPT) as first:
        wait_for_line(first, "save a snapshot")
        second = tool.run("cycle", "n2", "--force", "-f", "json", *ACCEPT)
        assert first.wait(60) == 0
    assert second.code in (3, 6)  # before the first change it is the lock, after it the unfinished operation
    assert second.json["error"]["hint"]
    if second.code == 6:
        assert str(first.pid) in second.json["error"]["message"]


def test_a_lock_of_another_host_is_respected(tool: Tool) -> None:
    client = tool.client(1)
    lease = client.grant_lease(60)
    holder = {"host": "other", "pid": 1, "user": "ann", "operation": "op-7", "since": "2026-01-01"}
    client.put_if_absent("/patroni-etcd-reconfig/lock", json.dumps(holder), lease=lease)
    try:
        refused = tool.run("cycle", "--force", "-f", "json", *ACCEPT)
    finally:
        client.revoke_lease(lease)
    assert refused.code == 6
    message = refused.json["error"]["message"]
    assert all(word in message for word in ("ann", "other", "op-7", "2026-01-01"))


def _leading(tool: Tool) -> EtcdClient:
    return next(tool.client(i, 10) for i in (1, 2, 3) if f"n{i}" == tool.leader())


def _when_allowed(call: Callable[[], Member | None]) -> Member | None:
    """etcd refuses changes for 5 s after a member joined: ask again, as a human would."""
    found: list[Member | None] = []

    def attempt() -> bool:
        found.append(call())
        return True

    wait_until(attempt, 15, "etcd to allow the change")
    return found[0]


def test_a_member_that_a_human_adds_in_the_middle_is_noticed_and_refused(tool: Tool) -> None:
    url = tool.layout.peer_url(3).replace(".3:", ".9:")
    with tool.running("cycle", "--force", "-f", "json", *ACCEPT) as process:
        wait_for_line(process, "is settled ...")
        process.send_signal(signal.SIGSTOP)
        foreign = _when_allowed(lambda: _leading(tool).add_learner((url,)))
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
    assert foreign is not None
    assert process.returncode == 7, err
    assert "MEMBERSHIP_CHANGED" in out
    _leading(tool).remove_member(foreign.id)
    resumed = tool.run("resume", "--force", *ACCEPT)
    assert resumed.code == 0, resumed.err
    _assert_healthy(tool)


def _tolerance(tool: Tool) -> int:
    tolerance: int = tool.run("status", "-f", "json").json["etcd"]["failure_tolerance"]
    return tolerance


def test_a_dead_member_blocks_the_cycle_of_another(tool: Tool) -> None:
    inventory = tool.layout.inventory.read_text()
    tool.layout.inventory.write_text(inventory + "  gate_timeout: 3.0\n")
    os.kill(tool.etcd_pid(2), signal.SIGKILL)
    try:
        wait_until(lambda: _tolerance(tool) == 0, 10, "the two others to go on")
        refused = tool.run("cycle", "n1", "--force", "-f", "json", "--accept", "MEMBER_UNHEALTHY", *ACCEPT)
    finally:
        start_members(tool.layout)
        tool.layout.inventory.write_text(inventory)
    assert refused.code == 3
    assert refused.json["error"]["code"] in ("NO_QUORUM_AFTER", "PREFLIGHT")
    assert all(finding["remedy"] for finding in refused.json["findings"])
