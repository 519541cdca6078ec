"""From what was found to what to do, the most harmless way first: pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from patroni_etcd_reconfig.core.findings import Finding, warning
from patroni_etcd_reconfig.core.model import KeyValue, Member
from patroni_etcd_reconfig.core.quorum import quorum
from patroni_etcd_reconfig.core.recovery import obstacles
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence
from patroni_etcd_reconfig.core.recovery.fencing import COLLECT, fences_around, fencing_findings
from patroni_etcd_reconfig.core.recovery.holders import Holder, holders_in, voters_of
from patroni_etcd_reconfig.core.recovery.leaderless import unknown_scopes, without_option
from patroni_etcd_reconfig.core.recovery.model import Choice, Fence, RecoveryPlan, Survivor, Way
from patroni_etcd_reconfig.core.recovery.plan_codec import with_id
from patroni_etcd_reconfig.core.recovery.scopes import ScopeView, scopes_of
from patroni_etcd_reconfig.core.recovery.starting import (
    about_postgres,
    can_come_back,
    keys_are_old,
    left_out,
    unseen,
)

OLD = 900.0  # seconds after which evidence may no longer be how things are

Planned = tuple[RecoveryPlan, tuple[Finding, ...]]


@dataclass(frozen=True)
class _Survey:
    """The evidence, sorted out. `family` are the copies of the one cluster that is to be recovered."""

    evidence: Evidence
    lost: frozenset[str]
    now: float
    choice: Choice
    holders: tuple[Holder, ...]
    family: tuple[Holder, ...]

    @property
    def members(self) -> tuple[Member, ...]:
        """The latest member list that was found."""
        lists = (one.members for one in self.family if one.members and not one.damage)
        return next(lists, ())

    @property
    def voters_running(self) -> tuple[str, ...]:
        ids = {member.id for member in voters_of(self.members)}
        return tuple(sorted(one.name for one in self.family if one.running and one.member_id in ids))

    @property
    def startable(self) -> tuple[str, ...]:
        """Nodes whose etcd is stopped, and whose data is sound and a voter's."""
        ids = {member.id for member in voters_of(self.members)}
        ready = (one for one in self.family if one.usable and one.node.service_active is False)
        return tuple(sorted(one.name for one in ready if one.member_id in ids and not one.running))


def plan_recovery(
    evidence: Evidence, lost: frozenset[str], now: float, choice: Choice | None = None
) -> Planned:
    """Return what to do, and what stands in the way of it. With a blocker the plan must not be applied.

    `lost` are the members that the operator declares lost, `now` is wall time, `choice` what the operator
    decided where evidence can't.
    """
    survey = _survey(evidence, lost, now, choice or Choice())
    serving = [node for node in evidence.nodes if node.live and node.live.quorate]
    if serving:
        return _plan(survey, Way.NOTHING), (obstacles.serves(serving, lost), *_old(survey))
    if _can_start(survey):
        return _start(survey)
    return _force(survey)


def _survey(evidence: Evidence, lost: frozenset[str], now: float, choice: Choice) -> _Survey:
    holders = holders_in(evidence)
    first = next((one for one in holders if one.name == choice.survivor), None)
    first = first or next((one for one in holders if one.usable), holders[0] if holders else None)
    family = tuple(one for one in holders if first and one.cluster_id == first.cluster_id)
    return _Survey(evidence, lost, now, choice, holders, family)


def _can_start(survey: _Survey) -> bool:
    """Enough are there, or can be; a survivor that the operator named goes before that."""
    there = len(survey.voters_running) + len(survey.startable)
    enough = there >= quorum(len(voters_of(survey.members)))
    return bool(survey.members and survey.startable and enough and not survey.choice.survivor)


