"""The engine's loop: killed anywhere and resumed, it ends where an undisturbed run ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from patroni_etcd_reconfig.core.changes import Reshape
from patroni_etcd_reconfig.core.model import Observation, Progress
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.quorum import failure_tolerance
from patroni_etcd_reconfig.core.steps import RemoveMember, Step
from patroni_etcd_reconfig.engine.journal import Journal, begin, reopen
from patroni_etcd_reconfig.engine.loop import BlockedError, Engine
from patroni_etcd_reconfig.engine.operation import dry_run
from patroni_etcd_reconfig.errors import (
    EtcdTimeoutError,
    ExitCode,
    HeldBackError,
    LockedError,
    MemberNotFoundError,
    StepFailedError,
)
from tests.core.builders import cycle, patroni, seen, voters

from .fakes import FakeClock, FakeWorld, Told

START = seen(voters(3), patroni())
CHANGE = cycle(voters(3))
STEP_COUNT = len(make_plan(START, CHANGE).steps)


class KilledError(BaseException):
    """The process is gone: nothing after this line runs, not even an outcome in the journal."""


def _journal(path: Path, clock: FakeClock, change: Reshape = CHANGE) -> Journal:
    return begin(path, "op", change, holder={}, baseline={}, clock=clock)


def _engine(world: FakeWorld, journal: Journal, told: Told | None = None) -> Engine:
    return Engine(world, journal, Policy(), world.clock, told or Told(), lambda: None)


def _shape(state: Observation) -> list[tuple[str, bool]]:
    return sorted((view.member.name, view.member.is_learner) for view in state.etcd.members)


def test_an_undisturbed_run_does_every_step_of_the_plan_once(tmp_path: Path) -> None:
    clock = FakeClock()
    world = FakeWorld(START, clock)
    _engine(world, _journal(tmp_path / "j", clock)).run(CHANGE)
    assert world.acted == list(make_plan(START, CHANGE).steps)


@pytest.mark.parametrize(("age", "looks"), [(0.1, 0), (0.3, 1), (-5.0, 1)])
def test_a_look_under_the_lock_serves_for_the_first_step_while_it_is_fresh(
    tmp_path: Path, age: float, looks: int
) -> None:
    clock = FakeClock()
    world = FakeWorld(START, clock)
    before = replace(world.observe(Progress(snapshot="/of/another")), at=clock.now - age)
    asked: list[str] = []

    def observe(progress: Progress) -> Observation:
        asked.append("look")
        return FakeWorld.observe(world, progress)

    world.observe = observe  # type: ignore[method-assign]
    world.before_act = lambda step: asked.append(type(step).__name__)
    _engine(world, _journal(tmp_path / "j", clock)).run(CHANGE, before)
    assert asked[: looks + 3] == ["look"] * looks + ["SaveSnapshot", "look", "RemoveMember"]
    assert world.acted == list(make_plan(START, CHANGE).steps)


def _kill_at(count: int) -> Callable[[Step], None]:
    left = [count]

    def hook(step: Step) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KilledError

    return hook


@pytest.mark.parametrize("position", ["before_act", "after_act"])
@pytest.mark.parametrize("number", range(1, STEP_COUNT + 1))
def test_killed_around_any_step_and_resumed_it_ends_the_same(
    tmp_path: Path, number: int, position: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    world = FakeWorld(START, clock, **{position: _kill_at(number)})  # type: ignore[arg-type]
    journal = _journal(tmp_path / "j", clock)
    conclude = journal.conclude
    # SIGKILL leaves no outcome behind; the steps before the killed one did have theirs recorded.
    monkeypatch.setattr(journal, "conclude", lambda *args: args[1] == "unknown" or conclude(*args))
    with pytest.raises(KilledError):
        _engine(world, journal).run(CHANGE)
    assert failure_tolerance(world.state.etcd) >= 0
    survivor = FakeWorld(world.state, clock)
    _engine(survivor, reopen(tmp_path / "j", clock)).run(CHANGE)
    assert _shape(survivor.state) == [("a", False), ("b", False), ("c", False)]
    assert not {view.id for view in survivor.state.etcd.members} & {ref.id for ref in CHANGE.victims}


def test_an_unknown_outcome_is_looked_up_not_repeated(tmp_path: Path) -> None:
    clock, told = FakeClock(), Told()
    lost = [True]

    def lose_first_answer(step: Step) -> None:
        if isinstance(step, RemoveMember) and lost.pop():
            raise EtcdTimeoutError("no answer")

    world = FakeWorld(START, clock, after_act=lambda step: lose_first_answer(step) if lost else None)
    _engine(world, _journal(tmp_path / "j", clock), told).run(CHANGE)
    assert world.acted == list(make_plan(START, CHANGE).steps)
    assert any("looking again" in line for line in told.lines)


def test_a_refusal_ends_the_run_and_is_in_the_journal(tmp_path: Path) -> None:
    clock = FakeClock()

    def refuse(step: Step) -> None:
        if isinstance(step, RemoveMember):
            raise MemberNotFoundError("etcdserver: member not found")

    journal = _journal(tmp_path / "j", clock)
    with pytest.raises(MemberNotFoundError):
        _engine(FakeWorld(START, clock, before_act=refuse), journal).run(CHANGE)
    assert [(step.name, step.state) for step in journal.record.steps] == [
        ("SaveSnapshot", "done"),
        ("RemoveMember", "failed"),
    ]


def test_a_step_without_effect_is_not_repeated_for_ever(tmp_path: Path) -> None:
    clock = FakeClock()
    world = FakeWorld(START, clock)
    world.act = lambda step, seen: {}  # type: ignore[method-assign]
    with pytest.raises(StepFailedError, match="has no effect"):
        _engine(world, _journal(tmp_path / "j", clock)).run(CHANGE)


def test_a_gate_that_waiting_cures_holds_the_step_up_and_lets_it_pass_then(tmp_path: Path) -> None:
    clock, told = FakeClock(), Told()
    world = FakeWorld(replace(START, patroni=(patroni(failover="member pg2"),)), clock)
    ended_at = clock.now + 5

    def observe(progress: object) -> Observation:
        if clock.now > ended_at:
            world.state = replace(world.state, patroni=(patroni(),))
        return FakeWorld.observe(world, progress)  # type: ignore[arg-type]

    world.observe = observe  # type: ignore[method-assign]
    _engine(world, _journal(tmp_path / "j", clock), told).run(CHANGE)
    assert told.held == ["PATRONI_FAILOVER_PENDING"]


def test_what_the_operator_accepted_is_recorded_with_each_step_it_let_pass(tmp_path: Path) -> None:
    clock = FakeClock()
    world = FakeWorld(replace(START, patroni=(patroni(paused=True),)), clock)
    policy = Policy(accept=frozenset({"PATRONI_PAUSED"}))
    engine = Engine(world, _journal(tmp_path / "j", clock), policy, clock, Told(), lambda: None)
    engine.run(CHANGE)
    lines = [json.loads(line) for line in (tmp_path / "j").read_text().splitlines()]
    intents = {line["step"]["kind"]: line.get("accepted") for line in lines if line["kind"] == "intent"}
    assert intents["RemoveMember"] == ["PATRONI_PAUSED"]
    assert intents["SaveSnapshot"] is None


def test_a_gate_that_stays_closed_blocks_with_its_finding(tmp_path: Path) -> None:
    clock = FakeClock()
    world = FakeWorld(replace(START, patroni=(patroni(failover="member pg2"),)), clock)
    with pytest.raises(BlockedError) as caught:
        _engine(world, _journal(tmp_path / "j", clock)).run(CHANGE)
    assert caught.value.code == "PATRONI_FAILOVER_PENDING"
    assert caught.value.exit_code is ExitCode.BLOCKED
    assert clock.now >= 1000 + Policy().gate_timeout
    assert not any(isinstance(step, RemoveMember) for step in world.acted)


def test_a_foreign_member_stops_the_operation_as_not_the_cluster_it_was_made_for(tmp_path: Path) -> None:
    clock = FakeClock()
    world = FakeWorld(replace(START, etcd=voters(4)), clock)
    with pytest.raises(BlockedError) as caught:
        _engine(world, _journal(tmp_path / "j", clock)).run(CHANGE)
    assert caught.value.exit_code is ExitCode.PLAN_MISMATCH


def test_without_the_lock_no_step_begins(tmp_path: Path) -> None:
    clock = FakeClock()
    world, journal = FakeWorld(START, clock), _journal(tmp_path / "j", clock)

    def lost() -> None:
        raise LockedError("the lock was lost")

    with pytest.raises(LockedError):
        Engine(world, journal, Policy(), clock, Told(), lost).run(CHANGE)
    assert world.acted == []
    assert journal.record.steps == []


def test_a_dry_run_passes_every_gate_and_touches_nothing() -> None:
    result = dry_run(CHANGE, START, Policy(), FakeClock(), Told())
    assert result.state == "done"
    assert result.record is not None
    assert [step.state for step in result.record.steps] == ["simulated"] * STEP_COUNT


def test_a_dry_run_is_blocked_by_what_would_block_the_real_one() -> None:
    paused = replace(START, patroni=(patroni(paused=True),))
    result = dry_run(CHANGE, paused, Policy(), FakeClock(), Told())
    assert result.state == "blocked"
    assert result.exit_code == ExitCode.BLOCKED


def test_a_step_that_is_held_back_is_planned_again(tmp_path: Path) -> None:
    clock, held = FakeClock(), [HeldBackError("c is not removed: it leads now")]
    world, told, journal = FakeWorld(START, clock), Told(), _journal(tmp_path / "j", clock)

    def hold(step: Step) -> None:
        if isinstance(step, RemoveMember) and held:
            raise held.pop()

    world.before_act = hold
    _engine(world, journal, told).run(CHANGE)
    states = [step.state for step in journal.record.steps]
    assert (states.count("failed"), states.count("done")) == (1, STEP_COUNT)
    assert any("was held back (c is not removed: it leads now); looking again" in line for line in told.lines)


def test_a_step_that_is_held_back_every_time_ends_the_operation(tmp_path: Path) -> None:
    clock = FakeClock()
    world = FakeWorld(START, clock)

    def hold(step: Step) -> None:
        if isinstance(step, RemoveMember):
            raise HeldBackError("it leads now")

    world.before_act = hold
    with pytest.raises(StepFailedError, match="was tried 4 times and held back every time"):
        _engine(world, _journal(tmp_path / "j", clock)).run(CHANGE)
