"""One run from lock to result: states, exit codes, and what is left behind however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from patroni_etcd_reconfig.core.changes import promotion_of
from patroni_etcd_reconfig.core.findings import warning
from patroni_etcd_reconfig.core.model import MemberView, Observation, PatroniCluster, Progress
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.steps import (
    PromoteLearner,
    RemoveMember,
    SaveSnapshot,
    StartMember,
    Step,
    Verify,
)
from patroni_etcd_reconfig.engine.journal import Journal, Record, begin, reopen
from patroni_etcd_reconfig.engine.lock import LOCK_KEY, Lock
from patroni_etcd_reconfig.engine.operation import Operation, begin_journal, new_operation_id
from patroni_etcd_reconfig.engine.result import MEASURES, Result
from patroni_etcd_reconfig.engine.sentinel import Measured, Sentinel
from patroni_etcd_reconfig.engine.unfinished import find_unfinished
from patroni_etcd_reconfig.errors import (
    EtcdTimeoutError,
    ExitCode,
    InterruptedOperationError,
    JournalError,
    LearnerStalledError,
    LockedError,
    MemberNotFoundError,
    StepFailedError,
    UnreachableError,
)
from tests.core.builders import CLUSTER, cycle, etcd, learner, patroni, seen, voter, voters
from tests.fake_etcd import FakeEtcd, client_url

from .fakes import FakeClock, FakeWorld, Told
from .test_unfinished import NoMirror

PATRONI = patroni(leader_created=5, timeline=3)
FAILED_OVER = patroni(leader="pg2", leader_created=9, timeline=4)
RESUME = "patronictl-etcd -c /etc/patroni.yml resume"
CHANGE = cycle(voters(3), "c")


class QuietSentinel(Sentinel):
    """Measures nothing, and remembers what it was told."""

    def __init__(self) -> None:
        self.started_with: tuple[PatroniCluster, ...] | None = None
        self.stopped = 0

    def start(self, clusters: Iterable[PatroniCluster]) -> None:
        self.started_with = tuple(clusters)

    def stop(self) -> Measured:
        self.stopped += 1
        return Measured(dcs_write_gap_max_ms=42.0)


class Scene:
    """An operation on a played world, with a real lock and a real journal."""

    def __init__(self, directory: Path) -> None:
        self.state_dir = directory
        self.path = directory / "operations" / "op.jsonl"
        self.clock = FakeClock()
        self.etcd = FakeEtcd("a", "b", "c", clock=self.clock)
        self.world = FakeWorld(seen(voters(3), PATRONI), self.clock)
        self.sentinel, self.flushed = QuietSentinel(), 0
        self.operation = self.new_operation()

    def new_operation(self) -> Operation:
        return Operation(
            operation_id="op",
            change=CHANGE,
            policy=Policy(gate_timeout=3.0),
            clock=self.clock,
            reporter=Told(),
            lock=Lock(lambda: [self.etcd.connect(client_url("a"), 1.0)], 30, self.clock),
            sentinel=self.sentinel,
            world_for=lambda *_: self.world,
            observe=lambda: self.world.observe(Progress()),
            observe_patroni=lambda: self.world.state.patroni,
            flush_copies=self._flush,
            resume_hint=RESUME,
        )

    def _flush(self) -> None:
        self.flushed += 1

    def run(self) -> Result:
        begun = lambda before: begin_journal(self.path, self.operation, before, lambda place, line: None)  # noqa: E731
        return self.operation.run(begun)

    def before(self, kind: type[Step], do: Callable[[], object]) -> None:
        """Do something before each step of this kind."""
        self.world.before_act = lambda step: (do(), None)[1] if isinstance(step, kind) else None

    def after(self, kind: type[Step], do: Callable[[], object]) -> None:
        """Do something after each step of this kind."""
        self.world.after_act = lambda step: (do(), None)[1] if isinstance(step, kind) else None

    def raising(self, kind: type[Step], error: BaseException) -> Result:
        """Run with this error in the place of each step of this kind."""

        def fail() -> None:
            raise error

        self.before(kind, fail)
        return self.run()

    def unfinished(self) -> list[Record]:
        return find_unfinished(self.state_dir, NoMirror(), CLUSTER)

    def assert_given_back(self) -> None:
        """Assert that nothing is left running: lock, sentinel, copies."""
        assert LOCK_KEY not in self.etcd.keys
        assert (self.sentinel.stopped, self.flushed) == (1, 1)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_run_that_is_done_says_so_and_leaves_nothing_to_resume(scene: Scene) -> None:
    result = scene.run()
    assert (result.state, result.exit_code, result.error) == ("done", 0, None)
    assert {step["state"] for step in result.as_dict()["steps"]} == {"done"}
    assert scene.unfinished() == []
    scene.assert_given_back()


def test_the_lock_is_held_during_every_step(scene: Scene) -> None:
    held: list[bool] = []
    scene.world.before_act = lambda step: held.append(LOCK_KEY in scene.etcd.keys)
    scene.run()
    assert len(held) == len(scene.world.acted)
    assert all(held)


def test_the_sentinel_watches_from_the_state_before(scene: Scene) -> None:
    result = scene.run()
    assert scene.sentinel.started_with is not None
    assert [cluster.leader for cluster in scene.sentinel.started_with] == ["pg1"]
    assert result.as_dict()["measured"]["dcs_write_gap_max_ms"] == 42.0


def test_a_step_that_fails_ends_the_run_as_failed_and_it_can_be_resumed(scene: Scene) -> None:
    result = scene.raising(RemoveMember, MemberNotFoundError("etcdserver: member not found"))
    assert (result.state, result.exit_code) == ("failed", ExitCode.STEP_FAILED)
    assert result.error is not None
    assert result.error.hint.endswith(RESUME)
    assert [record.operation_id for record in scene.unfinished()] == ["op"]
    scene.assert_given_back()


def test_a_run_that_touched_nothing_does_not_tell_to_resume_it(scene: Scene) -> None:
    result = scene.raising(SaveSnapshot, StepFailedError("no space", hint="make room"))
    assert scene.unfinished() == []  # so that `resume` would say that there is nothing to resume
    assert result.error is not None
    assert result.error.hint == "make room"


def test_an_interrupted_run_is_exit_130_and_its_journal_says_so(scene: Scene) -> None:
    result = scene.raising(RemoveMember, KeyboardInterrupt())
    assert (result.state, result.exit_code) == ("interrupted", ExitCode.INTERRUPTED)
    assert isinstance(result.error, InterruptedOperationError)
    record = reopen(scene.path, scene.clock).record
    assert (record.state, record.steps[-1].state) == ("interrupted", "unknown")
    scene.assert_given_back()


def test_a_closed_gate_is_blocked_with_its_findings(scene: Scene) -> None:
    scene.world.state = replace(scene.world.state, patroni=(replace(PATRONI, paused=True),))
    result = scene.run()
    assert (result.state, result.exit_code) == ("blocked", ExitCode.BLOCKED)
    assert [finding.code for finding in result.findings] == ["PATRONI_PAUSED"]
    scene.assert_given_back()


def test_a_look_that_fails_while_a_gate_holds_a_step_up_is_taken_again(scene: Scene) -> None:
    pending = replace(PATRONI, failover="member pg2")
    scene.world.state = replace(scene.world.state, patroni=(pending,))
    look, failures = scene.world.observe, [EtcdTimeoutError("an election")]

    def unsteady(progress: Progress) -> Observation:
        if scene.clock.now > 1001 and failures:
            raise failures.pop()
        if scene.clock.now > 1002:
            scene.world.state = replace(scene.world.state, patroni=(PATRONI,))
        return look(progress)

    scene.world.observe = unsteady  # type: ignore[method-assign]
    assert scene.run().exit_code == ExitCode.DONE


def test_what_preflight_let_pass_stands_before_what_the_gates_found(scene: Scene) -> None:
    scene.operation.findings = (warning("EVEN_SIZE", "etcd", "four voters", "use five"),)
    scene.world.state = replace(scene.world.state, patroni=(replace(PATRONI, paused=True),))
    assert [finding.code for finding in scene.run().findings] == ["EVEN_SIZE", "PATRONI_PAUSED"]


def _stall(scene: Scene) -> Result:
    return scene.raising(PromoteLearner, LearnerStalledError("learner c made no progress", hint="look at c"))


def test_a_learner_that_stalls_is_removed_again_and_the_operation_is_over(scene: Scene) -> None:
    result = _stall(scene)
    assert (result.state, result.exit_code) == ("aborted", ExitCode.STEP_FAILED)
    assert result.error is not None
    assert result.error.code == "LEARNER_STALLED"
    assert result.error.hint.startswith("look at c. It was removed again: c stays removed")
    assert "patronictl-etcd add c" in result.error.hint
    assert "resume" not in result.error.hint
    assert [view.member.name for view in scene.world.state.etcd.members] == ["a", "b"]
    assert isinstance(scene.world.acted[-1], Verify)
    assert scene.unfinished() == []
    scene.assert_given_back()


def _with_an_error(view: MemberView) -> MemberView:
    assert view.status is not None
    return replace(view, status=replace(view.status, errors=("etcdserver: no leader",)))


def test_a_learner_that_is_not_sound_at_the_gate_is_removed_again_too(scene: Scene) -> None:
    look = scene.world.observe

    def silent(progress: Progress) -> Observation:
        seen = look(progress)
        members = (_with_an_error(v) if v.member.is_learner else v for v in seen.etcd.members)
        return replace(seen, etcd=replace(seen.etcd, members=tuple(members)))

    scene.after(StartMember, lambda: setattr(scene.world, "observe", silent))
    result = scene.run()
    assert (result.state, result.exit_code) == ("aborted", ExitCode.STEP_FAILED)
    assert len(scene.world.state.etcd.members) == 2


def test_killed_after_the_turn_a_resume_goes_on_with_the_removal(scene: Scene) -> None:
    def act(step: Step) -> None:
        if isinstance(step, PromoteLearner):
            raise LearnerStalledError("learner c made no progress")
        if isinstance(step, RemoveMember) and scene.world.state.etcd.learners:
            raise KeyboardInterrupt

    scene.world.before_act = act
    result = scene.run()
    assert (result.state, result.exit_code) == ("interrupted", ExitCode.INTERRUPTED)
    [record] = scene.unfinished()
    assert record.turned is not None
    assert [victim.name for victim in record.turned.victims] == ["c"]


def test_a_learner_that_can_not_be_removed_again_leaves_an_operation_to_resume(scene: Scene) -> None:
    def act(step: Step) -> None:
        if isinstance(step, PromoteLearner):
            raise LearnerStalledError("learner c made no progress")
        if isinstance(step, RemoveMember) and scene.world.state.etcd.learners:
            raise StepFailedError("no answer")

    scene.world.before_act = act
    result = scene.run()
    assert (result.state, result.exit_code) == ("failed", ExitCode.STEP_FAILED)
    assert result.error is not None
    assert "could not be removed again: no answer" in result.error.message
    assert result.error.hint.endswith(RESUME)
    assert len(scene.unfinished()) == 1


def test_a_learner_that_was_there_before_is_left_to_its_owner(scene: Scene) -> None:
    cluster = etcd(voter("a"), voter("b"), voter("c"), learner("d"))
    scene.operation.change = promotion_of(cluster, "d")
    scene.world.state = seen(cluster, PATRONI)
    result = _stall(scene)
    assert (result.state, result.exit_code) == ("failed", ExitCode.STEP_FAILED)
    assert len(scene.world.state.etcd.members) == 4


def test_a_changed_patroni_leader_is_exit_5_and_the_operation_is_finished(scene: Scene) -> None:
    def fail_over() -> None:
        scene.world.state = replace(scene.world.state, patroni=(FAILED_OVER,))

    scene.after(Verify, fail_over)
    result = scene.run()
    assert (result.state, result.exit_code) == ("failed", ExitCode.NOT_VERIFIED)
    assert result.error is not None
    assert result.error.code == "PATRONI_LEADER_CHANGED"
    assert "pg1" in result.error.message
    assert "pg2" in result.error.message
    assert "resume" not in result.error.hint
    assert scene.unfinished() == []
    scene.assert_given_back()


def test_a_lock_that_was_lost_and_taken_again_by_the_same_leader_is_told_too(scene: Scene) -> None:
    again = replace(PATRONI, leader_created=77)
    scene.after(Verify, lambda: setattr(scene.world, "state", replace(scene.world.state, patroni=(again,))))
    assert scene.run().exit_code == ExitCode.NOT_VERIFIED


@pytest.mark.parametrize("error", [EtcdTimeoutError("no answer"), UnreachableError("nobody")])
def test_when_patroni_can_not_be_read_at_the_end_nothing_is_promised(scene: Scene, error: Exception) -> None:
    def unreadable() -> tuple[PatroniCluster, ...]:
        raise error

    scene.operation.observe_patroni = unreadable
    result = scene.run()
    assert (result.state, result.exit_code) == ("failed", ExitCode.UNREACHABLE)
    scene.assert_given_back()


def test_a_cluster_that_is_not_seen_any_more_is_not_passed_over(scene: Scene) -> None:
    scene.operation.observe_patroni = lambda: ()
    assert scene.run().exit_code != ExitCode.DONE


def test_a_held_lock_is_raised_before_anything_is_written(scene: Scene) -> None:
    client = scene.etcd.connect(client_url("a"), 1.0)
    client.put_if_absent(LOCK_KEY, '{"host": "other"}', lease=client.grant_lease(60))
    with pytest.raises(LockedError):
        scene.run()
    assert not scene.path.exists()
    assert (scene.world.acted, scene.sentinel.started_with) == ([], None)


def test_a_lock_lost_in_the_middle_stops_before_the_next_step(scene: Scene) -> None:
    scene.before(RemoveMember, lambda: scene.etcd.keys.pop(LOCK_KEY))
    result = scene.run()
    assert (result.state, result.exit_code) == ("failed", ExitCode.LOCKED)
    assert result.error is not None
    assert result.error.code == "LOCK_LOST"
    assert isinstance(scene.world.acted[-1], RemoveMember)


def test_a_journal_that_can_not_be_begun_gives_the_lock_back(scene: Scene) -> None:
    (scene.state_dir / "operations").write_text("a file in the place of the directory")
    with pytest.raises(JournalError):
        scene.run()
    assert LOCK_KEY not in scene.etcd.keys


def test_a_journal_that_can_not_be_ended_is_an_error_of_an_operation_that_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Journal, state: str, measured: object) -> None:
        raise JournalError("No space left on device")

    monkeypatch.setattr(Journal, "end", full)
    result = scene.run()
    assert (result.state, result.exit_code) == ("failed", ExitCode.STEP_FAILED)
    assert [record.operation_id for record in scene.unfinished()] == ["op"]
    scene.assert_given_back()


def test_a_bug_in_the_middle_stops_the_sentinel_too(scene: Scene) -> None:
    with pytest.raises(ZeroDivisionError):
        scene.raising(RemoveMember, ZeroDivisionError())
    scene.assert_given_back()


def test_a_bug_in_the_middle_gives_the_lock_back(scene: Scene) -> None:
    with pytest.raises(ZeroDivisionError):
        scene.raising(RemoveMember, ZeroDivisionError())
    assert LOCK_KEY not in scene.etcd.keys


def test_a_resumed_run_goes_on_with_the_same_journal_and_adds_up(scene: Scene) -> None:
    scene.raising(RemoveMember, KeyboardInterrupt())
    scene.world.before_act = lambda step: None
    scene.clock.sleep(100)
    scene.sentinel = QuietSentinel()
    scene.operation = scene.new_operation()
    journal = reopen(scene.path, scene.clock)
    result = scene.operation.run(lambda before: journal, wait_for_lock=True)
    assert (result.state, result.exit_code) == ("done", 0)
    assert result.started_at == 1000
    assert result.seconds >= 100
    assert [type(step).__name__ for step in scene.world.acted].count("SaveSnapshot") == 1


def test_a_resumed_run_is_measured_against_the_beginning_not_against_now(scene: Scene) -> None:
    scene.raising(RemoveMember, KeyboardInterrupt())
    scene.world.before_act = lambda step: None
    scene.world.state = replace(scene.world.state, patroni=(FAILED_OVER,))
    scene.sentinel = QuietSentinel()
    scene.operation = scene.new_operation()
    journal = reopen(scene.path, scene.clock)
    assert scene.operation.run(lambda before: journal).exit_code == ExitCode.NOT_VERIFIED


def test_the_result_has_the_whole_contract_even_when_nothing_was_begun() -> None:
    data = Result("cycle", "blocked", 0.0, 0.0).as_dict()
    assert set(data) == {
        *("format", "operation", "steps", "measured", "promised", "findings", "error"),
    }
    assert data["measured"] == dict.fromkeys(MEASURES)
    assert data["operation"]["started_at"] == "1970-01-01T00:00:00.000+00:00"


def test_operation_ids_sort_by_time_and_differ() -> None:
    first, clock = FakeClock(0.0), FakeClock(1e9)
    ids = [new_operation_id(CHANGE, c) for c in (first, clock, clock)]
    assert sorted(ids[:2]) == ids[:2]
    assert len(set(ids)) == 3
    assert ids[0].startswith("19700101T000000Z-cycle-")


def test_a_journal_is_begun_with_patroni_as_it_is(scene: Scene) -> None:
    journal = begin_journal(scene.path, scene.operation, _before(), lambda place, line: None)
    assert journal.record.baseline == {"demo": {"leader": "pg1", "created": 5, "timeline": 3}}


def _before() -> Observation:
    return seen(voters(3), PATRONI)


def test_measures_of_several_runs_add_up_and_the_largest_gap_stays(tmp_path: Path) -> None:
    journal = begin(tmp_path / "j", "op", CHANGE, holder={}, baseline={}, clock=FakeClock())
    journal.end("interrupted", {"dcs_write_gap_max_ms": 90, "patroni_leader_changes": 1})
    journal.end("done", {"dcs_write_gap_max_ms": 20, "patroni_leader_changes": 2})
    assert journal.record.measured == {"dcs_write_gap_max_ms": 90, "patroni_leader_changes": 3}
