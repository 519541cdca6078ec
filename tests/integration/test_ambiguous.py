"""Answers that are lost, late or never come, on real etcd: looked up, done in the end, and done once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.proxy import Fault, Wire, tool_behind
from tests.integration.tool import Outcome, Tool, wait_for_line

pytestmark = pytest.mark.etcd
ACCEPT = ("--accept", "HAZARD_CORRUPTION", "--accept", "TOO_FEW_VOTERS")
ADD, REMOVE, PROMOTE = "cluster/member/add", "cluster/member/remove", "cluster/member/promote"
UPDATE, TRANSFER = "cluster/member/update", "maintenance/transfer-leadership"
GRANT, TXN, REVOKE = "lease/grant", "kv/txn", "lease/revoke"

# Above the 7 s (5 s and two election timeouts) after which a new etcd says its name again: with a leader that
# is new itself it can begin with a snapshot, and the connection on which it said it is closed for that.
STEP_TIMEOUT = 10.0

Lab = tuple[Tool, Wire]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, etcd_dir: Path) -> Iterator[Lab]:
    """Give one etcd of n1 to n3 behind proxies, and n4 as a further machine; every test leaves it so."""
    with tool_behind(tmp_path_factory.mktemp("ambiguous"), etcd_dir, further=(4,)) as made:
        made[0].client(1).put("/kept", "value")
        yield made


@pytest.fixture(autouse=True)
def _calm(lab: Lab) -> Iterator[None]:
    """Begin without faults; end with all members healthy, nothing to resume, and the lock free."""
    tool, wire = lab
    wire.faults.clear()
    wire.acted.clear()
    wire.struck.clear()
    wire.mended.clear()
    yield
    wire.mend()
    members = tool.members()
    assert {(row["state"], row["role"] == "learner") for row in members.values()} == {("healthy", False)}
    assert set(members) == {"n1", "n2", "n3"}
    (kept,) = tool.client(3).range("/kept").kvs
    assert (kept.value, kept.version) == ("value", 1)
    assert not tool.client(3).range("/patroni-etcd-reconfig/lock").kvs
    assert tool.run("resume", "--force").err.strip() == "Nothing to resume."


def _done(tool: Tool, *words: str) -> Outcome:
    done = tool.run(*words, "--force", "-f", "json", *ACCEPT)
    assert done.code == 0, done.err + done.out
    assert done.json["operation"]["state"] == "done"
    return done


def _unknown(done: Outcome) -> list[str]:
    """Return the steps whose outcome the journal calls unknown."""
    return [step["name"] for step in done.json["steps"] if step["state"] == "unknown"]


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.RESET], ids=["answer lost", "never delivered"])
def test_a_cycle_of_the_leader_in_which_every_call_fails_once_does_each_once(lab: Lab, fault: Fault) -> None:
    tool, wire = lab
    before, leader = tool.ids(), tool.leader()
    calls = (GRANT, TXN, TRANSFER, REMOVE, ADD, PROMOTE)
    wire.faults.update(dict.fromkeys(calls, fault))
    done = _done(tool, "cycle", leader)
    assert sorted(wire.struck) == sorted(calls)
    assert [wire.times(call) for call in (ADD, REMOVE, PROMOTE, TRANSFER)] == [1, 1, 1, 1]
    assert _unknown(done) == ["TransferLeadership", "RemoveMember", "AddLearner", "PromoteLearner"]
    after = tool.ids()
    assert {name for name in before if before[name] != after[name]} == {leader}


def test_a_member_is_added_once_and_removed_once_though_no_answer_comes_in_time(lab: Lab) -> None:
    tool, wire = lab
    inventory = tool.layout.inventory.read_text()
    tool.layout.inventory.write_text(inventory + f"  step_timeout: {STEP_TIMEOUT}\n")
    wire.faults[ADD] = Fault.WITHHELD
    added = _done(tool, "add", "n4")
    assert _unknown(added) == ["AddLearner"]
    assert (wire.times(ADD), wire.times(PROMOTE)) == (1, 1)
    wire.faults[REMOVE] = Fault.HANGS  # and from then on the leader answers nobody
    with tool.running("remove", "n4", "--force", "-f", "json", *ACCEPT) as process:
        wait_for_line(process, f"is unknown (no answer within {STEP_TIMEOUT:g} s")
        wait_for_line(process, "stop n4, set its data aside: done")
        wait_for_line(process, "verify the cluster and Patroni ...")
        wire.mend()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert wire.times(REMOVE) == 1
    tool.layout.inventory.write_text(inventory)


def test_nothing_is_begun_while_the_leader_accepts_and_never_answers(lab: Lab) -> None:
    tool, wire = lab
    before, leader = tool.ids(), tool.leader()
    wire.silent.add(tool.layout.address(int(leader[1:])))
    refused = tool.run("move-leader", "--force", "-f", "json", *ACCEPT)
    assert refused.code == 3, refused.out
    assert [f["subject"] for f in refused.json["findings"] if f["severity"] == "blocker"] == [leader]
    assert wire.times(GRANT) == 0
    wire.mend()
    _done(tool, "move-leader")
    assert tool.ids() == before
    assert wire.times(TRANSFER) == 1


def test_an_update_of_urls_whose_answer_is_lost_is_found_done(lab: Lab) -> None:
    tool, wire = lab
    before, leader = tool.members(), tool.leader()
    new = before[leader]["peer_urls"][0].replace(f".{leader[1:]}:", f".1{leader[1:]}:")
    wire.faults[UPDATE] = Fault.ANSWER_LOST
    done = _done(tool, "update-urls", leader, "--peer-url", new)
    assert _unknown(done) == ["UpdatePeerUrls"]
    assert wire.times(UPDATE) == 1
    after = tool.members()
    assert after[leader]["peer_urls"] == [new]
    assert {name: row["id"] for name, row in after.items()} == {n: row["id"] for n, row in before.items()}
