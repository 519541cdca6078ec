"""What must hold at the end, and what is not taken for a proof of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from patroni_etcd_reconfig.core.model import Lease, PatroniCluster
from patroni_etcd_reconfig.engine.verification import (
    NotVerifiedError,
    baseline_of,
    broken_promises,
    same_hashes,
)
from patroni_etcd_reconfig.errors import EtcdError, EtcdTimeoutError, ExitCode, StepFailedError
from patroni_etcd_reconfig.ports import HashKv
from tests.core.builders import patroni
from tests.fake_etcd import client_url, peer_url

from .bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench("a", "b", "c")


def hashes(bench: Bench, **answers: HashKv | None) -> bool:
    """Compare with these answers, by member."""
    for name, answer in answers.items():
        bench.etcd.process(name).hash_kv = answer
    return same_hashes(bench.roster, bench.look())


def test_members_that_hash_alike_hold_the_same() -> None:
    assert hashes(Bench("a", "b", "c"), a=HashKv(1, 5), b=HashKv(1, 5), c=HashKv(1, 5))


def test_a_member_that_hashes_otherwise_does_not(bench: Bench) -> None:
    assert not hashes(bench, a=HashKv(1, 5), b=HashKv(1, 5), c=HashKv(2, 5))


def test_hashes_over_different_stretches_say_nothing(bench: Bench) -> None:
    assert hashes(bench, a=HashKv(1, 5), b=HashKv(1, 5), c=HashKv(2, 6))


def test_hashes_are_compared_within_each_stretch(bench: Bench) -> None:
    assert not hashes(bench, a=HashKv(1, 5), b=HashKv(3, 6), c=HashKv(2, 6))


def test_a_version_without_hashes_can_not_disagree(bench: Bench) -> None:
    assert hashes(bench, a=None, b=None, c=None)
    assert hashes(bench, a=None, b=HashKv(1, 5), c=HashKv(1, 5))


@pytest.mark.parametrize("error", [EtcdTimeoutError("no answer"), EtcdError("mvcc: future revision")])
def test_a_hash_that_does_not_come_is_no_agreement(bench: Bench, error: EtcdError) -> None:
    bench.etcd.refusals["hash_kv"] = [error]
    assert not hashes(bench, a=HashKv(1, 5), b=HashKv(1, 5), c=HashKv(1, 5))


def test_a_sound_cluster_without_patroni_is_verified_at_once(bench: Bench) -> None:
    assert bench.verification.verify() == {"verified": True}
    assert bench.clock.now == 1000


def other_data(bench: Bench) -> None:
    """Let every member hash otherwise."""
    for name in "abc":
        bench.etcd.process(name).hash_kv = HashKv(ord(name), 0)


def learner(bench: Bench) -> None:
    """Let one seat be a learner's."""
    bench.vacate("c")
    bench.nodes["c"].start()


