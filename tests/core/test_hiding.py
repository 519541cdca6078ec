"""A learner that could trap a Patroni stays out of its sight until it votes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import (
    Reshape,
    Seat,
    abort_of,
    addition_of,
    cycle_of,
    promotion_of,
    relocation_of,
    replacement_of,
)
from patroni_etcd_reconfig.core.codec import decode_step, encode_step
from patroni_etcd_reconfig.core.gates import check_step
from patroni_etcd_reconfig.core.hiding import borrowed_urls, reveals
from patroni_etcd_reconfig.core.invariants import check_invariants
from patroni_etcd_reconfig.core.model import EtcdView, Observation, PatroniMember
from patroni_etcd_reconfig.core.planner import make_plan, unfinished_nodes
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.remains import in_words, what_stays
from patroni_etcd_reconfig.core.simulate import apply_step
from patroni_etcd_reconfig.core.step_words import describe
from patroni_etcd_reconfig.core.steps import (
    AwaitSettled,
    PromoteLearner,
    ReaddressMember,
    StartMember,
    Step,
    TransferLeadership,
    subject,
)

from .builders import IDS, down, etcd, patroni, seen, urls, voter


def own(name: str) -> tuple[str, ...]:
    return (f"http://{name}:2379",)


def voters(count: int, version: str = "3.6.6") -> EtcdView:
    return etcd(*(voter(name, version=version) for name in list(IDS)[:count]))


def addressed(change: Reshape) -> Reshape:
    """Return the change with the seats' own client URLs, as commands fill them in."""
    return replace(
        change, joiners=tuple(replace(seat, client_urls=own(seat.name)) for seat in change.joiners)
    )


def states(start: Observation, change: Reshape) -> Iterator[tuple[Observation, tuple[Step, ...]]]:
    state = start
    while steps := make_plan(state, change).steps:
        yield state, steps
        state = apply_step(state, steps[0])
    yield state, ()


def names(steps: tuple[Step, ...]) -> list[str]:
    return [f"{type(step).__name__} {subject(step)}".strip() for step in steps]


def starts(cluster: EtcdView, change: Reshape, *patronis: str) -> list[bool]:
    """Return for every start of the plan whether the learner is hidden, with Patronis of these versions."""
    members = tuple(PatroniMember(f"pg{i}", "replica", "running", version=v) for i, v in enumerate(patronis))
    steps = make_plan(seen(cluster, patroni(members=members)), change).steps
    return [step.hidden for step in steps if isinstance(step, StartMember)]


def hidden_learner(cluster: EtcdView, change: Reshape) -> Observation:
    """Return what is seen once the learner of the change is hidden in the list."""
    return next(
        state
        for state, steps in states(seen(cluster), change)
        if steps and isinstance(steps[0], PromoteLearner)
    )


def test_a_new_voter_gets_its_own_url_right_after_its_promotion_and_is_settled_after_that() -> None:
    cluster = voters(3)
    steps = make_plan(seen(cluster), addressed(cycle_of(cluster, ("b", "c")))).steps
    join = ("SetDataAside", "AddLearner", "StartMember", "PromoteLearner", "ReaddressMember")
    assert names(steps) == [
        "SaveSnapshot b",
        *[f"{kind} b" for kind in ("RemoveMember", *join, "AwaitSettled")],
        *[f"{kind} c" for kind in ("RemoveMember", *join)],
        "Verify",
    ]


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_after_every_prefix_the_rest_is_planned_and_the_laws_hold(size: int) -> None:
    cluster = voters(size)
    change = addressed(cycle_of(cluster, ()) if size > 2 else addition_of(cluster, (Seat("d", urls("d")),)))
    found = list(states(seen(cluster), change))
    whole = found[0][1]
    for done, (state, rest) in enumerate(found):
        assert rest == whole[done:]
        for step in rest[:1]:
            assert list(check_invariants(state, step, apply_step(state, step), change)) == []
    end = found[-1][0].etcd
    assert {view.member.client_urls for view in end.members if view.id not in IDS.values()} == {
        seat.client_urls for seat in change.joiners
    }


