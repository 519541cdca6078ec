"""Patroni's keys made to tell the truth, in quarantine: audit, compare-and-swap, read back (law 9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from patroni_etcd_reconfig.core.findings import Finding, blockers
from patroni_etcd_reconfig.core.model import KeyValue
from patroni_etcd_reconfig.core.patroni_keys import ScopeKeys, group_by_scope
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.leaderless import audit_scope
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.core.recovery.repairs import PutKey, Repair
from patroni_etcd_reconfig.engine.recovery.isolation import RecoveryBlockedError
from patroni_etcd_reconfig.engine.recovery.loop import Facts
from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.ports import Clock, EtcdApi

# How long PostgreSQL nodes may give no good picture before people must decide, and the pause between two
# looks, in seconds: one that starts says less than it has until it has replayed its WAL.
SETTLING = 10.0
PAUSE = 0.5
# A lease that runs out between reading and writing changes keys: then all is read again.
ROUNDS = 5

# The keys that were read, what is to be changed in them, and what was found.
Audited = tuple[tuple[KeyValue, ...], list[Repair], tuple[Finding, ...]]


@dataclass
class Repairing:
    """Repairs the keys of a plan's scopes. `postgres` asks every PostgreSQL node that the keys name."""

    plan: RecoveryPlan
    client: Callable[[], EtcdApi]
    postgres: Callable[[tuple[KeyValue, ...]], tuple[PostgresEvidence, ...]]
    note: Callable[[Facts], None]  # into the journal, durable
    say: Callable[[str], None]
    clock: Clock
    again: str  # the command line that goes on with the recovery

    def repair(self) -> Facts:
        """Return when the audit finds nothing to change any more; raises where people must decide.

        What is about to be changed is in the journal before it is.
        """
        done: list[str] = []
        written: set[str] = set()
        for _ in range(ROUNDS):
            kvs, repairs, findings = self._settled_audit()
            if not repairs:
                told = [finding.as_dict() for finding in findings]
                return {"repairs": done, "audit": told, "kept_keys": self._kept(kvs, written)}
            self.note({"repairing": [_in_words(repair) for repair in repairs]})
            changed = [repair for repair in repairs if self._apply(repair)]
            done += map(_in_words, changed)
            written |= {repair.key for repair in changed}
        raise StepFailedError(
            f"Patroni's keys were repaired {ROUNDS} times and still want repairs: {_in_words(repairs[0])}",
            hint="somebody else writes to this etcd: find out who; then give the same command again",
            code="REPAIR",
        )

    def _kept(self, kvs: tuple[KeyValue, ...], written: set[str]) -> Facts:
        """Return by scope the names of the keys that stay as they were."""
        found = group_by_scope((kv for kv in kvs if kv.key not in written), self.plan.namespace)
        return {keys.scope: sorted(keys.keys) for keys in found}

    def _settled_audit(self) -> Audited:
        """Return the first audit that nothing stands in the way of; raises when there is none in time."""
        deadline = self.clock.monotonic() + SETTLING
        told = ""
        while stopping := blockers((audited := self._audit())[2]):
            if self.clock.monotonic() >= deadline:
                raise _blocked(tuple(self._here(finding) for finding in stopping))
            if (words := _told(stopping)) != told:
                self.say(f"asking PostgreSQL again, for at most {SETTLING:.0f} s: {words}")
            told = words
            self.clock.sleep(PAUSE)
        return audited

    def _audit(self) -> Audited:
        kvs = self.client().range(self.plan.namespace.rstrip("/") + "/", prefix=True).kvs
        found = {keys.scope: keys for keys in group_by_scope(kvs, self.plan.namespace)}
        postgres = self.postgres(kvs)
        repairs: list[Repair] = []
        findings: list[Finding] = []
        for scope in self.plan.scopes:
            keys = found.get(scope.scope) or ScopeKeys(scope.scope, {})
            nodes = [one for one in postgres if one.scope == scope.scope]
            result = audit_scope(keys, nodes, scope, self.plan.namespace)
            repairs += result.repairs
            findings += result.findings
        return kvs, repairs, tuple(findings)

    def _here(self, finding: Finding) -> Finding:
        """No other plan leads on from here: a leader is named to the command that goes on."""
        return replace(finding, remedy=finding.remedy.replace("--lead ", f"{self.again} --lead ", 1))

    def _apply(self, repair: Repair) -> bool:
        client, revision = self.client(), repair.mod_revision
        if isinstance(repair, PutKey):
            done = client.put_if_unchanged(repair.key, repair.value, mod_revision=revision) is not None
        else:
            done = client.delete_if_unchanged(repair.key, mod_revision=revision)
        self.say(_in_words(repair) if done else f"{repair.key} changed meanwhile: looking again")
        return done


def _in_words(repair: Repair) -> str:
    """Name the key and the reason; a value may hold what belongs into no journal."""
    return f"{'write' if isinstance(repair, PutKey) else 'delete'} {repair.key}: {repair.why}"


def _told(findings: tuple[Finding, ...]) -> str:
    return "; ".join(f"{finding.subject}: {finding.detail}" for finding in findings)


def _blocked(findings: tuple[Finding, ...]) -> RecoveryBlockedError:
    return RecoveryBlockedError(
        f"in quarantine, before Patroni is let on: {_told(findings)}",
        hint=f"{findings[0].remedy}; etcd stays closed until then",
        code=findings[0].code,
        findings=findings,
    )
