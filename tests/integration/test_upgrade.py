"""upgrade on real etcd: version after version under load, refused where etcd would not run, and resumed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from patroni_etcd_reconfig.errors import EtcdError
from tests.integration.etcd_servers import etcd_dirs, wait_until
from tests.integration.kills import ACCEPT, SUFFIXES, UPGRADE, kill_at, resume
from tests.integration.tool import Outcome, Tool, tool_on

pytestmark = pytest.mark.etcd
BESIDE = Path(__file__).parents[2] / ".etcd"  # where `make etcd-versions` puts them
FOUND = {**{path.name: path for path in BESIDE.glob("*")}, **dict(etcd_dirs())}
PATH = ("3.4.23", "3.5.1", "3.6.6")
needs_versions = pytest.mark.skipif(
    not set(PATH) <= set(FOUND), reason=f"not all of etcd {', '.join(PATH)}: make etcd-versions"
)


def _link(tool: Tool) -> Path:
    return tool.layout.root.parent / "bin" / "etcd"


def _command(tool: Tool, version: str) -> str:
    """Return what a package upgrade does: another program at the same place."""
    return f"ln -sfn {FOUND[version] / 'etcd'} {_link(tool)}"


@pytest.fixture
def tool(tmp_path: Path) -> Iterator[Tool]:
    """Give three members that run 3.4.23 from a link, or what is there if that is not."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "etcd").symlink_to(FOUND.get(PATH[0], next(iter(FOUND.values()))) / "etcd")
    with tool_on(tmp_path / "lab", programs) as made:
        for i in (1, 2, 3):
            env = made.layout.etcd_env(i)
            # From their next start on. The lab's /health is a v2 request to 3.4, and 3.6 does not start on
            # a write-ahead log that has one since the last raft snapshot.
            env.write_text(env.read_text() + "ETCD_SNAPSHOT_COUNT=50\n")
        yield made


def _upgrade(tool: Tool, version: str, *words: str) -> Outcome:
    accept = (*ACCEPT, "--accept", "UPGRADE_PATH")
    return tool.run(
        *("upgrade", *words, "--command", _command(tool, version), "--to", version),
        *("--force", "-f", "json", *accept),
    )


def _versions(tool: Tool) -> dict[str, str]:
    members = tool.members()
    assert {member["state"] for member in members.values()} == {"healthy"}
    return {name: member["version"] for name, member in members.items()}


@contextmanager
def _writing(tool: Tool) -> Iterator[list[int]]:
    """Write numbers one after the other, each until somebody has acknowledged it."""
    done: list[int] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for i in (1, 2, 3):
                try:
                    tool.client(i, 1.0).put("/counter", str(len(done) + 1))
                except EtcdError:
                    continue
                done.append(len(done) + 1)
                break

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()


@needs_versions
def test_three_members_go_from_3_4_over_3_5_to_3_6_under_load(tool: Tool) -> None:
    before = tool.ids()
    with _writing(tool) as written:
        for version in PATH[1:]:
            leader, enough = tool.leader(), len(written) + 200
            wait_until(lambda enough=enough: len(written) > enough, 90, "raft snapshots")  # type: ignore[misc]
            done = _upgrade(tool, version)
            assert done.code == 0, done.err + done.out
            upgraded = [s["subject"] for s in done.json["steps"] if s["name"] == "UpgradeMember"]
            assert upgraded[-1] == leader
            assert set(_versions(tool).values()) == {version}
    assert tool.ids() == before
    assert tool.client(1).range("/counter").kvs[0].value == str(written[-1])


@needs_versions
def test_two_minors_at_once_and_downgrades_are_refused_before_anything_is_touched(tool: Tool) -> None:
    for version, code in (("3.6.6", "MINOR_SKIPPED"), ("3.3.99", "DOWNGRADE")):
        words = ("upgrade", "--command", "false", "--to", version, "--force", "-f", "json")
        refused = tool.run(*words, *ACCEPT, "--accept", "UPGRADE_PATH")
        assert refused.code == 3
        assert code in [finding["code"] for finding in refused.json["findings"]]
    assert set(_versions(tool).values()) == {PATH[0]}


@needs_versions
def test_half_an_upgrade_blocks_other_changes_and_can_be_finished(tool: Tool) -> None:
    assert _upgrade(tool, "3.5.1", "n1").code == 0
    assert sorted(_versions(tool).values()) == ["3.4.23", "3.4.23", "3.5.1"]
    refused = tool.run("cycle", "n2", "--force", "-f", "json", *ACCEPT)
    assert "VERSION_SKEW" in [finding["code"] for finding in refused.json["findings"]]
    done = _upgrade(tool, "3.5.1")
    assert done.code == 0, done.err + done.out
    upgraded = {s["subject"] for s in done.json["steps"] if s["name"] == "UpgradeMember"}
    assert upgraded == {"n2", "n3"}
    assert set(_versions(tool).values()) == {"3.5.1"}


