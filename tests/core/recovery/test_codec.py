"""Evidence in a file comes back as it was, and what is no evidence is refused with the place named."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from patroni_etcd_reconfig.core.findings import warning
from patroni_etcd_reconfig.core.recovery.codec import (
    NotReadableError,
    evidence_document,
    read_evidence_document,
)
from patroni_etcd_reconfig.core.recovery.evidence import Evidence
from tests.core.recovery.evidences import data, evidence, key, live, member, node, pg

FULL = evidence(
    node(
        "a",
        reachable=True,
        service_active=True,
        live=live("a", quorate=False, keys=(key("leader", "pg\x1b1\n", lease=0x1234567890ABCDEF),)),
        data_present=True,
        data_free_bytes=2**40,
    ),
    node(
        "b", reachable=True, service_active=False, data=data("b", members=(member("a"),), last_written_at=9.5)
    ),
    node("c", problem="no route to host: “c”"),
    pg("pg1", source="sql", running=True, lsn=2**40, timeline_history=((1, 50, "no recovery target"),)),
    pg("pg2", tags=("nofailover",), sync_standby_names=""),
)


def document() -> dict[str, Any]:
    """Return the full evidence as it stands in a file."""
    text = json.dumps(evidence_document(FULL, (warning("X", "a", "b", "c"),)))
    data: dict[str, Any] = json.loads(text)
    return data


def test_everything_comes_back_as_it_was() -> None:
    assert read_evidence_document(document()) == FULL
    assert read_evidence_document(
        json.loads(json.dumps(evidence_document(Evidence("/service"))))
    ) == Evidence("/service")


def test_ids_are_hex_as_etcdctl_shows_them() -> None:
    nodes = document()["evidence"]["nodes"]
    assert (nodes[1]["data"]["cluster_id"], nodes[1]["data"]["member_id"]) == ("c1", "b")
    assert nodes[1]["data"]["members"][0]["id"] == "a"
    assert nodes[0]["live"]["keys"][0]["lease"] == "1234567890abcdef"
    assert nodes[0]["live"]["status"]["leader_id"] is None


def test_the_document_is_the_contract_of_the_command() -> None:
    assert list(document()) == ["format", "evidence", "findings", "error"]
    assert (document()["format"], document()["error"]) == (1, None)
    assert document()["findings"][0]["code"] == "X"


def test_a_field_that_a_former_version_did_not_write_has_its_default() -> None:
    found = document()
    del found["evidence"]["nodes"][1]["data"]["torn_tail"]
    assert read_evidence_document(found) == FULL


Change = Callable[[dict[str, Any]], object]


def _set(path: str, value: Any) -> Change:
    def change(found: dict[str, Any]) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        place: Any = found
        for part in parents:
            place = place[part]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("format", 2), "format: is 2, and this version reads 1"),
        (_set("format", True), "format: is True"),
        (_set("format", 1.0), "format: is 1.0"),
        (_set("evidence", None), "evidence: is null: that run ended with an error"),
        (_set("evidence", []), "evidence: must be an object"),
        (_set("evidence/surprise", 1), "evidence: 'surprise' does not belong there"),
        (_set("evidence/nodes", {}), "evidence.nodes: must be a list"),
        (_set("evidence/nodes/1", "n"), "evidence.nodes[1]: must be an object"),
        (_set("evidence/nodes/0/name", 5), "evidence.nodes[0].name: must be text"),
        (_set("evidence/nodes/0/reachable", 1), "evidence.nodes[0].reachable: must be true or false"),
        (_set("evidence/nodes/1/data/member_id", 11), "data.member_id: must be an id in hex"),
        (_set("evidence/nodes/1/data/member_id", "0x11"), "data.member_id: must be an id in hex"),
        (_set("evidence/nodes/1/data/member_id", "1" * 17), "data.member_id: must be an id in hex"),
        (_set("evidence/nodes/1/data/term", True), "data.term: must be a whole number"),
        (_set("evidence/nodes/1/data/term", 3.0), "data.term: must be a whole number"),
        (_set("evidence/nodes/1/data/term", None), "data.term: must be a whole number"),
        (_set("evidence/collected_at", float("nan")), "collected_at: must be a number"),
        (_set("evidence/collected_at", True), "collected_at: must be a number"),
        (_set("evidence/postgres/0/timeline_history/0", [1, 2]), "timeline_history[0]: must have 3 items"),
        (_set("evidence/postgres/0/timeline_history/0/2", None), "timeline_history[0][2]: must be text"),
    ],
)
def test_what_does_not_belong_there_is_named_with_its_place(change: Change, words: str) -> None:
    found = copy.deepcopy(document())
    change(found)
    with pytest.raises(NotReadableError) as caught:
        read_evidence_document(found)
    assert words in str(caught.value)


def test_a_missing_field_is_named() -> None:
    found = document()
    del found["evidence"]["nodes"][1]["data"]["last_index"]
    with pytest.raises(NotReadableError, match=r"evidence.nodes\[1\].data: last_index is missing"):
        read_evidence_document(found)


@pytest.mark.parametrize("foreign", [None, [], 5, "x", {}, {"format": 1}, {"evidence": {}}])
def test_a_foreign_document_holds_no_evidence(foreign: object) -> None:
    with pytest.raises(NotReadableError, match="holds no evidence"):
        read_evidence_document(foreign)
