"""All three members are replaced, one by one."""

from __future__ import annotations

from patroni_etcd_reconfig.lab import programs, yardstick
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
from patroni_etcd_reconfig.lab.bench.ground import Options, ground, under_load


def run(options: Options) -> tuple[Scenario, Figures]:
    """Measure all ways."""
    what = scenario(options)
    return what, measure(what, options.rounds)


def scenario(options: Options) -> Scenario:
    """Compare with the yardsticks, each of which makes a cluster of its own."""
    etcd = programs.find_etcd(options.etcd_dir)

    def yardsticks(mode: yardstick.Mode) -> Run:
        measured = yardstick.measure(mode, etcd, options.net)
        return Run(measured.seconds, measured.largest_gap_ms)

    def ours() -> Run:
        with ground(options) as made:
            return under_load(made, lambda: made.change("cycle"))

    return Scenario(
        "cycle",
        "Replace all 3 etcd members",
        {NAIVE: lambda: yardsticks("naive"), FLOOR: lambda: yardsticks("floor"), OURS: ours},
        (no_slower(1.25), no_gap_above(100)),
    )
