"""From what the endpoints have said to one view of the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from patroni_etcd_reconfig.core.hiding import is_hidden
from patroni_etcd_reconfig.core.model import (
    EtcdView,
    Member,
    MemberStatus,
    MemberView,
    Stranger,
    format_id,
)
from patroni_etcd_reconfig.errors import EtcdError
from patroni_etcd_reconfig.ports import MemberList, Metrics

Addresses = Mapping[str, tuple[str, ...]]  # client URLs by member name


@dataclass
class Answer:
    """What one endpoint has said so far; filled in by its own thread."""

    url: str
    status: MemberStatus | None = None
    listed: MemberList | None = None
    revision: int | None = None  # set once a linearizable read worked
    metrics: Metrics | None = None
    error: EtcdError | None = None
    ended: bool = False  # it has nothing more to say
    rests: bool = False  # not asked (yet): it was silent a moment ago


def endpoints(members: tuple[Member, ...], addresses: Addresses) -> tuple[str, ...]:
    """Return where to ask all members, those that hide behind others' URLs included."""
    return tuple(dict.fromkeys(url for member in members for url in _urls_of(member, members, addresses)))


def _urls_of(member: Member, members: tuple[Member, ...], addresses: Addresses) -> tuple[str, ...]:
    own = addresses.get(member.name, ())
    return own if is_hidden(member, own, members) else member.client_urls


def make_view(best: MemberList, answers: list[Answer], addresses: Addresses) -> EtcdView:
    """Return the cluster as the most trusted list has it, with what each member said of itself."""
    fresh = [a for a in answers if a.revision is not None and a.listed]
    # A member that is cut off may have a higher term, from elections that it can't win.
    trusted = fresh or answers
    ours = [a.status for a in trusted if a.status and a.status.cluster_id == best.cluster_id]
    newest = max(ours, key=_authority, default=None)
    return EtcdView(
        cluster_id=best.cluster_id,
        members=tuple(_member_view(m, best, answers, addresses) for m in _by_name(best.members)),
        leader_id=newest.leader_id if newest else None,
        revision=max((a.revision or 0 for a in fresh), default=0),
        linearizable=bool(fresh),
        strangers=_strangers(best, answers),
    )


def _strangers(best: MemberList, answers: list[Answer]) -> tuple[Stranger, ...]:
    """Return who answers and is not in the list: one entry for each member, however many URLs it has."""
    ours = {(best.cluster_id, member.id) for member in best.members}
    found: dict[tuple[int, int], Stranger] = {}
    for answer in answers:
        said = answer.status
        if said and (said.cluster_id, said.member_id) not in ours:
            rows = answer.listed.members if answer.listed else ()
            name = next((row.name for row in rows if row.id == said.member_id), "")
            stranger = Stranger(
                answer.url, said.cluster_id, said.member_id, name, serves_reads=answer.revision is not None
            )
            found.setdefault((said.cluster_id, said.member_id), stranger)
    return tuple(found.values())


def _authority(status: MemberStatus) -> tuple[bool, int, int]:
    return (status.leader_id is not None, status.raft_term, status.raft_applied_index)


def _by_name(members: tuple[Member, ...]) -> list[Member]:
    return sorted(members, key=lambda member: (member.name or "\uffff", member.id))


def _member_view(member: Member, best: MemberList, answers: list[Answer], addresses: Addresses) -> MemberView:
    own = [answer for answer in answers if answer.status and answer.status.member_id == member.id]
    if own:
        answer = max(own, key=lambda a: (a.revision is not None, a.url in member.client_urls))
        return _answered(member, best.cluster_id, answer)
    urls = _urls_of(member, best.members, addresses)
    silent = [answer for answer in answers if answer.url in urls]
    return MemberView(member, error=_why(silent[0]) if silent else "")


def _answered(member: Member, cluster_id: int, answer: Answer) -> MemberView:
    if answer.status and answer.status.cluster_id != cluster_id:
        return MemberView(member, error=f"belongs to another cluster, {format_id(answer.status.cluster_id)}")
    metrics = answer.metrics
    return MemberView(
        member,
        _with_quota(answer.status, metrics),
        serves_reads=answer.revision is not None,
        connected_to=metrics.connected if metrics else None,
        sends_snapshot_to=metrics.sends_snapshot_to if metrics else frozenset(),
        error=answer.error.message if answer.error else "",
        alarms=_alarms(member, answer.status),
        endpoint=answer.url,
    )


def _with_quota(status: MemberStatus | None, metrics: Metrics | None) -> MemberStatus | None:
    """Status tells the quota since etcd 3.6, the metrics of older versions do, too."""
    if status is None or metrics is None or status.db_size_quota:
        return status
    return replace(status, db_size_quota=metrics.quota)


def _alarms(member: Member, status: MemberStatus | None) -> tuple[str, ...]:
    """Every member reports every alarm, as `memberID:123 alarm:NOSPACE`: keep those about this one."""
    mine = f"memberID:{member.id} alarm:"
    errors = status.errors if status else ()
    return tuple(text.strip().removeprefix(mine) for text in errors if text.strip().startswith(mine))


def _why(answer: Answer) -> str:
    if answer.status:
        return f"member {format_id(answer.status.member_id)} answers there instead"
    return answer.error.message if answer.error else "no answer in time"
