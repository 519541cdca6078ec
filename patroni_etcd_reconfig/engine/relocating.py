"""How a member gets to another place and stays the member it is: other URLs, the same id and data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.model import MemberView, format_id
from patroni_etcd_reconfig.core.steps import ReaddressMember, UpdatePeerUrls
from patroni_etcd_reconfig.core.urls import listening
from patroni_etcd_reconfig.engine.returning import HEALTH_INTERVAL, Returning
from patroni_etcd_reconfig.engine.roster import Roster, must_be, must_be_listed, still_listed
from patroni_etcd_reconfig.engine.world import Facts
from patroni_etcd_reconfig.errors import MembershipError, NodeControlError
from patroni_etcd_reconfig.ports import NodeControl


@dataclass
class Relocating:
    """Changes members' URLs, in the list and on their nodes."""

    roster: Roster
    nodes: Mapping[str, NodeControl]
    returning: Returning
    operation_id: str
    timeout: float  # of a change of the list, in seconds
    still_ours: Callable[[], None] = lambda: None  # raises LockedError when the lock may be lost

    def update(self, step: UpdatePeerUrls) -> Facts:
        """Change the peer URLs in the list, by id; sent once. URLs that are there already are fine."""
        member, wanted = step.member, set(step.peer_urls)
        present = still_listed(self.roster, member)
        if set(present.peer_urls) != wanted:
            must_be(member, present)
            self._refuse_learner(member.name, present.is_learner)
            self.still_ours()
            self.roster.leader(self.timeout).update_member(member.id, step.peer_urls)
        return {"updated": format_id(member.id)}

    def _refuse_learner(self, name: str, is_learner: bool) -> None:
        """The last look before the call: what a gate saw may be a second old."""
        if is_learner:
            raise MembershipError(
                f"{name} is a learner: its peer URLs can't be changed (etcd-io/etcd#21694)",
                hint=f"patronictl-etcd promote {name}",
            )

    def readdress(self, step: ReaddressMember) -> Facts:
        """Write the URLs into the node's configuration and restart; returns once the list shows them."""
        member = step.member
        must_be_listed(self.roster, member, step.seat)
        node = self.nodes[member.name]
        node.write_config(new_urls(node, step), self.operation_id)
        self.returning.may_stop(member, step.seat)
        node.stop()
        node.start()
        advice = (
            f"look at its etcd log, whether the others reach {', '.join(step.seat.peer_urls)}, and whether "
            "its command line or environment has URLs that win over its configuration file"
        )
        # Connections of before hide for a moment that nobody reaches a new peer URL.
        hold = HEALTH_INTERVAL if _moves(step) else 0.0
        there = partial(is_at, seat=step.seat, client_urls=step.client_urls)
        self.returning.await_back(member, node, advice, there, hold)
        # Law 1 counts from here: the connections are new.
        return {
            "restarted": format_id(member.id),
            "joined": format_id(member.id),
            "joined_at": self.returning.clock.wall(),
        }


def _moves(step: ReaddressMember) -> bool:
    return set(step.seat.peer_urls) != set(step.member.peer_urls)


def new_urls(node: NodeControl, step: ReaddressMember) -> dict[str, str]:
    """Return what the node's configuration must say; NodeControlError where it can't be told."""
    listen = {
        "listen-peer-urls": (step.member.peer_urls, step.seat.peer_urls),
        "listen-client-urls": (step.former_client_urls, step.client_urls),
    }
    settings = node.settings()
    return {
        "initial-advertise-peer-urls": ",".join(step.seat.peer_urls),
        "advertise-client-urls": ",".join(step.client_urls),
        **{
            flag: _listen(node, flag, settings.get(flag, ""), former, wanted)
            for flag, (former, wanted) in listen.items()
            if set(former) != set(wanted)  # where it listens already, perhaps behind a translation
        },
    }


def _listen(
    node: NodeControl, flag: str, present: str, former: tuple[str, ...], wanted: tuple[str, ...]
) -> str:
    found = listening(present, former, wanted)
    if found is None:
        raise NodeControlError(
            f"{node.name}: where to listen for {', '.join(wanted)} can't be told from {flag}={present}",
            hint=f"let {flag} in its configuration file serve the new URL; then: patronictl-etcd resume",
        )
    return found


def is_at(view: MemberView, seat: Seat, client_urls: tuple[str, ...]) -> bool:
    """Tell whether the list shows a member with this name and these URLs."""
    urls = set(view.member.peer_urls) == set(seat.peer_urls)
    return urls and view.member.name == seat.name and set(view.member.client_urls) == set(client_urls)
