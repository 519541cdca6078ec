"""A recovery plan as a file, strictly read: what stands in it decides whose data survives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.recovery.codec import FORMAT, NotReadableError, checked, decode, encode
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Way
from patroni_etcd_reconfig.core.recovery.steps import describe, steps_of

ID_LENGTH = 12  # hex digits: enough to tell plans apart, short enough to type


def with_id(plan: RecoveryPlan) -> RecoveryPlan:
    """Return the plan with the id that follows from all the rest."""
    return replace(plan, id=plan_id(plan))


def plan_id(plan: RecoveryPlan) -> str:
    """Return the start of the SHA-256 over the rest of the plan, as JSON with sorted keys and no blanks."""
    data = {key: value for key, value in encode(plan).items() if key != "id"}
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:ID_LENGTH]


def steps_in_words(plan: RecoveryPlan) -> tuple[str, ...]:
    """Return what `recover apply` will do, in order; nothing where no data can go on."""
    if plan.way is Way.FORCE and plan.survivor is None:
        return ()
    return tuple(describe(step) for step in steps_of(plan))


def plan_document(plan: RecoveryPlan | None, findings: Iterable[Finding] = ()) -> dict[str, Any]:
    """Return the contract of `recover plan`: what `-f json` prints and what the file holds."""
    steps = list(steps_in_words(plan)) if plan else []
    return {
        "format": FORMAT,
        "plan": {**encode(plan), "steps": steps} if plan else None,
        "findings": [finding.as_dict() for finding in findings],
        "error": None,
    }


def read_plan_document(data: Any) -> RecoveryPlan:
    """Return the plan of such a document; NotReadableError for anything else, and for one that was edited."""
    written = checked(data, "plan")
    if not isinstance(written, dict):
        raise NotReadableError("plan: must be an object")
    if "rebuild_first" not in written:
        raise NotReadableError(
            "plan.rebuild_first: is missing: an earlier version made this plan; make it again"
        )
    plan = decode(RecoveryPlan, {key: value for key, value in written.items() if key != "steps"}, "plan")
    if plan.id != plan_id(plan):
        raise NotReadableError(f"plan.id: is {plan.id}, and this content has {plan_id(plan)}: it was changed")
    if any(one.get("severity") == "blocker" for one in _findings(data)):
        raise NotReadableError("findings: a blocker stands in the way of this plan")
    return plan


def _findings(data: dict[str, Any]) -> list[dict[str, Any]]:
    findings = data.get("findings", [])
    if not isinstance(findings, list) or not all(isinstance(one, dict) for one in findings):
        raise NotReadableError("findings: must be a list of objects")
    return findings
