"""Which program restores: of etcd's own version, beside it or on PATH, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from patroni_etcd_reconfig.adapters.restore_tool import environment, find_tool
from patroni_etcd_reconfig.errors import ConfigError

RESTORES = "--data-dir --initial-cluster-token"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Give the directory of an etcd 3.5, and one on PATH."""
    beside, on_path = tmp_path / "etcd", tmp_path / "bin"
    for directory in (beside, on_path):
        directory.mkdir()
    monkeypatch.setenv("PATH", str(on_path))
    program(beside, "etcd", "etcd Version: 3.5.12")
    return beside, on_path


def program(directory: Path, name: str, says: str) -> str:
    path = directory / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


def test_the_one_beside_etcd_goes_before_the_one_on_path(places: tuple[Path, Path]) -> None:
    beside, on_path = places
    wanted = program(beside, "etcdutl", f"etcdutl version: 3.5.12 {RESTORES} --bump-revision")
    program(on_path, "etcdutl", f"etcdutl version: 3.5.9 {RESTORES}")
    tool = find_tool(str(beside / "etcd"))
    assert (tool.program, tool.version, tool.bumps) == (wanted, "3.5", True)


def test_one_of_another_version_is_passed_over(places: tuple[Path, Path]) -> None:
    beside, on_path = places
    program(beside, "etcdutl", f"etcdutl version: 3.6.1 {RESTORES}")
    wanted = program(on_path, "etcdctl", f"etcdctl version: 3.5.9 {RESTORES}")
    tool = find_tool(str(beside / "etcd"))
    assert (tool.program, tool.bumps) == (wanted, False)


def test_one_that_tells_no_version_counts_only_beside_etcd(places: tuple[Path, Path]) -> None:
    beside, on_path = places
    program(on_path, "etcdutl", RESTORES)
    with pytest.raises(ConfigError, match="version unknown"):
        find_tool(str(beside / "etcd"))
    wanted = program(beside, "etcdutl", RESTORES)
    assert find_tool(str(beside / "etcd")).program == wanted


def test_it_counts_as_beside_where_that_directory_is_on_path_too(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(places[0]))
    wanted = program(places[0], "etcdutl", RESTORES)
    assert find_tool(str(places[0] / "etcd")).program == wanted


def test_an_etcd_that_tells_no_version_has_no_tool(places: tuple[Path, Path]) -> None:
    etcd = program(places[0], "etcd", "I am no etcd")
    program(places[0], "etcdutl", RESTORES)
    with pytest.raises(ConfigError, match="is version unknown"):
        find_tool(etcd)


def test_what_was_looked_at_is_named(places: tuple[Path, Path]) -> None:
    path = program(places[0], "etcdctl", "etcdctl version: 3.6.1, which can not restore any more")
    with pytest.raises(ConfigError) as raised:
        find_tool(str(places[0] / "etcd"))
    assert raised.value.code == "RESTORE_TOOL_MISSING"
    assert f"{path} (can not restore)" in raised.value.message


def test_it_gets_no_options_or_secrets_from_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCDCTL_PASSWORD", "secret")
    monkeypatch.setenv("ETCDCTL_API", "2")
    assert set(environment()) == {"PATH", "ETCDCTL_API"}
    assert environment()["ETCDCTL_API"] == "3"
