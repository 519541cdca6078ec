"""Killed once a step has acted and before that is written down: resumed or aborted, all is as it should be.

The points come from the plan that a dry run shows, so a new step is killed, too, without being named here.
`make test-kills` kills at every step of every command, before, within and after it, on every etcd that is
installed. The other runs kill once for each kind of step; `tests/integration/test_cycle.py` does the rest.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.cli.main import COMMANDS
from patroni_etcd_reconfig.core.codec import STEP_TYPES
from patroni_etcd_reconfig.engine.failpoint import MOMENTS, VARIABLE
from tests.integration.tool import Tool, tool_on

pytestmark = pytest.mark.etcd
ACCEPT = ("--accept", "HAZARD_CORRUPTION")
ALL = bool(os.environ.get("ALL_KILLS"))  # set by `make test-kills`

# What is run, and who the voters are at its end. n4 and n5 are further machines.
CHANGES = {
    "cycle": (("cycle", "n1"), {"n1", "n2", "n3"}),
    "cycle of two": (("cycle", "n1", "n2"), {"n1", "n2", "n3"}),
    "replace": (("replace", "n1", "--by", "n4"), {"n2", "n3", "n4"}),
    "add": (("add", "n4"), {"n1", "n2", "n3", "n4"}),
    "remove": (("remove", "n1", "--accept", "TOO_FEW_VOTERS"), {"n2", "n3"}),
    "apply": (("apply",), {"n1", "n2", "n3", "n4", "n5"}),
    "restart": (("restart",), {"n1", "n2", "n3"}),
    "move-leader": (("move-leader",), {"n1", "n2", "n3"}),
}
# Changes and kinds of steps that are killed in tests of their own.
ELSEWHERE = {
    "promote": "the steps are those of add",
    "upgrade": "the steps are those of restart",
    "update-urls": "tests/integration/test_urls.py",
    "move-data": "tests/integration/test_move_data.py",
}
STEPS_ELSEWHERE = {
    *("RaiseShield", "LowerShield"),  # tests/e2e/test_shield.py: they need Patroni
    *("UpdatePeerUrls", "ReaddressMember", "UpgradeMember"),
    *("StopMember", "CopyData", "FenceOldData", "StartMoved", "DiscardCopy"),
}
READING = {"status", "list", "preflight", "plan", "hosts", "history", "snapshot", "cleanup", "lab"}
ENDING = {"resume", "abort"}
RECOVERING = {"recover", "restore"}  # tests/e2e/test_majority_lost.py

# One command a kind of step; the whole product has all.
IN_SHORT = {
    "cycle": ("RemoveMember", "SetDataAside", "AddLearner", "StartMember", "PromoteLearner"),
    "cycle of two": ("AwaitSettled",),
    "restart": ("SaveSnapshot", "TransferLeadership", "RestartMember", "Verify"),
}


@pytest.fixture
def tool(tmp_path: Path, etcd_dir: Path) -> Iterator[Tool]:
    """Give a fresh etcd of n1 to n3 with a key in it, and further machines."""
    with tool_on(tmp_path, etcd_dir) as made:
        made.plan_node(4)
        made.plan_node(5)
        made.client(1).put("/kept", "value")
        yield made


def test_every_change_and_every_kind_of_step_is_killed_in_some_test() -> None:
    changes = set(COMMANDS) - READING - ENDING - RECOVERING
    assert changes <= set(CHANGES) | set(ELSEWHERE), "a change is in no test that kills it"
    killed = {kind for kinds in IN_SHORT.values() for kind in kinds}
    assert set(STEP_TYPES) <= killed | STEPS_ELSEWHERE, "a kind of step is in no test that kills it"


@pytest.mark.skipif(ALL, reason="make test-kills kills at every step")
@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, kinds in IN_SHORT.items() for kind in kinds]
)
def test_killed_after_it_acted_the_change_is_resumed(tool: Tool, name: str, kind: str) -> None:
    words, voters = CHANGES[name]
    assert _killed(tool, words, f"acted:{kind}")
    _assert_ended(tool, voters, untouched=_resume(tool) == "Nothing to resume.")


@pytest.mark.skipif(ALL, reason="make test-kills kills at every step")
@pytest.mark.parametrize("kind", ["AddLearner", "StartMember"])
def test_killed_after_it_acted_the_change_is_aborted(tool: Tool, kind: str) -> None:
    assert _killed(tool, CHANGES["add"][0], f"acted:{kind}")
    _abort(tool)
    _assert_ended(tool, {"n1", "n2", "n3"})


@pytest.mark.skipif(not ALL, reason="long: make test-kills")
@pytest.mark.parametrize("end", ["resume", "abort"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", CHANGES)
def test_killed_at_every_step_of_every_change(
    tmp_path: Path, etcd_dir: Path, name: str, moment: str, end: str
) -> None:
    number, killed = 0, True
    while killed:  # until the change has no further step
        number += 1
        with tool_on(tmp_path / str(number), etcd_dir) as tool:
            tool.plan_node(4)
            tool.plan_node(5)
            tool.client(1).put("/kept", "value")
            words, voters = CHANGES[name]
            killed = _killed(tool, words, f"{moment}:{number}")
            if killed and end == "abort":
                _abort(tool)
                _assert_sound(tool)
            elif killed:
                untouched = _resume(tool) == "Nothing to resume."
                _assert_ended(tool, {"n1", "n2", "n3"} if untouched else voters, untouched=untouched)
    assert number > 2


def _killed(tool: Tool, words: tuple[str, ...], point: str) -> bool:
    """Run, and tell whether the tool died at this point; if not, it must have ended well."""
    done = tool.run(*words, "--force", *ACCEPT, env={VARIABLE: point}, seconds=180)
    assert done.code in (0, -signal.SIGKILL), done.err
    return done.code != 0


def _resume(tool: Tool) -> str:
    resumed = tool.run("resume", "--force", "--accept", "TOO_FEW_VOTERS", *ACCEPT, seconds=180)
    assert resumed.code == 0, resumed.err
    return resumed.err.strip()


def _abort(tool: Tool) -> None:
    aborted = tool.run("abort", "--force", *ACCEPT)
    assert aborted.code == 0, aborted.err


def _assert_ended(tool: Tool, voters: set[str], *, untouched: bool = False) -> None:
    """All is as after a run that nobody disturbed; killed before anything changed, its lock runs out."""
    assert {name for name, member in tool.members().items() if member["role"] != "learner"} == voters
    _assert_sound(tool, untouched=untouched)


def _assert_sound(tool: Tool, *, untouched: bool = False) -> None:
    """No learner, all members healthy, the data there and written once, the lock free, nothing left to do."""
    members = tool.members()
    assert {member["state"] for member in members.values()} == {"healthy"}
    assert "learner" not in {member["role"] for member in members.values()}
    for name in members:
        (kept,) = tool.client(int(name[1:])).range("/kept").kvs
        assert (kept.value, kept.version) == ("value", 1)
    locks = tool.client(int(min(members)[1:])).range("/patroni-etcd-reconfig/lock").kvs
    assert untouched or not locks
    assert tool.run("resume", "--force").err.strip() == "Nothing to resume."
