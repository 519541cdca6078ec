"""Every change of the product, to be killed at its steps; and what an etcd looks like before and after."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.core.model import Member
from patroni_etcd_reconfig.engine import journal
from patroni_etcd_reconfig.engine.failpoint import VARIABLE
from patroni_etcd_reconfig.lab.processes import running
from tests.integration.etcd_servers import wait_until
from tests.integration.tool import Tool, tool_on

ACCEPT = ("--accept", "HAZARD_CORRUPTION", "--accept", "UPGRADE_PATH")
THREE = frozenset({"n1", "n2", "n3"})
NODES = (1, 2, 3, 4, 5)  # n4 and n5 are further machines


@dataclass(frozen=True)
class Run:
    """A command on an etcd of n1 to n3, of which n1 leads, and who the voters are at its end."""

    words: tuple[str, ...]
    voters: frozenset[str] = THREE
    prepare: Callable[[Tool], object] = lambda _: None

    def on(self, tool: Tool) -> tuple[str, ...]:
        """Return the words with the addresses of this lab in them."""
        return tuple(word.format(net=tool.layout.net, root=tool.layout.root) for word in self.words)


def _add_a_learner(tool: Tool) -> None:
    done = tool.run("add", "n4", "--learner", "--force", *ACCEPT)
    assert done.code == 0, done.err


def _leave_a_copy(tool: Tool) -> None:
    assert killed(tool, RUNS["move-data"], "after:CopyData")


# By name. What begins with the name of a command is a run of it.
RUNS: Mapping[str, Run] = {
    "cycle": Run(("cycle", "n2", "n1")),
    "cycle --spare": Run(("cycle", "n1", "--spare", "n4")),
    "replace": Run(("replace", "n1")),
    "replace --host": Run(("replace", "n1", "--host", "127.0.{net}.4"), frozenset({"n2", "n3", "n4"})),
    "replace --peer-url": Run(("replace", "n1", "--peer-url", "http://127.0.{net}.11:2380")),
    "add": Run(("add", "n4"), THREE | {"n4"}),
    "remove": Run(("remove", "n1", "--accept", "TOO_FEW_VOTERS"), frozenset({"n2", "n3"})),
    "promote": Run(("promote", "n4"), THREE | {"n4"}, _add_a_learner),
    "apply": Run(("apply",), THREE | {"n4", "n5"}),
    "restart": Run(("restart",)),
    "upgrade": Run(("upgrade", "--command", "true")),
    "update-urls": Run(
        (
            *("update-urls", "n1", "--peer-url", "http://127.0.{net}.11:2380"),
            *("--client-url", "http://127.0.{net}.11:2379"),
        )
    ),
    "move-data --to-dir": Run(("move-data", "n1", "--to-dir", "{root}/moved")),
    "move-data": Run(("move-data", "n1", "--to-host", "n4"), frozenset({"n2", "n3", "n4"})),
    "move-leader": Run(("move-leader",)),
    "abort": Run(("abort",), prepare=_leave_a_copy),
}


@contextmanager
def kill_lab(root: Path, etcd_dir: Path) -> Iterator[Tool]:
    """Give a fresh etcd of n1 to n3 with a key in it, led by n1, and two further machines."""
    with _data_gone_afterwards(root), tool_on(root, etcd_dir) as tool:
        for i in NODES[3:]:
            tool.plan_node(i)
        tool.client(1).put("/kept", "value")
        ids = ids_of(tool)
        if (leader := tool.client(1).status().leader_id) != ids["n1"]:
            led = next(int(name[1:]) for name, member_id in ids.items() if member_id == leader)
            tool.client(led).transfer_leadership(ids["n1"])
            wait_until(lambda: tool.client(1).status().leader_id == ids["n1"], 10, "n1 to lead")
        yield tool


@contextmanager
def _data_gone_afterwards(root: Path) -> Iterator[None]:
    """Hundreds of labs would fill a disk: etcd allocates 128 MB for each log. Logs and journals stay."""
    try:
        yield
    finally:
        shutil.rmtree(root / "data", ignore_errors=True)


def listed(tool: Tool) -> dict[str, Member]:
    """Return the members by name, as n3 lists them: no run takes it out of the cluster."""
    tool.client(3).range("/kept")
    return {member.name: member for member in tool.client(3).member_list().members}


def ids_of(tool: Tool) -> dict[str, int]:
    """Return the members' ids by name."""
    return {name: member.id for name, member in listed(tool).items()}


