"""IPv6: members whose URLs are [::1] with ports of their own, in every place that takes a URL apart."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from patroni_etcd_reconfig.adapters.etcd_config_file import read_settings, set_settings
from patroni_etcd_reconfig.lab.etcd_only import etcd_only
from patroni_etcd_reconfig.lab.layout import NODES, Layout
from tests.integration.kills import ACCEPT
from tests.integration.tool import Tool
from tests.nets import lab_net


def _has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
    return True


pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(not socket.has_ipv6 or not _has_ipv6(), reason="this machine has no ::1"),
]


def _peer(layout: Layout, i: int) -> str:
    return f"http://[::1]:{23000 + layout.net * 10 + i}"


def _client(layout: Layout, i: int) -> str:
    return f"http://[::1]:{20000 + layout.net * 10 + i}"


def _turn(layout: Layout, i: int) -> None:
    """Let a node advertise IPv6 only; for the lab's own checks it listens on its IPv4 address, too."""
    env, peer, client = layout.etcd_env(i), _peer(layout, i), _client(layout, i)
    settings = {
        "listen-client-urls": f"{layout.client_url(i)},{client}",
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": ",".join(f"n{j}={_peer(layout, j)}" for j in NODES),
    }
    env.write_text(set_settings(env.read_text(), settings, False))
    inventory = yaml.safe_load(layout.inventory.read_text())
    inventory["etcd"]["members"][f"n{i}"].update(host="::1", peer_url=peer, client_url=client)
    layout.inventory.write_text(yaml.safe_dump(inventory, sort_keys=False))


def _prepare(layout: Layout) -> None:
    for i in NODES:
        _turn(layout, i)
    hosts = ", ".join(f"'{_client(layout, i).removeprefix('http://')}'" for i in NODES)
    layout.patroni_file.write_text(f"scope: lab\nname: none\netcd3: {{hosts: [{hosts}]}}\n")


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory, etcd_dir: Path) -> Iterator[Tool]:
    root = tmp_path_factory.mktemp("ipv6")
    with lab_net() as net, etcd_only(root, net, etcd_dir, prepare=_prepare) as layout:
        yield Tool(layout)


def done(tool: Tool, *words: str) -> None:
    outcome = tool.run(*words, "--force", *ACCEPT)
    assert outcome.code == 0, outcome.err + outcome.out
    assert {row["state"] for row in tool.members().values()} == {"healthy"}


def test_members_are_cycled_added_and_removed(tool: Tool) -> None:
    before = tool.ids()
    done(tool, "cycle", "n1")
    assert tool.ids()["n1"] != before["n1"]
    tool.plan_node(4)
    _turn(tool.layout, 4)
    done(tool, "add", "n4")
    assert tool.members()["n4"]["client_urls"] == [_client(tool.layout, 4)]
    done(tool, "remove", "n4")


def test_a_member_gets_other_ports_and_still_listens_where_nothing_changed(tool: Tool) -> None:
    peer, client = _peer(tool.layout, 11), _client(tool.layout, 11)
    done(tool, "update-urls", "n1", "--peer-url", peer, "--client-url", client)
    member = tool.members()["n1"]
    assert (member["peer_urls"], member["client_urls"]) == ([peer], [client])
    settings = read_settings(tool.layout.etcd_env(1).read_text(), False)
    assert settings["listen-peer-urls"] == peer
    assert set(settings["listen-client-urls"].split(",")) == {tool.layout.client_url(1), client}


def test_patronis_file_is_held_against_the_members(tool: Tool) -> None:
    told = tool.run("hosts", "-f", "json").json["hosts"][0]
    assert told["strangers"] == [_client(tool.layout, 1).removeprefix("http://")]
    assert told["missing"] == [_client(tool.layout, 11).removeprefix("http://")]
