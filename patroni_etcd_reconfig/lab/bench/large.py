"""A follower with a large database is replaced in place, or its data is moved.

All ways work on one cluster, in turn: its database is made once, and each way leaves three members.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.lab.bench import filling
from patroni_etcd_reconfig.lab.bench.figures import (
    FLOOR,
    NAIVE,
    OURS,
    Figures,
    Goal,
    Run,
    Scenario,
    measure,
    no_more_memory_than,
    no_slower,
)
from patroni_etcd_reconfig.lab.bench.ground import Cost, Ground, Options, ground, under_load
from patroni_etcd_reconfig.lab.layout import NODES, Layout

COPY = "stop, copy, start"
MOVE = "patronictl-etcd move-data"
SECONDS = 600.0  # that a member may take to receive a large database
ESTIMATE = "left"  # a progress line says how much has come, how fast, and how long the rest takes


def run(options: Options) -> tuple[Scenario, Figures]:
    """Make the database, and measure all ways once: one round is minutes of writing."""
    with tempfile.TemporaryDirectory(prefix="patronictl-etcd-bench-", dir=options.tmp) as place:
        database = filling.make_database(options, Path(place))

        def lay_out(layout: Layout) -> None:
            filling.lay_out(layout, database, options.etcd_dir)
            database.unlink()

        with ground(options, settings=filling.SETTINGS, prepare=lay_out) as made:
            what = scenario(made, options)
            return what, measure(what, rounds=1)


def scenario(made: Ground, options: Options) -> Scenario:
    """Compare on a cluster that holds the database."""

    def way(action: Callable[[Ground, int, int], Cost | None]) -> Callable[[], Run]:
        def once() -> Run:
            victim, asked = _choose(made)
            used: list[Cost] = []

            def act() -> Cost | None:
                used.extend(filter(None, [action(made, victim, asked)]))
                return used[0] if used else None

            measured = under_load(made, act)
            _tidy(made)
            return replace(measured, more={"estimates": _estimates(used[0])} if used else {})

        return once

    ways = {NAIVE: way(naive), FLOOR: way(floor), OURS: way(ours), COPY: way(copy)}
    if can_move_data(made):
        ways[MOVE] = way(move)
    return Scenario("large", f"Replace a follower with {options.size / 1024**2:.0f} MiB", ways, GOALS)


GOALS = (
    no_more_memory_than(80),
    Goal(
        f"{OURS}, progress lines with an estimate",
        1,
        lambda f: f.least(OURS, "estimates"),
        "line",
        at_most=False,
    ),
    no_slower(1.0, way=MOVE, to=OURS),
    no_more_memory_than(80, way=MOVE),
)


def naive(made: Ground, victim: int, asked: int) -> None:
    """Stop, remove, wipe, add as a voter, start: done when it serves reads."""
    made.remove(victim, asked)
    made.stop(victim)
    made.wipe(victim)
    made.add(victim, asked, learner=False)
    made.start(victim)
    made.serves(victim, SECONDS)


def floor(made: Ground, victim: int, asked: int) -> None:
    """As the naive way, but as a learner that is promoted as soon as etcd takes it."""
    made.remove(victim, asked)
    made.stop(victim)
    made.wipe(victim)
    new = made.add(victim, asked, learner=True)
    made.start(victim)
    made.promote(new, asked, SECONDS)
    made.serves(victim, SECONDS)


def ours(made: Ground, victim: int, asked: int) -> Cost:  # noqa: ARG001 - it asks whom it likes
    """Replace it in place, with the snapshot before and the checks that come with it."""
    return made.change("replace", f"n{victim}")


def copy(made: Ground, victim: int, asked: int) -> None:  # noqa: ARG001 - etcd is asked nothing
    """What moving data can't do without, on one machine."""
    data = made.layout.etcd_data(victim)
    made.stop(victim)
    shutil.copytree(data, data.with_name(f"{data.name}.copy"))
    made.start(victim)
    made.serves(victim, SECONDS)


def move(made: Ground, victim: int, asked: int) -> Cost:  # noqa: ARG001 - it asks whom it likes
    """Move the data to another directory of the same machine."""
    data = made.layout.etcd_data(victim)
    return made.change("move-data", f"n{victim}", "--to-dir", str(data.with_name(f"{data.name}.moved")))


def can_move_data(made: Ground) -> bool:
    """Tell whether this version has the command."""
    try:
        made.tool("move-data", "--help")
    except StepFailedError:
        return False
    return True


def _choose(made: Ground) -> tuple[int, int]:
    """Return a follower, and the leader to ask."""
    leader = made.leader()
    return next(i for i in reversed(NODES) if i != leader), leader


def _estimates(used: Cost) -> float:
    return sum(line.rstrip().endswith(ESTIMATE) for line in used.err.splitlines())


def _tidy(made: Ground) -> None:
    """Remove what was set aside, so that the disk needs room for one way only, and let etcd settle."""
    layout = made.layout
    kept = {made.data_dir(i) for i in NODES}
    spare = [path for path in (layout.root / "data").iterdir() if path.name.startswith("n")]
    for path in (layout.state_dir / "snapshots", *(path for path in spare if path not in kept)):
        shutil.rmtree(path, ignore_errors=True)
    made.settle()
