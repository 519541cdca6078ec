"""How far each PostgreSQL node of a scope got, and which of them should lead.

The order is (timeline, was it that timeline's primary, LSN): a later timeline is the truth even where an
earlier one has more bytes, and on one timeline nobody can be ahead of its primary. Patroni's own race
compares LSNs alone (patroni/ha.py, `_is_healthiest_node`), which is why recovery decides instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from patroni_etcd_reconfig.core.model import KeyValue
from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence

NOFAILOVER = "nofailover"


@dataclass(frozen=True)
class Claim:
    """What the DCS says of how far WAL got. `node` is who got there, `key` where that is written."""

    node: str
    timeline: int
    lsn: int
    key: str


@dataclass(frozen=True)
class Standing:
    """The nodes of a scope, best first; `unknown` are those that exist but told nothing of their WAL."""

    ranked: tuple[PostgresEvidence, ...]
    unknown: tuple[str, ...]
    claims: tuple[Claim, ...]

    def node(self, name: str | None) -> PostgresEvidence | None:
        """Return one of the nodes that told how far they got."""
        return next((one for one in self.ranked if one.name == name), None)

    @property
    def best(self) -> PostgresEvidence | None:
        """Return the node that should lead: the most advanced that may, or a primary that runs."""
        able = (one for one in self.ranked if NOFAILOVER not in one.tags or is_primary(one))
        return next(able, None)


def standing_of(postgres: Iterable[PostgresEvidence], found: ScopeKeys | None) -> Standing:
    """Sort out what PostgreSQL says of itself, together with what the DCS remembers of it."""
    claims = tuple(_claims(found)) if found else ()
    nodes = {one.name: one for one in postgres}
    leader = leader_in(found)
    told = [_raised(one, claims) for one in nodes.values() if tells(one)]
    told.sort(key=lambda one: (one.name != leader, one.name))
    told.sort(key=_position, reverse=True)
    names = set(nodes) | (members_in(found) if found else set())
    return Standing(tuple(told), tuple(sorted(names - {one.name for one in told})), claims)


def tells(one: PostgresEvidence) -> bool:
    """True when it is known how far this node got, be it a lower bound."""
    return one.timeline is not None and one.lsn is not None


def is_primary(one: PostgresEvidence) -> bool:
    """True for a node that runs and accepts writes."""
    return one.running is True and one.in_recovery is False


def place(one: PostgresEvidence) -> tuple[int, bool, int]:
    """Return what decides who is ahead: timeline, whether it was its primary, and LSN."""
    return one.timeline or 0, one.in_recovery is False, one.lsn or 0


def is_behind(one: PostgresEvidence, other: PostgresEvidence) -> bool:
    """True when the other surely has WAL that this node has not."""
    mine, theirs = place(one), place(other)
    if mine[0] != theirs[0]:
        return mine[0] < theirs[0]
    return mine[2] < theirs[2] and not mine[1]


def may_be_ahead(one: PostgresEvidence, best: PostgresEvidence) -> bool:
    """True when a lower bound is all that is known of a node, so that it can have more than the best.

    Patroni tells of a PostgreSQL that runs what that says itself (patroni/api.py), which gets no further
    without a primary once it has replayed what it has. A former primary of
    an earlier timeline never followed the later one.
    """
    through_patroni = one.running is True and one.source == "rest" and not one.may_replay_more
    if one.lsn_is_exact or through_patroni or one.name == best.name:
        return False
    if one.timeline == best.timeline:
        return best.in_recovery is not False
    return one.in_recovery is not False


def format_lsn(lsn: int | None) -> str:
    """Return an LSN as PostgreSQL shows it."""
    return "unknown" if lsn is None else f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def describe(one: PostgresEvidence) -> str:
    """Return a node and its position in words."""
    least = "" if one.lsn_is_exact else "at least "
    return f"{one.name} (timeline {one.timeline}, {least}{format_lsn(one.lsn)})"


def leader_in(found: ScopeKeys | None) -> str | None:
    """Return whom the leader key names."""
    kv = found.keys.get("leader") if found else None
    return kv.value or None if kv else None


def members_in(found: ScopeKeys) -> set[str]:
    """Return the names of the scope's member keys."""
    return {key.partition("/")[2] for key in found.keys if key.startswith("members/")}


def object_in(kv: KeyValue | None) -> dict[str, Any] | None:
    """Return a key's JSON object; None when there is no key, or it holds something else."""
    try:
        data = json.loads(kv.value) if kv else None
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def history_in(found: ScopeKeys) -> list[list[Any]]:
    """Return the lines of the history key: timeline, LSN where it ended, reason, and what Patroni added."""
    kv = found.keys.get("history")
    try:
        lines = json.loads(kv.value) if kv else []
    except ValueError:
        return []
    good = isinstance(lines, list) and all(isinstance(one, list) and len(one) >= 2 for one in lines)
    return lines if good and all(type(one[0]) is int and type(one[1]) is int for one in lines) else []


def names_in(value: object) -> list[str]:
    """Return the names of a comma-separated list, as `sync_standby` is one."""
    return [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) else []


def timeline_in(found: ScopeKeys) -> int:
    """Return the timeline that the history key leads to; 0 without one (Patroni's Cluster.timeline)."""
    lines = history_in(found)
    if lines:
        return int(lines[-1][0]) + 1
    return 1 if "history" in found.keys else 0


def _position(one: PostgresEvidence) -> tuple[int, bool, bool, int, bool]:
    timeline, was_primary, lsn = place(one)
    return timeline, is_primary(one), was_primary, lsn, one.lsn_is_exact


def _raised(one: PostgresEvidence, claims: tuple[Claim, ...]) -> PostgresEvidence:
    """A node that is down surely got as far as it once said itself."""
    if one.lsn_is_exact:
        return one
    said = [claim.lsn for claim in claims if claim.node == one.name and claim.timeline == one.timeline]
    return replace(one, lsn=max([one.lsn or 0, *said]))


def _claims(found: ScopeKeys) -> Iterator[Claim]:
    for name in sorted(members_in(found)):
        data = object_in(found.keys[f"members/{name}"]) or {}
        timeline, lsn = data.get("timeline"), data.get("xlog_location")
        if type(timeline) is int and type(lsn) is int:
            yield Claim(name, timeline, lsn, f"members/{name}")
    leader, at = leader_in(found) or "the last leader", timeline_in(found)
    optime = (object_in(found.keys.get("status")) or {}).get("optime")
    if type(optime) is int and at:
        yield Claim(leader, at, optime, "status")
