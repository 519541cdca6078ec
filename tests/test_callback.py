"""The callback as Patroni runs it: a program of its own that never fails and never says much."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patroni_etcd_reconfig.callback import KEEP, write_event

EVENT = ("on_role_change", "primary", "demo")
NAME = re.compile(r"[0-9]{20}-[0-9]+\.json")


def _call(spool: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the callback with this spool directory."""
    command = (sys.executable, "-m", "patroni_etcd_reconfig.callback", *arguments)
    environment = {**os.environ, "PATRONI_ETCD_RECONFIG_SPOOL": str(spool)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def _names(spool: Path) -> list[str]:
    return sorted(path.name for path in spool.iterdir())


def _is_one_complaint(done: subprocess.CompletedProcess[str]) -> bool:
    """Exit code 0 and one line on stderr, not a traceback: that is all Patroni's log may get."""
    lines = done.stderr.splitlines()
    return done.returncode == 0 and len(lines) == 1 and lines[0].startswith("patroni-etcd-callback: ")


def test_leaves_one_event_with_all_that_patroni_said(tmp_path: Path) -> None:
    before = time.time()
    done = _call(tmp_path, *EVENT)
    after = time.time()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (path,) = tmp_path.iterdir()
    event = json.loads(path.read_text("utf-8"))
    at = event.pop("at")
    assert event == {"format": 1, "action": "on_role_change", "role": "primary", "scope": "demo"}
    assert before - 1 <= at <= after + 1


def test_the_name_sorts_by_time_and_nothing_half_written_stays(tmp_path: Path) -> None:
    _call(tmp_path, "on_stop", "replica", "demo")
    _call(tmp_path, "on_start", "replica", "demo")
    names = _names(tmp_path)
    assert all(NAME.fullmatch(name) for name in names)
    actions = [json.loads((tmp_path / name).read_text("utf-8"))["action"] for name in names]
    assert actions == ["on_stop", "on_start"]


def test_an_event_has_its_name_only_once_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    rename = Path.rename

    def spy(self: Path, target: Path) -> Path:
        seen.append((self.name, self.read_text("utf-8")))
        assert not target.exists()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", spy)
    path = write_event(tmp_path, *EVENT, now_ns=1_700_000_000_000_000_000)
    assert seen == [(f".{path.name}", path.read_text("utf-8"))]
    assert _names(tmp_path) == [path.name]


def test_a_missing_spool_directory_is_one_line_and_no_failure(tmp_path: Path) -> None:
    spool = tmp_path / "not there"
    done = _call(spool, *EVENT)
    assert _is_one_complaint(done)
    assert str(spool) in done.stderr
    assert not spool.exists()


@pytest.mark.parametrize("arguments", [(), ("on_start",), ("on_start", "replica")])
def test_too_few_arguments_are_one_line_and_no_failure(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert _is_one_complaint(_call(tmp_path, *arguments))
    assert _names(tmp_path) == []


def test_a_full_spool_drops_the_event_and_says_so(tmp_path: Path) -> None:
    for number in range(KEEP):
        (tmp_path / f"{number:020d}-1.json").touch()
    done = _call(tmp_path, *EVENT)
    assert _is_one_complaint(done)
    assert str(KEEP) in done.stderr
    assert len(_names(tmp_path)) == KEEP


def test_a_spool_with_one_place_left_takes_one_more(tmp_path: Path) -> None:
    for number in range(KEEP - 1):
        (tmp_path / f"{number:020d}-1.json").touch()
    assert _call(tmp_path, *EVENT).stderr == ""
    assert _call(tmp_path, *EVENT).stderr != ""
    assert len(_names(tmp_path)) == KEEP


def test_words_with_blanks_and_other_scripts_come_through(tmp_path: Path) -> None:
    _call(tmp_path, "on_start", "replica", 'a "b" ü')
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text("utf-8"))["scope"] == 'a "b" ü'
