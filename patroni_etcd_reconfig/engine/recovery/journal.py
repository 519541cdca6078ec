"""What a recovery intended and what came of it, on this host's disk: there is no etcd to keep a copy in.

One file per plan, `recoveries/<plan id>.jsonl`, of JSON lines that are appended and fsynced, mode 0600. Who
applies the same plan again goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patroni_etcd_reconfig.core.recovery.steps import (
    CheckSnapshot,
    OpenToPatroni,
    RecoveryStep,
    RestoreSnapshot,
    changes_something,
    decode_step,
    describe,
    encode_step,
    subject,
)
from patroni_etcd_reconfig.engine.journal import StepRecord, journal_error, whole_lines, write_line
from patroni_etcd_reconfig.errors import JournalError
from patroni_etcd_reconfig.ports import Clock

FORMAT = 1
# --force-new-cluster was about to be given, or restored data to be put in place.
FLAG_INTENDED = "flag_intended"
LEADS = "leads"  # whom the operator named as leaders after the plan was made, by scope
_MOVE = "move it out of the state directory, and apply the plan again"


@dataclass
class RecoveryRecord:
    """A recovery as its journal tells it."""

    operation_id: str
    plan_id: str
    started_at: float
    steps: list[StepRecord] = field(default_factory=list)
    done: set[RecoveryStep] = field(default_factory=set)
    begun: set[RecoveryStep] = field(default_factory=set)  # intended at least once
    facts: dict[str, Any] = field(default_factory=dict)  # notes, and those of all steps that are done
    measured: dict[str, float] = field(default_factory=dict)
    state: str = "running"  # running, done, failed, blocked, interrupted
    holder: Mapping[str, Any] = field(default_factory=dict)  # who began it
    ended_at: float | None = None  # when its last run ended

    @property
    def touched(self) -> bool:
        """Tell whether a step that changes something was begun."""
        return any(changes_something(step) for step in self.begun)

    @property
    def verb(self) -> str:
        """Return what began it: a restore works from a snapshot."""
        from_snapshot = any(isinstance(step, (CheckSnapshot, RestoreSnapshot)) for step in self.begun)
        return "restore" if from_snapshot else "recover"

    @property
    def forced(self) -> bool:
        """Tell whether a new cluster may have been made: from there on only this plan leads on."""
        return bool(self.facts.get(FLAG_INTENDED))

    @property
    def opening(self) -> bool:
        """Tell whether Patroni may have been let on."""
        return any(isinstance(step, OpenToPatroni) for step in self.begun)

    @property
    def leads(self) -> dict[str, str]:
        """Return the leaders that the operator named after the plan was made, by scope."""
        return dict(self.facts.get(LEADS, {}))


class RecoveryJournal:
    """The open journal of one recovery; without a path (a dry run) nothing is written."""

    def __init__(self, path: Path | None, record: RecoveryRecord, clock: Clock) -> None:
        self.path = path
        self.record = record
        self._clock = clock

    def intend(self, step: RecoveryStep) -> None:
        """Record that the step is about to be done; durable when this returns."""
        self._append({"kind": "intent", "step": encode_step(step), "text": describe(step)})

    def note(self, facts: Mapping[str, Any]) -> None:
        """Record what is known now; durable when this returns."""
        self._append({"kind": "note", "facts": dict(facts)})

    def conclude(self, step: RecoveryStep, state: str, seconds: float, facts: Mapping[str, Any]) -> None:
        """Record what came of the step."""
        entry = {"kind": "outcome", "step": encode_step(step), "state": state, "facts": dict(facts)}
        self._append({**entry, "text": describe(step), "seconds": round(seconds, 3)})

    def end(self, state: str, measured: Mapping[str, float]) -> None:
        """Record how this run ended."""
        self._append({"kind": "end", "state": state, "measured": dict(measured)})

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps({**entry, "at": self._clock.wall()}, separators=(",", ":"))
        if self.path:
            write_line(self.path, line)
        _replay(self.record, json.loads(line))


def operation_id_of(plan_id: str) -> str:
    """Return the operation id of a plan's recovery: the same in every run of it."""
    return f"recover-{plan_id}"


def journal_path(state_dir: Path, plan_id: str) -> Path:
    """Return where the journal of a plan's recovery lies."""
    return state_dir / "recoveries" / f"{plan_id}.jsonl"