def _start(survey: _Survey) -> Planned:
    """Start what is stopped, unless PostgreSQL proves its keys to be old."""
    views = scopes_of(survey.evidence, _keys(survey.family[0].node), survey.choice)
    old = [keys_are_old(v.plan.scope, v.against, v.plan.leader_in_dcs) for v in views if v.against]
    if old:
        plan, found = _force(survey)
        return plan, (*found, *old)
    scopes = tuple(replace(view.plan, should_lead=None, stale=()) for view in views)
    chosen = tuple(line for view in views if view.plan.chosen for line in view.losses)
    plan = replace(_plan(survey, Way.START), start=survey.startable, scopes=scopes, losses=chosen)
    return with_id(replace(plan, id="")), tuple(_about_starting(survey, views))


def _about_starting(survey: _Survey, views: tuple[ScopeView, ...]) -> Iterator[Finding]:
    voters = len(voters_of(survey.members))
    starting = [one.node for one in survey.family if one.name in survey.startable]
    forgotten = left_out(survey.evidence, survey.family)
    yield from obstacles.other_clusters(survey.holders, survey.family, survey.choice)
    yield from obstacles.wrongly_lost(survey.lost, survey.evidence)
    yield obstacles.can_start(survey.startable, survey.voters_running, voters, forgotten)
    yield from obstacles.moved(starting, survey.members)
    yield from unknown_scopes(survey.choice, (view.plan.scope for view in views))
    for view in views:
        yield from about_postgres(view.findings, whole=not forgotten)
    yield from _old(survey)


def _force(survey: _Survey) -> Planned:
    holder = _survivor(survey)
    if holder is None:
        found = (obstacles.no_survivor(survey.holders, survey.choice.survivor), *_old(survey))
        return _plan(survey, Way.FORCE), found
    fences = fences_around(holder.name, survey.evidence, survey.family, survey.lost)
    views = scopes_of(survey.evidence, _keys(holder.node), survey.choice)
    plan = replace(
        _plan(survey, Way.FORCE),
        survivor=_described(holder, survey.family),
        fence=fences,
        scopes=tuple(view.plan for view in views),
        rebuild=tuple(fence.seat for fence in fences if _comes_back(fence, holder)),
        losses=(*_lost_entries(holder, fences, survey), *(line for view in views for line in view.losses)),
    )
    return with_id(plan), tuple(_findings(survey, holder, plan, views))


def _plan(survey: _Survey, way: Way) -> RecoveryPlan:
    """Return the part that every plan has."""
    return with_id(
        RecoveryPlan(
            id="",
            made_at=survey.now,
            way=way,
            namespace=survey.evidence.namespace,
            cluster_id=survey.family[0].cluster_id if survey.family else 0,
            voters=len(voters_of(survey.members)),
            minimum_term=max((one.term for one in survey.family), default=0),
            choices=tuple(_choices(survey)),
        )
    )


def _choices(survey: _Survey) -> Iterator[str]:
    yield from (f"--lost {name}" for name in sorted(survey.lost))
    if survey.choice.survivor:
        yield f"--survivor {survey.choice.survivor}"
    yield from (f"--lead {scope}={name}" for scope, name in survey.choice.leads)
    yield from map(without_option, survey.choice.without)


def _survivor(survey: _Survey) -> Holder | None:
    """The operator's choice where it is fit; else the most advanced; else a damaged one, which is blocked."""
    fit = [one for one in survey.family if not one.unfit and not one.apart]
    if survey.choice.survivor:
        return next((one for one in fit if one.name == survey.choice.survivor), None)
    return next((one for one in fit if not one.damage), fit[0] if fit else None)


