"""The case that must never lose data, on real parts; and what the wiki page does to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from patroni_etcd_reconfig.lab.drill import ROWS, DrillOptions, run_drill
from tests.nets import free_net

pytestmark = pytest.mark.e2e


def test_the_naive_way_brings_the_old_leader_back_without_the_committed_rows(tmp_path: Path) -> None:
    outcome = run_drill(DrillOptions(free_net(), tmp_path / "lab", naive=True), say=print)
    assert outcome.lost_rows == ROWS
    assert not outcome.good
    log = "".join(path.read_text() for path in (tmp_path / "lab" / "logs").glob("patroni-*.log"))
    assert "promoted self to leader because I had the session lock" in log
