"""What PostgreSQL, its control file and its Patroni tell, each in its own words, read into evidence.

Positions are bytes of WAL since 0/0. PostgreSQL itself is believed before its Patroni, and both before the
control file, which knows only what was surely on disk at the last checkpoint or recovery point.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence

# patroni.postgresql.misc.PostgresqlRole; `master` before Patroni 4.
PRIMARY_ROLES = frozenset({"primary", "master", "promoted"})
STANDBY_ROLES = frozenset({"replica", "standby_leader"})
# patroni.postgresql.misc.PostgresqlState; what is neither is in between, or not known.
RUNNING_STATES = frozenset({"running", "streaming", "in archive recovery"})
STOPPED_STATES = frozenset({"stopped", "crashed", "start failed", "restart failed", "initdb failed"})
TAGS = ("nofailover", "nosync", "nostream", "noloadbalance")

History = tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class SqlFacts:
    """What a running PostgreSQL said of itself. A timeline that is not sure is a lower bound.

    `may_replay_more`: a standby that may still have WAL of its own to replay, so `lsn` is a lower bound.
    """

    in_recovery: bool
    timeline: int | None
    lsn: int | None
    system_identifier: str
    sync_standby_names: str | None = None
    sync_standbys: tuple[str, ...] = ()
    history: History = ()
    timeline_is_sure: bool = True
    may_replay_more: bool = False


@dataclass(frozen=True)
class ControlFacts:
    """What pg_controldata said. `alive`: its postmaster runs, as the kernel says; None = not known."""

    state: str
    system_identifier: str
    timeline: int | None
    lsn: int | None
    alive: bool | None = None


@dataclass(frozen=True)
class Replies:
    """What was tried on one PostgreSQL node, and what came back; an empty problem = it was not tried."""

    rest: Mapping[str, Any] | None = None
    sql: SqlFacts | None = None
    control: ControlFacts | None = None
    rest_problem: str = ""
    sql_problem: str = ""
    control_problem: str = ""


def combine(base: PostgresEvidence, replies: Replies) -> PostgresEvidence:
    """Return the evidence of one node: `base` names it, the replies fill it in."""
    known = _with_patroni(base, replies.rest) if replies.rest else base
    if replies.sql:
        known = _with_sql(known, replies.sql)
    elif replies.control:
        known = _with_control(known, replies.control)
    problems = (replies.sql_problem, replies.rest_problem, replies.control_problem)
    return replace(known, problem="; ".join(problem for problem in problems if problem))


def identity(rest: Mapping[str, Any]) -> tuple[str, str]:
    """Return scope and name that a Patroni says it has; it tells its name since 3.2 (patroni/api.py)."""
    own = _mapping(rest.get("patroni"))
    return _text(own.get("scope")), _text(own.get("name"))


def can_be(rest: Mapping[str, Any], scope: str, name: str) -> bool:
    """Tell whether an answer can be this node's: what a Patroni does not say is no contradiction."""
    own_scope, own_name = identity(rest)
    return own_scope in ("", scope) and own_name in ("", name)


def _with_patroni(base: PostgresEvidence, rest: Mapping[str, Any]) -> PostgresEvidence:
    role, state = _text(rest.get("role")), _text(rest.get("state"))
    xlog = _mapping(rest.get("xlog"))
    return replace(
        base,
        source="rest",
        running=_running(state),
        in_recovery=_in_recovery(role),
        timeline=_positive(rest.get("timeline")),
        lsn=_rest_position(xlog),
        may_replay_more=_running(state) is True and role in STANDBY_ROLES and not _received(xlog),
        system_identifier=_text(rest.get("database_system_identifier")),
        patroni_answers=True,
        patroni_state=state,
        patroni_role=role,
        patroni_version=_text(_mapping(rest.get("patroni")).get("version")),
        patroni_system_identifier=_text(rest.get("database_system_identifier")),
        paused=rest.get("pause") is True,
        failsafe_active=rest.get("failsafe_mode_is_active") is True,
        sync_standbys=_sync_standbys(rest.get("replication")),
        is_sync_standby=rest.get("sync_standby") is True or rest.get("quorum_standby") is True,
        tags=_tags(_mapping(rest.get("tags"))),
    )


def _rest_position(xlog: Mapping[str, Any]) -> int | None:
    found = (_positive(xlog.get(key)) for key in ("location", "received_location", "replayed_location"))
    return max((position for position in found if position), default=None)