def _findings(
    survey: _Survey, holder: Holder, plan: RecoveryPlan, views: tuple[ScopeView, ...]
) -> Iterator[Finding]:
    evidence, chosen = survey.evidence, bool(survey.choice.survivor)
    yield from obstacles.other_clusters(survey.holders, survey.family, survey.choice)
    yield from obstacles.majority_runs(survey.voters_running, len(voters_of(survey.members)), chosen=chosen)
    yield from obstacles.quorum_elsewhere(evidence, plan.fence)
    yield from obstacles.damaged(holder, chosen=chosen)
    yield from obstacles.fresher(holder, survey.family, survey.lost, chosen=chosen)
    yield from obstacles.unread(plan.fence, evidence, chosen=chosen)
    yield from obstacles.about_node(holder)
    yield from obstacles.learners_left(holder, plan.fence)
    away = frozenset(unseen(survey.evidence, survey.family))
    yield from fencing_findings(plan.fence, evidence, survey.lost - away, holder.name)
    yield from can_come_back(away - survey.lost)
    yield from unknown_scopes(survey.choice, (view.plan.scope for view in views))
    for view in views:
        yield from view.findings
    yield from _old(survey)


def _described(holder: Holder, family: tuple[Holder, ...]) -> Survivor:
    own = next((member for member in holder.members if member.id == holder.member_id), None)
    return Survivor(
        node=holder.name,
        member_id=holder.member_id,
        term=holder.term,
        last_term=holder.last_term,
        last_index=holder.last_index,
        commit=holder.commit,
        running=holder.running,
        why=_why(holder, family),
        peer_urls=holder.node.peer_urls or (own.peer_urls if own else ()),
        auth_roots=holder.node.data.auth_roots if holder.node.data else None,
    )


def _why(holder: Holder, family: tuple[Holder, ...]) -> str:
    others = "; ".join(_against(one, holder) for one in family if one.name != holder.name)
    return f"{holder.describe()}" + (f", against {others}" if others else ", the only copy that was found")


def _against(one: Holder, holder: Holder) -> str:
    reasons = [one.unfit, f"damaged: {one.damage[0]}" if one.damage else "", one.apart]
    why = next((reason for reason in reasons if reason), "")
    if why:
        return f"{one.describe()}: {why}"
    if one.position == holder.position:
        return f"{one.describe()}: equal" + (
            ", but not running" if holder.running and not one.running else ""
        )
    less = holder.last_index - one.last_index
    return f"{one.describe()}: {f'{less} entries less' if less > 0 else 'an earlier term'}"


def _comes_back(fence: Fence, holder: Holder) -> bool:
    """A learner stays out: made new it would vote, and there would be an even number of voters."""
    return not fence.lost and fence.member_id in {member.id for member in voters_of(holder.members)}


def _lost_entries(holder: Holder, fences: tuple[Fence, ...], survey: _Survey) -> Iterator[str]:
    """Say what of the DCS is, or may be, lost. Only what was found can be counted."""
    looked_at = {one.member_id for one in survey.family if one.node.data}
    unseen = ", ".join(fence.node for fence in fences if fence.member_id not in looked_at)
    if unseen:
        yield (
            f"DCS: writes after raft index {holder.last_index} (term {holder.last_term}), "
            f"{_written(holder.node, survey.now)}, that only {unseen} had; nobody could look, so how many is "
            "not known"
        )
    if holder.last_index > holder.commit:
        yield (
            f"DCS: up to {holder.last_index - holder.commit} entries of {holder.name} after its commit index "
            f"{holder.commit}: etcd drops what is not marked as committed, be it acknowledged"
        )
    for one in survey.family:
        if one.is_ahead_of(holder):
            yield f"DCS: what {one.describe()} has and {holder.name} has not"


def _written(node: NodeEvidence, now: float) -> str:
    at = node.data.last_written_at if node.data else None
    return "written at a time not known" if at is None else f"last written {now - at:.0f} s ago"


def _keys(node: NodeEvidence) -> tuple[KeyValue, ...]:
    """A running member has applied what its database on disk may still miss."""
    if node.live and node.live.keys:
        return node.live.keys
    return node.data.keys if node.data else ()


def _old(survey: _Survey) -> Iterator[Finding]:
    age = survey.now - survey.evidence.collected_at
    if age > OLD:
        yield warning(
            "EVIDENCE_OLD", "evidence", f"it is {age:.0f} s old", f"collect again right before: {COLLECT}"
        )
