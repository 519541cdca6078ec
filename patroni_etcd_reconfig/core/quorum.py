"""The arithmetic of majorities."""

from __future__ import annotations

from patroni_etcd_reconfig.core.model import EtcdView, MemberView


def quorum(voters: int) -> int:
    """Return how many of `voters` must agree."""
    return voters // 2 + 1


def failure_tolerance(etcd: EtcdView) -> int:
    """Return how many more healthy voters may fail before quorum is lost; negative when it is lost."""
    return len(etcd.healthy_voters) - quorum(len(etcd.voters))


def is_linked(etcd: EtcdView, view: MemberView) -> bool:
    """Tell whether a member and every healthy voter have live connections to each other, both ways.

    One way is not enough: a member with a wrong peer URL reaches the others, and nobody reaches it. A
    member whose connections are not known counts as connected.
    """
    others = [other for other in etcd.healthy_voters if other.id != view.id]
    reaches = view.connected_to is None or {other.id for other in others} <= view.connected_to
    return reaches and all(other.connected_to is None or view.id in other.connected_to for other in others)


def healthy_without(etcd: EtcdView, member_id: int) -> int:
    """Return how many voters other than this member are healthy."""
    return sum(view.id != member_id for view in etcd.healthy_voters)


def has_quorum_while_down(etcd: EtcdView, member_id: int) -> bool:
    """Tell whether the others are a quorum of all voters, of which this member stays one."""
    return healthy_without(etcd, member_id) >= quorum(len(etcd.voters))


def can_be_down(etcd: EtcdView, member_id: int) -> bool:
    """Tell whether the others that vote are a quorum while a member is down: it still counts as a voter.

    What does not vote, or is down already, takes no quorum away.
    """
    view = etcd.by_id(member_id)
    if view is None or view.member.is_learner or view.status is None:
        return True
    return has_quorum_while_down(etcd, member_id) or len(etcd.voters) == 1


def survives_without(etcd: EtcdView, member_id: int) -> bool:
    """Tell whether the healthy voters are a quorum of the membership that is left without this member."""
    left = sum(view.id != member_id for view in etcd.voters)
    return bool(left) and healthy_without(etcd, member_id) >= quorum(left)
