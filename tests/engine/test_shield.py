"""The shield on Patroni's keys: compare-and-swap, waiting for Patroni, and putting back what was there."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.model import PatroniCluster
from patroni_etcd_reconfig.core.steps import LowerShield, RaiseShield, Shield
from patroni_etcd_reconfig.engine.journal import Journal, begin, read
from patroni_etcd_reconfig.engine.result import shield_findings
from patroni_etcd_reconfig.errors import EtcdTimeoutError, StepFailedError
from patroni_etcd_reconfig.observe.patroni import look_at_patroni
from tests.core.builders import cycle, voters
from tests.fake_etcd import client_url

from .fakes import FakeClock
from .rig import Rig

CONFIG = "/service/demo/config"
BARE, FALSE = '{"loop_wait":10,"ttl":30}', '{"failsafe_mode":false,"loop_wait":10}'
UP, DOWN = RaiseShield((Shield("demo", ""),)), LowerShield((Shield("demo", ""),))


class Scene(Rig):
    """A Patroni leader that renews its lease every 10 s, and acts on failsafe_mode unless it is deaf."""

    def __init__(self, config: str | None = BARE) -> None:
        super().__init__("a", "b", "c")
        self.client = self.etcd.connect(client_url("a"), 1.0)
        self.deaf, self.next_loop = False, self.clock.now + 7
        self.lease = self.client.grant_lease(30)
        self.client.put("/service/demo/leader", "pg1", lease=self.lease)
        if config is not None:
            self.client.put(CONFIG, config)
        self.shielding.observe_patroni = self._observe
        self._sleep = self.clock.sleep
        self.clock.sleep = self._sleep_and_loop  # type: ignore[method-assign]

    def _observe(self) -> tuple[PatroniCluster, ...]:
        """On this clock: the real look takes the machine's."""
        found = look_at_patroni(self.client, "/service/", seconds=1.0)
        return tuple(replace(c, lease=c.lease and replace(c.lease, read_at=self.clock.now)) for c in found)

    def _sleep_and_loop(self, seconds: float) -> None:
        self._sleep(seconds)
        self._loop()

    def _loop(self) -> None:
        if self.clock.now < self.next_loop:
            return
        self.next_loop += 10
        self.client.keep_alive(self.lease)
        known = self.client.range("/service/demo/failsafe").kvs
        if json.loads(self.config or "{}").get("failsafe_mode") and not self.deaf and not known:
            self.client.put("/service/demo/failsafe", '{"pg1":"http://pg1:8008/patroni"}')

    @property
    def config(self) -> str:
        found = self.client.range(CONFIG).kvs
        return found[0].value if found else ""


@pytest.mark.parametrize(("config", "before"), [(BARE, ""), (FALSE, "false")])
def test_it_is_turned_on_until_the_leader_acts_and_put_back_to_the_letter(config: str, before: str) -> None:
    scene = Scene(config)
    shields = (Shield("demo", before),)
    began = scene.clock.now
    assert scene.act(RaiseShield(shields)) == {"shielded": ["demo"]}
    assert json.loads(scene.config)["failsafe_mode"] is True
    assert scene.client.range("/service/demo/failsafe").kvs
    assert scene.clock.now - began >= 11  # every node has read it
    assert scene.act(LowerShield(shields)) == {"unshielded": ["demo"], "shields_left": {}}
    assert scene.config == config


def test_an_old_key_of_the_leaders_does_not_count_before_it_renewed_its_lease_anew() -> None:
    scene = Scene()
    scene.client.put("/service/demo/failsafe", '{"pg1":"http://pg1:8008/patroni"}')
    scene.next_loop = float("inf")
    with pytest.raises(StepFailedError, match="act on failsafe_mode"):
        scene.act(UP)


def test_a_patroni_that_does_not_act_stops_the_operation() -> None:
    scene = Scene()
    scene.deaf = True
    with pytest.raises(StepFailedError, match="act on failsafe_mode in demo"):
        scene.act(UP)


def test_what_another_writer_changed_in_between_is_kept() -> None:
    scene = Scene()
    others: list[str] = ['{"loop_wait":10,"ttl":60}']

    def interfere(call: str) -> None:
        if call == "put_if_unchanged" and others:
            scene.client.put(CONFIG, others.pop())

    scene.etcd.before = interfere
    scene.act(UP)
    assert json.loads(scene.config) == {"loop_wait": 10, "ttl": 60, "failsafe_mode": True}
    scene.client.put(CONFIG, '{"ttl":90,"failsafe_mode":true}')
    scene.act(DOWN)
    assert scene.config == '{"ttl":90}'


def test_what_somebody_else_set_meanwhile_stays_and_is_told() -> None:
    scene = Scene()
    scene.client.put(CONFIG, FALSE)
    facts = scene.act(DOWN)
    assert scene.config == FALSE
    assert "somebody changed it meanwhile, to false; it was not set" in facts["shields_left"]["demo"]


def test_a_shield_that_was_never_opened_is_closed_by_doing_nothing() -> None:
    scene = Scene()
    assert scene.act(DOWN) == {"unshielded": ["demo"], "shields_left": {}}
    assert scene.etcd.called("put_if_unchanged") == 0


def test_without_a_configuration_nothing_is_written() -> None:
    scene = Scene(config=None)
    with pytest.raises(StepFailedError, match="no dynamic configuration"):
        scene.act(UP)
    assert "gone" in scene.act(DOWN)["shields_left"]["demo"]
    assert scene.etcd.called("put_if_unchanged") == 0


def test_an_answer_that_was_lost_is_an_unknown_outcome_and_the_second_try_only_waits() -> None:
    scene = Scene()
    scene.etcd.lost.add("put_if_unchanged")
    with pytest.raises(EtcdTimeoutError):
        scene.act(UP)
    assert scene.act(UP) == {"shielded": ["demo"]}
    assert scene.etcd.called("put_if_unchanged") == 1


def _journal(tmp_path: object) -> Journal:
    return begin(tmp_path / "j", "op", cycle(voters(3)), holder={}, baseline={}, clock=FakeClock())  # type: ignore[operator]


def test_from_the_intent_on_the_journal_knows_that_it_may_be_open(tmp_path: object) -> None:
    journal = _journal(tmp_path)
    journal.intend(UP)
    journal.intend(RaiseShield((Shield("demo", "true"),)))  # what a later look shows is not what was there
    assert journal.record.progress.shields == {"demo": ""}
    assert not journal.record.finished
    assert journal.path is not None
    assert read(journal.path.read_text().splitlines(), "j") == journal.record
    assert [finding.code for finding in shield_findings(journal.record)] == ["SHIELD_OPEN"]


def test_once_put_back_the_journal_knows_nothing_of_it_but_what_was_left(tmp_path: object) -> None:
    journal = _journal(tmp_path)
    journal.intend(UP)
    journal.conclude(UP, "done", 1.0, {"shielded": ["demo"]})
    assert journal.record.progress.shielded == {"demo"}
    journal.intend(DOWN)
    journal.conclude(DOWN, "done", 1.0, {"unshielded": ["demo"], "shields_left": {"demo": "why"}})
    assert (journal.record.progress.shields, journal.record.progress.shielded) == ({}, frozenset())
    assert [finding.code for finding in shield_findings(journal.record)] == ["SHIELD_LEFT"]
