"""A lab of etcd, Patroni and PostgreSQL whose majority is lost, and the recovery of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from patroni_etcd_reconfig.cli.recover.planfile import read_plan
from patroni_etcd_reconfig.core.recovery.steps import steps_of
from patroni_etcd_reconfig.engine.failpoint import VARIABLE
from patroni_etcd_reconfig.lab import health
from patroni_etcd_reconfig.lab.down import down
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.layout import NODES, REST_PORT
from patroni_etcd_reconfig.lab.rows import ROWS, stored_rows
from patroni_etcd_reconfig.lab.up import up
from tests.integration.etcd_servers import wait_until
from tests.integration.tool import Outcome, Tool
from tests.nets import free_net


@contextmanager
def lab_in(root: Path, patroni_dir: Path | None = None) -> Iterator[Lab]:
    """Give a lab of etcd, Patroni and PostgreSQL."""
    made = up(root / "lab", free_net(), say=print, patroni_dir=patroni_dir).lab
    try:
        yield made
    finally:
        down(made, say=print)


def plan(tool: Tool, *words: str) -> str:
    """Write a plan into the lab's directory and return its id.

    While PostgreSQL is being restarted nobody can say how far it is: then it is made again, as its words say.
    """
    deadline = time.monotonic() + 40
    while True:
        planned = tool.run("recover", "plan", "-o", str(plan_file(tool)), "-f", "json", *words)
        blocking = {one["code"] for one in planned.json["findings"] if one["severity"] == "blocker"}
        if not blocking or not blocking <= {"PG_POSITION_UNSURE", "PG_NOT_ASKED"}:
            break
        assert time.monotonic() < deadline, planned.out + planned.err
        time.sleep(1)
    assert planned.code == 0, planned.out + planned.err
    plan_id = planned.json["plan"]["id"]
    assert isinstance(plan_id, str)
    return plan_id


def plan_file(tool: Tool) -> Path:
    return tool.layout.root / "plan.json"


def apply(tool: Tool, plan_id: str, env: Mapping[str, str] | None = None) -> Outcome:
    words = ("recover", "apply", str(plan_file(tool)), "--confirm", plan_id, "-f", "json")
    return tool.run(*words, seconds=240, env=env)


def apply_killed_at_every_step(tool: Tool, plan_id: str) -> None:
    """Apply again and again, killed each time after a step acted and before that was noted.

    So it looks at that step again in the next run, and is killed after the one that follows.
    """
    for kind in (type(step).__name__ for step in steps_of(read_plan(plan_file(tool)))):
        killed = apply(tool, plan_id, env={VARIABLE: f"acted:{kind}"})
        assert killed.code == -signal.SIGKILL, f"{kind}: {killed.out}{killed.err}"


def assert_complete(lab: Lab, leader: int, voters: Sequence[int] = NODES) -> None:
    """The node leads, both others stream from it, and etcd has these healthy voters again."""
    wait_until(
        lambda: (c := health.pg_cluster(lab.layout)) is not None and not c.missing(),
        60,
        "two replicas to stream",
    )
    cluster = health.pg_cluster(lab.layout)
    assert cluster is not None
    assert cluster.leader is not None
    assert cluster.leader.name == f"pg{leader}"
    members = Tool(lab.layout).members()
    found = [(m["name"], m["role"] == "learner", m["state"]) for m in members.values()]
    assert found == [(f"n{i}", False, "healthy") for i in voters]


def assert_rows(lab: Lab, *nodes: int) -> None:
    """Every row that was committed is on each of these nodes, or will be soon; none: on all."""
    wanted = frozenset(range(ROWS))
    for i in nodes or NODES:
        wait_until(lambda i=i: stored_rows(lab, i) >= wanted, 60, f"pg{i} to have all rows")  # type: ignore[misc]


def rest(lab: Lab, host: int) -> dict[str, object]:
    return health.get_json(lab.layout.address(host), REST_PORT, "/patroni", timeout=3) or {}


def sync_standby_is(lab: Lab, host: int) -> bool:
    return bool(rest(lab, host).get("sync_standby"))
