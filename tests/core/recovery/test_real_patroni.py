"""Patroni's own code, in front of the keys before and after the audit: who would lead?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.findings import blockers
from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys
from patroni_etcd_reconfig.core.recovery.audit import audit
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.model import ScopePlan
from patroni_etcd_reconfig.core.recovery.standing import is_behind, standing_of
from tests.core.recovery.builders import NAMESPACE, applied, crashed, keys, plan_for, primary, standby
from tests.core.recovery.real_patroni import HA, decides_to_lead

pytest.importorskip("hypothesis", reason="not installed: pip install --editable '.[dev]'")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def _patroni_s_own_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(HA, "global_config", HA.global_config)
    monkeypatch.setattr(HA.time, "sleep", lambda _: None)
    yield


def leaders(found: ScopeKeys, *nodes: PostgresEvidence) -> set[str]:
    """Return the nodes whose Patroni would lead; one that is down has been started as a standby first."""
    there = [one if one.running else replace(one, in_recovery=True, running=True) for one in nodes]
    there = [replace(one, patroni_answers=True) for one in there]
    return {one.name for one in there if decides_to_lead(found, there, one)}


def repaired(found: ScopeKeys, plan: ScopePlan, *nodes: PostgresEvidence) -> ScopeKeys:
    done = audit(found, nodes, plan, NAMESPACE)
    assert not blockers(done.findings), done.findings
    return applied(found, done.repairs)


OLD, NEW, LAST = crashed("pg1", 9_000, 1), standby("pg2", 2_000, 2), standby("pg3", 2_500, 2)


def test_patroni_believes_a_stale_leader_key() -> None:
    assert leaders(keys("pg1", timeline=1), OLD, NEW, LAST) == {"pg1"}


def test_patroni_s_own_race_for_a_free_key_takes_the_old_timeline_with_more_bytes() -> None:
    free = keys(None, {f"members/pg{i}": {"api_url": f"http://pg{i}:8008"} for i in (1, 2, 3)}, timeline=1)
    assert leaders(free, OLD, NEW, LAST) == {"pg1"}


def test_and_without_member_keys_everybody() -> None:
    assert leaders(keys(None, timeline=1), OLD, NEW, LAST) == {"pg1", "pg2", "pg3"}


def test_after_the_audit_only_the_most_advanced_node_leads() -> None:
    after = repaired(keys("pg1", timeline=1), plan_for("pg3"), OLD, NEW, LAST)
    assert leaders(after, OLD, NEW, LAST) == {"pg3"}


def test_a_failsafe_primary_keeps_leading_before_and_after() -> None:
    nodes = primary("pg1", failsafe_active=True), standby("pg2", 5_600)
    for named in ("pg1", "pg2", None):
        assert leaders(repaired(keys(named), plan_for("pg1"), *nodes), *nodes) == {"pg1"}


def test_in_synchronous_mode_nobody_else_leads_even_if_the_key_is_free_again() -> None:
    config = {"synchronous_mode": True}
    stale = keys("pg1", sync={"leader": "pg1", "sync_standby": "pg2"}, config=config)
    plan = plan_for("pg3", synchronous=True)
    nodes = standby("pg2", 4_000), standby("pg3", 5_000)
    after = repaired(stale, plan, *nodes)
    free = ScopeKeys(after.scope, {name: one for name, one in after.keys.items() if name != "leader"})
    assert leaders(free, *nodes) == {"pg3"}
    without = ScopeKeys(free.scope, {**free.keys, "sync": stale.keys["sync"]})
    assert "pg2" in leaders(without, *nodes)


def test_in_pause_nobody_is_promoted_unless_it_was_chosen() -> None:
    config = {"pause": True}
    nodes = standby("pg2", 5_000), standby("pg3", 4_000)
    assert leaders(repaired(keys("pg1", config=config), plan_for("pg2"), *nodes), *nodes) == set()
    chosen = repaired(keys("pg1", config=config), plan_for("pg2", chosen=True), *nodes)
    assert leaders(chosen, *nodes) == {"pg2"}


def test_in_pause_the_primary_that_runs_keeps_leading() -> None:
    nodes = primary("pg1", paused=True), standby("pg2", paused=True)
    for named in ("pg1", "pg2", None):
        assert leaders(repaired(keys(named), plan_for("pg1"), *nodes), *nodes) == {"pg1"}


def test_a_free_key_is_not_taken_by_a_lagging_node_after_the_audit() -> None:
    """Should the leader come, and go again at once: the status it found bounds what the others may lack."""
    found = keys("pg1", status={"optime": 10})
    far, near = standby("pg2", 5_000), standby("pg3", 50_000_000)
    after = repaired(found, plan_for("pg3"), far, near)
    free = ScopeKeys(after.scope, {name: one for name, one in after.keys.items() if name != "leader"})
    assert not decides_to_lead(free, [far], far)


NODES = st.builds(
    lambda name, lsn, timeline, kind, tags: kind(name, lsn, timeline, tags=tags),
    st.sampled_from(["pg1", "pg2", "pg3", "pg4"]),
    st.integers(1, 6).map(lambda number: number * 1_000),
    st.integers(1, 3),
    st.sampled_from([standby, standby, primary, crashed]),
    st.sampled_from([(), (), ("nofailover",)]),
)
SCOPES = st.lists(NODES, min_size=1, max_size=4, unique_by=lambda one: one.name)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "synchronous_mode": st.sampled_from([True, "quorum"]),
        "pause": st.just(True),
        "failsafe_mode": st.just(True),
        "check_timeline": st.just(True),
    },
)
NAMES = st.sampled_from(["pg1", "pg2", "pg9"])
OTHERS = st.fixed_dictionaries(
    {},
    optional={
        "failover": st.fixed_dictionaries({"member": NAMES}, optional={"leader": NAMES}),
        "sync": st.fixed_dictionaries({"leader": NAMES, "sync_standby": NAMES}),
        "failsafe": st.dictionaries(NAMES, st.just("http://somewhere:8008")),
        "status": st.fixed_dictionaries({"optime": st.integers(0, 3_000)}),
    },
)


@settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(SCOPES, CONFIGS, OTHERS, st.one_of(st.none(), NAMES), st.integers(1, 3), st.booleans())
def test_after_the_audit_patroni_never_lets_a_node_lead_that_is_behind(
    nodes: list[PostgresEvidence],
    config: dict[str, object],
    others: dict[str, object],
    named: str | None,
    timeline: int,
    synchronous: bool,
) -> None:
    found = keys(named, {**others, "config": config}, timeline=timeline, members=[one.name for one in nodes])
    best = standing_of(nodes, found).best
    plan = plan_for(best.name if best else None, synchronous=synchronous)
    done = audit(found, nodes, plan, NAMESPACE)
    if blockers(done.findings):
        return
    after = applied(found, done.repairs)
    assert audit(after, nodes, plan, NAMESPACE).repairs == ()
    leading = leaders(after, *nodes)
    assert len(leading) <= 1
    for one in nodes:
        if one.name in leading:
            assert not [other for other in nodes if is_behind(one, other)]
