"""What `status` says first: who works on the cluster, and what waits to be resumed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from patroni_etcd_reconfig.core.findings import Finding, Severity
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.engine.lock import LOCK_KEY, describe_self
from patroni_etcd_reconfig.engine.mirror import Mirror
from patroni_etcd_reconfig.engine.pending import pending_findings
from patroni_etcd_reconfig.engine.roster import Roster
from tests.core.builders import voters
from tests.fake_etcd import FakeEtcd, client_url

from .fakes import FakeClock
from .test_unfinished import begun, lines_of, path_of

VIEW = voters(3)


class Scene:
    """An etcd with three members, and a directory of journals."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir, self.clock = state_dir, FakeClock()
        self.etcd = FakeEtcd("a", "b", "c", clock=self.clock)
        self.roster = Roster(self.etcd.connect, 1.0)

    def lock(self, operation_id: str, **other: object) -> None:
        holder = {**describe_self(operation_id, self.clock), **other}
        self.etcd.connect(client_url("a"), 1.0).put(LOCK_KEY, json.dumps(holder))

    def told(self, etcd: EtcdView = VIEW) -> list[Finding]:
        self.roster.update(etcd)
        return list(pending_findings(self.state_dir, self.roster, etcd, "resume {}".format))


def test_nothing_is_told_of_a_cluster_on_which_nobody_works(tmp_path: Path) -> None:
    assert Scene(tmp_path).told() == []


def test_an_operation_that_was_interrupted_is_told_with_the_command_that_goes_on(tmp_path: Path) -> None:
    begun(tmp_path, "op")
    (one,) = Scene(tmp_path).told()
    assert (one.code, one.severity, one.subject) == ("UNFINISHED_OPERATION", Severity.BLOCKER, "op")
    assert one.remedy == "resume op"


def test_one_that_runs_now_is_not_to_be_resumed(tmp_path: Path) -> None:
    begun(tmp_path, "op")
    begun(tmp_path, "other")
    scene = Scene(tmp_path)
    scene.lock("op", host="db7", pid=42, since="2026-11-26T03:00:00+00:00")
    runs, waits = scene.told()
    assert (runs.code, runs.severity, runs.subject) == ("OPERATION_RUNS", Severity.INFO, "op")
    assert "on db7, pid 42" in runs.detail
    assert (waits.code, waits.subject) == ("UNFINISHED_OPERATION", "other")


def test_the_lock_of_a_process_of_this_host_that_is_dead_hides_nothing(tmp_path: Path) -> None:
    begun(tmp_path, "op")
    scene = Scene(tmp_path)
    scene.lock("op", pid=os.getpid(), pid_started="0")
    assert [one.code for one in scene.told()] == ["UNFINISHED_OPERATION"]


def test_what_another_host_began_is_known_from_etcd(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "here")
    scene.roster.update(VIEW)
    mirror = Mirror(scene.roster)
    journal = begun(tmp_path / "there", "op", mirror=mirror)
    mirror.flush()
    assert len(lines_of(journal)) == 2
    assert [one.subject for one in scene.told()] == ["op"]


def test_without_quorum_it_says_what_this_host_knows_and_asks_nobody(tmp_path: Path) -> None:
    begun(tmp_path, "op")
    scene = Scene(tmp_path)
    scene.lock("op")
    scene.etcd.connect = lambda url, timeout: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    assert [one.code for one in scene.told(replace(VIEW, linearizable=False))] == ["UNFINISHED_OPERATION"]


def test_members_that_do_not_answer_any_more_are_no_reason_to_fail(tmp_path: Path) -> None:
    begun(tmp_path, "op")
    scene = Scene(tmp_path)
    for name in "abc":
        scene.etcd.process(name).up = False
    assert [one.code for one in scene.told()] == ["UNFINISHED_OPERATION"]


def test_a_file_that_is_no_journal_is_told_and_hides_nothing_else(tmp_path: Path) -> None:
    path_of(tmp_path).parent.mkdir(parents=True)
    path_of(tmp_path, "x").write_text("garbage\n")
    scene = Scene(tmp_path)
    scene.lock("op", host="db7")
    runs, odd = scene.told()
    assert runs.code == "OPERATION_RUNS"
    assert (odd.code, odd.severity) == ("JOURNAL_UNREADABLE", Severity.WARNING)
    assert str(path_of(tmp_path, "x")) in odd.detail
    assert odd.remedy
