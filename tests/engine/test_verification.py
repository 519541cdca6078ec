"""What must hold at the end, and what is not taken for a proof of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from patroni_etcd_reconfig.core.model import Lease, PatroniCluster
from patroni_etcd_reconfig.engine.verification import (
    NotVerifiedError,
    baseline_of,
    broken_promises,
    hash_time,
    same_hashes,
)
from patroni_etcd_reconfig.errors import EtcdError, EtcdTimeoutError, ExitCode, StepFailedError
from patroni_etcd_reconfig.ports import HashKv
from tests.core.builders import etcd, patroni, voter
from tests.fake_etcd import client_url, peer_url

from .rig import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig("a", "b", "c")


def hashes(rig: Rig, **answers: HashKv | None) -> bool:
    """Compare with these answers, by member."""
    for name, answer in answers.items():
        rig.etcd.process(name).hash_kv = answer
    return same_hashes(rig.roster, rig.look())


def test_members_that_hash_alike_hold_the_same() -> None:
    assert hashes(Rig("a", "b", "c"), a=HashKv(1, 5), b=HashKv(1, 5), c=HashKv(1, 5))


def test_a_member_that_hashes_otherwise_does_not(rig: Rig) -> None:
    assert not hashes(rig, a=HashKv(1, 5), b=HashKv(1, 5), c=HashKv(2, 5))


def test_hashes_over_different_stretches_say_nothing(rig: Rig) -> None:
    assert hashes(rig, a=HashKv(1, 5), b=HashKv(1, 5), c=HashKv(2, 6))


def test_hashes_are_compared_within_each_stretch(rig: Rig) -> None:
    assert not hashes(rig, a=HashKv(1, 5), b=HashKv(3, 6), c=HashKv(2, 6))


def test_a_version_without_hashes_can_not_disagree(rig: Rig) -> None:
    assert hashes(rig, a=None, b=None, c=None)
    assert hashes(rig, a=None, b=HashKv(1, 5), c=HashKv(1, 5))


@pytest.mark.parametrize("error", [EtcdTimeoutError("no answer"), EtcdError("mvcc: future revision")])
def test_a_hash_that_does_not_come_is_no_agreement(rig: Rig, error: EtcdError) -> None:
    rig.etcd.refusals["hash_kv"] = [error]
    assert not hashes(rig, a=HashKv(1, 5), b=HashKv(1, 5), c=HashKv(1, 5))


def test_a_sound_cluster_without_patroni_is_verified_at_once(rig: Rig) -> None:
    assert rig.verification.verify() == {"verified": True}
    assert rig.clock.now == 1000


def other_data(rig: Rig) -> None:
    """Let every member hash otherwise."""
    for name in "abc":
        rig.etcd.process(name).hash_kv = HashKv(ord(name), 0)


def learner(rig: Rig) -> None:
    """Let one seat be a learner's."""
    rig.vacate("c")
    rig.nodes["c"].start()


