"""Nodes in a recovery: proven stopped, nothing deleted, and never another member's data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patroni_etcd_reconfig.core.model import DataDir
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.engine.recovery.fencing import Fencing
from patroni_etcd_reconfig.engine.recovery.isolation import RecoveryBlockedError
from patroni_etcd_reconfig.errors import NodeControlError, StepFailedError
from tests.core.builders import IDS, node
from tests.core.recovery.recovery_plans import forced, survivor
from tests.engine.fakes import FakeClock
from tests.engine.rig import FakeNode
from tests.fake_etcd import FakeEtcd

PLAN = forced("a", "b", lost=("c",))
RUNNING = survivor("a", running=True)


class Rig:
    """Three nodes on a fake etcd; `open` are the URLs at which something accepts connections."""

    def __init__(self, plan: RecoveryPlan = PLAN) -> None:
        self.clock = FakeClock()
        self.etcd = FakeEtcd("a", "b", "c", clock=self.clock)
        self.nodes = {name: FakeNode(self.etcd, node(name)) for name in "abc"}
        for name in "abc":
            self.set(name, data=DataDir(plan.cluster_id, IDS[name]))
        self.open: set[str] = set()
        self.copied: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.fencing = Fencing(
            plan=replace(plan, fence=tuple(replace(f, member_id=IDS[f.node]) for f in plan.fence)),
            nodes=self.nodes,
            connect=self.etcd.connect,
            clock=self.clock,
            operation_id="recover-p1",
            snapshots=Path("/nowhere"),
            copy_data=self._copy,
            port_answers=lambda url: url in self.open,
            say=self.said.append,
        )

    def set(self, name: str, **view: Any) -> None:
        self.nodes[name].view = replace(self.nodes[name].view, **view)

    def _copy(self, name: str, label: str) -> dict[str, str]:
        self.copied.append((name, label))
        return {"copies": label}


def test_a_fenced_member_is_stopped_its_data_set_aside_and_no_start_makes_a_new_cluster() -> None:
    rig = Rig()
    rig.set("b", service_active=True)
    rig.fencing.fence(["b"])
    fenced = rig.nodes["b"]
    assert not fenced.view.service_active
    assert fenced.at_once, "a clean end cancels a renewal that hangs in it, and Patroni demotes"
    assert fenced.aside == [f"{IDS['b']:x}.recover-p1"]
    assert fenced.written == {"initial-cluster-state": "existing"}
    assert rig.nodes["c"].stops == 0


def test_a_power_cut_while_fencing_leaves_no_empty_data_dir_that_may_make_a_cluster() -> None:
    rig = Rig()
    fenced = rig.nodes["b"]
    states: list[str] = []

    def set_aside(label: str) -> tuple[str, ...]:
        states.append(fenced.written.get("initial-cluster-state", "new"))
        return ()

    fenced.set_data_aside = set_aside  # type: ignore[method-assign, assignment]
    rig.fencing.fence(["b"])
    assert states == ["existing"]


def test_who_is_a_member_of_the_new_cluster_may_run() -> None:
    rig = Rig()
    rig.set("b", service_active=True)
    rig.fencing.prove_stopped(lambda: frozenset({"http://b:2380"}))
    with pytest.raises(RecoveryBlockedError):
        rig.fencing.prove_stopped(lambda: frozenset({"http://c:2380"}))


def test_a_survivor_whose_service_a_boot_has_started_is_stopped_before_its_data_is_touched() -> None:
    rig = Rig()
    rig.set("a", service_active=True)
    rig.fencing.keep_down(RUNNING)
    rig.fencing.keep_down(RUNNING)
    assert rig.nodes["a"].stops == 1
    assert "runs again" in rig.said[0]


def test_fencing_again_after_a_crash_changes_nothing_more() -> None:
    rig = Rig()
    rig.fencing.fence(["b"])
    rig.fencing.fence(["b"])
    assert not rig.nodes["b"].view.service_active


def test_the_data_of_another_member_is_left_alone() -> None:
    rig = Rig()
    rig.set("b", data=DataDir(PLAN.cluster_id, 0xBAD), service_active=True)
    with pytest.raises(NodeControlError, match="left alone"):
        rig.fencing.fence(["b"])
    assert (rig.nodes["b"].stops, rig.nodes["b"].aside) == (0, [])


def test_a_node_that_can_not_be_looked_at_is_not_fenced() -> None:
    rig = Rig()
    rig.set("b", problem="no answer")
    with pytest.raises(NodeControlError, match="no answer"):
        rig.fencing.fence(["b"])
    assert rig.nodes["b"].stops == 0


def test_a_port_that_stays_open_is_no_stopped_member() -> None:
    rig = Rig()
    rig.set("b", service_active=False)
    rig.fencing.prove_stopped()
    rig.open = {"http://b:2380"}
    with pytest.raises(RecoveryBlockedError, match="b: something answers at http://b:2380"):
        rig.fencing.prove_stopped()


def test_a_lost_member_that_answers_is_not_lost() -> None:
    rig = Rig()
    rig.set("b", service_active=False)
    rig.open = {"http://c:2380"}
    with pytest.raises(RecoveryBlockedError) as stopped:
        rig.fencing.prove_stopped()
    assert stopped.value.code == "NOT_FENCED"


def test_a_service_that_runs_again_is_no_stopped_member() -> None:
    rig = Rig()
    rig.set("b", service_active=True)
    with pytest.raises(RecoveryBlockedError, match="b: its service runs"):
        rig.fencing.prove_stopped()


def test_the_data_of_a_survivor_that_runs_is_not_copied() -> None:
    rig = Rig()
    rig.set("a", service_active=True)
    with pytest.raises(RecoveryBlockedError):
        rig.fencing.back_up(RUNNING)
    assert rig.copied == []
    rig.set("a", service_active=False)
    rig.fencing.back_up(RUNNING)
    assert rig.copied == [("a", "backup.recover-p1")]


def test_a_survivor_that_still_has_a_leader_is_not_stopped() -> None:
    rig = Rig()
    rig.set("a", service_active=True)
    rig.nodes["a"].written["advertise-client-urls"] = "http://a:2379"
    with pytest.raises(RecoveryBlockedError, match="a majority is alive"):
        rig.fencing.stop_survivor(RUNNING)
    assert rig.nodes["a"].stops == 0


def test_a_survivor_that_has_lost_its_majority_is_stopped() -> None:
    rig = Rig()
    rig.set("a", service_active=True)
    rig.nodes["a"].written["advertise-client-urls"] = "http://a:2379"
    for name in "bc":
        rig.etcd.process(name).up = False
    rig.fencing.stop_survivor(RUNNING)
    assert (rig.nodes["a"].stops, rig.nodes["a"].at_once) == (1, True)


def test_a_survivor_that_does_not_answer_goes_without_a_snapshot() -> None:
    rig = Rig()
    rig.nodes["a"].written["advertise-client-urls"] = "http://a:2379"
    rig.etcd.process("a").up = False
    assert rig.fencing.save_snapshot(RUNNING) == {}
    assert "no snapshot of a" in rig.said[0]


def test_a_snapshot_that_can_not_be_written_stops_it(tmp_path: Path) -> None:
    rig = Rig()
    rig.nodes["a"].written["advertise-client-urls"] = "http://a:2379"
    (tmp_path / "snapshots").write_text("")
    rig.fencing.snapshots = tmp_path / "snapshots"
    with pytest.raises(StepFailedError, match="nothing was changed"):
        rig.fencing.save_snapshot(RUNNING)
    rig.fencing.snapshots = tmp_path / "other"
    assert rig.fencing.save_snapshot(RUNNING)["snapshot"] == str(tmp_path / "other" / "recover-p1.db")


def test_members_that_run_are_not_started_again() -> None:
    rig = Rig()
    rig.set("b", service_active=True)
    rig.set("a", service_active=False)
    rig.fencing.start(("a", "b"))
    assert (rig.nodes["a"].starts, rig.nodes["b"].starts) == (1, 0)


def test_members_of_other_machines_are_named_not_started() -> None:
    rig = Rig()
    rig.set("a", service_active=False)
    assert rig.fencing.start(("a", "elsewhere")) == {"started": ["a"]}
    assert rig.said == [
        "elsewhere: not a node that this machine controls: start etcd there, if it does not run"
    ]
