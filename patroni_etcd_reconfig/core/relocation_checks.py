"""What a member that is to be elsewhere must be, and what its new place must not be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from patroni_etcd_reconfig.core.changes import Change, Relocation
from patroni_etcd_reconfig.core.findings import Finding, blocker, warning
from patroni_etcd_reconfig.core.model import EtcdView, Member, Observation, format_id

_AGAIN = "start a new operation from what is there now: patronictl-etcd status"


def check_identities(etcd: EtcdView, change: Change) -> Iterator[Finding]:
    """A member that is relocated has the peer URLs of before or those of afterwards, and no others."""
    for to in change.relocations:
        view = etcd.by_id(to.member.id)
        allowed = {frozenset(to.member.peer_urls), frozenset(to.seat.peer_urls)}
        if view and frozenset(view.member.peer_urls) not in allowed:
            urls = ", ".join(view.member.peer_urls)
            detail = f"member {format_id(view.id)} has the peer URL {urls}, which the change does not name"
            yield blocker("MEMBERSHIP_CHANGED", to.member.name, detail, _AGAIN)
        taken = _owner(etcd, to)
        if taken:
            detail = f"{', '.join(to.seat.peer_urls)} is a peer URL of member {format_id(taken.id)}, too"
            yield blocker("PEER_URL_TAKEN", to.member.name, detail, "choose another peer URL")


def check_learners(etcd: EtcdView, change: Change) -> Iterator[Finding]:
    """etcd's member update makes a learner a voter in the list, while raft goes on without its vote."""
    for to in change.relocations:
        view = etcd.by_id(to.member.id)
        if view and (view.member.is_learner or (view.status and view.status.is_learner)):
            yield blocker(
                "LEARNER_RELOCATED",
                to.member.name,
                "it is a learner: etcd would count it as a voter in the list, and raft would not "
                "(etcd-io/etcd#21694)",
                f"promote it first (patronictl-etcd promote {to.member.name}), or remove and add it again",
            )


def check_hosts_after(seen: Observation, change: Change) -> Iterator[Finding]:
    """Judge Patroni's host lists by the client URLs of afterwards."""
    before = set(check_hosts(seen.etcd, seen))
    after = seen.etcd
    for to in change.relocations:
        after = _with_client_urls(after, to)
    yield from (finding for finding in check_hosts(after, seen) if finding not in before)
    yield from _check_leaving(seen, change)


def check_hosts(etcd: EtcdView, seen: Observation) -> Iterator[Finding]:
    """Patroni reads its host list only at its start: then one of them must still be a member."""
    live = {_endpoint(url) for view in etcd.members for url in view.member.client_urls}
    for hosts in seen.patroni_hosts:
        good = live & set(hosts.endpoints)
        remedy = f"list the members there: {', '.join(sorted(live))}"
        if not good:
            listed = ", ".join(hosts.endpoints)
            yield blocker(
                "HOSTS_STALE", hosts.source, f"none of its etcd hosts ({listed}) is a member", remedy
            )
        elif len(good) == 1 and len(etcd.voters) > 1:
            only = f"only {next(iter(good))} of its etcd hosts is a member: "
            detail = f"{only}Patroni can't start when that one is down"
            yield warning("HOSTS_SINGLE", hosts.source, detail, remedy)


def _check_leaving(seen: Observation, change: Change) -> Iterator[Finding]:
    """Say which listed endpoints go, and what comes in their place."""
    for to in change.relocations:
        leaving = {_endpoint(url) for url in to.former_client_urls} - {_endpoint(u) for u in to.client_urls}
        for hosts in seen.patroni_hosts:
            listed = sorted(leaving & set(hosts.endpoints))
            coming = ", ".join(_endpoint(url) for url in to.client_urls)
            if listed:
                yield warning(
                    "HOSTS_OUTDATED",
                    hosts.source,
                    f"lists {', '.join(listed)}, which {to.seat.name} leaves",
                    f"list {coming} instead, in every Patroni file",
                )


def check_inventory_after(seen: Observation, change: Change) -> Iterator[Finding]:
    """An inventory that names the URLs of before would have `apply` move the member back."""
    moved = [(to.seat, to.client_urls) for to in change.relocations]
    for seat, client_urls in (*moved, *((seat, seat.client_urls) for seat in change.joiners)):
        node = seen.nodes.get(seat.name)
        for key, wanted in (("peer_url", seat.peer_urls), ("client_url", client_urls)):
            written = getattr(node, f"{key}s") if node else ()
            if written and wanted and set(written) != set(wanted):
                yield warning(
                    "INVENTORY_OUTDATED",
                    seat.name,
                    f"the inventory gives it {key} {', '.join(written)}, it will be {', '.join(wanted)}",
                    f"correct {key} in the inventory: `apply` would move the member back",
                )


def _owner(etcd: EtcdView, to: Relocation) -> Member | None:
    wanted = set(to.seat.peer_urls)
    others = (view.member for view in etcd.members if view.id != to.member.id)
    return next((member for member in others if wanted & set(member.peer_urls)), None)


def _with_client_urls(etcd: EtcdView, to: Relocation) -> EtcdView:
    members = tuple(
        replace(view, member=replace(view.member, client_urls=to.client_urls))
        if view.id == to.member.id
        else view
        for view in etcd.members
    )
    return replace(etcd, members=members)


def _endpoint(url: str) -> str:
    return url.split("://", 1)[-1]
