"""Measure what is promised: this tool, the naive way and the floor, side by side.

    python -m patroni_etcd_reconfig.lab.bench [SCENARIO...] [--rounds N] [--size 2GB] [--tmp DIR] [--strict]

The exit code says whether it could be measured, not how fast it was: speed is no test. With --strict it is 1,
too, when a goal was missed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from patroni_etcd_reconfig.errors import ReconfigError
from patroni_etcd_reconfig.lab.bench import cycle, large, readonly, recovery, replace, resize, restart
from patroni_etcd_reconfig.lab.bench.figures import Figures, Scenario, missed, table
from patroni_etcd_reconfig.lab.bench.ground import Options

SCENARIOS: Mapping[str, Callable[[Options], tuple[Scenario, Figures]]] = {
    "cycle": cycle.run,
    "replace": replace.run_lost,
    "crashed": replace.run_crashed,
    "resize": resize.run,
    "restart": restart.run,
    "recover": recovery.run,
    "large": large.run,
    "status": readonly.run,
}
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table after each scenario; 1 when something could not be measured."""
    asked = parse(arguments)
    options = Options(asked.rounds, asked.net, asked.etcd_dir, asked.tmp, asked.size)
    _say(f"{os.cpu_count()} processors, load {_load()}; {options.rounds} rounds; medians, largest gaps")
    counts = [_measure(name, options) for name in asked.scenarios or SCENARIOS]
    return 1 if None in counts or (asked.strict and any(counts)) else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="bench", description="Compare this tool with the naive way and the floor."
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each way")
    parser.add_argument("--net", type=int, default=97, help="network number of the loopback addresses")
    parser.add_argument("--etcd-dir", type=Path, help="directory with the etcd binaries")
    parser.add_argument("--tmp", type=Path, help="where to put data; the large database needs 10 x its size")
    parser.add_argument("--size", type=size, default=size("2GB"), help="size of the large database")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a goal was missed")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"{', '.join(unknown)}: not one of {', '.join(SCENARIOS)}")
    return asked


def size(text: str) -> int:
    """Return bytes; units are powers of 1024, as in etcd's own quota."""
    found = re.fullmatch(r"(\d+)\s*([kmg]?)i?b?", text.strip().lower())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 2GB or 64MB")
    return int(found[1]) * _UNITS[found[2]]


def _measure(name: str, options: Options) -> int | None:
    """Return how many goals were missed; None when it could not be measured."""
    try:
        scenario, figures = SCENARIOS[name](options)
    except ReconfigError as error:
        _say(f"\n{name}: could not be measured: {error}")
        return None
    _say(f"\n{table(scenario, figures)}")
    count = missed(scenario, figures)
    if count:
        _say(f"    {count} missed; load {_load()}: a busy machine shows in these figures")
    return count


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