def killed(tool: Tool, run: Run, point: str) -> bool:
    """Run, and tell whether the tool died at this point; if not, it must have ended well."""
    done = tool.run(*run.on(tool), "--force", *ACCEPT, env={VARIABLE: point}, seconds=300)
    assert done.code in (0, -signal.SIGKILL), done.err
    return done.code != 0


def resumed(tool: Tool) -> bool:
    """Resume, and tell whether there was something to resume."""
    done = tool.run("resume", "--force", "--accept", "TOO_FEW_VOTERS", *ACCEPT, seconds=300)
    assert done.code == 0, done.err
    return done.err.strip() != "Nothing to resume."


def aborted(tool: Tool) -> bool:
    """Abort, and tell whether there was something to abort.

    A move whose old data was set aside can only be finished, and says so.
    """
    done = tool.run("abort", "--force", "-f", "json", *ACCEPT, seconds=300)
    if done.code == 3 and done.json["error"]["code"] == "ONLY_FORWARD":
        assert resumed(tool)
        return True
    assert done.code == 0, done.err
    return done.err.strip() != "Nothing to abort."


def killed_kinds(tool: Tool) -> set[str]:
    """Return the kind of the last step in each journal: that at which the tool died, or after which."""
    kinds: set[str] = set()
    for path in (tool.layout.state_dir / "operations").glob("*.jsonl"):
        steps = journal.read(path.read_text().splitlines(), str(path)).steps if path.stat().st_size else []
        kinds.update(step.name for step in steps[-1:])
    return kinds


# What is the same after an operation that was killed as after one that nobody disturbed: of each member its
# role, its URLs (without the lab's network), and whether it has the id that it had before.
MemberFacts = tuple[str, str, str, bool]


@dataclass(frozen=True)
class State:
    """An etcd and its machines. `services` run; `data` names the machines that have a data dir."""

    members: Mapping[str, MemberFacts]
    services: frozenset[str]
    data: frozenset[str]


def state_of(tool: Tool, ids: Mapping[str, int]) -> State:
    """Return what there is; `ids` are those of before the operation."""
    layout, kept = tool.layout, set(ids.values())

    def facts(member: Member) -> MemberFacts:
        peers, clients = (
            " ".join(sorted(urls)).replace(f".{layout.net}.", ".N.")
            for urls in (member.peer_urls, member.client_urls)
        )
        return "learner" if member.is_learner else "voter", peers, clients, member.id in kept

    members = {name: facts(member) for name, member in listed(tool).items()}
    services = frozenset(f"n{i}" for i in NODES if running(layout.pid_file(f"etcd-n{i}")))
    data = frozenset(f"n{i}" for i in NODES if (layout.etcd_data(i) / "member").is_dir())
    return State(members, services, data)


def assert_sound(tool: Tool, *, learners: bool = False, locked: bool = False) -> None:
    """All members are healthy, the data there and written once, the lock free, nothing left to do."""
    members = tool.members()
    assert {member["state"] for member in members.values()} == {"healthy"}
    assert learners or "learner" not in {member["role"] for member in members.values()}
    voters = [row for row in members.values() if row["role"] != "learner"]
    for row in voters:
        (kept,) = tool.at(row["client_urls"][0]).range("/kept").kvs
        assert (kept.value, kept.version) == ("value", 1)
    locks = tool.at(voters[0]["client_urls"][0]).range("/patroni-etcd-reconfig/lock").kvs
    assert locked or not locks
    assert tool.run("resume", "--force").err.strip() == "Nothing to resume."


def assert_aborted(before: State, now: State, undisturbed: State, spare: str = "") -> None:
    """Every member is as it was, or as it would have become; at most one is missing; a spare may stay."""
    for name, facts in now.members.items():
        assert facts in (before.members.get(name), undisturbed.members.get(name)) or name == spare, name
    assert len(now.members) >= min(len(before.members), len(undisturbed.members)) - 1
    assert set(now.members) <= now.services
