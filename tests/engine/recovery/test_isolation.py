"""The survivor in quarantine: the flag once, the term high enough, nobody else left in the list."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from patroni_etcd_reconfig.core.model import Alarm, Member, MemberStatus
from patroni_etcd_reconfig.engine.recovery.isolation import MAX_STARTS, NO_SPACE, Isolation, SurvivorError
from patroni_etcd_reconfig.errors import EtcdUnreachableError, StepFailedError
from patroni_etcd_reconfig.ports import MemberList, RangeResult
from tests.core.recovery.evidences import CLUSTER, member, member_id
from tests.core.recovery.recovery_plans import forced, survivor
from tests.engine.fakes import FakeClock


@dataclass
class FakeQuarantine:
    """An etcd of three members: only a start with the flag makes it lead alone, each start adds a term."""

    alone: bool = False
    term: int = 3
    zombies: tuple[str, ...] = ()
    cluster_id: int = CLUSTER
    revision: int = 50
    kinds: tuple[str, ...] = ()
    exits: bool = False
    peer_urls: tuple[str, ...] = ("http://a:2380",)
    starts: list[bool] = field(default_factory=list)
    running: bool = False
    url: str = "http://127.0.0.1:1"
    unmarked: tuple[int, int] | None = None  # commit index and what the database has applied

    def raise_commit_mark(self) -> tuple[int, int] | None:
        assert not self.running
        raised, self.unmarked = self.unmarked, None
        return raised

    def start(self, *, force: bool) -> None:
        self.starts.append(force)
        self.alone = self.alone or force
        self.term += self.alone
        self.running = not self.exits

    def stop(self) -> None:
        self.running = False

    def last_words(self) -> str:
        return "panic: removed all voters"

    def connect(self, url: str, timeout: float) -> Any:
        assert url == self.url
        return self

    def status(self) -> MemberStatus:
        if not self.running or not self.alone:
            raise EtcdUnreachableError("no answer")
        return MemberStatus(self.cluster_id, member_id("a"), "3.4.23", 1, member_id("a"), self.term, 9, 9)

    def member_list(self) -> MemberList:
        own = replace(member("a"), peer_urls=self.peer_urls)
        members: tuple[Member, ...] = (own, *(member(name) for name in self.zombies))
        return MemberList(self.cluster_id, member_id("a"), members)

    def remove_member(self, gone: int) -> None:
        self.zombies = tuple(name for name in self.zombies if member_id(name) != gone)

    def update_member(self, changed: int, peer_urls: tuple[str, ...]) -> None:
        assert changed == member_id("a")
        self.peer_urls = peer_urls

    def alarms(self) -> tuple[Alarm, ...]:
        return tuple(Alarm(member_id("a"), kind) for kind in self.kinds)

    def disarm(self, alarm: Alarm) -> None:
        self.kinds = tuple(kind for kind in self.kinds if kind != alarm.kind)

    def range(self, key: str, *, prefix: bool = False, serializable: bool = False) -> RangeResult:
        return RangeResult(self.revision, ())


def isolation(quarantine: FakeQuarantine, said: list[str] | None = None, **more: Any) -> Isolation:
    return Isolation(
        plan=forced("a", "b", "c"),
        survivor=survivor("a", **more),
        quarantine=quarantine,
        connect=quarantine.connect,
        clock=FakeClock(),
        say=(said if said is not None else []).append,
        copy=lambda: "/copy",
        revision_seen=lambda: 50,
        note=lambda facts: None,
    )


def force(quarantine: FakeQuarantine, *, given_before: bool = False, **more: Any) -> list[str]:
    """Force it and return what was marked before the flag was given."""
    marks: list[str] = []
    isolation(quarantine, **more).force(given_before=given_before, mark=lambda: marks.append("mark"))
    return marks


def test_the_flag_is_given_for_one_start_and_that_is_marked_before() -> None:
    quarantine = FakeQuarantine()
    assert force(quarantine) == ["mark"]
    assert quarantine.starts == [True]


def test_what_the_database_has_applied_is_marked_as_committed_before_the_flag_drops_it() -> None:
    quarantine, said = FakeQuarantine(unmarked=(33, 34)), list[str]()
    isolation(quarantine, said).force(given_before=False, mark=lambda: None)
    assert quarantine.starts == [True]
    assert quarantine.unmarked is None
    assert "up to index 33" in said[0]


def test_a_run_that_was_killed_after_the_flag_took_effect_does_not_give_it_again() -> None:
    quarantine = FakeQuarantine(alone=True)
    assert force(quarantine, given_before=True) == []
    assert quarantine.starts == [False]


def test_a_run_that_was_killed_before_the_flag_took_effect_gives_it() -> None:
    quarantine = FakeQuarantine(alone=False)
    assert force(quarantine, given_before=True) == ["mark"]
    assert quarantine.starts == [False, True]


def test_members_that_the_flag_has_left_in_the_list_are_removed() -> None:
    quarantine = FakeQuarantine(zombies=("b", "c"))
    force(quarantine)
    assert quarantine.zombies == ()


def test_a_survivor_with_another_address_gets_it_into_the_list() -> None:
    quarantine = FakeQuarantine()
    force(quarantine, peer_urls=("http://a9:2380",))
    assert quarantine.peer_urls == ("http://a9:2380",)


@pytest.mark.parametrize(
    ("quarantine", "code"),
    [
        (FakeQuarantine(cluster_id=0xBAD), "SURVIVOR"),
        (FakeQuarantine(exits=True), "QUARANTINE_EXITS"),
        (FakeQuarantine(revision=49), "REVISION_WENT_BACK"),
        (FakeQuarantine(kinds=("CORRUPT",)), "CORRUPT"),
    ],
    ids=["another cluster", "it ends", "an older store", "corrupt"],
)
def test_what_is_not_the_survivor_of_before_stops_it(quarantine: FakeQuarantine, code: str) -> None:
    with pytest.raises(SurvivorError) as stopped:
        force(quarantine)
    assert stopped.value.code == code
    assert stopped.value.hint


def test_an_etcd_that_ends_is_quoted() -> None:
    with pytest.raises(SurvivorError, match="panic: removed all voters"):
        force(FakeQuarantine(exits=True))


def test_the_term_rises_by_starts_without_the_flag_until_patroni_accepts_it() -> None:
    quarantine = FakeQuarantine()
    one = isolation(quarantine)
    one.force(given_before=False, mark=lambda: None)
    assert one.raise_term(9) == {"term": 9, "starts": 5}
    assert quarantine.starts == [True, *[False] * 5]
    assert one.raise_term(9)["starts"] == 0


def test_a_resumed_run_starts_without_the_flag() -> None:
    quarantine = FakeQuarantine(alone=True)
    assert isolation(quarantine).raise_term(1) == {"term": 4, "starts": 0}
    assert quarantine.starts == [False]


def test_a_long_way_to_go_is_told_now_and_then() -> None:
    said: list[str] = []
    isolation(FakeQuarantine(alone=True), said).raise_term(504)
    assert said == ["raft term 204 of 504, 200 starts", "raft term 404 of 504, 400 starts"]


def test_a_term_that_is_out_of_reach_ends_with_what_can_be_done() -> None:
    quarantine = FakeQuarantine(alone=True)
    with pytest.raises(SurvivorError) as stopped:
        isolation(quarantine).raise_term(10_000)
    assert stopped.value.code == "TERM_TOO_LOW"
    assert len(quarantine.starts) == MAX_STARTS + 1


def test_a_full_database_is_no_reason_not_to_repair_and_is_remembered() -> None:
    quarantine = FakeQuarantine(alone=True, kinds=("NOSPACE",))
    noted: list[Any] = []
    one = isolation(quarantine)
    one.note = noted.append
    one.ensure()
    one.make_room()
    one.make_room()
    assert (quarantine.kinds, noted) == ((), [{NO_SPACE: True}])


def test_a_large_log_is_waited_for_as_long_as_the_policy_says() -> None:
    one = isolation(FakeQuarantine())
    one.ready = 300.0
    with pytest.raises(StepFailedError, match="300"):
        one.ensure()


def test_one_that_never_leads_is_not_waited_for_for_ever() -> None:
    quarantine = FakeQuarantine()
    with pytest.raises(StepFailedError, match="lead alone in quarantine"):
        isolation(quarantine).ensure()
