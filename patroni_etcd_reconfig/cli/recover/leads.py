"""Leaders that the operator names after a recovery's plan was made: the journal keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Way
from patroni_etcd_reconfig.core.recovery.resuming import with_leads
from patroni_etcd_reconfig.engine.recovery.journal import known_recovery
from patroni_etcd_reconfig.errors import ConfigError


def named_now(app: App, plan: RecoveryPlan, leads: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return those of `leads` that are not decided so already; ConfigError for one that can't be followed."""
    decided = {one.scope: one.should_lead for one in decided_so_far(app, plan).scopes if one.chosen}
    named = {scope: name for scope, name in leads if decided.get(scope) != name}
    known = known_recovery(app.state_dir, plan.id)
    for scope, name in named.items():
        if plan.way not in (Way.FORCE, Way.RESTORE):
            raise _refused("this plan names no leaders: it only starts members", "leave out --lead")
        if scope not in {one.scope for one in plan.scopes}:
            scopes = ", ".join(one.scope for one in plan.scopes) or "none"
            raise _refused(f"the plan has no scope {scope}; it has: {scopes}", "correct --lead")
        if known and known.opening:
            raise _refused(
                "Patroni was let on already: who leads is decided there",
                f"leave out --lead; then: patronictl switchover {scope} --candidate {name}",
            )
    return named


def decided_so_far(app: App, plan: RecoveryPlan, leads: Mapping[str, str] | None = None) -> RecoveryPlan:
    """Return the plan with the leaders that its journal has, and with `leads` before these."""
    known = known_recovery(app.state_dir, plan.id)
    return with_leads(plan, {**(known.leads if known else {}), **(leads or {})})


def _refused(message: str, hint: str) -> ConfigError:
    return ConfigError(f"--lead: {message}; nothing was changed", hint=hint, code="LEAD_REFUSED")
