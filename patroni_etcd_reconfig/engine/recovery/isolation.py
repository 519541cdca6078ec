"""The survivor alone in quarantine: the one start with the flag, and its raft term."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from patroni_etcd_reconfig.clock import wait_until
from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.model import MemberStatus, format_id
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Survivor
from patroni_etcd_reconfig.engine.recovery.loop import Facts
from patroni_etcd_reconfig.errors import EtcdError, ExitCode, ReconfigError, StepFailedError
from patroni_etcd_reconfig.ports import Clock, EtcdApi, EtcdConnector

CALL = 2.0  # seconds for one call to an etcd on this machine
# In quarantine an election takes a few hundredths of a second: who does not lead after this long has
# others to wait for, so the flag has had no effect yet.
PROBE = 3.0
READY = 30.0  # seconds for a start in quarantine: a large log has to be read
# Each plain start raises the term of a lone member by one, and takes about 0.06 s.
MAX_STARTS = 2000
TELL_EVERY = 200  # starts
NO_SPACE = "no_space"  # the survivor had the alarm NOSPACE
AGAIN = "see etcd's log; then give the same command again"


class Quarantine(Protocol):
    """etcd on the survivor's data, where nobody but this process reaches it. Errors: NodeControlError."""

    @property
    def url(self) -> str:
        """Return its client URL."""

    @property
    def running(self) -> bool:
        """Tell whether the etcd that this process started still runs."""

    def start(self, *, force: bool) -> None:
        """Start it, with --force-new-cluster or without; does not wait until it answers."""

    def stop(self) -> None:
        """Stop it cleanly, and any that an earlier run has left."""

    def raise_commit_mark(self) -> tuple[int, int] | None:
        """Mark what its database has applied as committed; the index before and after, None if it was."""

    def last_words(self) -> str:
        """Return the end of its log."""


class SurvivorError(StepFailedError):
    """The survivor is not what it should be after its start in quarantine."""

    code = "SURVIVOR"


