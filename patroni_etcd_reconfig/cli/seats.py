"""What the node of a seat shall advertise, where nobody said."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from patroni_etcd_reconfig.core.changes import Change, Seat
from patroni_etcd_reconfig.core.hiding import shares_urls
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.errors import NodeControlError
from patroni_etcd_reconfig.ports import NodeControl


def with_client_urls(change: Change, etcd: EtcdView, nodes: Mapping[str, NodeControl]) -> Change:
    """Return the change with a client URL on every new member's seat whose own is known.

    The journal keeps it: while a member hides behind others' URLs, no place else may name its own.
    """
    spare = _complete(change.spare, etcd, nodes) if change.spare else None
    joiners = tuple(_complete(seat, etcd, nodes) for seat in change.joiners)
    return replace(change, joiners=joiners, spare=spare)


def _complete(seat: Seat, etcd: EtcdView, nodes: Mapping[str, NodeControl]) -> Seat:
    if seat.client_urls or seat.name not in nodes:
        return seat
    node = nodes[seat.name]
    urls = node.client_urls or _live(seat, etcd) or _configured(node, etcd)
    return replace(seat, client_urls=urls)


def _live(seat: Seat, etcd: EtcdView) -> tuple[str, ...]:
    """Return what the member that is there now advertises."""
    view, members = etcd.by_peer_urls(seat.peer_urls), [view.member for view in etcd.members]
    usable = view is not None and view.member.name == seat.name and not shares_urls(view.member, members)
    return view.member.client_urls if view and usable else ()


def _configured(node: NodeControl, etcd: EtcdView) -> tuple[str, ...]:
    """Return what its configuration says, unless that is what hides a member."""
    text = ""
    with suppress(NodeControlError):  # a finding says what is wrong there
        text = node.settings().get("advertise-client-urls", "")
    urls = tuple(url.strip() for url in text.split(",") if url.strip())
    others = (view.member for view in etcd.members if view.member.name != node.name)
    taken = {url for member in others for url in member.client_urls}
    return () if taken & set(urls) else urls
