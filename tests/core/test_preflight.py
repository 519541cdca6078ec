"""Preflight: all findings at once, each with evidence and remedy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import Seat, addition_of, equality_with, removal_of, replacement_of
from patroni_etcd_reconfig.core.findings import Severity
from patroni_etcd_reconfig.core.model import DataDir, MemberView, NodeView, Observation, PatroniHosts
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.preflight import DEFAULT_QUOTA, examine

from .builders import cycle, down, etcd, learner, node, patroni, seen, urls, voter, voters


def _codes(
    state: Observation,
    severity: Severity = Severity.BLOCKER,
    policy: Policy | None = None,
    names: tuple[str, ...] = ("a",),
) -> list[str]:
    change = cycle(state.etcd, *names)
    return [f.code for f in examine(state, change, policy or Policy()) if f.severity is severity]


def _with(view: MemberView) -> Observation:
    return seen(etcd(voter("a"), voter("b"), view), patroni())


def test_a_sound_cluster_has_no_finding() -> None:
    assert examine(seen(voters(3), patroni()), cycle(voters(3)), Policy()) == ()


@pytest.mark.parametrize(
    ("view", "code"),
    [
        (down("c"), "MEMBER_UNHEALTHY"),
        (replace(voter("c"), connected_to=frozenset()), "NOT_CONNECTED"),
        (voter("c", lag=5000), "RAFT_LAG"),
        (voter("c", version="3.5.30"), "VERSION_SKEW"),
        (voter("c", version="3.4.30", db_size=int(DEFAULT_QUOTA * 0.97)), "DB_QUOTA"),
        (replace(voter("c"), alarms=("CORRUPT",)), "ALARM"),
    ],
)
def test_a_member_that_is_not_sound_is_a_blocker(view: MemberView, code: str) -> None:
    assert code in _codes(_with(view))


def test_a_dead_member_does_not_stand_in_the_way_of_its_own_replacement() -> None:
    state = seen(etcd(voter("a"), voter("b"), down("c")), patroni())
    state = replace(state, nodes={**state.nodes, "c": replace(node("c"), service_active=False)})
    found = examine(state, cycle(voters(3), "c"), Policy())
    assert [f.code for f in found if f.severity is Severity.BLOCKER] == []


def test_a_node_for_a_new_member_must_not_run_an_etcd_already() -> None:
    state = seen(voters(3), patroni())
    state = replace(state, nodes={**state.nodes, "d": node("d")})
    change = addition_of(state.etcd, (Seat("d", urls("d")),))
    assert [f.code for f in examine(state, change, Policy()) if f.severity is Severity.BLOCKER] == [
        "ZOMBIE_MEMBER",
        "NODE_IN_USE",
    ]


def test_a_removal_whose_node_is_out_of_reach_is_a_warning() -> None:
    state = seen(voters(4), patroni(), nodes={})
    found = examine(state, removal_of(state.etcd, ("d",)), Policy())
    assert "NODE_LEFT_BEHIND" in [f.code for f in found if f.severity is Severity.WARNING]


def test_a_database_near_its_quota_is_a_warning() -> None:
    state = _with(voter("c", db_size=int(DEFAULT_QUOTA * 0.85)))
    assert "DB_QUOTA" in _codes(state, Severity.WARNING)


@pytest.mark.parametrize(("version", "code"), [("3.5.1", "HAZARD_CORRUPTION"), ("3.6.2", None)])
def test_versions_with_known_hazards_are_named(version: str, code: str | None) -> None:
    views = [voter(name, version=version) for name in ("a", "b", "c")]
    found = [c for c in _codes(seen(etcd(*views), patroni())) if c.startswith("HAZARD")]
    assert found == ([code] if code else [])


def test_an_even_size_is_a_warning_and_too_few_voters_a_blocker() -> None:
    two = seen(voters(2), patroni())
    assert "TOO_FEW_VOTERS" in [f.code for f in examine(two, cycle(voters(2)), Policy())]
    assert "EVEN_SIZE" in [f.code for f in examine(two, cycle(voters(2)), Policy())]


def test_a_learner_left_behind_is_a_blocker() -> None:
    state = seen(etcd(voter("a"), voter("b"), voter("c"), learner("d")), patroni())
    assert "LEARNER_PRESENT" in _codes(state)


def test_hosts_that_name_no_member_are_a_blocker_and_a_single_one_a_warning() -> None:
    stale = seen(voters(3), patroni(), patroni_hosts=(PatroniHosts("pg1.yml", ("x:2379",)),))
    single = seen(voters(3), patroni(), patroni_hosts=(PatroniHosts("pg1.yml", ("a:2379", "x:2379")),))
    assert _codes(stale) == ["HOSTS_STALE"]
    assert _codes(single, Severity.WARNING) == ["HOSTS_SINGLE"]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        (replace(node("c"), problem="is_active: no such file"), "NODE_CONTROL"),
        (replace(node("c"), config_problem="etcd-c.env: not writable"), "NODE_CONTROL"),
        (replace(node("c"), service_active=False), "NODE_MISMATCH"),
        (replace(node("c"), data=DataDir(0xC1, 0x666)), "NODE_MISMATCH"),
        (replace(node("c"), data_is_mount=True), "DATA_DIR_IS_MOUNT"),
        (replace(node("c"), data_free_bytes=1000), "DISK_SPACE"),
    ],
)
def test_a_node_that_could_not_be_brought_back_is_a_blocker(changed: NodeView, code: str) -> None:
    state = seen(voters(3), patroni())
    assert _codes(replace(state, nodes={**state.nodes, "c": changed}), names=("c",)) == [code]


def test_a_disk_too_full_for_the_snapshot_is_a_blocker() -> None:
    assert _codes(seen(voters(3), patroni(), state_dir_free_bytes=1000)) == ["DISK_SPACE"]


def test_all_findings_come_at_once_blockers_first() -> None:
    state = seen(etcd(voter("a"), voter("b"), down("c")), patroni(paused=True), state_dir_free_bytes=0)
    found = examine(state, cycle(voters(3), "a"), Policy())
    assert {"MEMBER_UNHEALTHY", "PATRONI_PAUSED", "DISK_SPACE", "NO_TOLERANCE"} <= {f.code for f in found}
    ranks = [["blocker", "warning", "info"].index(f.severity.value) for f in found]
    assert ranks == sorted(ranks)
    assert all(f.subject and f.detail and f.remedy for f in found)


def test_an_accepted_code_no_longer_blocks() -> None:
    policy = Policy(accept=frozenset({"PATRONI_PAUSED"}))
    assert _codes(seen(voters(3), patroni(paused=True)), policy=policy) == []


def _apply(members: str, inventory: str, policy: Policy | None = None) -> list[str]:
    state = seen(etcd(*(voter(name) for name in members)), patroni())
    change = equality_with(state.etcd, tuple(Seat(name, urls(name)) for name in inventory))
    found = examine(state, change, policy or Policy(min_voters=1))
    return [f.code for f in found if f.severity is Severity.BLOCKER and f.code != "NODE_CONTROL"]


@pytest.mark.parametrize(
    ("members", "inventory"), [("abc", "a"), ("abcd", "ab"), ("abc", "ade"), ("abc", "def")]
)
def test_an_inventory_without_a_majority_of_the_live_members_removes_nobody(
    members: str, inventory: str
) -> None:
    assert _apply(members, inventory) == ["INVENTORY_PARTIAL"]
    accepting = Policy(min_voters=1, accept=frozenset({"INVENTORY_PARTIAL"}))
    assert _apply(members, inventory, accepting) == ["INVENTORY_PARTIAL"]


@pytest.mark.parametrize(
    ("members", "inventory"), [("abc", "ab"), ("abc", "abd"), ("abcde", "abc"), ("a", "abc")]
)
def test_an_inventory_with_a_majority_of_the_live_members_is_applied(members: str, inventory: str) -> None:
    assert _apply(members, inventory) == []


def test_dead_members_do_not_count_against_an_inventory() -> None:
    state = seen(etcd(voter("a"), voter("b"), voter("c"), down("d"), down("e")), patroni())
    change = equality_with(state.etcd, tuple(Seat(name, urls(name)) for name in "ab"))
    assert "INVENTORY_PARTIAL" not in [f.code for f in examine(state, change, Policy())]


def test_the_machine_of_the_victim_may_run_its_etcd_when_it_gets_other_urls() -> None:
    state = seen(voters(3), patroni())
    change = replacement_of(state.etcd, "c", Seat("c", ("http://c:2390",)))
    assert [f.code for f in examine(state, change, Policy()) if f.severity is not Severity.INFO] == []
    listed = replace(node("c"), peer_urls=urls("c"))
    told = examine(replace(state, nodes={**state.nodes, "c": listed}), change, Policy())
    assert [(f.code, f.subject) for f in told] == [("INVENTORY_OUTDATED", "c")]
    wrong = replace(state, nodes={**state.nodes, "c": replace(node("c"), data=DataDir(0xC1, 0x666))})
    assert "NODE_MISMATCH" in [f.code for f in examine(wrong, change, Policy())]
