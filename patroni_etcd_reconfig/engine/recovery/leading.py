"""Until every Patroni cluster has a leader again: writable first, then proven to renew its lease."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from patroni_etcd_reconfig.core.model import PatroniCluster
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.core.recovery.standing import is_primary
from patroni_etcd_reconfig.engine.recovery.loop import Facts
from patroni_etcd_reconfig.errors import EtcdError, StepFailedError
from patroni_etcd_reconfig.ports import Clock, EtcdApi

PAUSE = 0.02  # seconds between two looks
# Patroni's first attempt after the quarantine can come a loop late, and take a whole retry_timeout.
LOOPS = 3
SLOWEST = 20.0  # seconds of a loop and a retry_timeout, by Patroni's defaults
# To raise the term further, where Patroni remembers one that nobody could know of: by 1, 2, 4, … each time,
# as the waits between are what takes long.
MAX_RAISES = 5


def takes_writes(one: PostgresEvidence) -> bool:
    """Tell whether a node is a primary that runs, by its own word or by its Patroni's."""
    return one.source in ("sql", "rest") and is_primary(one)


def place_of(one: PostgresEvidence) -> Facts:
    """Return who leads, and how far it is, as the journal keeps it."""
    return {"leader": one.name, "timeline": one.timeline, "lsn": one.lsn}


