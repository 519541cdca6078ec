"""May stopped members still be started, as a plan says? Asked before each run: pure."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.findings import Finding, blocker
from patroni_etcd_reconfig.core.model import format_id
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence
from patroni_etcd_reconfig.core.recovery.fencing import ids_on
from patroni_etcd_reconfig.core.recovery.holders import Holder, holders_in
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan

PLAN_AGAIN = "collect and plan again: patronictl-etcd recover collect; patronictl-etcd recover plan"


def check_starting(plan: RecoveryPlan, seen: Evidence) -> Iterator[Finding]:
    """Return what speaks against starting them.

    Who answers is not started. Who can't be looked at from here is started by people, on its own machine.
    """
    holders = {one.name: one for one in holders_in(seen)}
    for name in plan.start:
        node = seen.node(name)
        yield from _left_out(plan, seen, name, node)
        if node is not None and node.reachable and not node.live and not node.answers:
            yield from _about_data(plan, node, holders.get(name))


def _left_out(plan: RecoveryPlan, seen: Evidence, name: str, node: NodeEvidence | None) -> Iterator[Finding]:
    """Somebody has made a new cluster meanwhile: the old members would go on beside it as the old one."""
    own = ids_on(node) if node else set()
    for other in seen.nodes:
        live = other.live
        if live is None or live.status.cluster_id != plan.cluster_id or not live.members:
            continue
        serves = live.quorate or seen.has_leader(live)
        known = any(one.id in own if own else one.name == name for one in live.members)
        if serves and not known:
            yield blocker(
                "START_OUTDATED",
                name,
                f"etcd serves on {other.name}, and its member list does not have {name}: started, it would "
                "go on as the old cluster beside that one",
                f"leave it stopped; see patronictl-etcd status; then: patronictl-etcd add {name}",
            )


def _about_data(plan: RecoveryPlan, node: NodeEvidence, holder: Holder | None) -> Iterator[Finding]:
    if node.data is None or holder is None:
        detail = node.problem or "its data dir holds no readable write-ahead log"
        yield blocker("START_UNFIT", node.name, detail, PLAN_AGAIN)
    elif node.data.cluster_id != plan.cluster_id:
        ours, theirs = format_id(plan.cluster_id), format_id(node.data.cluster_id)
        detail = f"its data is of cluster {theirs}, not {ours}"
        yield blocker("PLAN_OTHER_CLUSTER", node.name, detail, f"correct the inventory. {PLAN_AGAIN}")
    elif holder.unfit or holder.damage:
        damage = f"its data is damaged: {'; '.join(holder.damage)}"
        yield blocker("START_UNFIT", node.name, holder.unfit or damage, PLAN_AGAIN)