def known_recovery(state_dir: Path, plan_id: str) -> RecoveryRecord | None:
    """Return what is known of a plan's recovery, which may be at work now; None when it was not begun."""
    path = journal_path(state_dir, plan_id)
    return _look_at(path) if path.exists() else None


def _look_at(path: Path) -> RecoveryRecord | None:
    """Read a journal that somebody may be writing to, without cutting a torn line off; None when empty."""
    try:
        *whole, _ = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise journal_error(path, error) from error
    return read(whole, str(path)) if whole else None


def open_journal(
    path: Path, plan_id: str, holder: Mapping[str, Any], clock: Clock, began_at: float
) -> RecoveryJournal:
    """Begin the journal of a plan's recovery, or open it to go on; its first line is durable then.

    `began_at` is the wall time at which the operator gave the command.
    """
    if path.exists() and (lines := whole_lines(path)):
        return RecoveryJournal(path, read(lines, str(path)), clock)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    head = {"kind": "begin", "format": FORMAT, "plan": plan_id, "holder": dict(holder)}
    write_line(path, json.dumps({**head, "at": began_at}, separators=(",", ":")))
    return RecoveryJournal(path, RecoveryRecord(operation_id_of(plan_id), plan_id, began_at), clock)


def read(lines: Iterable[str], source: str) -> RecoveryRecord:
    """Return the recovery that the lines tell of. Raises JournalError when the first line is no begin."""
    record: RecoveryRecord | None = None
    for line in lines:
        try:
            entry = json.loads(line)
            record = _replay(record, entry) if record else _begin(entry)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise JournalError(f"{source} is not a journal of a recovery: {error}", hint=_MOVE) from error
    if record is None:
        raise JournalError(f"{source} is empty", hint=_MOVE)
    return record


def other_recoveries(state_dir: Path, plan_id: str) -> list[RecoveryRecord]:
    """Return the recoveries of other plans that made a new cluster here and are not finished."""
    paths = sorted((state_dir / "recoveries").glob("*.jsonl"))
    records = [read(lines, str(path)) for path in paths if (lines := whole_lines(path))]
    return [r for r in records if r.forced and r.state != "done" and r.plan_id != plan_id]


def begun_recoveries(state_dir: Path) -> list[RecoveryRecord]:
    """Return the recoveries that changed something here and are not finished."""
    paths = sorted((state_dir / "recoveries").glob("*.jsonl"))
    records = [read(lines, str(path)) for path in paths if (lines := whole_lines(path))]
    return [record for record in records if record.touched and record.state != "done"]


def all_recoveries(state_dir: Path) -> list[RecoveryRecord]:
    """Return every recovery that was begun on this host, newest first. No file is changed: one may run."""
    found = map(_look_at, (state_dir / "recoveries").glob("*.jsonl"))
    return sorted(filter(None, found), key=lambda record: record.started_at, reverse=True)


def _begin(entry: Mapping[str, Any]) -> RecoveryRecord:
    if entry["kind"] != "begin" or entry["format"] != FORMAT:
        raise ValueError("the first line is no begin of a known format")
    plan, holder = entry["plan"], entry.get("holder", {})
    return RecoveryRecord(operation_id_of(plan), plan, entry["at"], holder=holder)


def _replay(record: RecoveryRecord, entry: Mapping[str, Any]) -> RecoveryRecord:
    kind = entry["kind"]
    if kind == "intent":
        step = decode_step(entry["step"])
        record.state, record.ended_at = "running", None
        record.begun.add(step)
        record.steps.append(StepRecord(type(step).__name__, subject(step), entry["text"], "started"))
    elif kind == "outcome":
        _replay_outcome(record, decode_step(entry["step"]), entry)
    elif kind == "note":
        record.facts.update(entry["facts"])
    elif kind == "end":
        record.state, record.ended_at = entry["state"], entry["at"]
        record.measured.update(entry["measured"])
    return record


def _replay_outcome(record: RecoveryRecord, step: RecoveryStep, entry: Mapping[str, Any]) -> None:
    record.steps[-1].state, record.steps[-1].seconds = entry["state"], entry["seconds"]
    if entry["state"] == "done":
        record.done.add(step)
        record.facts.update(entry["facts"])
