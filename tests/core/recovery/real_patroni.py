"""What a real Patroni decides in front of these keys: its own code, with PostgreSQL and the network faked.

`patroni.ha.Ha` itself is asked, and the keys are read by `patroni.dcs.etcd3.Etcd3` itself. Faked are the
node's own PostgreSQL, the other Patronis' REST answers, and the writes: acquiring the lock always works.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence

import_module("patroni.postgresql")  # before patroni.ha: they import each other
HA: Any = import_module("patroni.ha")
ETCD3: Any = import_module("patroni.dcs.etcd3")
GLOBAL_CONFIG: Any = import_module("patroni.global_config")

LEADS = "leads"


def decides_to_lead(found: ScopeKeys, nodes: Iterable[PostgresEvidence], me: PostgresEvidence) -> bool:
    """Tell whether the Patroni of this node would make its PostgreSQL a primary, or keep it one."""
    others = {node.name: node for node in nodes}
    ha = _ha(found, me, others)
    decide = ha.process_unhealthy_cluster if ha.cluster.is_unlocked() else ha.process_healthy_cluster
    return bool(decide() == LEADS)


def _ha(found: ScopeKeys, me: PostgresEvidence, others: dict[str, PostgresEvidence]) -> Any:
    ha = object.__new__(HA.Ha)
    ha.cluster = ha.old_cluster = _cluster(found, me.name)
    config = type(GLOBAL_CONFIG)()
    config.update(ha.cluster)
    HA.global_config = config  # a module of one process; each node here has its own view
    ha.patroni = SimpleNamespace(
        nofailover="nofailover" in me.tags, failover_priority=1, replicatefrom=None, nostream=False
    )
    ha.state_handler = _postgresql(me)
    ha.dcs = SimpleNamespace(
        ttl=30, loop_wait=10, failsafe=ha.cluster.failsafe, manual_failover=lambda *_, **__: True
    )
    ha.watchdog = SimpleNamespace(is_healthy=True, is_running=True)
    ha._rewind = SimpleNamespace(
        trigger_check_diverged_lsn=lambda: None, ensure_checkpoint_after_promote=lambda _: None
    )
    ha._released_leader_key_timestamp = 0
    _fake_actions(ha, others)
    return ha


def _fake_actions(ha: Any, others: dict[str, PostgresEvidence]) -> None:
    ha.acquire_lock = lambda: True
    ha.update_lock = lambda *_: True
    ha.load_cluster_from_dcs = lambda: None
    ha._delete_leader = lambda *_: None
    ha.process_manual_failover_from_leader = lambda: None
    ha.enforce_primary_role = ha.enforce_follow_remote_member = lambda *_: LEADS
    ha.follow = lambda *_, **__: "follows"
    ha.fetch_node_status = lambda member: _answer(member, others.get(member.name))
    ha.fetch_nodes_statuses = lambda members: [ha.fetch_node_status(member) for member in members]


def _cluster(found: ScopeKeys, name: str) -> Any:
    dcs = object.__new__(ETCD3.Etcd3)
    dcs._ctl, dcs._name, dcs._lease = False, name, None
    return dcs._cluster_from_nodes(
        {
            key: {"key": key, "value": kv.value, "mod_revision": 1, "lease": kv.lease or None}
            for key, kv in found.keys.items()
        }
    )


def _postgresql(me: PostgresEvidence) -> Any:
    return SimpleNamespace(
        name=me.name,
        sysid=me.system_identifier,
        role="primary" if me.in_recovery is False else "replica",
        is_starting=lambda: False,
        is_primary=lambda: me.running is True and me.in_recovery is False,
        get_primary_timeline=lambda: me.timeline or 0,
        replica_cached_timeline=lambda _: me.timeline,
        last_operation=lambda: me.lsn or 0,
    )


def _answer(member: Any, node: PostgresEvidence | None) -> Any:
    if node is None or not node.patroni_answers:
        return HA._MemberStatus.unknown(member)
    primary = node.running is True and node.in_recovery is False
    wal = {"location": node.lsn} if primary else {"received_location": node.lsn or 0}
    tags = dict.fromkeys(node.tags, True)
    said = {"role": "primary" if primary else "replica", "wal": wal, "timeline": node.timeline, "tags": tags}
    return HA._MemberStatus.from_api_response(member, said)
