"""move-data on real etcd: the same member on a copy of its data; killed, resumed, aborted, refused."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.engine.failpoint import VARIABLE
from patroni_etcd_reconfig.lab.processes import running
from tests.integration.etcd_servers import wait_until
from tests.integration.kills import ABORT_MOVE, ACCEPT, MOVE_DATA, SUFFIXES, kill_at, resume
from tests.integration.tool import Outcome, Tool, tool_on

pytestmark = pytest.mark.etcd


@pytest.fixture
def tool(tmp_path: Path, etcd_dir: Path) -> Iterator[Tool]:
    with tool_on(tmp_path, etcd_dir) as made:
        made.plan_node(4)
        made.client(1).put("/kept", "value")
        yield made


def _run(tool: Tool, *words: str) -> Outcome:
    done = tool.run(*words, "--force", "-f", "json", *ACCEPT)
    assert done.code == 0, done.err + done.out
    return done


def _number(name: str) -> int:
    return int(name.removeprefix("n"))


def _healthy(tool: Tool) -> None:
    members = tool.members()
    assert {member["state"] for member in members.values()} == {"healthy"}
    assert len(members) == 3
    assert all(tool.client(_number(name)).range("/kept").kvs[0].value == "value" for name in members)


def _set_data_dir(tool: Tool, name: str, place: Path) -> None:
    """Do what the result asks for: correct the inventory."""
    old = f"data_dir: {tool.layout.etcd_data(_number(name))}\n"
    text = tool.layout.inventory.read_text()
    assert old in text
    tool.layout.inventory.write_text(text.replace(old, f"data_dir: {place}\n"))


def test_the_leader_goes_on_in_another_directory_with_its_id_and_its_data(tool: Tool) -> None:
    before, leader = tool.ids(), tool.leader()
    old, new = tool.layout.etcd_data(_number(leader)), tool.layout.root / "elsewhere" / "data"
    new.parent.mkdir()
    done = _run(tool, "move-data", leader, "--to-dir", str(new))
    assert [step["name"] for step in done.json["steps"]] == [
        *("SaveSnapshot", "TransferLeadership", "StopMember", "CopyData", "FenceOldData"),
        *("StartMoved", "Verify"),
    ]
    assert tool.ids() == before
    assert (new / "member" / "wal").is_dir()
    assert new.stat().st_mode & 0o777 == 0o700
    operation = done.json["operation"]["id"]
    assert (old.parent / f"{old.name}.{before[leader]:x}.{operation}" / "member" / "wal").is_dir()
    assert (old / "member").is_file()  # no etcd starts there
    assert not list(new.parent.glob("*.part"))
    _set_data_dir(tool, leader, new)
    _run(tool, "restart", leader)
    _healthy(tool)


def test_a_member_goes_on_on_another_machine_with_its_id_under_another_name_and_urls(tool: Tool) -> None:
    before = tool.ids()
    done = _run(tool, "move-data", "n1", "--to-host", "n4")
    assert "UpdatePeerUrls" in [step["name"] for step in done.json["steps"]]
    after = tool.members()
    assert set(after) == {"n2", "n3", "n4"}
    assert int(after["n4"]["id"], 16) == before["n1"]
    assert after["n4"]["peer_urls"] == [tool.layout.peer_url(4)]
    assert running(tool.layout.pid_file("etcd-n1")) is None
    _healthy(tool)
    tool.forget_node(1)
    _run(tool, "cycle", "n4")
    _healthy(tool)


@pytest.mark.parametrize("to", ["another node", "another directory"])
def test_the_data_of_a_stopped_member_is_moved_and_it_runs_again(tool: Tool, to: str) -> None:
    before = tool.ids()
    victim = next(name for name in ("n1", "n2") if name != tool.leader())
    assert tool.service(victim, "stop") == 0
    tool.client(3).put("/kept", "newer")
    tool.client(3).put("/kept", "value")
    place = tool.layout.root / "elsewhere"
    words = ("--to-host", "n4") if to == "another node" else ("--to-dir", str(place))
    done = _run(tool, "move-data", victim, *words)
    names = [step["name"] for step in done.json["steps"]]
    assert names[:3] == ["SaveSnapshot", "CopyData", "FenceOldData"]
    after = tool.ids()
    assert sorted(after.values()) == sorted(before.values())
    assert ("n4" in after) == (to == "another node")
    _healthy(tool)


@pytest.mark.parametrize("verb", [("restart",), ("upgrade", "--command", "true")], ids=["restart", "upgrade"])
def test_a_stopped_member_is_restarted_and_upgraded(tool: Tool, verb: tuple[str, ...]) -> None:
    before = tool.ids()
    assert tool.service("n2", "stop") == 0
    _run(tool, verb[0], "n2", *verb[1:])
    assert tool.ids() == before
    _healthy(tool)


@pytest.mark.parametrize("suffix", SUFFIXES, ids=["before", "after"])
@pytest.mark.parametrize("kind", MOVE_DATA.lines)
def test_killed_around_a_step_it_is_resumed(tool: Tool, kind: str, suffix: str) -> None:
    before = tool.ids()
    kill_at(tool, ("move-data", "n1", "--to-host", "n4"), MOVE_DATA.lines[kind], suffix)
    resume(tool)
    assert tool.ids() == {"n2": before["n2"], "n3": before["n3"], "n4": before["n1"]}
    _healthy(tool)


@pytest.mark.parametrize("suffix", SUFFIXES, ids=["before", "after"])
@pytest.mark.parametrize("kind", ["StopMember", "CopyData", "FenceOldData"])
def test_killed_before_the_old_data_is_set_aside_it_can_be_aborted(
    tool: Tool, kind: str, suffix: str
) -> None:
    before = tool.ids()
    kill_at(tool, ("move-data", "n1", "--to-host", "n4"), MOVE_DATA.lines[kind], suffix)
    aborted = tool.run("abort", "--force", "-f", "json", *ACCEPT)
    if (kind, suffix) == ("FenceOldData", ": done"):
        assert (aborted.code, aborted.json["error"]["code"]) == (3, "ONLY_FORWARD")
        resume(tool)
        return
    assert aborted.code == 0, aborted.err + aborted.out
    assert tool.ids() == before
    assert not list(tool.layout.etcd_data(4).glob("*"))
    _healthy(tool)
    _run(tool, "move-data", "n1", "--to-host", "n4")  # nothing of the first attempt stands in the way
    _healthy(tool)


@pytest.mark.parametrize("suffix", SUFFIXES, ids=["before", "after"])
def test_an_abort_that_is_killed_is_finished_by_a_resume(tool: Tool, suffix: str) -> None:
    before = tool.ids()
    kill_at(tool, MOVE_DATA.words, MOVE_DATA.lines["CopyData"], ": done")
    kill_at(tool, ABORT_MOVE.words, ABORT_MOVE.lines["DiscardCopy"], suffix)
    assert resume(tool).json["operation"]["state"] == "aborted"
    assert tool.ids() == before
    _healthy(tool)


def test_a_member_that_somebody_starts_after_the_copy_is_copied_again(tool: Tool) -> None:
    words = ("move-data", "n1", "--to-host", "n4")
    kill_at(tool, words, MOVE_DATA.lines["CopyData"], ": done")
    assert tool.service("n1", "start") == 0
    tool.client(2).put("/kept", "newer")
    tool.client(2).put("/kept", "value")
    resume(tool)
    assert "n4" in tool.ids()
    _healthy(tool)


def _killed_at(tool: Tool, point: str, *words: str) -> None:
    done = tool.run(*words, "--force", *ACCEPT, env={VARIABLE: point})
    assert done.code == -signal.SIGKILL, done.err


@pytest.mark.parametrize("point", ["acted:FenceOldData", "intended:StartMoved"])
@pytest.mark.parametrize("to", [("--to-host", "n4"), ("--to-dir", "{root}/moved")], ids=["host", "dir"])
def test_a_reboot_after_the_old_data_was_set_aside_does_not_start_the_id_without_its_log(
    tool: Tool, to: tuple[str, str], point: str
) -> None:
    """As after the reboot of a machine whose etcd unit is enabled, and whose etcd this tool has made."""
    before, env = tool.ids(), tool.layout.etcd_env(1)
    env.write_text(env.read_text().replace("CLUSTER_STATE=new", "CLUSTER_STATE=existing"))
    _killed_at(tool, point, "move-data", "n1", *(word.format(root=tool.layout.root) for word in to))
    tool.service("n1", "start")
    wait_until(lambda: running(tool.layout.pid_file("etcd-n1")) is None, 10, "etcd to refuse its start")
    resume(tool)
    assert set(tool.ids().values()) == set(before.values())
    _healthy(tool)


def test_the_new_place_can_not_run_as_the_member_before_the_old_one_is_set_aside(tool: Tool) -> None:
    """The reboot of the new machine right after the copy: whatever its etcd does, it is not that member."""
    before = tool.ids()
    kill_at(tool, MOVE_DATA.words, MOVE_DATA.lines["CopyData"], ": done")
    assert not (tool.layout.etcd_data(4) / "member").exists()
    tool.service("n4", "start")
    tool.client(2).put("/kept", "newer")
    tool.client(2).put("/kept", "value")
    tool.service("n4", "stop")
    resume(tool)
    assert tool.ids()["n4"] == before["n1"]
    _healthy(tool)


def test_an_abort_goes_back_though_somebody_has_started_the_member_in_the_same_node(tool: Tool) -> None:
    before = tool.ids()
    new = tool.layout.root / "moved"
    _killed_at(tool, "after:CopyData", "move-data", "n1", "--to-dir", str(new))
    assert tool.service("n1", "start") == 0
    aborted = tool.run("abort", "--force", *ACCEPT)
    assert aborted.code == 0, aborted.err
    assert tool.ids() == before
    assert not new.exists()
    assert not list(new.parent.glob("moved*.part"))
    _healthy(tool)


def test_what_is_not_empty_or_not_a_place_for_data_is_refused(tool: Tool) -> None:
    full = tool.layout.root / "full"
    full.mkdir()
    (full / "file").touch()
    refused = tool.run("move-data", "n1", "--to-dir", str(full), "--force", "-f", "json", *ACCEPT)
    assert refused.code == 3
    assert "TARGET_NOT_EMPTY" in [finding["code"] for finding in refused.json["findings"]]
    for place in ("relative", "/etc", str(tool.layout.etcd_data(2)), str(tool.layout.etcd_data(1) / "x")):
        wrong = tool.run("move-data", "n1", "--to-dir", place, "--force", "-f", "json", *ACCEPT)
        assert (wrong.code, wrong.json["error"]["code"]) == (2, "BAD_DIRECTORY"), place
    taken = tool.run("move-data", "n1", "--to-host", "n2", "--force", "-f", "json", *ACCEPT)
    assert (taken.code, taken.json["error"]["code"]) == (2, "ALREADY_MEMBER")
    _healthy(tool)


def test_a_dry_run_touches_nothing(tool: Tool) -> None:
    before = tool.ids()
    place = str(tool.layout.root / "elsewhere")
    done = _run(tool, "move-data", "n2", "--to-dir", place, "--dry-run")
    assert [step["state"] for step in done.json["steps"]] == ["simulated"] * len(done.json["steps"])
    assert tool.ids() == before
    assert not Path(place).exists()
