"""Three real etcd members without Patroni, for benchmarks and tests: up in a second, gone afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.lab import addresses, configs, health, programs
from patroni_etcd_reconfig.lab.layout import NODES, SCOPE, Layout, make_layout
from patroni_etcd_reconfig.lab.marker import write_private
from patroni_etcd_reconfig.lab.up import PROBE_INTERVAL, run_service

_READY_TIMEOUT = 30.0


@contextlib.contextmanager
def etcd_only(
    root: Path,
    net: int,
    etcd_dir: Path | None = None,
    probe_interval: float = PROBE_INTERVAL,
    *,
    settings: Mapping[str, str] | None = None,
    prepare: Callable[[Layout], None] | None = None,
) -> Iterator[Layout]:
    """Give a running 3-member etcd on 127.0.<net>.1 to .3, with the files that `-c` and `-i` want.

    `settings` are further etcd settings, by flag name; `prepare` may lay out data before the first start.
    Ends exactly what it started, whatever happens. Raises StepFailedError when etcd is not ready in 30 s.
    """
    layout = make_layout(root, net)
    addresses.check_free(one for one in layout.endpoints() if one.process.startswith("etcd"))
    _write_files(layout, programs.find_etcd(etcd_dir), probe_interval, settings)
    if prepare:
        prepare(layout)
    try:
        start_members(layout)
        yield layout
    finally:
        for pid_file in sorted((root / "pids").glob("etcd-*.pid")):
            run_service(layout, pid_file.stem.removeprefix("etcd-"), "stop")


def start_members(layout: Layout) -> None:
    """Start every member that is down and wait until all are healthy."""
    for i in NODES:
        run_service(layout, f"n{i}", "start")
    missing = health.wait_until_nothing_is_missing(
        lambda: health.etcd_missing(layout), timeout=_READY_TIMEOUT, say=lambda _: None
    )
    if missing:
        raise StepFailedError(f"waited {_READY_TIMEOUT:.0f} s for {missing}", hint=f"see {layout.root}/logs")


def _write_files(
    layout: Layout, etcd: Path, probe_interval: float, settings: Mapping[str, str] | None
) -> None:
    for path in layout.directories:
        path.mkdir(parents=True, exist_ok=True)
    hosts = ", ".join(layout.client_url(i).removeprefix("http://") for i in NODES)
    write_private(layout.patroni_file, f"scope: {SCOPE}\nname: none\netcd3: {{hosts: [{hosts}]}}\n")
    write_private(layout.inventory, configs.inventory(layout, probe_interval, etcd))
    write_private(layout.etcd_service, configs.etcd_service(layout, etcd), 0o700)
    for i in NODES:
        write_private(layout.etcd_env(i), configs.etcd_env(layout, i, settings))
