"""Every error of etcd's guide and of its server: provoked on real etcd, and what our user sees of it.

`CASES` says where each is provoked. The shared etcd is left healthy, with n1 to n3, by every test.
"""

from __future__ import annotations

import ast
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread, Timer

import pytest

from patroni_etcd_reconfig.adapters.etcd_client import EtcdClient
from patroni_etcd_reconfig.adapters.node_local import LocalNode
from patroni_etcd_reconfig.core.model import Member
from patroni_etcd_reconfig.engine.actions import Actions
from patroni_etcd_reconfig.errors import EtcdError, ProposalDroppedError, RequestTimedOutError
from patroni_etcd_reconfig.lab.etcd_only import start_members
from tests.integration.etcd_servers import wait_until
from tests.integration.kills import ACCEPT
from tests.integration.meddling import Meddled, error_of, next_second
from tests.integration.tool import Outcome, Tool, tool_on

pytestmark = pytest.mark.etcd

# The case -> the test that provokes it on real etcd and checks what the user sees; table in docs/findings.md.
CASES = {
    "the member count is unequal": "test_a_joiner_told_of_another_membership_exits",
    "unmatched member while checking PeerURLs": "test_a_joiner_told_of_another_membership_exits",
    "data dir of a removed member": "test_a_member_removed_while_it_restarts_can_come_back",
    "too many learner members": "test_a_second_learner_is_refused_at_the_last_moment",
    "learner not yet in sync": "test_a_promotion_is_asked_for_until_etcd_agrees",
    "learner never in sync": "test_a_learner_whose_process_stopped_is_removed_again_and_quorum_is_intact",
    "not a learner": "test_a_promotion_is_asked_for_until_etcd_agrees",
    "member not found": "test_a_member_that_somebody_else_removed_is_not_missed",
    "unhealthy cluster, for 5 s": "test_a_voter_that_is_down_is_named_and_then_waited_for",
    "unhealthy cluster, for good": "test_a_voter_that_is_down_is_named_and_then_waited_for",
    "not enough started members": "test_a_member_that_never_started_forbids_a_removal",
    "peer URL exists": "test_a_peer_url_taken_at_the_last_moment_is_told",
    "removed id added again within a second": "test_an_id_used_up_in_the_same_second_is_no_obstacle",
    "joiner made its own cluster": "test_a_joiner_that_made_its_own_cluster_is_told_and_resumed",
    "conf change without answer": "test_a_change_without_an_answer_is_looked_up",
    "request timed out": "test_a_change_without_an_answer_is_looked_up",
    "leader transfer without answer": "test_a_transfer_to_a_member_that_hangs_is_told_and_resumed",
    "raft proposal dropped": "test_a_proposal_that_is_dropped_on_the_way_to_the_lock_is_asked_for_again",
    "stale list of a partitioned member": "test_the_list_of_a_member_that_is_cut_off_is_never_trusted",
    "strict check off: removal": "test_without_the_strict_check_no_removal_takes_the_quorum",
    "strict check off: addition": "test_without_the_strict_check_nobody_is_added_beside_a_joiner",
}
FILES = ("test_server_errors.py", "test_membership.py", "test_partition.py")


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_its_test(case: str) -> None:
    trees = [ast.parse((Path(__file__).parent / name).read_text()) for name in FILES]
    tests = {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert CASES[case] in tests


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, etcd_dir: Path) -> Iterator[Tool]:
    """Give one etcd for all tests, with n4 as a further machine."""
    with tool_on(tmp_path_factory.mktemp("errors"), etcd_dir) as made:
        _let_be_overridden(made)
        made.plan_node(4)
        yield made


@pytest.fixture
def tool(lab: Tool) -> Iterator[Tool]:
    """Give the shared etcd; afterwards the inventory is as it was, and n1 to n3 are the members."""
    inventory = lab.layout.inventory.read_text()
    yield lab
    lab.layout.inventory.write_text(inventory)
    lab.run("abort", "--force", *ACCEPT)  # what a test that failed left begun is no fault of the next
    assert set(_names(lab)) == {"n1", "n2", "n3"}
    wait_until(lambda: all(_serves(lab, i) for i in (1, 2, 3)), 10, "all to serve")


