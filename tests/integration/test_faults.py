"""What a user sees when something is wrong: a clear error that names the place, and the right exit code."""

from __future__ import annotations

import http.server
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from patroni_etcd_reconfig.lab.etcd_only import start_members
from tests.integration.etcd_servers import EtcdCluster, wait_until
from tests.integration.kills import ACCEPT
from tests.integration.tool import CLI, Outcome, Tool, tool_on, wait_for_line

pytestmark = pytest.mark.etcd


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory, etcd_dir: Path) -> Iterator[Tool]:
    """Give one etcd for all tests: each leaves it healthy."""
    with tool_on(tmp_path_factory.mktemp("faults"), etcd_dir) as made:
        yield made


def _run(config: Path, *words: str) -> Outcome:
    command = [*CLI, "-c", str(config), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    return Outcome(done.returncode, done.stdout, done.stderr)


def _config(path: Path, *hosts: str, more: str = "") -> Path:
    path.write_text(f"scope: demo\nname: x\netcd3:\n  hosts: [{', '.join(hosts)}]\n{more}")
    return path


def test_a_missing_configuration_file_is_named(tmp_path: Path) -> None:
    done = _run(tmp_path / "nowhere.yml", "status")
    assert done.code == 2
    assert str(tmp_path / "nowhere.yml") in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("scope: [\n", ":2:1:"),
        ("scope: demo\n", "etcd3"),
        ("scope: demo\netcd3: {hosts: 5}\n", "hosts"),
        ("- a\n- b\n", "mapping"),
        ("", "empty"),
    ],
)
def test_a_wrong_configuration_file_is_a_usage_error_that_names_the_place(
    tmp_path: Path, text: str, word: str
) -> None:
    path = tmp_path / "patroni.yml"
    path.write_text(text)
    done = _run(path, "status")
    assert done.code == 2
    assert str(path) in done.err
    assert word in done.err


def test_an_unknown_key_in_the_inventory_is_named_with_its_line(tool: Tool, tmp_path: Path) -> None:
    inventory = tmp_path / "etcd-reconfig.yml"
    inventory.write_text(tool.layout.inventory.read_text() + "  probe_intervall: 1\n")
    done = _run(tool.layout.patroni_file, "-i", str(inventory), "preflight")
    assert done.code == 2
    assert "probe_intervall" in done.err
    assert f"{inventory}:" in done.err


def test_errors_keep_the_json_contract(tmp_path: Path) -> None:
    done = _run(tmp_path / "nowhere.yml", "status", "-f", "json")
    assert done.json["format"] == 1
    assert set(done.json["error"]) == {"code", "message", "hint"}


def test_an_unknown_member_is_answered_with_those_there_are(tool: Tool) -> None:
    done = tool.run("cycle", "n9", "--force")
    assert done.code == 2
    assert "n1, n2, n3" in done.err


def test_an_etcd_that_is_down_is_unreachable_and_every_endpoint_is_named(tmp_path: Path) -> None:
    done = _run(_config(tmp_path / "p.yml", "127.0.199.1:2379", "127.0.199.2:2379"), "status", "-f", "json")
    assert done.code == 8
    message = done.json["error"]["message"]
    assert "127.0.199.1:2379" in message
    assert "127.0.199.2:2379" in message


class _Web(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"<html>It works!</html>")

    do_GET = do_POST = _answer  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@contextmanager
def _web_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.198.1", 0), _Web)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.198.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_web_server_on_the_port_is_told_apart_from_etcd(tmp_path: Path) -> None:
    with _web_server() as address:
        done = _run(_config(tmp_path / "p.yml", address), "status", "-f", "json")
    assert done.code == 8
    assert done.json["error"]["code"] == "NOT_ETCD"
    assert address in done.json["error"]["message"]


def test_one_member_down_is_shown_and_the_tolerance_is_gone(tool: Tool) -> None:
    os.kill(tool.etcd_pid(3), signal.SIGKILL)
    try:
        wait_until(lambda: _states(tool) == ["healthy", "healthy", "unreachable"], 10, "two to be healthy")
        etcd = tool.run("status", "-f", "json").json["etcd"]
    finally:
        start_members(tool.layout)
    assert (etcd["quorum"], etcd["failure_tolerance"]) == (2, 0)


def _states(tool: Tool) -> list[str]:
    return [member["state"] for member in tool.run("status", "-f", "json").json["etcd"]["members"]]


def test_without_quorum_status_still_answers_and_a_change_is_refused(tool: Tool) -> None:
    for i in (2, 3):
        os.kill(tool.etcd_pid(i), signal.SIGKILL)
    try:
        status = tool.run("status", "-f", "json")
        refused = tool.run("cycle", "--force", "-f", "json", "--accept", "MEMBER_UNHEALTHY")
    finally:
        start_members(tool.layout)
    assert status.code == 0
    assert "NO_QUORUM" in [finding["code"] for finding in status.json["findings"]]
    assert status.json["etcd"]["failure_tolerance"] < 0
    assert refused.code == 3
    assert "NO_QUORUM" in [finding["code"] for finding in refused.json["findings"]]


def test_a_member_that_accepts_and_never_answers_does_not_hold_status_up(tool: Tool) -> None:
    with tool.frozen(2):
        wait_until(lambda: _states(tool).count("healthy") == 2, 10, "two to be healthy")
        began = time.monotonic()
        states = _states(tool)
        took = time.monotonic() - began
    wait_until(lambda: _states(tool) == ["healthy"] * 3, 10, "all to be healthy")
    assert states == ["healthy", "unreachable", "healthy"]
    assert took < 5  # no promise on time: a hung call would take minutes


