"""The last look before a member is stopped: since the gate the cluster may have changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from patroni_etcd_reconfig.core.changes import MemberRef, Seat
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.core.quorum import can_be_down
from patroni_etcd_reconfig.engine.roster import Roster, must_be_listed
from patroni_etcd_reconfig.errors import HeldBackError


@dataclass
class Stopping:
    """Allows or forbids the stop of a member."""

    roster: Roster
    observe_etcd: Callable[[], EtcdView]
    still_ours: Callable[[], None] = lambda: None  # raises LockedError when the lock may be lost

    def may_stop(self, member: MemberRef, *seats: Seat) -> None:
        """Return when the member may be stopped at once: laws 2, 3 and 6 hold, and the lock is ours.

        Raises HeldBackError when it leads now, or when there would be no quorum without it: a step that
        did nothing yet is planned again. `seats` are others than the plan's at which it may be by now.
        """
        must_be_listed(self.roster, member, *seats)
        etcd = self.observe_etcd()
        if etcd.leader_id == member.id and len(etcd.voters) > 1:
            raise _held_back(member, "it leads now")
        if not can_be_down(etcd, member.id):
            raise _held_back(member, "there would be no quorum while it is down")
        self.still_ours()


def _held_back(member: MemberRef, why: str) -> HeldBackError:
    return HeldBackError(f"{member.name} is not stopped: {why}", hint="patronictl-etcd status")
