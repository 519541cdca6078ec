"""What a member that is to be elsewhere must be, and what its new place must not be."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.changes import Change, Relocation
from patroni_etcd_reconfig.core.findings import Finding, blocker, warning
from patroni_etcd_reconfig.core.hiding import shares_urls
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
            detail = f"{', '.join(to.seat.peer_urls)} is a URL of member {format_id(taken.id)}, too"
            yield blocker("PEER_URL_TAKEN", to.member.name, detail, "choose another peer URL")


def check_client_urls(etcd: EtcdView, change: Change) -> Iterator[Finding]:
    """A URL that somebody else serves is none to listen on: the member would not start, or be two.

    Who hides behind others' URLs (core/hiding.py) does not own them.
    """
    for name, wanted, may in _wanted_client_urls(etcd, change):
        members = [view.member for view in etcd.members]
        owners = (m for m in members if m.id not in may and not (m.is_learner and shares_urls(m, members)))
        for member in owners:
            shared = ", ".join(sorted(wanted & {*member.client_urls, *member.peer_urls}))
            if shared:
                detail = f"{shared} is a URL of member {member.name or format_id(member.id)}, too"
                yield blocker("CLIENT_URL_TAKEN", name, detail, "choose another client URL")


def _wanted_client_urls(etcd: EtcdView, change: Change) -> Iterator[tuple[str, set[str], set[int]]]:
    """Give who gets client URLs, which are new to it, and the ids of those who may have them before."""
    for to in change.relocations:
        yield to.member.name, set(to.client_urls) - set(to.former_client_urls), {to.member.id}
    for seat in change.seats:
        there = etcd.by_peer_urls(seat.peer_urls)
        leaving = {victim.id for victim in change.victims}
        yield seat.name, set(seat.client_urls), leaving | ({there.id} if there else set())


def check_own_urls(change: Change) -> Iterator[Finding]:
    """etcd can't listen for peers and for clients on the same URL."""
    places = [(to.seat, to.client_urls) for to in change.relocations]
    for seat, client_urls in (*places, *((seat, seat.client_urls) for seat in change.seats)):
        shared = ", ".join(sorted(set(client_urls) & set(seat.peer_urls)))
        if shared:
            detail = f"{shared} would be its peer URL and its client URL"
            yield blocker("CLIENT_URL_TAKEN", seat.name, detail, "choose another client URL")


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
    return next((member for member in others if wanted & {*member.peer_urls, *member.client_urls}), None)
