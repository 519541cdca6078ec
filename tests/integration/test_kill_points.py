"""Killed around a step that acts: resumed or aborted, all is as if nobody had disturbed it.

The points come from running a change until there is no further step, so a new step is killed, too, without
being named here. `make test-kills` kills at every step of every command, with its intent in the journal only,
once it has acted, and once that is written down, on every etcd that is installed. `make test` kills once
for each kind of step.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.cli.main import COMMANDS
from patroni_etcd_reconfig.core.codec import STEP_TYPES
from patroni_etcd_reconfig.engine.failpoint import MOMENTS
from tests.integration.killing import (
    RUNS,
    Run,
    State,
    aborted,
    assert_aborted,
    assert_sound,
    ids_of,
    kill_lab,
    killed,
    killed_kinds,
    resumed,
    state_of,
)
from tests.integration.kills import ABORT_MOVE, MOVE_DATA, UPDATE_URLS, UPGRADE
from tests.integration.tool import Tool

pytestmark = pytest.mark.etcd
# A file, set by `make test-kills`: in it one pytest tells another what kinds of steps it killed.
ALL = os.environ.get("ALL_KILLS", "")

# Commands that are not killed here, and why.
NOTHING_TO_RESUME = {
    *("status", "list", "preflight", "plan", "hosts", "history"),  # they read
    "snapshot",  # writes one file, under another name until it is whole: tests/engine/test_snapshot.py
    "cleanup",  # deletes what was set aside long ago, and begins again from what is left
    "lab",  # no part of anybody's cluster
}
OTHERWISE = {
    "resume",  # is what follows every kill here, and the same loop as what was killed
    *(
        "recover",
        "restore",
    ),  # journals and steps of their own: tests/e2e/test_majority_lost.py, test_restore.py
}
NEED_PATRONI = {"RaiseShield", "LowerShield"}  # tests/e2e/test_shield.py

# One command a kind of step; the whole product has all. The other kinds are killed in test_urls.py,
# test_move_data.py and test_upgrade.py of this directory, for which the gate has no second time.
IN_SHORT = {
    "cycle": (
        *("RemoveMember", "SetDataAside", "AddLearner", "StartMember", "PromoteLearner"),
        "AwaitSettled",
    ),
    "restart": ("SaveSnapshot", "TransferLeadership", "RestartMember", "Verify"),
}
IN_TESTS_OF_THEIR_OWN = {
    kind for scenario in (UPDATE_URLS, MOVE_DATA, ABORT_MOVE, UPGRADE) for kind in scenario.lines
}


@pytest.fixture
def tool(tmp_path: Path, etcd_dir: Path) -> Iterator[Tool]:
    """Give a fresh etcd of n1 to n3 with a key in it, and further machines."""
    with kill_lab(tmp_path, etcd_dir) as made:
        yield made


def test_every_command_is_killed_or_says_why_not() -> None:
    commands = {run.words[0] for run in RUNS.values()}
    assert commands | NOTHING_TO_RESUME | OTHERWISE == set(COMMANDS), "a command is in no test that kills it"


def test_every_kind_of_step_is_killed_in_the_gate() -> None:
    in_short = {kind for kinds in IN_SHORT.values() for kind in kinds}
    assert in_short | IN_TESTS_OF_THEIR_OWN | NEED_PATRONI == set(STEP_TYPES)


@pytest.mark.skipif(bool(ALL), reason="make test-kills kills at every step")
@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, kinds in IN_SHORT.items() for kind in kinds]
)
def test_killed_after_it_acted_the_change_is_resumed(tool: Tool, name: str, kind: str) -> None:
    assert killed(tool, RUNS[name], f"acted:{kind}")
    untouched = not resumed(tool)
    assert {name for name, row in tool.members().items() if row["role"] != "learner"} == RUNS[name].voters
    assert_sound(tool, locked=untouched)


@pytest.mark.skipif(bool(ALL), reason="make test-kills kills at every step")
@pytest.mark.parametrize("kind", ["AddLearner", "StartMember"])
def test_killed_after_it_acted_the_change_is_aborted(tool: Tool, kind: str) -> None:
    assert killed(tool, RUNS["add"], f"acted:{kind}")
    aborted(tool)
    assert set(tool.members()) == {"n1", "n2", "n3"}
    assert_sound(tool)


@pytest.mark.skipif(not ALL, reason="long: make test-kills")
@pytest.mark.parametrize("end", ["resume", "abort"])
@pytest.mark.parametrize("name", RUNS)
def test_killed_at_every_step_of_every_change(tmp_path: Path, etcd_dir: Path, name: str, end: str) -> None:
    run = RUNS[name]
    undisturbed, steps = _undisturbed(tmp_path / "undisturbed", etcd_dir, run)
    # Before a step nothing is new since the step before it was written down: once is enough.
    first, *moments = MOMENTS
    points = [f"{first}:{steps[0]}", *(f"{moment}:{i}" for i in steps for moment in moments)]
    failed = []
    for point in points:
        try:
            _kill(tmp_path / point.replace(":", "-"), etcd_dir, run, point, end, undisturbed)
        except AssertionError:
            failed.append(f"{point}: {traceback.format_exc()}")
    assert not failed, "\n\n".join(failed)


def _undisturbed(root: Path, etcd_dir: Path, run: Run) -> tuple[State, range]:
    """Return what the change comes to, and the numbers of its steps in its operation."""
    with kill_lab(root, etcd_dir) as tool:
        run.prepare(tool)
        ids, before = ids_of(tool), dict(_operations(tool))
        assert not killed(tool, run, "")
        assert_sound(tool)
        state = state_of(tool, ids)
        assert {name for name, facts in state.members.items() if facts[0] == "voter"} == run.voters
        operation, steps = _operations(tool)[0]
        return state, range(before.get(operation, 0) + 1, steps + 1)


def _operations(tool: Tool) -> list[tuple[str, int]]:
    """Return id and number of steps of every operation, the newest first."""
    known = tool.run("history", "-f", "json").json["operations"]
    return [(operation["id"], operation["steps"]) for operation in known]


def _kill(root: Path, etcd_dir: Path, run: Run, point: str, end: str, undisturbed: State) -> None:
    with kill_lab(root, etcd_dir) as tool:
        run.prepare(tool)
        ids = ids_of(tool)
        before = state_of(tool, ids)
        assert killed(tool, run, point), "there is no such step"
        _tell(killed_kinds(tool))
        untouched = not (aborted(tool) if end == "abort" else resumed(tool))
        assert_sound(tool, locked=untouched, learners=untouched or run.words[0] == "promote")
        if end == "abort":
            assert_aborted(before, state_of(tool, ids), undisturbed, _spare(run))
        else:
            assert state_of(tool, ids) == (before if untouched else undisturbed)


def _tell(kinds: set[str]) -> None:
    assert ALL
    with Path(ALL).open("a") as told:
        told.write("".join(f"{kind}\n" for kind in sorted(kinds)))


def _spare(run: Run) -> str:
    return run.words[-1] if "--spare" in run.words else ""


@pytest.mark.skipif(not ALL, reason="long: make test-kills")
def test_every_kind_of_step_was_killed() -> None:
    assert ALL
    assert {*Path(ALL).read_text().split(), *NEED_PATRONI} == set(STEP_TYPES)
