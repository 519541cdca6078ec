"""The majority of etcd is lost, and what is left of it is stale: until PostgreSQL takes writes again.

The floor is etcd's own restart with --force-new-cluster, its election, and Patroni's next loop: nothing is
copied, fenced or compared, and the committed rows are lost. Ours is the time from `recover apply` on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from patroni_etcd_reconfig.errors import ExitCode, ReconfigError
from patroni_etcd_reconfig.lab import drill, faults, rows
from patroni_etcd_reconfig.lab.bench.figures import (
    FLOOR,
    OURS,
    Figures,
    Goal,
    Run,
    Scenario,
    measure,
    no_slower,
)
from patroni_etcd_reconfig.lab.bench.ground import Options
from patroni_etcd_reconfig.lab.cli_run import CLI
from patroni_etcd_reconfig.lab.down import down
from patroni_etcd_reconfig.lab.drill import Outcome, Stage
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.layout import NODES
from patroni_etcd_reconfig.lab.marker import load_secrets, temporary_root
from patroni_etcd_reconfig.lab.up import up
from patroni_etcd_reconfig.lab.writer import Writer

FAILSAFE = "patronictl-etcd, failsafe_mode on"
LOST_ROWS, ERRORS = "lost rows", "write errors"


def run(options: Options) -> tuple[Scenario, Figures]:
    """Measure all ways."""
    what = scenario(options)
    return what, measure(what, options.rounds)


def scenario(options: Options) -> Scenario:
    """Each way on a fresh lab of etcd, Patroni and PostgreSQL."""
    return Scenario(
        "recover",
        "Bring back a lost majority, until writable",
        {
            FLOOR: lambda: _staged(options, lambda lab, stage: drill.naive(lab, stage, _hush)),
            OURS: lambda: _staged(options, lambda lab, _: drill.recover(lab, CLI, _hush)),
            FAILSAFE: lambda: under_failsafe(options),
        },
        (
            no_slower(1.3),
            Goal(f"{OURS}, committed rows lost", 0, lambda found: found.most(OURS, LOST_ROWS)),
            Goal(f"{FAILSAFE}: failed writes", 0, lambda found: found.most(FAILSAFE, ERRORS)),
        ),
    )


def _staged(options: Options, way: Callable[[Lab, Stage], Outcome]) -> Run:
    with _lab(options) as lab:
        outcome = way(lab, drill.lose_the_majority(lab, failsafe=False, say=_hush))
    return Run(seconds_of(outcome), more={LOST_ROWS: float(outcome.lost_rows)})


def seconds_of(outcome: Outcome) -> float:
    """Return the seconds until PostgreSQL took writes; UnmeasuredError when a run failed, with its error.

    The naive way has no result of the tool's, and ends when PostgreSQL takes writes. It may lose rows.
    """
    result = outcome.result
    if not result:
        return outcome.seconds
    seconds = (result.get("measured") or {}).get("seconds_to_writable")
    if result.get("exit_code") or seconds is None or not outcome.good:
        error = result.get("error") or {}
        words = error.get("message") or f"{outcome.lost_rows} rows lost, {outcome.streaming} replicas stream"
        raise UnmeasuredError(
            f"{outcome.way}: exit code {result.get('exit_code')}: {words}", hint=error.get("hint", "")
        )
    return float(seconds)


class UnmeasuredError(ReconfigError):
    """A run failed, so that its time is none."""

    exit_code = ExitCode.NOT_VERIFIED
    code = "NOT_VERIFIED"


def under_failsafe(options: Options) -> Run:
    """Lose two of three etcds while a client writes to PostgreSQL, and bring them back."""
    with _lab(options) as lab:
        leader = drill.leader_host(lab)
        rows.make_table(lab, leader)
        rows.commit_rows(lab, leader, next(i for i in NODES if i != leader))
        writer = Writer(lab.layout.address(leader), load_secrets(lab.layout))
        writer.start()
        try:
            for i in NODES[1:]:
                faults.lose_etcd(lab, i)
            drill.await_failsafe(lab, leader)
            outcome = drill.recover(lab, CLI, _hush)
        finally:
            report = writer.stop()
    seconds_of(outcome)  # of a run that failed, nothing counts
    return Run(outcome.seconds, more={ERRORS: float(len(report.errors))})


@contextlib.contextmanager
def _lab(options: Options) -> Iterator[Lab]:
    root = temporary_root("patronictl-etcd-bench-")
    lab = up(root / "lab", options.net, options.etcd_dir, say=_hush).lab
    try:
        yield lab
    finally:
        down(lab, say=_hush, remove=True)
        with contextlib.suppress(OSError):
            Path(root).rmdir()


def _hush(text: str) -> None:
    """The figures say it."""
