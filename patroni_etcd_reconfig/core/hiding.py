"""Keeping a learner out of Patroni's sight until it votes.

Patroni asks every client URL of the member list, those of learners too. A learner of etcd 3.6 and later
refuses with FailedPrecondition, and Patroni asks the same learner again until it gives up and demotes its
primary. 3.4 and 3.5 refuse with Unavailable, upon which it turns to the next member, but older versions of it
ask the same one, too. So there a learner advertises the voters' client URLs, which etcd accepts, and its own
only after a restart, once it votes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from patroni_etcd_reconfig.core.changes import Change, Relocation, Seat, reference
from patroni_etcd_reconfig.core.hazards import parse_version
from patroni_etcd_reconfig.core.model import EtcdView, Member, MemberView, Observation
from patroni_etcd_reconfig.core.quorum import has_quorum_while_down, quorum

# ErrGRPCNotSupportedForLearner has been FailedPrecondition since this version (api/v3rpc/rpctypes/error.go).
TRAPS_SINCE = (3, 6, 0)
# Since these versions Patroni turns to another node upon Unavailable (dcs/etcd3.py, _handle_server_response).
TURNS_SINCE = {3: (3, 3, 7), 4: (4, 0, 6)}


def is_hidden(member: Member, own: tuple[str, ...], members: Iterable[Member]) -> bool:
    """Tell whether a member, whose own client URLs are given, advertises those of other voters instead."""
    return bool(own) and not set(own) & set(member.client_urls) and shares_urls(member, members)


def shares_urls(member: Member, members: Iterable[Member]) -> bool:
    """Tell whether a member advertises a client URL that another voter does, too: its own or that one's."""
    others = (other for other in members if other.id != member.id and not other.is_learner)
    return any(set(other.client_urls) & set(member.client_urls) for other in others)


def in_hiding(etcd: EtcdView, view: MemberView, seat: Seat) -> bool:
    """Tell whether the member on a seat advertises the URLs of others, and not the seat's."""
    return is_hidden(view.member, seat.client_urls, [other.member for other in etcd.members])


def reveals(etcd: EtcdView, change: Change) -> tuple[Relocation, ...]:
    """Return how new voters that are still hidden get their own URLs, for an operation that ends early."""
    return tuple(
        Relocation(reference(view.member), seat, seat.client_urls, seat.client_urls)
        for view, seat in _hidden_voters(etcd, change)
        if has_quorum_while_down(etcd, view.id)
    )


def left_hidden(etcd: EtcdView, change: Change) -> tuple[Seat, ...]:
    """Return the seats of new voters that such an end leaves hidden: a restart would cost the quorum."""
    return tuple(
        seat for view, seat in _hidden_voters(etcd, change) if not has_quorum_while_down(etcd, view.id)
    )


def _hidden_voters(etcd: EtcdView, change: Change) -> Iterator[tuple[MemberView, Seat]]:
    for seat in change.seats:
        view = etcd.by_peer_urls(seat.peer_urls)
        if view and not view.member.is_learner and in_hiding(etcd, view, seat):
            yield view, seat


def hides(seen: Observation, seat: Seat) -> bool:
    """Tell whether a learner on this seat is to be hidden.

    Not where its own client URL is unknown, and not where the restart after its promotion would leave no
    quorum (law 2), as in a cluster of one: when that one dies, no other member could serve Patroni.
    """
    restartable = len(seen.etcd.healthy_voters) >= quorum(len(seen.etcd.voters) + 1)
    return bool(seat.client_urls) and _traps(seen) and restartable


def asks_again(patroni: str) -> bool:
    """Tell whether a Patroni of this version asks the same member again upon Unavailable."""
    version = parse_version(patroni)
    return version is not None and version < TURNS_SINCE.get(version[0], version)


def _traps(seen: Observation) -> bool:
    """Tell whether a learner of this etcd could trap one of these Patronis."""
    etcds = (view.status.version for view in seen.etcd.members if view.status)
    patronis = (member.version for cluster in seen.patroni for member in cluster.members)
    newer = any((parse_version(version) or (0, 0, 0)) >= TRAPS_SINCE for version in etcds)
    return newer or any(asks_again(version) for version in patronis)


def shows_early(seen: Observation, learner: MemberView, seat: Seat) -> bool:
    """Tell whether a hidden learner gets its own URL before it votes: afterwards it could not be restarted.

    So many voters went since it was started that it would not be hidden now.
    """
    return in_hiding(seen.etcd, learner, seat) and not hides(seen, seat)


def borrowed_urls(etcd: EtcdView, seat: Seat) -> tuple[str, ...]:
    """Return what a hidden learner advertises: the client URLs of all healthy voters, so that some stay."""
    urls = (url for view in etcd.healthy_voters for url in view.member.client_urls)
    return tuple(dict.fromkeys(url for url in urls if url not in seat.client_urls))
