"""Puts together, for each etcd node, what answered, what its machine says, and what others know of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from patroni_etcd_reconfig.core.model import Member, NodeView
from patroni_etcd_reconfig.core.recovery.evidence import DataDirFacts, LiveMember, NodeEvidence


@dataclass(frozen=True)
class Place:
    """A node as the inventory has it."""

    name: str
    host: str = ""
    peer_urls: tuple[str, ...] = ()
    client_urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heard:
    """What came back from one client URL; `problem` says what did not, `live` is None when nothing did."""

    url: str
    live: LiveMember | None = None
    problem: str = ""
    answers: bool = False  # an etcd is there, whatever it tells


@dataclass(frozen=True)
class Looked:
    """What node control found on one node."""

    view: NodeView
    data: DataDirFacts | None = None
    data_problem: str = ""


def assemble(
    places: Sequence[Place],
    heard: Sequence[Heard],
    looked: Mapping[str, Looked],
    *,
    by: str,
    at: float,
) -> tuple[NodeEvidence, ...]:
    """Return the evidence on every node that anything names: inventory, member lists, or an answer."""
    nodes = {
        name: _node(place, looked.get(name), by, at) for name, place in _known(places, heard, looked).items()
    }
    for one in _distinct(heard):
        name = _name_of(one, nodes)
        base = nodes.get(name) or NodeEvidence(name, collected_by=by, collected_at=at)
        nodes[name] = replace(base, live=one.live, client_urls=base.client_urls or (one.url,))
    for url in _unplaced(heard, nodes.values()):
        name = urlsplit(url).netloc
        nodes[name] = NodeEvidence(name, _host((url,)), (), (url,), collected_by=by, collected_at=at)
    return tuple(_explained(nodes[name], heard, by) for name in sorted(nodes))


def _unplaced(heard: Iterable[Heard], nodes: Iterable[NodeEvidence]) -> list[str]:
    """Return the URLs that told nothing and are no node's: all there is to name who may be there."""
    placed = {url for node in nodes for url in node.client_urls}
    return [one.url for one in heard if one.live is None and one.url not in placed]


def _known(places: Sequence[Place], heard: Sequence[Heard], looked: Mapping[str, Looked]) -> dict[str, Place]:
    """Return every node by name; where lists disagree on URLs, the most trusted list counts."""
    known = {place.name: place for place in places}
    for member in _members(heard, looked):
        name = _seat(member, known) or member.name or _host(member.peer_urls)
        place = known.get(name, Place(name))
        known[name] = Place(
            name,
            place.host or _host(member.peer_urls),
            place.peer_urls or member.peer_urls,
            place.client_urls or member.client_urls,
        )
    return known


def _members(heard: Sequence[Heard], looked: Mapping[str, Looked]) -> Iterator[Member]:
    """Yield the rows of all lists: those with quorum first, then by raft index, then those of data dirs."""
    lives = [one.live for one in heard if one.live]
    for live in sorted(lives, key=lambda live: (not live.quorate, -live.status.raft_index)):
        yield from live.members
    stored = [one.data for one in looked.values() if one.data]
    for data in sorted(stored, key=lambda data: (-data.last_term, -data.last_index)):
        yield from data.members


def _seat(member: Member, known: Mapping[str, Place]) -> str:
    """A member that never started has no name; its seat is the node with its peer URL."""
    wanted = set(member.peer_urls)
    return next(
        (name for name, place in known.items() if not member.name and wanted & set(place.peer_urls)), ""
    )


def _node(place: Place, looked: Looked | None, by: str, at: float) -> NodeEvidence:
    base = NodeEvidence(
        place.name, place.host, place.peer_urls, place.client_urls, collected_by=by, collected_at=at
    )
    if looked is None:
        return base
    view, well = looked.view, not looked.view.problem
    return replace(
        base,
        reachable=well,
        service_active=view.service_active if well else None,
        data=looked.data,
        data_present=view.data_present if well else None,
        data_free_bytes=view.data_free_bytes,
        config_problem=view.config_problem,
        set_aside=view.set_aside,
        problem=view.problem or looked.data_problem,
    )


def _distinct(heard: Iterable[Heard]) -> list[Heard]:
    """One member can answer on several URLs, as behind a load balancer: the answer that knows most counts."""
    best: dict[tuple[int, int], Heard] = {}
    for one in sorted((one for one in heard if one.live), key=_knowledge, reverse=True):
        if one.live:
            best.setdefault((one.live.status.cluster_id, one.live.status.member_id), one)
    return list(best.values())


def _knowledge(one: Heard) -> tuple[bool, bool, bool]:
    live = one.live
    return bool(live and live.quorate), bool(live and live.members), bool(live and live.keys)


def _name_of(one: Heard, nodes: Mapping[str, NodeEvidence]) -> str:
    """Whose URL it is, else what its own list calls it; a name that is taken gets the host behind it."""
    own = next((name for name, node in nodes.items() if one.url in node.client_urls), "")
    name = own or _own_name(one) or _host((one.url,))
    taken = name in nodes and nodes[name].live is not None
    return f"{name}@{urlsplit(one.url).netloc}" if taken else name


def _own_name(one: Heard) -> str:
    rows = one.live.members if one.live else ()
    return next((row.name for row in rows if one.live and row.id == one.live.status.member_id), "")


def _host(urls: Iterable[str]) -> str:
    return next((urlsplit(url).hostname or url for url in urls), "")


def _explained(node: NodeEvidence, heard: Sequence[Heard], by: str) -> NodeEvidence:
    """Say why nobody could look, and why it did not answer."""
    own = [one for one in heard if one.url in node.client_urls]
    words = [node.problem] if node.problem else []
    if not node.reachable and not node.problem:
        words.append(f"the inventory on {by} does not control it")
    words += [f"{one.url}: {one.problem}" for one in own if one.problem]
    answers = node.live is not None or any(one.answers for one in own)
    return replace(node, answers=answers, problem="; ".join(words))
