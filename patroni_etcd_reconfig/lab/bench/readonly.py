"""What a look costs: `patronictl-etcd status` against `patronictl list`, whole processes, in turn."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patroni_etcd_reconfig.lab.bench.figures import (
    OURS,
    Figures,
    Run,
    Scenario,
    measure,
    no_more_memory_than,
    no_slower,
)
from patroni_etcd_reconfig.lab.bench.ground import CLI, Options, cost
from patroni_etcd_reconfig.lab.down import down
from patroni_etcd_reconfig.lab.layout import Layout
from patroni_etcd_reconfig.lab.up import up

THEIRS = "patronictl list"
RUNS = 9


def run(options: Options) -> tuple[Scenario, Figures]:
    """Measure on a lab with Patroni."""
    with patroni_lab(options) as layout:
        what = scenario(layout)
        return what, measure(what, RUNS, warm_ups=1)


@contextmanager
def patroni_lab(options: Options) -> Iterator[Layout]:
    """Give a lab with Patroni."""
    with tempfile.TemporaryDirectory(prefix="patronictl-etcd-bench-", dir=options.tmp) as root:
        # PostgreSQL may run as another user, who has to get through to its data.
        Path(root).chmod(0o711)
        lab = up(Path(root) / "lab", options.net, options.etcd_dir, say=lambda _: None).lab
        try:
            yield lab.layout
        finally:
            down(lab, say=lambda _: None)


def scenario(layout: Layout) -> Scenario:
    """Compare on a lab that runs."""
    config = ("-c", str(layout.patroni_file))

    def once(*command: str) -> Run:
        used = cost(command)
        return Run(used.seconds, peak_mib=used.peak_mib)

    return Scenario(
        "status",
        "Read-only command: status",
        {
            THEIRS: lambda: once(sys.executable, "-c", "from patroni.ctl import ctl; ctl()", *config, "list"),
            OURS: lambda: once(*CLI, *config, "status"),
        },
        (no_slower(0.60, to=THEIRS), no_more_memory_than(60)),
    )
