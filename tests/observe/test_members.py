"""A look at members that need not have quorum: who is alive does not pass for lost; nobody waits in vain."""

from __future__ import annotations

import time

import pytest

from patroni_etcd_reconfig.core.recovery.assemble import Heard
from patroni_etcd_reconfig.observe.members import MembersLook
from tests.fake_etcd import FakeEtcd, client_url, switchboard

PATIENCE = 0.2
NAMES = "abc"


@pytest.fixture
def etcd() -> FakeEtcd:
    made = FakeEtcd(*NAMES)
    made.real_hang = 60.0
    return made


def look(etcd: FakeEtcd, deadline: float = 30.0) -> dict[str, Heard]:
    """Return what was heard, by name, with `a` as the only seed."""
    seen = MembersLook(switchboard(etcd), (client_url("a"),), "/service", deadline, PATIENCE).look()
    return {name: heard for name in NAMES for heard in seen if heard.url == client_url(name)}


def test_members_that_serve_are_seen_at_once(etcd: FakeEtcd) -> None:
    began = time.monotonic()
    heard = look(etcd)
    assert all(heard[name].live and heard[name].live.quorate for name in NAMES)  # type: ignore[union-attr]
    assert time.monotonic() - began < 10


def test_where_all_others_refuse_the_read_that_hangs_gets_its_patience_and_no_more(etcd: FakeEtcd) -> None:
    etcd.process("b").up = etcd.process("c").up = False
    began = time.monotonic()
    heard = look(etcd)
    assert PATIENCE <= time.monotonic() - began < 10
    assert heard["a"].live is not None
    assert not heard["a"].live.quorate
    assert [heard[name].problem for name in "bc"] == ["Connection refused"] * 2


def test_a_majority_that_is_slow_to_answer_does_not_pass_for_lost(etcd: FakeEtcd) -> None:
    asked = iter((False,))  # whoever is asked first is the seed; the others take their time

    def before(call: str) -> None:
        if call == "status" and next(asked, True):
            time.sleep(5 * PATIENCE)

    etcd.before = before
    heard = look(etcd)
    assert all(heard[name].live is not None for name in NAMES)


def test_who_says_nothing_is_waited_for_to_the_deadline(etcd: FakeEtcd) -> None:
    etcd.process("c").hung = True
    began = time.monotonic()
    heard = look(etcd, deadline=1.0)
    assert 1.0 <= time.monotonic() - began < 10
    assert heard["b"].live is not None
    assert (heard["c"].live, heard["c"].problem) == (None, "no answer in time")
