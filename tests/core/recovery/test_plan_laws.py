"""Whatever was found: the survivor is behind nobody who could go on, and everybody else is accounted for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patroni_etcd_reconfig.core.findings import blockers
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence
from patroni_etcd_reconfig.core.recovery.model import Way
from patroni_etcd_reconfig.core.recovery.plan import plan_recovery
from tests.core.recovery.builders import CLUSTER, IDS, NOW, alone, away, down, found, members, wiped

pytest.importorskip("hypothesis", reason="not installed: pip install --editable '.[dev]'")

from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = "abcde"
LISTS = st.sampled_from(["abc", "abcde", "abd", "ab", "bcde"])


@st.composite
def nodes(draw: st.DrawFn, name: str) -> NodeEvidence:
    kind = draw(st.sampled_from(["down", "alone", "away", "wiped", "answers"]))
    if kind in ("away", "wiped"):
        return away(name) if kind == "away" else wiped(name)
    facts: dict[str, Any] = {
        "index": draw(st.integers(1, 6)),
        "term": draw(st.integers(1, 3)),
        "is_learner": draw(st.sampled_from([False, False, False, None, True])),
        "is_removed": draw(st.sampled_from([False, False, False, True])),
        "problems": draw(st.sampled_from([(), (), (), ("crc mismatch",)])),
        "members": members(draw(LISTS), learners=draw(st.sampled_from(["", "", "c"]))),
        "cluster_id": draw(st.sampled_from([CLUSTER] * 6 + [0xC2])),
    }
    made = down(name, **facts) if kind == "down" else alone(name, **facts)
    return replace(made, reachable=False) if kind == "answers" else made


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    return found(*(draw(nodes(name)) for name in draw(st.sampled_from(["abc", "abcde", "ab", "a"]))))


LOST = st.frozensets(st.sampled_from(NAMES))


def _could_go_on(node: NodeEvidence) -> bool:
    data = node.data
    if not (node.reachable and data) or data.is_removed or data.is_learner or data.problems:
        return False
    own = next((member for member in data.members if member.id == data.member_id), None)
    return own is not None and not own.is_learner


@settings(max_examples=150, derandomize=True, deadline=None)
@given(evidence(), LOST)
def test_an_applicable_plan_never_lets_a_survivor_go_on_that_is_behind(
    seen: Evidence, lost: frozenset[str]
) -> None:
    plan, findings = plan_recovery(seen, lost, NOW)
    if blockers(findings) or plan.survivor is None:
        return
    listed = {one.node for one in plan.fence} | {plan.survivor.node}
    for node in seen.nodes:
        if _could_go_on(node) and node.data and node.name in listed:
            removed = f"{node.name} (" in plan.survivor.why and "it was removed" in plan.survivor.why
            ahead = (node.data.last_term, node.data.last_index)
            assert ahead <= (plan.survivor.last_term, plan.survivor.last_index) or removed


@settings(max_examples=150, derandomize=True, deadline=None)
@given(evidence(), LOST)
def test_every_member_of_any_list_survives_is_fenced_or_blocks(seen: Evidence, lost: frozenset[str]) -> None:
    plan, findings = plan_recovery(seen, lost, NOW)
    if plan.way is not Way.FORCE or plan.survivor is None:
        assert plan.way is Way.START or blockers(findings)
        return
    blocked = {one.subject for one in blockers(findings)}
    fenced = {one.node for one in plan.fence}
    for node in seen.nodes:
        for member in node.data.members if node.data and node.data.cluster_id == plan.cluster_id else ():
            assert member.name in fenced | {plan.survivor.node}
    for fence in plan.fence:
        there = seen.node(fence.node)
        proven = there is not None and there.reachable
        assert proven or fence.node in lost or fence.node in blocked
        assert not (fence.lost and there and (there.reachable or there.live)) or fence.node in blocked


@settings(max_examples=100, derandomize=True, deadline=None)
@given(evidence(), LOST)
def test_what_is_started_has_sound_data_of_a_voter_and_makes_a_majority(
    seen: Evidence, lost: frozenset[str]
) -> None:
    plan, _ = plan_recovery(seen, lost, NOW)
    if plan.way is Way.START:
        ids = {seen.node(name).data.member_id for name in plan.start}  # type: ignore[union-attr]
        assert ids <= set(IDS.values())
        assert all(_could_go_on(node) for node in seen.nodes if node.name in plan.start)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(evidence(), LOST)
def test_the_term_is_never_below_what_anybody_saw(seen: Evidence, lost: frozenset[str]) -> None:
    plan, _ = plan_recovery(seen, lost, NOW)
    for node in seen.nodes:
        if node.data and node.data.cluster_id == plan.cluster_id:
            assert plan.minimum_term >= max(node.data.term, node.data.last_term)
