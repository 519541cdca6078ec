"""What a change that is ended in the middle leaves behind, and the commands that go on from there."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.changes import Change, MemberRef, Seat
from patroni_etcd_reconfig.core.model import EtcdView, format_id


def what_stays(etcd: EtcdView, begun: Change) -> tuple[str, ...]:
    """Say what becomes of every member that the change was about, once its half-joined learner is gone."""
    return tuple(_remains(etcd, begun))


def _remains(etcd: EtcdView, begun: Change) -> Iterator[str]:
    successors = [begun.successor_of(victim) for victim in begun.victims]
    for victim, successor in zip(begun.victims, successors, strict=True):
        yield from _of_victim(etcd, victim, successor)
    for seat in begun.joiners:
        if seat not in successors and not _votes(etcd, seat):
            yield f"{seat.name} is not added; to add it: patronictl-etcd add {seat.name}"
    for to in begun.relocations:
        yield f"{to.member.name} keeps its id and its data, and the URLs of before unless all was done"
    if begun.stand_in and _votes(etcd, begun.stand_in):
        name = begun.stand_in.name
        yield f"the spare {name} stays a member; to free it: patronictl-etcd remove {name}"


def _of_victim(etcd: EtcdView, victim: MemberRef, successor: Seat | None) -> Iterator[str]:
    name = victim.name or format_id(victim.id)
    if etcd.by_id(victim.id):
        yield f"{name} stays as it is"
    elif successor is None:
        yield f"{name} stays removed"
    elif not _votes(etcd, successor):
        yield f"{name} stays removed; to have it back: patronictl-etcd add {successor.name}"


def _votes(etcd: EtcdView, seat: Seat) -> bool:
    view = etcd.by_peer_urls(seat.peer_urls)
    return view is not None and not view.member.is_learner
