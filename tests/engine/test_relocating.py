"""How a member gets other URLs: named by id, told once, and only then restarted."""

from __future__ import annotations

import pytest

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.steps import ReaddressMember, UpdatePeerUrls
from patroni_etcd_reconfig.errors import (
    EtcdTimeoutError,
    MembershipError,
    NodeControlError,
    PeerUrlExistsError,
    StepFailedError,
)
from tests.core.builders import IDS
from tests.fake_etcd import client_url, peer_url

from .rig import Rig

C = IDS["c"]
PEER, CLIENT = ("http://10.0.0.9:2380",), ("http://10.0.0.9:2379",)


@pytest.fixture
def rig() -> Rig:
    return Rig("a", "b", "c")


def readdress(rig: Rig) -> ReaddressMember:
    """Return the step for c."""
    return ReaddressMember(rig.ref("c"), Seat("c", PEER), CLIENT, (client_url("c"),))


def test_peer_urls_are_changed_by_id(rig: Rig) -> None:
    assert rig.act(UpdatePeerUrls(rig.ref("c"), PEER)) == {"updated": "c"}
    assert rig.etcd.members[C].peer_urls == PEER


def test_peer_urls_that_are_there_already_are_not_sent_again(rig: Rig) -> None:
    step = UpdatePeerUrls(rig.ref("c"), PEER)
    rig.act(step)
    rig.act(step)
    assert rig.etcd.called("update_member") == 1


def test_an_update_whose_answer_is_lost_is_not_sent_again(rig: Rig) -> None:
    rig.etcd.lost.add("update_member")
    with pytest.raises(EtcdTimeoutError) as caught:
        rig.act(UpdatePeerUrls(rig.ref("c"), PEER))
    assert caught.value.outcome_unknown
    assert rig.etcd.called("update_member") == 1


def test_a_member_with_other_urls_than_planned_is_left_alone(rig: Rig) -> None:
    step = UpdatePeerUrls(rig.ref("c"), PEER)
    rig.etcd.connect(client_url("a"), 1.0).update_member(C, ("http://third:2380",))
    with pytest.raises(MembershipError, match="the plan says"):
        rig.act(step)


def test_a_member_that_became_a_learner_is_left_alone(rig: Rig) -> None:
    rig.vacate("c")
    learner = next(m for m in rig.etcd.members.values() if m.is_learner)
    ref = rig.ref("a").__class__(learner.id, "c", learner.peer_urls)
    with pytest.raises(MembershipError, match="21694"):
        rig.act(UpdatePeerUrls(ref, PEER))
    assert rig.etcd.called("update_member") == 0


def test_a_peer_url_of_another_member_is_refused_by_etcd(rig: Rig) -> None:
    with pytest.raises(PeerUrlExistsError):
        rig.act(UpdatePeerUrls(rig.ref("c"), (peer_url("b"),)))


def test_the_configuration_has_the_new_urls_before_the_member_runs_with_them(rig: Rig) -> None:
    rig.nodes["c"].written = {"listen-client-urls": f"{client_url('c')},http://127.0.0.1:2379"}
    step = readdress(rig)
    rig.act(UpdatePeerUrls(rig.ref("c"), PEER))
    facts = rig.act(step)
    assert (facts["restarted"], facts["joined"]) == ("c", "c")
    assert facts["joined_at"] == pytest.approx(rig.clock.wall())  # law 1 counts from here
    assert rig.nodes["c"].written == {
        "initial-advertise-peer-urls": PEER[0],
        "advertise-client-urls": CLIENT[0],
        "listen-peer-urls": PEER[0],
        "listen-client-urls": f"{CLIENT[0]},http://127.0.0.1:2379",
    }
    assert (rig.nodes["c"].stops, rig.nodes["c"].starts) == (1, 1)
    assert rig.etcd.members[C].client_urls == CLIENT


def test_a_new_peer_url_is_believed_after_five_seconds(rig: Rig) -> None:
    step = readdress(rig)
    rig.act(UpdatePeerUrls(rig.ref("c"), PEER))
    before = rig.clock.now
    rig.act(step)
    assert 5 <= rig.clock.now - before < 6


def test_a_member_that_nobody_reaches_at_its_new_url_ends_the_wait(rig: Rig) -> None:
    step = readdress(rig)
    rig.act(UpdatePeerUrls(rig.ref("c"), PEER))
    rig.etcd.cut = {(IDS["a"], C)}
    with pytest.raises(StepFailedError, match=r"whether the others reach http://10\.0\.0\.9:2380"):
        rig.act(step)


def test_where_to_listen_is_not_guessed(rig: Rig) -> None:
    rig.nodes["c"].written = {"listen-peer-urls": "http://192.168.0.1:2380"}
    step = readdress(rig)
    rig.act(UpdatePeerUrls(rig.ref("c"), PEER))
    with pytest.raises(NodeControlError, match="where to listen"):
        rig.act(step)
    assert rig.nodes["c"].stops == 0
