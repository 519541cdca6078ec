"""--shield with real Patroni: failsafe_mode is off before, on during, and off after, killed or not."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.lab import health
from patroni_etcd_reconfig.lab.down import down
from patroni_etcd_reconfig.lab.up import up
from tests.integration.etcd_servers import wait_until
from tests.integration.tool import Outcome, Tool, wait_for_line
from tests.nets import free_net

pytestmark = [pytest.mark.e2e, pytest.mark.patroni]
CONFIG, FAILSAFE = "/service/lab/config", "/service/lab/failsafe"
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory, patroni_dir: Path | None) -> Iterator[Tool]:
    """Give a lab of etcd, Patroni and PostgreSQL, whose failsafe_mode is not set."""
    root = tmp_path_factory.mktemp("shield") / "lab"
    made = up(root, free_net(), say=print, patroni_dir=patroni_dir).lab
    try:
        tool = Tool(made.layout)
        _set(tool, None)
        yield tool
    finally:
        down(made, say=print)


def _config(tool: Tool) -> str:
    return tool.client(3).range(CONFIG).kvs[0].value


def _set(tool: Tool, value: bool | None) -> str:
    """Set failsafe_mode, or take it out, as an administrator would; return the whole text."""
    data = {key: item for key, item in json.loads(_config(tool)).items() if key != "failsafe_mode"}
    text = json.dumps(data if value is None else {**data, "failsafe_mode": value}, separators=(",", ":"))
    tool.client(3).put(CONFIG, text)
    tool.client(3).delete(FAILSAFE)
    wait_until(lambda: not tool.run("status", "-f", "json").json["patroni"][0]["failsafe_mode"], 10, "off")
    return text


def _is_on(tool: Tool) -> bool:
    return json.loads(_config(tool)).get("failsafe_mode") is True


def _leader(tool: Tool) -> str:
    cluster = health.pg_cluster(tool.layout)
    assert cluster is not None
    assert cluster.leader is not None
    return cluster.leader.name


def _codes(done: Outcome) -> list[str]:
    return [finding["code"] for finding in done.json["findings"]]


@pytest.mark.parametrize("value", [None, False], ids=["not set", "false"])
def test_failsafe_mode_is_on_during_the_operation_and_what_it_was_after(
    tool: Tool, value: bool | None
) -> None:
    before, leader = _set(tool, value), _leader(tool)
    blocked = tool.run("cycle", "n1", "--force", "-f", "json")
    assert (blocked.code, _codes(blocked)) == (3, ["FAILSAFE_OFF"])
    with tool.running("cycle", "n1", "--shield", "--force", "-f", "json") as process:
        said = wait_for_line(process, ") ...")
        assert _is_on(tool)
        assert leader in json.loads(tool.client(3).range(FAILSAFE).kvs[0].value)  # Patroni's own word
        out, err = process.communicate(timeout=90)
    assert process.returncode == 0, said + err
    steps = [step["name"] for step in json.loads(out)["steps"]]
    assert (steps[1], steps[-1]) == ("RaiseShield", "LowerShield")
    assert _config(tool) == before
    assert _leader(tool) == leader


@pytest.mark.parametrize(
    ("line", "ending"),
    [
        ("turn failsafe_mode on in lab ...", "abort"),
        ("turn failsafe_mode on in lab ...", "resume"),
        ("promote n2 when in sync ...", "abort"),
        (") ...", "resume"),
        ("put failsafe_mode back in lab ...", "resume"),
        ("put failsafe_mode back in lab ...", "abort"),
    ],
)
def test_killed_in_the_middle_it_is_put_back_by_what_ends_the_operation(
    tool: Tool, line: str, ending: str
) -> None:
    before, leader = _set(tool, None), _leader(tool)
    killed = tool.run_until(line, signal.SIGKILL, "cycle", "n2", "--shield", "--force")
    assert killed.code == KILLED
    ended = tool.run(ending, "--force", "-f", "json")
    assert ended.code == 0, ended.err
    assert _config(tool) == before
    if "n2" not in tool.members():
        again = tool.run("add", "n2", "--shield", "--force", "-f", "json")
        assert again.code == 0, again.err
    assert _config(tool) == before
    assert _leader(tool) == leader


@pytest.mark.parametrize("ending", ["abort", "resume"])
def test_killed_after_the_write_and_before_its_outcome_it_is_put_back(tool: Tool, ending: str) -> None:
    before = _set(tool, None)
    with tool.running("cycle", "n1", "--shield", "--force") as process:
        wait_for_line(process, "turn failsafe_mode on in lab ...")
        wait_until(lambda: _is_on(tool), 5, "the write")
        process.kill()  # it waits for Patroni to act: the journal has the intent only
        process.wait()
    assert tool.run("cycle", "n1", "--force").code == 3  # unfinished: nothing else may begin
    ended = tool.run(ending, "--force", "-f", "json")
    assert ended.code == 0, ended.err
    assert _config(tool) == before
    assert _names(tool) == ["n1", "n2", "n3"]


def _names(tool: Tool) -> list[str]:
    return sorted(name for name, member in tool.members().items() if member["state"] == "healthy")


def test_an_interrupted_operation_says_that_it_is_still_open(tool: Tool) -> None:
    before = _set(tool, False)
    stopped = tool.run_until(") ...", signal.SIGINT, "cycle", "n3", "--shield", "--force", "-f", "json")
    assert stopped.code == 130, stopped.err
    assert "SHIELD_OPEN" in _codes(stopped)
    assert _is_on(tool)
    resumed = tool.run("resume", "--force", "-f", "json")
    assert resumed.code == 0, resumed.err
    assert _config(tool) == before


def test_what_an_administrator_sets_meanwhile_stays_and_is_told(tool: Tool) -> None:
    _set(tool, None)
    killed = tool.run_until(
        "verify the cluster and Patroni ...", signal.SIGKILL, "cycle", "n3", "--shield", "--force"
    )
    assert killed.code == KILLED
    changed = _set(tool, False)
    resumed = tool.run("resume", "--force", "-f", "json")
    assert resumed.code == 0, resumed.err
    assert "SHIELD_LEFT" in _codes(resumed)
    assert _config(tool) == changed
