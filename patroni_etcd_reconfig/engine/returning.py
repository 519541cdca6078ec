"""How a member that was stopped comes back: started, and waited for until it is as good as before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from patroni_etcd_reconfig.clock import wait_until
from patroni_etcd_reconfig.core.changes import MemberRef
from patroni_etcd_reconfig.core.model import EtcdView, Health, MemberView, format_id
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.quorum import is_linked
from patroni_etcd_reconfig.engine.world import Facts
from patroni_etcd_reconfig.errors import MembershipError, StepFailedError
from patroni_etcd_reconfig.ports import Clock, NodeControl

# etcd counts a peer as active once its streams have been up this long (HealthInterval,
# server/etcdserver/server.go); its strict reconfiguration check refuses changes before that.
HEALTH_INTERVAL = 5.0
GONE = 5.0  # seconds without a service before it counts as ended: a supervisor may be about to start it again


@dataclass
class Returning:
    """Restarts members with the data they have."""

    nodes: Mapping[str, NodeControl]
    policy: Policy
    clock: Clock
    observe_links: Callable[[], EtcdView]  # a look at etcd with the members' peer connections
    may_stop: Callable[..., None]  # the last look before a stop: see Stopping

    def restart(self, member: MemberRef) -> Facts:
        """Stop and start a member; returns once it is healthy, caught up and connected again."""
        node = self.nodes[member.name]
        self.may_stop(member)
        node.stop()
        node.start()
        self.await_back(member, node, "look at its etcd log")
        return {"restarted": format_id(member.id)}

    def await_back(
        self,
        member: MemberRef,
        node: NodeControl,
        advice: str,
        also: Callable[[MemberView], bool] = bool,
        hold: float = 0.0,
    ) -> None:
        """Return once the member is healthy, caught up, connected both ways, and as `also` wants it.

        `hold`: for so many seconds, at every look.
        """
        held, down = _Held(hold), _Held(GONE)

        def back() -> bool:
            now = self.clock.monotonic()
            there = self.is_back(member, also)
            if not there and down.look(not node.look().service_active, now):
                raise _exits(member)
            return held.look(there, now)

        wait_until(
            back,
            what=f"{member.name} to be healthy and connected again: {advice}",
            seconds=self.policy.step_timeout + hold,
            clock=self.clock,
            pause=0.03,
        )

    def is_back(self, member: MemberRef, also: Callable[[MemberView], bool]) -> bool:
        """Tell whether it is so now; MembershipError when the member was removed."""
        etcd = self.observe_links()
        view = etcd.by_id(member.id)
        if view is None and etcd.linearizable:
            raise _removed(member)
        lag, _ = lag_of(etcd, view)
        near = lag is not None and lag <= self.policy.max_learner_lag
        sound = view is not None and near and view.health is Health.HEALTHY and is_linked(etcd, view)
        return sound and view is not None and also(view)


def _removed(member: MemberRef) -> MembershipError:
    return MembershipError(
        f"{member.name} ({format_id(member.id)}) was removed by somebody else: its etcd ends by itself, "
        "often with exit code 0, after which most supervisors leave it stopped; its old data can't come back",
        hint=f"patronictl-etcd abort; to have it back as a new member, patronictl-etcd add {member.name}",
    )


def _exits(member: MemberRef) -> StepFailedError:
    return StepFailedError(
        f"etcd on {member.name} does not stay up after its start",
        hint=f"look at the etcd log of {member.name}; correct the cause; then: patronictl-etcd resume",
        code="MEMBER_EXITS",
    )


@dataclass
class _Held:
    """Tells whether something was true at every look for so many seconds."""

    seconds: float
    since: float | None = None

    def look(self, true: bool, now: float) -> bool:
        """Take one look."""
        self.since = (now if self.since is None else self.since) if true else None
        return self.since is not None and now - self.since >= self.seconds


def lag_of(etcd: EtcdView, view: MemberView | None) -> tuple[int | None, int]:
    """Return how many raft entries a member is behind the leader, and its applied index."""
    leader = etcd.leader
    if view is None or view.status is None or leader is None or leader.status is None:
        return None, -1
    applied = view.status.raft_applied_index
    return max(0, leader.status.raft_index - applied), applied
