"""What operations left on the disks is told by its name, and nothing in use is among it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from patroni_etcd_reconfig.adapters.inventory import NodeConfig
from patroni_etcd_reconfig.adapters.leftovers import delete, find_leftovers

OPERATION = "20260102T030405Z-cycle-abc123"
AT = 1767323045.0


def _node(root: Path, name: str = "n1", via: str = "local", **paths: str) -> NodeConfig:
    base = NodeConfig(name, "", via, "command", "", str(root / f"{name}.env"), str(root / name))
    return replace(base, **paths)  # type: ignore[arg-type]


def _directory(path: Path) -> Path:
    (path / "member").mkdir(parents=True)
    (path / "member" / "db").write_bytes(b"x" * 10)
    return path


def test_data_configuration_and_snapshot_of_an_operation_are_found_with_its_time(tmp_path: Path) -> None:
    data = _directory(tmp_path / f"n1.63ca.{OPERATION}")
    unknown = _directory(tmp_path / f"n1.unknown.{OPERATION}")
    wal = _directory(tmp_path / "wal" / f"w.63ca.{OPERATION}")
    config = tmp_path / f"n1.env.{OPERATION}"
    config.write_text("A=1\n")
    (tmp_path / "state" / "snapshots").mkdir(parents=True)
    snapshot = tmp_path / "state" / "snapshots" / f"37050653dc7b60cb-{OPERATION}.db"
    snapshot.touch()
    found = find_leftovers([_node(tmp_path, wal_dir=str(tmp_path / "wal" / "w"))], tmp_path / "state")
    assert {(item.path, item.kind) for item in found} == {
        (data, "data"), (unknown, "data"), (wal, "data"), (config, "config"), (snapshot, "snapshot"),
    }  # fmt: skip
    assert {item.operation_id for item in found} == {OPERATION}
    assert {item.at for item in found} == {AT}
    assert {item.size for item in found if item.kind == "data"} == {10}


def test_what_was_not_whole_when_its_process_was_killed_is_found(tmp_path: Path) -> None:
    copy = _directory(tmp_path / f"n1.{OPERATION}.part")
    (tmp_path / "state" / "snapshots").mkdir(parents=True)
    snapshot = tmp_path / "state" / "snapshots" / f"37050653dc7b60cb-{OPERATION}.db.part"
    snapshot.touch()
    found = find_leftovers([_node(tmp_path)], tmp_path / "state")
    assert {(item.path, item.kind) for item in found} == {(copy, "data"), (snapshot, "snapshot")}


@pytest.mark.parametrize(
    "name",
    [
        *("n1", "n1.old", f"n2.63ca.{OPERATION}", f"n1.63ca.{OPERATION}.keep", f"n1x.63ca.{OPERATION}"),
        *("n1.63ca.20260102T030405Z-manual", f"n1.nothex.{OPERATION}", f"n1.{OPERATION}"),
    ],
)
def test_what_has_another_name_is_not_ours(tmp_path: Path, name: str) -> None:
    _directory(tmp_path / name)
    assert find_leftovers([_node(tmp_path)], tmp_path / "state") == []


def test_snapshots_that_the_command_saved_are_not_among_them(tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "c1-20260102T030405Z-manual.db").touch()
    assert find_leftovers([], tmp_path) == []


def test_what_another_member_uses_is_never_among_them(tmp_path: Path) -> None:
    aside = _directory(tmp_path / f"n1.63ca.{OPERATION}")
    for used in (aside, aside / "member"):
        nodes = [_node(tmp_path), _node(tmp_path, "n2", data_dir=str(used))]
        assert find_leftovers(nodes, tmp_path / "state") == []


def test_links_and_the_paths_of_other_machines_are_left_alone(tmp_path: Path) -> None:
    target = _directory(tmp_path / "elsewhere")
    (tmp_path / f"n1.63ca.{OPERATION}").symlink_to(target)
    _directory(tmp_path / f"n3.63ca.{OPERATION}")
    assert find_leftovers([_node(tmp_path), _node(tmp_path, "n3", via="ssh")], tmp_path / "state") == []


def test_files_and_directories_are_deleted_as_a_whole(tmp_path: Path) -> None:
    _directory(tmp_path / f"n1.63ca.{OPERATION}")
    (tmp_path / f"n1.env.{OPERATION}").touch()
    (tmp_path / "n1").mkdir()
    for item in find_leftovers([_node(tmp_path)], tmp_path / "state"):
        delete(item)
    assert [path.name for path in tmp_path.iterdir()] == ["n1"]
