"""What an operation came to: the contract of `-f json`, and the exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Protocol

from patroni_etcd_reconfig.core.findings import Finding, warning
from patroni_etcd_reconfig.engine.journal import Record, StepRecord
from patroni_etcd_reconfig.errors import ExitCode, ReconfigError

FORMAT = 1
PROMISED = {"dcs_write_gap_max_ms": 100, "patroni_leader_changes": 0, "timeline_changes": 0}
MEASURES = (
    "dcs_write_gap_max_ms",
    "dcs_write_gaps_over_100ms",
    "patroni_leader_changes",
    "timeline_changes",
)
EXTRA_MEASURES = ("seconds_to_writable",)  # of a recovery


class Told(Protocol):
    """What a journal tells of an operation."""

    @property
    def operation_id(self) -> str:
        """Return the operation's id."""

    @property
    def steps(self) -> list[StepRecord]:
        """Return its steps, in the order in which they were begun."""


@dataclass(frozen=True)
class Result:
    """One run of an operation. `record` is None when nothing was begun; `state` as in the contract."""

    change: str
    state: str
    started_at: float
    seconds: float
    record: Told | None = None
    measured: Mapping[str, float] | None = None
    findings: tuple[Finding, ...] = ()
    error: ReconfigError | None = None
    promised: Mapping[str, float] = field(default_factory=lambda: dict(PROMISED))

    @property
    def exit_code(self) -> int:
        """Return the exit code that goes with the result."""
        return int(self.error.exit_code) if self.error else int(ExitCode.DONE)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON contract, format 1."""
        return {
            "format": FORMAT,
            "operation": {
                "id": self.record.operation_id if self.record else None,
                "change": self.change,
                "state": self.state,
                "started_at": timestamp(self.started_at),
                "seconds": round(self.seconds, 2),
            },
            "steps": [
                {"name": s.name, "subject": s.subject, "state": s.state, "seconds": s.seconds}
                for s in (self.record.steps if self.record else ())
            ],
            "measured": self._measured(),
            "promised": dict(self.promised),
            "findings": [finding.as_dict() for finding in self.findings],
            "error": error_as_dict(self.error),
        }

    def _measured(self) -> dict[str, float | None]:
        """The contract's keys always, and what only some operations measure where it was measured."""
        measured = self.measured or {}
        return {key: measured.get(key) for key in MEASURES} | {
            key: measured[key] for key in EXTRA_MEASURES if key in measured
        }


def exceeded(measured: Mapping[str, float]) -> tuple[Finding, ...]:
    """Return a warning when the largest DCS write gap is above what was promised."""
    gap, promised = measured.get("dcs_write_gap_max_ms", 0.0), PROMISED["dcs_write_gap_max_ms"]
    if gap <= promised:
        return ()
    return (
        warning(
            "PROMISE_EXCEEDED",
            "etcd",
            f"a DCS write gap of {gap:.0f} ms was measured, at most {promised} ms was promised",
            "look at the load and the disks of the etcd machines before the next change",
        ),
    )


def shield_findings(record: Told) -> tuple[Finding, ...]:
    """Return warnings about a failsafe_mode that was turned on and not put back, or not by us."""
    if not isinstance(record, Record):
        return ()  # a recovery turns none on
    left = [
        warning(
            "SHIELD_LEFT",
            scope,
            f"failsafe_mode was not put back: {why}",
            f"patronictl show-config {scope}",
        )
        for scope, why in record.shields_left.items()
    ]
    still_open = [
        warning(
            "SHIELD_OPEN",
            scope,
            "failsafe_mode is still on for this operation",
            f"patronictl-etcd resume, or abort, puts it back to {before or 'not set'}",
        )
        for scope, before in record.progress.shields.items()
    ]
    return (*left, *still_open)


def error_as_dict(error: ReconfigError | None) -> dict[str, str] | None:
    """Return the contract's form of an error."""
    return {"code": error.code, "message": str(error), "hint": error.hint} if error else None


def timestamp(seconds: float) -> str:
    """Return a moment as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
