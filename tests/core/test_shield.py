"""The shield: failsafe_mode on for the time of an operation, whatever happens in between."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import Reshape, abort_of, equality_with
from patroni_etcd_reconfig.core.findings import blockers
from patroni_etcd_reconfig.core.model import Observation, PatroniCluster, Progress
from patroni_etcd_reconfig.core.patroni_keys import failsafe_setting, is_on, with_failsafe
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.preflight import examine
from patroni_etcd_reconfig.core.simulate import apply_step
from patroni_etcd_reconfig.core.steps import (
    LowerShield,
    RaiseShield,
    RemoveMember,
    SaveSnapshot,
    Shield,
    Step,
    Verify,
    touches_etcd,
)

from .builders import cycle, etcd, learner, patroni, seen, voter, voters

BARE = patroni("bare", failsafe_mode=False, failsafe_setting="")
OFF = patroni("off", failsafe_mode=False, failsafe_setting="false")
ON = patroni("on", failsafe_setting="true")
LOST = patroni("lost", failsafe_mode=False, failsafe_setting=None)
SHIELDS = (Shield("bare", ""), Shield("off", "false"))


def _change(*names: str) -> Reshape:
    return replace(cycle(voters(3), *names), shield=True)


def _steps(state: Observation, change: Reshape) -> tuple[Step, ...]:
    return make_plan(state, change).steps


def test_failsafe_mode_is_on_before_the_first_change_and_put_back_after_the_verification() -> None:
    steps = _steps(seen(voters(3), BARE, OFF, ON), _change("c"))
    assert isinstance(steps[0], SaveSnapshot)
    assert steps[1] == RaiseShield(SHIELDS)
    assert not any(touches_etcd(step) for step in steps[:2])
    assert (type(steps[-2]), steps[-1]) == (Verify, LowerShield(SHIELDS))


def test_after_every_prefix_the_plan_made_anew_is_the_rest_and_the_shield_is_open_while_etcd_changes() -> (
    None
):
    state, change = seen(voters(3), BARE, OFF, ON), _change()
    whole = _steps(state, change)
    for done, step in enumerate(whole):
        assert _steps(state, change) == whole[done:]
        assert not touches_etcd(step) or all(cluster.failsafe_mode for cluster in state.patroni)
        state = apply_step(state, step)
    assert _steps(state, change) == ()
    assert [cluster.failsafe_setting for cluster in state.patroni] == ["", "false", "true"]


@pytest.mark.parametrize("clusters", [(ON,), (LOST, ON), ()])
def test_where_nothing_can_be_turned_on_there_is_no_shield(clusters: tuple[PatroniCluster, ...]) -> None:
    assert not any(isinstance(s, RaiseShield) for s in _steps(seen(voters(3), *clusters), _change()))


def test_without_the_option_and_without_work_nothing_is_turned_on() -> None:
    state = seen(voters(3), OFF)
    nothing = replace(equality_with(state.etcd, _change().joiners), shield=True)
    for change in (cycle(voters(3)), nothing):
        assert not any(isinstance(step, RaiseShield) for step in _steps(state, change))


def test_killed_after_the_intent_it_is_turned_on_again_or_proven_with_what_was_there_before() -> None:
    progress = Progress("x", shields={"off": "false"})
    for cluster in (OFF, replace(OFF, failsafe_mode=True, failsafe_setting="true")):
        steps = _steps(seen(voters(3), cluster, progress=progress), _change("c"))
        assert steps[0] == RaiseShield((Shield("off", "false"),))


def test_what_somebody_turned_off_in_the_middle_is_not_turned_on_again() -> None:
    progress = Progress("x", shields={"off": "false"}, shielded=frozenset({"off"}))
    steps = _steps(seen(voters(3), OFF, progress=progress), _change("c"))
    assert isinstance(steps[0], RemoveMember)


def test_an_abort_takes_the_learner_away_and_closes_the_shield_before_it_verifies() -> None:
    progress = Progress("x", shields={"gone": "", "off": "false"}, shielded=frozenset({"off"}))
    state = seen(etcd(voter("a"), voter("b"), learner("c")), OFF, progress=progress)
    steps = _steps(state, abort_of(state.etcd, _change("c")))
    lower = LowerShield((Shield("gone", ""), Shield("off", "false")))
    assert isinstance(steps[0], RemoveMember)
    assert steps[-2:] == (lower, Verify())


def test_a_shield_that_can_be_raised_takes_the_place_of_the_blocker() -> None:
    state = seen(voters(3), BARE, OFF, ON)
    assert [f.code for f in blockers(examine(state, cycle(voters(3)), Policy()))] == ["FAILSAFE_OFF"] * 2
    found = examine(state, _change(), Policy())
    assert blockers(found) == ()
    assert [(f.code, f.subject) for f in found] == [("SHIELD", "bare"), ("SHIELD", "off")]


def test_without_a_configuration_the_blocker_stays() -> None:
    found = examine(seen(voters(3), LOST), _change(), Policy())
    assert [f.code for f in blockers(found)] == ["FAILSAFE_OFF"]


CONFIG = '{"ttl":20,"failsafe_mode":false,"postgresql":{"parameters":{"x":"\\u00e4"}}}'


@pytest.mark.parametrize(
    "config", [CONFIG, '{"ttl":20}', '{"failsafe_mode":null,"b":1}', '{"failsafe_mode":"no"}', "{}"]
)
def test_on_and_back_again_leaves_the_text_as_it_was(config: str) -> None:
    before = failsafe_setting(config)
    assert before is not None
    raised = with_failsafe(config, "true")
    others = {key: value for key, value in json.loads(config).items() if key != "failsafe_mode"}
    assert json.loads(raised) == {**others, "failsafe_mode": True}
    assert with_failsafe(raised, before) == config


@pytest.mark.parametrize("config", ["", "[]", "1", "{", "null"])
def test_what_is_no_configuration_has_no_setting(config: str) -> None:
    assert failsafe_setting(config) is None


def test_a_mode_is_on_when_patroni_says_so() -> None:
    assert all(map(is_on, (True, "on", "Yes", 1, "true")))
    assert not any(map(is_on, (None, False, "off", 0, "", [], 2)))
