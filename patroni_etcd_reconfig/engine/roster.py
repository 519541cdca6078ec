"""Whom to talk to now: clients of the members as they were last seen."""

from __future__ import annotations

from patroni_etcd_reconfig.core.model import EtcdView, MemberView
from patroni_etcd_reconfig.errors import NoLeaderError, UnreachableError
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


def _url(view: MemberView) -> str:
    return view.member.client_urls[0]
