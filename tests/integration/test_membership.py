"""Every change of membership on real etcd: replace, add, remove, promote, apply."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.errors import EtcdError
from patroni_etcd_reconfig.lab.processes import running
from tests.integration.etcd_servers import wait_until
from tests.integration.tool import Outcome, Tool, tool_on, wait_for_line

pytestmark = pytest.mark.etcd
ACCEPT = ("--accept", "HAZARD_CORRUPTION")


@pytest.fixture
def tool(tmp_path: Path, etcd_dir: Path) -> Iterator[Tool]:
    """Give a fresh etcd of n1 to n3, with n4 and n5 as further machines."""
    with tool_on(tmp_path, etcd_dir) as made:
        made.plan_node(4)
        made.plan_node(5)
        yield made


def _run(tool: Tool, *words: str) -> Outcome:
    done = tool.run(*words, "--force", "-f", "json", *ACCEPT)
    assert done.code == 0, done.err + done.out
    assert done.json["operation"]["state"] == "done"
    return done


def _roles(tool: Tool) -> dict[str, str]:
    return {name: member["role"] for name, member in tool.members().items()}


def _voters(tool: Tool) -> set[str]:
    members = tool.members()
    assert {member["state"] for member in members.values()} == {"healthy"}
    return {name for name, member in members.items() if member["role"] in ("leader", "voter")}


def _runs(tool: Tool, i: int) -> bool:
    return running(tool.layout.pid_file(f"etcd-n{i}")) is not None


def test_a_healthy_leader_is_replaced_by_another_machine_without_losing_tolerance(tool: Tool) -> None:
    victim = tool.leader()
    done = _run(tool, "replace", victim, "--by", "n4")
    # Since 3.6 it hides as a learner, and gets its own URL afterwards: test_hiding.py.
    names = [step["name"] for step in done.json["steps"] if step["name"] != "ReaddressMember"]
    assert names == [
        "SaveSnapshot",
        *("AddLearner", "StartMember", "PromoteLearner", "AwaitSettled"),
        *("TransferLeadership", "RemoveMember", "SetDataAside", "Verify"),
    ]
    assert _voters(tool) == {"n1", "n2", "n3", "n4"} - {victim}
    assert not _runs(tool, int(victim[1:]))


def test_a_dead_member_is_replaced_by_another_machine_by_removing_it_first(tool: Tool) -> None:
    os.kill(tool.etcd_pid(3), signal.SIGKILL)
    wait_until(lambda: sum(m["state"] == "healthy" for m in tool.members().values()) == 2, 10, "a quorum")
    done = _run(tool, "replace", "n3", "--by", "n5")
    names = [step["name"] for step in done.json["steps"]]
    assert names.index("RemoveMember") < names.index("AddLearner")
    assert _voters(tool) == {"n1", "n2", "n5"}


def test_a_dead_member_with_lost_data_is_replaced_in_place(tool: Tool) -> None:
    old = tool.ids()["n2"]
    os.kill(tool.etcd_pid(2), signal.SIGKILL)
    wait_until(lambda: sum(m["state"] == "healthy" for m in tool.members().values()) == 2, 10, "a quorum")
    tool.layout.etcd_data(2).rename(tool.layout.root / "lost")
    _run(tool, "replace", "n2")
    assert _voters(tool) == {"n1", "n2", "n3"}
    assert tool.ids()["n2"] != old


def _moved(tool: Tool, i: int) -> tuple[str, str]:
    return (
        tool.layout.peer_url(i).replace(":2380", ":2390"),
        tool.layout.client_url(i).replace(":2379", ":2389"),
    )


def test_a_member_gets_other_urls_on_its_own_machine_and_its_file_listens_there(tool: Tool) -> None:
    peer, client = _moved(tool, 2)
    words = ("replace", "n2", "--peer-url", peer, "--client-url", client)
    done = _run(tool, *words)
    assert "INVENTORY_OUTDATED" in [finding["code"] for finding in done.json["findings"]]
    assert "hosts" in done.err
    assert _voters(tool) == {"n1", "n2", "n3"}
    member = tool.members()["n2"]
    assert (member["peer_urls"], member["client_urls"]) == ([peer], [client])
    config = tool.layout.etcd_env(2).read_text()
    assert f"ETCD_LISTEN_PEER_URLS={peer}" in config
    assert f"ETCD_LISTEN_CLIENT_URLS={client}" in config


def test_the_machine_is_found_by_its_host_and_a_killed_move_of_urls_is_resumed(tool: Tool) -> None:
    peer, client = _moved(tool, 4)
    words = ("replace", "n1", "--host", tool.layout.address(4), "--peer-url", peer, "--client-url", client)
    stopped = tool.run_until("start n4, wait until it joins ...", signal.SIGKILL, *words, "--force", *ACCEPT)
    assert stopped.code == -signal.SIGKILL
    resumed = tool.run("resume", "--force", "-f", "json", *ACCEPT)
    assert resumed.code == 0, resumed.err
    assert _voters(tool) == {"n2", "n3", "n4"}
    assert tool.members()["n4"]["client_urls"] == [client]


def test_places_that_can_not_be_meant_are_refused_with_the_way_to_say_it(tool: Tool) -> None:
    before, taken = tool.ids(), tool.layout.peer_url(2)
    cases = {
        ("--by", "n4", "--host", tool.layout.address(4)): "CONFIG",
        ("--host", "127.0.0.9"): "UNKNOWN_NODE",
        ("--peer-url", taken): "ALREADY_MEMBER",
        ("--client-url", tool.layout.client_url(3)): "ALREADY_MEMBER",
        ("--by", "n2"): "ALREADY_MEMBER",
        ("--by", "n2", "--peer-url", _moved(tool, 2)[0]): "ALREADY_MEMBER",
        ("--peer-url", "127.0.0.1:2380"): "USAGE",
    }
    for words, code in cases.items():
        refused = tool.run("replace", "n1", *words, "--force", "-f", "json")
        assert (refused.code, refused.json["error"]["code"]) == (2, code), words
        assert refused.json["error"]["hint"]
    assert tool.ids() == before


def test_three_become_five_and_three_again_and_the_leader_may_go(tool: Tool) -> None:
    _run(tool, "apply")
    assert _voters(tool) == {"n1", "n2", "n3", "n4", "n5"}
    leader = tool.leader()
    other = next(name for name in ("n4", "n5") if name != leader)
    _run(tool, "remove", leader, other)
    assert _voters(tool) == {"n1", "n2", "n3", "n4", "n5"} - {leader, other}


def test_apply_with_nothing_to_do_changes_nothing(tool: Tool) -> None:
    tool.forget_node(4)
    tool.forget_node(5)
    before = tool.ids()
    done = _run(tool, "apply")
    assert not {step["name"] for step in done.json["steps"]} & {"RemoveMember", "AddLearner"}
    assert tool.ids() == before


def test_an_inventory_of_one_machine_never_removes_the_others(tool: Tool) -> None:
    before = tool.ids()
    for i in (2, 3, 4, 5):
        tool.forget_node(i)
    for more in ((), ("--accept", "TOO_FEW_VOTERS")):
        refused = tool.run("apply", "--force", "-f", "json", *more, *ACCEPT)
        assert refused.code == 3, refused.err
        assert "INVENTORY_PARTIAL" in [finding["code"] for finding in refused.json["findings"]]
    vouched = tool.run("apply", "--force", "-f", "json", "--accept", "INVENTORY_PARTIAL", *ACCEPT)
    assert (vouched.code, vouched.json["error"]["code"]) == (2, "NOT_ACCEPTABLE")
    assert tool.ids() == before


def test_a_learner_stays_one_until_it_is_promoted(tool: Tool) -> None:
    _run(tool, "add", "n4", "--learner")
    assert _roles(tool)["n4"] == "learner"
    refused = tool.run("add", "n5", "--force", "-f", "json", *ACCEPT)
    assert refused.code == 3
    assert "LEARNER_PRESENT" in [finding["code"] for finding in refused.json["findings"]]
    _run(tool, "promote", "n4")
    assert _roles(tool)["n4"] in ("voter", "leader")
    again = tool.run("promote", "n4", "--force", "-f", "json")
    assert (again.code, again.json["error"]["code"]) == (2, "NOT_A_LEARNER")


def test_an_added_machine_with_a_wrong_peer_url_is_stopped_and_can_be_taken_back(tool: Tool) -> None:
    wrong = tool.layout.peer_url(4).replace(":2380", ":2399")
    inventory = tool.layout.inventory.read_text().replace(tool.layout.peer_url(4), wrong)
    tool.layout.inventory.write_text(inventory + "  step_timeout: 5.0\n  learner_stall: 3.0\n")
    config = tool.layout.etcd_env(4)
    kept = [line for line in config.read_text().splitlines() if "ADVERTISE_PEER" not in line]
    config.write_text("\n".join(kept) + "\n")  # so that where it listens does not follow
    failed = tool.run("add", "n4", "--force", "-f", "json", *ACCEPT)
    assert failed.code == 4
    assert failed.json["error"]["code"] in ("LEARNER_STALLED", "WAIT_TIMEOUT")
    assert "peer URL" in failed.json["error"]["message"]
    if failed.json["operation"]["state"] != "aborted":  # it never joined: it may only be slow
        assert tool.members()["n4"]["role"] == "learner"
        assert tool.run("abort", "--force", *ACCEPT).code == 0
    assert "n4" not in tool.members()
    assert {m["state"] for m in tool.members().values() if m["role"] != "learner"} == {"healthy"}


def test_a_learner_whose_process_stopped_is_removed_again_and_quorum_is_intact(tool: Tool) -> None:
    text = tool.layout.inventory.read_text()
    tool.layout.inventory.write_text(text + "  learner_stall: 2.0\n  gate_timeout: 2.0\n")
    with tool.running("add", "n4", "--force", "-f", "json", *ACCEPT) as process:
        wait_for_line(process, "start n4, wait until it joins: done")
        process.send_signal(signal.SIGSTOP)  # so that it can't be promoted before it hangs
        with tool.frozen(4):
            process.send_signal(signal.SIGCONT)
            wait_for_line(process, "stop n4, set its data aside ...")
        out, err = process.communicate(timeout=60)
    stopped = Outcome(process.returncode, out, err)
    assert (stopped.code, stopped.json["error"]["code"]) == (4, "LEARNER_STALLED"), err
    assert stopped.json["operation"]["state"] == "aborted"
    assert "n4 is not added; to add it: patronictl-etcd add n4" in stopped.json["error"]["hint"]
    assert _voters(tool) == {"n1", "n2", "n3"}
    assert not _runs(tool, 4)
    assert tool.run("resume", "--force").err.strip() == "Nothing to resume."
    tool.layout.inventory.write_text(text)
    _run(tool, "add", "n4")
    assert _voters(tool) == {"n1", "n2", "n3", "n4"}


def test_a_removal_below_the_minimum_is_refused(tool: Tool) -> None:
    refused = tool.run("remove", "n1", "--force", "-f", "json", *ACCEPT)
    assert refused.code == 3
    assert "TOO_FEW_VOTERS" in [finding["code"] for finding in refused.json["findings"]]


def test_an_unknown_machine_is_named_with_what_to_write_in_the_inventory(tool: Tool) -> None:
    refused = tool.run("replace", "n1", "--by", "n9", "--force", "-f", "json")
    assert (refused.code, refused.json["error"]["code"]) == (2, "UNKNOWN_NODE")
    assert "peer_url" in refused.json["error"]["hint"]


def test_killed_in_the_middle_of_a_move_it_is_resumed(tool: Tool) -> None:
    stopped = tool.run_until(
        "promote n4 when in sync ...", signal.SIGKILL, "replace", "n1", "--by", "n4", "--force", *ACCEPT
    )
    assert stopped.code == -signal.SIGKILL
    resumed = tool.run("resume", "--force", "-f", "json", *ACCEPT)
    assert resumed.code == 0, resumed.err
    assert _voters(tool) == {"n2", "n3", "n4"}


def test_a_rolling_restart_keeps_ids_and_data_and_touches_the_leader_last(tool: Tool) -> None:
    before, leader = tool.ids(), tool.leader()
    pids = {i: tool.etcd_pid(i) for i in (1, 2, 3)}
    tool.client(1).put("/kept", "value")
    done = _run(tool, "restart")
    restarted = [step["subject"] for step in done.json["steps"] if step["name"] == "RestartMember"]
    assert restarted[-1] == leader
    assert tool.ids() == before
    assert all(tool.etcd_pid(i) != pids[i] for i in pids)
    assert tool.client(2).range("/kept").kvs[0].value == "value"


@pytest.mark.parametrize("suffix", [" ...", ": done"], ids=["before", "after"])
def test_killed_around_a_restart_it_is_resumed(tool: Tool, suffix: str) -> None:
    with tool.running("restart", "--force", *ACCEPT) as process:
        assert process.stderr is not None
        for said in process.stderr:
            if " restart n" in said and suffix in said and ":" in said:
                break
        process.kill()
        process.wait()
    resumed = tool.run("resume", "--force", "-f", "json", *ACCEPT)
    assert resumed.code == 0, resumed.err
    assert _voters(tool) == {"n1", "n2", "n3"}


def test_leadership_moves_to_the_named_voter_and_off_it_again(tool: Tool) -> None:
    target = next(name for name in ("n1", "n2", "n3") if name != tool.leader())
    _run(tool, "move-leader", target)
    assert tool.leader() == target
    _run(tool, "move-leader")
    assert tool.leader() != target


def test_an_aborted_addition_leaves_no_learner_and_history_tells_of_it(tool: Tool) -> None:
    stopped = tool.run_until("promote n4 when in sync ...", signal.SIGKILL, "add", "n4", "--force", *ACCEPT)
    assert stopped.code == -signal.SIGKILL
    aborted = tool.run("abort", "--force", "-f", "json", *ACCEPT)
    assert aborted.code == 0, aborted.err
    assert aborted.json["operation"]["state"] == "aborted"
    assert _voters(tool) >= {"n1", "n2", "n3"}
    assert "learner" not in _roles(tool).values()
    history = tool.run("history", "-f", "json").json["operations"]
    assert [(entry["change"], entry["state"]) for entry in history] == [("add", "aborted")]
    assert tool.run("resume", "--force").err.strip() == "Nothing to resume."


def test_an_aborted_cycle_says_what_stays_removed_and_how_to_get_it_back(tool: Tool) -> None:
    stopped = tool.run_until("promote n1 when in sync ...", signal.SIGKILL, "cycle", "n1", "--force", *ACCEPT)
    assert stopped.code == -signal.SIGKILL
    aborted = tool.run("abort", "--force", *ACCEPT)
    assert aborted.code == 0, aborted.err
    if "n1" not in tool.members():
        assert "patronictl-etcd add n1" in aborted.err
        _run(tool, "add", "n1")
    assert _voters(tool) == {"n1", "n2", "n3"}


def test_a_snapshot_is_saved_where_it_was_asked_for_and_never_over_a_file(tool: Tool, tmp_path: Path) -> None:
    target = tmp_path / "etcd.db"
    saved = tool.run("snapshot", "-o", str(target), "-f", "json")
    assert saved.code == 0, saved.err
    assert target.stat().st_size == saved.json["snapshot"]["size"] + 32  # with its SHA-256 at the end
    again = tool.run("snapshot", "-o", str(target), "-f", "json")
    assert (again.code, again.json["error"]["code"]) == (2, "FILE_EXISTS")


def test_what_was_set_aside_is_deleted_only_when_told_to_and_never_of_an_unfinished_operation(
    tool: Tool,
) -> None:
    done = _run(tool, "cycle", "n1").json["operation"]["id"]
    stopped = tool.run_until("add n2 as a learner ...", signal.SIGINT, "cycle", "n2", "--force", *ACCEPT)
    assert stopped.code == 130
    unknown = tool.layout.root / "data" / "n1.abc.20200101T000000Z-recover-abc123"
    unknown.mkdir()  # no journal tells how that ended
    before = set(tool.layout.root.rglob("*Z-cycle-*"))
    assert tool.run("cleanup", "--force").code == 0  # the default: 30 days
    listed = tool.run("cleanup", "--older-than", "0", "--dry-run", "-f", "json").json["cleanup"]
    assert {item["operation"] for item in listed["deleted"]} == {done}
    assert {item["kind"] for item in listed["deleted"]} == {"data", "config", "snapshot"}
    assert tool.run("cleanup", "--older-than", "0").code == 2  # nobody was there to confirm
    assert set(tool.layout.root.rglob("*Z-cycle-*")) == before
    deleted = tool.run("cleanup", "--older-than", "0", "--force", "-f", "json")
    assert (deleted.code, deleted.json["cleanup"]["deleted"]) == (0, listed["deleted"])
    gone = before - set(tool.layout.root.rglob("*Z-cycle-*"))
    assert {str(path) for path in gone} >= {item["path"] for item in listed["deleted"]}
    assert all(done in str(path) for path in gone)
    assert unknown.exists()
    resumed = tool.run("resume", "--force", *ACCEPT)
    assert resumed.code == 0, resumed.err
    assert "cleanup" in tool.run("history").err


def test_only_the_newest_journals_stay_in_etcd(tool: Tool) -> None:
    tool.layout.inventory.write_text(tool.layout.inventory.read_text() + "  journal_copies: 2\n")
    ids = [_run(tool, "move-leader").json["operation"]["id"] for _ in range(4)]
    keys = tool.client(1).range("/patroni-etcd-reconfig/journal/", prefix=True).kvs
    assert {kv.key.split("/")[3] for kv in keys} == set(ids[-2:])
    history = tool.run("history", "-f", "json").json["operations"]
    assert {entry["id"] for entry in history} == set(ids)  # the files on this machine stay


def test_only_as_many_snapshots_as_wanted_are_kept_and_other_clusters_are_left_alone(tool: Tool) -> None:
    directory = tool.layout.state_dir / "snapshots"
    directory.mkdir(parents=True)
    own, other = f"{tool.client(1).status().cluster_id:x}", "c1"
    for day in ("01", "02", "03"):
        for cluster in (own, other):
            (directory / f"{cluster}-202601{day}T000000Z-manual.db").touch()
    (directory / f"{own}-20260101T000000Z-cycle-abc.db").touch()
    before = set(directory.iterdir())
    told = tool.run("snapshot", "--keep", "2", "--dry-run", "-f", "json")
    assert told.code == 0, told.err
    old = [str(directory / f"{own}-202601{day}T000000Z-manual.db") for day in ("01", "02")]
    assert (told.json["snapshot"]["removed"], set(directory.iterdir())) == (old, before)
    kept = tool.run("snapshot", "--keep", "2", "-f", "json")
    assert kept.code == 0, kept.err
    assert kept.json["snapshot"]["removed"] == old
    new = Path(kept.json["snapshot"]["snapshot"])
    assert set(directory.iterdir()) == (before - {Path(path) for path in old}) | {new}


def test_a_snapshot_in_a_file_of_ones_own_deletes_nothing(tool: Tool, tmp_path: Path) -> None:
    refused = tool.run("snapshot", "-o", str(tmp_path / "s.db"), "--keep", "1", "-f", "json")
    assert refused.code == 2
    assert not (tmp_path / "s.db").exists()


def test_hosts_tells_what_a_patroni_file_means_at_its_next_start(tool: Tool, tmp_path: Path) -> None:
    stale = tmp_path / "stale.yml"
    stale.write_text("scope: x\netcd3: {hosts: [127.0.199.9:2379]}\n")
    good = tool.run("hosts", "-f", "json")
    assert (good.code, good.json["hosts"][0]["at_next_start"]) == (0, "starts")
    bad = tool.run("hosts", str(stale), "-f", "json")
    assert bad.code == 3
    assert "does not start PostgreSQL" in bad.json["hosts"][0]["at_next_start"]


def test_a_plan_file_is_carried_out_later_and_refused_when_the_cluster_moved_on(
    tool: Tool, tmp_path: Path
) -> None:
    grow, stale = tmp_path / "grow.json", tmp_path / "stale.json"
    tool.forget_node(5)
    planned = tool.run("plan", "-o", str(grow), "-f", "json")
    assert planned.code == 0, planned.err
    assert "add n4 as a learner" in planned.json["plan"]["steps"]
    stale.write_text(grow.read_text())
    _run(tool, "apply", str(grow))
    assert _voters(tool) == {"n1", "n2", "n3", "n4"}
    again = tool.run("apply", str(grow), "--force", "-f", "json", *ACCEPT)
    assert again.code == 0, again.err  # all of it happened already: a prefix of the plan
    tool.plan_node(5)
    _run(tool, "replace", "n1", "--by", "n5")
    refused = tool.run("apply", str(stale), "--force", "-f", "json", *ACCEPT)
    assert (refused.code, refused.json["error"]["code"]) == (7, "PLAN_MISMATCH")


def test_a_plan_of_which_somebody_did_a_later_step_first_is_refused(tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "move.json"
    tool.forget_node(5)
    tool.forget_node(3)
    planned = tool.run("plan", "-o", str(path), "-f", "json")
    assert planned.code == 0, planned.err
    wait_until(lambda: _removed(tool, "n3"), 10, "etcd to allow the removal")
    refused = tool.run("apply", str(path), "--force", "-f", "json", *ACCEPT)
    assert (refused.code, refused.json["error"]["code"]) == (7, "PLAN_MISMATCH")
    assert set(tool.ids()) == {"n1", "n2"}


def _removed(tool: Tool, name: str) -> bool:
    try:
        tool.client(1).remove_member(tool.ids()[name])
    except EtcdError:
        return False
    return True


def test_a_file_that_is_no_plan_is_named(tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    for text in ("", "{}", "[1]", "hello"):
        path.write_text(text)
        refused = tool.run("apply", str(path), "--force")
        assert refused.code == 2
        assert str(path) in refused.err


def test_a_tool_that_was_frozen_past_its_lock_stops_before_its_next_step(tool: Tool) -> None:
    tool.layout.inventory.write_text(tool.layout.inventory.read_text() + "  lock_ttl: 5\n")
    with tool.running("cycle", "--force", "-f", "json", *ACCEPT) as process:
        wait_for_line(process, "is settled ...")
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not tool.client(1).range("/patroni-etcd-reconfig/lock").kvs, 20, "the lock to end")
        before = tool.ids()
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 6, err
    assert "LOCK_LOST" in out
    assert tool.ids() == before
    resumed = tool.run("resume", "--force", *ACCEPT)
    assert resumed.code == 0, resumed.err