HARM: dict[str, Callable[[Rig], object]] = {
    "down": lambda rig: setattr(rig.etcd.process("c"), "up", False),
    "hung": lambda rig: setattr(rig.etcd.process("c"), "hung", True),
    "alarm": lambda rig: rig.etcd.raise_alarm("c", "NOSPACE"),
    "unstarted learner": lambda rig: rig.vacate("c"),
    "learner": learner,
    "other data": other_data,
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_member_that_is_not_sound_is_not_verified(rig: Rig, harm: Callable[[Rig], object]) -> None:
    harm(rig)
    with pytest.raises(NotVerifiedError, match="every member to vote") as caught:
        rig.verification.verify()
    assert caught.value.exit_code is ExitCode.NOT_VERIFIED
    assert caught.value.hint
    assert rig.clock.now - 1000 >= rig.policy.step_timeout


def test_a_learner_that_is_meant_to_stay_one_is_fine(rig: Rig) -> None:
    rig.etcd.connect(client_url("a"), 1.0).add_learner((peer_url("d"),))
    rig.etcd.start("d")
    rig.verification.learners = frozenset({"d"})
    assert rig.verification.verify() == {"verified": True}


def lease(remaining: float, read_at: float) -> Lease:
    """Return a lease of 30 s."""
    return Lease(30, remaining, read_at)


@pytest.mark.parametrize(
    ("remaining", "verified"),
    [(29, True), (25, True), (24, False), (0, False)],
    ids=["after the change", "with the change", "a second before it", "long before"],
)
def test_a_lease_counts_when_it_was_certainly_renewed_after_the_last_change(
    rig: Rig, remaining: float, verified: bool
) -> None:
    rig.last_change = rig.clock.wall() - 5
    rig.patroni = (patroni(lease=lease(remaining, rig.clock.now)),)
    if verified:
        assert rig.verification.verify() == {"verified": True}
        return
    with pytest.raises(NotVerifiedError, match="every Patroni leader to renew"):
        rig.verification.verify()


def test_a_status_written_after_the_change_proves_a_renewal_sooner(rig: Rig) -> None:
    rig.last_change = rig.clock.wall()
    rig.patroni = (patroni(lease=lease(20, rig.clock.now), status_revision=rig.etcd.revision + 1),)
    assert rig.verification.verify() == {"verified": True}


def test_a_status_written_before_the_change_proves_nothing(rig: Rig) -> None:
    rig.last_change = rig.clock.wall()
    rig.patroni = (patroni(lease=lease(20, rig.clock.now), status_revision=rig.etcd.revision),)
    with pytest.raises(NotVerifiedError):
        rig.verification.verify()


def test_one_cluster_that_renewed_does_not_speak_for_another(rig: Rig) -> None:
    rig.last_change = rig.clock.wall()
    rig.patroni = (
        patroni("one", lease=lease(30, rig.clock.now + 1)),
        patroni("two", lease=lease(10, rig.clock.now)),
    )
    with pytest.raises(NotVerifiedError):
        rig.verification.verify()


def test_a_cluster_without_a_leader_is_not_verified(rig: Rig) -> None:
    rig.patroni = (patroni(leader=None, lease=None, status_revision=10**9),)
    with pytest.raises(NotVerifiedError):
        rig.verification.verify()


def test_a_renewal_is_waited_for(rig: Rig) -> None:
    rig.last_change = rig.clock.wall()

    def renewed_later() -> tuple[PatroniCluster, ...]:
        ago = 0 if rig.clock.now >= 1003 else 9
        return (patroni(lease=lease(30 - ago, rig.clock.now)),)

    rig.verification.observe_patroni = renewed_later
    rig.verification.verify()
    assert 1003 <= rig.clock.now < 1004


def test_many_clusters_have_renewed_once_each_renewed_in_its_own_loop(rig: Rig) -> None:
    began = rig.clock.now

    def out_of_step() -> tuple[PatroniCluster, ...]:
        ages = [(rig.clock.now - began + phase) % 10 for phase in (3, 5, 8)]
        return tuple(patroni(f"s{n}", lease=lease(30 - age, rig.clock.now)) for n, age in enumerate(ages))

    rig.verification.observe_patroni = out_of_step
    rig.verification.await_renewals()
    assert rig.clock.now - began < 10


def test_leadership_does_not_move_while_a_leader_does_not_renew(rig: Rig) -> None:
    rig.patroni = (patroni(lease=lease(20, rig.clock.now)),)
    with pytest.raises(StepFailedError, match="every Patroni leader to renew"):
        rig.verification.await_renewals()


def test_patroni_that_can_not_be_read_for_a_moment_is_asked_again(rig: Rig) -> None:
    answers: list[Exception] = [EtcdTimeoutError("no answer")]

    def unsteady() -> tuple[PatroniCluster, ...]:
        if answers:
            raise answers.pop()
        return (patroni(lease=lease(30, rig.clock.now)),)

    rig.verification.observe_patroni = unsteady
    assert rig.verification.verify() == {"verified": True}


def test_a_wall_clock_that_was_set_back_only_asks_for_more(rig: Rig) -> None:
    rig.last_change = rig.clock.wall() + 3600
    rig.patroni = (patroni(lease=lease(30, rig.clock.now)),)
    assert rig.verification.verify() == {"verified": True}


BEFORE = patroni(leader="pg1", leader_created=5, timeline=3)


def test_what_stayed_as_it_was_breaks_no_promise() -> None:
    assert broken_promises(baseline_of((BEFORE,)), (BEFORE,)) == []


@pytest.mark.parametrize(
    "after",
    [
        patroni(leader="pg2", leader_created=5, timeline=3),
        patroni(leader="pg1", leader_created=6, timeline=3),
        patroni(leader="pg1", leader_created=5, timeline=4),
        patroni(leader=None, leader_created=0, timeline=None),
    ],
    ids=["leader", "lock", "timeline", "none"],
)
def test_what_changed_is_named_with_before_and_after(after: PatroniCluster) -> None:
    (words,) = broken_promises(baseline_of((BEFORE,)), (after,))
    assert words.startswith("demo: leader pg1, timeline 3 before; ")
    assert words.endswith(f"leader {after.leader}, timeline {after.timeline} after")


def test_a_cluster_that_is_new_was_promised_nothing() -> None:
    assert broken_promises(baseline_of((BEFORE,)), (BEFORE, patroni("new"))) == []


def test_an_abort_does_not_ask_for_members_that_it_did_not_touch(rig: Rig) -> None:
    rig.etcd.process("b").up = False
    rig.verification.only = frozenset({"d"})
    assert rig.verification.verify() == {"verified": True}
    rig.verification.only = frozenset({"b"})
    with pytest.raises(NotVerifiedError, match="b is unreachable"):
        rig.verification.verify()


def test_a_large_database_has_more_time_for_its_hash() -> None:
    small, large = (etcd(voter("a", db_size=size)) for size in (20_000, 2_000_000_000))
    assert 5.0 < hash_time(small) < 5.1
    assert hash_time(large) == 45.0
