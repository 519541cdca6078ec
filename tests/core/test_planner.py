"""The planner: order, re-derivation from every prefix, and the laws after every simulated step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import (
    Reshape,
    Seat,
    abort_of,
    addition_of,
    cycle_of,
    cycle_with_spare,
    equality_with,
    leader_move,
    promotion_of,
    removal_of,
    replacement_of,
    restart_of,
)
from patroni_etcd_reconfig.core.invariants import check_invariants
from patroni_etcd_reconfig.core.model import DataDir, MemberView, NodeView, Observation, Progress
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.quorum import failure_tolerance
from patroni_etcd_reconfig.core.simulate import apply_step, best_transferee
from patroni_etcd_reconfig.core.steps import (
    AddLearner,
    AwaitSettled,
    PromoteLearner,
    RemoveMember,
    SaveSnapshot,
    SetDataAside,
    StartMember,
    Step,
    TransferLeadership,
    Verify,
    subject,
)

from .builders import IDS, cycle, down, etcd, learner, seen, urls, voter, voters

CASES = [
    pytest.param(size, leader, names, id=f"{size} voters, {leader} leads, cycle {','.join(names) or 'all'}")
    for size in (3, 4, 5, 6, 7)
    for leader in list(IDS)[:size]
    for names in ((), ("a",), ("b", "a"), ("c", "b"))
]


def _names(steps: tuple[Step, ...]) -> list[str]:
    return [f"{type(step).__name__} {subject(step)}".strip() for step in steps]


def _states(start: Observation, change: Reshape) -> Iterator[tuple[Observation, tuple[Step, ...]]]:
    state = start
    for _ in range(100):
        steps = make_plan(state, change).steps
        yield state, steps
        if not steps:
            return
        state = apply_step(state, steps[0])
    raise AssertionError("the plan never ends")


def test_a_cycle_takes_followers_first_and_the_leader_last_after_a_transfer() -> None:
    cluster = voters(3, leader="b")
    plan = make_plan(seen(cluster), cycle(cluster))
    join = ["SetDataAside", "AddLearner", "StartMember", "PromoteLearner"]
    assert _names(plan.steps) == [
        "SaveSnapshot a",
        *[f"{kind} a" for kind in ["RemoveMember", *join]],
        "AwaitSettled a",
        *[f"{kind} c" for kind in ["RemoveMember", *join]],
        "AwaitSettled c",
        *[f"{kind} b" for kind in ["TransferLeadership", "RemoveMember", *join]],
        "Verify",
    ]


def test_a_single_member_that_leads_hands_over_to_the_most_caught_up_voter() -> None:
    cluster = etcd(voter("a"), voter("b", lag=5), voter("c"))
    assert (
        TransferLeadership(cycle(cluster, "a").victims[0])
        in make_plan(seen(cluster), cycle(cluster, "a")).steps
    )
    target = best_transferee(cluster, IDS["a"])
    assert target is not None
    assert target.member.name == "c"


@pytest.mark.parametrize(("size", "leader", "names"), CASES)
def test_after_every_prefix_the_plan_made_anew_is_the_rest_of_the_plan(
    size: int, leader: str, names: tuple[str, ...]
) -> None:
    cluster = voters(size, leader)
    change = cycle_of(cluster, names)
    states = list(_states(seen(cluster), change))
    whole = states[0][1]
    for done, (_, rest) in enumerate(states):
        assert rest == whole[done:]


@pytest.mark.parametrize(("size", "leader", "names"), CASES)
def test_the_laws_hold_after_every_step(size: int, leader: str, names: tuple[str, ...]) -> None:
    cluster = voters(size, leader)
    change = cycle_of(cluster, names)
    for state, steps in _states(seen(cluster), change):
        for step in steps[:1]:
            assert list(check_invariants(state, step, apply_step(state, step), change)) == []


def test_at_the_end_every_victim_has_a_new_id_on_its_old_seat() -> None:
    cluster = voters(3)
    change = cycle(cluster)
    end = list(_states(seen(cluster), change))[-1][0]
    for victim in change.victims:
        successor = end.etcd.by_peer_urls(victim.peer_urls)
        assert successor is not None
        assert successor.id != victim.id
        assert not successor.member.is_learner


def test_leadership_that_moved_meanwhile_changes_the_order_not_the_end() -> None:
    cluster = voters(3)
    change = cycle(cluster)
    moved = seen(replace(cluster, leader_id=IDS["c"]))
    removals = [subject(step) for step in make_plan(moved, change).steps if isinstance(step, RemoveMember)]
    assert removals == ["a", "b", "c"]


@pytest.mark.parametrize("leader", ["a", "b", "c"])
def test_a_victim_that_was_begun_is_finished_before_the_next(leader: str) -> None:
    cluster = voters(3, leader)
    change = cycle(cluster)
    without = replace(cluster, members=tuple(v for v in cluster.members if v.member.name != "b"))
    steps = make_plan(seen(without, progress=Progress("x")), change).steps
    assert _names(steps)[:3] == ["AddLearner b", "StartMember b", "PromoteLearner b"]


def _with_learner(node: NodeView, *, started: bool, joined: bool = False) -> list[str]:
    cluster = voters(3)
    change = cycle(cluster, "c")
    state = seen(
        etcd(voter("a"), voter("b"), learner("c", started=started)),
        progress=Progress("x", joined={0x99: 1.0} if joined else {}),
    )
    return _names(make_plan(replace(state, nodes={**state.nodes, "c": node}), change).steps)[:-1]


def test_old_data_is_set_aside_before_the_new_member_starts() -> None:
    old = NodeView("c", data_present=True, data=DataDir(0xC1, IDS["c"]))
    assert _with_learner(old, started=False) == ["SetDataAside c", "StartMember c", "PromoteLearner c"]


def test_a_learner_that_was_started_but_not_seen_connected_is_started_again() -> None:
    own = NodeView("c", service_active=True, data_present=True, data=DataDir(0xC1, 0x99))
    assert _with_learner(own, started=True) == ["StartMember c", "PromoteLearner c"]


def test_a_learner_that_joined_is_only_promoted() -> None:
    own = NodeView("c", service_active=True, data_present=True, data=DataDir(0xC1, 0x99))
    assert _with_learner(own, started=True, joined=True) == ["PromoteLearner c"]


def test_data_of_a_running_learner_is_never_set_aside_because_it_could_not_be_read() -> None:
    unreadable = NodeView("c", service_active=True, data_present=True, data=None)
    assert _with_learner(unreadable, started=True) == ["StartMember c", "PromoteLearner c"]


def test_a_learner_that_lost_its_disk_is_removed_and_added_again() -> None:
    cluster = voters(3)
    gone = replace(learner("c"), status=None)
    state = seen(etcd(voter("a"), voter("b"), gone), progress=Progress("x"))
    state = replace(state, nodes={**state.nodes, "c": NodeView("c")})
    steps = make_plan(state, cycle(cluster, "c")).steps
    assert _names(steps)[:4] == ["RemoveMember c", "AddLearner c", "StartMember c", "PromoteLearner c"]
    assert isinstance(steps[0], RemoveMember)
    assert steps[0].member.id == 0x99


def test_a_dead_member_can_be_cycled_through_the_healthy_ones() -> None:
    cluster = etcd(voter("a"), voter("b"), down("c"))
    kinds = [type(step) for step in make_plan(seen(cluster), cycle(cluster, "c")).steps]
    assert kinds == [
        SaveSnapshot, RemoveMember, SetDataAside, AddLearner, StartMember, PromoteLearner, Verify,
    ]  # fmt: skip


def test_resuming_waits_for_the_last_new_member_before_the_next_change() -> None:
    cluster = voters(3)
    change = cycle(cluster)
    fresh = replace(voter("b"), member=replace(voter("b").member, id=0x77))
    steps = make_plan(seen(etcd(voter("a"), fresh, voter("c")), progress=Progress("x")), change).steps
    assert isinstance(steps[0], AwaitSettled)
    assert steps[0].seat.name == "b"


def test_nothing_is_left_once_all_is_verified() -> None:
    cluster = voters(3)
    assert make_plan(seen(cluster, progress=Progress("x", verified=True)), cycle(cluster)).steps == ()


def test_an_unknown_name_is_a_key_error_that_names_it() -> None:
    with pytest.raises(LookupError, match="nobody"):
        cycle(voters(3), "nobody")


def test_seats_are_known_by_peer_url_not_by_name() -> None:
    cluster = voters(3)
    impostor = replace(voter("d"), member=replace(voter("d").member, name="b"))
    state = seen(etcd(voter("a"), impostor, voter("c")), progress=Progress("x"))
    steps = make_plan(state, cycle(cluster, "b")).steps
    added = next(step for step in steps if isinstance(step, AddLearner))
    assert added.seat.peer_urls == urls("b")


def test_the_plan_ends_with_a_verification() -> None:
    cluster = voters(3)
    steps = make_plan(seen(cluster), cycle(cluster)).steps
    assert isinstance(steps[-1], Verify)
    assert sum(isinstance(step, (StartMember, PromoteLearner, SetDataAside)) for step in steps) == 9


def _apply_all(start: Observation, change: Reshape) -> Observation:
    return list(_states(start, change))[-1][0]


def _seats(*names: str) -> tuple[Seat, ...]:
    return tuple(Seat(name, urls(name)) for name in names)


SHAPES = [
    pytest.param("abc", "abcde", id="grow 3 to 5"),
    pytest.param("abcde", "abc", id="shrink 5 to 3"),
    pytest.param("abcde", "cde", id="shrink 5 to 3, the leader goes"),
    pytest.param("abc", "abd", id="move one"),
    pytest.param("abc", "def", id="move all"),
    pytest.param("abc", "bcdef", id="move the leader and grow"),
    pytest.param("a", "abc", id="grow 1 to 3"),
    pytest.param("abc", "abc", id="nothing"),
]


@pytest.mark.parametrize(("before", "after"), SHAPES)
def test_apply_makes_membership_equal_by_safe_steps_and_from_every_prefix(before: str, after: str) -> None:
    start = seen(etcd(*(voter(name) for name in before)))
    change = equality_with(start.etcd, _seats(*after))
    states = list(_states(start, change))
    whole = states[0][1]
    for done, (state, rest) in enumerate(states):
        assert rest == whole[done:]
        for step in rest[:1]:
            assert list(check_invariants(state, step, apply_step(state, step), change)) == []
    assert sorted(view.member.name for view in states[-1][0].etcd.voters) == sorted(after)


def test_moving_to_other_machines_never_grows_by_more_than_one_and_never_shrinks() -> None:
    start = seen(etcd(*(voter(name) for name in "abc")))
    sizes = {len(s.etcd.members) for s, _ in _states(start, equality_with(start.etcd, _seats(*"def")))}
    assert sizes == {3, 4}


def test_a_healthy_member_is_replaced_elsewhere_by_adding_first() -> None:
    start = seen(voters(3, leader="b"))
    steps = make_plan(start, replacement_of(start.etcd, "a", *_seats("d"))).steps
    assert _names(steps) == [
        "SaveSnapshot a",
        *("AddLearner d", "StartMember d", "PromoteLearner d", "AwaitSettled d"),
        *("RemoveMember a", "SetDataAside a", "Verify"),
    ]


def test_a_dead_member_is_replaced_elsewhere_by_removing_first() -> None:
    start = seen(etcd(voter("a"), voter("b"), down("c")))
    steps = make_plan(start, replacement_of(start.etcd, "c", *_seats("d"))).steps
    assert [type(step) for step in steps[:3]] == [SaveSnapshot, RemoveMember, SetDataAside]


def _moved(name: str, port: int = 2390) -> Seat:
    return Seat(name, (f"http://{name}:{port}",), (f"http://{name}:{port - 1}",))


@pytest.mark.parametrize("leader", ["a", "b"])
@pytest.mark.parametrize("view", [voter("a"), down("a")], ids=["healthy", "dead"])
def test_on_its_own_machine_a_member_is_removed_before_the_new_one_with_other_urls_is_added(
    leader: str, view: MemberView
) -> None:
    start = seen(etcd(view, voter("b"), voter("c"), leader="b" if view.status is None else leader))
    change = replacement_of(start.etcd, "a", _moved("a"))
    states = list(_states(start, change))
    steps = [step for step in _names(states[0][1]) if not step.startswith("TransferLeadership")]
    assert steps[1:] == [f"{k} a" for k in ("RemoveMember", "SetDataAside", "AddLearner", "StartMember",
                                            "PromoteLearner")] + ["Verify"]  # fmt: skip
    for done, (state, rest) in enumerate(states):
        assert rest == states[0][1][done:]
        for step in rest[:1]:
            assert list(check_invariants(state, step, apply_step(state, step), change)) == []
    assert states[-1][0].etcd.by_peer_urls(("http://a:2390",)) is not None


def test_a_machine_that_takes_over_the_peer_url_waits_until_the_old_member_is_gone() -> None:
    start = seen(voters(3, leader="b"))
    change = replacement_of(start.etcd, "a", Seat("d", urls("a")))
    assert _names(make_plan(start, change).steps)[1:] == [
        *("RemoveMember a", "SetDataAside a", "AddLearner d", "StartMember d", "PromoteLearner d"),
        "Verify",
    ]


def test_an_aborted_learner_that_never_started_is_known_by_its_seat() -> None:
    before = voters(3)
    begun = addition_of(before, _seats("d"))
    state = replace(before, members=(*before.members, learner("d", started=False)))
    assert [victim.name for victim in abort_of(state, begun).victims] == ["d"]


SPARE_CASES = [
    pytest.param(
        size, leader, names, keep, id=f"{size} voters, {leader} leads, {names or 'all'}, keep {keep}"
    )
    for size in (1, 2, 3, 4, 5)
    for leader in list(IDS)[:size]
    for names in ((), ("a",), ("b", "a"))
    for keep in (False, True)
    if len(names) <= size
]


def _with_spare(size: int, leader: str, names: tuple[str, ...], keep: bool) -> tuple[Observation, Reshape]:
    start = seen(voters(size, leader))
    return start, cycle_with_spare(start.etcd, names, *_seats("g"), keep=keep)


@pytest.mark.parametrize(("size", "leader", "names", "keep"), SPARE_CASES)
def test_with_a_spare_tolerance_never_drops_and_there_is_at_most_one_member_more(
    size: int, leader: str, names: tuple[str, ...], keep: bool
) -> None:
    start, change = _with_spare(size, leader, names, keep)
    states = list(_states(start, change))
    for done, (state, rest) in enumerate(states):
        assert rest == states[0][1][done:]
        assert failure_tolerance(state.etcd) >= failure_tolerance(start.etcd)
        assert size <= len(state.etcd.voters) <= len(state.etcd.members) <= size + 1
        for step in rest[:1]:
            assert list(check_invariants(state, step, apply_step(state, step), change)) == []


@pytest.mark.parametrize(("size", "leader", "names", "keep"), SPARE_CASES)
def test_with_a_spare_the_end_is_as_many_new_voters_on_the_machines_that_were_said(
    size: int, leader: str, names: tuple[str, ...], keep: bool
) -> None:
    start, change = _with_spare(size, leader, names, keep)
    end = list(_states(start, change))[-1][0]
    before, after = ({v.member.name for v in s.etcd.voters} for s in (start, end))
    victims = {victim.name for victim in change.victims}
    assert not {victim.id for victim in change.victims} & {view.id for view in end.etcd.members}
    if keep:
        last = leader if leader in victims else change.victims[-1].name
        assert after == before - {last} | {"g"}
    else:
        assert after == before
        assert end.nodes["g"] == NodeView("g")  # free for the next time


def test_a_cycle_with_a_spare_begins_and_ends_with_the_spare_and_moves_leadership_once() -> None:
    start, change = _with_spare(3, "a", (), False)
    join = ("AddLearner", "StartMember", "PromoteLearner", "AwaitSettled")
    renew = ("RemoveMember", "SetDataAside", *join)
    assert _names(make_plan(start, change).steps) == [
        "SaveSnapshot b",
        *[f"{kind} g" for kind in join],
        *[f"{kind} {name}" for name in "bc" for kind in renew],
        *[f"{kind} a" for kind in ("TransferLeadership", *renew)],
        *("RemoveMember g", "SetDataAside g", "Verify"),
    ]


def test_leadership_that_moved_meanwhile_changes_nothing_of_what_a_kept_spare_promises() -> None:
    start, change = _with_spare(3, "c", (), True)
    moved = replace(start, etcd=replace(start.etcd, leader_id=IDS["a"]))
    for state, _ in _states(moved, change):
        assert failure_tolerance(state.etcd) >= 1
        assert len(state.etcd.members) >= 3


def test_a_dead_member_goes_first_also_with_a_spare() -> None:
    start = seen(etcd(voter("a"), voter("b"), down("c")))
    change = cycle_with_spare(start.etcd, (), *_seats("g"))
    assert _names(make_plan(start, change).steps)[1:3] == ["RemoveMember c", "SetDataAside c"]
    assert {v.member.name for v in _apply_all(start, change).etcd.voters} == {"a", "b", "c"}


def test_an_aborted_spare_that_is_still_a_learner_is_removed_again() -> None:
    begun = cycle_with_spare(voters(3), (), *_seats("d"))
    state = replace(voters(3), members=(*voters(3).members, learner("d", started=False)))
    assert [victim.name for victim in abort_of(state, begun).victims] == ["d"]


def test_the_node_of_a_member_that_is_gone_and_out_of_reach_is_left_alone() -> None:
    start = seen(etcd(voter("a"), voter("b"), down("c")), nodes={})
    steps = make_plan(start, removal_of(start.etcd, ("c",))).steps
    assert [type(step) for step in steps] == [SaveSnapshot, RemoveMember, Verify]


def test_an_added_learner_stays_one_when_that_is_wanted() -> None:
    start = seen(voters(3))
    change = addition_of(start.etcd, _seats("d"), as_learners=True)
    assert [type(step) for step in make_plan(start, change).steps] == [
        SaveSnapshot, AddLearner, StartMember, Verify,
    ]  # fmt: skip
    assert _apply_all(start, change).etcd.learners[0].member.name == "d"


def test_a_learner_that_is_there_is_promoted_without_touching_its_node() -> None:
    start = seen(etcd(voter("a"), voter("b"), learner("c")), nodes={})
    steps = make_plan(start, promotion_of(start.etcd, "c")).steps
    assert [type(step) for step in steps] == [SaveSnapshot, PromoteLearner, Verify]


def test_a_member_without_a_name_is_removed_by_its_id() -> None:
    start = seen(etcd(voter("a"), voter("b"), learner("c", started=False)))
    change = removal_of(start.etcd, ("99",))
    assert [ref.id for ref in change.victims] == [0x99]
    assert len(_apply_all(start, change).etcd.members) == 2


def test_a_rolling_restart_takes_followers_first_and_the_leader_last_after_a_transfer() -> None:
    start = seen(voters(3, leader="a"))
    change = restart_of(start.etcd, ())
    states = list(_states(start, change))
    assert _names(states[0][1]) == [
        "SaveSnapshot b",
        *("RestartMember b", "RestartMember c", "TransferLeadership a", "RestartMember a", "Verify"),
    ]
    for done, (_, rest) in enumerate(states):
        assert rest == states[0][1][done:]


def test_leadership_moves_to_the_named_voter_without_a_snapshot() -> None:
    start = seen(voters(3))
    steps = make_plan(start, leader_move(start.etcd, "c")).steps
    assert _names(steps) == ["TransferLeadership a", "Verify"]
    assert apply_step(start, steps[0]).etcd.leader_id == IDS["c"]


def test_a_voter_that_leads_already_is_left_alone() -> None:
    start = seen(voters(3))
    assert _names(make_plan(start, leader_move(start.etcd, "a")).steps) == ["Verify"]


def test_leadership_that_an_election_gave_to_a_third_still_goes_to_the_named_one() -> None:
    change = leader_move(voters(3), "c")
    elsewhere = seen(replace(voters(3), leader_id=IDS["b"]))
    (move, *_) = make_plan(elsewhere, change).steps
    assert isinstance(move, TransferLeadership)
    assert (move.source.name, move.target and move.target.name) == ("b", "c")


def test_an_abort_removes_the_half_joined_learner_and_clears_its_node() -> None:
    begun = cycle(voters(3), "c")
    state = seen(etcd(voter("a"), voter("b"), learner("c")), progress=Progress("x"))
    own = NodeView("c", service_active=True, data_present=True, data=DataDir(0xC1, 0x99))
    state = replace(state, nodes={**state.nodes, "c": own})
    steps = make_plan(state, abort_of(state.etcd, begun)).steps
    assert _names(steps) == ["RemoveMember c", "SetDataAside c", "Verify"]


def test_an_abort_leaves_a_learner_alone_that_was_there_before() -> None:
    before = etcd(voter("a"), voter("b"), voter("c"), learner("d"))
    assert abort_of(before, promotion_of(before, "d")).victims == ()
