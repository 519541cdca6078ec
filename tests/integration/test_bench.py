"""Every scenario of the benchmark, in the small: it measures what it says, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace as copy_with
from pathlib import Path

import pytest

from patroni_etcd_reconfig.lab import addresses
from patroni_etcd_reconfig.lab.bench import large, replace, resize, restart
from patroni_etcd_reconfig.lab.bench.figures import FLOOR, NAIVE, OURS, Figures, Scenario, measure, table
from patroni_etcd_reconfig.lab.bench.ground import Options
from patroni_etcd_reconfig.lab.layout import Layout
from tests.nets import lab_net

# On one etcd only: what the ways do on other versions is tested elsewhere, and each takes etcd's own 5 s.
pytestmark = pytest.mark.etcd

MIB = 1024 * 1024


@pytest.fixture
def options(tmp_path: Path) -> Iterator[Options]:
    with lab_net() as net:
        yield Options(1, net, None, tmp_path, size=4 * MIB, settle=0.2, around=0.1)


@pytest.mark.parametrize("scenario", [replace.lost, replace.crashed, resize.scenario, restart.scenario])
def test_a_scenario_measures_its_ways_and_leaves_nothing_behind(
    scenario: Callable[[Options], Scenario], options: Options
) -> None:
    what = scenario(options)
    if scenario is not restart.scenario:  # where it takes no time
        what = copy_with(what, ways={name: what.ways[name] for name in what.ways if name != NAIVE})
    _check(what, measure(what, 1), options)


def test_a_large_database_is_made_and_every_way_leaves_it_whole(options: Options) -> None:
    what, figures = large.run(options)
    assert {NAIVE, FLOOR, OURS, large.COPY} <= set(figures.ways)
    _check(what, figures, options)


def _check(what: Scenario, figures: Figures, options: Options) -> None:
    assert set(figures.ways) == set(what.ways)
    assert all(figures.seconds(way) > 0 for way in figures.ways)
    assert all(figures.gap_ms(way) for way in figures.ways)
    assert (figures.peak_mib(OURS) or 0) > 10
    assert all(goal.text in table(what, figures) for goal in what.goals)
    assert options.tmp is not None
    assert list(options.tmp.iterdir()) == []
    addresses.check_free(Layout(options.tmp, options.net).endpoints())
