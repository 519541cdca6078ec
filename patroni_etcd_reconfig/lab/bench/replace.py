"""One member of three is dead, and is replaced while clients write.

Two deaths: a process that has ended, whose place is taken on its own machine; and a machine that is gone
without a word, whose place another machine takes.

The floor is measured twice: its calls in a process that runs already, and after the start of one, which no
command can do without: Python with the packages that read the options, the files and etcd's answers.

All ways end when etcd itself allows the next change of members, 5 s after the new member's connections
came up: only then it is a member like the others. How long each way works before that is told, too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

from patroni_etcd_reconfig.lab.bench.figures import (
    FLOOR,
    NAIVE,
    OURS,
    Figures,
    Goal,
    Run,
    Scenario,
    measure,
    no_gap_above,
    no_slower,
)
from patroni_etcd_reconfig.lab.bench.ground import Cost, Ground, Options, cost, ground, under_load

DEAD, SPARE, ASKED = 3, 4, 1
STARTED = "floor, and the start of a process"
START = (sys.executable, "-c", "import click, urllib3, yaml")

Way = Callable[[Ground], Cost | None]

# No promise, but the time that is ours to shorten: Python starts, looks, writes a journal, and verifies.
WORK = Goal(f"{OURS}, seconds until it is done", 2.0, lambda figures: figures.most(OURS, "work"), "s")


def run_lost(options: Options) -> tuple[Scenario, Figures]:
    """Measure all ways to replace a lost machine."""
    what = lost(options)
    return what, measure(what, options.rounds)


def run_crashed(options: Options) -> tuple[Scenario, Figures]:
    """Measure all ways to replace a member whose process has ended."""
    what = crashed(options)
    return what, measure(what, options.rounds)


def lost(options: Options) -> Scenario:
    """Freeze member 3 and put member 4 in its place."""

    def way(action: Way) -> Callable[[], Run]:
        def once() -> Run:
            with ground(options, (1, 2, 3, 4)) as made:
                made.transfer(DEAD, ASKED)
                with made.frozen(DEAD):
                    return until_settled(made, action)

        return once

    return Scenario(
        "replace",
        "Replace a member whose machine is gone",
        {
            NAIVE: way(lambda made: naive(made, SPARE)),
            FLOOR: way(lambda made: floor(made, SPARE)),
            STARTED: way(lambda made: started(made, SPARE)),
            OURS: way(_by_another),
        },
        (no_slower(1.15, to=STARTED), no_gap_above(100), WORK),
    )


def crashed(options: Options) -> Scenario:
    """Kill member 3 and bring it back as a new member."""

    def way(action: Way) -> Callable[[], Run]:
        def once() -> Run:
            with ground(options) as made:
                made.kill(DEAD)
                made.serves(ASKED)  # the dead one may have led
                return until_settled(made, action)

        return once

    return Scenario(
        "crashed",
        "Replace a member whose process has ended",
        {
            NAIVE: way(lambda made: naive(made, DEAD)),
            FLOOR: way(lambda made: floor(made, DEAD)),
            STARTED: way(lambda made: started(made, DEAD)),
            OURS: way(lambda made: made.change("replace", f"n{DEAD}")),
        },
        (no_slower(1.15, to=STARTED), no_gap_above(100), WORK),
    )


def until_settled(made: Ground, action: Way) -> Run:
    """Measure a way, and how long it works until it says that it is done."""
    worked: list[float] = []

    def act() -> Cost | None:
        began = time.monotonic()
        used = action(made)
        worked.append(time.monotonic() - began)
        made.ready(ASKED)
        return used

    return replace(under_load(made, act), more={"work": worked[0]})


def naive(made: Ground, new: int) -> None:
    """Remove, wipe, add as a voter, start: as the guide says. Done when it serves reads."""
    made.remove(DEAD, ASKED)
    made.wipe(new)
    made.add(new, ASKED, learner=False)
    made.start(new)
    made.serves(new)


def floor(made: Ground, new: int) -> None:
    """Remove, wipe, add as a learner, start, promote as soon as etcd takes it. Done when it serves reads."""
    made.remove(DEAD, ASKED)
    made.wipe(new)
    learner = made.add(new, ASKED, learner=True)
    made.start(new)
    made.promote(learner, ASKED)
    made.serves(new)


def started(made: Ground, new: int) -> None:
    """Do what the floor does, once a process has started."""
    cost(START)
    floor(made, new)


def _by_another(made: Ground) -> Cost:
    """The lost machine is given up: the inventory does not name it any more."""
    inventory = made.inventory([1, 2, SPARE])
    return made.change("replace", f"n{DEAD}", "--by", f"n{SPARE}", inventory=inventory)
