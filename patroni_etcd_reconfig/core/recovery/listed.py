"""Whether Patroni finds the survivor: it knows the members from its own file, and reads that at its start.

A Patroni remembers the members that it has seen for 300 s at most; after that, and whenever it could not ask
for them anew, only what its file lists (patroni/dcs/etcd.py, `_load_machines_cache`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from patroni_etcd_reconfig.core.findings import Finding, warning
from patroni_etcd_reconfig.core.recovery.evidence import Evidence
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.core.recovery.plan_codec import with_id
from patroni_etcd_reconfig.core.recovery.steps import seats_to_rebuild

_NOBODY = "it may find no etcd, and nobody who is rebuilt is listed either"
_REMEDY = (
    "put it into the etcd hosts of every Patroni file; Patroni reads them at its start only: restart it once "
    "etcd is open, if no leader comes"
)


def heed_hosts(
    plan: RecoveryPlan, evidence: Evidence, endpoints: Iterable[str]
) -> tuple[RecoveryPlan, tuple[Finding, ...]]:
    """Return the plan in the order in which it can be carried out, and a warning where that is not the usual.

    Where `endpoints`, the etcd hosts of the Patroni file, lead to others than the survivor, these come back
    before a leader is waited for.
    """
    node = evidence.node(plan.survivor.node) if plan.survivor else None
    urls, listed = _endpoints(node.client_urls if node else ()), _endpoints(endpoints)
    if node is None or not urls or not listed or urls & listed or not plan.scopes:
        return plan, ()
    back = [seat.name for seat in seats_to_rebuild(plan) if _endpoints(seat.client_urls) & listed]
    finding = warning(
        "HOSTS_SURVIVOR_UNLISTED",
        node.name,
        f"Patroni's file lists none of its client URLs ({', '.join(sorted(urls))}): "
        + (f"it finds etcd through {', '.join(back)}, rebuilt before a leader comes" if back else _NOBODY),
        "list all members in every Patroni file afterwards: patronictl-etcd hosts" if back else _REMEDY,
    )
    return (with_id(replace(plan, rebuild_first=True)) if back else plan), (finding,)


def _endpoints(urls: Iterable[str]) -> set[str]:
    return {url.split("://", 1)[-1].rstrip("/") for url in urls}
