"""update-urls on real etcd: other URLs, the same member; killed, resumed, aborted, refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.kills import ACCEPT, SUFFIXES, UPDATE_URLS, kill_at, resume
from tests.integration.tool import Tool, tool_on

pytestmark = pytest.mark.etcd


@pytest.fixture
def tool(tmp_path: Path, etcd_dir: Path) -> Iterator[Tool]:
    with tool_on(tmp_path, etcd_dir) as made:
        yield made


def _elsewhere(url: str, last: int) -> str:
    """Return the URL on another address of the same network."""
    head, port = url.rsplit(":", 1)
    return f"{head.rsplit('.', 1)[0]}.{last}:{port}"


def _new(tool: Tool, i: int) -> tuple[str, str]:
    return _elsewhere(tool.layout.peer_url(i), 10 + i), _elsewhere(tool.layout.client_url(i), 10 + i)


def _urls(tool: Tool, name: str) -> tuple[list[str], list[str]]:
    member = tool.members()[name]
    return member["peer_urls"], member["client_urls"]


def _update(tool: Tool, name: str, peer: str = "", client: str = "") -> list[str]:
    words = [*(("--peer-url", peer) if peer else ()), *(("--client-url", client) if client else ())]
    return ["update-urls", name, *words]


def _healthy(tool: Tool) -> None:
    members = tool.members()
    assert {member["state"] for member in members.values()} == {"healthy"}
    assert len(members) == 3


def test_the_leader_gets_a_new_peer_and_client_url_and_stays_the_member_it_is(tool: Tool) -> None:
    before, leader = tool.ids(), tool.leader()
    peer, client = _new(tool, int(leader[1:]))
    done = tool.run(*_update(tool, leader, peer, client), "--force", "-f", "json", *ACCEPT)
    assert done.code == 0, done.err + done.out
    assert [step["name"] for step in done.json["steps"]] == [
        *("SaveSnapshot", "TransferLeadership", "UpdatePeerUrls", "ReaddressMember", "Verify")
    ]
    assert tool.ids() == before
    assert _urls(tool, leader) == ([peer], [client])
    assert {f["code"] for f in done.json["findings"]} >= {"HOSTS_OUTDATED", "INVENTORY_OUTDATED"}
    _healthy(tool)


def test_a_client_url_changes_without_an_update_of_the_list_and_may_become_two(tool: Tool) -> None:
    follower = next(name for name in ("n1", "n2", "n3") if name != tool.leader())
    own = tool.layout.client_url(int(follower[1:]))
    further = _new(tool, int(follower[1:]))[1]
    words = [*_update(tool, follower, client=own), "--client-url", further]
    done = tool.run(*words, "--force", "-f", "json", *ACCEPT)
    assert done.code == 0, done.err + done.out
    assert "UpdatePeerUrls" not in [step["name"] for step in done.json["steps"]]
    assert sorted(_urls(tool, follower)[1]) == sorted([own, further])
    _healthy(tool)


def test_the_last_member_that_the_patroni_file_names_keeps_its_client_url(tool: Tool) -> None:
    for i in (1, 2):
        done = tool.run(*_update(tool, f"n{i}", *_new(tool, i)), "--force", *ACCEPT)
        assert done.code == 0, done.err
    refused = tool.run(*_update(tool, "n3", *_new(tool, 3)), "--force", "-f", "json", *ACCEPT)
    assert refused.code == 3
    assert "HOSTS_STALE" in [finding["code"] for finding in refused.json["findings"]]
    _healthy(tool)


def test_a_client_url_that_another_member_serves_is_refused(tool: Tool) -> None:
    words = _update(tool, "n2", client=tool.layout.client_url(3))
    refused = tool.run(*words, "--force", "-f", "json", *ACCEPT)
    assert refused.code == 3
    assert "CLIENT_URL_TAKEN" in [finding["code"] for finding in refused.json["findings"]]
    _healthy(tool)


def test_the_last_member_that_the_patroni_file_names_is_not_replaced_by_one_it_does_not_name(
    tool: Tool,
) -> None:
    tool.plan_node(4)
    data = yaml.safe_load(tool.layout.patroni_file.read_text())
    data["etcd3"]["hosts"] = [tool.layout.client_url(3).removeprefix("http://")]
    tool.layout.patroni_file.write_text(yaml.safe_dump(data))
    for words in (("replace", "n3", "--by", "n4"), ("remove", "n3", "--accept", "TOO_FEW_VOTERS")):
        refused = tool.run(*words, "--force", "-f", "json", *ACCEPT)
        assert refused.code == 3, refused.err
        assert "HOSTS_STALE" in [finding["code"] for finding in refused.json["findings"]]
    _healthy(tool)


def test_a_stopped_member_whose_machine_has_another_address_is_started_there(tool: Tool) -> None:
    before = tool.ids()
    victim = next(name for name in ("n2", "n3") if name != tool.leader())
    peer, client = _new(tool, int(victim[1:]))
    assert tool.service(victim, "stop") == 0
    done = tool.run(*_update(tool, victim, peer, client), "--force", "-f", "json", *ACCEPT)
    assert done.code == 0, done.err + done.out
    assert [step["name"] for step in done.json["steps"]] == [
        *("SaveSnapshot", "UpdatePeerUrls", "ReaddressMember", "Verify")
    ]
    assert tool.ids() == before
    assert _urls(tool, victim) == ([peer], [client])
    _healthy(tool)


@pytest.mark.parametrize("suffix", SUFFIXES, ids=["before", "after"])
@pytest.mark.parametrize("kind", UPDATE_URLS.lines)
def test_killed_around_a_step_it_is_resumed(tool: Tool, kind: str, suffix: str) -> None:
    before, leader = tool.ids(), tool.leader()
    peer, client = _new(tool, int(leader[1:]))
    kill_at(tool, _update(tool, leader, peer, client), UPDATE_URLS.lines[kind], suffix)
    resume(tool)
    assert tool.ids() == before
    assert _urls(tool, leader) == ([peer], [client])
    _healthy(tool)


@pytest.mark.parametrize("suffix", SUFFIXES, ids=["before", "after"])
@pytest.mark.parametrize("kind", UPDATE_URLS.lines)
def test_killed_around_a_step_it_is_aborted_and_has_the_urls_of_before_or_of_afterwards(
    tool: Tool, kind: str, suffix: str
) -> None:
    before, leader = tool.ids(), tool.leader()
    old, new = _urls(tool, leader), _new(tool, int(leader[1:]))
    kill_at(tool, _update(tool, leader, *new), UPDATE_URLS.lines[kind], suffix)
    aborted = tool.run("abort", "--force", "-f", "json", *ACCEPT)
    assert aborted.code == 0, aborted.err + aborted.out
    assert tool.ids() == before
    assert _urls(tool, leader) in (old, ([new[0]], [new[1]]))
    assert (_urls(tool, leader) == old) == ((kind, suffix) != ("ReaddressMember", ": done"))
    _healthy(tool)


def test_a_peer_url_that_others_can_not_reach_is_stopped_and_taken_back(tool: Tool) -> None:
    tool.layout.inventory.write_text(tool.layout.inventory.read_text() + "  step_timeout: 4.0\n")
    follower = next(name for name in ("n1", "n2", "n3") if name != tool.leader())
    old = _urls(tool, follower)
    wrong = "http://nobody.invalid:2380"
    failed = tool.run(*_update(tool, follower, peer=wrong), "--force", "-f", "json", *ACCEPT)
    assert failed.code == 4, failed.err + failed.out
    aborted = tool.run("abort", "--force", *ACCEPT)
    assert aborted.code == 0, aborted.err
    assert _urls(tool, follower) == old
    _healthy(tool)


def test_what_is_no_url_or_changes_nothing_that_is_given_is_a_usage_error(tool: Tool) -> None:
    nothing = tool.run("update-urls", "n1", "--force", "-f", "json")
    assert (nothing.code, nothing.json["error"]["code"]) == (2, "NO_URL")
    pid = tool.etcd_pid(1)
    same = _update(tool, "n1", tool.layout.peer_url(1), tool.layout.client_url(1))
    done = tool.run(*same, "--force")
    assert (done.code, "nothing to do" in done.err) == (0, True)
    assert tool.etcd_pid(1) == pid
    wrong = tool.run("update-urls", "n1", "--peer-url", "n1:2380", "--force")
    assert wrong.code == 2
    assert "http(s)://host:port" in wrong.err


def test_a_dry_run_touches_nothing(tool: Tool) -> None:
    before = _urls(tool, "n2")
    done = tool.run(*_update(tool, "n2", *_new(tool, 2)), "--dry-run", "-f", "json", *ACCEPT)
    assert done.code == 0, done.err
    assert _urls(tool, "n2") == before
