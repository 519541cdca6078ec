"""The lock: who may begin, who must wait, and who must stop because it can't be sure any more."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass

import pytest

from patroni_etcd_reconfig.engine.lock import LOCK_KEY, Lock, describe_self, process_start
from patroni_etcd_reconfig.errors import (
    EtcdError,
    EtcdTimeoutError,
    ExitCode,
    LockedError,
    ProposalDroppedError,
)
from patroni_etcd_reconfig.ports import EtcdApi
from tests.fake_etcd import FakeEtcd, client_url

from .fakes import FakeClock

TTL = 30
HERE = {key: describe_self("x", FakeClock())[key] for key in ("host", "kernel")}
NO_SUCH_PID = 2**22 + 1  # above the kernel's limit (PID_MAX_LIMIT)


@dataclass
class Turns:
    """Stands in for the stop event: lets the keeper run this many rounds without waiting."""

    left: int

    def wait(self, timeout: float) -> bool:
        self.left -= 1
        return self.left < 0

    def set(self) -> None:
        self.left = 0


class Scene:
    """A cluster, a clock and a lock on it; what the lock says is kept."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.etcd = FakeEtcd("a", "b", "c", clock=self.clock)
        self.said: list[str] = []
        self.lock = self.new_lock()

    def clients(self) -> list[EtcdApi]:
        return [self.etcd.connect(client_url(name), 1.0) for name in "abc"]

    def new_lock(self) -> Lock:
        lock = Lock(self.clients, TTL, self.clock)
        lock._stop = Turns(0)  # type: ignore[assignment]
        return lock

    def acquire(self, *, wait: bool = False) -> None:
        self.lock.acquire(describe_self("op", self.clock), say=self.said.append, wait=wait)

    def keep_alive(self) -> None:
        self.lock._stop = Turns(1)  # type: ignore[assignment]
        self.lock._keep_alive()

    def hold(self, ttl: int = 60, **holder: object) -> int:
        """Let somebody else hold the lock."""
        client = self.clients()[0]
        lease = client.grant_lease(ttl)
        client.put_if_absent(LOCK_KEY, json.dumps(holder), lease=lease)
        return lease


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_free_lock_is_taken_and_says_who_holds_it(scene: Scene) -> None:
    scene.acquire()
    scene.lock.check()
    holder = json.loads(scene.etcd.keys[LOCK_KEY].value)
    assert (holder["operation"], holder["pid"]) == ("op", os.getpid())
    assert holder["host"] == socket.gethostname()
    assert holder["since"].startswith("1970-01-01")


def test_a_lock_of_another_host_is_respected_and_its_holder_named(scene: Scene) -> None:
    scene.hold(host="other", pid=1, user="ann", operation="op-7", since="2026-01-01")
    with pytest.raises(LockedError) as caught:
        scene.acquire()
    assert all(word in caught.value.message for word in ("ann", "other", "op-7", "2026-01-01"))
    assert caught.value.exit_code is ExitCode.LOCKED
    assert caught.value.hint


def test_the_lease_of_a_refused_try_is_given_back(scene: Scene) -> None:
    others = scene.hold(host="other")
    with pytest.raises(LockedError):
        scene.acquire()
    assert set(scene.etcd.leases) == {others}


@pytest.mark.parametrize("value", ["not json", "[]", "17", ""])
def test_a_holder_who_left_no_name_is_respected_too(scene: Scene, value: str) -> None:
    client = scene.clients()[0]
    client.put_if_absent(LOCK_KEY, value, lease=client.grant_lease(60))
    with pytest.raises(LockedError, match="somebody who left no name"):
        scene.acquire()


def test_a_dead_process_of_this_host_gives_way_at_once(scene: Scene) -> None:
    scene.hold(**HERE, pid=NO_SUCH_PID, pid_started="1", operation="op-1")
    scene.acquire()
    scene.lock.check()
    assert "op-1" in scene.said[0]


def test_a_process_of_an_equal_host_name_elsewhere_can_not_be_judged_from_here(scene: Scene) -> None:
    scene.hold(**{**HERE, "kernel": "another boot pid:[1]"}, pid=NO_SUCH_PID, pid_started="1")
    with pytest.raises(LockedError):
        scene.acquire()


def test_a_reused_pid_is_not_taken_for_the_holder(scene: Scene) -> None:
    scene.hold(**HERE, pid=os.getpid(), pid_started="1")
    scene.acquire()
    scene.lock.check()


def test_a_live_process_of_this_host_is_respected(scene: Scene) -> None:
    scene.hold(**HERE, pid=os.getpid(), pid_started=process_start(os.getpid()))
    with pytest.raises(LockedError):
        scene.acquire()


def test_a_holder_of_this_host_who_can_not_be_told_dead_is_respected(scene: Scene) -> None:
    scene.hold(**HERE, pid=os.getpid())
    with pytest.raises(LockedError):
        scene.acquire()


def test_a_dead_holder_whose_key_has_no_lease_ends_in_an_error_not_in_a_loop(scene: Scene) -> None:
    holder = {**HERE, "pid": NO_SUCH_PID, "pid_started": "1"}
    scene.clients()[0].put(LOCK_KEY, json.dumps(holder))

    def stop_the_loop(call: str) -> None:
        assert scene.etcd.called("put_if_absent") < 200, "it tries for ever"

    scene.etcd.before = stop_the_loop
    with pytest.raises(LockedError):
        scene.acquire()


def test_waiting_ends_when_the_other_lease_ends(scene: Scene) -> None:
    scene.hold(ttl=10, host="other", operation="op-7")
    scene.acquire(wait=True)
    scene.lock.check()
    assert 1010 <= scene.clock.now <= 1012
    assert "op-7" in scene.said[0]


