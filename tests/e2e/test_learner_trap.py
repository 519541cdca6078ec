"""A learner in the member list, and a Patroni whose etcd member dies: the trap, and that ours is none.

Patroni asks every client URL of the member list, learners included. A learner of etcd 3.6 and later refuses
with FailedPrecondition, upon which Patroni asks the same learner again until it gives up. Old versions of it
do so upon Unavailable, too, with which an older etcd's learner refuses. Which member it turns to is random in
Patroni; here the dice are loaded (see `DICE`), so that it is the learner if it can be.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.core.hazards import parse_version
from patroni_etcd_reconfig.core.hiding import asks_again
from patroni_etcd_reconfig.lab import configs, drill
from patroni_etcd_reconfig.lab.down import down
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.layout import NODES
from patroni_etcd_reconfig.lab.processes import running, stop_all
from patroni_etcd_reconfig.lab.up import up
from tests.integration.etcd_servers import etcd_dirs, etcd_version, wait_until
from tests.integration.tool import Tool
from tests.nets import free_net
from tests.patronis import patroni_version

# make test-versions has the etcd that it needs
pytestmark = [pytest.mark.e2e, pytest.mark.etcd, pytest.mark.patroni]
LEARNER = 4
ACCEPT = ("--accept", "FAILSAFE_OFF", "--force", "-f", "json")

# Every Patroni of the lab imports this at its start. A list that Patroni shuffles has the learner first.
DICE = """
import random
_shuffle = random.shuffle
def shuffle(urls):
    _shuffle(urls)
    urls.sort(key=lambda url: '.4:2379' not in str(url))
