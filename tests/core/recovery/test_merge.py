"""Evidence of several machines as one: who knows more counts, then who looked later."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from patroni_etcd_reconfig.core.recovery.evidence import Evidence
from patroni_etcd_reconfig.core.recovery.merge import merge
from tests.core.recovery.evidences import data, evidence, live, node, pg

# db1 controls a and sees b over the network; db2 controls b.
FIRST = evidence(
    node("a", reachable=True, service_active=False, data_present=True, data=data("a")),
    node("b", live=live("b"), problem="not on this machine"),
    node("c", problem="not on this machine"),
    pg("pg1", source="sql", running=True, timeline=2, lsn=500, lsn_is_exact=True, patroni_answers=True),
    pg("pg2", problem="connection refused"),
)
SECOND = evidence(
    node("a", collected_by="db2", collected_at=1010.0, problem="not on this machine"),
    node("b", collected_by="db2", collected_at=1010.0, reachable=True, service_active=True, data=data("b")),
    pg(
        "pg2", collected_by="db2", collected_at=1010.0, source="controldata", running=False, timeline=1, lsn=5
    ),
    collected_at=1010.0,
    collectors=("db2",),
)


def codes(*pieces: Evidence) -> list[str]:
    """Return the codes of what contradicts itself."""
    return [finding.code for finding in merge(*pieces)[1]]


def test_one_piece_stays_as_it_is() -> None:
    assert merge(FIRST) == (FIRST, ())


def test_without_a_piece_there_is_nothing_to_merge() -> None:
    with pytest.raises(ValueError, match="nothing to merge"):
        merge()


def test_each_node_is_what_the_machine_that_could_look_says() -> None:
    found, findings = merge(FIRST, SECOND)
    assert [one.name for one in found.nodes] == ["a", "b", "c"]
    a, b, c = found.nodes
    assert (a.reachable, a.data, a.problem) == (True, data("a"), "")
    assert (b.reachable, b.service_active, b.data, b.live) == (True, True, data("b"), live("b"))
    assert c.problem == "not on this machine"
    assert (found.collectors, found.collected_at, findings) == (("db1", "db2"), 1010.0, ())


def test_each_postgresql_is_what_knows_most_of_it() -> None:
    found, _ = merge(FIRST, SECOND)
    assert [(one.name, one.source, one.lsn) for one in found.postgres] == [
        ("pg1", "sql", 500),
        ("pg2", "controldata", 5),
    ]


def test_a_bare_url_is_the_node_s_that_another_piece_names() -> None:
    bare = node("a:2379", peer_urls=(), client_urls=("http://a:2379",), answers=True, collected_by="db3")
    for pieces in ((FIRST, evidence(bare)), (evidence(bare), FIRST)):
        found, findings = merge(*pieces)
        assert [(one.name, one.answers) for one in found.nodes] == [("a", True), ("b", False), ("c", False)]
        assert (found.nodes[0].data, findings) == (data("a"), ())


def test_what_patroni_says_comes_from_where_it_answers() -> None:
    down = evidence(pg("pg1", source="controldata", running=False, timeline=2, lsn=5))
    rest = evidence(pg("pg1", patroni_answers=True, patroni_state="stopped", paused=True, tags=("nosync",)))
    one = merge(down, rest)[0].postgres[0]
    assert (one.source, one.lsn) == ("controldata", 5)
    assert (one.patroni_answers, one.patroni_state, one.paused, one.tags) == (
        True,
        "stopped",
        True,
        ("nosync",),
    )


def test_of_equal_knowledge_the_later_counts() -> None:
    old = evidence(pg("pg1", source="sql", timeline=1, lsn=500, lsn_is_exact=True))
    new = evidence(pg("pg1", source="sql", timeline=1, lsn=700, lsn_is_exact=True, collected_at=1005.0))
    assert merge(new, old)[0].postgres[0].lsn == 700


@pytest.mark.parametrize(
    ("other", "kept"),
    [
        ({"lsn": 700}, (1, 700, True)),
        ({"lsn": 700, "lsn_is_exact": False, "source": "controldata"}, (1, 700, False)),
        ({"lsn": 500, "lsn_is_exact": False, "source": "controldata"}, (1, 500, True)),
        ({"lsn": 100, "timeline": 2, "lsn_is_exact": False, "source": "rest"}, (2, 100, False)),
        ({"lsn": None, "timeline": 2, "lsn_is_exact": False, "source": "rest"}, (1, 500, True)),
    ],
    ids=["further", "a further lower bound", "an equal lower bound", "a later timeline", "no position"],
)
@pytest.mark.parametrize("at", [900.0, 1100.0])
def test_of_one_node_the_furthest_position_counts_whatever_the_clocks_say(
    other: dict[str, object], kept: tuple[int, int, bool], at: float
) -> None:
    known = {"source": "sql", "timeline": 1, "lsn": 500, "lsn_is_exact": True}
    pieces = evidence(pg("pg1", **known)), evidence(pg("pg1", **{**known, "collected_at": at, **other}))
    for order in permutations(pieces):
        one = merge(*order)[0].postgres[0]
        assert (one.timeline, one.lsn, one.lsn_is_exact) == kept


def test_the_order_of_the_pieces_does_not_matter() -> None:
    third = evidence(node("c", collected_by="db3", live=live("c")), collectors=("db3",))
    results = [merge(*order) for order in permutations((FIRST, SECOND, third))]
    assert all(result == results[0] for result in results)


def test_a_piece_of_another_namespace_blocks() -> None:
    assert codes(FIRST, replace(SECOND, namespace="/other")) == ["EVIDENCE_FOREIGN"]


def test_pieces_far_apart_are_named() -> None:
    assert codes(FIRST, replace(SECOND, collected_at=1301.0)) == ["EVIDENCE_OLD"]


def test_two_owners_of_one_data_dir_are_a_contradiction() -> None:
    other = evidence(node("a", reachable=True, service_active=False, data=data("b", cluster=0xC2)))
    _, (found,) = merge(FIRST, other)
    assert (found.code, found.severity.value, found.subject) == ("EVIDENCE_CONTRADICTS", "blocker", "a")
    assert "member a of c1, member b of c2" in found.detail


@pytest.mark.parametrize(("at", "order"), [(900.0, "before another"), (1100.0, "after another")])
def test_an_answer_and_a_stopped_service_are_a_contradiction(at: float, order: str) -> None:
    answered = evidence(node("a", live=live("a"), collected_at=at))
    found, (finding,) = merge(FIRST, answered)
    assert found.nodes[0].live == live("a")
    assert order in finding.detail
