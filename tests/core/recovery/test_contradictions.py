"""What can't all be true is shown, with the nodes it is about."""

from __future__ import annotations

import pytest

from patroni_etcd_reconfig.core.recovery.contradictions import contradictions
from patroni_etcd_reconfig.core.recovery.evidence import NodeEvidence, PostgresEvidence
from tests.core.recovery.evidences import data, evidence, live, member, node, pg

FINE = node("a", reachable=True, service_active=True, live=live("a"), data=data("a"))


def primary(name: str, **more: object) -> PostgresEvidence:
    """Return a primary that PostgreSQL itself says it is."""
    facts = {"source": "sql", "running": True, "in_recovery": False, "timeline": 2, "lsn": 0x5000000}
    return pg(name, **{**facts, "patroni_role": "primary", "system_identifier": "7", **more})


def codes(*items: NodeEvidence | PostgresEvidence) -> list[tuple[str, str]]:
    """Return code and subject of each finding."""
    return [(finding.code, finding.subject) for finding in contradictions(evidence(*items))]


def test_evidence_that_agrees_has_no_findings() -> None:
    standby = primary("pg2", in_recovery=True, patroni_role="replica")
    down = pg("pg3", source="controldata", running=False, in_recovery=False, system_identifier="7")
    stopped = node("b", reachable=True, service_active=False, data=data("b", members=(member("b"),)))
    assert codes(FINE, stopped, node("c"), primary("pg1"), standby, down) == []


def test_no_member_and_no_data_is_said() -> None:
    assert codes(node("a"), node("b", reachable=True, data_present=False)) == [("NO_ETCD_EVIDENCE", "etcd")]


@pytest.mark.parametrize(
    "stranger",
    [node("b", live=live("b", cluster=0xC2)), node("b", data=data("b", cluster=0xC2))],
    ids=["live", "stopped"],
)
def test_members_of_two_clusters_are_named(stranger: NodeEvidence) -> None:
    (finding,) = contradictions(evidence(FINE, stranger))
    assert (finding.code, finding.detail) == (
        "RECOVERY_TWO_CLUSTERS",
        "the members are of different clusters: c1: a; c2: b",
    )


def test_a_data_dir_that_is_not_the_running_member_s() -> None:
    assert codes(node("a", reachable=True, service_active=True, live=live("a"), data=data("b"))) == [
        ("EVIDENCE_CONTRADICTS", "a")
    ]


def test_a_data_dir_that_the_lists_say_is_another_node_s() -> None:
    wrong = node("c", reachable=True, service_active=False, data=data("b"))
    assert codes(FINE, wrong) == [("EVIDENCE_CONTRADICTS", "c")]


def test_a_member_that_answers_while_its_service_is_said_to_be_down() -> None:
    assert codes(node("a", reachable=True, service_active=False, live=live("a"))) == [
        ("EVIDENCE_CONTRADICTS", "a")
    ]


def test_who_is_no_member_any_more_is_told_once_a_majority_says_so() -> None:
    alone = node("a", live=live("a", quorate=True, members=(member("a"),)))
    old = node("b", live=live("b", quorate=True))
    stopped = node("c", reachable=True, service_active=False, data_present=True, data=data("c"))
    assert codes(alone, old, stopped) == [("ZOMBIE_MEMBER", "b"), ("ZOMBIE_MEMBER", "c")]
    assert codes(node("a", live=live("a")), node("b", live=live("b", members=(member("b"),)))) == []


def test_data_that_lies_aside_of_a_node_that_has_none() -> None:
    aside = node("b", reachable=True, service_active=False, data_present=False, set_aside=("/d.1",))
    assert codes(FINE, aside) == [("DATA_SET_ASIDE", "b")]


def test_damage_in_a_data_dir_is_shown() -> None:
    assert codes(FINE, node("b", data=data("b", problems=("crc mismatch in segment 2",)))) == [
        ("DATA_DAMAGED", "b")
    ]


def test_two_primaries_are_shown_with_their_positions() -> None:
    (finding,) = contradictions(evidence(FINE, primary("pg1"), primary("pg2", timeline=3)))
    assert (finding.code, finding.severity.value) == ("PG_TWO_PRIMARIES", "blocker")
    assert all(words in finding.detail for words in ("pg1", "pg2", "timeline 3", "0/5000000"))


def test_two_primaries_of_different_scopes_are_fine() -> None:
    other = PostgresEvidence("other", "pg1", source="sql", running=True, in_recovery=False)
    assert codes(FINE, primary("pg1"), other) == []


@pytest.mark.parametrize(("in_recovery", "role"), [(True, "primary"), (True, "master"), (False, "replica")])
def test_a_patroni_that_is_mistaken_about_its_postgresql(in_recovery: bool, role: str) -> None:
    assert codes(FINE, primary("pg1", in_recovery=in_recovery, patroni_role=role)) == [
        ("PATRONI_MISTAKEN", "demo/pg1")
    ]


def test_different_databases_in_one_scope() -> None:
    standby = primary("pg2", in_recovery=True, patroni_role="replica", system_identifier="8")
    assert codes(FINE, primary("pg1"), standby) == [("PG_SYSTEM_ID", "demo")]


def test_another_database_on_the_address_of_a_node() -> None:
    assert codes(FINE, primary("pg1", patroni_system_identifier="8")) == [("PG_SYSTEM_ID", "demo/pg1")]
