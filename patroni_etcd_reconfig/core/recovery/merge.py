"""Evidence of several machines, or of several looks, as one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from patroni_etcd_reconfig.core.findings import Finding, blocker, warning
from patroni_etcd_reconfig.core.model import format_id
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence, PostgresEvidence

# Pieces further apart than this describe two situations rather than one, in seconds.
APART = 300.0
AGAIN = "collect again on every machine, right after one another: patronictl-etcd recover collect"

T = TypeVar("T", NodeEvidence, PostgresEvidence)
_SOURCES = ("none", "rest", "controldata", "sql")


def merge(*pieces: Evidence) -> tuple[Evidence, tuple[Finding, ...]]:
    """Return the evidence as one, and what in it contradicts itself; raises ValueError without a piece.

    Each node has two sides that different machines can see: what it answers over the network, and what
    node control finds on it (for PostgreSQL: what itself and what its Patroni says). Of each side the
    piece that knows more counts, then the later one; of several positions in WAL the furthest, since no
    node ever loses what it had. Merging in another order gives the same.
    """
    if not pieces:
        raise ValueError("nothing to merge")
    found = _placed([node for piece in pieces for node in piece.nodes])
    nodes = tuple(_grouped(found, lambda node: node.name))
    postgres = tuple(_grouped((one for piece in pieces for one in piece.postgres), _identity))
    merged = Evidence(
        namespace=min(piece.namespace for piece in pieces),
        nodes=tuple(_merge_node(group) for group in nodes),
        postgres=tuple(_merge_postgres(group) for group in postgres),
        collected_at=max(piece.collected_at for piece in pieces),
        collectors=tuple(sorted({name for piece in pieces for name in piece.collectors})),
    )
    return merged, (*_disagreements(pieces), *(f for group in nodes for f in _changes(group)))


def _identity(one: PostgresEvidence) -> tuple[str, str]:
    return one.scope, one.name


def _grouped(items: Iterable[T], key: Callable[[T], Hashable]) -> Iterator[list[T]]:
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return (groups[name] for name in sorted(groups, key=str))


def _placed(nodes: list[NodeEvidence]) -> list[NodeEvidence]:
    """Give what is known of a bare client URL to the node whose URL it is, where another piece names that."""
    owners = {url: node for node in nodes if node.peer_urls for url in node.client_urls}
    placed = []
    for node in nodes:
        owner = next((owners[url] for url in node.client_urls if url in owners), None)
        bare = not node.peer_urls and not (node.live or node.data or node.reachable)
        renamed = replace(node, name=owner.name, host=owner.host) if owner and bare else node
        placed.append(renamed)
    return placed


def _merge_node(pieces: list[NodeEvidence]) -> NodeEvidence:
    local = max(pieces, key=_knows_locally)
    seen = max(pieces, key=_knows_of_answers)
    return replace(
        local,
        host=local.host or seen.host,
        peer_urls=local.peer_urls or seen.peer_urls,
        client_urls=local.client_urls or seen.client_urls,
        answers=any(piece.answers for piece in pieces),
        live=seen.live,
        collected_at=max(local.collected_at, seen.collected_at if seen.live else 0.0),
    )


def _knows_locally(node: NodeEvidence) -> tuple[bool, bool, bool, float, str]:
    known = node.service_active is not None
    return node.data is not None, node.reachable, known, node.collected_at, node.collected_by


def _knows_of_answers(node: NodeEvidence) -> tuple[bool, bool, bool, float, str]:
    live = node.live
    known = bool(live and live.members), bool(live and live.keys)
    return (live is not None, *known, node.collected_at, node.collected_by)


def _merge_postgres(pieces: list[PostgresEvidence]) -> PostgresEvidence:
    itself = _furthest(pieces)
    patroni = max(pieces, key=lambda one: (one.patroni_answers, one.collected_at, one.collected_by))
    return replace(
        itself,
        host=itself.host or patroni.host,
        api_url=patroni.api_url or itself.api_url,
        patroni_answers=patroni.patroni_answers,
        patroni_state=patroni.patroni_state,
        patroni_version=patroni.patroni_version,
        patroni_role=patroni.patroni_role,
        patroni_system_identifier=patroni.patroni_system_identifier,
        paused=patroni.paused,
        failsafe_active=patroni.failsafe_active,
        is_sync_standby=patroni.is_sync_standby,
        tags=patroni.tags or itself.tags,
    )


def _furthest(pieces: list[PostgresEvidence]) -> PostgresEvidence:
    """Clocks of machines differ, and so do looks: what one of them saw further, the node surely had.

    The furthest is exact only if that look was; on one timeline an exact one that saw less came before it.
    """
    told = [one for one in pieces if one.timeline is not None and one.lsn is not None]
    return max(told or pieces, key=lambda one: (one.timeline or 0, one.lsn or 0, *_knows_postgres(one)))


def _knows_postgres(one: PostgresEvidence) -> tuple[bool, bool, bool, int, float, str]:
    source = _SOURCES.index(one.source) if one.source in _SOURCES else 0
    known = one.lsn is not None, one.timeline is not None
    return (one.lsn_is_exact, *known, source, one.collected_at, one.collected_by)


def _disagreements(pieces: tuple[Evidence, ...]) -> Iterator[Finding]:
    namespaces = sorted({piece.namespace for piece in pieces})
    if len(namespaces) > 1:
        words = ", ".join(namespaces)
        yield blocker(
            "EVIDENCE_FOREIGN",
            "evidence",
            f"the pieces are of different namespaces: {words}",
            "merge only evidence that was collected with Patroni files of one etcd",
        )
    apart = max(piece.collected_at for piece in pieces) - min(piece.collected_at for piece in pieces)
    if apart > APART:
        yield warning(
            "EVIDENCE_OLD", "evidence", f"the oldest piece is {apart:.0f} s older than the newest", AGAIN
        )


def _changes(pieces: list[NodeEvidence]) -> Iterator[Finding]:
    """What two looks at one node say that can't both be true now."""
    name = pieces[0].name
    owners = {(piece.data.cluster_id, piece.data.member_id) for piece in pieces if piece.data}
    if len(owners) > 1:
        words = ", ".join(
            f"member {format_id(one)} of {format_id(cluster)}" for cluster, one in sorted(owners)
        )
        yield blocker("EVIDENCE_CONTRADICTS", name, f"its data dir holds, by different looks: {words}", AGAIN)
    answered = [piece.collected_at for piece in pieces if piece.live]
    stopped = [piece.collected_at for piece in pieces if piece.service_active is False and piece.live is None]
    if answered and stopped:
        order = "before another" if max(stopped) > max(answered) else "after another"
        detail = f"it answered in one look, {order} that found its service stopped"
        yield warning("EVIDENCE_CONTRADICTS", name, detail, AGAIN)
