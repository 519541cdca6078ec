"""Whom to talk to now: clients of the members as they were last seen."""

from __future__ import annotations

from patroni_etcd_reconfig.core.changes import MemberRef, Seat
from patroni_etcd_reconfig.core.model import EtcdView, Member, MemberView, format_id
from patroni_etcd_reconfig.errors import (
    EtcdError,
    EtcdUnreachableError,
    MembershipError,
    NoLeaderError,
    UnreachableError,
)
from patroni_etcd_reconfig.observe.etcd import PROBE_READ
from patroni_etcd_reconfig.ports import EtcdApi, EtcdConnector


class Roster:
    """The members as the last look showed them. Safe to use from several threads."""

    def __init__(self, connect: EtcdConnector, timeout: float) -> None:
        self._connect = connect
        self._timeout = timeout
        self._healthy: tuple[str, ...] = ()
        self._leader: str | None = None
        self._seen: EtcdView | None = None

    @property
    def seen(self) -> EtcdView:
        """Return the last look."""
        if self._seen is None:
            raise UnreachableError("no look was taken yet")
        return self._seen

    def update(self, etcd: EtcdView) -> None:
        """Take over what a look has shown; when nobody is healthy, the former members are kept."""
        self._seen, leader = etcd, etcd.leader
        ordered = sorted(etcd.healthy_voters, key=lambda view: view.id != etcd.leader_id)
        self._healthy = tuple(_url(view) for view in ordered if view.member.client_urls) or self._healthy
        self._leader = _url(leader) if leader and leader.member.client_urls else None

    def voters(self) -> list[EtcdApi]:
        """Return clients of the healthy voters, the leader first."""
        if not self._healthy:
            raise UnreachableError("no etcd member is healthy", hint="patronictl-etcd status")
        return [self._connect(url, self._timeout) for url in self._healthy]

    def leader(self, timeout: float | None = None) -> EtcdApi:
        """Return a client of the raft leader: membership changes always go there."""
        if self._leader is None:
            raise NoLeaderError("etcd has no leader now", hint="wait, then: patronictl-etcd resume")
        return self._connect(self._leader, timeout or self._timeout)

    def of(self, view: MemberView, timeout: float | None = None) -> EtcdApi:
        """Return a client of one member, which must have published a client URL."""
        return self._connect(_url(view), timeout or self._timeout)


def listed(roster: Roster) -> dict[int, Member]:
    """Return the members, read after a linearizable read on the same member.

    From the leader, or from the next healthy voter where it does not answer: raft may be well all the same.
    """
    *others, last = roster.voters()
    for client in others:
        try:
            return _listed_by(client)
        except EtcdError as error:
            if not (error.outcome_unknown or isinstance(error, EtcdUnreachableError)):
                raise
    return _listed_by(last)


def _listed_by(client: EtcdApi) -> dict[int, Member]:
    client.range(PROBE_READ)
    return {member.id: member for member in client.member_list().members}


def still_listed(roster: Roster, ref: MemberRef) -> Member:
    """Return a member as the list has it now, by its id; MembershipError when it is gone."""
    present = listed(roster).get(ref.id)
    if present is None:
        raise MembershipError(
            f"{ref.name} ({format_id(ref.id)}) is no member any more",
            hint="patronictl-etcd status; patronictl-etcd abort",
        )
    return present


def must_be_listed(roster: Roster, ref: MemberRef, *seats: Seat) -> None:
    """Raise MembershipError unless the list has this member, by id, name and URLs, now."""
    must_be(ref, still_listed(roster, ref), *seats)


def must_be(ref: MemberRef, member: Member, *seats: Seat) -> None:
    """Raise MembershipError unless a member has the name and URLs of the plan, or of one of the seats."""
    allowed = (ref.seat, *seats)
    renamed = member.started and member.name not in {seat.name for seat in allowed}
    if renamed or set(member.peer_urls) not in [set(seat.peer_urls) for seat in allowed]:
        raise MembershipError(
            f"member {format_id(ref.id)} is {member.name} at {', '.join(member.peer_urls)}, "
            f"the plan says {ref.name} at {', '.join(ref.peer_urls)}",
            hint="start a new operation from what is there now: patronictl-etcd status",
        )


def _url(view: MemberView) -> str:
    """Where it answered: a member may advertise the URLs of others for a while (core/hiding.py)."""
    return view.endpoint or view.member.client_urls[0]
