"""The demo path: the real tool on real etcd, Patroni and PostgreSQL, and tools that only pretend."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from patroni_etcd_reconfig.lab.addresses import is_taken
from patroni_etcd_reconfig.lab.demo import DemoOptions, run_demo
from patroni_etcd_reconfig.lab.layout import Layout
from tests.lab.test_verdict import output
from tests.nets import free_net

pytestmark = pytest.mark.e2e

NET = free_net()


def nothing_runs(root: Path) -> bool:
    return not any(is_taken(one.address, one.port) for one in Layout(root, NET).endpoints())


@pytest.mark.patroni
def test_nobody_notices_that_all_etcd_members_are_replaced(tmp_path: Path, patroni_dir: Path | None) -> None:
    root = tmp_path / "demo"
    result = run_demo(DemoOptions(NET, root, patroni_dir=patroni_dir), say=print)
    # Other tests run beside this one: how long a write waits is for the benchmark, and for `make demo`.
    slow = tuple(one for one in result.disruptions if one.startswith("largest DCS write gap"))
    assert result.disruptions == slow
    assert sorted(result.replaced) == ["n1", "n2", "n3"]
    assert result.seconds < 90
    assert nothing_runs(root)
    assert root.exists() == bool(slow)


def test_the_demo_does_not_take_the_tools_word_for_it(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    lie = (sys.executable, "-c", f"print({json.dumps(output())!r})")
    told: list[str] = []
    result = run_demo(DemoOptions(NET, root, cli=lie), say=told.append)
    assert result.disruptions == ("etcd members not replaced: n1, n2, n3",)
    assert result.written.acknowledged
    assert nothing_runs(root)
    assert (root / "logs" / "etcd-n1.log").exists()
    assert f"its directory stays, with all logs: {root}" in told
