"""How data moves: copied while nobody runs, checked, set aside, and only then started."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.model import DataDir, NodeView
from patroni_etcd_reconfig.core.steps import CopyData, DiscardCopy, FenceOldData, StartMoved, StopMember
from patroni_etcd_reconfig.errors import MembershipError, NodeControlError, StepFailedError
from patroni_etcd_reconfig.ports import HashKv
from tests.core.builders import CLUSTER, IDS
from tests.fake_etcd import client_url, peer_url

from .rig import OPERATION, FakeNode, FakeTree, Rig

C = IDS["c"]
LABEL = f"{C:x}.{OPERATION}"


@pytest.fixture
def rig() -> Rig:
    made = Rig("a", "b", "c")
    made.nodes["d"] = FakeNode(made.etcd, NodeView("d", data_free_bytes=2**40))
    return made


def _stopped(rig: Rig) -> Rig:
    rig.act(StopMember(rig.ref("c")))
    return rig


def test_a_member_is_stopped_and_stays_a_member(rig: Rig) -> None:
    assert rig.act(StopMember(rig.ref("c"))) == {"stopped": "c"}
    assert not rig.etcd.process("c").up
    assert C in rig.etcd.members


def test_a_member_whose_data_differs_is_not_stopped(rig: Rig) -> None:
    for name, found in (("a", 1), ("b", 1), ("c", 2)):
        rig.etcd.process(name).hash_kv = HashKv(found, 0)
    with pytest.raises(StepFailedError) as caught:
        rig.act(StopMember(rig.ref("c")))
    assert caught.value.code == "DATA_DIFFERS"
    assert rig.nodes["c"].stops == 0


def test_data_is_copied_file_by_file_and_has_no_place_that_could_be_started(rig: Rig) -> None:
    facts = _stopped(rig).act(CopyData(rig.ref("c"), "d"))
    assert facts["copied"] == "c"
    assert facts["bytes"] > 50
    assert set(rig.nodes["d"].staged) == {"", "wal", "db"}
    assert not rig.nodes["d"].view.data_present
    assert rig.nodes["c"].view.data == DataDir(CLUSTER, C)


def test_the_data_of_a_running_member_is_not_copied(rig: Rig) -> None:
    with pytest.raises(StepFailedError, match="its service runs"):
        rig.act(CopyData(rig.ref("c"), "d"))
    assert rig.nodes["d"].view.data is None


def test_a_whole_copy_is_not_made_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    _stopped(rig).act(CopyData(rig.ref("c"), "d"))
    monkeypatch.setattr(FakeTree, "stage", None)
    assert rig.act(CopyData(rig.ref("c"), "d"))["copied"] == "c"


def test_a_copy_that_reads_back_differently_is_not_taken_and_the_member_runs_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stopped(rig)
    monkeypatch.setattr(FakeTree, "stage", lambda self, entry, pieces, label: str(list(pieces)))
    with pytest.raises(StepFailedError) as caught:
        rig.act(CopyData(rig.ref("c"), "d"))
    assert caught.value.code == "COPY_DIFFERS"
    assert rig.nodes["d"].view.data is None
    assert rig.etcd.process("c").up


def test_a_full_disk_is_told_and_the_member_runs_again(rig: Rig) -> None:
    _stopped(rig)
    rig.nodes["d"].view = NodeView("d", data_free_bytes=10)
    with pytest.raises(StepFailedError, match="MiB needed"):
        rig.act(CopyData(rig.ref("c"), "d"))
    assert rig.etcd.process("c").up


def test_ctrl_c_during_the_copy_lets_the_member_run_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> str:
        raise KeyboardInterrupt

    _stopped(rig)
    monkeypatch.setattr(FakeTree, "stage", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rig.act(CopyData(rig.ref("c"), "d"))
    assert rig.etcd.process("c").up


def test_the_old_data_is_set_aside_with_the_operations_id(rig: Rig) -> None:
    _stopped(rig).act(CopyData(rig.ref("c"), "d"))
    assert rig.act(FenceOldData(rig.ref("c"), "d")) == {"aside": [f"/data/c.{LABEL}"]}
    assert rig.nodes["c"].view.data is None
    assert rig.nodes["c"].fenced
    assert rig.nodes["d"].view.data == DataDir(CLUSTER, C)


def test_a_copy_gets_its_place_after_a_kill_between_the_two(rig: Rig) -> None:
    _stopped(rig).act(CopyData(rig.ref("c"), "d"))
    rig.nodes["c"].set_data_aside(LABEL, fence=True)
    rig.act(FenceOldData(rig.ref("c"), "d"))
    assert rig.nodes["d"].view.data == DataDir(CLUSTER, C)


def test_a_copy_whose_original_is_gone_otherwise_is_not_taken(rig: Rig) -> None:
    _stopped(rig).act(CopyData(rig.ref("c"), "d"))
    rig.nodes["c"].view = replace(rig.nodes["c"].view, data=None, data_present=False)
    with pytest.raises(StepFailedError, match="that was not this operation") as caught:
        rig.act(FenceOldData(rig.ref("c"), "d"))
    assert caught.value.code == "OLD_DATA_GONE"
    assert rig.nodes["d"].view.data is None


def test_what_an_etcd_made_in_the_new_place_meanwhile_is_set_aside(rig: Rig) -> None:
    _stopped(rig).act(CopyData(rig.ref("c"), "d"))
    rig.nodes["d"].view = replace(rig.nodes["d"].view, data=DataDir(7, 7), data_present=True)
    rig.act(FenceOldData(rig.ref("c"), "d"))
    assert rig.nodes["d"].aside == [f"unknown.{OPERATION}"]
    assert rig.nodes["d"].view.data == DataDir(CLUSTER, C)


def test_a_copy_that_is_older_than_the_data_is_made_again_before_that_is_set_aside(rig: Rig) -> None:
    _stopped(rig).act(CopyData(rig.ref("c"), "d"))
    rig.nodes["c"].start()
    rig.nodes["c"].stop()
    rig.act(FenceOldData(rig.ref("c"), "d"))
    assert rig.nodes["d"].view.data == DataDir(CLUSTER, C)
    assert any("copying again" in line for line in rig.said)


def _moved(rig: Rig) -> StartMoved:
    _stopped(rig).act(CopyData(rig.ref("c"), "d"))
    rig.act(FenceOldData(rig.ref("c"), "d"))
    listening = {"listen-peer-urls": peer_url("c"), "listen-client-urls": client_url("d")}
    rig.nodes["d"].written = listening
    return StartMoved(rig.ref("c"), Seat("d", (peer_url("c"),)), (client_url("d"),), (client_url("c"),), "d")


def test_the_member_starts_on_the_copy_with_its_id(rig: Rig) -> None:
    assert rig.act(_moved(rig)) == {"restarted": "c"}
    written = rig.nodes["d"].written
    assert (written["name"], written["data-dir"]) == ("d", "/data/d")
    assert (rig.etcd.members[C].name, rig.etcd.members[C].client_urls) == ("d", (client_url("d"),))


def test_a_member_that_runs_on_its_copy_already_is_not_stopped_again(rig: Rig) -> None:
    step = _moved(rig)
    rig.act(step)
    stops = rig.nodes["d"].stops
    assert rig.act(step) == {"restarted": "c"}  # the run that did it was killed before it wrote that down
    assert (rig.nodes["d"].starts, rig.nodes["d"].stops) == (1, stops)


def test_a_moved_member_that_is_needed_by_now_is_not_stopped(rig: Rig) -> None:
    step = _moved(rig)
    rig.act(step)
    elsewhere = replace(step, client_urls=("http://elsewhere:2379",))  # so that it must start again
    rig.nodes["d"].written |= {"listen-client-urls": "http://elsewhere:2379"}
    rig.etcd.process("a").up = False
    stops = rig.nodes["d"].stops
    with pytest.raises(StepFailedError) as caught:
        rig.act(elsewhere)
    assert caught.value.code == "HELD_BACK"
    assert rig.nodes["d"].stops == stops


def test_the_copy_is_not_started_when_the_old_data_is_back(rig: Rig) -> None:
    step = _moved(rig)
    rig.nodes["c"].view = replace(rig.nodes["c"].view, data_present=True, data=DataDir(CLUSTER, C))
    with pytest.raises(MembershipError, match="its old place must be empty"):
        rig.act(step)
    assert rig.nodes["d"].starts == 0


def test_the_copy_is_not_started_when_it_is_somebody_elses_data(rig: Rig) -> None:
    step = _moved(rig)
    rig.nodes["d"].view = replace(rig.nodes["d"].view, data=DataDir(CLUSTER, IDS["a"]))
    with pytest.raises(MembershipError):
        rig.act(step)


def test_the_copy_of_a_member_that_was_removed_meanwhile_is_not_started(rig: Rig) -> None:
    step = _moved(rig)
    del rig.etcd.members[C]
    with pytest.raises(MembershipError, match="no member any more"):
        rig.act(step)
    assert rig.nodes["d"].starts == 0


def test_a_copy_that_is_given_up_is_discarded(rig: Rig) -> None:
    _stopped(rig).act(CopyData(rig.ref("c"), "d"))
    assert rig.act(DiscardCopy(rig.ref("c"), "d")) == {"discarded": "c"}
    assert rig.nodes["d"].staged == {}


def test_a_node_that_can_not_be_asked_is_left_alone(rig: Rig) -> None:
    _stopped(rig)
    rig.nodes["d"].view = NodeView("d", problem="no such command")
    with pytest.raises((StepFailedError, NodeControlError), match="no such command"):
        rig.act(CopyData(rig.ref("c"), "d"))
