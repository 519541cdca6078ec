"""Which steps a recovery has, in which order, and that they survive a journal."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Way
from patroni_etcd_reconfig.core.recovery.steps import (
    AwaitLeaders,
    BackUpData,
    FenceMembers,
    ForceNewCluster,
    OpenToPatroni,
    RaiseTerm,
    RebuildMembers,
    RecoveryStep,
    RepairKeys,
    StopSurvivor,
    changes_something,
    decode_step,
    describe,
    encode_step,
    steps_of,
)
from tests.core.recovery.recovery_plans import forced, scope, survivor

FULL = replace(
    forced("a", "b", lost=("c",), scopes=(scope(),), minimum_term=7), survivor=survivor("a", running=True)
)
STARTING = replace(forced("a", "b", "c", scopes=(scope(),)), way=Way.START, survivor=None, start=("a", "b"))


def kinds(plan: RecoveryPlan) -> list[type[RecoveryStep]]:
    return [type(step) for step in steps_of(plan)]


def test_the_data_is_copied_and_the_others_are_fenced_before_the_flag_is_given() -> None:
    order = kinds(FULL)
    assert order.index(StopSurvivor) < order.index(BackUpData) < order.index(ForceNewCluster)
    assert order.index(FenceMembers) < order.index(ForceNewCluster)


def test_patroni_is_let_on_only_after_term_and_keys_are_right() -> None:
    order = kinds(FULL)
    assert order.index(ForceNewCluster) < order.index(RaiseTerm) < order.index(RepairKeys)
    assert order.index(RepairKeys) < order.index(OpenToPatroni) < order.index(RebuildMembers)


def test_members_that_patroni_lists_come_back_before_a_leader_that_it_could_not_have_else() -> None:
    order, usual = kinds(replace(FULL, rebuild_first=True)), kinds(FULL)
    assert usual.index(AwaitLeaders) < usual.index(RebuildMembers)
    assert order.index(OpenToPatroni) < order.index(RebuildMembers) < order.index(AwaitLeaders)
    assert sorted(map(str, order)) == sorted(map(str, usual))


def test_a_lost_member_is_neither_fenced_nor_rebuilt() -> None:
    assert FenceMembers(("b",)) in steps_of(FULL)
    rebuilt = next(step for step in steps_of(FULL) if isinstance(step, RebuildMembers))
    assert [seat.name for seat in rebuilt.seats] == ["b"]


def test_members_that_can_be_started_are_started_and_nothing_is_forced() -> None:
    assert ForceNewCluster not in kinds(STARTING)
    assert FenceMembers not in kinds(STARTING)


def test_where_a_majority_serves_there_is_nothing_to_do() -> None:
    assert steps_of(replace(FULL, way=Way.NOTHING)) == ()


def test_a_plan_that_this_version_has_no_steps_for_is_an_error() -> None:
    with pytest.raises(ValueError, match="force"):
        steps_of(replace(FULL, survivor=None))


@pytest.mark.parametrize("step", [*steps_of(FULL), *steps_of(STARTING)], ids=lambda step: type(step).__name__)
def test_a_step_comes_out_of_the_journal_as_it_went_in(step: RecoveryStep) -> None:
    assert decode_step(json.loads(json.dumps(encode_step(step)))) == step
    assert describe(step)


def test_looking_and_copying_leave_nothing_to_finish() -> None:
    assert [type(step) for step in steps_of(FULL) if not changes_something(step)][:2] == [
        type(steps_of(FULL)[0]),
        BackUpData,
    ]
