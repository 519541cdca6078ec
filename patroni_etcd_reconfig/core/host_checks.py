"""Does each Patroni file name a member, now and once the change is done?

Patroni reads its host list only at its start: then one of them must be a member.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from patroni_etcd_reconfig.core.changes import Change, MemberRef, Seat
from patroni_etcd_reconfig.core.findings import Finding, blocker, warning
from patroni_etcd_reconfig.core.model import EtcdView, Member, MemberView, Observation


def check_hosts(etcd: EtcdView, seen: Observation, word: str = "is") -> Iterator[Finding]:
    """Judge Patroni's host lists by the client URLs of the members; `word` tells which time is meant."""
    live = _endpoints(etcd)
    for hosts in seen.patroni_hosts:
        good = live & set(hosts.endpoints)
        remedy = f"list the members there: {', '.join(sorted(live))}"
        if not good:
            listed = ", ".join(hosts.endpoints)
            detail = f"none of its etcd hosts ({listed}) {word} a member"
            yield blocker("HOSTS_STALE", hosts.source, detail, remedy)
        elif len(good) == 1 and len(etcd.voters) > 1:
            only = f"only {next(iter(good))} of its etcd hosts {word} a member: "
            detail = f"{only}Patroni can't start when that one is down"
            yield warning("HOSTS_SINGLE", hosts.source, detail, remedy)


def check_hosts_after(seen: Observation, change: Change) -> Iterator[Finding]:
    """Judge Patroni's host lists by the client URLs of afterwards; what is wrong before is told already."""
    before = {(finding.code, finding.subject) for finding in check_hosts(seen.etcd, seen)}
    after = _afterwards(seen.etcd, change)
    found = check_hosts(after, seen, "will be")
    yield from (finding for finding in found if (finding.code, finding.subject) not in before)
    yield from _check_leaving(seen, change, _endpoints(after))


def _afterwards(etcd: EtcdView, change: Change) -> EtcdView:
    """Return the members that there will be, with the client URLs that are known of them.

    A learner that stays one counts as it did: it serves Patroni nothing.
    """
    gone = {victim.id for victim in change.victims}
    moved = {to.member.id: to.client_urls for to in change.relocations}
    joiners = () if change.as_learners else change.joiners
    seats = {url for seat in joiners for url in seat.peer_urls}
    stay = tuple(
        replace(view, member=replace(view.member, client_urls=moved.get(view.id, view.member.client_urls)))
        for view in etcd.members
        if view.id not in gone and not seats & set(view.member.peer_urls)
    )
    new = (Member(0, seat.name, seat.peer_urls, _urls_of(etcd, change, seat)) for seat in joiners)
    return replace(etcd, members=(*stay, *map(MemberView, new)))


def _urls_of(etcd: EtcdView, change: Change, seat: Seat) -> tuple[str, ...]:
    """Return a joiner's client URLs; where nobody said, those of who is in its place or on its node now."""
    former = next((victim.id for victim in change.victims if victim.name == seat.name), None)
    view = etcd.by_peer_urls(seat.peer_urls) or etcd.by_id(former)
    return seat.client_urls or (view.member.client_urls if view else ())


def _check_leaving(seen: Observation, change: Change, after: frozenset[str]) -> Iterator[Finding]:
    """Say which listed endpoints go, and what comes in their place."""
    for name, former, coming in _leavers(seen.etcd, change):
        leaving = {_endpoint(url) for url in former} - after
        for hosts in seen.patroni_hosts:
            listed = sorted(leaving & set(hosts.endpoints))
            new = ", ".join(url for url in map(_endpoint, coming) if url not in hosts.endpoints)
            if listed:
                yield warning(
                    "HOSTS_OUTDATED",
                    hosts.source,
                    f"lists {', '.join(listed)}, which {name} leaves",
                    f"{f'list {new} instead' if new else 'take it out'}, in every Patroni file",
                )


def _leavers(etcd: EtcdView, change: Change) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Give who leaves its client URLs, these, and what comes in their place."""
    for to in change.relocations:
        yield to.seat.name, to.former_client_urls, to.client_urls
    for victim in change.victims:
        view = etcd.by_id(victim.id)
        if view:
            yield victim.name, view.member.client_urls, _in_place_of(etcd, change, victim)


def _in_place_of(etcd: EtcdView, change: Change, victim: MemberRef) -> tuple[str, ...]:
    successor = change.successor_of(victim)
    seats = (successor,) if successor else change.joiners
    return tuple(url for seat in seats for url in _urls_of(etcd, change, seat))


def _endpoints(etcd: EtcdView) -> frozenset[str]:
    return frozenset(_endpoint(url) for view in etcd.members for url in view.member.client_urls)


def _endpoint(url: str) -> str:
    return url.split("://", 1)[-1]
