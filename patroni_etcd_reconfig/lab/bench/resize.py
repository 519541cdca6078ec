"""From three members to five and back to three, the leader and a follower of the first three leaving."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from patroni_etcd_reconfig.lab.bench.figures import (
    FLOOR,
    NAIVE,
    OURS,
    Figures,
    Run,
    Scenario,
    measure,
    no_gap_above,
    no_slower,
)
from patroni_etcd_reconfig.lab.bench.ground import Cost, Ground, Options, ground, under_load
from patroni_etcd_reconfig.lab.layout import NODES

FIVE = (1, 2, 3, 4, 5)
NEW = FIVE[len(NODES) :]


def run(options: Options) -> tuple[Scenario, Figures]:
    """Measure all ways."""
    what = scenario(options)
    return what, measure(what, options.rounds)


def scenario(options: Options) -> Scenario:
    """Grow and shrink, each way on a fresh cluster; `apply` gets one inventory for each."""

    def way(action: Callable[[Ground], Cost | None]) -> Callable[[], Run]:
        def once() -> Run:
            with ground(options, FIVE) as made:
                return under_load(made, lambda: action(made))

        return once

    return Scenario(
        "resize",
        "From 3 members to 5 and back to 3",
        {NAIVE: way(naive), FLOOR: way(floor), OURS: way(ours)},
        (no_slower(1.25), no_gap_above(100)),
    )


def naive(made: Ground) -> None:
    """Add voters one by one, then remove members in the order of their names."""
    for i in NEW:
        made.add(i, 3, learner=False)
        made.start(i)
        made.serves(i)
    for i in leaving(made):
        _leave(made, i, NEW[0])


def floor(made: Ground) -> None:
    """Add learners and promote them at once; the follower goes first, the leader after a transfer."""
    for i in NEW:
        new = made.add(i, 3, learner=True)
        made.start(i)
        made.promote(new, 3)
        made.serves(i)
    leader = made.leader(NEW[0])
    goes = sorted(leaving(made), key=lambda i: i == leader)
    for i in goes:
        if i == leader:
            made.transfer(i, NEW[0])
        _leave(made, i, NEW[0])


def ours(made: Ground) -> Cost:
    """Give `apply` an inventory of five, then one of the three that stay."""
    grown = made.change("apply", inventory=made.inventory(FIVE))
    gone = leaving(made)
    # The nodes that leave are given up: the inventory does not name them any more.
    shrunk = made.change("apply", inventory=made.inventory([i for i in FIVE if i not in gone]))
    return Cost(grown.seconds + shrunk.seconds, max(grown.peak_mib, shrunk.peak_mib))


def leaving(made: Ground) -> Sequence[int]:
    """Return the leader and the first other of the first three, in the order of the names."""
    leader = made.leader(NEW[0])
    stays = next(i for i in reversed(NODES) if i != leader)
    return [i for i in NODES if i != stays]


def _leave(made: Ground, i: int, asked: int) -> None:
    made.remove(i, asked)
    made.stop(i)
