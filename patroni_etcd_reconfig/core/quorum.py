"""The arithmetic of majorities."""

from __future__ import annotations

from patroni_etcd_reconfig.core.model import EtcdView


def quorum(voters: int) -> int:
    """Return how many of `voters` must agree."""
    return voters // 2 + 1


def failure_tolerance(etcd: EtcdView) -> int:
    """Return how many more healthy voters may fail before quorum is lost; negative when it is lost."""
    return len(etcd.healthy_voters) - quorum(len(etcd.voters))


def survives_without(etcd: EtcdView, member_id: int) -> bool:
    """Tell whether the healthy voters are a quorum of the membership that is left without this member."""
    left = [view for view in etcd.voters if view.id != member_id]
    healthy = [view for view in etcd.healthy_voters if view.id != member_id]
    return bool(left) and len(healthy) >= quorum(len(left))
