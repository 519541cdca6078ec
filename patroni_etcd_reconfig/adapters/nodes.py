"""Control of the inventory's nodes: which kinds of control this version has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from patroni_etcd_reconfig.adapters.inventory import Inventory, NodeConfig
from patroni_etcd_reconfig.adapters.node_local import LocalNode
from patroni_etcd_reconfig.errors import ConfigError
from patroni_etcd_reconfig.ports import NodeControl


def make_nodes(inventory: Inventory) -> Mapping[str, NodeControl]:
    """Return control of all nodes; ConfigError for those that this version can't control."""
    refused = [
        f"{inventory.path}: etcd.members.{node.name}: via: {node.via} with manager: {node.manager} "
        "is not in this version yet"
        for node in inventory.nodes.values()
        if not _can_control(node)
    ]
    if refused:
        raise ConfigError("\n".join(refused), hint="use via: local with manager: command")
    return {node.name: LocalNode(node) for node in inventory.nodes.values()}


def controllable(inventory: Inventory) -> Mapping[str, NodeControl]:
    """Return control of those nodes that this version can control: enough where one only looks."""
    able = {node.name: node for node in inventory.nodes.values() if _can_control(node)}
    return make_nodes(replace(inventory, nodes=able))


def _can_control(node: NodeConfig) -> bool:
    return (node.via, node.manager) == ("local", "command")
