"""Every kind of change on a real etcd as production has it: TLS with client certificates, and logins."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.adapters.etcd_client import Connector, EtcdClient
from patroni_etcd_reconfig.engine.failpoint import VARIABLE
from patroni_etcd_reconfig.lab.layout import NODES, Layout
from tests.integration.etcd_servers import wait_until, want_logins
from tests.integration.test_etcd_client import certificate
from tests.integration.tool import Outcome, Tool, tool_on

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make certificates with"),
]
ACCEPT = ("--accept", "HAZARD_CORRUPTION", "--accept", "TOO_FEW_VOTERS")
PASSWORD = "s3cret/ü"
MACHINES = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory, etcd_dir: Path) -> Iterator[Tool]:
    """Give three members that want certificates and a login, and a fourth machine."""
    with tool_on(tmp_path_factory.mktemp("secured"), etcd_dir) as made:
        # One for everything: CA, servers, clients, and peers, who come from 127.0.0.1.
        certificate(made.layout.root, *map(made.layout.address, MACHINES), "127.0.0.1")
        made.plan_node(MACHINES[-1])
        for i in NODES:
            made.service(f"n{i}", "stop")
            shutil.rmtree(made.layout.etcd_data(i))
        _secure_files(made.layout)
        for i in NODES:
            made.service(f"n{i}", "start")
        first = root(made)
        wait_until(lambda: first.put("/kept", "value") > 0, 30, "the members to serve")
        want_logins(first, PASSWORD)
        yield made


def _secure_files(layout: Layout) -> None:
    """Turn every URL of the configuration, the inventory and the Patroni file into https, with a login."""
    pem, key = layout.root / "cert.pem", layout.root / "key.pem"
    side = f"CERT_FILE={pem}", f"KEY_FILE={key}", f"TRUSTED_CA_FILE={pem}", "CLIENT_CERT_AUTH=true"
    tls = "".join(f"ETCD_{of}{line}\n" for of in ("", "PEER_") for line in side)
    for path in (*map(layout.etcd_env, MACHINES), layout.inventory):
        path.write_text(path.read_text().replace("http://", "https://"))
    for i in MACHINES:
        path = layout.etcd_env(i)
        path.write_text(path.read_text() + tls)
    login = f"protocol: https, cacert: {pem}, cert: {pem}, key: {key}, username: root, password: '{PASSWORD}'"
    text = layout.patroni_file.read_text()
    layout.patroni_file.write_text(text.replace("etcd3: {", f"etcd3: {{{login}, "))


def root(tool: Tool, i: int = 1) -> EtcdClient:
    """Return a client that may do everything."""
    pem, key = str(tool.layout.root / "cert.pem"), str(tool.layout.root / "key.pem")
    connector = Connector("root", PASSWORD, cacert=pem, cert=pem, key=key)
    return connector(tool.layout.client_url(i).replace("http:", "https:"), 2.0)


def done(tool: Tool, *words: str) -> Outcome:
    """Run a change, which must succeed; nothing that it says or keeps may hold the password."""
    outcome = tool.run(*words, "--force", "-f", "json", *ACCEPT)
    assert outcome.code == 0, outcome.err + outcome.out
    assert PASSWORD not in outcome.err + outcome.out
    return outcome


@pytest.fixture(autouse=True)
def _sound(tool: Tool) -> Iterator[None]:
    """End with three healthy voters, the key kept, the lock free, and no file of ours with the password."""
    yield
    sound = {(f"n{i}", "healthy") for i in NODES}
    wait_until(lambda: {(n, row["state"]) for n, row in tool.members().items()} == sound, 15, "all members")
    client = root(tool, 3)
    assert [key.value for key in client.range("/kept").kvs] == ["value"]
    assert not client.range("/patroni-etcd-reconfig/lock").kvs
    kept = [path for path in tool.layout.state_dir.rglob("*") if path.is_file() and path.suffix != ".db"]
    assert not [path for path in kept if PASSWORD in path.read_text(errors="replace")]


def test_all_members_are_cycled(tool: Tool) -> None:
    before = tool.ids()
    done(tool, "cycle")
    assert not set(before.values()) & set(tool.ids().values())


def test_a_cycle_that_is_killed_is_resumed(tool: Tool) -> None:
    before = tool.ids()
    killed = tool.run("cycle", "n1", "--force", *ACCEPT, env={VARIABLE: "acted:AddLearner"})
    assert killed.code == -signal.SIGKILL, killed.err
    done(tool, "resume")
    assert {name for name, member_id in tool.ids().items() if member_id != before[name]} == {"n1"}


def test_a_member_is_added_and_an_addition_that_is_killed_is_aborted(tool: Tool) -> None:
    before = tool.ids()
    killed = tool.run("add", "n4", "--force", *ACCEPT, env={VARIABLE: "acted:StartMember"})
    assert killed.code == -signal.SIGKILL, killed.err
    done(tool, "abort")
    assert tool.ids() == before
    done(tool, "add", "n4")
    done(tool, "remove", "n4")
    assert tool.ids() == before


def test_a_dead_member_is_replaced(tool: Tool) -> None:
    tool.service("n2", "stop")
    done(tool, "replace", "n2")


def test_a_lost_majority_is_brought_back(tool: Tool, tmp_path: Path) -> None:
    evidence, plan = tmp_path / "evidence.json", tmp_path / "plan.json"
    for i in (2, 3):
        os.kill(tool.etcd_pid(i), signal.SIGKILL)
        tool.service(f"n{i}", "stop")
        shutil.rmtree(tool.layout.etcd_data(i))
    collected = tool.run("recover", "collect", "-o", str(evidence))
    assert collected.code == 0, collected.err
    planned = tool.run("recover", "plan", str(evidence), "-o", str(plan), "-f", "json")
    assert planned.code == 0, planned.err + planned.out
    made = json.loads(plan.read_text())["plan"]
    assert (made["way"], made["survivor"]["node"]) == ("force", "n1")
    applied = tool.run("recover", "apply", str(plan), "--confirm", made["id"], "-f", "json", seconds=240)
    assert applied.code == 0, applied.err + applied.out
    assert set(tool.ids()) == {f"n{i}" for i in NODES}
    said = collected.err + planned.err + planned.out + applied.err + applied.out
    assert PASSWORD[:6] not in said + evidence.read_text() + plan.read_text()  # JSON escapes its end


def test_the_rest_leaves_the_members_as_they_are(tool: Tool, tmp_path: Path) -> None:
    before = tool.ids()
    done(tool, "restart")
    done(tool, "move-leader")
    done(tool, "upgrade", "n2", "--command", "true")
    done(tool, "move-data", "n2", "--to-dir", str(tmp_path / "moved"))
    inventory = tool.layout.inventory.read_text()
    tool.layout.inventory.write_text(
        inventory.replace(str(tool.layout.etcd_data(2)), str(tmp_path / "moved"))
    )
    saved = tool.run("snapshot", "-o", str(tmp_path / "one.db"))
    assert saved.code == 0, saved.err
    assert (tmp_path / "one.db").stat().st_size > 0
    for words in (("status",), ("preflight", *ACCEPT), ("hosts",), ("history",), ("cleanup", "--dry-run")):
        assert tool.run(*words).code == 0, words
    assert tool.ids() == before


def test_without_the_login_or_with_a_wrong_one_nothing_is_begun(tool: Tool) -> None:
    good = tool.layout.patroni_file.read_text()
    try:
        for text in (
            good.replace(PASSWORD, "wrong"),
            good.replace(f", username: root, password: '{PASSWORD}'", ""),
        ):
            tool.layout.patroni_file.write_text(text)
            refused = tool.run("cycle", "--force", "-f", "json", *ACCEPT)
            assert refused.code not in (0, 1), refused.err
            assert refused.json["error"]["code"] == "AUTH_FAILED"
            assert refused.json["error"]["hint"]
    finally:
        tool.layout.patroni_file.write_text(good)
