"""A plan file fits while all that happened since is a beginning of the plan, and only then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import Change, Seat, equality_with
from patroni_etcd_reconfig.core.model import EtcdView, Member, MemberView, NodeView, Observation, Progress
from patroni_etcd_reconfig.core.plan_rest import misfit
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.simulate import apply_step
from patroni_etcd_reconfig.core.step_words import describe

from .builders import GIB, IDS, etcd, seen, status, urls, voter


def seat(name: str) -> Seat:
    return Seat(name, urls(name), (f"http://{name}:2379",))


def wanted(cluster: EtcdView, *names: str) -> Change:
    return equality_with(cluster, tuple(seat(name) for name in names))


def start(version: str = "3.4.23", leader: str = "a") -> Observation:
    cluster = etcd(*(voter(name, version=version) for name in "abc"), leader=leader)
    state = seen(cluster)
    return replace(
        state, nodes={**state.nodes, **{name: NodeView(name, data_free_bytes=GIB) for name in "xy"}}
    )


def words(state: Observation, change: Change) -> tuple[str, ...]:
    return tuple(describe(step) for step in make_plan(state, change).steps)


CASES = {
    "two more": "abcxy",
    "one moved": "abx",
    "two moved": "bxy",
    "one moved, one more": "abxy",
    "one fewer": "ab",
    "nothing": "abc",
}


@pytest.mark.parametrize("version", ["3.4.23", "3.6.6"])
@pytest.mark.parametrize("names", CASES.values(), ids=CASES)
def test_after_every_step_of_the_plan_it_still_fits_whoever_leads(names: str, version: str) -> None:
    state = start(version)
    change = wanted(state.etcd, *names)
    planned = words(state, change)
    while steps := make_plan(state, change).steps:
        afresh = replace(state, progress=Progress())
        for view in state.etcd.healthy_voters:
            led = replace(afresh, etcd=replace(state.etcd, leader_id=view.id))
            assert misfit(led, change, planned) == "", steps[0]
        state = apply_step(state, steps[0])
    assert misfit(replace(state, progress=Progress()), change, planned) == ""


def without(state: Observation, name: str) -> Observation:
    left = tuple(view for view in state.etcd.members if view.member.name != name)
    return replace(state, etcd=replace(state.etcd, members=left))


def test_a_victim_that_somebody_removed_before_the_joiner_came_is_no_beginning() -> None:
    state = start()
    change = wanted(state.etcd, *"abx")
    odd = misfit(without(state, "c"), change, words(state, change))
    assert "'promote x when in sync' would be done where the plan has 'stop c, set its data aside'" in odd


def _with(state: Observation, view: MemberView) -> Observation:
    return replace(state, etcd=replace(state.etcd, members=(*state.etcd.members, view)))


@pytest.mark.parametrize(("name", "said"), [("", "has never started"), ("z", "(z)")])
def test_a_voter_that_somebody_put_on_the_joiners_url_is_no_beginning(name: str, said: str) -> None:
    state = start()
    change = wanted(state.etcd, *"abx")
    view = MemberView(Member(0x77, name, urls("x")), status(0x77) if name else None, serves_reads=bool(name))
    odd = misfit(_with(state, view), change, words(state, change))
    assert "member 77 on http://x:2380 is not x" in odd
    assert said in odd


def test_a_voter_on_the_url_of_the_second_of_two_joiners_is_no_beginning() -> None:
    state = start()
    change = wanted(state.etcd, *"abcxy")
    view = MemberView(Member(0x77, "y", urls("y")), status(0x77), serves_reads=True)
    assert misfit(_with(state, view), change, words(state, change)) != ""


def test_a_learner_that_somebody_added_on_the_first_joiners_url_is_a_beginning() -> None:
    state = start()
    change = wanted(state.etcd, *"abx")
    view = MemberView(Member(0x77, "", urls("x"), is_learner=True))
    assert misfit(_with(state, view), change, words(state, change)) == ""


def test_steps_that_were_taken_out_of_the_file_are_missed() -> None:
    state = start()
    change = wanted(state.etcd, *"abx")
    planned = words(state, change)
    assert misfit(state, change, planned[:1]) != ""
    assert misfit(state, change, ()) != ""
    assert misfit(state, change, (*planned, "verify the cluster and Patroni")) != ""
    assert IDS["c"] in {ref.id for ref in change.victims}
