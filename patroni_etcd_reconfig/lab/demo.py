"""The demo: cycle all etcd members of a fresh lab under write load, and check that nobody noticed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.errors import ConfigError, UnreachableError
from patroni_etcd_reconfig.lab import health, yardstick
from patroni_etcd_reconfig.lab.cli_run import CLI, cli_env, json_object
from patroni_etcd_reconfig.lab.down import down
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.layout import NODES, Layout
from patroni_etcd_reconfig.lab.marker import load_marker, load_secrets, temporary_root
from patroni_etcd_reconfig.lab.programs import find_etcd
from patroni_etcd_reconfig.lab.up import up
from patroni_etcd_reconfig.lab.verdict import CycleRun, DemoResult, Snapshot
from patroni_etcd_reconfig.lab.writer import Writer, WriterReport, stored_ids

Say = Callable[[str], None]

DEMO_NET = 78
_PROBE_INTERVAL = 0.01  # seconds; five times as dense as by default, for a sharper figure
_CLEAN_WRITES = 1.0  # seconds of writing before and after the cycle
_CYCLE_TIMEOUT = 300.0  # seconds; about 15 are enough


@dataclass(frozen=True)
class DemoOptions:
    """What the user may choose. `cli` is the command line of the tool under test."""

    net: int = DEMO_NET
    root: Path | None = None
    etcd_dir: Path | None = None
    compare: bool = False
    keep: bool = False
    cli: Sequence[str] = CLI
    patroni_dir: Path | None = None


def run_demo(options: DemoOptions, *, say: Say) -> DemoResult:
    """Run the demo. Whatever happens, its processes are ended, unless `keep`.

    Its directory is deleted when all went well; after a disruption it stays, for its logs.
    """
    _check_start(options)
    begin = time.monotonic()
    with _fresh_lab(options, say) as (lab, finish):
        result = _cycle_under_load(lab, options, say)
        if options.compare:
            result = result.compared(_compare(lab, options, say))
        finish(result)
    return result.timed(time.monotonic() - begin)


def _check_start(options: DemoOptions) -> None:
    if options.root and load_marker(options.root):
        raise ConfigError(
            f"there is a lab in {options.root}", hint="the demo makes a fresh one: choose another --dir"
        )
    if options.compare:
        yardstick.check_addresses(_yardstick_net(options))


def _yardstick_net(options: DemoOptions) -> int:
    return options.net + 1 if options.net < 255 else options.net - 1


@contextlib.contextmanager
def _fresh_lab(options: DemoOptions, say: Say) -> Iterator[tuple[Lab, Callable[[DemoResult], None]]]:
    root = options.root or temporary_root("patronictl-etcd-demo-")
    undisturbed = False

    def finish(result: DemoResult) -> None:
        nonlocal undisturbed
        undisturbed = not result.disruptions

    try:
        arrival = up(
            root,
            options.net,
            options.etcd_dir,
            say=say,
            probe_interval=_PROBE_INTERVAL,
            patroni_dir=options.patroni_dir,
        )
        yield arrival.lab, finish
    finally:
        _leave(root, options, remove=undisturbed, say=say)


def _leave(root: Path, options: DemoOptions, *, remove: bool, say: Say) -> None:
    marker = load_marker(root)
    if marker is None:
        # It came to nothing before there was a lab: an address is taken, a program is missing.
        if options.root is None:
            shutil.rmtree(root)
        return
    if options.keep:
        say(f"the lab stays up; to end it: patronictl-etcd lab down --dir {root}")
        return
    down(Lab(Layout(Path(marker.root), marker.net), marker), say=say, remove=remove)
    if not remove:
        say(f"its directory stays, with all logs: {root}")


def _cycle_under_load(lab: Lab, options: DemoOptions, say: Say) -> DemoResult:
    before = _snapshot(lab.layout)
    secrets = load_secrets(lab.layout)
    address = _address_of(lab.layout, before.leader)
    say(f"writing to PostgreSQL on {before.leader} ({address})")
    writer = Writer(address, secrets)
    writer.start()
    try:
        time.sleep(_CLEAN_WRITES)
        cycle = _run_cycle(lab.layout, options.cli, say)
        time.sleep(_CLEAN_WRITES)
    finally:
        written = writer.stop()
    after = _snapshot(lab.layout)
    lost = _lost_rows(lab, after, written)
    return DemoResult(cycle=cycle, written=written, lost_rows=lost, before=before, after=after)


def _lost_rows(lab: Lab, after: Snapshot, written: WriterReport) -> int:
    """Return how many acknowledged rows the leader of now does not have."""
    address = _address_of(lab.layout, after.leader)
    return len(written.acknowledged - stored_ids(address, load_secrets(lab.layout)))


def _snapshot(layout: Layout) -> Snapshot:
    """Return who leads, on which timeline, and the ids of the etcd members, as they are now."""
    deadline = time.monotonic() + 30
    while True:
        cluster, ids = health.pg_cluster(layout), health.etcd_member_ids(layout)
        if cluster and cluster.leader and ids:
            return Snapshot(cluster.leader.name, cluster.leader.timeline, ids)
        if time.monotonic() > deadline:
            raise UnreachableError("waited 30 s for a PostgreSQL leader and etcd's member list")
        time.sleep(0.2)


def _address_of(layout: Layout, name: str) -> str:
    return next(layout.address(i) for i in NODES if f"pg{i}" == name)


def _run_cycle(layout: Layout, cli: Sequence[str], say: Say) -> CycleRun:
    """Run the tool as a user would; its progress goes to our stderr, its result comes back."""
    files = ("-c", str(layout.patroni_file), "-i", str(layout.inventory))
    words = ("cycle", "--force", "-f", "json")
    say(layout.command_line(*words))
    command = (*cli, *files, *words)
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, env=cli_env(), timeout=_CYCLE_TIMEOUT)
    except subprocess.TimeoutExpired:
        return CycleRun(-1, {})
    return CycleRun(done.returncode, json_object(done.stdout))


def _compare(lab: Lab, options: DemoOptions, say: Say) -> tuple[yardstick.Measured, ...]:
    etcd = find_etcd(Path(lab.marker.etcd_dir) if lab.marker.etcd_dir else None)
    measured = []
    modes: tuple[yardstick.Mode, ...] = ("naive", "floor")
    for mode in modes:
        say(f"for comparison, etcd alone: the {mode} way")
        measured.append(yardstick.measure(mode, etcd, _yardstick_net(options)))
    return tuple(measured)