HARM: dict[str, Callable[[Bench], object]] = {
    "down": lambda bench: setattr(bench.etcd.process("c"), "up", False),
    "hung": lambda bench: setattr(bench.etcd.process("c"), "hung", True),
    "alarm": lambda bench: bench.etcd.raise_alarm("c", "NOSPACE"),
    "unstarted learner": lambda bench: bench.vacate("c"),
    "learner": learner,
    "other data": other_data,
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_member_that_is_not_sound_is_not_verified(bench: Bench, harm: Callable[[Bench], object]) -> None:
    harm(bench)
    with pytest.raises(NotVerifiedError, match="every member to vote") as caught:
        bench.verification.verify()
    assert caught.value.exit_code is ExitCode.NOT_VERIFIED
    assert caught.value.hint
    assert bench.clock.now - 1000 >= bench.policy.step_timeout


def test_a_learner_that_is_meant_to_stay_one_is_fine(bench: Bench) -> None:
    bench.etcd.connect(client_url("a"), 1.0).add_learner((peer_url("d"),))
    bench.etcd.start("d")
    bench.verification.learners = frozenset({"d"})
    assert bench.verification.verify() == {"verified": True}


def lease(remaining: float, read_at: float) -> Lease:
    """Return a lease of 30 s."""
    return Lease(30, remaining, read_at)


@pytest.mark.parametrize(
    ("remaining", "verified"),
    [(29, True), (25, True), (24, False), (0, False)],
    ids=["after the change", "with the change", "a second before it", "long before"],
)
def test_a_lease_counts_when_it_was_certainly_renewed_after_the_last_change(
    bench: Bench, remaining: float, verified: bool
) -> None:
    bench.last_change = bench.clock.wall() - 5
    bench.patroni = (patroni(lease=lease(remaining, bench.clock.now)),)
    if verified:
        assert bench.verification.verify() == {"verified": True}
        return
    with pytest.raises(NotVerifiedError, match="every Patroni leader to renew"):
        bench.verification.verify()


def test_a_status_written_after_the_change_proves_a_renewal_sooner(bench: Bench) -> None:
    bench.last_change = bench.clock.wall()
    bench.patroni = (patroni(lease=lease(20, bench.clock.now), status_revision=bench.etcd.revision + 1),)
    assert bench.verification.verify() == {"verified": True}


def test_a_status_written_before_the_change_proves_nothing(bench: Bench) -> None:
    bench.last_change = bench.clock.wall()
    bench.patroni = (patroni(lease=lease(20, bench.clock.now), status_revision=bench.etcd.revision),)
    with pytest.raises(NotVerifiedError):
        bench.verification.verify()


def test_one_cluster_that_renewed_does_not_speak_for_another(bench: Bench) -> None:
    bench.last_change = bench.clock.wall()
    bench.patroni = (
        patroni("one", lease=lease(30, bench.clock.now + 1)),
        patroni("two", lease=lease(10, bench.clock.now)),
    )
    with pytest.raises(NotVerifiedError):
        bench.verification.verify()


def test_a_cluster_without_a_leader_is_not_verified(bench: Bench) -> None:
    bench.patroni = (patroni(leader=None, lease=None, status_revision=10**9),)
    with pytest.raises(NotVerifiedError):
        bench.verification.verify()


def test_a_renewal_is_waited_for(bench: Bench) -> None:
    bench.last_change = bench.clock.wall()

    def renewed_later() -> tuple[PatroniCluster, ...]:
        ago = 0 if bench.clock.now >= 1003 else 9
        return (patroni(lease=lease(30 - ago, bench.clock.now)),)

    bench.verification.observe_patroni = renewed_later
    bench.verification.verify()
    assert 1003 <= bench.clock.now < 1004


def test_many_clusters_have_renewed_once_each_renewed_in_its_own_loop(bench: Bench) -> None:
    began = bench.clock.now

    def out_of_step() -> tuple[PatroniCluster, ...]:
        ages = [(bench.clock.now - began + phase) % 10 for phase in (3, 5, 8)]
        return tuple(patroni(f"s{n}", lease=lease(30 - age, bench.clock.now)) for n, age in enumerate(ages))

    bench.verification.observe_patroni = out_of_step
    bench.verification.await_renewals()
    assert bench.clock.now - began < 10


def test_leadership_does_not_move_while_a_leader_does_not_renew(bench: Bench) -> None:
    bench.patroni = (patroni(lease=lease(20, bench.clock.now)),)
    with pytest.raises(StepFailedError, match="every Patroni leader to renew"):
        bench.verification.await_renewals()


def test_patroni_that_can_not_be_read_for_a_moment_is_asked_again(bench: Bench) -> None:
    answers: list[Exception] = [EtcdTimeoutError("no answer")]

    def unsteady() -> tuple[PatroniCluster, ...]:
        if answers:
            raise answers.pop()
        return (patroni(lease=lease(30, bench.clock.now)),)

    bench.verification.observe_patroni = unsteady
    assert bench.verification.verify() == {"verified": True}


def test_a_wall_clock_that_was_set_back_only_asks_for_more(bench: Bench) -> None:
    bench.last_change = bench.clock.wall() + 3600
    bench.patroni = (patroni(lease=lease(30, bench.clock.now)),)
    assert bench.verification.verify() == {"verified": True}


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
