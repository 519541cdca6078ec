"""What was measured, what is wanted, and the table that shows both. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

FLOOR = "floor"
NAIVE = "naive"
OURS = "patronictl-etcd"


@dataclass(frozen=True)
class Run:
    """One way, done once: wall seconds, the largest DCS write gap, the tool's peak memory.

    `more` are figures of one scenario only, by name. None = this way has no such figure.
    """

    seconds: float
    gap_ms: float | None = None
    peak_mib: float | None = None
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """All runs of a scenario: one mapping from way to run for each round."""

    rounds: tuple[Mapping[str, Run], ...]

    @property
    def ways(self) -> tuple[str, ...]:
        """Return the names of the ways, in the order in which they were done."""
        return tuple(dict.fromkeys(way for one in self.rounds for way in one))

    def seconds(self, way: str) -> float:
        """Return the median of a way's seconds."""
        return median(run.seconds for run in self._runs(way))

    def ratio(self, way: str, to: str = FLOOR) -> float | None:
        """Return the median of the rounds' own ratios: the machine's speed drifts from round to round."""
        pairs = [(one[way].seconds, one[to].seconds) for one in self.rounds if way in one and to in one]
        return median(ours / theirs for ours, theirs in pairs) if pairs else None

    def gap_ms(self, way: str) -> float | None:
        """Return the largest write gap of all rounds; the best round proves nothing."""
        return max((run.gap_ms for run in self._runs(way) if run.gap_ms is not None), default=None)

    def peak_mib(self, way: str) -> float | None:
        """Return the highest peak memory of all rounds."""
        return max((run.peak_mib for run in self._runs(way) if run.peak_mib is not None), default=None)

    def least(self, way: str, key: str) -> float | None:
        """Return the lowest value of one of the further figures."""
        return min((run.more[key] for run in self._runs(way) if key in run.more), default=None)

    def most(self, way: str, key: str) -> float | None:
        """Return the highest value of one of the further figures."""
        return max((run.more[key] for run in self._runs(way) if key in run.more), default=None)

    def _runs(self, way: str) -> list[Run]:
        return [one[way] for one in self.rounds if way in one]


@dataclass(frozen=True)
class Goal:
    """What is wanted of one figure. `at_most` False: at least."""

    text: str
    bound: float
    measured: Callable[[Figures], float | None]
    unit: str = ""
    at_most: bool = True

    def verdict(self, figures: Figures) -> tuple[float | None, str]:
        """Return the figure, and whether it is as wanted: `ok`, `MISSED`, or `not measured`."""
        value = self.measured(figures)
        if value is None:
            return None, "not measured"
        met = value <= self.bound if self.at_most else value >= self.bound
        return value, "ok" if met else "MISSED"


def no_slower(bound: float, way: str = OURS, to: str = FLOOR) -> Goal:
    """Want a way's ratio to another one, round by round."""
    return Goal(f"{way}, time x {to}", bound, lambda figures: figures.ratio(way, to))


def no_gap_above(milliseconds: float, way: str = OURS) -> Goal:
    """Want the largest DCS write gap of a way."""
    return Goal(f"{way}, largest DCS write gap", milliseconds, lambda figures: figures.gap_ms(way), "ms")


def no_more_memory_than(mib: float, way: str = OURS) -> Goal:
    """Want the tool's peak memory."""
    return Goal(f"{way}, peak memory", mib, lambda figures: figures.peak_mib(way), "MiB")


@dataclass(frozen=True)
class Scenario:
    """One thing to do, the ways to do it, and what is wanted of them."""

    name: str
    title: str
    ways: Mapping[str, Callable[[], Run]]
    goals: Sequence[Goal]


def measure(scenario: Scenario, rounds: int, *, warm_ups: int = 0) -> Figures:
    """Do all ways in turn, not one after the other: the machine's speed drifts.

    The first `warm_ups` rounds do not count: the first run of a program reads it from the disk.
    """
    done = [{name: way() for name, way in scenario.ways.items()} for _ in range(warm_ups + rounds)]
    return Figures(tuple(done[warm_ups:]))


def table(scenario: Scenario, figures: Figures) -> str:
    """Return the scenario's figures and verdicts as text."""
    head = f"{scenario.title:<46} seconds  x floor  largest gap  peak memory"
    return "\n".join((head, *_rows(figures), *_verdicts(scenario.goals, figures)))


def _rows(figures: Figures) -> Iterator[str]:
    for way in figures.ways:
        ratio, gap, peak = figures.ratio(way), figures.gap_ms(way), figures.peak_mib(way)
        yield (
            f"  {way:<44} {figures.seconds(way):7.2f} {_number(ratio, 8, 2)} "
            f"{_number(gap, 9, 0)} {'ms' if gap is not None else '  '} "
            f"{_number(peak, 8, 0)} {'MiB' if peak is not None else ''}"
        ).rstrip()


def _verdicts(goals: Sequence[Goal], figures: Figures) -> Iterator[str]:
    for goal in goals:
        value, verdict = goal.verdict(figures)
        bound = f"{'at most' if goal.at_most else 'at least'} {goal.bound:g} {goal.unit}".rstrip()
        places = 2 if goal.bound < 10 else 0
        yield f"    {verdict:<12} {goal.text}: {_number(value, 0, places)} (wanted: {bound})"


def _number(value: float | None, width: int, places: int) -> str:
    return f"{'-' if value is None else f'{value:.{places}f}':>{width}}"


def missed(scenario: Scenario, figures: Figures) -> int:
    """Return how many goals were measured and not met."""
    return sum(goal.verdict(figures)[1] == "MISSED" for goal in scenario.goals)
