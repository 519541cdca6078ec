"""A database on its way to a new member: how much of it has come, how fast, and how long the rest takes.

What etcd tells of it (seen on 3.4.23, 3.5.1 and 3.6.6): the member itself does not answer before it has
applied the snapshot; the bytes lie on its disk as they come; and the leader's metrics say that it is
sending, but not how much. `dbSize` in the status is that of the whole database afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.ports import Clock, NodeControl

MIB = 1024 * 1024
INTERVAL = 1.0  # seconds between two looks at the node's disk
# Where only the leader's word is known, a transfer below this many bytes a second counts as stalled.
SLOWEST = MIB


@dataclass
class Pace:
    """How fast an amount grows towards a total, from the first time it was seen."""

    total: int
    began: float | None = None
    first: int = 0
    now: float = 0.0
    amount: int = 0

    def note(self, amount: int, now: float) -> bool:
        """Take over an amount; True when it has grown."""
        if self.began is None:
            self.began, self.first = now, amount
        grown = amount > self.amount
        self.amount, self.now = max(self.amount, amount), now
        return grown

    @property
    def rate(self) -> float:
        """Return the growth in a second; 0 when it can't be told yet."""
        passed = self.now - self.began if self.began is not None else 0.0
        return (self.amount - self.first) / passed if passed > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Return how long the rest takes at this pace; None when it can't be told yet."""
        left = max(0, self.total - self.amount)
        return left / self.rate if self.rate > 0 else None

    def describe(self, unit: int, name: str) -> str:
        """Return amount, total, pace and what is left, in words."""
        text = f"{self.amount // unit} of {self.total // unit} {name}"
        if self.seconds_left is None:
            return text
        return f"{text}, {self.rate / unit:.0f} {name}/s, about {self.seconds_left:.0f} s left"


@dataclass
class Receiving:
    """Follows a member that may be receiving the database, and tells about it."""

    name: str
    node: NodeControl
    clock: Clock
    tell: Callable[[str], None]
    total: int = 0  # bytes; the size of the leader's database
    pace: Pace = field(init=False)
    looked_at: float = float("-inf")
    sent_since: float | None = None

    def __post_init__(self) -> None:
        self.pace = Pace(self.total)

    def look(self, etcd: EtcdView, member_id: int) -> bool:
        """Return True when the database has come further since the last look: nobody is stalled then.

        The node's disk says it best. Where it can't be asked, the leader's word counts, for as long as a
        slow network would need.
        """
        now = self.clock.monotonic()
        if now - self.looked_at < INTERVAL:
            return False
        self.looked_at = now
        leader = etcd.leader
        sending = leader is not None and member_id in leader.sends_snapshot_to
        amount = self.node.look().database_bytes
        if amount is None:
            return self._believe_the_leader(sending, now)
        grown = self.pace.note(amount, now)
        if self.pace.seconds_left is not None and (sending or (grown and amount < self.total)):
            self.tell(f"{self.name} receives the database: {self.pace.describe(MIB, 'MiB')}")
        return grown

    def _believe_the_leader(self, sending: bool, now: float) -> bool:
        if not sending:
            self.sent_since = None
            return False
        self.sent_since = now if self.sent_since is None else self.sent_since
        if now > self.sent_since:
            self.tell(f"{self.name} receives the database: {self.total // MIB} MiB")
        return now - self.sent_since < self.total / SLOWEST


@dataclass
class Copying:
    """Tells about a copy of a size that is known, at most once a second."""

    what: str
    total: int  # bytes
    clock: Clock
    tell: Callable[[str], None]
    pace: Pace = field(init=False)
    told_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.pace = Pace(self.total)

    def come(self, amount: int) -> None:
        """Take over how many bytes there are by now."""
        now = self.clock.monotonic()
        if now - self.told_at < INTERVAL:
            return
        self.told_at = now
        self.pace.note(amount, now)
        if self.pace.seconds_left is not None:
            self.tell(f"{self.what}: {self.pace.describe(MIB, 'MiB')}")


def database_size(etcd: EtcdView) -> int:
    """Return the size of the leader's database in bytes; 0 when there is no leader to ask."""
    return etcd.leader.status.db_size if etcd.leader and etcd.leader.status else 0
