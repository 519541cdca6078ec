"""What the demo found, and whether anybody could have noticed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from patroni_etcd_reconfig.lab.writer import WriterReport
from patroni_etcd_reconfig.lab.yardstick import Measured

MAX_DCS_GAP_MS = 100  # what the project promises for a cycle (issue 2)


@dataclass(frozen=True)
class Snapshot:
    """The clusters at one moment: PostgreSQL's leader and timeline, etcd's member ids by name."""

    leader: str
    timeline: int
    etcd_ids: Mapping[str, str]


@dataclass(frozen=True)
class CycleRun:
    """How the tool ended: exit code (-1 = it did not end), and the JSON that it printed."""

    exit_code: int
    output: Mapping[str, Any]

    @property
    def done(self) -> bool:
        """Tell whether the tool says, in both ways, that it did its work."""
        return self.exit_code == 0 and self.get("operation", "state") == "done"

    def get(self, part: str, key: str) -> Any:
        """Return a value of a part of the output, e.g. `measured`; None when it is not there."""
        section = self.output.get(part)
        return section.get(key) if isinstance(section, Mapping) else None


@dataclass(frozen=True)
class DemoResult:
    """Everything the demo measured."""

    cycle: CycleRun
    written: WriterReport
    lost_rows: int
    before: Snapshot
    after: Snapshot
    seconds: float = 0.0
    comparison: tuple[Measured, ...] = field(default=())

    def compared(self, comparison: tuple[Measured, ...]) -> DemoResult:
        """Return the result with the other ways' figures."""
        return replace(self, comparison=comparison)

    def timed(self, seconds: float) -> DemoResult:
        """Return the result with the time that the whole demo took."""
        return replace(self, seconds=seconds)

    @property
    def replaced(self) -> tuple[str, ...]:
        """Return the etcd members that have another id than before."""
        before = self.before.etcd_ids
        return tuple(name for name, new in self.after.etcd_ids.items() if before.get(name) != new)

    @property
    def disruptions(self) -> tuple[str, ...]:
        """Return everything that is not as promised, in words."""
        return (*_of_cycle(self), *_of_postgresql(self))


def _of_cycle(result: DemoResult) -> Iterator[str]:
    cycle = result.cycle
    if not cycle.done:
        yield f"the cycle is not done: {_ending(cycle)}"
    if set(result.replaced) != set(result.before.etcd_ids):
        kept = sorted(set(result.before.etcd_ids) - set(result.replaced))
        yield f"etcd members not replaced: {', '.join(kept)}"
    if cycle.done or cycle.output.get("measured"):
        yield from _of_measured(cycle)


def _ending(cycle: CycleRun) -> str:
    ended = "it did not end in time" if cycle.exit_code < 0 else f"exit code {cycle.exit_code}"
    state, error = cycle.get("operation", "state"), cycle.get("error", "message")
    return ", ".join((ended, *([f"state {state}"] if state else []), *([str(error)] if error else [])))


def _of_measured(cycle: CycleRun) -> Iterator[str]:
    gap = cycle.get("measured", "dcs_write_gap_max_ms")
    if not isinstance(gap, (int, float)) or gap > MAX_DCS_GAP_MS:
        yield f"largest DCS write gap: {gap} ms; promised are {MAX_DCS_GAP_MS} ms"
    for key in ("patroni_leader_changes", "timeline_changes"):
        if cycle.get("measured", key) != 0:
            yield f"{key.replace('_', ' ')}: {cycle.get('measured', key)}"


def _of_postgresql(result: DemoResult) -> Iterator[str]:
    written = result.written
    if not written.acknowledged:
        yield "no write was acknowledged"
    if result.lost_rows:
        yield f"{result.lost_rows} acknowledged rows are lost"
    if written.errors:
        yield f"{len(written.errors)} write errors, the first: {written.errors[0]}"
    if result.before.leader != result.after.leader:
        yield f"PostgreSQL's leader moved from {result.before.leader} to {result.after.leader}"
    if result.before.timeline != result.after.timeline:
        yield f"PostgreSQL's timeline went from {result.before.timeline} to {result.after.timeline}"


def as_json(result: DemoResult) -> dict[str, Any]:
    """Return the result for scripts."""
    return {
        "format": 1,
        "undisturbed": not result.disruptions,
        "disruptions": list(result.disruptions),
        "seconds": round(result.seconds, 2),
        "writes": _writes(result),
        "postgresql": {"before": _postgresql(result.before), "after": _postgresql(result.after)},
        "etcd_ids": {"before": dict(result.before.etcd_ids), "after": dict(result.after.etcd_ids)},
        "cycle": dict(result.cycle.output),
        "comparison": [_comparison(measured) for measured in result.comparison],
    }


def _writes(result: DemoResult) -> dict[str, Any]:
    return {
        "acknowledged": len(result.written.acknowledged),
        "lost": result.lost_rows,
        "errors": list(result.written.errors),
        "largest_gap_ms": round(result.written.largest_gap_ms, 1),
    }


def _postgresql(snapshot: Snapshot) -> dict[str, Any]:
    return {"leader": snapshot.leader, "timeline": snapshot.timeline}


def _comparison(measured: Measured) -> dict[str, Any]:
    return {
        "mode": measured.mode,
        "seconds": round(measured.seconds, 2),
        "dcs_write_gap_max_ms": round(measured.largest_gap_ms, 1),
    }


def as_text(result: DemoResult) -> str:
    """Return the result on one screen."""
    lines = [f"{label:<20} {value}" for label, value in _rows(result)]
    lines += list(_comparison_lines(result)) if result.comparison else []
    lines += [f"DISRUPTED: {disruption}" for disruption in result.disruptions]
    return "\n".join(lines if result.disruptions else [*lines, "Nobody noticed."])


def _rows(result: DemoResult) -> Iterator[tuple[str, str]]:
    written, before, after, cycle = result.written, result.before, result.after, result.cycle
    yield (
        "PostgreSQL writes",
        f"{len(written.acknowledged)} acknowledged, {result.lost_rows} lost, {len(written.errors)} errors, "
        f"largest pause {written.largest_gap_ms:.0f} ms",
    )
    yield "PostgreSQL leader", f"{before.leader} before, {after.leader} after"
    yield "PostgreSQL timeline", f"{before.timeline} before, {after.timeline} after"
    yield "etcd members", f"{len(result.replaced)} of {len(before.etcd_ids)} replaced"
    over = cycle.get("measured", "dcs_write_gaps_over_100ms")
    gap = cycle.get("measured", "dcs_write_gap_max_ms")
    yield "DCS writes", "not measured" if gap is None else f"largest gap {gap} ms, {over} above 100 ms"
    yield "Time", f"cycle {_seconds(cycle)} s, whole demo {result.seconds:.0f} s"


def _seconds(cycle: CycleRun) -> str:
    seconds = cycle.get("operation", "seconds")
    return f"{seconds:.1f}" if isinstance(seconds, (int, float)) else "-"


def _comparison_lines(result: DemoResult) -> Iterator[str]:
    yield f"{'Way':<20} {'seconds':>8} {'largest DCS write gap':>24}"
    for measured in result.comparison:
        yield f"{measured.mode:<20} {measured.seconds:>8.1f} {measured.largest_gap_ms:>21.0f} ms"
    gap = result.cycle.get("measured", "dcs_write_gap_max_ms")
    ours = f"{gap:.0f}" if isinstance(gap, (int, float)) else "-"
    yield f"{'patronictl-etcd':<20} {_seconds(result.cycle):>8} {ours:>21} ms"
