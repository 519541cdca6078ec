"""Plans for tests: `forced("a", "b", "c")` lets a go on and fences b and c."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.recovery.model import Fence, RecoveryPlan, ScopePlan, Survivor, Way
from tests.core.recovery.evidences import CLUSTER, member_id


def seat(name: str) -> Seat:
    """Return a member's seat."""
    return Seat(name, (f"http://{name}:2380",))


def fence(name: str, *, lost: bool = False) -> Fence:
    """Return the fence around a member."""
    return Fence(name, member_id(name), seat(name), lost)


def survivor(name: str, **more: Any) -> Survivor:
    """Return a survivor that is stopped, at the position that `evidences.data` has."""
    return replace(Survivor(name, member_id(name), 3, 3, 100, 99, False, "test"), **more)


def forced(name: str, *fenced: str, lost: tuple[str, ...] = (), **more: Any) -> RecoveryPlan:
    """Return the plan that makes a member the survivor."""
    fences = (*(fence(one) for one in fenced), *(fence(one, lost=True) for one in lost))
    plan = RecoveryPlan("p1", 0.0, Way.FORCE, "/service", CLUSTER, survivor=survivor(name), fence=fences)
    plan = replace(plan, voters=1 + len(fences))
    return replace(plan, rebuild=tuple(seat(one) for one in (*fenced, *lost)), **more)


def scope(name: str = "demo", **more: Any) -> ScopePlan:
    """Return what a plan says of a scope."""
    return ScopePlan(name, "pg1", "pg2", **more)
