"""Preflight: all findings at once, each with evidence and remedy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import (
    Reshape,
    Seat,
    addition_of,
    cycle_of,
    cycle_with_spare,
    equality_with,
    removal_of,
    replacement_of,
)
from patroni_etcd_reconfig.core.findings import Finding, Severity
from patroni_etcd_reconfig.core.model import DataDir, MemberView, NodeView, Observation, PatroniHosts
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.preflight import DEFAULT_QUOTA, examine

from .builders import GIB, cycle, down, etcd, learner, node, patroni, seen, urls, voter, voters


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


def test_a_member_that_answers_and_serves_no_read_yet_may_be_waited_for() -> None:
    """As in an election, or on a busy machine; one that does not answer, or has an alarm, is not."""
    busy = replace(voter("c"), serves_reads=False)
    ill = replace(busy, alarms=("NOSPACE",))
    found = [
        finding
        for view in (busy, down("c"), ill)
        for finding in examine(_with(view), cycle(voters(3), "a"), Policy())
        if finding.code == "MEMBER_UNHEALTHY"
    ]
    assert [finding.transient for finding in found] == [True, False, False]
    assert "no read in time" in found[0].detail


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


def _seat(name: str) -> Seat:
    return Seat(name, urls(name), (f"http://{name}:2379",))


def _after(change: Reshape, *listed: str) -> dict[str, Finding]:
    hosts = PatroniHosts("pg1.yml", tuple(f"{name}:2379" for name in listed))
    found = examine(seen(voters(3), patroni(), patroni_hosts=(hosts,)), change, Policy(min_voters=1))
    return {finding.code: finding for finding in found if finding.code.startswith("HOSTS")}


CHANGES = {
    "remove": removal_of(voters(3), ("c",)),
    "replace --by": replacement_of(voters(3), "c", _seat("x")),
    "apply": equality_with(voters(3), (_seat("a"), _seat("b"), _seat("x"))),
    "cycle --keep-spare": cycle_with_spare(voters(3), ("c",), _seat("x"), keep=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_last_member_that_a_patroni_file_lists_does_not_go(change: Reshape) -> None:
    found = _after(change, "c")
    assert found["HOSTS_STALE"].severity is Severity.BLOCKER
    assert "c:2379" in found["HOSTS_STALE"].detail
    assert "a:2379" in found["HOSTS_STALE"].remedy


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_listed_member_that_goes_is_named_with_what_comes_in_its_place(change: Reshape) -> None:
    found = _after(change, "a", "b", "c")
    assert {code: finding.severity for code, finding in found.items()} == {"HOSTS_OUTDATED": Severity.WARNING}
    remedy = "take it out" if change.verb == "remove" else "list x:2379 instead"
    assert remedy in found["HOSTS_OUTDATED"].remedy


def test_a_file_that_lists_the_new_member_too_starts_afterwards() -> None:
    found = _after(CHANGES["replace --by"], "c", "x")
    assert set(found) == {"HOSTS_SINGLE", "HOSTS_OUTDATED"}


@pytest.mark.parametrize("names", [(), ("c",)])
def test_a_replacement_in_place_leaves_the_patroni_files_right(names: tuple[str, ...]) -> None:
    assert _after(cycle(voters(3), *names), "a", "b", "c") == {}


MIB = 1024**2


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (cycle(voters(3)), "--to-dir"),
        (replacement_of(voters(3), "c", _seat("c")), "--to-dir"),
        (replacement_of(voters(3), "c", _seat("x")), "move-data c --to-host x"),
    ],
    ids=["cycle", "replace", "replace --by"],
)
def test_of_a_large_database_the_other_way_is_told_and_nothing_stopped(change: Reshape, remedy: str) -> None:
    views = [voter(name, db_size=60 * MIB) for name in "abc"]
    state = seen(etcd(*views), patroni())
    state = replace(state, nodes={**state.nodes, "x": NodeView("x", data_free_bytes=GIB)})
    found = examine(state, change, Policy())
    assert [(f.code, f.severity) for f in found] == [("DB_LARGE", Severity.INFO)]
    assert "60 MiB" in found[0].detail
    assert remedy in found[0].remedy


def test_of_a_small_database_or_a_dead_or_leaving_member_no_other_way_is_told() -> None:
    large = [voter(name, db_size=60 * MIB) for name in "ab"]
    dead = seen(etcd(*large, down("c")), patroni())
    small = seen(voters(3), patroni())
    gone = seen(etcd(*large, voter("c", db_size=60 * MIB)), patroni())
    for state, change in (
        (dead, cycle(dead.etcd, "c")),
        (small, cycle(voters(3))),
        (gone, removal_of(gone.etcd, ("c",))),
    ):
        assert "DB_LARGE" not in [f.code for f in examine(state, change, Policy())]


def test_a_new_member_takes_no_client_url_of_another() -> None:
    taken = Seat("x", urls("x"), ("http://b:2379",))
    for change in (addition_of(voters(3), (taken,)), replacement_of(voters(3), "c", taken)):
        found = examine(seen(voters(3), patroni()), change, Policy())
        assert [f.subject for f in found if f.code == "CLIENT_URL_TAKEN"] == ["x"]


def test_a_learner_that_hides_behind_the_url_of_a_voter_does_not_own_it() -> None:
    hidden = learner("x")
    hidden = replace(hidden, member=replace(hidden.member, client_urls=("http://c:2379",)))
    change = cycle_of(voters(3), ("c",))
    change = replace(change, joiners=(_seat("c"),))
    state = seen(etcd(*voters(3).members, hidden), patroni())
    assert "CLIENT_URL_TAKEN" not in [f.code for f in examine(state, change, Policy())]


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