@pytest.fixture
def meddled(tool: Tool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Meddled:
    return Meddled(tool, monkeypatch, capsys)


def _let_be_overridden(tool: Tool) -> None:
    """Let each member's environment have more than its configuration file says, as a bad unit file does."""
    script, load = tool.layout.etcd_service, '. "$env_file"\n'
    more = f'{load}    [ ! -r "$lab/override-$name.env" ] || . "$lab/override-$name.env"\n'
    text = script.read_text()
    assert load in text
    script.write_text(text.replace(load, more))


@contextmanager
def _override(tool: Tool, i: int, variable: str, value: str) -> Iterator[None]:
    path = tool.layout.root / f"override-n{i}.env"
    path.write_text(f"{variable}='{value}'\n")
    try:
        yield
    finally:
        path.unlink()


def _limits(tool: Tool, **limits: float) -> None:
    lines = "".join(f"  {name}: {value}\n" for name, value in limits.items())
    tool.layout.inventory.write_text(tool.layout.inventory.read_text() + lines)


def _names(tool: Tool) -> dict[str, Member]:
    """Return the members by name, as the leader has them."""
    return {member.name: member for member in _leading(tool).member_list().members}


def _serves(tool: Tool, i: int) -> bool:
    return tool.client(i).range("/x").revision > 0


def _leading(tool: Tool) -> EtcdClient:
    """Return a client of the leader; there may be none for a moment."""
    found: list[EtcdClient] = []

    def look() -> bool:
        for i in (1, 2, 3):
            with suppress(EtcdError):
                status = tool.client(i).status()
                found.extend([tool.client(i, 10.0)] if status.leader_id == status.member_id else [])
        return bool(found)

    wait_until(look, 10, "a leader")
    return found[0]


def _followers(tool: Tool) -> list[int]:
    leading = _leading(tool).endpoint
    return [i for i in (1, 2, 3) if tool.layout.client_url(i) != leading]


def _done(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.err + outcome.out
    return outcome


def _run(tool: Tool, *words: str) -> Outcome:
    return _done(tool.run(*words, "--force", "-f", "json", "--accept", "HAZARD_CORRUPTION"))


def _thaw(tool: Tool, *pids: int) -> None:
    """Let frozen members go on, and wait until the elections that they may still call are over."""
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    quiet, terms = 0, set[int]()

    def settled() -> bool:
        nonlocal quiet
        now = {tool.client(i).status().raft_term for i in (1, 2, 3) if _serves(tool, i)}
        quiet = quiet + 1 if len(now) == 1 and now <= terms else 0
        terms.update(now)
        return quiet > 6

    wait_until(settled, 15, "elections to be over")


def _url(tool: Tool, i: int) -> tuple[str, ...]:
    return (tool.layout.peer_url(i),)


def _etcdctl(tool: Tool, etcd_dir: Path, *words: str) -> None:
    command = [str(etcd_dir / "etcdctl"), "--endpoints", _leading(tool).endpoint, *words]
    subprocess.run(command, check=True, env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True)


def _log(tool: Tool, i: int) -> str:
    return (tool.layout.root / "logs" / f"etcd-n{i}.log").read_text(errors="replace")


# Joining


@pytest.mark.parametrize(
    ("others", "words"),
    [((1, 2), "member count is unequal"), ((1, 2, 9), "PeerURLs")],
    ids=["unequal", "unmatched"],
)
def test_a_joiner_told_of_another_membership_exits(tool: Tool, others: tuple[int, ...], words: str) -> None:
    peers = [f"n{i}={tool.layout.peer_url(i)}" for i in (*others, 4)]
    with _override(tool, 4, "ETCD_INITIAL_CLUSTER", ",".join(peers)):
        failed = tool.run("add", "n4", "--learner", "--force", "-f", "json", *ACCEPT)
    assert error_of(failed) == (4, "MEMBER_EXITS"), failed.err
    assert "its environment" in failed.json["error"]["hint"]
    assert words in _log(tool, 4)
    _run(tool, "abort")


def test_a_joiner_that_made_its_own_cluster_is_told_and_resumed(tool: Tool) -> None:
    with _override(tool, 4, "ETCD_INITIAL_CLUSTER_STATE", "new"):
        failed = tool.run("add", "n4", "--learner", "--force", "-f", "json", *ACCEPT)
    assert error_of(failed) == (4, "OTHER_CLUSTER"), failed.err
    assert "initial-cluster-state=new" in failed.json["error"]["hint"]
    _run(tool, "resume")
    assert _names(tool)["n4"].is_learner
    _run(tool, "remove", "n4")


# Adding


def test_a_second_learner_is_refused_at_the_last_moment(tool: Tool, meddled: Meddled) -> None:
    theirs = []
    meddled.before("add_learner", lambda: theirs.append(_leading(tool).add_learner(_url(tool, 9))))
    assert error_of(meddled.run("add", "n4", "--learner")) == (4, "TOO_MANY_LEARNERS")
    assert meddled.words() == ["etcdserver: too many learner members in cluster"]
    assert error_of(tool.run("resume", "--force", "-f", "json")) == (7, "MEMBERSHIP_CHANGED")
    _leading(tool).remove_member(theirs[0].id)
    _run(tool, "abort")


def test_a_peer_url_taken_at_the_last_moment_is_told(tool: Tool, meddled: Meddled) -> None:
    def somebody() -> None:
        _leading(tool).add_learner(_url(tool, 4))
        next_second()

    meddled.before("add_learner", somebody)
    assert error_of(meddled.run("add", "n4", "--learner")) == (4, "PEER_URL_EXISTS")
    assert meddled.words() == ["etcdserver: Peer URLs already exists"]
    _run(tool, "resume")
    assert _names(tool)["n4"].is_learner
    _run(tool, "remove", "n4")


def test_an_id_used_up_in_the_same_second_is_no_obstacle(tool: Tool, meddled: Meddled) -> None:
    leading = _leading(tool)

    def somebody() -> None:
        next_second()
        leading.remove_member(leading.add_learner(_url(tool, 4)).id)

    meddled.before("add_learner", somebody)
    _done(meddled.run("add", "n4", "--learner"))
    assert set(meddled.words()) == {"etcdserver: member not found"}
    _run(tool, "remove", "n4")


def test_a_voter_that_is_down_is_named_and_then_waited_for(tool: Tool, meddled: Meddled) -> None:
    down = _followers(tool)[0]
    leading, gone = _leading(tool), _names(tool)[f"n{down}"].id

    def die() -> None:
        os.kill(tool.etcd_pid(down), signal.SIGKILL)
        wait_until(lambda: gone not in _connected(leading), 10, "the leader to notice")

    meddled.before("add_learner", die)
    failed = meddled.run("add", "n4", "--learner")
    assert error_of(failed) == (4, "UNHEALTHY_CLUSTER")
    assert f"n{down} is unreachable" in failed.json["error"]["message"]
    assert f"replace n{down} first" in failed.json["error"]["hint"]
    tool.service(f"n{down}", "start")  # etcd goes on refusing till it has been connected for 5 s
    meddled.refused.clear()
    meddled.before("add_learner")
    _done(meddled.run("resume"))
    assert set(meddled.words()) == {"etcdserver: unhealthy cluster"}
    _run(tool, "remove", "n4")


def _connected(client: EtcdClient) -> frozenset[int]:
    metrics = client.metrics()
    return metrics.connected if metrics else frozenset()


# Promoting and removing


def test_a_promotion_is_asked_for_until_etcd_agrees(tool: Tool, meddled: Meddled) -> None:
    _run(tool, "add", "n4", "--learner")
    leading, learner = _leading(tool), _names(tool)["n4"].id

    def lag() -> None:
        os.kill(tool.etcd_pid(4), signal.SIGSTOP)
        limit = leading.status().raft_index * 1.3
        wait_until(lambda: leading.put("/lag", "x") > 0 and leading.status().raft_index > limit, 30, "a lag")
        Timer(0.5, lambda: os.kill(tool.etcd_pid(4), signal.SIGCONT)).start()

    def promoted() -> bool:
        leading.promote_member(learner)
        return True

    meddled.before("promote_member", lag, lambda: wait_until(promoted, 10, "somebody to promote it"))
    _done(meddled.run("promote", "n4"))
    words = meddled.words()
    assert words[0] == "etcdserver: can only promote a learner member which is in sync with leader"
    assert words[-1] == "etcdserver: can only promote a learner member"
    assert not _names(tool)["n4"].is_learner
    again = tool.run("promote", "n4", "--force", "-f", "json")
    assert error_of(again) == (2, "NOT_A_LEARNER")
    _run(tool, "remove", "n4")


def test_a_member_that_somebody_else_removed_is_not_missed(tool: Tool, meddled: Meddled) -> None:
    _run(tool, "add", "n4", "--learner")
    learner, leading = _names(tool)["n4"].id, _leading(tool)
    meddled.before("promote_member", lambda: leading.remove_member(learner))
    assert error_of(meddled.run("promote", "n4")) == (4, "MEMBER_NOT_FOUND")
    assert meddled.words() == ["etcdserver: member not found"]
    _run(tool, "abort")
    _run(tool, "add", "n4", "--learner")
    again = _names(tool)["n4"].id
    meddled.before("remove_member", lambda: leading.remove_member(again))
    _done(meddled.run("remove", "n4"))
    assert meddled.words()[1:] == ["etcdserver: member not found"]
    unknown = tool.run("remove", f"{again:x}", "--force", "-f", "json")
    assert error_of(unknown) == (2, "UNKNOWN_MEMBER")


# Answers that do not come


def test_a_change_without_an_answer_is_looked_up(tool: Tool, meddled: Meddled) -> None:
    _run(tool, "add", "n4", "--learner")
    _limits(tool, step_timeout=2.0, gate_timeout=2.0, lock_ttl=5)
    leading, pids = _leading(tool), [tool.etcd_pid(i) for i in _followers(tool)]
    errors: list[EtcdError] = []

    def write() -> None:
        try:
            leading.put("/late", "x")
        except EtcdError as error:
            errors.append(error)

    writer = Thread(target=write)

    def hang() -> None:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        writer.start()

    meddled.before("remove_member", hang)
    try:
        failed = meddled.run("remove", "n4")
        writer.join()
    finally:
        _thaw(tool, *pids)
    assert error_of(failed) == (3, "NO_QUORUM")
    assert [step["state"] for step in failed.json["steps"] if step["name"] == "RemoveMember"] == ["unknown"]
    assert [type(error) for error in errors] == [RequestTimedOutError]
    assert errors[0].message.startswith("etcdserver: request timed out")
    _run(tool, "resume")


def test_a_transfer_to_a_member_that_hangs_is_told_and_resumed(tool: Tool, meddled: Meddled) -> None:
    target = _followers(tool)[0]
    meddled.before("transfer_leadership", lambda: os.kill(tool.etcd_pid(target), signal.SIGSTOP))
    try:
        failed = meddled.run("move-leader", f"n{target}")
    finally:
        _thaw(tool, tool.etcd_pid(target))
    assert error_of(failed) == (4, "STEP_FAILED"), failed.err
    assert f"n{target} is not a healthy voter" in failed.json["error"]["message"]
    assert meddled.words() == ["no answer within 5 s"]
    _run(tool, "resume")
    assert _leading(tool).endpoint == tool.layout.client_url(target)


def test_a_proposal_that_is_dropped_on_the_way_to_the_lock_is_asked_for_again(
    tool: Tool, meddled: Meddled
) -> None:
    leading, (hung, target) = _leading(tool), _followers(tool)
    pid, hung_id = tool.etcd_pid(hung), _names(tool)[f"n{hung}"].id
    thaw = Timer(2.0, os.kill, (pid, signal.SIGCONT))

    def transfer() -> None:
        with suppress(EtcdError):
            leading.transfer_leadership(hung_id)

    def somebody() -> None:
        os.kill(pid, signal.SIGSTOP)  # so that it takes its time
        thaw.start()
        Thread(target=transfer).start()
        wait_until(dropped, 5, "leadership to be on its way")

    def dropped() -> bool:
        try:
            return not leading.put("/dropped", "x")
        except ProposalDroppedError:
            return True

    meddled.before("grant_lease", somebody)
    try:
        done = meddled.run("move-leader", f"n{target}")
    finally:
        thaw.cancel()
        _thaw(tool, pid)
    assert meddled.words()[:1] == ["raft proposal dropped"]
    assert done.code == 0, done.err
    assert tool.run("resume", "--force").err.strip() == "Nothing to resume."


# Members that come back as new ones; last, as etcd then refuses changes for 5 s


def test_a_member_that_never_started_forbids_a_removal(tool: Tool, meddled: Meddled, etcd_dir: Path) -> None:
    victim, other = _followers(tool)
    ids = {name: member.id for name, member in _names(tool).items()}

    def somebody() -> None:
        _etcdctl(tool, etcd_dir, "member", "remove", f"{ids[f'n{other}']:x}")
        _etcdctl(tool, etcd_dir, "member", "add", f"n{other}", f"--peer-urls={tool.layout.peer_url(other)}")

    meddled.before("remove_member", somebody)
    failed = meddled.run("remove", f"n{victim}", "--accept", "TOO_FEW_VOTERS")
    assert error_of(failed) == (4, "NOT_ENOUGH_STARTED"), failed.err
    unstarted = _names(tool)[""].id
    _etcdctl(tool, etcd_dir, "member", "remove", f"{unstarted:x}")
    _run(tool, "abort")
    _run(tool, "add", f"n{other}")


def test_a_member_removed_while_it_restarts_can_come_back(
    tool: Tool, meddled: Meddled, etcd_dir: Path
) -> None:
    i = _followers(tool)[0]
    removed, leading = _names(tool)[f"n{i}"].id, _leading(tool)
    meddled.before("start", lambda: leading.remove_member(removed), owner=LocalNode)
    failed = meddled.run("restart", f"n{i}")
    assert error_of(failed) == (4, "MEMBER_MISMATCH"), failed.err
    assert f"patronictl-etcd add n{i}" in failed.json["error"]["hint"]
    wait_until(lambda: tool.service(f"n{i}", "is_active") != 0, 10, "its etcd to end by itself")
    assert _exit_code(tool, i, etcd_dir) in (0, 1)  # 1 when it learns of it while it still starts
    assert "permanently removed" in _log(tool, i)
    assert error_of(tool.run("resume", "--force", "-f", "json")) == (7, "MEMBERSHIP_CHANGED")
    _run(tool, "abort")
    status = tool.run("status", "-f", "json").json
    assert ("ZOMBIE_MEMBER", f"n{i}") in [(f["code"], f["subject"]) for f in status["findings"]]
    for words in (("restart", f"n{i}"), ("update-urls", f"n{i}", "--client-url", "http://127.0.0.1:1")):
        refused = tool.run(*words, "--force", "-f", "json")
        assert error_of(refused) == (2, "UNKNOWN_MEMBER")
        assert f"patronictl-etcd add n{i}" in refused.json["error"]["hint"]
    _run(tool, "add", f"n{i}")


def _exit_code(tool: Tool, i: int, etcd_dir: Path) -> int:
    """Start a member's etcd as systemd would, on the data it has, and wait for its end."""
    line = 'set -a; . "$1"; exec "$0" >>"$2" 2>&1'
    log = tool.layout.root / "logs" / f"etcd-n{i}.log"
    command = ["/bin/sh", "-c", line, str(etcd_dir / "etcd"), str(tool.layout.etcd_env(i)), str(log)]
    return subprocess.run(command, timeout=30, check=False).returncode


# With the servers' own check switched off


@pytest.fixture(scope="module")
def lax(tmp_path_factory: pytest.TempPathFactory, etcd_dir: Path) -> Iterator[Tool]:
    """Give an etcd that accepts changes which cost it its quorum, with n4 as a further machine."""
    lax = {"strict-reconfig-check": "false"}
    with tool_on(tmp_path_factory.mktemp("lax"), etcd_dir, settings=lax) as made:
        made.plan_node(4)
        _limits(made, gate_timeout=2.0)
        yield made


def test_without_the_strict_check_nobody_is_added_beside_a_joiner(
    lax: Tool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], etcd_dir: Path
) -> None:
    meddled, theirs = Meddled(lax, monkeypatch, capsys), lax.layout.peer_url(9)
    meddled.before(
        "_add", lambda: _etcdctl(lax, etcd_dir, "member", "add", "n9", f"--peer-urls={theirs}"), owner=Actions
    )
    assert error_of(meddled.run("add", "n4")) == (4, "NOT_ENOUGH_STARTED")
    _run(lax, "abort")  # which does not ask more of a member than before
    refused = lax.run("add", "n4", "--force", "-f", "json", *ACCEPT)
    assert error_of(refused) == (3, "PREFLIGHT")
    assert "MEMBER_UNHEALTHY" in [finding["code"] for finding in refused.json["findings"]]
    _run(lax, "remove", f"{_names(lax)[''].id:x}")


def test_without_the_strict_check_no_removal_takes_the_quorum(
    lax: Tool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    victim, other = _followers(lax)
    words = ("remove", f"n{victim}", "--accept", "TOO_FEW_VOTERS")
    meddled = Meddled(lax, monkeypatch, capsys)
    meddled.before("_remove", lambda: os.kill(lax.etcd_pid(other), signal.SIGKILL), owner=Actions)
    failed = meddled.run(*words)
    assert error_of(failed) == (4, "MEMBER_MISMATCH"), failed.err
    refused = lax.run("abort", "--force", "-f", "json")
    assert refused.code == 0, refused.out
    refused = lax.run(*words, "--accept", "MEMBER_UNHEALTHY", "--force", "-f", "json", *ACCEPT)
    assert error_of(refused) == (3, "NO_QUORUM_AFTER")
    assert set(_names(lax)) == {"n1", "n2", "n3"}
    start_members(lax.layout)
