"""A survivor that no Patroni file lists: others have to come back before Patroni finds etcd."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.recovery.evidence import Evidence
from patroni_etcd_reconfig.core.recovery.listed import heed_hosts
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.core.recovery.plan import plan_recovery
from patroni_etcd_reconfig.core.recovery.plan_codec import plan_id
from tests.core.recovery.builders import NOW, down, found, keys, primary, wiped


def made(lost: str = "") -> tuple[RecoveryPlan, Evidence]:
    there = tuple(keys("pg1").keys.values())
    nodes = (down("a", keys=there), wiped("b"), wiped("c"))
    seen = found(*(replace(one, client_urls=(f"http://{one.name}:2379",)) for one in nodes), primary("pg1"))
    plan = plan_recovery(seen, frozenset(), NOW)[0]
    return replace(plan, fence=tuple(replace(one, lost=one.node == lost) for one in plan.fence)), seen


def urls(seen: Evidence, name: str) -> list[str]:
    node = seen.node(name)
    assert node is not None
    return list(node.client_urls)


def test_with_the_survivor_in_the_list_the_leader_comes_first() -> None:
    plan, seen = made()
    assert heed_hosts(plan, seen, [*urls(seen, "a"), *urls(seen, "b")]) == (plan, ())


def test_without_it_the_others_of_the_list_do_and_the_plan_has_another_id() -> None:
    plan, seen = made()
    changed, (finding,) = heed_hosts(plan, seen, urls(seen, "b"))
    assert changed.rebuild_first
    assert changed.id == plan_id(changed) != plan.id
    assert replace(changed, rebuild_first=False, id=plan.id) == plan
    assert finding.code == "HOSTS_SURVIVOR_UNLISTED"
    assert "through b, rebuilt before" in finding.detail


@pytest.mark.parametrize("listed", ["elsewhere", "c"])
def test_where_nobody_of_the_list_comes_back_the_operator_has_to_change_it(listed: str) -> None:
    plan, seen = made("c")
    same, (finding,) = heed_hosts(plan, seen, urls(seen, "c") if listed == "c" else ["elsewhere:2379"])
    assert same == plan
    assert "nobody who is rebuilt is listed" in finding.detail
    assert finding.remedy.startswith("put it into the etcd hosts of every Patroni file")


def test_what_is_not_known_changes_nothing() -> None:
    plan, seen = made()
    assert heed_hosts(plan, seen, []) == (plan, ())
    assert heed_hosts(replace(plan, scopes=()), seen, ["elsewhere:2379"])[1] == ()
    assert heed_hosts(replace(plan, survivor=None), seen, ["elsewhere:2379"])[1] == ()
