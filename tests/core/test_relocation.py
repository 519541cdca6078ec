"""A member that gets other URLs: the order, every interrupted prefix, and what stands in the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import Reshape, abort_of, relocation_of
from patroni_etcd_reconfig.core.gates import check_plan_fits, check_step
from patroni_etcd_reconfig.core.invariants import check_invariants
from patroni_etcd_reconfig.core.model import EtcdView, Observation, PatroniHosts, Progress
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.preflight import examine
from patroni_etcd_reconfig.core.simulate import apply_step
from patroni_etcd_reconfig.core.steps import Step, UpdatePeerUrls, subject
from patroni_etcd_reconfig.core.urls import listening

from .builders import IDS, down, etcd, learner, node, patroni, seen, urls, voter, voters

PEER, CLIENT = ("http://elsewhere:2380",), ("http://elsewhere:2379",)


def _states(start: Observation, change: Reshape) -> list[tuple[Observation, tuple[Step, ...]]]:
    states, state = [], start
    while steps := make_plan(state, change).steps:
        states.append((state, steps))
        state = apply_step(state, steps[0])
    return [*states, (state, ())]


def _names(start: Observation, change: Reshape) -> list[str]:
    return [f"{type(s).__name__} {subject(s)}".strip() for s in make_plan(start, change).steps]


def _with_urls(cluster: EtcdView, name: str, peer_urls: tuple[str, ...]) -> EtcdView:
    members = [
        replace(v, member=replace(v.member, peer_urls=peer_urls)) if v.id == IDS[name] else v
        for v in cluster.members
    ]
    return replace(cluster, members=tuple(members))


def test_urls_that_a_member_has_already_are_nothing_to_do() -> None:
    cluster = voters(3)
    member = cluster.members[1].member
    for given in ((member.peer_urls, ()), ((), member.client_urls), (member.peer_urls, member.client_urls)):
        assert relocation_of(cluster, "b", *given).relocations == ()


def test_the_list_learns_of_a_peer_url_before_the_member_does() -> None:
    start = seen(voters(3))
    assert _names(start, relocation_of(start.etcd, "b", PEER, ())) == [
        *("SaveSnapshot b", "UpdatePeerUrls b", "ReaddressMember b", "Verify")
    ]


def test_a_client_url_needs_no_update_of_the_list() -> None:
    start = seen(voters(3))
    assert _names(start, relocation_of(start.etcd, "c", (), CLIENT)) == [
        *("SaveSnapshot b", "ReaddressMember c", "Verify")
    ]


def test_a_leader_hands_over_before_its_url_changes() -> None:
    start = seen(voters(3))
    assert _names(start, relocation_of(start.etcd, "a", PEER, CLIENT)) == [
        *("SaveSnapshot b", "TransferLeadership a", "UpdatePeerUrls a", "ReaddressMember a", "Verify")
    ]


@pytest.mark.parametrize("name", ["a", "b", "c"])
@pytest.mark.parametrize(("peer", "client"), [(PEER, ()), ((), CLIENT), (PEER, CLIENT)])
def test_after_every_prefix_the_plan_is_the_rest_and_the_laws_hold(
    name: str, peer: tuple[str, ...], client: tuple[str, ...]
) -> None:
    start = seen(voters(3), patroni())
    change = relocation_of(start.etcd, name, peer, client)
    states = _states(start, change)
    for done, (state, rest) in enumerate(states):
        assert rest == states[0][1][done:]
        for step in rest[:1]:
            assert list(check_invariants(state, step, apply_step(state, step), change)) == []
            assert check_step(state, step, change, Policy()) == ()
    member = next(view.member for view in states[-1][0].etcd.members if view.id == IDS[name])
    assert member.peer_urls == (peer or urls(name))
    assert member.client_urls == (client or (f"http://{name}:2379",))


@pytest.mark.parametrize("peer", [urls("c"), PEER], ids=["before", "after"])
def test_the_peer_urls_of_before_and_of_afterwards_both_belong_to_the_change(peer: tuple[str, ...]) -> None:
    change = relocation_of(voters(3), "c", PEER, ())
    assert check_plan_fits(_with_urls(voters(3), "c", peer), change) == ()


def test_any_other_peer_url_is_somebody_elses_doing() -> None:
    change = relocation_of(voters(3), "c", PEER, ())
    found = check_plan_fits(_with_urls(voters(3), "c", ("http://third:2380",)), change)
    assert [finding.code for finding in found] == ["MEMBERSHIP_CHANGED"]


def test_a_peer_url_of_another_member_is_refused() -> None:
    change = relocation_of(voters(3), "c", urls("b"), ())
    assert "PEER_URL_TAKEN" in [finding.code for finding in examine(seen(voters(3)), change, Policy())]


def test_a_learner_is_refused_whatever_is_accepted() -> None:
    cluster = etcd(voter("a"), voter("b"), voter("c"), learner("d"))
    policy = Policy(accept=frozenset({"LEARNER_PRESENT", "NODE_CONTROL"}))
    change = relocation_of(cluster, "d", PEER, ())
    state = seen(cluster, nodes={name: node(name) for name in "abcd"})
    stopping = [f.code for f in examine(state, change, policy) if f.severity.value == "blocker"]
    assert stopping == ["LEARNER_RELOCATED"]
    step = UpdatePeerUrls(change.relocations[0].member, PEER)
    assert "LEARNER_RELOCATED" in [f.code for f in check_step(state, step, change, policy)]


def test_with_one_of_three_down_no_other_is_readdressed() -> None:
    state = seen(etcd(voter("a"), voter("b"), down("c")), patroni(), progress=Progress("x"))
    change = relocation_of(state.etcd, "b", PEER, ())
    step = make_plan(state, change).steps[0]
    assert [f.code for f in check_step(state, step, change, Policy())] == ["NO_QUORUM_AFTER"]


def _judged(listed: tuple[str, ...], *, name: str = "b") -> dict[str, str]:
    state = seen(voters(3), patroni(), patroni_hosts=(PatroniHosts("p.yml", listed),))
    found = examine(state, relocation_of(state.etcd, name, (), CLIENT), Policy())
    return {finding.code: finding.severity.value for finding in found}


def test_patroni_hosts_that_would_all_be_stale_afterwards_are_a_blocker() -> None:
    assert _judged(("b:2379",)) == {"HOSTS_STALE": "blocker", "HOSTS_SINGLE": "warning"} | {
        "HOSTS_OUTDATED": "warning"
    }


def test_patroni_hosts_that_lose_one_of_several_are_named() -> None:
    assert _judged(("a:2379", "b:2379", "c:2379")) == {"HOSTS_OUTDATED": "warning"}


@pytest.mark.parametrize(
    ("client", "whose"),
    [("http://c:2379", "c"), ("http://c:2380", "c"), ("http://b:2380", "its peer URL")],
)
def test_a_client_url_that_somebody_listens_on_already_is_refused(client: str, whose: str) -> None:
    found = examine(seen(voters(3), patroni()), relocation_of(voters(3), "b", (), (client,)), Policy())
    taken = [finding for finding in found if finding.code == "CLIENT_URL_TAKEN"]
    assert [(finding.subject, finding.severity.value) for finding in taken] == [("b", "blocker")]
    assert whose in taken[0].detail


def test_a_peer_url_that_is_the_client_url_of_another_member_is_refused() -> None:
    change = relocation_of(voters(3), "b", ("http://c:2379",), ())
    assert "PEER_URL_TAKEN" in [finding.code for finding in examine(seen(voters(3)), change, Policy())]


def test_a_further_client_url_beside_its_own_is_fine() -> None:
    change = relocation_of(voters(3), "b", (), ("http://b:2379", *CLIENT))
    assert "CLIENT_URL_TAKEN" not in [f.code for f in examine(seen(voters(3)), change, Policy())]


def test_an_inventory_with_the_old_urls_is_named() -> None:
    written = replace(node("b"), peer_urls=urls("b"), client_urls=CLIENT)
    state = seen(voters(3), patroni())
    state = replace(state, nodes={**state.nodes, "b": written})
    found = examine(state, relocation_of(state.etcd, "b", PEER, CLIENT), Policy())
    assert [(f.code, "peer_url" in f.detail) for f in found] == [("INVENTORY_OUTDATED", True)]


def test_an_abort_after_the_list_was_updated_goes_back() -> None:
    change = relocation_of(voters(3), "c", PEER, CLIENT)
    state = seen(_with_urls(voters(3), "c", PEER), progress=Progress("x"))
    back = abort_of(state.etcd, change, frozenset({"UpdatePeerUrls"}))
    assert check_plan_fits(state.etcd, back) == ()
    assert _names(state, back) == ["UpdatePeerUrls c", "ReaddressMember c", "Verify"]
    end = _states(state, back)[-1][0].etcd.by_id(IDS["c"])
    assert end is not None
    assert (end.member.peer_urls, end.member.client_urls) == (urls("c"), ("http://c:2379",))


def test_an_abort_before_the_first_change_touches_nothing() -> None:
    change = relocation_of(voters(3), "a", PEER, CLIENT)
    state = seen(voters(3), progress=Progress("x"))
    assert _names(state, abort_of(state.etcd, change, frozenset({"TransferLeadership"}))) == ["Verify"]


def test_an_abort_after_all_was_done_leaves_the_new_urls() -> None:
    change = relocation_of(voters(3), "c", PEER, ())
    done = Progress("x", restarted=frozenset({IDS["c"]}))
    state = seen(_with_urls(voters(3), "c", PEER), progress=done)
    assert _names(state, abort_of(state.etcd, change, frozenset({"ReaddressMember"}))) == ["Verify"]


OLD, NEW = "http://10.0.0.1:2380", "http://10.0.0.2:2380"


@pytest.mark.parametrize(
    ("present", "wanted", "listens"),
    [
        (OLD, NEW, NEW),
        (f"{OLD},http://127.0.0.1:2380", NEW, f"{NEW},http://127.0.0.1:2380"),
        ("http://0.0.0.0:2380", NEW, "http://0.0.0.0:2380"),
        ("http://[::]:2380", NEW, "http://[::]:2380"),
        ("", NEW, NEW),
        (NEW, NEW, NEW),
        ("http://10.0.0.9:2380", "http://etcd1.example:2380", "http://10.0.0.9:2380"),
        ("http://0.0.0.0:2380", "http://10.0.0.2:2390", None),
        ("http://0.0.0.0:2380", "https://10.0.0.2:2380", None),
        (OLD, "http://etcd1.example:2390", None),
        ("http://10.0.0.1:2390", OLD, "http://10.0.0.1:2390"),  # behind a proxy, and stays there
    ],
)
def test_where_an_etcd_listens_follows_what_it_advertises(
    present: str, wanted: str, listens: str | None
) -> None:
    assert listening(present, (OLD,), (wanted,)) == listens
