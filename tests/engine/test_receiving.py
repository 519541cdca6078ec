"""A large database on its way to a new member: told with an estimate, waited for, but not for ever."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from patroni_etcd_reconfig.core.model import EtcdView, NodeView
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.steps import PromoteLearner, StartMember
from patroni_etcd_reconfig.engine.receiving import MIB, Copying, Pace, Receiving
from patroni_etcd_reconfig.errors import StepFailedError
from tests.core.builders import IDS

from .fakes import FakeClock
from .rig import FakeNode, Rig, seat


def test_the_pace_is_that_since_the_first_look_and_tells_what_is_left() -> None:
    pace = Pace(total=1000 * MIB)
    assert pace.note(100 * MIB, 10.0)
    assert pace.seconds_left is None
    assert pace.describe(MIB, "MiB") == "100 of 1000 MiB"
    assert pace.note(300 * MIB, 14.0)
    assert pace.describe(MIB, "MiB") == "300 of 1000 MiB, 50 MiB/s, about 14 s left"


def test_what_stands_still_or_shrinks_is_no_progress() -> None:
    pace = Pace(total=100)
    assert [pace.note(amount, now) for now, amount in enumerate((50, 50, 40, 51))] == [
        True,
        False,
        False,
        True,
    ]


def test_a_copy_is_told_once_a_second_with_what_is_left() -> None:
    clock, told = FakeClock(), list[str]()
    copying = Copying("the snapshot", 100 * MIB, clock, told.append)
    for part in range(1, 13):
        copying.come(part * MIB)
        clock.sleep(0.25)
    assert told == [
        "the snapshot: 5 of 100 MiB, 4 MiB/s, about 24 s left",
        "the snapshot: 9 of 100 MiB, 4 MiB/s, about 23 s left",
    ]


@dataclass
class Arriving:
    """A rig in which c is added, and its database comes at a pace that the test sets."""

    rig: Rig
    told: list[str] = field(default_factory=list)

    @property
    def node(self) -> FakeNode:
        return self.rig.nodes["c"]


@pytest.fixture
def arriving() -> Arriving:
    rig = Rig("a", "b", "c", policy=Policy(step_timeout=7.0, learner_stall=5.0))
    rig.vacate("c")
    made = Arriving(rig)
    rig.joining.tell = made.told.append
    return made


def _arrives(arriving: Arriving, mib_a_second: int, total: int, *, shown: bool = True) -> None:
    """Let the database come as time passes; the member says nothing before all of it is there."""
    rig, began, size = arriving.rig, arriving.rig.clock.now, total * MIB
    learner = next(m.id for m in rig.etcd.members.values() if m.is_learner)
    look = rig.joining.observe_links

    def observe() -> EtcdView:
        come = min(size, int((rig.clock.now - began) * mib_a_second * MIB))
        started = arriving.node.starts > 0
        rig.etcd.receiving = frozenset({learner} if started and come < size else ())
        if started:
            rig.etcd.process("c").up = come >= size
        if shown:
            arriving.node.view = replace(arriving.node.view, database_bytes=come)
        etcd = look()
        leader = etcd.leader
        assert leader is not None
        assert leader.status is not None
        return _with_size(etcd, size)

    rig.joining.observe_links = observe
    rig.joining.observe_etcd = lambda: _with_size(rig.look(), size)


def _with_size(etcd: EtcdView, size: int) -> EtcdView:
    members = tuple(
        replace(view, status=replace(view.status, db_size=size)) if view.status else view
        for view in etcd.members
    )
    return replace(etcd, members=members)


def test_a_database_that_takes_longer_than_a_step_may_is_waited_for_and_told(arriving: Arriving) -> None:
    _arrives(arriving, 100, 900)
    began = arriving.rig.clock.now
    assert arriving.rig.act(StartMember(seat("c")))["joined"]
    assert arriving.rig.clock.now - began > 8 > arriving.rig.policy.step_timeout
    assert arriving.told[0].startswith("c receives the database: ")
    assert all(line.endswith("s left") for line in arriving.told)
    middle = arriving.told[len(arriving.told) // 2]
    assert "of 900 MiB, 100 MiB/s, about " in middle


def test_a_database_that_stops_coming_is_given_up(arriving: Arriving) -> None:
    _arrives(arriving, 0, 300)
    began = arriving.rig.clock.now
    with pytest.raises(StepFailedError, match="waited 7 s in vain for c to join") as failed:
        arriving.rig.act(StartMember(seat("c")))
    assert failed.value.code == "WAIT_TIMEOUT"
    assert arriving.rig.clock.now - began < 30


def test_the_leaders_word_counts_where_the_nodes_disk_says_nothing(arriving: Arriving) -> None:
    _arrives(arriving, 100, 900, shown=False)
    assert arriving.rig.act(StartMember(seat("c")))["joined"]
    assert set(arriving.told) == {"c receives the database: 900 MiB"}


def test_the_leaders_word_alone_is_not_believed_for_ever(arriving: Arriving) -> None:
    _arrives(arriving, 0, 9, shown=False)
    began = arriving.rig.clock.now
    with pytest.raises(StepFailedError, match="in vain"):
        arriving.rig.act(StartMember(seat("c")))
    assert 9 <= arriving.rig.clock.now - began < 20


def test_a_learner_that_receives_a_snapshot_again_is_not_stalled(arriving: Arriving) -> None:
    rig = arriving.rig
    rig.act(StartMember(seat("c")))
    learner, began, look = rig.etcd.process("c"), rig.clock.now, rig.joining.observe_links
    learner.lag = 50_000

    def observe() -> EtcdView:
        passed = rig.clock.now - began
        learner.lag = 0 if passed > 8 else 50_000
        arriving.node.view = replace(arriving.node.view, database_bytes=int(passed * MIB))
        return look()

    rig.joining.observe_links = observe
    rig.act(PromoteLearner(seat("c")))
    assert rig.clock.now - began > 8 > rig.policy.learner_stall


def test_entries_are_told_as_a_learner_catches_up(arriving: Arriving) -> None:
    rig = arriving.rig
    rig.act(StartMember(seat("c")))
    learner, began, look = rig.etcd.process("c"), rig.clock.now, rig.joining.observe_links
    rig.etcd.extra_entries = 90_000

    def observe() -> EtcdView:
        learner.lag = max(0, 40_000 - int((rig.clock.now - began) * 5_000))
        return look()

    rig.joining.observe_links = observe
    rig.act(PromoteLearner(seat("c")))
    assert any(line.startswith("c catches up: ") and line.endswith("s left") for line in arriving.told)
    assert any("5000 entries/s" in line for line in arriving.told)


def test_a_member_that_nobody_sends_anything_is_not_told_about(arriving: Arriving) -> None:
    node, clock = arriving.node, FakeClock()
    node.view = NodeView("c", database_bytes=20480)
    receiving = Receiving("c", node, clock, arriving.told.append, total=20480)
    etcd = arriving.rig.look()
    for _ in range(3):
        receiving.look(etcd, IDS["a"])
        clock.sleep(2.0)
    assert arriving.told == []
