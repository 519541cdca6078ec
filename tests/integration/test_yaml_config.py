"""Every change that writes etcd's configuration, where that is etcd's own YAML file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from patroni_etcd_reconfig.adapters.etcd_config_file import read_settings
from patroni_etcd_reconfig.lab.etcd_only import etcd_only
from patroni_etcd_reconfig.lab.layout import NODES, Layout
from tests.integration.tool import Tool
from tests.nets import lab_net

pytestmark = pytest.mark.etcd
ACCEPT = ("--accept", "HAZARD_CORRUPTION", "--accept", "TOO_FEW_VOTERS")
MACHINES = (*NODES, 4)
OURS = "# Written by configuration management; do not lose this line.\n"


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory, etcd_dir: Path) -> Iterator[Tool]:
    """Give three members and a fourth machine, each with a YAML file."""
    root = tmp_path_factory.mktemp("yaml")
    with lab_net() as net, etcd_only(root, net, etcd_dir, prepare=_with_yaml) as layout:
        made = Tool(layout)
        made.plan_node(MACHINES[-1])
        _turn(layout, MACHINES[-1])
        yield made


def _with_yaml(layout: Layout) -> None:
    for i in NODES:
        _turn(layout, i)


def _yml(layout: Layout, i: int) -> Path:
    return layout.root / f"etcd-n{i}.yml"


def _turn(layout: Layout, i: int) -> None:
    """Put a node's settings into a YAML file, as etcd's sample has them; the service names only that."""
    env = layout.etcd_env(i)
    settings = dict(read_settings(env.read_text(), False))
    gateway = {"enable-grpc-gateway": True}  # off by default, where there is a YAML file
    _yml(layout, i).write_text(OURS + yaml.safe_dump({**settings, **gateway}))
    env.write_text(f"ETCD_CONFIG_FILE={_yml(layout, i)}\n")
    inventory = layout.inventory
    inventory.write_text(inventory.read_text().replace(str(env), str(_yml(layout, i))))


def done(tool: Tool, *words: str) -> None:
    """Run a change, which must succeed, and leave every file as etcd and its owner want it."""
    outcome = tool.run(*words, "--force", "-f", "json", *ACCEPT)
    assert outcome.code == 0, outcome.err + outcome.out
    for i in MACHINES:
        assert _yml(tool.layout, i).read_text().startswith(OURS)
        assert yaml.safe_load(_yml(tool.layout, i).read_text())["name"] == f"n{i}"
    assert {row["state"] for row in tool.members().values()} == {"healthy"}


def test_members_are_cycled_added_removed_and_replaced(tool: Tool) -> None:
    before = tool.ids()
    done(tool, "cycle")
    assert not set(before.values()) & set(tool.ids().values())
    done(tool, "add", "n4")
    done(tool, "remove", "n4")
    tool.service("n2", "stop")
    done(tool, "replace", "n2")


def test_addresses_and_data_move(tool: Tool, tmp_path: Path) -> None:
    before = tool.ids()
    new = f"http://127.0.{tool.layout.net}.11:2380"
    done(tool, "update-urls", "n1", "--peer-url", new)
    assert tool.members()["n1"]["peer_urls"] == [new]
    done(tool, "move-data", "n3", "--to-dir", str(tmp_path / "moved"))
    assert yaml.safe_load(_yml(tool.layout, 3).read_text())["data-dir"] == str(tmp_path / "moved")
    assert (tmp_path / "moved" / "member").is_dir()
    assert tool.ids() == before
