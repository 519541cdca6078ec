"""Evidence files: private, whole, and refused with exit code 2 where they are not ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patroni_etcd_reconfig.cli.recover.files import read_evidence, write_json
from patroni_etcd_reconfig.core.recovery.codec import evidence_document
from patroni_etcd_reconfig.errors import ConfigError, ExitCode
from tests.core.recovery.evidences import data, evidence, node

ONE = evidence(node("a", reachable=True, data=data("a")))


def test_a_file_is_private_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    write_json(path, evidence_document(ONE))
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_evidence([path]) == (ONE, ())


def test_several_files_are_merged(tmp_path: Path) -> None:
    paths = [tmp_path / "1.json", tmp_path / "2.json"]
    write_json(paths[0], evidence_document(ONE))
    write_json(paths[1], evidence_document(evidence(node("b"))))
    found, _ = read_evidence(paths)
    assert [one.name for one in found.nodes] == ["a", "b"]


def test_a_file_cut_off_anywhere_is_a_usage_error(tmp_path: Path) -> None:
    whole = json.dumps(evidence_document(ONE))
    path = tmp_path / "half.json"
    for length in range(0, len(whole), 7):
        path.write_text(whole[:length])
        with pytest.raises(ConfigError) as caught:
            read_evidence([path])
        assert caught.value.exit_code == ExitCode.USAGE
        assert str(path) in str(caught.value)
        assert "recover collect" in caught.value.hint


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 100_000, b"{}", b"scope: demo\n", b"NaN"])
def test_a_foreign_file_is_a_usage_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="foreign"):
        read_evidence([path])


def test_a_file_that_is_not_there_and_one_that_can_t_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_evidence([tmp_path / "none"])
    with pytest.raises(ConfigError, match="No such file"):
        write_json(tmp_path / "no" / "dir.json", {})
