"""`snapshot --keep`: which files go."""

from __future__ import annotations

from pathlib import Path

import pytest

from patroni_etcd_reconfig.cli.snapshot import past_snapshots


def _files(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).touch()


def _past(directory: Path, keep: int, new: str = "c1-20260109T000000Z-manual.db") -> list[str]:
    return [path.name for path in past_snapshots(directory / new, 0xC1, keep)]


@pytest.mark.parametrize(("keep", "days"), [(1, ["01", "02", "03"]), (2, ["01", "02"]), (4, []), (9, [])])
def test_the_newest_stay_with_the_new_one_among_them(tmp_path: Path, keep: int, days: list[str]) -> None:
    _files(tmp_path, *(f"c1-202601{day}T000000Z-manual.db" for day in ("03", "01", "02")))
    assert _past(tmp_path, keep) == [f"c1-202601{day}T000000Z-manual.db" for day in days]


def test_the_new_one_stays_also_when_the_clock_went_back(tmp_path: Path) -> None:
    _files(tmp_path, "c1-20260103T000000Z-manual.db", "c1-20260101T000000Z-manual.db")
    new = "c1-20260101T000000Z-manual.db"
    assert _past(tmp_path, 1, new) == ["c1-20260103T000000Z-manual.db"]


def test_other_clusters_files_and_those_of_operations_stay(tmp_path: Path) -> None:
    others = ("c2-20260101T000000Z-manual.db", "ac1-20260101T000000Z-manual.db")
    _files(tmp_path, *others, "c1-20260101T000000Z-cycle-abc123.db")
    assert _past(tmp_path, 1) == []
