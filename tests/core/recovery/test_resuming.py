"""A recovery that goes on: what it does again, and who leads when the operator says so later."""

from __future__ import annotations

from dataclasses import replace

from patroni_etcd_reconfig.core.recovery.model import Way
from patroni_etcd_reconfig.core.recovery.resuming import steps_left, with_leads
from patroni_etcd_reconfig.core.recovery.steps import (
    BackUpData,
    FenceMembers,
    ForceNewCluster,
    OpenToPatroni,
    RecoveryStep,
    RepairKeys,
    StopSurvivor,
    steps_of,
)
from tests.core.recovery.recovery_plans import forced, scope, survivor

PLAN = replace(forced("a", "b", "c", scopes=(scope(),)), survivor=survivor("a", running=True))
STEPS = steps_of(PLAN)


def left(until: type[RecoveryStep], *, forced: bool) -> list[type[RecoveryStep]]:
    """Return what is left when all steps before `until` are done."""
    at = [type(step) for step in STEPS].index(until)
    return [type(step) for step in steps_left(STEPS, set(STEPS[:at]), forced=forced)]


def test_until_the_flag_everybody_is_stopped_copied_and_fenced_again() -> None:
    begin = [StopSurvivor, BackUpData, FenceMembers, ForceNewCluster]
    assert left(FenceMembers, forced=False)[:4] == begin
    assert left(ForceNewCluster, forced=False)[:4] == begin
    assert left(ForceNewCluster, forced=True)[0] is ForceNewCluster


def test_a_restore_fences_again_too() -> None:
    steps = steps_of(replace(PLAN, way=Way.RESTORE))
    done = set(steps[:2])
    assert next(type(step) for step in steps_left(steps, done, forced=False)) is FenceMembers


def test_the_keys_are_compared_again_until_patroni_was_let_on() -> None:
    assert left(OpenToPatroni, forced=True)[:2] == [RepairKeys, OpenToPatroni]
    opened = {*STEPS[: [type(step) for step in STEPS].index(OpenToPatroni) + 1]}
    assert not [step for step in steps_left(STEPS, opened, forced=True) if isinstance(step, RepairKeys)]


def test_nothing_is_left_of_what_is_done() -> None:
    assert steps_left(STEPS, set(STEPS), forced=True) == ()


def test_a_leader_that_is_named_later_leads_as_if_the_plan_had_it() -> None:
    named = with_leads(PLAN, {"demo": "pg3", "other": "pg9"})
    assert (named.scopes[0].should_lead, named.scopes[0].chosen, named.id) == ("pg3", True, PLAN.id)
    assert with_leads(PLAN, {}) == PLAN
