"""A lab with another Patroni than the one of the interpreter that runs it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patroni_etcd_reconfig.errors import ConfigError
from patroni_etcd_reconfig.lab import privileges, programs, up
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.layout import Layout
from patroni_etcd_reconfig.lab.marker import Marker, load_marker, save_marker


def environment(root: Path, code: int) -> Path:
    """Make a virtual environment whose interpreter only ends with this exit code."""
    python = root / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\nexit {code}\n")
    python.chmod(0o755)
    return root


@pytest.mark.parametrize("code", [1, None], ids=["without Patroni", "empty"])
def test_an_environment_without_patroni_is_refused_and_named(tmp_path: Path, code: int | None) -> None:
    directory = tmp_path if code is None else environment(tmp_path / "3.0.4", code)
    with pytest.raises(
        ConfigError, match=rf"Patroni with psycopg \(looked in {directory}/bin/python3\)"
    ) as it:
        programs.find_programs(None, directory)
    assert "--patroni-dir" in it.value.hint


def test_the_interpreter_of_the_environment_is_the_one_that_has_patroni(tmp_path: Path) -> None:
    directory = environment(tmp_path / "3.0.4", 0)
    assert programs._has_patroni(directory)
    assert programs.patroni_python(directory) == directory / "bin" / "python3"
    assert programs.patroni_python(None) == Path(sys.executable)


def test_the_lab_remembers_which_patroni_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Sequence[str]] = []
    monkeypatch.setattr(up, "start_detached", lambda command, **_: commands.append(command))
    layout = Layout(tmp_path, 77)
    marker = up._wanted(layout, None, None, tmp_path / "3.0.4")
    save_marker(layout, up._wanted(layout, marker, tmp_path / "etcd", None))  # the next `up` names no Patroni
    known = load_marker(tmp_path)
    assert known is not None
    for one in (known, Marker(str(tmp_path), 77, None)):
        up.start_one_patroni(Lab(layout, replace(one, privileges=privileges.DIRECT)), 2)
    assert [command[0] for command in commands] == [f"{tmp_path}/3.0.4/bin/python3", sys.executable]


def test_a_lab_of_before_is_known(tmp_path: Path) -> None:
    told = {"root": str(tmp_path), "net": 77, "etcd_dir": None, "privileges": "direct"}
    (tmp_path / "lab.json").write_text(json.dumps(told))
    known = load_marker(tmp_path)
    assert known is not None
    assert known.patroni_dir is None


def test_as_root_the_other_user_must_be_able_to_run_that_very_patroni(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not ours, which may lie elsewhere; and a lab that has its way already is not given another one."""
    tried: list[tuple[str, str]] = []

    def refuse(way: privileges.Privileges, trial: privileges.Trial) -> str:
        tried.append((way.way, str(trial.python)))
        return "Permission denied"

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(privileges.Privileges, "hand_over", lambda *_: None)
    monkeypatch.setattr(privileges, "_try", refuse)
    trial = privileges.Trial(tmp_path, tmp_path, tmp_path / "python3", tmp_path)
    expected: dict[str, Any] = {
        "": [privileges.USER_NAMESPACE, privileges.SETPRIV],
        privileges.SETPRIV: [privileges.SETPRIV],
    }
    for known, ways in expected.items():
        tried.clear()
        with pytest.raises(ConfigError, match="Permission denied") as caught:
            privileges.choose(trial, known)
        assert tried == [(way, f"{tmp_path}/python3") for way in ways]
        assert "--patroni-dir" in caught.value.hint
