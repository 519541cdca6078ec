"""What an operation intended and what came of it: durable before and after every step.

One file of JSON lines an operation, appended and fsynced, mode 0600; a copy of every line in etcd while
there is one. A line that a crash tore in the middle is the last one and is ignored. No secrets go in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from patroni_etcd_reconfig.core.changes import Change
from patroni_etcd_reconfig.core.codec import decode_change, decode_step, encode_change, encode_step
from patroni_etcd_reconfig.core.model import Progress
from patroni_etcd_reconfig.core.step_words import describe
from patroni_etcd_reconfig.core.steps import (
    RaiseShield,
    Step,
    UpgradeMember,
    leaves_traces,
    subject,
    touches_etcd,
)
from patroni_etcd_reconfig.errors import JournalError
from patroni_etcd_reconfig.files import append_durably
from patroni_etcd_reconfig.ports import Clock

FORMAT = 1
_MOVE = "move it out of the state directory"
ETCD_PREFIX = "/patroni-etcd-reconfig/journal/"
Mirror = Callable[[str, str], None]  # operation id and sequence, line; must not raise


@dataclass
class StepRecord:
    """One step as the result reports it: state is `started`, `done`, `failed` or `unknown`."""

    name: str
    subject: str
    text: str
    state: str
    seconds: float = 0.0


@dataclass
class Record:
    """An operation as its journal tells it."""

    operation_id: str
    change: Change
    started_at: float
    holder: Mapping[str, Any]
    baseline: Mapping[str, Any] = field(default_factory=dict)
    steps: list[StepRecord] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    state: str = "running"  # running, done, failed, blocked, interrupted, aborted
    touched: bool = False  # whether a step that changes something was begun
    measured: dict[str, float] = field(default_factory=dict)
    last_change_at: float = 0.0  # wall time at which the last step that touches etcd ended
    turned: Change | None = None  # what an abort goes for instead of `change`
    entries: int = 0  # how many lines of the journal tell of it
    shields_left: Mapping[str, str] = field(
        default_factory=dict
    )  # scope -> why failsafe_mode was not put back

    @property
    def finished(self) -> bool:
        """True when nothing is left to resume: done, or stopped before anything was changed."""
        return self.state in ("done", "aborted") or not self.touched


class Journal:
    """The open journal of one operation; without a path (a dry run) nothing is written."""

    def __init__(
        self, path: Path | None, record: Record, clock: Clock, mirror: Mirror | None, lines: int
    ) -> None:
        self.path = path
        self.record = record
        self._clock = clock
        self._mirror = mirror
        self._lines = lines

    def intend(self, step: Step, accepted: Sequence[str] = ()) -> None:
        """Record that the step is about to be done, and despite what; durable when this returns."""
        entry = {"kind": "intent", "step": encode_step(step), "text": describe(step)}
        self._append({**entry, "accepted": list(accepted)} if accepted else entry)

    def conclude(self, step: Step, state: str, seconds: float, facts: Mapping[str, Any]) -> None:
        """Record what came of the step."""
        entry = {"kind": "outcome", "step": encode_step(step), "state": state, "facts": dict(facts)}
        self._append({**entry, "text": describe(step), "seconds": round(seconds, 3)})

    def turn(self, change: Change) -> None:
        """Record that the operation now goes for something else: its abort. A resume goes on with that."""
        self._append({"kind": "turn", "change": encode_change(change)})

    def end(self, state: str, measured: Mapping[str, float]) -> None:
        """Record how this run of the operation ended and what the sentinel measured in it."""
        self._append({"kind": "end", "state": state, "measured": dict(measured)})

    def _append(self, entry: dict[str, Any]) -> None:
        line = json.dumps({**entry, "at": self._clock.wall()}, separators=(",", ":"))
        if self.path:
            write_line(self.path, line)
        _replay(self.record, json.loads(line))
        self._lines += 1
        if self._mirror:
            self._mirror(place_of(self.record.operation_id, self._lines), line)


def begin(
    path: Path,
    operation_id: str,
    change: Change,
    *,
    holder: Mapping[str, Any],
    baseline: Mapping[str, Any],
    clock: Clock,
    mirror: Mirror | None = None,
) -> Journal:
    """Start the journal of a new operation; its first line is durable when this returns."""
    head = {"kind": "begin", "format": FORMAT, "id": operation_id, "change": encode_change(change)}
    record = Record(operation_id, change, clock.wall(), holder)
    journal = Journal(path, record, clock, mirror, 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise journal_error(path, error) from error
    journal._append({**head, "holder": dict(holder), "baseline": dict(baseline)})
    return journal


def reopen(path: Path, clock: Clock, mirror: Mirror | None = None) -> Journal:
    """Open the journal of an earlier operation to go on with it.

    All its lines are offered to the mirror again: a process that was killed may have left gaps there.
    """
    lines = whole_lines(path)
    record = read(lines, str(path))
    if mirror:
        for number, line in enumerate(lines, 1):
            mirror(place_of(record.operation_id, number), line)
    return Journal(path, record, clock, mirror, len(lines))


def place_of(operation_id: str, number: int) -> str:
    """Return where the mirror keeps the line with this number, counted from 1."""
    return f"{operation_id}/{number:06d}"


def read(lines: Iterable[str], source: str) -> Record:
    """Return the operation that the lines tell of. Raises JournalError when the first line is no begin."""
    record: Record | None = None
    for line in lines:
        try:
            entry = json.loads(line)
            record = _replay(record, entry) if record else _begin(entry)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            if record is None:
                raise JournalError(f"{source} is not a journal of this tool: {error}", hint=_MOVE) from error
            break  # a torn tail: what the crash did not let us write did not happen
    if record is None:
        raise JournalError(f"{source} is empty", hint=_MOVE)
    return record


def whole_lines(path: Path) -> list[str]:
    """Return the whole lines; cut a torn tail off the file, so that new lines start on their own."""
    try:
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with path.open("r+b") as file:
                file.truncate(len(whole))
    except OSError as error:
        raise journal_error(path, error) from error
    return whole.decode("utf-8", "replace").splitlines()


def write_line(path: Path, line: str) -> None:
    """Append a line to a journal; durable when this returns. Raises JournalError."""
    try:
        append_durably(path, line + "\n")
    except OSError as error:
        raise journal_error(path, error) from error


def _begin(entry: Mapping[str, Any]) -> Record:
    if entry["kind"] != "begin" or entry["format"] != FORMAT:
        raise ValueError("the first line is no begin of a known format")
    change = decode_change(entry["change"])
    return Record(entry["id"], change, entry["at"], entry["holder"], entry["baseline"], entries=1)


def _replay(record: Record, entry: Mapping[str, Any]) -> Record:
    kind = entry["kind"]
    record.entries += 1
    if kind == "begin":
        record.baseline = entry["baseline"]
        record.started_at = entry["at"]
    elif kind == "intent":
        _replay_intent(record, entry)
    elif kind == "outcome":
        _replay_outcome(record, entry)
    elif kind == "turn":
        record.turned = decode_change(entry["change"])
    elif kind == "end":
        record.state = entry["state"]
        _add_measures(record.measured, entry["measured"])
    return record


def _replay_intent(record: Record, entry: Mapping[str, Any]) -> None:
    step = _step(entry)
    record.state = "running"
    record.touched = record.touched or leaves_traces(step)
    if isinstance(step, RaiseShield):  # it may be open from now on, whatever comes of the step
        shields = {shield.scope: shield.before for shield in step.shields}
        record.progress = replace(record.progress, shields={**shields, **record.progress.shields})
    if isinstance(step, UpgradeMember) and step.from_version:
        versions = {step.member.id: step.from_version, **record.progress.versions}
        record.progress = replace(record.progress, versions=versions)
    record.steps.append(StepRecord(type(step).__name__, subject(step), entry["text"], "started"))


def _replay_outcome(record: Record, entry: Mapping[str, Any]) -> None:
    step, facts = _step(entry), entry["facts"]
    record.steps[-1].state, record.steps[-1].seconds = entry["state"], entry["seconds"]
    if touches_etcd(step):
        record.last_change_at = entry["at"]
    if entry["state"] == "done":
        record.progress = _advance(record.progress, facts)
        record.shields_left = {**record.shields_left, **facts.get("shields_left", {})}


def _advance(progress: Progress, facts: Mapping[str, Any]) -> Progress:
    joined = dict(progress.joined)
    if "joined" in facts:
        joined[int(facts["joined"], 16)] = float(facts["joined_at"])
    settled = progress.settled | ({int(facts["settled"], 16)} if "settled" in facts else set())
    restarted = progress.restarted | ({int(facts["restarted"], 16)} if "restarted" in facts else set())
    stopped = {int(facts["stopped"], 16)} if "stopped" in facts else set()
    copied = (progress.copied - stopped) | ({int(facts["copied"], 16)} if "copied" in facts else set())
    lowered = set(facts.get("unshielded", ()))
    return replace(
        progress,
        snapshot=str(facts.get("snapshot", progress.snapshot)),
        settled=settled,
        joined=joined,
        restarted=restarted,
        copied=copied,
        discarded=progress.discarded | ({int(facts["discarded"], 16)} if "discarded" in facts else set()),
        verified=bool(facts.get("verified", progress.verified)),
        shields={scope: before for scope, before in progress.shields.items() if scope not in lowered},
        shielded=(progress.shielded | set(facts.get("shielded", ()))) - lowered,
    )


def _step(entry: Mapping[str, Any]) -> Step:
    return decode_step(entry["step"])


def _add_measures(total: dict[str, float], run: Mapping[str, float]) -> None:
    """Several runs of one operation: gaps and changes add up, the largest gap stays the largest."""
    for key, value in run.items():
        total[key] = max(total.get(key, 0), value) if key.endswith("_max_ms") else total.get(key, 0) + value


def journal_error(path: Path, error: OSError) -> JournalError:
    """Return the error for a journal that can't be read or written: nothing is done without one."""
    return JournalError(
        f"{path}: {error.strerror or error}",
        hint="make room or correct the rights there, or set policy.state_dir in the inventory",
    )
