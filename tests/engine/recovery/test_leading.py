"""Until every Patroni cluster leads again: PostgreSQL takes writes, and the lease is renewed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from patroni_etcd_reconfig.core.model import Lease, PatroniCluster, PatroniMember
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.engine.recovery.leading import MAX_RAISES, Leaders
from patroni_etcd_reconfig.errors import EtcdTimeoutError, StepFailedError
from tests.core.recovery.builders import primary, standby
from tests.core.recovery.recovery_plans import forced, scope
from tests.engine.fakes import FakeClock


@dataclass
class FakePatroni:
    """A scope whose PostgreSQL promotes at `writable`, and whose leader renews its lease at `renews`."""

    clock: FakeClock = field(default_factory=FakeClock)
    writable: float = 1003.0
    renews: float = 1005.0
    paused: bool = False
    needs_restarts: int = 0
    restarts: int = 0
    silent_until: float = 0.0
    came: bool = True
    timeline: int = 1
    loop: float = 1.0

    def clusters(self, client: object) -> tuple[PatroniCluster, ...]:
        if self.clock.now < self.silent_until:
            raise EtcdTimeoutError("no answer")
        now, fresh = self.clock.now, self.restarts >= self.needs_restarts
        renewed = now if fresh and now >= self.renews else 1000.0 - 5.0
        lease = Lease(30.0, 30.0 - (now - renewed), now)
        members = (PatroniMember("pg2", "leader", "running", timeline=self.timeline),) if self.came else ()
        cluster = PatroniCluster("demo", "pg2", lease, loop_wait=1, retry_timeout=3, paused=self.paused)
        return (replace(cluster, members=members, timeline=self.told()),)

    def told(self) -> int | None:
        """The member key tells a new timeline a loop after the promotion."""
        return self.timeline if self.clock.now >= self.writable + self.loop else 1

    def postgres(self, client: object, name: str, member: str) -> PostgresEvidence | None:
        ready = self.clock.now >= self.writable and self.restarts >= self.needs_restarts
        return replace(primary(member), timeline=self.timeline) if ready else standby(member)

    def restart(self) -> None:
        self.restarts += 1

    def wait(self, **more: Any) -> Any:
        leaders = Leaders(
            plan=forced("a", scopes=(scope(),)),
            clock=self.clock,
            say=lambda text: None,
            client=lambda: None,  # type: ignore[arg-type, return-value]
            look_at_patroni=self.clusters,
            look_at_postgres=self.postgres,
            restart=self.restart,
            since=1000.0,
        )
        return replace(leaders, **more).wait(("demo",), 999.0)


def test_the_time_to_writable_ends_when_postgresql_takes_writes() -> None:
    patroni = FakePatroni()
    facts = patroni.wait()
    assert facts["seconds_to_writable"] == pytest.approx(4.0, abs=0.1)
    assert facts["leaders"] == {"demo": "pg2"}
    assert patroni.clock.now >= 1005.0


def test_a_lease_of_before_proves_no_leader() -> None:
    with pytest.raises(StepFailedError, match="demo has no leader"):
        FakePatroni(renews=1e9).wait(restart=None)


def test_a_term_that_patroni_remembers_higher_is_reached_by_restarts() -> None:
    patroni = FakePatroni(needs_restarts=2)
    assert patroni.wait()["restarts"] == 3  # by one, then by two: the waits between are what takes long
    assert FakePatroni(needs_restarts=20).wait()["restarts"] == 31


def test_restarts_are_bounded() -> None:
    patroni = FakePatroni(needs_restarts=99)
    with pytest.raises(StepFailedError) as stopped:
        patroni.wait()
    assert stopped.value.code == "NO_LEADER_AFTER_RECOVERY"
    assert patroni.restarts == 2**MAX_RAISES - 1


def test_a_paused_cluster_without_a_primary_is_left_alone() -> None:
    patroni = FakePatroni(writable=1e9, paused=True)
    facts = patroni.wait()
    assert "seconds_to_writable" not in facts
    assert patroni.restarts == 0


def test_an_etcd_that_does_not_answer_for_a_moment_is_asked_again() -> None:
    assert FakePatroni(silent_until=1004.0).wait()["leaders"] == {"demo": "pg2"}


def test_a_promotion_is_over_when_patroni_tells_the_new_timeline() -> None:
    patroni = FakePatroni(timeline=2, loop=9.0)
    assert patroni.wait()["seconds_to_writable"] == pytest.approx(4.0, abs=0.1)
    assert patroni.clock.now >= 1003.0 + 9.0


def test_a_node_that_should_lead_and_does_not_come_is_named_with_the_way_out() -> None:
    with pytest.raises(StepFailedError, match="pg2 should lead, and its Patroni has not come") as stopped:
        FakePatroni(needs_restarts=99, came=False).wait()
    assert "etcdctl del /service/demo/leader" in stopped.value.hint


def test_patroni_s_word_counts_where_postgresql_can_not_be_asked() -> None:
    said: list[str] = []
    told = replace(primary("pg2", timeline=1), source="rest", problem="password authentication failed")
    facts = FakePatroni().wait(look_at_postgres=lambda *_: told, say=said.append)
    assert facts["only_rest"] == ["demo"]
    assert any("password authentication failed" in line for line in said)
    down = replace(told, running=None)
    with pytest.raises(StepFailedError):
        FakePatroni().wait(look_at_postgres=lambda *_: down, restart=None)


def test_a_standby_cluster_s_leader_only_renews_its_lease() -> None:
    patroni = FakePatroni(writable=1e9)
    follows = lambda client: tuple(replace(c, standby_cluster=True) for c in patroni.clusters(client))  # noqa: E731
    facts = patroni.wait(look_at_patroni=follows)
    assert facts["leaders"] == {"demo": "pg2"}
    assert patroni.clock.now >= 1005.0
    with pytest.raises(StepFailedError):
        FakePatroni(writable=1e9).wait(restart=None)


def test_one_scope_without_a_leader_does_not_keep_the_others_waiting() -> None:
    patroni = FakePatroni()
    said: list[str] = []

    def both(client: object) -> tuple[PatroniCluster, ...]:
        return (*patroni.clusters(client), PatroniCluster("old", None, None, loop_wait=1, retry_timeout=3))

    leaders = Leaders(
        plan=forced("a", scopes=(scope(), scope("old"))),
        clock=patroni.clock,
        say=said.append,
        client=lambda: None,  # type: ignore[arg-type, return-value]
        look_at_patroni=both,
        look_at_postgres=patroni.postgres,
        restart=patroni.restart,
        since=1000.0,
    )
    facts = leaders.wait(("demo", "old"), 999.0)
    assert facts["leaderless"] == ["old"]
    assert facts["leading"]["demo"]["leader"] == "pg2"
    assert patroni.restarts == 1  # the term could be the reason, and a restart costs those that lead
    assert "seconds_to_writable" not in facts
    assert "old: no leader; going on for the others, which lead" in said