def test_a_learner_that_is_hidden_advertises_what_the_healthy_voters_do_and_nothing_else() -> None:
    cluster = etcd(voter("a", version="3.6.6"), voter("b", version="3.6.6"), down("c"))
    assert borrowed_urls(cluster, Seat("d", urls("d"), own("d"))) == (*own("a"), *own("b"))
    state = hidden_learner(voters(3), addressed(addition_of(voters(3), (Seat("d", urls("d")),))))
    listed = {url for view in state.etcd.members for url in view.member.client_urls}
    assert listed == {url for name in "abc" for url in own(name)}


@pytest.mark.parametrize(("version", "hidden"), [("3.4.23", False), ("3.5.30", False), ("3.6.0", True)])
def test_only_versions_whose_refusal_keeps_patroni_on_the_learner_need_it(version: str, hidden: bool) -> None:
    cluster = voters(3, version)
    assert starts(cluster, addressed(cycle_of(cluster, ("b",)))) == [hidden]


@pytest.mark.parametrize(
    ("patronis", "hidden"),
    [
        (("3.0.4", "3.0.4"), True),
        (("3.3.6",), True),
        (("3.3.7", "3.3.11"), False),
        (("4.1.5", "4.0.5"), True),
        (("4.0.6", "4.1.5"), False),
        (("4.0.6", "5.0.0rc1"), False),
        (("", "of our own"), False),
    ],
)
def test_an_old_patroni_stays_on_the_learner_of_any_version(patronis: tuple[str, ...], hidden: bool) -> None:
    cluster = voters(3, "3.4.23")
    assert starts(cluster, addressed(cycle_of(cluster, ("b",))), *patronis) == [hidden]


def test_one_voter_that_is_newer_than_the_others_is_enough() -> None:
    cluster = etcd(voter("a", version="3.5.30"), voter("b", version="3.5.30"), voter("c", version="3.6.6"))
    assert starts(cluster, addressed(cycle_of(cluster, ("b",)))) == [True]


def test_nobody_hides_where_the_restart_would_leave_no_quorum() -> None:
    alone = voters(1)
    added = addressed(addition_of(alone, (Seat("d", urls("d")), Seat("e", urls("e")))))
    assert starts(alone, added) == [False, True]


def test_nobody_hides_whose_own_url_is_not_known() -> None:
    cluster = voters(3)
    assert starts(cluster, cycle_of(cluster, ("b",))) == [False]


def test_a_learner_that_stays_one_stays_hidden_and_is_revealed_when_it_is_promoted_later() -> None:
    cluster = voters(3)
    change = addressed(addition_of(cluster, (Seat("d", urls("d")),), as_learners=True))
    found = list(states(seen(cluster), change))
    assert names(found[0][1]) == ["SaveSnapshot b", "AddLearner d", "StartMember d", "Verify"]
    later = replace(found[-1][0], progress=seen(cluster).progress)
    promotion = addressed(promotion_of(later.etcd, "d"))
    assert names(make_plan(later, promotion).steps) == [
        *("SaveSnapshot b", "PromoteLearner d", "ReaddressMember d", "Verify")
    ]


def test_a_voter_whose_url_a_learner_borrows_is_not_taken_for_a_hidden_one() -> None:
    cluster = voters(3)
    learning = addressed(addition_of(cluster, (Seat("d", urls("d")),), as_learners=True))
    later = replace(list(states(seen(cluster), learning))[-1][0], progress=seen(cluster).progress)
    change = addressed(replacement_of(later.etcd, "b", Seat("b", urls("b"))))
    readdressed = [s for s in make_plan(later, change).steps if isinstance(s, ReaddressMember)]
    assert [step.member.name for step in readdressed] == ["b"]


def test_a_new_voter_that_was_elected_meanwhile_hands_over_before_its_restart() -> None:
    cluster = voters(3)
    change = addressed(addition_of(cluster, (Seat("d", urls("d")),)))
    state = hidden_learner(cluster, change)
    promoted = apply_step(state, make_plan(state, change).steps[0])
    new = promoted.etcd.by_peer_urls(urls("d"))
    assert new is not None
    elected = replace(promoted, etcd=replace(promoted.etcd, leader_id=new.id))
    first, second, third = make_plan(elected, change).steps[:3]
    assert isinstance(first, AwaitSettled)
    assert isinstance(second, TransferLeadership)
    assert isinstance(third, ReaddressMember)


