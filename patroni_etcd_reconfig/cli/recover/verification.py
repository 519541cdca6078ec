"""`recover verify`, and the last step of `recover apply`: the same look."""

from __future__ import annotations

from typing import Protocol

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.findings import blockers
from patroni_etcd_reconfig.core.model import KeyValue
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.engine.recovery.loop import Facts
from patroni_etcd_reconfig.engine.recovery.verifying import Goal
from patroni_etcd_reconfig.engine.verification import NotVerifiedError, same_hashes
from patroni_etcd_reconfig.errors import EtcdError


class Asking(Protocol):
    """What asks PostgreSQL nodes, and the plan they are asked for."""

    plan: RecoveryPlan

    def postgres(self, kvs: tuple[KeyValue, ...]) -> tuple[PostgresEvidence, ...]:
        """Ask every PostgreSQL node that these keys name."""


def look(app: App, asking: Asking) -> Goal:
    """Return what there is now, against what the plan wants; changes nothing."""
    wiring, plan = Wiring(app), asking.plan
    seen = wiring.observe()
    postgres: tuple[PostgresEvidence, ...] = ()
    if plan.scopes:
        prefix = plan.namespace.rstrip("/") + "/"
        try:
            postgres = asking.postgres(wiring.roster.voters()[0].range(prefix, prefix=True).kvs)
        except EtcdError:
            postgres = ()
    return Goal(plan, seen, postgres, same_hashes(wiring.roster, seen.etcd))


def verify(app: App, asking: Asking) -> Facts:
    """Return when the goal is reached; NotVerifiedError names what is missing."""
    goal = look(app, asking)
    findings = goal.findings()
    if stopping := blockers(findings):
        words = "; ".join(f"{finding.subject}: {finding.detail}" for finding in stopping)
        raise NotVerifiedError(words, hint=stopping[0].remedy, code=stopping[0].code)
    return {"verified": [finding.as_dict() for finding in findings], "leading": goal.leading()}
