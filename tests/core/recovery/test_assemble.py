"""Which answer belongs to which node, when lists disagree and strangers answer."""

from __future__ import annotations

from dataclasses import replace

from patroni_etcd_reconfig.core.model import Member, NodeView
from patroni_etcd_reconfig.core.recovery.assemble import Heard, Looked, Place, assemble
from patroni_etcd_reconfig.core.recovery.evidence import NodeEvidence
from tests.core.recovery.evidences import data, live, member

PLACES = tuple(Place(name, name, (f"http://{name}:2380",), (f"http://{name}:2379",)) for name in "abc")


def url(name: str) -> str:
    """Return a node's client URL."""
    return f"http://{name}:2379"


def nodes(*heard: Heard, places: tuple[Place, ...] = PLACES, **looked: Looked) -> dict[str, NodeEvidence]:
    """Return the evidence on each node by name."""
    return {node.name: node for node in assemble(places, heard, looked, by="db1", at=1000.0)}


def test_a_node_is_what_answers_and_what_its_machine_says() -> None:
    view = NodeView("a", service_active=True, data_present=True, data_free_bytes=5)
    found = nodes(Heard(url("a"), live("a")), a=Looked(view, data("a")))
    assert list(found) == ["a", "b", "c"]
    assert (found["a"].live, found["a"].data, found["a"].data_free_bytes) == (live("a"), data("a"), 5)
    assert (found["a"].reachable, found["a"].service_active, found["a"].problem) == (True, True, "")
    assert (found["a"].collected_by, found["a"].collected_at) == ("db1", 1000.0)


def test_a_node_that_nobody_could_look_at_says_why() -> None:
    found = nodes(Heard(url("b"), problem="connection refused"))
    assert (found["b"].reachable, found["b"].service_active, found["b"].data_present) == (False, None, None)
    assert found["b"].problem == "the inventory on db1 does not control it; http://b:2379: connection refused"


def test_a_url_that_is_nobody_s_and_tells_nothing_is_shown_by_its_address() -> None:
    found = nodes(Heard("http://x:2379", problem="connection refused"), places=())
    assert (found["x:2379"].host, found["x:2379"].answers) == ("x", False)
    assert found["x:2379"].problem.endswith("http://x:2379: connection refused")


def test_a_member_that_answers_and_tells_nothing_is_known_to_run() -> None:
    found = nodes(Heard(url("b"), problem="it runs, but tells nothing", answers=True))
    assert [found[name].answers for name in "abc"] == [False, True, False]
    assert nodes(Heard(url("a"), live("a")))["a"].answers


def test_a_node_whose_control_failed_is_not_reachable() -> None:
    found = nodes(a=Looked(NodeView("a", problem="is_active: no such program")))
    assert (found["a"].reachable, found["a"].service_active) == (False, None)
    assert found["a"].problem == "is_active: no such program"


def test_a_data_dir_that_can_t_be_read_leaves_the_rest() -> None:
    found = nodes(a=Looked(NodeView("a", data_present=True), data_problem="permission denied"))
    assert (found["a"].reachable, found["a"].data_present, found["a"].problem) == (
        True,
        True,
        "permission denied",
    )


def test_without_an_inventory_the_lists_name_the_nodes() -> None:
    found = nodes(Heard(url("a"), live("a")), places=())
    assert (found["b"].host, found["b"].peer_urls, found["b"].client_urls) == (
        "b",
        ("http://b:2380",),
        ("http://b:2379",),
    )


def test_without_any_answer_the_data_dirs_name_the_nodes() -> None:
    stored = data("a", members=(member("a"), member("b")))
    found = nodes(places=PLACES[:1], a=Looked(NodeView("a", data_present=True), stored))
    assert list(found) == ["a", "b"]


def test_an_answer_through_a_load_balancer_is_the_member_s_own() -> None:
    found = nodes(Heard("http://vip:2379", live("b")), Heard(url("a"), problem="no answer in time"))
    assert list(found) == ["a", "b", "c"]
    assert found["b"].live == live("b")


def test_of_two_answers_of_one_member_the_one_that_knows_more_counts() -> None:
    full = live("a", quorate=True)
    found = nodes(Heard("http://vip:2379", replace(full, quorate=False, members=())), Heard(url("a"), full))
    assert found["a"].live == full


def test_an_answer_of_another_cluster_stays_with_the_node_whose_url_it_is() -> None:
    found = nodes(Heard(url("a"), live("a")), Heard(url("b"), live("b", cluster=0xC2)))
    assert found["b"].live is not None
    assert found["b"].live.status.cluster_id == 0xC2


def test_two_members_of_the_same_name_are_both_shown() -> None:
    found = nodes(Heard(url("a"), live("a")), Heard("http://old:2379", live("a", cluster=0xC2)))
    assert list(found) == ["a", "a@old:2379", "b", "c"]


def test_a_learner_that_gives_no_list_is_found_by_its_url() -> None:
    assert nodes(Heard(url("c"), live("c", members=())))["c"].live == live("c", members=())


def test_a_member_that_never_started_is_its_seat() -> None:
    rows = (member("a"), Member(0xB, "", ("http://b:2380",)))
    found = nodes(Heard(url("a"), live("a", members=rows)))
    assert list(found) == ["a", "b", "c"]


def test_the_list_with_quorum_says_where_a_member_is_now() -> None:
    moved = Member(0xC, "c", ("http://new:2380",), ("http://new:2379",))
    stale = Heard(url("a"), live("a"))
    fresh = Heard(url("b"), live("b", quorate=True, members=(member("a"), member("b"), moved)))
    assert nodes(stale, fresh, places=())["c"].client_urls == ("http://new:2379",)
