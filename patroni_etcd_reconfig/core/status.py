"""The contract of `status -f json`: an observation as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import (
    EtcdView,
    MemberView,
    Observation,
    PatroniCluster,
    PatroniMember,
    format_id,
)
from patroni_etcd_reconfig.core.quorum import failure_tolerance, quorum

FORMAT = 1


def status_as_dict(seen: Observation, findings: Iterable[Finding]) -> dict[str, Any]:
    """Return format 1 of the status; ids in hex as etcdctl shows them, sizes in bytes, times in seconds."""
    return {
        "format": FORMAT,
        "etcd": _etcd(seen.etcd),
        "patroni": [_patroni(cluster) for cluster in seen.patroni],
        "findings": [finding.as_dict() for finding in findings],
        "error": None,
    }


def role_of(view: MemberView, etcd: EtcdView) -> str:
    """Return leader, voter or learner."""
    if view.member.is_learner:
        return "learner"
    return "leader" if view.id == etcd.leader_id else "voter"


def _etcd(etcd: EtcdView) -> dict[str, Any]:
    leader = etcd.leader
    return {
        "cluster_id": format_id(etcd.cluster_id),
        "leader": leader.member.name if leader else None,
        "quorum": quorum(len(etcd.voters)),
        "failure_tolerance": failure_tolerance(etcd),
        "members": [_member(view, etcd) for view in etcd.members],
    }


def _member(view: MemberView, etcd: EtcdView) -> dict[str, Any]:
    status = view.status
    return {
        "name": view.member.name,
        "id": format_id(view.id),
        "role": role_of(view, etcd),
        "state": view.health.value,
        "version": status.version if status else None,
        "db_size": status.db_size if status else None,
        "raft_term": status.raft_term if status else None,
        "raft_index": status.raft_index if status else None,
        "peer_urls": list(view.member.peer_urls),
        "client_urls": list(view.member.client_urls),
        "alarms": list(view.alarms),
        "error": view.error or None,
    }


def _patroni(cluster: PatroniCluster) -> dict[str, Any]:
    return {
        "scope": cluster.scope,
        "leader": cluster.leader,
        "lease_remaining": cluster.lease.remaining if cluster.lease else None,
        "ttl": cluster.ttl,
        "loop_wait": cluster.loop_wait,
        "retry_timeout": cluster.retry_timeout,
        "write_gap_budget": cluster.write_gap_budget,
        "failsafe_mode": cluster.failsafe_mode,
        "paused": cluster.paused,
        "members": [_patroni_member(member) for member in cluster.members],
    }


def _patroni_member(member: PatroniMember) -> dict[str, Any]:
    return {
        "name": member.name,
        "host": member.host,
        "role": member.role,
        "state": member.state,
        "timeline": member.timeline,
        "lag": member.lag,
    }
