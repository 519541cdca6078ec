"""The last look before a member is stopped: what happened since the gate is seen, and nothing is done."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.steps import (
    ReaddressMember,
    RestartMember,
    Step,
    StopMember,
    UpgradeMember,
)
from patroni_etcd_reconfig.errors import HeldBackError, LockedError, MembershipError
from tests.core.builders import IDS
from tests.fake_etcd import client_url, peer_url

from .rig import Rig

C = IDS["c"]


@pytest.fixture
def rig() -> Rig:
    return Rig("a", "b", "c")


def _readdress(rig: Rig) -> Step:
    seat = Seat("c", (peer_url("c"),))
    return ReaddressMember(rig.ref("c"), seat, (client_url("c"),), (client_url("c"),))


STOPS: dict[str, Callable[[Rig], Step]] = {
    "restart": lambda rig: RestartMember(rig.ref("c")),
    "upgrade": lambda rig: UpgradeMember(rig.ref("c"), "install 3.5.30"),
    "readdress": _readdress,
    "move": lambda rig: StopMember(rig.ref("c")),
}
every_stop = pytest.mark.parametrize("step", STOPS.values(), ids=STOPS)


def _elect_c(rig: Rig) -> None:
    rig.etcd.leader_id = C


def _kill_b(rig: Rig) -> None:
    rig.etcd.process("b").up = False


def _lose_the_lock(rig: Rig) -> None:
    def lost() -> None:
        raise LockedError("the lock was lost")

    rig.still_ours = lost


def _rename_c(rig: Rig) -> None:
    rig.etcd.connect(client_url("a"), 1.0).update_member(C, ("http://third:2380",))


def _remove_c(rig: Rig) -> None:
    del rig.etcd.members[C]


@every_stop
@pytest.mark.parametrize(
    ("meanwhile", "error", "words"),
    [
        (_elect_c, HeldBackError, "it leads now"),
        (_kill_b, HeldBackError, "no quorum"),
        (_lose_the_lock, LockedError, "lost"),
        (_rename_c, MembershipError, "the plan says"),
        (_remove_c, MembershipError, "no member any more"),
    ],
)
def test_what_happened_right_before_the_stop_forbids_it(
    rig: Rig,
    step: Callable[[Rig], Step],
    meanwhile: Callable[[Rig], None],
    error: type[Exception],
    words: str,
) -> None:
    rig.before_stop = lambda: meanwhile(rig)
    with pytest.raises(error, match=words):
        rig.act(step(rig))
    assert rig.nodes["c"].stops == 0


@every_stop
def test_when_all_is_as_it_was_the_member_is_stopped(rig: Rig, step: Callable[[Rig], Step]) -> None:
    rig.act(step(rig))
    assert rig.nodes["c"].stops == 1


def test_the_only_voter_may_be_stopped() -> None:
    rig = Rig("a")
    rig.may_stop(rig.ref("a"))


def test_a_member_that_is_down_takes_no_quorum_away(rig: Rig) -> None:
    rig.etcd.process("c").up = False
    rig.act(RestartMember(rig.ref("c")))
    assert rig.etcd.process("c").up