@dataclass
class Isolation:
    """Works on the survivor in quarantine. `copy` says where its untouched data is."""

    plan: RecoveryPlan
    survivor: Survivor
    quarantine: Quarantine
    connect: EtcdConnector
    clock: Clock
    say: Callable[[str], None]
    copy: Callable[[], str]
    revision_seen: Callable[[], int]
    note: Callable[[Facts], None]  # into the journal, durable
    ready: float = READY

    def force(self, *, given_before: bool, mark: Callable[[], None]) -> Facts:
        """Make the survivor the only member; `mark` is called right before the flag is given.

        A run that was killed in here may have given the flag or not: the survivor is started without it
        first, and only one that does not lead alone gets it.
        """
        if given_before and self._leads_already():
            self.say("--force-new-cluster took effect in the earlier run: it is not given again")
        else:
            mark()
            self._keep_what_was_applied()
            self.quarantine.start(force=True)
        status = self._await_alone()
        self._remove_zombies()
        self._move()
        found = self.client().range("/", serializable=False).revision
        if found < self.revision_seen():
            raise SurvivorError(
                f"its store is at revision {found}, and was at {self.revision_seen()} before",
                hint=f"its untouched data is in {self.copy()}; nothing was opened to Patroni",
                code="REVISION_WENT_BACK",
            )
        return {"forced": True, "term": status.raft_term, "revision": found, "alarms": self._alarms()}

    def raise_term(self, minimum: int) -> Facts:
        """Start it without the flag until its raft term is `minimum`; a lone member gains one each."""
        status = self.ensure()
        starts = 0
        while status.raft_term < minimum:
            if starts >= MAX_STARTS:
                raise SurvivorError(
                    f"its raft term is {status.raft_term} after {starts} starts; Patroni has seen {minimum}",
                    hint="give the same command again to go on, or restart every Patroni, which forgets it",
                    code="TERM_TOO_LOW",
                )
            self.quarantine.stop()
            self.quarantine.start(force=False)
            status, starts = self._await_alone(), starts + 1
            if starts % TELL_EVERY == 0:
                self.say(f"raft term {status.raft_term} of {minimum}, {starts} starts")
        return {"term": status.raft_term, "starts": starts}

    def ensure(self) -> MemberStatus:
        """Return the status of the survivor in quarantine, which is started without the flag if need be."""
        if not self.quarantine.running:
            self.quarantine.start(force=False)
        return self._await_alone()

    def client(self) -> EtcdApi:
        """Return a client of the survivor in quarantine."""
        return self.connect(self.quarantine.url, CALL)

    def make_room(self) -> None:
        """Take the alarm NOSPACE away, with which etcd refuses to write; in quarantine it has no quota.

        What filled it is still there, so that its service raises the alarm again, at the first write.
        """
        client = self.client()
        for alarm in client.alarms():
            if alarm.kind == "NOSPACE":
                self.note({NO_SPACE: True})
                self.say(f"{self.survivor.node} has the alarm NOSPACE: in quarantine it has no quota")
                client.disarm(alarm)

    def _keep_what_was_applied(self) -> None:
        """The flag drops what the log does not mark as committed, and a killed etcd has not marked all."""
        self.quarantine.stop()
        if raised := self.quarantine.raise_commit_mark():
            before, after = raised
            self.note({"commit_mark": {"before": before, "after": after}})
            self.say(f"its log marked up to index {before} as committed; its database has applied {after}")

    def _leads_already(self) -> bool:
        self.quarantine.start(force=False)
        deadline = self.clock.monotonic() + PROBE
        while self.clock.monotonic() < deadline and self.quarantine.running:
            if self._leading() is not None:
                return True
            self.clock.sleep(0.01)
        self.quarantine.stop()
        return False

    def _leading(self) -> MemberStatus | None:
        try:
            status = self.connect(self.quarantine.url, 0.5).status()
        except EtcdError:
            return None
        return status if status.leader_id == status.member_id else None

    def _await_alone(self) -> MemberStatus:
        status = self._await_leading()
        ours = (self.plan.cluster_id, self.survivor.member_id)
        if (status.cluster_id, status.member_id) != ours:
            raise SurvivorError(
                f"in quarantine it is member {format_id(status.member_id)} of cluster "
                f"{format_id(status.cluster_id)}, not {format_id(ours[1])} of {format_id(ours[0])}",
                hint=f"its untouched data is in {self.copy()}; correct the inventory and its configuration",
            )
        return status

    def _await_leading(self) -> MemberStatus:
        what, seconds = f"{self.survivor.node} to lead alone in quarantine", self.ready
        try:
            return wait_until(
                self._alive_and_leading, what=what, seconds=seconds, clock=self.clock, pause=0.01
            )
        except StepFailedError as error:
            error.hint = error.hint or f"etcd's last words: {self.quarantine.last_words()}"
            raise

    def _alive_and_leading(self) -> MemberStatus | None:
        status = self._leading()
        if status is None and not self.quarantine.running:
            raise SurvivorError(
                f"etcd on {self.survivor.node} ended in quarantine: {self.quarantine.last_words()}",
                hint=f"its untouched data is in {self.copy()}; {AGAIN}",
                code="QUARANTINE_EXITS",
            )
        return status

    def _remove_zombies(self) -> None:
        """Before etcd 3.5.22 and 3.6.1 a crash could leave old members in the list (issue 20009)."""
        client = self.client()
        for member in client.member_list().members:
            if member.id != self.survivor.member_id:
                self.say(
                    f"removing {member.name or format_id(member.id)}, which the flag has left in the list"
                )
                client.remove_member(member.id)
        left = client.member_list().members
        if [member.id for member in left] != [self.survivor.member_id] or left[0].is_learner:
            names = ", ".join(member.name or format_id(member.id) for member in left)
            raise SurvivorError(f"it is not the only voter: the list has {names}", hint=AGAIN)

    def _move(self) -> None:
        """Write the peer URLs that its node has now into the member list, where the list has others."""
        client, wanted = self.client(), self.survivor.peer_urls
        listed = client.member_list().members[0].peer_urls
        if wanted and set(wanted) != set(listed):
            self.say(f"its peer URL becomes {', '.join(wanted)}; it was {', '.join(listed)}")
            client.update_member(self.survivor.member_id, wanted)

    def _alarms(self) -> list[str]:
        kinds = sorted({alarm.kind for alarm in self.client().alarms()})
        if "CORRUPT" in kinds:
            raise SurvivorError(
                f"{self.survivor.node} has the alarm CORRUPT: its data is not what was committed",
                hint="choose another survivor, or restore a snapshot: patronictl-etcd restore",
                code="CORRUPT",
            )
        return kinds


def no_space_words() -> str:
    """Return what the service of a survivor with NOSPACE needs before Patroni can write."""
    return (
        "its database is as large as its quota allows, and Patroni can't write until there is room: raise "
        "quota-backend-bytes and restart it; or: etcdctl compact REVISION; etcdctl defrag; "
        "etcdctl alarm disarm"
    )


class RecoveryBlockedError(ReconfigError):
    """Something must be decided or done by people first; the recovery goes on from there afterwards."""

    exit_code = ExitCode.BLOCKED
    code = "BLOCKED"

    def __init__(
        self, message: str, *, hint: str = "", code: str = "", findings: tuple[Finding, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.findings = findings