def _received(xlog: Mapping[str, Any]) -> bool:
    """A WAL receiver starts once all WAL on disk is replayed; none did where nothing was received."""
    return _positive(xlog.get("received_location")) is not None


def _running(state: str) -> bool | None:
    return True if state in RUNNING_STATES else False if state in STOPPED_STATES else None


def _in_recovery(role: str) -> bool | None:
    return False if role in PRIMARY_ROLES else True if role in STANDBY_ROLES else None


def _sync_standbys(replication: Any) -> tuple[str, ...]:
    rows = replication if isinstance(replication, list) else []
    found = (row for row in rows if isinstance(row, dict) and row.get("sync_state") in ("sync", "quorum"))
    return tuple(sorted(_text(row.get("application_name")) for row in found))


def _tags(tags: Mapping[str, Any]) -> tuple[str, ...]:
    """A tag is set when it is true; failover_priority 0 is Patroni's newer way to say nofailover."""
    names = [name for name in TAGS if tags.get(name) is True]
    priority = tags.get("failover_priority")
    never = type(priority) is int and priority <= 0
    return tuple(["nofailover", *names] if never and "nofailover" not in names else names)


def _with_sql(known: PostgresEvidence, sql: SqlFacts) -> PostgresEvidence:
    """Patroni asks its own PostgreSQL for the timeline, and is believed where we could not.

    It may remember it from before a promotion: a later one in the control file is a lower bound.
    """
    told = sql.timeline if sql.timeline_is_sure else known.timeline
    timeline = max(told or 0, sql.timeline or 0) or None
    return replace(
        known,
        source="sql",
        running=True,
        in_recovery=sql.in_recovery,
        timeline=timeline,
        lsn=sql.lsn,
        lsn_is_exact=sql.lsn is not None and told is not None and not sql.may_replay_more,
        may_replay_more=sql.may_replay_more,
        system_identifier=sql.system_identifier,
        sync_standby_names=sql.sync_standby_names,
        sync_standbys=sql.sync_standbys,
        timeline_history=sql.history if timeline == sql.timeline else (),
    )


def _with_control(known: PostgresEvidence, control: ControlFacts) -> PostgresEvidence:
    """A Patroni that reports a position of a running server knows it better than the control file.

    Of one that does not run it reports what it remembers, be it of an earlier timeline: the further counts.
    """
    remembered = (known.timeline or 0, known.lsn or 0) if known.timeline and known.lsn else (0, 0)
    if known.running and remembered[0]:
        return known
    timeline, lsn = max(remembered, (control.timeline or 0, control.lsn or 0))
    return replace(
        known,
        source="controldata",
        running=control.alive,
        in_recovery=_recovers(control.state),
        timeline=timeline or None,
        lsn=lsn or None,
        lsn_is_exact=False,
        system_identifier=control.system_identifier,
    )


def _recovers(state: str) -> bool | None:
    """Read the cluster state of pg_controldata (src/bin/pg_controldata/pg_controldata.c, dbState)."""
    if state in ("in archive recovery", "shut down in recovery"):
        return True
    return False if state in ("in production", "shut down", "shutting down", "in crash recovery") else None


def read_control(text: str) -> ControlFacts | None:
    """Read the output of pg_controldata in the C locale; None when it is something else."""
    pairs = (line.partition(":") for line in text.splitlines())
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    if not fields.get("Database system identifier", "").isdigit():
        return None
    timelines = ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")
    positions = ("Latest checkpoint location", "Minimum recovery ending location")
    return ControlFacts(
        state=fields.get("Database cluster state", ""),
        system_identifier=fields["Database system identifier"],
        timeline=max((_number(fields.get(key, "")) for key in timelines), default=0) or None,
        lsn=max((parse_lsn(fields.get(key, "")) or 0 for key in positions), default=0) or None,
    )


def read_history(text: str) -> History:
    """Read a timeline history file (src/backend/access/transam/timeline.c): timeline, where it ended, why."""
    found: list[tuple[int, int, str]] = []
    for line in text.splitlines():
        words = line.strip().split(None, 2)
        lsn = parse_lsn(words[1]) if len(words) > 1 else None
        if lsn is not None and words[0].isdigit():
            found.append((int(words[0]), lsn, words[2] if len(words) > 2 else ""))
    return tuple(found)


def parse_lsn(text: str) -> int | None:
    """Return the bytes that an LSN like 16/B374D848 stands for; None for what is none."""
    match = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", text)
    return (int(match[1], 16) << 32) + int(match[2], 16) if match else None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _positive(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
