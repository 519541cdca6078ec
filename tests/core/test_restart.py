"""A restart takes a voter away for a moment, but not out of the count."""

from __future__ import annotations

import pytest

from patroni_etcd_reconfig.core.changes import reference, restart_of
from patroni_etcd_reconfig.core.gates import check_step
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.steps import RestartMember

from .builders import down, etcd, patroni, seen, voter, voters


def codes(cluster: EtcdView, name: str) -> list[str]:
    """Return what stands in the way of a member's restart."""
    member = next(view.member for view in cluster.members if view.member.name == name)
    step, change = RestartMember(reference(member)), restart_of(cluster, (name,))
    return [finding.code for finding in check_step(seen(cluster, patroni()), step, change, Policy())]


def test_a_healthy_cluster_of_three_or_more_lets_a_follower_restart() -> None:
    for count in (3, 4, 5):
        assert codes(voters(count), "c") == []


def test_with_one_of_three_down_no_other_may_restart() -> None:
    assert codes(etcd(voter("a"), voter("b"), down("c")), "b") == ["NO_QUORUM_AFTER"]


def test_the_leader_is_not_restarted_before_its_leadership_was_moved() -> None:
    assert codes(voters(3), "a") == ["LEADER_NOT_MOVED"]


@pytest.mark.parametrize(
    "cluster",
    [voters(2), etcd(voter("a"), voter("b"), voter("c"), down("d"))],
    ids=["one of two", "one of four with one down"],
)
def test_a_restart_that_leaves_no_quorum_of_all_voters_is_refused(cluster: EtcdView) -> None:
    assert codes(cluster, "b") == ["NO_QUORUM_AFTER"]
