"""The benchmark: this tool, the naive way and the floor, side by side in one run, as ratios.

    python -m patroni_etcd_reconfig.lab.bench [--rounds N] [--net N] [--etcd-dir DIR]

Cycle: three etcd members without Patroni, each way on a fresh cluster, under the same writer. Read-only:
`patronictl-etcd status` against `patronictl list` on a lab with Patroni, whole processes, in turn.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.lab import programs, yardstick
from patroni_etcd_reconfig.lab.down import down
from patroni_etcd_reconfig.lab.etcd_only import etcd_only
from patroni_etcd_reconfig.lab.layout import Layout
from patroni_etcd_reconfig.lab.up import up

_CLI = (sys.executable, "-m", "patroni_etcd_reconfig.cli.main")
_READ_RUNS = 9
_SETTLE = 6.0  # seconds; as the yardsticks wait: etcd's strict check wants peers connected for 5 s


@dataclass(frozen=True)
class ProcessCost:
    """What one run of a program cost: wall seconds and peak memory in MiB."""

    seconds: float
    peak_mib: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its tables."""
    options = _parse(arguments)
    _say(f"{os.cpu_count()} processors; {options.rounds} rounds; medians, largest gaps")
    _bench_cycle(options.rounds, options.net, options.etcd_dir)
    _bench_status(options.net, options.etcd_dir)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare this tool with the naive way and the floor.")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the cycle")
    parser.add_argument("--net", type=int, default=97, help="network number of the loopback addresses")
    parser.add_argument("--etcd-dir", type=Path, help="directory with the etcd binary")
    return parser.parse_args(arguments)


def _bench_cycle(rounds: int, net: int, etcd_dir: Path | None) -> None:
    etcd = programs.find_etcd(etcd_dir)
    ways: dict[str, Callable[[], yardstick.Measured]] = {
        "naive": lambda: yardstick.measure("naive", etcd, net),
        "floor": lambda: yardstick.measure("floor", etcd, net),
        "patronictl-etcd": lambda: _measure_cycle(net, etcd_dir),
    }
    # In turn, not one way after the other: the machine's speed drifts.
    runs = [{name: way() for name, way in ways.items()} for _ in range(rounds)]
    floor = median(run["floor"].seconds for run in runs)
    _say("\nReplace all 3 etcd members      seconds  x floor  largest DCS write gap")
    for name in ways:
        seconds = median(run[name].seconds for run in runs)
        gap = max(run[name].largest_gap_ms for run in runs)
        _say(f"  {name:<28} {seconds:8.1f} {seconds / floor:8.2f} {gap:15.0f} ms")
    _say("  wanted of patronictl-etcd                at most 1.25 x floor, at most 100 ms")


def _measure_cycle(net: int, etcd_dir: Path | None) -> yardstick.Measured:
    """Run the real command, process start to exit, under the yardstick's writer."""
    with (
        tempfile.TemporaryDirectory(prefix="patronictl-etcd-bench-") as root,
        etcd_only(Path(root), net, etcd_dir) as layout,
    ):
        time.sleep(_SETTLE)
        putter = yardstick.Putter(layout)
        putter.start()
        time.sleep(1)
        try:
            began = time.monotonic()
            _run(layout, "cycle", "--force", "-f", "json", "--accept", "HAZARD_CORRUPTION")
            seconds = time.monotonic() - began
            time.sleep(1)
        finally:
            putter.stop()
        return yardstick.Measured("floor", seconds, putter.puts, putter.largest_gap * 1000)


def _run(layout: Layout, *words: str) -> None:
    command = [*_CLI, "-c", str(layout.patroni_file), "-i", str(layout.inventory), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise StepFailedError(f"{' '.join(words)}: exit code {done.returncode}: {done.stderr[-500:]}")


def _bench_status(net: int, etcd_dir: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="patronictl-etcd-bench-") as root:
        # PostgreSQL may run as another user, who has to get through to its data.
        Path(root).chmod(0o711)
        lab = up(Path(root) / "lab", net, etcd_dir, say=lambda _: None).lab
        try:
            config = ("-c", str(lab.layout.patroni_file))
            ours = (*_CLI, *config, "status")
            theirs = (sys.executable, "-c", "from patroni.ctl import ctl; ctl()", *config, "list")
            pairs = [(_cost(ours), _cost(theirs)) for _ in range(_READ_RUNS + 1)][1:]
        finally:
            down(lab, say=lambda _: None)
    _show_status(pairs)


def _show_status(pairs: list[tuple[ProcessCost, ProcessCost]]) -> None:
    ratio = median(ours.seconds / theirs.seconds for ours, theirs in pairs)
    _say("\nRead-only command               seconds  peak memory")
    for name, costs in (
        ("patronictl-etcd status", [a for a, _ in pairs]),
        ("patronictl list", [b for _, b in pairs]),
    ):
        seconds, peak = median(cost.seconds for cost in costs), max(cost.peak_mib for cost in costs)
        _say(f"  {name:<28} {seconds:8.2f} {peak:8.0f} MiB")
    _say(f"  ratio, pair by pair          {ratio:8.2f}   wanted: at most 0.60, at most 60 MiB")


def _cost(command: Sequence[str]) -> ProcessCost:
    """Run a program with its output thrown away; the kernel says what this very process used."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise StepFailedError(f"{' '.join(command)}: exit code {process.returncode}")
    return ProcessCost(time.monotonic() - began, usage.ru_maxrss / 1024)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
