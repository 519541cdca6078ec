"""A whole cycle with one spare machine, on real etcd: at no moment may fewer members fail than before."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.core.hazards import parse_version
from patroni_etcd_reconfig.core.hiding import TRAPS_SINCE
from patroni_etcd_reconfig.core.quorum import quorum
from patroni_etcd_reconfig.errors import EtcdError, EtcdUnreachableError, NotSupportedError
from patroni_etcd_reconfig.lab.processes import running
from tests.integration.etcd_servers import etcd_version
from tests.integration.tool import Tool, tool_on

pytestmark = pytest.mark.etcd
ACCEPT = ("--accept", "HAZARD_CORRUPTION")
TOLERATES = re.compile(r"\| (\d+) failures? +\|$", re.MULTILINE)


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory, etcd_dir: Path) -> Iterator[Tool]:
    """Give one etcd of n1 to n3, with n4 as the spare machine; every test leaves it so."""
    with tool_on(tmp_path_factory.mktemp("spare"), etcd_dir) as made:
        made.plan_node(4)
        yield made


def _names(tool: Tool) -> set[str]:
    members = tool.members()
    assert {member["state"] for member in members.values()} == {"healthy"}
    assert "learner" not in {member["role"] for member in members.values()}
    return set(members)


def _look(tool: Tool) -> tuple[int, int] | None:
    """Return voters and tolerance, where all that answer agree on who is a member."""
    lists, alive = set(), set()
    for i in (1, 2, 3, 4):
        client = tool.client(i, 5.0)
        try:
            alive.add(client.status().member_id)
            lists.add(frozenset((m.id, m.is_learner) for m in client.member_list().members))
        except (EtcdUnreachableError, NotSupportedError):
            continue  # nobody is there; or a learner, which gives no list
        except EtcdError:
            return None  # too slow to tell
    if len(lists) != 1:
        return None
    voters = {member_id for member_id, is_learner in lists.pop() if not is_learner}
    return len(voters), len(voters & alive) - quorum(len(voters))


class Watch:
    """Looks again and again, beside what is under test."""

    def __init__(self, tool: Tool) -> None:
        self._tool, self._stop = tool, threading.Event()
        self.seen: list[tuple[int, int]] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            look = _look(self._tool)
            if look:
                self.seen.append(look)


def test_a_cycle_with_a_spare_never_tolerates_less_and_gives_the_spare_back(
    tool: Tool, etcd_dir: Path
) -> None:
    before = tool.ids()
    with Watch(tool) as watch:
        done = tool.run("cycle", "--spare", "n4", "--force", "-f", "json", *ACCEPT)
    assert done.code == 0, done.err
    planned = {int(number) for number in TOLERATES.findall(done.err)}
    assert planned == {1}  # what the plan shows at each step
    assert len(watch.seen) > 20
    assert {voters for voters, _ in watch.seen} == {3, 4}
    restarts = (
        parse_version(etcd_version(etcd_dir)) or TRAPS_SINCE
    ) >= TRAPS_SINCE  # once a new member votes
    assert min(tolerance for _, tolerance in watch.seen) >= (0 if restarts else 1)  # what the servers show
    assert "at the end: members on n1, n2, n3; n4 is free again" in done.err
    assert _names(tool) == {"n1", "n2", "n3"}
    assert not set(tool.ids().values()) & set(before.values())
    assert running(tool.layout.pid_file("etcd-n4")) is None
    assert [step["name"] for step in done.json["steps"]].count("AddLearner") == 4


@pytest.mark.parametrize("line", ["add n4 as a learner ...", "stop n4, set its data aside ..."])
def test_killed_around_the_spare_it_is_resumed_to_the_same_end(tool: Tool, line: str) -> None:
    killed = tool.run_until(line, signal.SIGKILL, "cycle", tool.leader(), "--spare", "n4", "--force", *ACCEPT)
    assert killed.code == -signal.SIGKILL
    resumed = tool.run("resume", "--force", "-f", "json", *ACCEPT)
    assert resumed.code == 0, resumed.err
    assert _names(tool) == {"n1", "n2", "n3"}
    assert running(tool.layout.pid_file("etcd-n4")) is None


def test_an_aborted_cycle_says_that_the_spare_stays_and_how_to_free_it(tool: Tool) -> None:
    killed = tool.run_until(
        "as a learner: done", signal.SIGKILL, "cycle", "n1", "--spare", "n4", "--force", *ACCEPT
    )
    assert killed.code == -signal.SIGKILL
    aborted = tool.run("abort", "--force", "-f", "json", *ACCEPT)
    assert aborted.code == 0, aborted.err
    assert _names(tool) == {"n1", "n2", "n3"}  # a learner goes
    killed = tool.run_until(") ...", signal.SIGKILL, "cycle", "n1", "--spare", "n4", "--force", *ACCEPT)
    assert killed.code == -signal.SIGKILL
    aborted = tool.run("abort", "--force", "-f", "json", *ACCEPT)
    assert aborted.code == 0, aborted.err
    assert ("STAYS", "n4") in [(f["code"], f["subject"]) for f in aborted.json["findings"]]
    assert "n4 stays a member: the spare; to free it: patronictl-etcd remove n4" in aborted.err
    if "n1" not in tool.members():
        assert "patronictl-etcd add n1" in aborted.err
        added = tool.run("add", "n1", "--force", "-f", "json", *ACCEPT)
        assert added.code == 0, added.err
    freed = tool.run("remove", "n4", "--force", "-f", "json", *ACCEPT)
    assert freed.code == 0, freed.err
    assert _names(tool) == {"n1", "n2", "n3"}


def test_a_spare_that_is_kept_leaves_the_last_victims_machine_as_the_next_spare(tool: Tool) -> None:
    leader = tool.leader()
    done = tool.run("cycle", leader, "--spare", "n4", "--keep-spare", "--force", "-f", "json", *ACCEPT)
    assert done.code == 0, done.err
    assert _names(tool) == {"n1", "n2", "n3", "n4"} - {leader}
    back = tool.run("cycle", "n4", "--spare", leader, "--keep-spare", "--force", "-f", "json", *ACCEPT)
    assert back.code == 0, back.err
    assert _names(tool) == {"n1", "n2", "n3"}


def test_a_spare_that_is_a_member_or_unknown_is_refused(tool: Tool) -> None:
    for words, code in {
        ("--spare", "n2"): "ALREADY_MEMBER",
        ("--spare", "n9"): "UNKNOWN_NODE",
        ("--keep-spare",): "CONFIG",
    }.items():
        refused = tool.run("cycle", *words, "--force", "-f", "json")
        assert (refused.code, refused.json["error"]["code"]) == (2, code)
        assert refused.json["error"]["hint"]