def test_its_node_is_looked_at_until_it_has_its_own_url() -> None:
    cluster = voters(3)
    change = addressed(addition_of(cluster, (Seat("d", urls("d")),)))
    promoted = [
        s for s, steps in states(seen(cluster), change) if steps and isinstance(steps[0], ReaddressMember)
    ]
    assert unfinished_nodes(promoted[0].etcd, change) == {"d"}
    revealed = apply_step(promoted[0], make_plan(promoted[0], change).steps[0])
    assert unfinished_nodes(revealed.etcd, change) == frozenset()


def test_its_restart_waits_while_another_voter_is_down() -> None:
    cluster = voters(3)
    change = addressed(addition_of(cluster, (Seat("d", urls("d")),)))
    state = hidden_learner(cluster, change)
    promoted = apply_step(state, make_plan(state, change).steps[0])
    views = tuple(down("c") if v.member.name == "c" else v for v in promoted.etcd.members)
    broken = replace(promoted, etcd=replace(promoted.etcd, members=views))
    step = make_plan(broken, change).steps[0]
    assert isinstance(step, ReaddressMember)
    assert "NO_QUORUM_AFTER" in [finding.code for finding in check_step(broken, step, change, Policy())]


def test_an_abort_after_the_promotion_gives_the_new_voter_its_own_url() -> None:
    cluster = voters(3)
    change = addressed(cycle_of(cluster, ("b",)))
    state = hidden_learner(cluster, change)
    assert reveals(state.etcd, change) == ()  # a learner is removed again
    promoted = apply_step(state, make_plan(state, change).steps[0])
    way_out = replace(abort_of(promoted.etcd, change), relocations=reveals(promoted.etcd, change))
    assert names(make_plan(promoted, way_out).steps) == ["ReaddressMember b", "Verify"]
    revealed = apply_step(promoted, make_plan(promoted, way_out).steps[0])
    assert reveals(revealed.etcd, change) == ()


def _gone(state: Observation, *names: str) -> Observation:
    left = tuple(view for view in state.etcd.members if view.member.name not in names)
    return replace(state, etcd=replace(state.etcd, members=left))


def _dead(state: Observation, name: str) -> Observation:
    views = tuple(down(name) if v.member.name == name else v for v in state.etcd.members)
    return replace(state, etcd=replace(state.etcd, members=views))


@pytest.mark.parametrize(
    "fault", [lambda s: _gone(s, "b", "c"), lambda s: _dead(s, "c")], ids=["gone", "down"]
)
def test_a_learner_that_could_not_be_restarted_once_it_votes_shows_itself_before(
    fault: Callable[[Observation], Observation],
) -> None:
    change = addressed(addition_of(voters(3), (Seat("d", urls("d")),)))
    state = fault(hidden_learner(voters(3), change))
    assert names(make_plan(state, change).steps) == ["ReaddressMember d", "PromoteLearner d", "Verify"]
    shown = apply_step(state, make_plan(state, change).steps[0])
    assert own("d") in {view.member.client_urls for view in shown.etcd.learners}


def test_an_abort_leaves_a_voter_hidden_that_can_not_be_restarted_and_says_how_it_shows_itself_later() -> (
    None
):
    change = addressed(addition_of(voters(3), (Seat("d", urls("d")),)))
    state = hidden_learner(voters(3), change)
    promoted = apply_step(state, make_plan(state, change).steps[0])
    two = _gone(promoted, "b", "c")
    assert reveals(two.etcd, change) == ()
    said = [in_words(finding) for finding in what_stays(two.etcd, change)]
    assert "patronictl-etcd update-urls d --client-url http://d:2379" in said[0]
    assert what_stays(promoted.etcd, change) == ()
    later = relocation_of(promoted.etcd, "d", (), own("d"))
    assert names(make_plan(promoted, later).steps) == ["ReaddressMember d", "Verify"]


def test_a_start_keeps_in_journals_whether_it_is_hidden_and_older_journals_have_none() -> None:
    step = StartMember(Seat("d", urls("d"), own("d")), hidden=True)
    assert decode_step(encode_step(step)) == step
    older = {key: value for key, value in encode_step(step).items() if key != "hidden"}
    assert decode_step(older) == StartMember(step.seat)
    assert describe(step) == "hidden from Patroni: start d, wait until it joins"
