"""The drill: the majority of etcd is lost, and what is left of it still believes in the old leader.

Host 1, whose PostgreSQL leads, loses power; another host takes over, and rows are committed there. Then the
etcds of both other hosts are lost for good, and host 1 comes back: its etcd is the only one left, and it
says that host 1 leads. `--force-new-cluster` on it brings the old leader back without these rows.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from patroni_etcd_reconfig.clock import SystemClock, wait_until
from patroni_etcd_reconfig.errors import ExitCode, StepFailedError
from patroni_etcd_reconfig.lab import faults, health
from patroni_etcd_reconfig.lab.addresses import is_taken
from patroni_etcd_reconfig.lab.cli_run import CLI, cli_env, json_object
from patroni_etcd_reconfig.lab.down import down
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.layout import CLIENT_PORT, NODES, REST_PORT
from patroni_etcd_reconfig.lab.marker import temporary_root, write_private
from patroni_etcd_reconfig.lab.rows import ROWS, commit_rows, in_recovery, make_table, stored_rows
from patroni_etcd_reconfig.lab.up import run_service, up

Say = Callable[[str], None]

DRILL_NET = 79
_PATIENCE = 90.0  # seconds; a failover takes `ttl` (20) and a few loops


@dataclass(frozen=True)
class Stage:
    """The scene when host `first` is back: `last` led at the end, `other` followed it."""

    first: int
    last: int
    other: int


@dataclass(frozen=True)
class Outcome:
    """What became of it: who leads, how many of the committed rows it lacks, how many replicas stream."""

    way: str
    leader: str | None
    timeline: int | None
    lost_rows: int
    streaming: int
    seconds: float
    result: dict[str, Any]

    @property
    def good(self) -> bool:
        """Tell whether nothing was lost and all three nodes are in their places."""
        return self.lost_rows == 0 and self.streaming == len(NODES) - 1

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as plain data, format 1."""
        return {"format": 1, **asdict(self), "rows": ROWS, "good": self.good}

    def as_text(self) -> str:
        """Return the outcome in words."""
        return "\n".join(
            (
                f"Way                  {self.way}",
                f"PostgreSQL leader    {self.leader or 'none'}, timeline {self.timeline}",
                f"Committed rows       {ROWS - self.lost_rows} of {ROWS} are there",
                f"Streaming replicas   {self.streaming} of {len(NODES) - 1}",
                f"Time                 {self.seconds:.1f} s",
            )
        )


@dataclass(frozen=True)
class DrillOptions:
    """What the user may choose. `cli` is the command line of the tool under test."""

    net: int = DRILL_NET
    root: Path | None = None
    etcd_dir: Path | None = None
    naive: bool = False
    failsafe: bool = False
    keep: bool = False
    cli: Sequence[str] = CLI
    patroni_dir: Path | None = None


def run_drill(options: DrillOptions, *, say: Say) -> Outcome:
    """Run the drill in a fresh lab; its processes are ended whatever happens, unless `keep`.

    Without a directory of the user's the lab is deleted, if the outcome is good.
    """
    root = options.root or temporary_root("patronictl-etcd-drill-")
    outcome = _drill(options, root, say)
    if outcome.good and not options.root and not options.keep:
        shutil.rmtree(root)
    else:
        say(f"everything is in {root}")
    return outcome


def _drill(options: DrillOptions, root: Path, say: Say) -> Outcome:
    with _lab(options, root, say) as lab:
        stage = lose_the_majority(lab, failsafe=options.failsafe, say=say)
        say(f"host {stage.first} is back: its etcd says that pg{stage.first} leads")
        return naive(lab, stage, say) if options.naive else recover(lab, options.cli, say)


@contextlib.contextmanager
def _lab(options: DrillOptions, root: Path, say: Say) -> Iterator[Lab]:
    lab = up(root, options.net, options.etcd_dir, say=say, patroni_dir=options.patroni_dir).lab
    try:
        yield lab
    finally:
        if not options.keep:
            down(lab, say=say)


def lose_the_majority(lab: Lab, *, failsafe: bool, say: Say) -> Stage:
    """Bring a healthy lab to the scene of the drill."""
    stage = fail_over(lab, failsafe=failsafe, say=say)
    lose_the_others(lab, stage, failsafe=failsafe, say=say)
    return stage


def fail_over(lab: Lab, *, failsafe: bool, say: Say) -> Stage:
    """Cut the power of the leader's host, and commit rows under the new leader."""
    set_config(lab, {"failsafe_mode": failsafe})
    first = leader_host(lab)
    make_table(lab, first)
    say(f"power cut of host {first}, whose PostgreSQL leads")
    faults.power_off(lab, first)
    last = _until(lambda: _leader_other_than(lab, first), "another PostgreSQL leader")
    other = next(i for i in NODES if i not in (first, last))
    say(f"pg{last} leads now; {ROWS} rows are committed there and replicated to pg{other}")
    commit_rows(lab, last, other)
    return Stage(first, last, other)


def lose_the_others(lab: Lab, stage: Stage, *, failsafe: bool, say: Say) -> None:
    """Lose the etcds of both hosts that are left, and let the first one come back."""
    first, last, other = stage.first, stage.last, stage.other
    if failsafe:
        # Patroni asks all whom this key names, and demotes itself when one of them does not answer.
        _until(lambda: f"pg{first}" not in _failsafe(lab, last), "the failsafe key without the dead host")
    say(f"the etcds of hosts {last} and {other} are lost for good")
    for i in (last, other):
        faults.lose_etcd(lab, i)
    if not failsafe:
        say("waiting until Patroni has demoted PostgreSQL: nobody can write now")
        _until(lambda: in_recovery(lab, last), f"pg{last} to be read-only")
    faults.power_on(lab, first)
    # An etcd that starts without quorum listens, but answers no client: it can't publish itself.
    _until(lambda: is_taken(lab.layout.address(first), CLIENT_PORT), f"etcd of host {first}")


