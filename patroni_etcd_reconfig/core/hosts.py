"""Which endpoints a Patroni file lists, against the members there are.

Patroni reads the list only at its start (not on reload: patroni issue 2411); then it asks one of them
for the members and goes on with those. So one live endpoint is enough to start, and none is fatal.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from patroni_etcd_reconfig.core.model import EtcdView, Health, PatroniHosts


@dataclass(frozen=True)
class HostsVerdict:
    """What one file lists: endpoints of members, of nobody, and members' endpoints that it lacks."""

    source: str
    members: tuple[str, ...]
    strangers: tuple[str, ...]
    missing: tuple[str, ...]
    reachable: int  # how many of the listed members are healthy now

    @property
    def starts(self) -> bool:
        """Tell whether Patroni would find etcd if it were started now."""
        return self.reachable > 0

    @property
    def words(self) -> str:
        """Say what would happen."""
        if not self.members:
            return "waits for etcd for ever and does not start PostgreSQL: lists no member"
        if not self.starts:
            return "waits for etcd: none of the members it lists is healthy"
        if self.reachable == 1 and self.missing:
            return "starts, but hangs on a single endpoint"
        return "starts; list is out of date" if self.strangers or self.missing else "starts"

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON contract's form."""
        return {**asdict(self), "starts": self.starts, "at_next_start": self.words}


def judge_hosts(etcd: EtcdView, hosts: PatroniHosts) -> HostsVerdict:
    """Compare a file's endpoints with the client URLs that members have published."""
    live = {_endpoint(url): view for view in etcd.members for url in view.member.client_urls}
    listed = [endpoint for endpoint in hosts.endpoints if endpoint in live]
    voting = {endpoint for endpoint, view in live.items() if not view.member.is_learner}
    return HostsVerdict(
        hosts.source,
        tuple(listed),
        tuple(endpoint for endpoint in hosts.endpoints if endpoint not in live),
        tuple(sorted(voting - set(listed))),
        sum(live[endpoint].health is Health.HEALTHY for endpoint in listed),
    )


def _endpoint(url: str) -> str:
    return url.split("://", 1)[-1]
