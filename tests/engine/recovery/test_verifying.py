"""What a recovery says at its end."""

from __future__ import annotations

import pytest

from patroni_etcd_reconfig.core.model import PatroniCluster
from patroni_etcd_reconfig.engine.recovery.isolation import NO_SPACE
from patroni_etcd_reconfig.engine.recovery.journal import RecoveryRecord
from patroni_etcd_reconfig.engine.recovery.verifying import Goal, report
from tests.core.builders import seen, voters
from tests.core.recovery.recovery_plans import forced, scope

PLAN = forced("a", "b", "c", scopes=(scope(),))


@pytest.mark.parametrize(("paused", "remedy"), [(True, "patronictl failover demo"), (False, "Patroni logs")])
def test_a_paused_scope_without_a_leader_is_told_how_to_get_one(paused: bool, remedy: str) -> None:
    cluster = PatroniCluster("demo", leader=None, lease=None, paused=paused)
    found = Goal(PLAN, seen(voters(3), cluster), (), same_data=True).findings()
    (told,) = [one for one in found if one.code == "RECOVERY_NO_LEADER"]
    assert remedy in told.remedy


def test_a_survivor_that_was_full_is_in_the_report() -> None:
    record = RecoveryRecord("recover-p1", "p1", 0.0)
    assert "RECOVERY_NO_SPACE" not in {one.code for one in report(PLAN, record)}
    record.facts[NO_SPACE] = True
    (told,) = [one for one in report(PLAN, record) if one.code == "RECOVERY_NO_SPACE"]
    assert "etcdctl compact" in told.remedy