random.shuffle = shuffle
"""


def _etcd_36() -> Path | None:
    """Return the directory of the oldest etcd that has the trap: 3.6 or later."""
    beside = [(etcd_version(path.parent), path.parent) for path in sorted(Path(".etcd").glob("*/etcd"))]
    found = [(parse_version(version) or (0, 0, 0), path) for version, path in (*etcd_dirs(), *beside)]
    return min(((v, path) for v, path in found if v >= (3, 6, 0)), default=(None, None))[1]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, patroni_dir: Path | None) -> Iterator[Lab]:
    """Give a lab whose etcd has the trap for its Patroni, with failsafe_mode off and the dice loaded."""
    by_all = asks_again(patroni_version(patroni_dir))
    etcd_dir = None if by_all else _etcd_36()
    if etcd_dir is None and not by_all:
        pytest.skip("no etcd 3.6 or later in ETCD_DIRS or .etcd/: make etcd-versions")
    root = tmp_path_factory.mktemp("trap")
    dice = root / "dice"
    dice.mkdir()
    (dice / "sitecustomize.py").write_text(DICE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(dice))
        made = up(root / "lab", free_net(), etcd_dir, say=print, patroni_dir=patroni_dir).lab
    try:
        drill.set_config(made, {"failsafe_mode": False})
        yield made
    finally:
        Tool(made.layout).service(f"n{LEARNER}", "stop")
        down(made, say=print)


def _log(lab: Lab, host: int) -> str:
    return lab.layout.log(f"patroni-pg{host}").read_text("utf-8", "replace")


def _asks(lab: Lab, host: int) -> int:
    """Return the etcd member that Patroni of this host talks to, by its log."""
    last = [line for line in _log(lab, host).splitlines() if "Selected new etcd server" in line][-1]
    return next(i for i in (*NODES, LEARNER) if lab.layout.client_url(i) in last)


def _kill(lab: Lab, i: int) -> None:
    process = running(lab.layout.pid_file(f"etcd-n{i}"))
    assert process is not None
    stop_all([process], timeout=10, sig=signal.SIGKILL)


def _let_it_see_the_learner(lab: Lab, primary: int) -> None:
    """Let its member die and come back: Patroni turns to another one, and reads the member list again."""
    tool, first = Tool(lab.layout), _asks(lab, primary)
    _kill(lab, first)
    wait_until(lambda: _asks(lab, primary) != first, 15, "Patroni to turn to another member")
    assert tool.service(f"n{first}", "start") == 0
    wait_until(lambda: tool.members()[f"n{first}"]["state"] == "healthy", 15, f"n{first} to be back")


def _demoted(lab: Lab, host: int, since: int) -> bool:
    return "demoting self because DCS is not accessible" in _log(lab, host)[since:]


def test_our_learner_traps_nobody_and_gets_its_own_url_once_it_votes(lab: Lab) -> None:
    tool, primary = Tool(lab.layout), drill.leader_host(lab)
    tool.plan_node(LEARNER)
    added = tool.run("add", f"n{LEARNER}", "--learner", *ACCEPT)
    assert added.code == 0, added.err
    listed = {member.name: member for member in tool.client(1).member_list().members}
    assert set(listed[f"n{LEARNER}"].client_urls) == {lab.layout.client_url(i) for i in NODES}
    assert tool.members()[f"n{LEARNER}"]["state"] == "healthy"  # the tool finds it all the same
    _let_it_see_the_learner(lab, primary)
    dead, since = _asks(lab, primary), len(_log(lab, primary))
    _kill(lab, dead)
    # A loop takes a second, and Patroni gives up after retry_timeout, 9 s.
    wait_until(
        lambda: _log(lab, primary)[since:].count("the leader with the lock") >= 15, 40, "15 calm loops"
    )
    assert not _demoted(lab, primary, since)
    assert drill.leader_host(lab) == primary
    assert tool.service(f"n{dead}", "start") == 0
    wait_until(lambda: tool.members()[f"n{dead}"]["state"] == "healthy", 15, f"n{dead} to be back")
    promoted = tool.run("promote", f"n{LEARNER}", *ACCEPT)
    assert promoted.code == 0, promoted.err
    now = tool.members()[f"n{LEARNER}"]
    assert (now["role"], now["client_urls"]) == ("voter", [lab.layout.client_url(LEARNER)])
    removed = tool.run("remove", f"n{LEARNER}", *ACCEPT)
    assert removed.code == 0, removed.err


def test_a_patroni_whose_member_is_replaced_in_place_does_not_go_back_to_it_as_a_learner(lab: Lab) -> None:
    """Its list of before has the URL on which the hidden learner listens now; the tool dies right there."""
    tool, primary = Tool(lab.layout), drill.leader_host(lab)
    victim, since = _asks(lab, primary), len(_log(lab, primary))
    killed = tool.run(
        "cycle", f"n{victim}", *ACCEPT, env={"PATRONI_ETCD_RECONFIG_FAILPOINT": "acted:StartMember"}
    )
    assert killed.code == -signal.SIGKILL
    assert tool.client(victim).status().is_learner
    wait_until(
        lambda: _log(lab, primary)[since:].count("the leader with the lock") >= 15, 40, "15 calm loops"
    )
    assert not _demoted(lab, primary, since)
    assert drill.leader_host(lab) == primary
    resumed = tool.run("resume", *ACCEPT)
    assert resumed.code == 0, resumed.err
    assert tool.members()[f"n{victim}"]["client_urls"] == [lab.layout.client_url(victim)]


def test_a_learner_with_a_url_of_its_own_makes_the_primary_demote_itself_though_etcd_has_quorum(
    lab: Lab,
) -> None:
    tool, primary, layout = Tool(lab.layout), drill.leader_host(lab), lab.layout
    # Refused while connections are younger than 5 s.
    wait_until(lambda: bool(tool.client(1).add_learner((layout.peer_url(LEARNER),))), 15, "a learner's seat")
    peers = ",".join(f"n{i}={layout.peer_url(i)}" for i in (*NODES, LEARNER))
    data = layout.root / "data" / "a learner of nobody's tool"
    settings = {"initial-cluster": peers, "initial-cluster-state": "existing", "data-dir": str(data)}
    layout.etcd_env(LEARNER).write_text(configs.etcd_env(layout, LEARNER, settings))
    assert tool.service(f"n{LEARNER}", "start") == 0
    wait_until(lambda: tool.client(LEARNER).status().is_learner, 15, "the learner to run")
    _let_it_see_the_learner(lab, primary)
    dead, since = _asks(lab, primary), len(_log(lab, primary))
    _kill(lab, dead)
    wait_until(lambda: _demoted(lab, primary, since), 40, "the primary to demote itself")
    alive = next(i for i in NODES if i != dead)
    assert tool.client(alive).range("/service/lab/config").kvs  # a linearizable read: quorum is there
    assert f"Retrying on {layout.client_url(LEARNER)}" in _log(lab, primary)[since:]
