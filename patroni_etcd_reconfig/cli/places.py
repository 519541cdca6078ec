"""Where the data of a member may move to, by the inventory and the nodes' own configuration."""

from __future__ import annotations

import os
from pathlib import Path

from patroni_etcd_reconfig.adapters.inventory import NodeConfig
from patroni_etcd_reconfig.adapters.inventory_checks import SYSTEM_DIRS
from patroni_etcd_reconfig.cli.running import seat_of
from patroni_etcd_reconfig.cli.wiring import Wiring
from patroni_etcd_reconfig.core.changes import Change, Seat, move_of
from patroni_etcd_reconfig.core.model import EtcdView, Member
from patroni_etcd_reconfig.errors import ConfigError


def to_dir_of(wiring: Wiring, etcd: EtcdView, member: Member, directory: str) -> Change:
    """Return the move to another directory of the member's node; ConfigError for one that can't be."""
    node = _node(wiring, member.name)
    place = os.path.normpath(directory)
    for problem in _problems(wiring, node, directory, place):
        raise ConfigError(f"{directory}: {problem}", hint="choose another directory", code="BAD_DIRECTORY")
    if "data-dir" not in wiring.nodes[member.name].settings():
        raise ConfigError(
            f"{node.config_file} does not set data-dir: it is set elsewhere, where it would not change",
            hint="set it there, and not on etcd's command line",
            code="BAD_DIRECTORY",
        )
    seat = Seat(member.name, member.peer_urls)
    return move_of(
        etcd,
        member.name,
        seat,
        (),
        target=f"{member.name}:{place}",
        source_dir=node.data_dir,
        target_dir=place,
    )


def to_another_node(wiring: Wiring, etcd: EtcdView, member: Member, name: str) -> Change:
    """Return the move to another node of the inventory, with its name and URLs."""
    node, seat = _node(wiring, member.name), seat_of(wiring, name)
    target, urls = _node(wiring, name), wiring.nodes[name].client_urls
    if name == member.name or any(view.member.name == name for view in etcd.members):
        raise ConfigError(
            f"{name} has a member already", hint="choose a node without one", code="ALREADY_MEMBER"
        )
    if not urls:
        raise ConfigError(
            f"{name}: the inventory gives it no client_url",
            hint=f"give {name} a client_url there",
            code="UNKNOWN_NODE",
        )
    return move_of(
        etcd, member.name, seat, urls, target=name, source_dir=node.data_dir, target_dir=target.data_dir
    )


def _node(wiring: Wiring, name: str) -> NodeConfig:
    node = wiring.app.inventory.nodes.get(name)
    if node is None:
        raise ConfigError(
            f"{name}: the inventory does not name this node",
            hint=f"put {name} under etcd.members",
            code="UNKNOWN_NODE",
        )
    if node.wal_dir:
        raise ConfigError(
            f"{name} has a wal_dir of its own: moving the data of such a member is not in this version yet",
            hint=f"patronictl-etcd replace {name}",
            code="SEPARATE_WAL",
        )
    return node


def _problems(wiring: Wiring, node: NodeConfig, directory: str, place: str) -> list[str]:
    if not directory.startswith("/") or ".." in directory.split("/") or ":" in directory:
        return ["must be an absolute path without .. and colons"]
    taken = {other.data_dir: other.name for other in wiring.app.inventory.nodes.values()}
    found = [f"is that of {name}" for path, name in taken.items() if _overlap(path, place)]
    found += ["must be a directory of etcd's own"] if place in SYSTEM_DIRS else []
    found += [f"holds {node.config_file}"] if Path(node.config_file).is_relative_to(place) else []
    return found


def _overlap(one: str, other: str) -> bool:
    return Path(one).is_relative_to(other) or Path(other).is_relative_to(one)
