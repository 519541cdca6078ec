"""How a member is upgraded: down, the command, up, and the right version."""

from __future__ import annotations

import pytest

from patroni_etcd_reconfig.core.steps import UpgradeMember
from patroni_etcd_reconfig.errors import MembershipError, NodeControlError, StepFailedError

from .rig import FakeNode, Rig


@pytest.fixture
def rig() -> Rig:
    return Rig("a", "b", "c")


def test_the_command_runs_while_the_member_is_down(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    up: list[bool] = []
    real = FakeNode.run_command

    def watched(node: FakeNode, line: str, timeout: float) -> None:
        up.append(rig.etcd.process("c").up)
        real(node, line, timeout)

    monkeypatch.setattr(FakeNode, "run_command", watched)
    assert rig.act(UpgradeMember(rig.ref("c"), "install 3.5.30", "3.5.30")) == {"restarted": "c"}
    assert up == [False]
    assert rig.nodes["c"].commands == ["install 3.5.30"]
    assert rig.etcd.process("c").version == "3.5.30"


def test_a_command_that_fails_leaves_the_member_running(rig: Rig) -> None:
    with pytest.raises(NodeControlError, match="exit code 1"):
        rig.act(UpgradeMember(rig.ref("c"), "fail"))
    assert rig.etcd.process("c").up
    assert any("with what is there" in line for line in rig.said)


def test_ctrl_c_during_the_command_leaves_the_member_running(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeNode, "run_command", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rig.act(UpgradeMember(rig.ref("c"), "install 3.5.30"))
    assert rig.etcd.process("c").up


@pytest.mark.parametrize(
    ("command", "wanted", "words"),
    [
        ("install 3.4.23", "3.5.30", "not 3.5.30"),
        ("install 3.4.1", "", "lower than 3.4.23"),
        ("install 3.6.6", "", "more than one minor"),
    ],
)
def test_a_wrong_version_ends_the_operation_at_once(rig: Rig, command: str, wanted: str, words: str) -> None:
    before = rig.clock.now
    with pytest.raises(StepFailedError, match=words) as caught:
        rig.act(UpgradeMember(rig.ref("c"), command, wanted, "3.4.23"))
    assert caught.value.code == "WRONG_VERSION"
    assert rig.clock.now - before < rig.policy.step_timeout


@pytest.mark.parametrize(("version", "words"), [("3.4.1", "lower than 3.4.23"), ("3.6.6", "one minor")])
def test_a_program_that_must_not_run_here_is_not_started(rig: Rig, version: str, words: str) -> None:
    rig.nodes["c"].names_program = True
    with pytest.raises(StepFailedError, match=words) as caught:
        rig.act(UpgradeMember(rig.ref("c"), f"install {version}", "", "3.4.23"))
    assert (caught.value.code, rig.nodes["c"].starts) == ("WRONG_VERSION", 0)
    assert "patronictl-etcd resume" in caught.value.hint


def test_a_member_that_does_not_stay_up_is_told_after_five_seconds(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeNode, "start", lambda node: None)
    before = rig.clock.now
    with pytest.raises(StepFailedError, match="does not stay up") as caught:
        rig.act(UpgradeMember(rig.ref("c"), "install 3.5.30"))
    assert caught.value.code == "MEMBER_EXITS"
    assert 5 <= rig.clock.now - before < 6


def test_a_member_that_somebody_removes_while_it_is_down_is_told_at_once(rig: Rig) -> None:
    member, node = rig.ref("c"), rig.nodes["c"]
    node.start = lambda: rig.remove("c")  # type: ignore[method-assign]
    before = rig.clock.now
    with pytest.raises(MembershipError, match="was removed by somebody else") as caught:
        rig.act(UpgradeMember(member, "install 3.5.30"))
    assert "patronictl-etcd add c" in caught.value.hint
    assert rig.clock.now == before
