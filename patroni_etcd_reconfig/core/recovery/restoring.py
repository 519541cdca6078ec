"""From a snapshot file to a plan: a new cluster with its data, everybody else fenced. Pure.

Always a new cluster token. With the old one, cluster and member ids would be those of the first bootstrap
and the raft term would begin anew: Patroni 4.0.6 and later refuses such an etcd for good, and old members
would take it for their own cluster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.findings import Finding, blocker, warning
from patroni_etcd_reconfig.core.model import KeyValue, Member
from patroni_etcd_reconfig.core.patroni_keys import group_by_scope
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence
from patroni_etcd_reconfig.core.recovery.fencing import fences_around, fencing_findings, is_beyond, node_of
from patroni_etcd_reconfig.core.recovery.holders import Holder, holders_in
from patroni_etcd_reconfig.core.recovery.model import Choice, Fence, RecoveryPlan, Survivor, Way
from patroni_etcd_reconfig.core.recovery.plan_codec import with_id
from patroni_etcd_reconfig.core.recovery.scopes import ScopeView, scopes_of
from patroni_etcd_reconfig.core.recovery.standing import object_in

Planned = tuple[RecoveryPlan, tuple[Finding, ...]]


@dataclass(frozen=True)
class SnapshotFile:
    """What a snapshot file holds. `hashed`: it ends with its SHA-256, which fits; a raw database has none."""

    path: str
    sha256: str  # of the whole file
    size: int  # bytes
    hashed: bool
    revision: int
    written_at: float  # wall time of the file's last change
    keys: tuple[KeyValue, ...] = ()
    members: tuple[Member, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What the operator asked for: the node that starts the new cluster, and what is declared lost."""

    node: str
    lost: frozenset[str] = frozenset()
    choice: Choice = field(default_factory=Choice)
    raw: bool = False  # a file without a hash may be used


def token_of(sha256: str, made_at: float) -> str:
    """Return the cluster token of a restore: no other restore has it, and a resumed one has the same."""
    return f"restored-{sha256[:16]}-{int(made_at * 1000)}"


def ids_of(peer_urls: Iterable[str], token: str) -> tuple[int, int]:
    """Return cluster and member id of a new cluster of one (etcd's membership/member.go and cluster.go)."""
    member = hashlib.sha1("".join(sorted(peer_urls)).encode() + token.encode()).digest()[:8]  # noqa: S324
    cluster = hashlib.sha1(member).digest()[:8]  # noqa: S324
    return int.from_bytes(cluster, "big"), int.from_bytes(member, "big")


def plan_restore(evidence: Evidence, file: SnapshotFile, wish: Wish, now: float) -> Planned:
    """Return the plan of a restore, and what stands in its way. With a blocker it must not be applied."""
    node = evidence.node(wish.node)
    urls = node.peer_urls if node else ()
    holders = holders_in(evidence)
    fences = _fences(evidence, holders, wish)
    views = scopes_of(evidence, file.keys, wish.choice)
    token = token_of(file.sha256, now)
    cluster_id, member_id = ids_of(urls, token)
    plan = RecoveryPlan(
        id="",
        made_at=now,
        way=Way.RESTORE,
        namespace=evidence.namespace,
        cluster_id=cluster_id,
        survivor=_survivor(wish.node, member_id, urls, file),
        fence=fences,
        scopes=tuple(view.plan for view in views),
        rebuild=_rebuild(evidence, holders, fences, file, wish.node),
        losses=(_lost_writes(file, now), *(line for view in views for line in view.losses)),
        choices=tuple(_choices(wish)),
    )
    return with_id(plan), tuple(_findings(evidence, holders, file, wish, plan, views))


def _survivor(name: str, member_id: int, urls: tuple[str, ...], file: SnapshotFile) -> Survivor:
    why = f"a new cluster from {file.path}, revision {file.revision}"
    return Survivor(name, member_id, 0, 0, 0, 0, False, why, file.path, file.sha256, urls)


def _fences(evidence: Evidence, holders: tuple[Holder, ...], wish: Wish) -> tuple[Fence, ...]:
    """Everybody whose data or member entry was found, the restored node's own old member too.

    And nodes of which nothing is known: they may hold data.
    """
    known = (*fences_around(wish.node, evidence, holders, wish.lost), *_own(evidence.node(wish.node)))
    names = {fence.node for fence in known}
    hosts = {node.host for node in evidence.nodes if node.peer_urls}
    # A silent client URL at a known node's host is that node's: etcd 3.5.1 keeps none in its database.
    unseen = [
        node
        for node in evidence.nodes
        if node.name not in names and not node.reachable and (node.peer_urls or node.host not in hosts)
    ]
    blind = (Fence(one.name, 0, _seat(one), one.name in wish.lost) for one in unseen)
    return tuple(sorted((*known, *blind), key=lambda fence: fence.node))


def _own(node: NodeEvidence | None) -> tuple[Fence, ...]:
    """What lies in the place where the restored data goes is set aside, whatever it is."""
    if node is None or not (node.data_present or node.service_active):
        return ()
    return (Fence(node.name, node.data.member_id if node.data else 0, _seat(node)),)


def _seat(node: NodeEvidence) -> Seat:
    return Seat(node.name, node.peer_urls, node.client_urls)


