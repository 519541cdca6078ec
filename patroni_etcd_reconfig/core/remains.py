"""What a change that is ended in the middle leaves behind, and the commands that go on from there."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.changes import Change, MemberRef, Seat
from patroni_etcd_reconfig.core.findings import Finding, info
from patroni_etcd_reconfig.core.model import EtcdView, format_id

NOTHING = "nothing to do"


def what_stays(etcd: EtcdView, begun: Change) -> tuple[Finding, ...]:
    """Say what becomes of every member that the change was about, once its half-joined learner is gone."""
    return tuple(_remains(etcd, begun))


def in_words(finding: Finding) -> str:
    """Return a finding of `what_stays` as one sentence."""
    further = "" if finding.remedy == NOTHING else f"; {finding.remedy}"
    return f"{finding.subject} {finding.detail}{further}"


def _remains(etcd: EtcdView, begun: Change) -> Iterator[Finding]:
    successors = [begun.successor_of(victim) for victim in begun.victims]
    for victim, successor in zip(begun.victims, successors, strict=True):
        yield from _of_victim(etcd, victim, successor)
    for seat in begun.joiners:
        if seat not in successors and not _votes(etcd, seat):
            yield _stays(seat.name, "is not added", f"to add it: patronictl-etcd add {seat.name}")
    for to in begun.relocations:
        yield _stays(to.member.name, "keeps its id and its data, and the URLs of before unless all was done")
    if begun.stand_in and _votes(etcd, begun.stand_in):
        name = begun.stand_in.name
        yield _stays(name, "stays a member: the spare", f"to free it: patronictl-etcd remove {name}")


def _of_victim(etcd: EtcdView, victim: MemberRef, successor: Seat | None) -> Iterator[Finding]:
    name = victim.name or format_id(victim.id)
    if etcd.by_id(victim.id):
        yield _stays(name, "stays as it is")
    elif successor is None:
        yield _stays(name, "stays removed")
    elif not _votes(etcd, successor):
        yield _stays(name, "stays removed", f"to have it back: patronictl-etcd add {successor.name}")


def _stays(subject: str, detail: str, remedy: str = NOTHING) -> Finding:
    return info("STAYS", subject, detail, remedy)


def _votes(etcd: EtcdView, seat: Seat) -> bool:
    view = etcd.by_peer_urls(seat.peer_urls)
    return view is not None and not view.member.is_learner
