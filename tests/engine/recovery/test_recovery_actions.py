"""What a step looks at before it acts: others can have acted since the last one, or the last run."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from patroni_etcd_reconfig.core.recovery.steps import (
    ForceNewCluster,
    OpenToPatroni,
    RaiseTerm,
    RebuildMembers,
    RepairKeys,
)
from patroni_etcd_reconfig.engine.recovery.actions import RecoveryActions
from patroni_etcd_reconfig.engine.recovery.isolation import NO_SPACE
from patroni_etcd_reconfig.engine.recovery.journal import RecoveryJournal, RecoveryRecord
from tests.core.recovery.recovery_plans import forced, scope
from tests.engine.fakes import FakeClock

PLAN = forced("a", "b", "c", scopes=(scope(),))


@dataclass
class Rig:
    """Parts that only write down what they are asked for. `active`: the survivor's service runs."""

    active: bool = False
    calls: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal = RecoveryJournal(None, RecoveryRecord("recover-p1", "p1", 0.0), FakeClock())
        fencing: Any = SimpleNamespace(
            keep_down=self._call("keep down"),
            prove_stopped=self._call("prove stopped"),
            is_active=lambda _: self.active,
            say=self.said.append,
        )
        isolation: Any = SimpleNamespace(
            ensure=self._call("ensure"),
            make_room=self._call("make room"),
            force=self._call("force"),
            raise_term=self._call("raise term"),
        )
        opening: Any = SimpleNamespace(open=self._call("open"), peer_urls=frozenset)
        self.actions = RecoveryActions(
            plan=PLAN,
            journal=self.journal,
            fencing=fencing,
            isolation=isolation,
            opening=opening,
            repair=self._call("repair"),
            rebuild=self._call("rebuild"),
            verify=dict,
        )

    def _call(self, name: str) -> Any:
        def call(*_: object, **__: object) -> dict[str, Any]:
            self.calls.append(name)
            return {}

        return call


def test_the_survivor_is_kept_down_before_its_data_is_touched() -> None:
    for step, last in ((ForceNewCluster("a"), "make room"), (RaiseTerm("a", 3), "raise term")):
        rig = Rig()
        rig.actions.act(step)
        assert (rig.calls[0], rig.calls[-1]) == ("keep down", last)


def test_the_keys_are_repaired_again_where_a_boot_has_started_the_service_before_it_was_opened() -> None:
    rig = Rig(active=True)
    rig.actions.act(RepairKeys(("demo",)))
    assert rig.calls == ["keep down", "ensure", "make room", "repair"]


def test_keys_that_patroni_has_by_now_are_left_alone() -> None:
    rig = Rig(active=True)
    rig.journal.intend(OpenToPatroni("a"))
    assert rig.actions.act(RepairKeys(("demo",))) == {}
    assert rig.calls == []


def test_keys_are_repaired_where_it_was_to_be_opened_and_is_down() -> None:
    rig = Rig(active=False)
    rig.journal.intend(OpenToPatroni("a"))
    rig.actions.act(RepairKeys(("demo",)))
    assert rig.calls[-1] == "repair"


def test_the_others_are_proven_stopped_before_they_are_made_new() -> None:
    rig = Rig()
    rig.actions.act(RebuildMembers(PLAN.rebuild))
    assert rig.calls == ["prove stopped", "rebuild"]


def test_a_full_survivor_is_told_how_to_make_room_once_it_is_open() -> None:
    rig = Rig()
    rig.journal.note({NO_SPACE: True})
    rig.actions.act(OpenToPatroni("a"))
    assert "etcdctl alarm disarm" in rig.said[0]
