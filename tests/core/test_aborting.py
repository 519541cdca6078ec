"""An abort that was made for a learner leaves it alone once it votes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import Change, Seat, abort_of, addition_of
from patroni_etcd_reconfig.core.findings import blockers
from patroni_etcd_reconfig.core.gates import check_step
from patroni_etcd_reconfig.core.model import MemberView
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.steps import RemoveMember

from .builders import IDS, down, etcd, learner, patroni, seen, urls, voter, voters

BEGUN = addition_of(voters(3), (Seat("d", urls("d")),))


def _abort() -> Change:
    half = etcd(*voters(3).members, learner("d", member_id=IDS["d"]))
    return abort_of(half, BEGUN)


def test_a_learner_is_taken_back() -> None:
    half = etcd(*voters(3).members, learner("d", member_id=IDS["d"]))
    assert any(isinstance(step, RemoveMember) for step in make_plan(seen(half, patroni()), _abort()).steps)


@pytest.mark.parametrize("promoted", [voter("d"), down("d"), replace(voter("d"), serves_reads=False)])
def test_one_that_votes_by_now_is_not_removed_and_the_abort_stops(promoted: MemberView) -> None:
    state = seen(etcd(*voters(3).members, promoted), patroni())
    steps = make_plan(state, _abort()).steps
    assert not any(isinstance(step, RemoveMember) for step in steps)
    [finding] = blockers(check_step(state, steps[0], _abort(), Policy()))
    assert (finding.code, finding.subject, finding.remedy) == (
        "MEMBERSHIP_CHANGED",
        "d",
        "patronictl-etcd abort",
    )


def test_a_new_abort_leaves_it_a_member_and_ends() -> None:
    state = seen(etcd(*voters(3).members, voter("d")), patroni())
    change = abort_of(state.etcd, BEGUN)
    steps = make_plan(state, change).steps
    assert not any(isinstance(step, RemoveMember) for step in steps)
    assert all(not blockers(check_step(state, step, change, Policy())) for step in steps)