@needs_versions
def test_a_command_that_fails_leaves_the_member_running_and_can_be_aborted(tool: Tool) -> None:
    failed = tool.run("upgrade", "--command", "false", "--force", "-f", "json", *ACCEPT)
    assert failed.code == 4, failed.err
    assert "exit code 1" in failed.json["error"]["message"]
    assert set(_versions(tool).values()) == {PATH[0]}
    assert tool.run("abort", "--force", *ACCEPT).code == 0
    assert _upgrade(tool, "3.5.1").code == 0


@needs_versions
def test_a_program_that_does_not_start_stops_at_the_first_member_and_can_be_taken_back(tool: Tool) -> None:
    words = ("upgrade", "--command", f"ln -sfn /bin/false {_link(tool)}", "--force", "-f", "json")
    failed = tool.run(*words, *ACCEPT)
    assert failed.code == 4, failed.err
    assert failed.json["error"]["code"] in ("MEMBER_EXITS", "NODE_CONTROL")
    assert sorted(member["state"] for member in tool.members().values())[:2] == ["healthy"] * 2
    _link(tool).unlink()
    _link(tool).symlink_to(FOUND[PATH[0]] / "etcd")
    aborted = tool.run("abort", "--force", *ACCEPT)
    assert aborted.code == 0, aborted.err
    assert set(_versions(tool).values()) == {PATH[0]}


@needs_versions
def test_a_command_that_brings_another_version_than_told_is_noticed_at_the_first_member(tool: Tool) -> None:
    command = _command(tool, "3.5.1")
    words = ("upgrade", "--command", command, "--to", "3.4.99", "--force", "-f", "json")
    failed = tool.run(*words, *ACCEPT)
    assert (failed.code, failed.json["error"]["code"]) == (4, "WRONG_VERSION"), failed.err
    assert sorted(_versions(tool).values()) == ["3.4.23", "3.4.23", "3.5.1"]


@needs_versions
def test_a_program_that_skips_a_minor_is_not_started(tool: Tool) -> None:
    command = _command(tool, "3.6.6")
    failed = tool.run("upgrade", "--command", command, "--force", "-f", "json", *ACCEPT)
    assert (failed.code, failed.json["error"]["code"]) == (4, "WRONG_VERSION"), failed.err
    again = tool.run("resume", "--force", "-f", "json", *ACCEPT)  # what it ran before is in the journal
    assert (again.code, again.json["error"]["code"]) == (4, "WRONG_VERSION"), again.err
    assert sorted(member["state"] for member in tool.members().values())[:2] == ["healthy"] * 2
    _link(tool).unlink()
    _link(tool).symlink_to(FOUND[PATH[0]] / "etcd")
    assert tool.run("abort", "--force", *ACCEPT).code == 0
    assert set(_versions(tool).values()) == {PATH[0]}


@needs_versions
@pytest.mark.parametrize("suffix", SUFFIXES, ids=["before", "after"])
def test_killed_around_the_upgrade_of_a_member_it_is_resumed(tool: Tool, suffix: str) -> None:
    words = ("upgrade", "--command", _command(tool, "3.5.1"), "--to", "3.5.1")
    kill_at(tool, words, UPGRADE.lines["UpgradeMember"], suffix)
    resume(tool)
    assert set(_versions(tool).values()) == {"3.5.1"}


@needs_versions
def test_killed_while_the_member_is_down_the_abort_starts_it_again(tool: Tool) -> None:
    marker = tool.layout.root / "marker"
    script = tool.layout.root / "slow"
    script.write_text(f"#!/bin/sh\ntouch {marker}\nexec sleep 30\n")
    script.chmod(0o700)
    with tool.running("upgrade", "n1", "--command", str(script), "--force", *ACCEPT) as process:
        assert process.stderr is not None
        for _ in process.stderr:
            if " upgrade n1 ..." in _:
                break
        while not marker.exists():
            assert process.poll() is None
        process.kill()
        process.wait()
    aborted = tool.run("abort", "--force", "-f", "json", *ACCEPT)
    assert aborted.code == 0, aborted.err
    assert set(_versions(tool).values()) == {PATH[0]}


def test_what_is_no_command_is_a_usage_error(tool: Tool) -> None:
    for line in ("install {nothing}", "'open", ""):
        assert tool.run("upgrade", "--command", line, "--force").code == 2
    assert tool.run("upgrade", "--command", "true", "--to", "newest", "--force").code == 2