def test_waiting_for_a_holder_who_stays_ends_too(scene: Scene) -> None:
    scene.hold(ttl=1000, host="other")
    with pytest.raises(LockedError):
        scene.acquire(wait=True)
    assert scene.clock.now <= 1000 + TTL + 7


def test_without_a_renewal_the_lock_is_lost_by_our_own_clock_before_etcd_is_asked(scene: Scene) -> None:
    scene.acquire()
    scene.clock.sleep(TTL)
    asked = scene.etcd.called("range")
    with pytest.raises(LockedError, match="could not be renewed") as caught:
        scene.lock.check()
    assert caught.value.code == "LOCK_LOST"
    assert scene.etcd.called("range") == asked


def test_a_renewal_keeps_the_lock(scene: Scene) -> None:
    scene.acquire()
    for _ in range(5):
        scene.clock.sleep(TTL / 3)
        scene.keep_alive()
    scene.lock.check()


def test_a_renewal_goes_through_the_next_member_when_one_is_down(scene: Scene) -> None:
    scene.acquire()
    scene.etcd.process("a").up = False
    scene.clock.sleep(TTL - 1)
    scene.keep_alive()
    scene.clock.sleep(TTL - 1)
    scene.lock.check()


def test_a_renewal_that_nobody_answers_does_not_count(scene: Scene) -> None:
    scene.acquire()
    scene.etcd.refusals["keep_alive"] = [EtcdTimeoutError("no answer")] * 3
    scene.clock.sleep(TTL - 1)
    scene.keep_alive()
    scene.clock.sleep(1)
    with pytest.raises(LockedError):
        scene.lock.check()


def test_a_lease_that_is_gone_is_not_taken_for_renewed(scene: Scene) -> None:
    scene.acquire()
    scene.etcd.leases.clear()
    scene.clock.sleep(TTL - 1)
    scene.keep_alive()
    scene.clock.sleep(1)
    with pytest.raises(LockedError):
        scene.lock.check()


def test_a_key_that_somebody_deleted_is_a_lost_lock(scene: Scene) -> None:
    scene.acquire()
    scene.clients()[0].delete(LOCK_KEY)
    with pytest.raises(LockedError, match="its key is gone") as caught:
        scene.lock.check()
    assert caught.value.code == "LOCK_LOST"


def test_a_key_that_somebody_made_anew_is_a_lost_lock(scene: Scene) -> None:
    scene.acquire()
    scene.clients()[0].delete(LOCK_KEY)
    scene.hold(host="other", user="ann")
    with pytest.raises(LockedError, match="ann") as caught:
        scene.lock.check()
    assert caught.value.code == "LOCK_LOST"


def test_the_check_asks_the_next_member_when_one_is_down(scene: Scene) -> None:
    scene.acquire()
    scene.etcd.process("a").up = False
    scene.lock.check()


def test_without_any_answer_no_step_may_begin(scene: Scene) -> None:
    scene.acquire()
    scene.etcd.process("a").up = scene.etcd.process("b").up = False
    with pytest.raises(EtcdError):
        scene.lock.check()


def test_release_takes_the_key_away_at_once(scene: Scene) -> None:
    scene.acquire()
    scene.lock.release()
    assert LOCK_KEY not in scene.etcd.keys
    scene.lock = scene.new_lock()
    scene.acquire()


def test_release_goes_through_the_next_member_when_one_is_down(scene: Scene) -> None:
    scene.acquire()
    scene.etcd.process("a").up = False
    scene.lock.release()
    assert LOCK_KEY not in scene.etcd.keys


def test_release_without_etcd_raises_nothing(scene: Scene) -> None:
    scene.acquire()
    for name in "abc":
        scene.etcd.process(name).up = False
    scene.lock.release()


def test_release_of_a_lock_never_taken_asks_nobody(scene: Scene) -> None:
    scene.lock.release()
    assert scene.etcd.calls == []


@pytest.mark.parametrize("call", ["grant_lease", "put_if_absent", "range"])
def test_a_lock_whose_answer_was_lost_is_looked_up_and_taken_once(scene: Scene, call: str) -> None:
    scene.etcd.lost.add(call)
    scene.acquire()
    scene.lock.check()
    kv = scene.etcd.keys[LOCK_KEY]
    assert (kv.version, kv.create_revision) == (1, scene.lock._created)
    scene.lock.release()
    assert LOCK_KEY not in scene.etcd.keys


def test_a_lock_that_was_taken_without_our_knowing_is_given_back(scene: Scene) -> None:
    """Every answer is lost, so that nobody can say whether it was taken."""
    take, scene.etcd.real_hang = scene.etcd.before, 0.0

    def lose(name: str) -> None:
        take(name)
        if name == "put_if_absent":
            scene.etcd.lost.add(name)

    scene.etcd.before = lose
    with pytest.raises(EtcdTimeoutError):
        scene.acquire()
    assert LOCK_KEY not in scene.etcd.keys


def test_the_start_of_a_process_that_is_gone_is_empty() -> None:
    assert process_start(NO_SUCH_PID) == ""
    assert process_start(os.getpid()).isdigit()


def test_a_refusal_of_the_lock_says_that_nothing_was_begun(scene: Scene) -> None:
    for _ in "abca":  # each member, and the first one once more
        refusal = ProposalDroppedError("raft proposal dropped", hint="Look again.")
        scene.etcd.refusals["grant_lease"].append(refusal)
    with pytest.raises(ProposalDroppedError) as caught:
        scene.acquire()
    assert caught.value.hint.startswith("Look again. The lock was not taken, so nothing was begun")