def naive(lab: Lab, stage: Stage, say: Say) -> Outcome:
    """Do what the wiki page says: --force-new-cluster on the etcd that is left."""
    begin, layout, name = time.monotonic(), lab.layout, f"n{stage.first}"
    say(f"the naive way: etcd {name} with --force-new-cluster")
    env = layout.etcd_env(stage.first)
    text = env.read_text("utf-8")
    run_service(layout, name, "stop")
    write_private(env, f"{text}ETCD_FORCE_NEW_CLUSTER=true\n")
    run_service(layout, name, "start")
    _until(lambda: not in_recovery(lab, stage.first), f"pg{stage.first} to be writable")
    write_private(env, text)
    return judge(lab, "naive", begin, {})


def recover(lab: Lab, cli: Sequence[str], say: Say) -> Outcome:
    """Do what the tool says: plan, then apply the plan."""
    plan_file = lab.layout.root / "plan.json"

    def attempt() -> dict[str, Any] | None:
        made = _tool(lab, cli, "recover", "plan", "-o", str(plan_file), say=say)
        return None if made.get("exit_code") == ExitCode.BLOCKED else made

    # While PostgreSQL is being restarted nobody can say how far it is: collect again, as the tool says then.
    planned: dict[str, Any] = _until(attempt, "a plan that nothing stands in the way of", 30.0)
    begin = time.monotonic()
    plan_id = planned.get("plan", {}).get("id", "")
    result = _tool(lab, cli, "recover", "apply", str(plan_file), "--confirm", plan_id, say=say)
    return judge(lab, "patronictl-etcd", begin, result)


def judge(lab: Lab, way: str, begin: float, result: dict[str, Any]) -> Outcome:
    """Wait until PostgreSQL is as good as it gets, and count."""
    seconds = time.monotonic() - begin
    with contextlib.suppress(StepFailedError):
        _until(lambda: _is_complete(lab), "a leader and two replicas", 40.0)
    cluster = health.pg_cluster(lab.layout)
    leader = cluster.leader if cluster else None
    there = stored_rows(lab, int(leader.name[2:])) if leader else frozenset()
    return Outcome(
        way,
        leader=leader.name if leader else None,
        timeline=leader.timeline if leader else None,
        lost_rows=len(frozenset(range(ROWS)) - there),
        streaming=len(cluster.streaming) if cluster else 0,
        seconds=seconds,
        result=result,
    )


def await_failsafe(lab: Lab, host: int) -> None:
    """Return when a leader without etcd goes on in failsafe mode."""
    address = lab.layout.address(host)

    def active() -> bool:
        answer = health.get_json(address, REST_PORT, "/patroni", timeout=2)
        return bool(answer and answer.get("failsafe_mode_is_active"))

    _until(active, f"pg{host} to be in failsafe mode", 40.0)


def set_config(lab: Lab, change: dict[str, Any]) -> None:
    """Change Patroni's dynamic configuration through the REST API of the leader.

    It answers 409 when what it has cached of the key is not the newest: then it is asked again.
    """
    _until(lambda: _patch(lab, change) == http.HTTPStatus.OK, "Patroni to take a new configuration", 30.0)


def _patch(lab: Lab, change: dict[str, Any]) -> int:
    connection = http.client.HTTPConnection(lab.layout.address(leader_host(lab)), REST_PORT, timeout=10)
    with contextlib.closing(connection):
        connection.request("PATCH", "/config", json.dumps(change))
        return connection.getresponse().status


def leader_host(lab: Lab) -> int:
    """Return the number of the host whose PostgreSQL leads."""
    found: int = _until(lambda: _leader_other_than(lab, None), "a PostgreSQL leader")
    return found


def _failsafe(lab: Lab, host: int) -> dict[str, Any]:
    found = health.get_json(lab.layout.address(host), REST_PORT, "/failsafe", timeout=2)
    return found if found is not None else {f"pg{i}": "" for i in NODES}


def _leader_other_than(lab: Lab, host: int | None) -> int | None:
    for i in NODES:
        answer = health.get_json(lab.layout.address(i), REST_PORT, "/patroni", timeout=2)
        role = answer.get("role") if answer else None
        if i != host and role in ("primary", "master") and not in_recovery(lab, i):
            return i
    return None


def _is_complete(lab: Lab) -> bool:
    cluster = health.pg_cluster(lab.layout)
    return cluster is not None and not cluster.missing()


def _until(probe: Callable[[], Any], what: str, seconds: float = _PATIENCE) -> Any:
    return wait_until(probe, what=what, seconds=seconds, clock=SystemClock(), pause=0.1)


def _tool(lab: Lab, cli: Sequence[str], *words: str, say: Say) -> dict[str, Any]:
    """Run the tool as a user would; its progress goes to our stderr, its result comes back."""
    layout = lab.layout
    say(layout.command_line(*words))
    files = ("-c", str(layout.patroni_file), "-i", str(layout.inventory))
    done = subprocess.run((*cli, *files, *words, "-f", "json"), stdout=subprocess.PIPE, env=cli_env())
    return {**json_object(done.stdout), "exit_code": done.returncode}
