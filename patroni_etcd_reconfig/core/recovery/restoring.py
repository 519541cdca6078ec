"""From a snapshot file to a plan: a new cluster with its data, everybody else fenced. Pure.

Always a new cluster token. With the old one, cluster and member ids would be those of the first bootstrap
and the raft term would begin anew: Patroni (3.3.7, 4.0.6 and later) refuses such an etcd for good, and old
members would take it for their own cluster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.findings import Finding, blocker, info, warning
from patroni_etcd_reconfig.core.model import KeyValue, Member
from patroni_etcd_reconfig.core.patroni_keys import group_by_scope
from patroni_etcd_reconfig.core.recovery import obstacles
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence
from patroni_etcd_reconfig.core.recovery.fencing import (
    fence_of,
    fences_around,
    fencing_findings,
    is_beyond,
    node_of,
)
from patroni_etcd_reconfig.core.recovery.holders import Holder, holders_in
from patroni_etcd_reconfig.core.recovery.leaderless import unknown_scopes, without_option
from patroni_etcd_reconfig.core.recovery.model import Choice, Fence, RecoveryPlan, ScopePlan, Survivor, Way
from patroni_etcd_reconfig.core.recovery.plan_codec import with_id
from patroni_etcd_reconfig.core.recovery.restore_checks import (
    about_node,
    check_room,
    majority_running,
    revision_goes_back,
    serving,
)
from patroni_etcd_reconfig.core.recovery.scopes import ScopeView, scopes_of
from patroni_etcd_reconfig.core.recovery.standing import object_in
from patroni_etcd_reconfig.core.recovery.volatile import is_volatile

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
    auth_roots: tuple[str, ...] | None = None  # users with etcd's role root; None: no authentication is on


@dataclass(frozen=True)
class Wish:
    """What the operator asked for: the node that starts the new cluster, and what is declared lost."""

    node: str
    lost: frozenset[str] = frozenset()
    choice: Choice = field(default_factory=Choice)
    raw: bool = False  # a file without a hash may be used
    bumps: bool = True  # the tool on that node can raise revisions
    moved: str = ""  # the directory that will be set aside with the file in it; "" = it lies elsewhere
    reserve: int = 0  # bytes that stay free on the node's disk


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
    fences = _fences(evidence, holders, file, wish)
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
        scopes=tuple(_scope(view, file, evidence.namespace) for view in views),
        rebuild=_rebuild(evidence, holders, fences, file, wish.node),
        losses=(_lost_writes(file, holders, now), *(line for view in views for line in view.losses)),
        choices=tuple(choices_of(wish)),
    )
    found = (*_findings(evidence, holders, file, wish, plan, views), *_about_config(file, plan, now))
    return with_id(plan), found


def choose_node(evidence: Evidence, wanted: str, here: Iterable[str]) -> str:
    """Return the node that gets the data: the wanted one, else the first of this machine within reach."""
    able = [name for name in sorted(here) if (node := evidence.node(name)) and node.reachable]
    return wanted or next(iter(able), "")


def _scope(view: ScopeView, file: SnapshotFile, namespace: str) -> ScopePlan:
    """All that is volatile is dropped, be it true or not."""
    grouped = {one.scope: one for one in group_by_scope(file.keys, f"/{namespace.strip('/')}")}
    own = grouped.get(view.plan.scope)
    dropped = tuple(name for name in sorted(own.keys) if is_volatile(name)) if own else ()
    return replace(view.plan, stale=tuple(dict.fromkeys((*view.plan.stale, *dropped))))


def _survivor(name: str, member_id: int, urls: tuple[str, ...], file: SnapshotFile) -> Survivor:
    why = f"a new cluster from {file.path}, revision {file.revision}"
    where = (file.path, file.sha256, urls, file.size, file.auth_roots)
    return Survivor(name, member_id, 0, 0, 0, 0, False, why, *where)


def _fences(
    evidence: Evidence, holders: tuple[Holder, ...], file: SnapshotFile, wish: Wish
) -> tuple[Fence, ...]:
    """Everybody whose data or member entry was found, the restored node's own old member too.

    Where no data is left, the members of the snapshot; and nodes of which nothing is known: they may hold
    data.
    """
    hub = evidence.node(wish.node)
    of_then = () if holders else file.members
    listed = (fence_of(member, node_of(member, evidence), wish.lost, hub) for member in of_then)
    others = (fence for fence in listed if fence.node != wish.node)
    known = (*fences_around(wish.node, evidence, holders, wish.lost), *others, *_own(hub))
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


def _lost_writes(file: SnapshotFile, holders: tuple[Holder, ...], now: float) -> str:
    known = [(one.node.data.revision or 0, one.name) for one in holders if one.node.data]
    most, name = max(known, default=(0, ""))
    counted = f"{name} had reached {most}, so at least {most - file.revision}"
    return (
        f"DCS: what was written after revision {file.revision}; the file was last changed {_age(file, now)} "
        "ago; " + (counted if most > file.revision else "how many writes is not known")
    )


def _age(file: SnapshotFile, now: float) -> str:
    seconds = max(0.0, now - file.written_at)
    return f"{seconds:.0f} s" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def choices_of(wish: Wish) -> Iterator[str]:
    """Return what was decided without proof, as the options say it."""
    yield from (f"--lost {name}" for name in sorted(wish.lost))
    yield from (f"--lead {scope}={name}" for scope, name in wish.choice.leads)
    yield from map(without_option, wish.choice.without)
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
    yield from majority_running(holders)
    yield from obstacles.quorum_elsewhere(evidence, plan.fence)
    yield from about_node(evidence.node(wish.node), wish.node)
    yield from check_room(evidence.node(wish.node), file.size, wish.reserve)
    yield from _about_file(file, wish, evidence.namespace)
    yield from _newer(holders, file)
    yield from fencing_findings(plan.fence, evidence, wish.lost, wish.node)
    yield from _paused(evidence, file)
    yield from unknown_scopes(wish.choice, (view.plan.scope for view in views))
    for view in views:
        yield from view.findings


def _about_file(file: SnapshotFile, wish: Wish, namespace: str) -> Iterator[Finding]:
    if not group_by_scope(file.keys, f"/{namespace.strip('/')}"):
        yield blocker(
            "RESTORE_NO_KEYS",
            file.path,
            f"no Patroni cluster has its keys in it under {namespace}",
            "this is the snapshot of another etcd, or the namespace in the Patroni file is another",
        )
    if wish.moved:
        yield blocker(
            "RESTORE_FILE_INSIDE",
            file.path,
            f"it lies in {wish.moved}, which is set aside before the file is read",
            "copy it to a directory that is no data dir",
        )
    if not wish.bumps:
        yield revision_goes_back(wish.node, file.revision)
    if not file.hashed:
        make = warning if wish.raw else blocker
        yield make(
            "RESTORE_RAW",
            file.path,
            "it ends with no hash, so damage in it does not show, and a copy made while etcd ran is none",
            "use a file that a snapshot command saved, or go on with this one: --raw-database",
        )


def _about_config(file: SnapshotFile, plan: RecoveryPlan, now: float) -> Iterator[Finding]:
    held = {one.scope for one in group_by_scope(file.keys, f"/{plan.namespace.strip('/')}")}
    for scope in plan.scopes:
        if scope.scope in held:
            yield info(
                "RESTORE_CONFIG",
                scope.scope,
                f"its dynamic configuration becomes that of the snapshot, {_age(file, now)} old",
                f"compare it afterwards: patronictl show-config {scope.scope}",
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
