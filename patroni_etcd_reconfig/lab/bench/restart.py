"""All three members are restarted, one after the other, while clients write."""

from __future__ import annotations

from collections.abc import Callable

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
)
from patroni_etcd_reconfig.lab.bench.ground import Cost, Ground, Options, ground, under_load
from patroni_etcd_reconfig.lab.layout import NODES


def run(options: Options) -> tuple[Scenario, Figures]:
    """Measure all ways."""
    what = scenario(options)
    return what, measure(what, options.rounds)


def scenario(options: Options) -> Scenario:
    """Restart each of three members, each way on a fresh cluster."""

    def way(action: Callable[[Ground], Cost | None]) -> Callable[[], Run]:
        def once() -> Run:
            with ground(options) as made:
                return under_load(made, lambda: action(made))

        return once

    return Scenario(
        "restart",
        "Restart all 3 etcd members",
        {NAIVE: way(naive), FLOOR: way(floor), OURS: way(lambda made: made.change("restart"))},
        (
            # Three waits of 5 s, as after a change of members, would be 15 s.
            Goal(
                f"{OURS}, seconds above the {FLOOR}",
                1.5,
                lambda figures: figures.seconds(OURS) - figures.seconds(FLOOR),
                "s",
            ),
            no_gap_above(100),
        ),
    )


def naive(made: Ground) -> None:
    """Stop and start in the order of the names; the next one when the last one serves reads."""
    for i in NODES:
        _restart(made, i)


def floor(made: Ground) -> None:
    """Followers first; the leader gives its leadership away, and comes last."""
    leader = made.leader()
    followers = [i for i in NODES if i != leader]
    for i in followers:
        _restart(made, i)
    made.transfer(leader, followers[0])
    _restart(made, leader)


def _restart(made: Ground, i: int) -> None:
    made.stop(i)
    made.start(i)
    made.serves(i)
