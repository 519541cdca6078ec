"""Old data that came back is recognised, and nothing else is taken for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import DataDir, NodeView, Observation, Stranger
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.preflight import examine_state
from tests.core.builders import CLUSTER, IDS, down, etcd, node, patroni, seen, voter, voters

OLD_B = Stranger("http://b:2379", CLUSTER, 0x0B0B, "b")


def zombies(state: Observation) -> list[Finding]:
    """Return what is said of old data."""
    findings = examine_state(state, Policy())
    return [one for one in findings if one.code in ("ZOMBIE_MEMBER", "DATA_SET_ASIDE")]


def with_node(changed: NodeView, state: Observation | None = None) -> Observation:
    """Return a healthy cluster with one node's view replaced."""
    state = state or seen(voters(3), patroni())
    return replace(state, nodes={**state.nodes, changed.name: changed})


def test_a_healthy_cluster_has_none() -> None:
    assert zombies(seen(voters(3), patroni())) == []


def test_a_removed_member_that_answers_blocks_but_passes() -> None:
    (finding,) = zombies(seen(replace(voters(3), strangers=(OLD_B,)), patroni()))
    assert (finding.subject, finding.severity.value, finding.transient) == ("b", "blocker", True)
    assert "member b0b of cluster c1, which is no member any more" in finding.detail


def test_one_with_a_majority_of_its_own_is_told_with_care() -> None:
    (finding,) = zombies(seen(replace(voters(3), strangers=(replace(OLD_B, serves_reads=True),)), patroni()))
    assert "a majority of its own" in finding.detail
    assert finding.remedy.startswith("find out which of the two is the old one")
    assert "recover verify PLAN" in finding.remedy
    assert "patronictl-etcd history" not in finding.remedy  # which does not list recoveries


def test_without_quorum_a_list_does_not_say_who_is_no_member_but_another_cluster_does() -> None:
    stale = replace(voters(3), linearizable=False)
    assert zombies(seen(replace(stale, strangers=(OLD_B,)), patroni())) == []
    other = replace(OLD_B, cluster_id=0xC2, name="")
    (finding,) = zombies(seen(replace(stale, strangers=(other,)), patroni()))
    assert (finding.subject, "another cluster than c1" in finding.detail) == ("b", True)


@pytest.mark.parametrize(
    ("data", "words"),
    [(DataDir(CLUSTER, 0x0C0C), "no member any more"), (DataDir(0xC2, IDS["c"]), "another cluster than c1")],
)
def test_old_data_on_a_stopped_node_is_a_warning(data: DataDir, words: str) -> None:
    state = seen(etcd(voter("a"), voter("b"), down("c")), patroni())
    (finding,) = zombies(with_node(replace(node("c"), service_active=False, data=data), state))
    assert (finding.subject, finding.severity.value) == ("c", "warning")
    assert words in finding.detail


def test_old_data_on_a_running_node_whose_member_does_not_answer_blocks() -> None:
    state = seen(etcd(voter("a"), voter("b"), down("c")), patroni())
    (finding,) = zombies(with_node(replace(node("c"), data=DataDir(CLUSTER, 0x0C0C)), state))
    assert (finding.subject, finding.severity.value) == ("c", "blocker")


def test_a_member_that_answers_does_not_run_on_the_data_that_the_inventory_names() -> None:
    assert zombies(with_node(replace(node("c"), data=DataDir(CLUSTER, 0x0C0C)))) == []


def test_a_zombie_is_told_once() -> None:
    state = seen(
        replace(etcd(voter("a"), voter("b"), down("c")), strangers=(replace(OLD_B, member_id=0x0C0C),)),
        patroni(),
    )
    assert len(zombies(with_node(replace(node("c"), data=DataDir(CLUSTER, 0x0C0C)), state))) == 1


def test_data_that_lies_aside_is_told_where_there_is_none_now() -> None:
    aside = replace(node("c"), set_aside=("/d/c.1", "/d/c.0"))
    assert zombies(with_node(aside)) == []
    (finding,) = zombies(with_node(replace(aside, data_present=False, data=None, service_active=False)))
    assert (finding.code, finding.severity.value, "/d/c.1" in finding.detail) == (
        "DATA_SET_ASIDE",
        "info",
        True,
    )


def test_without_quorum_only_what_can_be_done_then_is_said() -> None:
    state = seen(replace(etcd(voter("a"), down("b"), down("c")), linearizable=False), patroni(lease=None))
    found = {finding.code: finding for finding in examine_state(state, Policy())}
    assert set(found) == {"NO_QUORUM", "MEMBER_UNHEALTHY"}
    assert "recover collect" in found["NO_QUORUM"].remedy
    assert "replace" not in found["MEMBER_UNHEALTHY"].remedy
