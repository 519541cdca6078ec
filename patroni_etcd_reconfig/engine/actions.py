"""How each step is done on real members and nodes.

Members are named by id: the list is read again, linearizably, right before each call, and id, name and
peer URLs must be those of the plan (law 6). A call that changes something is sent once; it is sent
again only after etcd itself has definitely refused it (law 7).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.clock import wait_until
from patroni_etcd_reconfig.core.changes import MemberRef, Seat
from patroni_etcd_reconfig.core.closed import assert_never
from patroni_etcd_reconfig.core.model import EtcdView, Member, MemberView, Observation, Progress, format_id
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.quorum import is_linked, survives_without
from patroni_etcd_reconfig.core.simulate import best_transferee
from patroni_etcd_reconfig.core.steps import (
    MOVING,
    AddLearner,
    AwaitSettled,
    LowerShield,
    PromoteLearner,
    RaiseShield,
    ReaddressMember,
    RemoveMember,
    RestartMember,
    SaveSnapshot,
    SetDataAside,
    StartMember,
    Step,
    TransferLeadership,
    UpdatePeerUrls,
    UpgradeMember,
    Verify,
)
from patroni_etcd_reconfig.engine.joining import Joining
from patroni_etcd_reconfig.engine.moving import Moving
from patroni_etcd_reconfig.engine.receiving import Copying
from patroni_etcd_reconfig.engine.refusals import Refusals
from patroni_etcd_reconfig.engine.relocating import Relocating
from patroni_etcd_reconfig.engine.returning import HEALTH_INTERVAL
from patroni_etcd_reconfig.engine.roster import Roster, listed, must_be
from patroni_etcd_reconfig.engine.shield import Shielding
from patroni_etcd_reconfig.engine.snapshot import save_snapshot
from patroni_etcd_reconfig.engine.upgrading import Upgrading
from patroni_etcd_reconfig.engine.verification import Verification, same_hashes
from patroni_etcd_reconfig.engine.world import Facts
from patroni_etcd_reconfig.errors import (
    MemberNotFoundError,
    MembershipError,
    NotEnoughStartedError,
    StepFailedError,
    TooManyLearnersError,
    UnhealthyClusterError,
)
from patroni_etcd_reconfig.ports import Clock, NodeControl

# How long an answer to a transfer may take, in seconds. One that works takes about 100 ms; raft gives one up
# after an election timeout (1 s by default), and etcd goes on waiting all the same (EtcdServer.MoveLeader).
TRANSFER = 5.0
SECOND_LOOK = 2.0  # seconds after which a look that forbids a removal is taken again: more than one lasts


@dataclass
class Actions:
    """Does steps. `observe_etcd` looks at etcd only, quickly; `snapshots` is where snapshots are kept."""

    roster: Roster
    nodes: Mapping[str, NodeControl]
    policy: Policy
    clock: Clock
    operation_id: str
    snapshots: Path
    observe_etcd: Callable[[], EtcdView]
    observe_links: Callable[[], EtcdView]  # the same look, with the members' peer connections
    progress: Callable[[], Progress]
    verification: Verification
    joining: Joining
    shielding: Shielding
    relocating: Relocating
    moving: Moving
    upgrading: Upgrading
    still_ours: Callable[[], None] = lambda: None  # raises LockedError when the lock may be lost

    def act(self, step: Step, seen: Observation) -> Facts:
        """Do one step; returns when its goal is reached."""
        if isinstance(step, SaveSnapshot):
            return self._save_snapshot(step, seen)
        if isinstance(step, (RaiseShield, LowerShield)):
            return self.shielding.act(step)
        if isinstance(step, TransferLeadership):
            return self._transfer(step)
        if isinstance(step, RemoveMember):
            return self._remove(step.member)
        if isinstance(step, SetDataAside):
            return self._set_aside(step.seat)
        if isinstance(step, MOVING):
            return self.moving.act(step)
        if isinstance(step, RestartMember):
            return self.relocating.returning.restart(step.member)
        if isinstance(step, UpgradeMember):
            return self.upgrading.upgrade(step)
        if isinstance(step, UpdatePeerUrls):
            return self.relocating.update(step)
        if isinstance(step, ReaddressMember):
            return self.relocating.readdress(step)
        return self._act_on_new_member(step)

    def _act_on_new_member(
        self, step: AwaitSettled | AddLearner | StartMember | PromoteLearner | Verify
    ) -> Facts:
        if isinstance(step, AddLearner):
            return self._add(step.seat)
        if isinstance(step, StartMember):
            return self.joining.start(step.seat, hidden=step.hidden)
        if isinstance(step, PromoteLearner):
            return self.joining.promote(step.seat)
        if isinstance(step, AwaitSettled):
            return self._await_settled(step.seat)
        if isinstance(step, Verify):
            return self.verification.verify()
        return assert_never(step)

    def _save_snapshot(self, step: SaveSnapshot, seen: Observation) -> Facts:
        view = seen.etcd.by_peer_urls(step.through.peer_urls)
        if view is None:
            raise MembershipError(f"{step.through.name} is no member any more", hint="patronictl-etcd resume")
        name = f"{format_id(seen.etcd.cluster_id)}-{self.operation_id}.db"
        total = view.status.db_size if view.status else 0
        copying = Copying("the snapshot", total, self.clock, self.joining.tell)
        client = self.roster.of(view, self.policy.step_timeout)
        return save_snapshot(client, self.snapshots / name, copying.come)

    def _transfer(self, step: TransferLeadership) -> Facts:
        etcd, source = self.observe_etcd(), step.source
        if etcd.leader_id != source.id:
            return {}
        target = best_transferee(etcd, source.id)
        if step.target:
            target = etcd.by_peer_urls(step.target.peer_urls)
        if target is None or target not in etcd.healthy_voters:
            why = f"{step.target.name} is not a healthy voter" if step.target else "no other voter is healthy"
            raise StepFailedError(f"leadership can't move: {why}", hint="patronictl-etcd status")
        self.verification.await_renewals()
        self.still_ours()
        self.roster.leader(min(TRANSFER, self.policy.step_timeout)).transfer_leadership(target.id)
        moved = lambda: self._leader_other_than(source.id)  # noqa: E731
        leader = wait_until(
            moved, what="a new raft leader", seconds=self.policy.step_timeout, clock=self.clock
        )
        return {"leader": format_id(leader)}

    def _leader_other_than(self, member_id: int) -> int | None:
        etcd = self.observe_etcd()
        return etcd.leader_id if etcd.linearizable and etcd.leader_id != member_id else None

    def _remove(self, member: MemberRef) -> Facts:
        def attempt() -> bool:
            self._recheck_removal(member)
            present = listed(self.roster)
            if member.id not in present:
                return True
            must_be(member, present[member.id])
            self.still_ours()
            try:
                self.roster.leader(self.policy.step_timeout).remove_member(member.id)
            except MemberNotFoundError:
                return True
            except UnhealthyClusterError as error:
                refusals.note(error)
                return False
            return True

        refusals = self._refusals(member.id)
        refusals.until(attempt, f"etcd to allow the removal of {member.name}", self.policy.step_timeout)
        return {"removed": format_id(member.id)}

    def _refusals(self, but: int = 0) -> Refusals:
        return Refusals(self.observe_links, self.clock, self.joining.tell, but)

    def _recheck_removal(self, member: MemberRef) -> None:
        """Since the gate a member may have died, or this one been elected: laws 2 and 3 still hold.

        etcd's own check is no substitute: it can be switched off, and does not look at the leader. One look
        may be wrong about a member that is slow to answer; two are believed.
        """
        if self._may_go(member.id):
            return
        self.clock.sleep(SECOND_LOOK)
        if not self._may_go(member.id):
            raise MembershipError(
                f"the cluster changed right before the removal of {member.name}: without it there would be "
                "no quorum now, or it leads now",
                hint="patronictl-etcd status; patronictl-etcd resume",
            )

    def _may_go(self, member_id: int) -> bool:
        etcd = self.observe_etcd()
        view = etcd.by_id(member_id)
        voting = view is not None and not view.member.is_learner
        return not voting or (etcd.leader_id != member_id and survives_without(etcd, member_id))

    def _add(self, seat: Seat) -> Facts:
        def attempt() -> bool:
            self._refuse_addition(seat)
            self.still_ours()
            try:
                added.append(self.roster.leader(self.policy.step_timeout).add_learner(seat.peer_urls))
            except UnhealthyClusterError as error:
                refusals.note(error)
            except MemberNotFoundError as error:
                # Ids are hashes of URLs and the second, and this one was used up by a removal in the same
                # second; nothing was added, and a second later the id is another.
                refusals.last = error
                self.clock.sleep(0.5)
            return bool(added)

        added: list[Member] = []
        refusals = self._refusals()
        refusals.until(attempt, f"etcd to accept {seat.name} as a learner", self.policy.step_timeout)
        return {"added": format_id(added[0].id)}

    def _refuse_addition(self, seat: Seat) -> None:
        """The last look before the call: with its check switched off etcd itself allows too much."""
        for member in listed(self.roster).values():
            who = f"member {format_id(member.id)} ({', '.join(member.peer_urls)})"
            if set(member.peer_urls) & set(seat.peer_urls):
                raise MembershipError(
                    f"peer URL {seat.peer_urls[0]} is taken by {who}", hint="patronictl-etcd resume"
                )
            if member.is_learner:
                hint = "promote or remove that learner first"
                raise TooManyLearnersError(f"{who} is a learner already; one at a time", hint=hint)
            if not member.started:
                hint = f"start its etcd, or remove it: etcdctl member remove {format_id(member.id)}"
                raise NotEnoughStartedError(f"{who} has never started; one at a time", hint=hint)

    def _set_aside(self, seat: Seat) -> Facts:
        node = self.nodes[seat.name]
        view = node.look()
        if view.problem:
            raise StepFailedError(f"{seat.name}: {view.problem}", hint="correct the inventory, then resume")
        owner = view.data.member_id if view.data else None
        if owner is not None and owner in listed(self.roster):
            raise MembershipError(
                f"the data dir of {seat.name} belongs to {format_id(owner)}, which is a member: left alone",
                hint="correct data_dir in the inventory, then: patronictl-etcd resume",
            )
        node.stop()
        label = f"{format_id(owner) if owner else 'unknown'}.{self.operation_id}"
        return {"aside": list(node.set_data_aside(label))}

    def _await_settled(self, seat: Seat) -> Facts:
        """Law 1: voter, in sync, same hash, and connected to every voter for etcd's own 5 s."""
        view = self._settled_now(seat)
        now = self.clock.wall()
        since = min(self.progress().joined.get(view.id, now), now)
        while (left := since + HEALTH_INTERVAL - self.clock.wall()) > 0:
            self.clock.sleep(min(left, 0.5))
        view = self._settled_now(seat)
        return {"settled": format_id(view.id)}

    def _settled_now(self, seat: Seat) -> MemberView:
        def probe() -> MemberView | None:
            etcd = self.observe_links()
            view = etcd.by_peer_urls(seat.peer_urls)
            sound = view in etcd.healthy_voters and not view.member.is_learner
            linked = view is not None and is_linked(etcd, view)
            return view if sound and linked and same_hashes(self.roster, etcd) else None

        what = f"{seat.name} to be in sync and connected to every voter"
        return wait_until(probe, what=what, seconds=self.policy.step_timeout, clock=self.clock, pause=0.05)
