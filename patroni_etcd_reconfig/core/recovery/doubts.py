"""What speaks against giving the lead to a PostgreSQL node, each with the numbers.

Nothing here is a matter of taste: a blocker means that a transaction which was acknowledged could be
dropped. Those that are a matter of evidence can be passed by naming the leader: `--lead SCOPE=NAME`, which
the plan records. Two nodes that both accept writes can't be passed: one must be stopped first.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from patroni_etcd_reconfig.core.findings import Finding, Severity, blocker, warning
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.standing import (
    NOFAILOVER,
    Standing,
    describe,
    format_lsn,
    is_behind,
    is_primary,
    may_be_ahead,
)


def doubts_about(
    scope: str, standing: Standing, lead: PostgresEvidence | None, *, chosen: bool
) -> tuple[Finding, ...]:
    """Return what speaks against `lead`. `chosen`: an operator named it."""
    firm = (*two_primaries(scope, standing), *system_ids(scope, standing))
    if lead is None:
        return (*firm, _nobody(scope, standing))
    firm = (*firm, *_stale_primaries(scope, standing, lead), *_dropped_tails(scope, standing, lead))
    open_questions = (
        *_diverged(scope, standing, lead),
        *_ahead(scope, standing, lead),
        *_perhaps_ahead(scope, standing, lead),
        *_remembered(scope, standing, lead),
        *_not_asked(scope, standing, lead),
    )
    return (*firm, *(_passed(one) if chosen else one for one in open_questions))


def lead_option(scope: str, name: str) -> str:
    """Return the option that names a leader."""
    return f"--lead {scope}={name}"


def _passed(finding: Finding) -> Finding:
    if finding.severity is not Severity.BLOCKER:
        return finding
    return warning(finding.code, finding.subject, f"{finding.detail} (chosen by the operator)", "")


def _choice(scope: str, lead: PostgresEvidence) -> str:
    return f"or, if what it may have can be lost, go on with {lead.name}: {lead_option(scope, lead.name)}"


def _nobody(scope: str, standing: Standing) -> Finding:
    told = ", ".join(describe(one) for one in standing.ranked) or "none"
    return blocker(
        "PG_NOBODY",
        scope,
        f"no PostgreSQL node is known that could lead; told of their WAL: {told}; "
        f"not asked: {', '.join(standing.unknown) or 'none'}",
        "make one of them reachable and collect again, or name the one that shall lead: "
        + lead_option(scope, "NAME")
        + f"; or, if it is gone or stopped on purpose: --without-leader {scope}",
    )


def two_primaries(scope: str, standing: Standing) -> Iterator[Finding]:
    primaries = [one for one in standing.ranked if is_primary(one)]
    if len(primaries) > 1:
        yield blocker(
            "PG_TWO_PRIMARIES",
            scope,
            f"{' and '.join(describe(one) for one in primaries)} both accept writes",
            "stop those that should not (with their Patroni), copy what was written to them, collect again",
        )


def system_ids(scope: str, standing: Standing) -> Iterator[Finding]:
    ids = {one.name: one.system_identifier for one in standing.ranked if one.system_identifier}
    if len(set(ids.values())) > 1:
        words = ", ".join(f"{name} {value}" for name, value in sorted(ids.items()))
        yield blocker(
            "PG_SYSTEM_ID",
            scope,
            f"the nodes do not belong to one PostgreSQL cluster, by their system identifiers: {words}",
            "stop Patroni on those that do not belong to it, and collect again without them",
        )


def _stale_primaries(scope: str, standing: Standing, lead: PostgresEvidence) -> Iterator[Finding]:
    primaries = [one for one in standing.ranked if is_primary(one)]
    if len(primaries) == 1 and primaries[0].name != lead.name:
        yield blocker(
            "PG_STALE_PRIMARY",
            scope,
            f"{describe(primaries[0])} accepts writes, and {describe(lead)} should lead: "
            "what is written there now would be dropped",
            f"stop Patroni and PostgreSQL on {primaries[0].name}, then collect again",
        )


def _dropped_tails(scope: str, standing: Standing, lead: PostgresEvidence) -> Iterator[Finding]:
    """An old primary's WAL after the point where the lead's timeline began was dropped by that failover."""
    ends = {timeline: lsn for timeline, lsn, *_ in lead.timeline_history}
    for one in standing.ranked:
        end = ends.get(one.timeline or 0)
        if end is not None and (one.lsn or 0) > end:
            yield warning(
                "PG_DIVERGED_TAIL",
                scope,
                f"{describe(one)} has {(one.lsn or 0) - end} bytes after {format_lsn(end)}, where timeline "
                f"{one.timeline} ended for {lead.name}; they are not part of what {lead.name} has",
                f"copy the data directory of {one.name} before Patroni rewinds it, if they matter",
            )


def _diverged(scope: str, standing: Standing, lead: PostgresEvidence) -> Iterator[Finding]:
    """Two promotions can give the same timeline number; then the number alone says nothing."""
    same = [one for one in standing.ranked if one.timeline == lead.timeline]
    for one, other in combinations(same, 2):
        if lead in (one, other) and _split(one, other):
            yield blocker(
                "PG_DIVERGED",
                scope,
                f"{describe(one)} and {describe(other)} have different WAL under one timeline number: "
                f"{_branch(one)}, {_branch(other)}",
                "find out which of them has what was acknowledged; name it: " + lead_option(scope, "NAME"),
            )


def _split(one: PostgresEvidence, other: PostgresEvidence) -> bool:
    if one.in_recovery is False and other.in_recovery is False:
        return True
    mine, theirs = _branches(one), _branches(other)
    return any(mine[timeline] != theirs[timeline] for timeline in mine.keys() & theirs.keys())


def _branches(one: PostgresEvidence) -> dict[int, int]:
    return {timeline: lsn for timeline, lsn, *_ in one.timeline_history}


def _branch(one: PostgresEvidence) -> str:
    if not one.timeline_history:
        return f"{one.name} was its primary" if one.in_recovery is False else f"{one.name} tells no history"
    timeline, lsn, *_ = one.timeline_history[-1]
    return f"{one.name} left timeline {timeline} at {format_lsn(lsn)}"


def _ahead(scope: str, standing: Standing, lead: PostgresEvidence) -> Iterator[Finding]:
    for one in standing.ranked:
        if not is_behind(lead, one):
            continue
        detail = f"{describe(one)} is ahead of {describe(lead)}"
        if NOFAILOVER in one.tags:
            remedy = f"take the tag {NOFAILOVER} off {one.name} and collect again, {_choice(scope, lead)}"
            yield blocker(
                "PG_NOFAILOVER_AHEAD", scope, f"{detail}, and its tag keeps it from leading", remedy
            )
        else:
            yield blocker("PG_AHEAD", scope, detail, f"let {one.name} lead, {_choice(scope, lead)}")


def _perhaps_ahead(scope: str, standing: Standing, lead: PostgresEvidence) -> Iterator[Finding]:
    for one in standing.ranked:
        if may_be_ahead(one, lead) and not is_behind(lead, one):
            yield blocker(
                "PG_POSITION_UNSURE",
                scope,
                f"{describe(one)} {_why_unsure(one)}: it can be ahead of {describe(lead)}",
                f"{_way_to_know(one)}, {_choice(scope, lead)}",
            )


def _why_unsure(one: PostgresEvidence) -> str:
    if one.may_replay_more:
        return "has perhaps not replayed all the WAL that it has on disk"
    if one.running:
        return "runs, and its timeline is not sure"
    down = "is down" if one.running is False else "could not be asked itself"
    return f"{down}, so that is a lower bound"


def _way_to_know(one: PostgresEvidence) -> str:
    if one.may_replay_more:
        return (
            f"wait until {one.name} has replayed it (pg_last_wal_replay_lsn() stands still, and is not "
            "paused or delayed), let our user ask PostgreSQL itself, collect again"
        )
    if one.running:
        return f"start the Patroni of {one.name}, or let our user make replication connections; collect again"
    return f"start PostgreSQL on {one.name} as a standby (standby.signal, no primary_conninfo), collect again"


def _remembered(scope: str, standing: Standing, lead: PostgresEvidence) -> Iterator[Finding]:
    """The DCS remembers WAL that none of the nodes that were asked has.

    A node that speaks for itself counts more: a crash can take the end of what it had flushed, which was a
    part of a record, and so no commit.
    """
    claims = [one for one in standing.claims if (one.timeline, one.lsn) > (lead.timeline or 0, lead.lsn or 0)]
    if lead.in_recovery is False:
        claims = [one for one in claims if one.timeline > (lead.timeline or 0)]
    if not claims:
        return
    most = max(claims, key=lambda one: (one.timeline, one.lsn, one.key == "status"))
    own = standing.node(most.node)
    detail = (
        f"the DCS says ({most.key}) that {most.node} had reached {format_lsn(most.lsn)} on timeline "
        f"{most.timeline}; {describe(lead)} is the most that was found"
        + (f", {most.lsn - (lead.lsn or 0)} bytes less" if most.timeline == lead.timeline else "")
    )
    if own and own.lsn_is_exact and own.timeline == most.timeline:
        yield warning(
            "PG_DCS_AHEAD", scope, f"{detail}; {own.name} itself is at {format_lsn(own.lsn)} now", ""
        )
    else:
        remedy = f"find the data of {most.node} and collect again, {_choice(scope, lead)}"
        yield blocker("PG_DCS_AHEAD", scope, detail, remedy)


def _not_asked(scope: str, standing: Standing, lead: PostgresEvidence) -> Iterator[Finding]:
    """That a node was synchronous proves nothing: its Patroni has that from the same member's `sync` key
    (patroni/api.py), and a majority elsewhere may have dropped it from there before it committed."""
    if not standing.unknown:
        return
    names = ", ".join(standing.unknown)
    detail = f"not asked how far they got: {names}; {describe(lead)} is the most that was found"
    if is_primary(lead) and lead.failsafe_active:
        yield warning("PG_NOT_ASKED", scope, f"{detail}, and it never stopped leading (failsafe)", "")
    else:
        yield blocker(
            "PG_NOT_ASKED",
            scope,
            f"{detail}: one of them can have transactions that it has not",
            f"make them reachable and collect again, {_choice(scope, lead)}",
        )