def test_a_disk_too_full_for_the_snapshot_changes_nothing(tool: Tool, tmp_path: Path) -> None:
    before = tool.ids()
    inventory = tmp_path / "etcd-reconfig.yml"
    inventory.write_text(tool.layout.inventory.read_text() + f"  min_free_bytes: {2**60}\n")
    done = _run(
        tool.layout.patroni_file,
        "-i",
        str(inventory),
        "cycle",
        "--force",
        "-f",
        "json",
        "--accept",
        "HAZARD_CORRUPTION",
    )
    assert done.code == 3
    assert "DISK_SPACE" in [finding["code"] for finding in done.json["findings"]]
    assert tool.ids() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_disk_that_fills_up_during_the_snapshot_changes_nothing(tool: Tool, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    before = tool.ids()
    inventory = tmp_path / "etcd-reconfig.yml"
    text = tool.layout.inventory.read_text().replace(str(tool.layout.state_dir), str(small))
    inventory.write_text(text + "  min_free_bytes: 0\n")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)]).returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        # Room enough for the journal only; what preflight would see is accepted, so that the write is tried.
        (small / "ballast").write_bytes(b"x" * 40 * 1024)
        accepted = ("--accept", "DISK_SPACE", "--accept", "HAZARD_CORRUPTION")
        words = ("cycle", "--force", "-f", "json", *accepted)
        done = _run(tool.layout.patroni_file, "-i", str(inventory), *words)
        leftovers = [path.name for path in small.rglob("*.part")]
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert done.code == 4, done.err
    assert "No space left" in done.json["error"]["message"]
    assert tool.ids() == before
    assert leftovers == []


def test_wrong_credentials_are_said_to_be_wrong_and_never_shown(tmp_path: Path, etcd_dir: Path) -> None:
    with EtcdCluster(tmp_path / "etcd", 1, etcd_dir=etcd_dir) as cluster:
        for i in cluster.nodes:
            cluster.start(i)
        cluster.wait_ready()
        _enable_auth(cluster.client_url(1), etcd_dir)
        address = cluster.client_url(1).removeprefix("http://")
        wrong = _config(tmp_path / "wrong.yml", address, more="  username: root\n  password: sesame-open\n")
        right = _config(tmp_path / "right.yml", address, more="  username: root\n  password: secret\n")
        refused, accepted = _run(wrong, "status", "-f", "json"), _run(right, "status", "-f", "json")
    assert refused.code == 2, refused.out
    assert refused.json["error"]["code"] == "AUTH_FAILED"
    assert "sesame-open" not in refused.out + refused.err
    assert accepted.code == 0, accepted.out


def _enable_auth(url: str, etcd_dir: Path) -> None:
    etcdctl = etcd_dir / "etcdctl"
    for words in (["user", "add", "root:secret"], ["user", "grant-role", "root", "root"], ["auth", "enable"]):
        env = {**os.environ, "ETCDCTL_API": "3"}
        subprocess.run([etcdctl, "--endpoints", url, *words], check=True, env=env, capture_output=True)


@pytest.mark.parametrize(("streams", "code"), [("> /dev/full", 1), ("0<&- >&- 2>&-", 0)])
def test_an_operation_ends_as_it_should_where_nobody_can_be_told(tool: Tool, streams: str, code: int) -> None:
    line = f"{shlex.join(tool.command('move-leader', '--force', *ACCEPT))} {streams}"
    leader = tool.leader()
    done = subprocess.run(["/bin/sh", "-c", line], stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == code
    assert ("the output could not be written" in done.stderr) == (code == 1)
    assert tool.leader() != leader
    last = tool.run("history", "-f", "json").json["operations"][0]
    assert (last["change"], last["state"]) == ("move-leader", "done")


def _told_first(tool: Tool) -> list[tuple[str, str, str]]:
    """Return what `status` says about operations."""
    found = tool.run("status", "-f", "json").json["findings"]
    return [
        (one["code"], one["subject"], one["remedy"])
        for one in found
        if one["code"] in ("OPERATION_RUNS", "UNFINISHED_OPERATION")
    ]


def test_status_says_who_works_and_what_waits_to_be_resumed(tool: Tool) -> None:
    assert _told_first(tool) == []
    with tool.running("restart", "n1", "--force", *ACCEPT) as process:
        wait_for_line(process, "restart n1 ...")
        process.send_signal(signal.SIGSTOP)
        ((runs, operation, _),) = _told_first(tool)
        process.kill()
    assert runs == "OPERATION_RUNS"
    ((waits, same, remedy),) = _told_first(tool)
    assert (waits, same) == ("UNFINISHED_OPERATION", operation)
    assert remedy.endswith(f"resume {operation}")
    assert tool.run("resume", "--force", *ACCEPT).code == 0
    assert _told_first(tool) == []


def test_a_member_that_could_not_be_started_again_is_not_stopped(tool: Tool) -> None:
    inventory = tool.layout.inventory
    good = inventory.read_text()
    pid = tool.etcd_pid(2)
    try:
        inventory.write_text(good.replace(f"start: /bin/sh {tool.layout.etcd_service}", "start: /nowhere"))
        refused = tool.run("restart", "n2", "--force", "-f", "json")
    finally:
        inventory.write_text(good)
    assert refused.code == 3, refused.err
    assert "the start command: /nowhere: no such program" in refused.out
    assert tool.etcd_pid(2) == pid
