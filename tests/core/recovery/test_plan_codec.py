"""A plan file says what was planned, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from patroni_etcd_reconfig.core.recovery.codec import NotReadableError
from patroni_etcd_reconfig.core.recovery.plan import plan_recovery
from patroni_etcd_reconfig.core.recovery.plan_codec import plan_document, plan_id, read_plan_document
from tests.core.recovery.builders import NOW, away, down, found, primary

EVIDENCE = found(down("a"), down("b", 50, is_learner=True), away("c"), primary("pg1"))
PLAN, FINDINGS = plan_recovery(EVIDENCE, frozenset("c"), NOW)


def document() -> dict[str, Any]:
    written: dict[str, Any] = json.loads(json.dumps(plan_document(PLAN, FINDINGS)))
    return written


def test_comes_back_as_it_was() -> None:
    assert read_plan_document(document()) == PLAN


def test_has_the_parts_that_scripts_count_on() -> None:
    written = document()
    assert set(written) == {"format", "plan", "findings", "error"}
    assert written["plan"]["survivor"]["node"] == "a"
    assert [fence["node"] for fence in written["plan"]["fence"]] == ["b", "c"]
    assert written["plan"]["steps"][0] == "stop a cleanly"


def test_a_plan_of_an_earlier_version_is_made_again() -> None:
    written = document()
    del written["plan"]["rebuild_first"]
    with pytest.raises(NotReadableError, match="earlier version"):
        read_plan_document(written)


def test_a_plan_knows_how_many_voters_there_were() -> None:
    assert PLAN.voters == 3


def test_the_id_follows_from_all_the_rest() -> None:
    assert len(PLAN.id) == 12
    assert PLAN.id == plan_id(replace(PLAN, id="anything"))
    assert plan_id(replace(PLAN, minimum_term=PLAN.minimum_term + 1)) != PLAN.id
    again, _ = plan_recovery(EVIDENCE, frozenset("c"), NOW)
    assert again == PLAN


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("minimum_term", 1, "it was changed"),
        ("way", "hope", "plan.way"),
        ("extra", 1, "does not belong there"),
        ("fence", {}, "must be a list"),
    ],
)
def test_an_edited_plan_is_refused(key: str, value: object, words: str) -> None:
    written = document()
    written["plan"][key] = value
    with pytest.raises(NotReadableError, match=words):
        read_plan_document(written)


def test_a_plan_with_a_blocker_is_refused() -> None:
    blocked, findings = plan_recovery(EVIDENCE, frozenset(), NOW)
    with pytest.raises(NotReadableError, match="a blocker"):
        read_plan_document(plan_document(blocked, findings))


@pytest.mark.parametrize("data", [None, [], {}, {"format": 1}, {"format": 2, "plan": {}}, {"plan": []}])
def test_other_files_are_refused(data: object) -> None:
    with pytest.raises(NotReadableError):
        read_plan_document(data)