def _rebuild(
    evidence: Evidence, holders: tuple[Holder, ...], fences: tuple[Fence, ...], file: SnapshotFile, on: str
) -> tuple[Seat, ...]:
    """The members of the latest list that was found; without any data, those of the snapshot."""
    latest = next((one.members for one in holders if one.members), file.members)
    nodes = {node.name: node for member in latest if (node := node_of(member, evidence))}
    lost, hub = {fence.node for fence in fences if fence.lost}, evidence.node(on)
    back = (node for name, node in sorted(nodes.items()) if name != on and name not in lost)
    return tuple(_seat(node) for node in back if node.peer_urls and not is_beyond(node, hub))


def _lost_writes(file: SnapshotFile, now: float) -> str:
    age = max(0.0, now - file.written_at)
    return f"DCS: what was written after revision {file.revision}; the file was last changed {age:.0f} s ago"


def _choices(wish: Wish) -> Iterator[str]:
    yield from (f"--lost {name}" for name in sorted(wish.lost))
    yield from (f"--lead {scope}={name}" for scope, name in wish.choice.leads)
    if wish.raw:
        yield "--raw-database"


def _findings(
    evidence: Evidence,
    holders: tuple[Holder, ...],
    file: SnapshotFile,
    wish: Wish,
    plan: RecoveryPlan,
    views: tuple[ScopeView, ...],
) -> Iterator[Finding]:
    yield from serving(evidence)
    yield from _about_node(evidence.node(wish.node), wish.node)
    yield from _about_file(file, wish, evidence.namespace)
    yield from _newer(holders, file)
    yield from fencing_findings(plan.fence, evidence, wish.lost, wish.node)
    yield from _paused(evidence, file)
    for view in views:
        yield from view.findings


def serving(evidence: Evidence) -> Iterator[Finding]:
    """An etcd that serves, or has a leader, is not to be replaced by an old copy."""
    for node in evidence.nodes:
        if node.live and (node.live.quorate or node.live.status.leader_id is not None):
            yield blocker(
                "RESTORE_QUORUM_SERVES",
                node.name,
                "etcd has a quorum: a restore would throw away all that was written after the snapshot",
                "nothing is to be restored while it serves: patronictl-etcd status",
                transient=True,
            )


def _about_node(node: NodeEvidence | None, name: str) -> Iterator[Finding]:
    if node is None or not node.reachable:
        problem = (node.problem if node else "") or "the inventory does not name it"
        remedy = "run this on its machine, with an inventory that has it with via: local"
        yield blocker("SURVIVOR_UNREACHABLE", name, problem, remedy)
    elif not node.peer_urls:
        remedy = f"put peer_url under etcd.members.{name} in the inventory"
        yield blocker("RESTORE_NO_PEER_URL", name, "nothing says what its peer URL is", remedy)
    elif node.config_problem:
        yield blocker("NODE_CONFIG", name, node.config_problem, "correct its configuration")


def _about_file(file: SnapshotFile, wish: Wish, namespace: str) -> Iterator[Finding]:
    if not group_by_scope(file.keys, f"/{namespace.strip('/')}"):
        yield blocker(
            "RESTORE_NO_KEYS",
            file.path,
            f"no Patroni cluster has its keys in it under {namespace}",
            "this is the snapshot of another etcd, or the namespace in the Patroni file is another",
        )
    if not file.hashed:
        make = warning if wish.raw else blocker
        yield make(
            "RESTORE_RAW",
            file.path,
            "it ends with no hash, so damage in it does not show, and a copy made while etcd ran is none",
            "use a file that a snapshot command saved, or go on with this one: --raw-database",
        )


def _newer(holders: tuple[Holder, ...], file: SnapshotFile) -> Iterator[Finding]:
    for one in holders:
        revision = (one.node.data.revision if one.node.data else None) or 0
        if one.usable and revision > file.revision:
            yield warning(
                "RESTORE_NEWER_DATA",
                one.name,
                f"its data is sound and at revision {revision}, the snapshot at {file.revision}",
                "going on with that data loses less: patronictl-etcd recover plan",
            )


def _paused(evidence: Evidence, file: SnapshotFile) -> Iterator[Finding]:
    """A pause of then comes back with the snapshot; a pause of now is put back by the audit."""
    for found in group_by_scope(file.keys, f"/{evidence.namespace.strip('/')}"):
        config = object_in(found.keys.get("config")) or {}
        told = [one.paused for one in evidence.scope(found.scope) if one.patroni_answers]
        if config.get("pause") is True and told and not any(told):
            yield warning(
                "RESTORE_PAUSED",
                found.scope,
                "Patroni was paused when the snapshot was taken, is not now, and will be again",
                f"patronictl resume {found.scope}, once etcd is back",
            )


def check_restore(plan: RecoveryPlan, seen: Evidence) -> Iterator[Finding]:
    """Return what stands in the way of a restore now, before its first step."""
    again = "make the plan again: patronictl-etcd restore"
    yield from serving(seen)
    yield from _about_node(seen.node(plan.survivor.node) if plan.survivor else None, _name(plan))
    for fence in plan.fence:
        node = seen.node(fence.node)
        if fence.lost and node is not None and (node.live is not None or node.service_active):
            yield blocker("LOST_ANSWERS", fence.node, "it was declared lost, but its etcd runs", again)
        elif not fence.lost and (node is None or not node.reachable):
            detail = (node.problem if node else "") or "nobody could look at it"
            yield blocker("CANNOT_FENCE", fence.node, detail, f"make it reachable, or {again}")
        elif not fence.lost and node and node.data and node.data.member_id != fence.member_id:
            detail = f"{node.data.path} holds another member's data than when the plan was made"
            yield blocker("PLAN_OTHER_CLUSTER", fence.node, detail, again)


def _name(plan: RecoveryPlan) -> str:
    return plan.survivor.node if plan.survivor else ""
