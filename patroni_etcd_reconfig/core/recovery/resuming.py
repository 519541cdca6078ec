"""What a recovery that goes on has left to do, and with whom as leaders: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.core.recovery.steps import (
    BackUpData,
    FenceMembers,
    OpenToPatroni,
    RecoveryStep,
    RepairKeys,
    StopSurvivor,
)


def steps_left(
    steps: Iterable[RecoveryStep], done: Collection[RecoveryStep], *, forced: bool
) -> tuple[RecoveryStep, ...]:
    """Return what is left to do, in order. Days can lie between two runs, and others can act meanwhile.

    Until a new cluster may have been made (`forced`), everybody is stopped and copied again. The keys are
    compared again until Patroni was let on: who should lead can have changed.
    """
    opened = any(isinstance(step, OpenToPatroni) for step in done)

    def again(step: RecoveryStep) -> bool:
        if isinstance(step, (StopSurvivor, BackUpData, FenceMembers)):
            return not forced
        return isinstance(step, RepairKeys) and not opened

    return tuple(step for step in steps if step not in done or again(step))


def with_leads(plan: RecoveryPlan, leads: Mapping[str, str]) -> RecoveryPlan:
    """Return the plan with the leaders that the operator named later; its id stays, as its journal does."""
    scopes = (
        replace(scope, should_lead=leads[scope.scope], chosen=True) if scope.scope in leads else scope
        for scope in plan.scopes
    )
    return replace(plan, scopes=tuple(scopes))
