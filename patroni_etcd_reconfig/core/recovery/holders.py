"""Whose copy of the data can go on: every copy that was found, the most advanced first.

Raft order: the last entry's term, then its index (the Raft paper, section 5.4.1); the commit index breaks
ties, then a member that runs, then the name. A learner's data, a removed member's, and one that was never
a member's make etcd panic under --force-new-cluster and spoil the log, so they never go on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from patroni_etcd_reconfig.core.model import Member, format_id
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence


@dataclass(frozen=True)
class Holder:
    """A copy of the data on one node.

    `unfit` says why it can't go on at all, `damage` what is broken in it, `apart` why it can't be handled.
    """

    node: NodeEvidence
    cluster_id: int
    member_id: int
    last_term: int
    last_index: int
    commit: int
    members: tuple[Member, ...] = ()
    unfit: str = ""
    damage: tuple[str, ...] = ()
    apart: str = ""

    @property
    def name(self) -> str:
        """Return the node's name."""
        return self.node.name

    @property
    def running(self) -> bool:
        """True for a member that answers."""
        return self.node.live is not None

    @property
    def position(self) -> tuple[int, int]:
        """Return what decides, in Raft's order, whose log is more advanced."""
        return self.last_term, self.last_index

    @property
    def sound(self) -> bool:
        """True when it could go on, whoever can or can't reach it."""
        return not self.unfit and not self.damage

    @property
    def usable(self) -> bool:
        """True when it can go on."""
        return self.sound and not self.apart

    def is_ahead_of(self, other: Holder) -> bool:
        """True when it surely has entries that the other has not. A live member's commit index is proof."""
        by_log = self.node.data is not None and self.position > other.position
        return by_log or self.commit > other.last_index

    @property
    def term(self) -> int:
        """Return the highest raft term that this member knows of."""
        seen = [self.last_term, self.node.data.term if self.node.data else 0]
        return max([*seen, self.node.live.status.raft_term if self.node.live else 0])

    def describe(self) -> str:
        """Return the copy and its position in words."""
        return f"{self.name} (term {self.last_term}, index {self.last_index}, commit {self.commit})"


def holders_in(evidence: Evidence) -> tuple[Holder, ...]:
    """Return every copy of the data that was found, the most advanced first."""
    found = [one for node in evidence.nodes if (one := _holder(node))]
    found.sort(key=lambda one: one.name)
    found.sort(key=lambda one: (*one.position, one.commit, one.running), reverse=True)
    return tuple(_judged(one, found) for one in found)


def voters_of(members: Iterable[Member]) -> tuple[Member, ...]:
    """Return those that vote."""
    return tuple(member for member in members if not member.is_learner)


def _holder(node: NodeEvidence) -> Holder | None:
    """The data dir tells the log, a running member how far it is committed; only the log is in raft order.

    What the database has applied was committed, and is marked so before the survivor is forced.
    """
    live, data = node.live, node.data
    if data:
        committed = live.status.raft_index if live and live.status.member_id == data.member_id else 0
        applied = 0 if data.problems or data.torn_tail else data.consistent_index or 0
        return Holder(
            node=node,
            cluster_id=data.cluster_id,
            member_id=data.member_id,
            last_term=data.last_term,
            last_index=max(data.last_index, committed),
            commit=max(data.commit, committed, applied),
            members=(live.members if live else ()) or data.members,
            damage=data.problems,
        )
    if not live:
        return None
    at = live.status
    return Holder(node, at.cluster_id, at.member_id, at.raft_term, at.raft_index, at.raft_index, live.members)


def _judged(one: Holder, found: list[Holder]) -> Holder:
    return replace(one, unfit=_own_word(one) or _removed_later(one, found), apart=_out_of_reach(one))


def _own_word(one: Holder) -> str:
    data, live = one.node.data, one.node.live
    own = next((member for member in one.members if member.id == one.member_id), None)
    if data and data.is_removed:
        return "it was removed from the cluster"
    if one.members and own is None:
        return f"its own member list does not have it ({format_id(one.member_id)})"
    if (data and data.is_learner) or (own and own.is_learner) or (live and live.status.is_learner):
        return "it is a learner"
    return ""


def _removed_later(one: Holder, found: list[Holder]) -> str:
    """A member that was away when it was removed does not know; those who went on do."""
    for other in found:
        later = other.cluster_id == one.cluster_id and other.is_ahead_of(one) and not other.damage
        if later and other.members and all(member.id != one.member_id for member in other.members):
            return f"it was removed: the later member list of {other.name} does not have it"
    return ""


def _out_of_reach(one: Holder) -> str:
    if not one.node.reachable:
        return f"its node can't be controlled: {one.node.problem or 'not reachable'}"
    if one.node.data is None:
        return "its data dir could not be read, so its place in raft order is not known"
    return ""
