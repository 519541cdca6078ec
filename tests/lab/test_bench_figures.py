"""The benchmark's arithmetic and verdicts, on figures that nobody measured."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from patroni_etcd_reconfig.lab.bench.__main__ import SCENARIOS, parse, size
from patroni_etcd_reconfig.lab.bench.figures import (
    FLOOR,
    NAIVE,
    OURS,
    Figures,
    Goal,
    Run,
    Scenario,
    measure,
    missed,
    no_gap_above,
    no_more_memory_than,
    no_slower,
    table,
)

FIGURES = Figures(
    (
        {NAIVE: Run(20, 4000), FLOOR: Run(10, 20), OURS: Run(11, 30, 35)},
        {NAIVE: Run(30, 3000), FLOOR: Run(20, 10), OURS: Run(24, 90, 50)},
        {NAIVE: Run(25, 2000), FLOOR: Run(10, 15), OURS: Run(13, 40, 40)},
    )
)


def scenario(*goals: Goal) -> Scenario:
    """Return a scenario with these goals."""
    return Scenario("some", "Something", {}, goals)


def test_the_ratio_is_that_of_the_middle_round_and_not_of_the_medians() -> None:
    assert FIGURES.ratio(OURS) == pytest.approx(1.2)  # of 1.1, 1.2 and 1.3; the medians are 13 and 10
    assert FIGURES.ratio(OURS, to=NAIVE) == pytest.approx(0.55)
    assert FIGURES.seconds(OURS) == 13


def test_gaps_and_memory_are_those_of_the_worst_round() -> None:
    assert (FIGURES.gap_ms(NAIVE), FIGURES.gap_ms(OURS)) == (4000, 90)
    assert (FIGURES.peak_mib(OURS), FIGURES.peak_mib(FLOOR)) == (50, None)


def test_a_way_that_was_not_done_has_no_figures() -> None:
    assert FIGURES.ratio("move") is None
    assert FIGURES.most("move", "lines") is None
    assert FIGURES.ways == (NAIVE, FLOOR, OURS)


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (no_slower(1.2), "ok"),
        (no_slower(1.15), "MISSED"),
        (no_gap_above(100), "ok"),
        (no_gap_above(80), "MISSED"),
        (no_more_memory_than(50), "ok"),
        (no_more_memory_than(49), "MISSED"),
        (no_slower(1.0, way="move"), "not measured"),
        (Goal("lines", 1, lambda _: 1.0, at_most=False), "ok"),
        (Goal("lines", 1, lambda _: 0.0, at_most=False), "MISSED"),
    ],
)
def test_every_goal_gets_its_verdict(goal: Goal, verdict: str) -> None:
    assert goal.verdict(FIGURES)[1] == verdict
    assert missed(scenario(goal), FIGURES) == (verdict == "MISSED")


def test_the_table_has_every_way_and_what_was_wanted_of_it() -> None:
    lines = table(scenario(no_slower(1.15), no_gap_above(100)), FIGURES).splitlines()
    assert lines[0].split()[:4] == ["Something", "seconds", "x", "floor"]
    assert lines[1].split() == ["naive", "25.00", "2.00", "4000", "ms", "-"]
    assert lines[2].split() == ["floor", "10.00", "1.00", "20", "ms", "-"]
    assert lines[3].split() == ["patronictl-etcd", "13.00", "1.20", "90", "ms", "50", "MiB"]
    assert lines[4].strip().startswith("MISSED ")
    assert lines[4].endswith("time x floor: 1.20 (wanted: at most 1.15)")
    assert "ok" in lines[5]
    assert lines[5].endswith("largest DCS write gap: 90 (wanted: at most 100 ms)")


def test_the_ways_are_done_in_turn_and_warm_ups_do_not_count() -> None:
    order: list[str] = []
    took: Iterator[int] = iter(range(100))

    def way(name: str) -> Run:
        order.append(name)
        return Run(next(took))

    what = Scenario("x", "x", {"a": lambda: way("a"), "b": lambda: way("b")}, ())
    figures = measure(what, 2, warm_ups=1)
    assert order == ["a", "b"] * 3
    assert figures.seconds("a") == 3  # of 2 and 4; the first round took 0


@pytest.mark.parametrize(
    ("text", "count"), [("2GB", 2 * 1024**3), ("64MB", 64 * 1024**2), ("512 KiB", 512 * 1024), ("7", 7)]
)
def test_sizes_are_read_with_their_unit(text: str, count: int) -> None:
    assert size(text) == count


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a size"):
        size("much")


def test_everything_is_measured_unless_scenarios_are_named() -> None:
    asked = parse([])
    assert (asked.scenarios, asked.rounds, asked.size) == ([], 3, 2 * 1024**3)
    assert parse(["replace", "--size", "64MB"]).scenarios == ["replace"]


def test_a_scenario_that_is_not_there_is_refused_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse(["speed"])
    said = capsys.readouterr().err
    assert all(name in said for name in SCENARIOS)
