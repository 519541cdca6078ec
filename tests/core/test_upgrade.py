"""Versions: the order of an upgrade, every interrupted prefix, and which way a version may change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import Reshape, abort_of, restart_of, upgrade_of
from patroni_etcd_reconfig.core.gates import check_step
from patroni_etcd_reconfig.core.invariants import check_invariants
from patroni_etcd_reconfig.core.model import EtcdView, Observation, Progress
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.preflight import examine
from patroni_etcd_reconfig.core.simulate import apply_step
from patroni_etcd_reconfig.core.steps import Step, UpgradeMember, subject
from patroni_etcd_reconfig.core.upgrade_checks import wrong_version

from .builders import IDS, cycle, down, etcd, patroni, seen, voter, voters


def _versions(*versions: str) -> EtcdView:
    return etcd(*(voter(name, version=text) for name, text in zip("abcde", versions, strict=False)))


def _upgrade(cluster: EtcdView, to: str = "", *names: str) -> Reshape:
    return upgrade_of(cluster, names, "install", to)


def _states(state: Observation, change: Reshape) -> list[tuple[Observation, tuple[Step, ...]]]:
    states = []
    while steps := make_plan(state, change).steps:
        states.append((state, steps))
        state = apply_step(state, steps[0])
    return [*states, (state, ())]


def _names(state: Observation, change: Reshape) -> list[str]:
    return [f"{type(s).__name__} {subject(s)}".strip() for s in make_plan(state, change).steps]


def _blockers(cluster: EtcdView, change: Reshape) -> list[str]:
    found = examine(seen(cluster, patroni()), change, Policy())
    return sorted({finding.code for finding in found if finding.severity.value == "blocker"})


@pytest.mark.parametrize("to", ["", "3.5.30"])
def test_followers_come_first_and_every_prefix_goes_on_with_the_rest(to: str) -> None:
    start = seen(voters(3), patroni())
    change = _upgrade(start.etcd, to)
    states = _states(start, change)
    assert _names(start, change) == [
        *("SaveSnapshot b", "UpgradeMember b", "UpgradeMember c", "TransferLeadership a"),
        *("UpgradeMember a", "Verify"),
    ]
    for done, (state, rest) in enumerate(states):
        assert rest == states[0][1][done:]
        for step in rest[:1]:
            assert list(check_invariants(state, step, apply_step(state, step), change)) == []
            assert check_step(state, step, change, Policy()) == ()


def test_a_member_that_runs_the_version_already_is_left_alone() -> None:
    start = seen(_versions("3.4.23", "3.5.30", "3.4.23"), progress=Progress("x"))
    assert _names(start, _upgrade(start.etcd, "3.5.30", "b", "c")) == ["UpgradeMember c", "Verify"]


def test_with_one_of_three_down_no_other_is_upgraded() -> None:
    state = seen(etcd(voter("a"), voter("b"), down("c")), patroni(), progress=Progress("x"))
    change = _upgrade(state.etcd, "", "b")
    step = make_plan(state, change).steps[0]
    assert [f.code for f in check_step(state, step, change, Policy())] == ["NO_QUORUM_AFTER"]


@pytest.mark.parametrize(
    ("present", "to", "codes"),
    [
        (("3.4.23",) * 3, "3.5.30", []),
        (("3.4.23",) * 3, "3.4.45", []),
        (("3.4.23",) * 3, "", []),
        (("3.4.23",) * 3, "3.6.6", ["MINOR_SKIPPED"]),
        (("3.5.30",) * 3, "3.5.29", ["DOWNGRADE"]),
        (("3.5.30",) * 3, "3.4.45", ["DOWNGRADE"]),
        (("3.5.30",) * 3, "4.0.0", ["MINOR_SKIPPED"]),
        (("3.5.25",) * 3, "3.6.6", ["UPGRADE_PATH"]),
        (("3.5.26",) * 3, "3.6.6", []),
        (("3.5.1",) * 3, "3.5.30", []),  # of a version that blocks all other changes
        (("3.4.23", "3.5.30", "3.4.23"), "3.5.30", []),
        (("3.4.23", "3.6.6", "3.5.30"), "3.6.6", ["MINOR_SKIPPED", "VERSION_SKEW"]),
    ],
)
def test_which_way_a_version_may_change(present: tuple[str, ...], to: str, codes: list[str]) -> None:
    cluster = _versions(*present)
    assert [
        c for c in _blockers(cluster, _upgrade(cluster, to)) if c != "DOWNGRADE" or "DOWNGRADE" in codes
    ] == (codes)


def test_half_an_upgrade_blocks_every_other_change() -> None:
    cluster = _versions("3.4.23", "3.5.30", "3.4.23")
    for change in (cycle(cluster, "a"), restart_of(cluster, ())):
        assert "VERSION_SKEW" in _blockers(cluster, change)


def test_what_3_6_does_not_start_on_is_told_beforehand() -> None:
    cluster = _versions(*("3.5.30",) * 3)
    found = {f.code for f in examine(seen(cluster, patroni()), _upgrade(cluster, "3.6.6"), Policy())}
    assert "UPGRADE_V2_WAL" in found
    found = {f.code for f in examine(seen(cluster, patroni()), _upgrade(cluster, "3.5.33"), Policy())}
    assert found == set()


def test_that_a_version_was_not_told_is_told() -> None:
    found = examine(seen(voters(3), patroni()), _upgrade(voters(3)), Policy())
    assert [(f.code, f.severity.value) for f in found] == [("UPGRADE_VERSION_UNKNOWN", "info")]


@pytest.mark.parametrize(
    ("after", "before", "wanted", "words"),
    [
        ("3.5.30", "3.4.23", "3.5.30", ""),
        ("3.5.30", "3.4.23", "", ""),
        ("3.4.23", "3.4.23", "", ""),
        ("3.4.23", "3.4.23", "3.5.30", "not 3.5.30"),
        ("3.4.22", "3.4.23", "", "lower than 3.4.23"),
        ("3.6.6", "", "", "more than one minor"),
        ("3.5.30", "", "", ""),
    ],
)
def test_the_version_of_afterwards_is_judged(after: str, before: str, wanted: str, words: str) -> None:
    problem = wrong_version(_versions("3.4.23", after, "3.4.23"), IDS["b"], before, wanted)
    assert words in problem
    assert bool(problem) == bool(words)


def test_an_abort_starts_the_member_that_is_down_and_no_other() -> None:
    change = _upgrade(voters(3))
    state = seen(etcd(voter("a"), down("b"), voter("c")), patroni(), progress=Progress("x"))
    back = abort_of(state.etcd, change, frozenset({"UpgradeMember"}))
    assert _names(state, back) == ["RestartMember b", "Verify"]
    assert check_step(state, make_plan(state, back).steps[0], back, Policy()) == ()


def test_what_a_member_ran_before_is_known_after_a_kill() -> None:
    change = upgrade_of(voters(3), ("c",), "true")
    state = seen(etcd(voter("a"), voter("b"), down("c")), patroni())
    known = replace(state, progress=Progress("x", versions={IDS["c"]: "3.5.1"}))
    step = make_plan(known, change).steps[0]
    assert isinstance(step, UpgradeMember)
    assert step.from_version == "3.5.1"
