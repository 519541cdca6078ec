"""How each step of a recovery is done. Each finds out by itself what of it is done already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.closed import assert_never
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Survivor
from patroni_etcd_reconfig.core.recovery.steps import (
    AwaitLeaders,
    AwaitQuorum,
    BackUpData,
    CheckSnapshot,
    DropVolatileKeys,
    FenceMembers,
    ForceNewCluster,
    OpenToPatroni,
    RaiseTerm,
    RebuildMembers,
    RecoveryStep,
    RepairKeys,
    RestoreSnapshot,
    SaveSurvivor,
    StartNodes,
    StopSurvivor,
    VerifyRecovery,
)
from patroni_etcd_reconfig.engine.recovery.dropping import drop_volatile
from patroni_etcd_reconfig.engine.recovery.fencing import Fencing
from patroni_etcd_reconfig.engine.recovery.isolation import NO_SPACE, Isolation, no_space_words
from patroni_etcd_reconfig.engine.recovery.journal import FLAG_INTENDED, RecoveryJournal
from patroni_etcd_reconfig.engine.recovery.loop import Facts
from patroni_etcd_reconfig.engine.recovery.opening import Opening


@dataclass
class RecoveryActions:
    """Does steps. `isolation` is None for a plan without a survivor, which has no step that wants it."""

    plan: RecoveryPlan
    journal: RecoveryJournal
    fencing: Fencing
    isolation: Isolation | None
    opening: Opening
    repair: Callable[[], Facts]
    rebuild: Callable[[tuple[Seat, ...]], Facts]
    verify: Callable[[], Facts]
    check: Callable[[], Facts] = dict  # raises unless all that a restore needs is there
    restore: Callable[[], Facts] = dict  # makes the data dir of a snapshot, whole or not at all

    def act(self, step: RecoveryStep) -> Facts:
        """Do one step; returns when its goal is reached."""
        if isinstance(step, StartNodes):
            return self.fencing.start(step.nodes)
        if isinstance(step, SaveSurvivor):
            return self.fencing.save_snapshot(self._survivor)
        if isinstance(step, StopSurvivor):
            self.opening.refuse_flag(step.node)  # now, while nothing is stopped yet
            return self.fencing.stop_survivor(self._survivor)
        if isinstance(step, BackUpData):
            return self.fencing.back_up(self._survivor)
        if isinstance(step, FenceMembers):
            return self.fencing.fence(step.nodes)
        if isinstance(step, CheckSnapshot):
            return self.check()
        if isinstance(step, (ForceNewCluster, RestoreSnapshot, DropVolatileKeys, RaiseTerm, RepairKeys)):
            return self._isolated(step, self._isolation)
        return self._open(step)

    def _isolated(
        self,
        step: ForceNewCluster | RestoreSnapshot | DropVolatileKeys | RaiseTerm | RepairKeys,
        isolation: Isolation,
    ) -> Facts:
        if isinstance(step, RepairKeys) and self._is_open():
            return {}
        self.fencing.keep_down(self._survivor)
        if isinstance(step, ForceNewCluster):
            self.fencing.prove_stopped()
            facts = isolation.force(given_before=self.journal.record.forced, mark=self._mark)
            isolation.make_room()
            return facts
        if isinstance(step, RestoreSnapshot):
            self.fencing.prove_stopped()
            self._mark()
            return {**self.restore(), "term": isolation.ensure().raft_term}
        if isinstance(step, RaiseTerm):
            return isolation.raise_term(step.minimum)
        isolation.ensure()
        isolation.make_room()
        if isinstance(step, DropVolatileKeys):
            return drop_volatile(isolation.client(), self.plan.namespace, self.journal.note)
        return self.repair()

    def _open(
        self, step: OpenToPatroni | AwaitQuorum | AwaitLeaders | RebuildMembers | VerifyRecovery
    ) -> Facts:
        if isinstance(step, OpenToPatroni):
            return self._open_to_patroni(step.node)
        if isinstance(step, AwaitQuorum):
            return self.opening.await_quorum()
        if isinstance(step, AwaitLeaders):
            return self.opening.await_leaders(step.scopes, self.journal.record.started_at)
        if isinstance(step, RebuildMembers):
            self.fencing.prove_stopped(self.opening.peer_urls)
            return self.rebuild(step.seats)
        if isinstance(step, VerifyRecovery):
            return self.verify()
        return assert_never(step)

    def _is_open(self) -> bool:
        """An earlier run has let Patroni on already: its keys are no longer ours."""
        return self.journal.record.opening and self.fencing.is_active(self._survivor.node)

    def _open_to_patroni(self, name: str) -> Facts:
        facts = self.opening.open(name)
        if self.journal.record.facts.get(NO_SPACE):
            self.fencing.say(f"{name}: {no_space_words()}")
        return facts

    def _mark(self) -> None:
        """From here on only this plan leads on, and a later run must find out what took effect."""
        self.journal.note({FLAG_INTENDED: True})

    @property
    def _survivor(self) -> Survivor:
        if self.plan.survivor is None:
            raise ValueError("this plan has no survivor")
        return self.plan.survivor

    @property
    def _isolation(self) -> Isolation:
        if self.isolation is None:
            raise ValueError("this plan has no survivor")
        return self.isolation
