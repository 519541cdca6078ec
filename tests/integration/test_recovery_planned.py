"""Majority lost, from `recover plan` to `recover apply`, on real etcd: who goes on, and with what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patroni_etcd_reconfig.lab.layout import NODES, Layout
from patroni_etcd_reconfig.lab.up import run_service
from tests.integration.tool import Outcome, Tool, tool_on
from tests.nets import free_net

pytestmark = pytest.mark.etcd

# Old versions that the tests run on have bugs that the tool refuses to work with.
ACCEPT = ("--accept", "HAZARD_CORRUPTION")


@pytest.fixture
def tool(tmp_path: Path, etcd_dir: Path) -> Iterator[Tool]:
    with tool_on(tmp_path / "lab", etcd_dir) as made:
        yield made


def service(tool: Tool, verb: str, *numbers: int) -> None:
    for i in numbers:
        run_service(tool.layout, f"n{i}", verb)


def fill(tool: Tool, begin: int, end: int) -> None:
    for number in range(begin, end):
        tool.client(1).put(f"/app/{number}", str(number))


def lose(tool: Tool, *numbers: int) -> None:
    service(tool, "stop", *numbers)
    for i in numbers:
        tool.layout.etcd_data(i).rename(tool.layout.root / f"lost disk {i}")


def planned(tool: Tool, *words: str) -> dict[str, Any]:
    made = tool.run("recover", "plan", "-o", str(tool.layout.root / "plan.json"), "-f", "json", *words)
    assert made.code == 0, made.out + made.err
    plan: dict[str, Any] = made.json["plan"]
    return plan


def applied(tool: Tool, plan: dict[str, Any]) -> Outcome:
    path = str(tool.layout.root / "plan.json")
    done = tool.run("recover", "apply", path, "--confirm", plan["id"], "-f", "json", seconds=200)
    assert done.code == 0, done.out + done.err
    return done


def keys(tool: Tool, i: int) -> set[str]:
    return {kv.value for kv in tool.client(i).range("/app/", prefix=True).kvs}


def test_of_five_with_three_lost_the_most_advanced_of_the_others_goes_on(tool: Tool) -> None:
    for i in (4, 5):
        tool.plan_node(i)
    added = tool.run("add", "n4", "n5", "--force", "-f", "json", *ACCEPT)
    assert added.code == 0, added.err
    fill(tool, 0, 10)
    service(tool, "stop", 5)  # from here on its data is stale
    fill(tool, 10, 30)
    lose(tool, 1, 2, 3)
    service(tool, "start", 5)  # listens, and serves nobody: it has no quorum
    before = tool.layout.etcd_data(4)
    plan = planned(tool)
    assert plan["survivor"]["node"] == "n4"
    assert sorted(fence["node"] for fence in plan["fence"]) == ["n1", "n2", "n3", "n5"]
    applied(tool, plan)
    assert before.is_dir()
    etcd = json.loads(tool.run("status", "-f", "json").out)["etcd"]
    assert [(m["name"], m["state"]) for m in etcd["members"]] == [(f"n{i}", "healthy") for i in range(1, 6)]
    assert all(keys(tool, i) == {str(number) for number in range(30)} for i in range(1, 6))


def test_when_all_machines_have_new_addresses_etcd_comes_back_at_these(tool: Tool) -> None:
    fill(tool, 0, 10)
    service(tool, "stop", *NODES)
    old, new = f"127.0.{tool.layout.net}.", free_net()
    layout = tool.layout
    for path in (layout.inventory, layout.patroni_file, *map(layout.etcd_env, NODES)):
        path.write_text(path.read_text().replace(old, f"127.0.{new}."))
    moved = Tool(Layout(layout.root, new))
    stopped = moved.run("recover", "plan", "-f", "json").json
    assert "RECOVERY_NEW_ADDRESS" in [finding["code"] for finding in stopped["findings"]]
    service(moved, "start", *NODES)
    applied(moved, planned(moved))
    members = moved.members()
    assert [m["peer_urls"] for m in members.values()] == [[moved.layout.peer_url(i)] for i in NODES]
    assert all(keys(moved, i) == {str(number) for number in range(10)} for i in NODES)


def test_a_patroni_cluster_that_is_gone_does_not_keep_etcd_down(tool: Tool) -> None:
    for name, value in (("initialize", "7"), ("config", "{}"), ("history", "[]"), ("leader", "pg1")):
        tool.client(1).put(f"/service/old/{name}", value)
    fill(tool, 0, 10)
    service(tool, "stop", 1)
    lose(tool, 2, 3)
    blocked = tool.run("recover", "plan", "-f", "json")
    assert blocked.json["error"]["code"] == "PG_NOBODY"
    assert "--without-leader old" in blocked.json["error"]["hint"]
    done = applied(tool, planned(tool, "--without-leader", "old"))
    assert [step["name"] for step in done.json["steps"]][-2:] == ["RebuildMembers", "VerifyRecovery"]
    assert keys(tool, 3) == {str(number) for number in range(10)}
    left = {kv.key.rpartition("/")[2] for kv in tool.client(3).range("/service/old/", prefix=True).kvs}
    assert left == {"initialize", "config", "history"}
