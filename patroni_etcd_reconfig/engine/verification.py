"""What must be true at the end, looked up again on the servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from patroni_etcd_reconfig.clock import wait_until
from patroni_etcd_reconfig.core.model import EtcdView, Health, MemberView, PatroniCluster, format_id
from patroni_etcd_reconfig.core.node_checks import largest_db
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.engine.roster import Roster
from patroni_etcd_reconfig.engine.world import Facts
from patroni_etcd_reconfig.errors import EtcdError, ExitCode, ReconfigError, StepFailedError
from patroni_etcd_reconfig.parallel import gather
from patroni_etcd_reconfig.ports import Clock

# etcd reads its whole database for a hash. What a slow disk manages: seconds, and bytes per second.
HASH_TIME, HASH_PACE = 5.0, 50e6

# A renewal this young, in seconds, counts as one that came just now: etcd tells whole seconds only.
JUST_NOW = 2.0


class NotVerifiedError(ReconfigError):
    """The steps were done, but what they promised is not what is seen."""

    exit_code = ExitCode.NOT_VERIFIED
    code = "NOT_VERIFIED"


@dataclass
class Verification:
    """Checks the end state. `last_change` is the wall time of the last step that touched etcd."""

    roster: Roster
    policy: Policy
    clock: Clock
    observe_etcd: Callable[[], EtcdView]
    observe_patroni: Callable[[], tuple[PatroniCluster, ...]]
    last_change: Callable[[], float]
    learners: frozenset[str] = frozenset()  # names of members that are meant to stay learners
    only: frozenset[str] | None = None  # names of the members that must vote; None = all that there are

    def verify(self) -> Facts:
        """Return when all holds; raises NotVerifiedError that names what does not, after a bounded wait.

        Every member votes, serves linearizable reads and hashes like the others, and every Patroni leader
        renewed its lease after the last change. One renewal that certainly came after the change proves
        what the design's two renewals do: that this leader reaches the changed cluster. Where `only` some
        members are asked for, what the others do is not this operation's affair, if there is a quorum.
        """
        revision = self.observe_etcd().revision
        self._wait(self._sound, "every member to vote, serve reads and hold the same data", self._amiss)
        since = self.clock.monotonic() - max(0.0, self.clock.wall() - self.last_change())
        self._wait(lambda: self._renewed(since, revision), "every Patroni leader to renew its lease")
        return {"verified": True}

    def await_renewals(self) -> None:
        """Return once every Patroni leader has renewed its lease: so late that none is due, or from now on.

        With many clusters on one etcd their loops never coincide; each of them renews within its own
        `loop_wait`. Raises StepFailedError when one does not.
        """
        began, revision = self.clock.monotonic(), self.observe_etcd().revision
        wait_until(
            lambda: self._renewed(began - JUST_NOW, revision),
            what="every Patroni leader to renew its lease",
            seconds=self.policy.step_timeout,
            clock=self.clock,
            pause=0.05,
        )

    def _wait(self, probe: Callable[[], bool], what: str, amiss: Callable[[], list[str]] = list) -> None:
        try:
            wait_until(probe, what=what, seconds=self.policy.step_timeout, clock=self.clock, pause=0.05)
        except StepFailedError as error:
            raise NotVerifiedError(
                ": ".join([error.message, *filter(None, [", ".join(amiss())])]),
                hint="patronictl-etcd status; patronictl-etcd resume",
            ) from error

    def _sound(self) -> bool:
        etcd = self.observe_etcd()
        return etcd.linearizable and not self._unsound(etcd) and same_hashes(self.roster, etcd)

    def _amiss(self) -> list[str]:
        return [
            f"{v.member.name or format_id(v.id)} is {_state(v)}" for v in self._unsound(self.observe_etcd())
        ]

    def _unsound(self, etcd: EtcdView) -> list[MemberView]:
        asked = [v for v in etcd.members if self.only is None or v.member.name in self.only]
        fine = {v.id for v in etcd.healthy_voters}
        fine |= {v.id for v in etcd.learners if v.member.name in self.learners}
        return [view for view in asked if view.id not in fine]

    def _renewed(self, since: float, revision: int) -> bool:
        """A lease tells whole seconds only; a write of `status`, which follows a renewal, tells sooner."""
        try:
            clusters = self.observe_patroni()
        except EtcdError:
            return False
        return all(
            c.lease is not None and (c.lease.renewed_after >= since or c.status_revision > revision)
            for c in clusters
        )


def _state(view: MemberView) -> str:
    healthy = view.member.is_learner and view.health is Health.HEALTHY
    return "a learner" if healthy else view.health.value


def same_hashes(roster: Roster, etcd: EtcdView) -> bool:
    """Tell whether all healthy voters hash alike at one revision; True where the version has no HashKV."""
    seconds = hash_time(etcd)
    calls = {
        view.member.name: lambda view=view: roster.of(view, seconds).hash_kv(etcd.revision)
        for view in etcd.healthy_voters
    }
    answers = gather(calls, seconds)
    if answers.errors or len(answers.results) != len(calls):
        return False  # e.g. a member that has not reached this revision yet
    hashes = [answer for answer in answers.results.values() if answer is not None]
    # Members compact at their own pace: only hashes over the same stretch can be compared.
    stretches = {answer.compact_revision for answer in hashes}
    return all(len({h.hash for h in hashes if h.compact_revision == s}) == 1 for s in stretches)


def hash_time(etcd: EtcdView) -> float:
    """Return how long a hash may take, in seconds: 2 GB can't be read in the time of other answers."""
    return HASH_TIME + largest_db(etcd) / HASH_PACE


def baseline_of(clusters: tuple[PatroniCluster, ...]) -> dict[str, Any]:
    """Return what must be the same at the end, as the journal keeps it."""
    return {
        c.scope: {"leader": c.leader, "created": c.leader_created, "timeline": c.timeline} for c in clusters
    }


def broken_promises(baseline: Mapping[str, Any], clusters: tuple[PatroniCluster, ...]) -> list[str]:
    """Name every Patroni cluster whose leader or timeline is not the one the operation began with."""
    now = baseline_of(clusters)
    return [
        f"{scope}: {_in_words(then)} before; {_in_words(now.get(scope))} after"
        for scope, then in baseline.items()
        if now.get(scope) != then
    ]


def _in_words(facts: Mapping[str, Any] | None) -> str:
    return f"leader {facts['leader']}, timeline {facts['timeline']}" if facts else "no such cluster"
