"""Every Patroni cluster that keeps its keys in this etcd, not only the configured scope."""

from __future__ import annotations

import time

from patroni_etcd_reconfig.core.model import Lease, PatroniCluster
from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys, group_by_scope, read_cluster
from patroni_etcd_reconfig.errors import EtcdError
from patroni_etcd_reconfig.parallel import gather
from patroni_etcd_reconfig.ports import EtcdApi


def look_at_patroni(
    client: EtcdApi, namespace: str, *, seconds: float, serializable: bool = False
) -> tuple[PatroniCluster, ...]:
    """Return the clusters under the namespace, each with what is left of its leader's lease.

    `serializable` reads what this member knows, for a look without quorum. Raises EtcdError when the keys
    can't be read; a lease that can't be read is None.
    """
    found = client.range(namespace.rstrip("/") + "/", prefix=True, serializable=serializable)
    scopes = group_by_scope(found.kvs, namespace)
    leases = gather(
        {scope.scope: lambda scope=scope: _lease(client, scope) for scope in scopes},  # type: ignore[misc]
        seconds,
    ).results
    return tuple(read_cluster(scope, leases.get(scope.scope)) for scope in scopes)


def _lease(client: EtcdApi, scope: ScopeKeys) -> Lease | None:
    if not scope.leader_lease:
        return None
    asked_at = time.monotonic()
    try:
        left = client.lease_left(scope.leader_lease)
    except EtcdError:
        return None
    return Lease(left.ttl, left.remaining, asked_at) if left.remaining >= 0 else None
