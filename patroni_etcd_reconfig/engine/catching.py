"""How a learner catches up with the leader: by our own measure, which is stricter than etcd's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.quorum import is_linked
from patroni_etcd_reconfig.engine.receiving import INTERVAL, Pace, Receiving
from patroni_etcd_reconfig.engine.returning import lag_of
from patroni_etcd_reconfig.errors import LearnerStalledError


@dataclass
class Catching:
    """Watches a learner catch up: close to the leader and connected both ways, in two looks in a row."""

    name: str
    policy: Policy
    progressed_at: float
    tell: Callable[[str], None]
    receiving: Receiving | None = None
    best: int = -1
    good: int = 0
    pace: Pace | None = None
    told_at: float = float("-inf")

    def look(self, etcd: EtcdView, seat: Seat, now: float) -> bool:
        """Return True when it may vote; raises LearnerStalledError when it makes no progress any more."""
        view = etcd.by_peer_urls(seat.peer_urls)
        lag, applied = lag_of(etcd, view)
        near = lag is not None and lag <= self.policy.max_learner_lag
        linked = view is not None and is_linked(etcd, view)
        self.good = self.good + 1 if near and linked else 0
        if applied > self.best and not (near and not linked):  # the link is all that is still missing
            self.best, self.progressed_at = applied, now
        elif self.receiving and view and self.receiving.look(etcd, view.id):
            self.progressed_at = now
        if lag is not None and not near:
            self._tell_entries(applied, applied + lag, now)
        if now - self.progressed_at > self.policy.learner_stall:
            raise self._stalled(lag, linked)
        return self.good >= 2

    def _tell_entries(self, applied: int, index: int, now: float) -> None:
        self.pace = self.pace or Pace(index)
        self.pace.total = index  # the others go on writing
        self.pace.note(applied, now)
        if now - self.told_at >= INTERVAL:
            self.told_at = now
            self.tell(f"{self.name} catches up: {self.pace.describe(1, 'entries')}")

    def _stalled(self, lag: int | None, linked: bool) -> LearnerStalledError:
        behind = "it does not answer" if lag is None else f"{lag} entries behind the leader"
        reached = "" if linked else ", and the others can't reach it on its peer URL"
        return LearnerStalledError(
            f"learner {self.name} made no progress for {self.policy.learner_stall:.0f} s: {behind}{reached}",
            hint=f"look at the etcd log of {self.name} and at its peer URL",
        )