@dataclass
class Leaders:
    """Waits for leaders. `since` is the monotonic time at which etcd was opened.

    `restart`, None where nobody's etcd may be restarted, raises the raft term: Patroni refuses an etcd whose
    term is below one that it has seen of the same cluster id (its StaleEtcdNodeGuard).
    """

    plan: RecoveryPlan
    clock: Clock
    say: Callable[[str], None]
    client: Callable[[], EtcdApi]
    look_at_patroni: Callable[[EtcdApi], tuple[PatroniCluster, ...]]
    look_at_postgres: Callable[[EtcdApi, str, str], PostgresEvidence | None]  # scope, member name
    restart: Callable[[], None] | None
    since: float
    _writable: dict[str, str] = field(default_factory=dict, init=False)  # leaders by scope
    _timelines: dict[str, int | None] = field(default_factory=dict, init=False)  # as PostgreSQL says
    _by_rest: set[str] = field(default_factory=set, init=False)  # scopes that only a Patroni speaks for
    _places: dict[str, Facts] = field(default_factory=dict, init=False)  # how far the leaders are
    _led: set[str] = field(default_factory=set, init=False)  # scopes whose leader renews its lease
    _writable_at: float | None = field(default=None, init=False)  # wall time at which all were

    def wait(self, scopes: Iterable[str], began_at: float) -> Facts:
        """Return when all lead; `began_at` is the wall time at which the operator gave the command.

        A paused cluster in which no primary runs promotes nobody: it is left alone after a while, and named.
        So is any other without a leader where some have one: those should not wait for their other members.
        """
        waiting, raises = set(scopes), 0
        deadline = self._patience()
        while waiting := waiting - set(self._look(waiting)):
            if self.clock.monotonic() > deadline:
                waiting -= self._paused(waiting)
                raises += bool(waiting)
                if self._leave(waiting, raises):
                    break
                self._help(waiting, raises)
                deadline = self._patience()
            self.clock.sleep(PAUSE)
        return self._facts(waiting, raises, began_at)

    def _facts(self, leaderless: set[str], raises: int, began_at: float) -> Facts:
        facts = {
            "leaders": dict(self._writable),
            "leading": dict(self._places),
            "leaderless": sorted(leaderless),
            "only_rest": sorted(self._by_rest),
            "restarts": 2**raises - 1,
        }
        if self._writable_at is None:
            return facts
        return {**facts, "seconds_to_writable": round(self._writable_at - began_at, 3)}

    def _look(self, waiting: set[str]) -> Iterator[str]:
        """Yield the scopes whose leader is proven to renew its lease, and note when all were writable."""
        clusters = [cluster for cluster in self._clusters() if cluster.scope in waiting]
        for cluster in clusters:
            if cluster.scope not in self._writable and (leader := self._writable_leader(cluster)):
                self._writable[cluster.scope] = leader
                does = "leads the standby cluster" if cluster.standby_cluster else "takes writes"
                self.say(f"{cluster.scope}: {leader} {does}")
        if waiting and waiting <= self._writable.keys() and self._writable_at is None:
            self._writable_at = self.clock.wall()
        leading = {c.scope for c in clusters if c.scope in self._writable and self._renewed(c)}
        self._led |= leading
        yield from leading

    def _clusters(self) -> tuple[PatroniCluster, ...]:
        try:
            return self.look_at_patroni(self.client())
        except EtcdError:
            return ()

    def _writable_leader(self, cluster: PatroniCluster) -> str | None:
        if not cluster.leader or cluster.lease is None:
            return None
        try:
            found = self.look_at_postgres(self.client(), cluster.scope, cluster.leader)
        except EtcdError:
            return None
        if cluster.standby_cluster:
            self._places[cluster.scope] = place_of(found or PostgresEvidence(cluster.scope, cluster.leader))
            return cluster.leader
        if found is None or not takes_writes(found):
            return None
        self._places[cluster.scope] = place_of(found)
        self._timelines[cluster.scope] = found.timeline
        if found.source != "sql" and cluster.scope not in self._by_rest:
            self._by_rest.add(cluster.scope)
            self.say(f"{cluster.scope}: only Patroni says so; PostgreSQL could not be asked: {found.problem}")
        return cluster.leader

    def _renewed(self, cluster: PatroniCluster) -> bool:
        """An election in etcd gives every lease its full time: only a renewal after that proves anything.

        And a node that was just promoted tells its new timeline a loop later: what comes next compares it.
        """
        told = self._timelines.get(cluster.scope) in (None, cluster.timeline)
        return told and cluster.lease is not None and cluster.lease.renewed_after > self.since

    def _paused(self, waiting: set[str]) -> set[str]:
        paused = {c.scope for c in self._clusters() if c.paused} & waiting
        for scope in sorted(paused):
            self.say(
                f"{scope}: paused, and no leader: patronictl failover {scope}, or patronictl resume {scope}"
            )
        return paused

    def _patience(self) -> float:
        slowest = max((c.loop_wait + c.retry_timeout for c in self._clusters()), default=SLOWEST)
        return self.clock.monotonic() + LOOPS * slowest

    def _leave(self, waiting: set[str], raises: int) -> bool:
        """Where some lead, etcd's term is not what keeps the others: it is restarted once for them."""
        if not (waiting and self._led) or (self.restart is not None and raises == 1):
            return False
        names = ", ".join(sorted(waiting))
        self.say(f"{names}: no leader; going on for the others, which lead")
        return True

    def _help(self, waiting: set[str], raises: int) -> None:
        names = ", ".join(sorted(waiting))
        if not names:
            return
        if raises > MAX_RAISES or self.restart is None:
            self._name_absent(waiting)
            raise StepFailedError(
                f"etcd serves, but {names} has no leader that takes writes",
                hint="look at the Patroni logs of the node that should lead, and start Patroni there if it "
                "is down; then give the same command again",
                code="NO_LEADER_AFTER_RECOVERY",
            )
        times = 2 ** (raises - 1)
        self.say(f"{names}: no leader; Patroni may know a higher raft term: restarts raise etcd's by {times}")
        for _ in range(times):
            self.restart()

    def _name_absent(self, waiting: set[str]) -> None:
        """The leader key names a node, and until its Patroni comes nobody leads: say which one."""
        registered = {c.scope: {member.name for member in c.members} for c in self._clusters()}
        for scope in self.plan.scopes:
            known = registered.get(scope.scope)
            lead = scope.should_lead
            if scope.scope in waiting and lead and known is not None and lead not in known:
                raise StepFailedError(
                    f"{scope.scope}: {lead} should lead, and its Patroni has not come; nobody else may lead",
                    hint=f"start Patroni on {lead}, and give the same command again; or, if {lead} is lost "
                    f"with what only it has: etcdctl del {self.plan.namespace}/{scope.scope}/leader",
                    code="NO_LEADER_AFTER_RECOVERY",
                )
