"""The sentinel's meters."""

from __future__ import annotations

from patroni_etcd_reconfig.engine.sentinel import GapMeter, LeaderWatch
from tests.core.builders import patroni


def test_the_largest_gap_and_the_long_ones_are_counted() -> None:
    meter = GapMeter()
    for moment in (0.0, 0.05, 0.20, 0.21, 0.50):
        meter.mark(moment)
    assert round(meter.largest, 2) == 0.29
    assert meter.long == 2
    assert meter.events == 5


def test_silence_at_the_end_is_a_gap_too() -> None:
    meter = GapMeter()
    meter.mark(0.0)
    meter.close(3.0)
    assert (meter.largest, meter.long, meter.events) == (3.0, 1, 1)


def test_a_leader_that_stays_is_no_change() -> None:
    watch = LeaderWatch([patroni(leader_created=5, timeline=1)])
    watch.look([patroni(leader_created=5, timeline=1)])
    assert (watch.leader_changes, watch.timeline_changes) == (0, 0)


def test_a_failover_is_one_change_of_leader_and_one_of_timeline() -> None:
    watch = LeaderWatch([patroni(leader_created=5, timeline=1)])
    watch.look([patroni(leader=None, leader_created=0)])
    watch.look([patroni(leader="pg2", leader_created=9, timeline=None)])
    watch.look([patroni(leader="pg2", leader_created=9, timeline=2)])
    assert (watch.leader_changes, watch.timeline_changes) == (1, 1)


def test_a_lock_lost_and_taken_again_by_the_same_leader_counts() -> None:
    watch = LeaderWatch([patroni(leader_created=5, timeline=1)])
    watch.look([patroni(leader_created=9, timeline=1)])
    assert watch.leader_changes == 1
