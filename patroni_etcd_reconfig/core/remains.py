"""What a change that is ended in the middle leaves behind, and the commands that go on from there."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.changes import Change, MemberRef, Seat
from patroni_etcd_reconfig.core.findings import Finding, info
from patroni_etcd_reconfig.core.hiding import left_hidden
from patroni_etcd_reconfig.core.model import EtcdView, format_id

NOTHING = "nothing to do"


def what_stays(etcd: EtcdView, begun: Change, done: frozenset[str] = frozenset()) -> tuple[Finding, ...]:
    """Say what becomes of every member that the change was about, once its half-joined learner is gone.

    `done` names the members whose restart or upgrade came to its end.
    """
    restarts = (_of_restart(etcd, begun, ref, ref.name in done) for ref in begun.restarts)
    return (*_remains(etcd, begun), *restarts)


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
    for seat in left_hidden(etcd, begun):
        own = " ".join(f"--client-url {url}" for url in seat.client_urls)
        yield _stays(
            seat.name,
            "votes and advertises the client URLs of others: its restart would cost the quorum",
            f"once enough voters are healthy: patronictl-etcd update-urls {seat.name} {own}",
        )


def _of_victim(etcd: EtcdView, victim: MemberRef, successor: Seat | None) -> Iterator[Finding]:
    name = victim.name or format_id(victim.id)
    if etcd.by_id(victim.id):
        yield _stays(name, "stays as it is")
    elif successor is None:
        yield _stays(name, "stays removed")
    elif not _votes(etcd, successor):
        yield _stays(name, "stays removed", f"to have it back: patronictl-etcd add {successor.name}")


def _of_restart(etcd: EtcdView, begun: Change, ref: MemberRef, done: bool) -> Finding:
    """A restart is not taken back, nor a version: say which members have it, and what they run."""
    view, name = etcd.by_id(ref.id), ref.name or format_id(ref.id)
    version = view.status.version if view and view.status else ""
    verb = "upgrade" if begun.command else "restart"
    runs = f"runs {version}" if version else "does not answer now"
    shown = f", and {runs}" if begun.command or not version else ""
    if done or (begun.to_version and version == begun.to_version):
        return _stays(name, f"was {verb}{'d' if begun.command else 'ed'}{shown}")
    further = " --command ..." if begun.command else ""
    remedy = f"to {verb} it: patronictl-etcd {verb} {name}{further}"
    return _stays(name, f"was not {verb}{'d' if begun.command else 'ed'}{shown}", remedy)


def _stays(subject: str, detail: str, remedy: str = NOTHING) -> Finding:
    return info("STAYS", subject, detail, remedy)


def _votes(etcd: EtcdView, seat: Seat) -> bool:
    view = etcd.by_peer_urls(seat.peer_urls)
    return view is not None and not view.member.is_learner
