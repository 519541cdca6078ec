"""How a member's data moves: stopped, copied and checked, the old set aside, started on the copy.

The same member id must never run twice, and never on an older copy: it would vote with a lost log. So a
copy counts only while the old data is unchanged. It lies where no etcd starts until the old data was set
aside, and where that was no etcd starts either, not even with an empty log: see adapters/fence.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from patroni_etcd_reconfig.core.changes import MemberRef
from patroni_etcd_reconfig.core.closed import assert_never
from patroni_etcd_reconfig.core.model import EtcdView, format_id
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.steps import (
    CopyData,
    DiscardCopy,
    FenceOldData,
    ReaddressMember,
    StartMoved,
    StopMember,
)
from patroni_etcd_reconfig.engine.relocating import is_at, new_urls
from patroni_etcd_reconfig.engine.returning import HEALTH_INTERVAL, Returning
from patroni_etcd_reconfig.engine.roster import Roster, must_be_listed
from patroni_etcd_reconfig.engine.verification import same_hashes
from patroni_etcd_reconfig.engine.world import Facts
from patroni_etcd_reconfig.errors import MembershipError, StepFailedError
from patroni_etcd_reconfig.ports import Clock, DataEntry, DataTree, NodeControl

SAY_EVERY = 2.0  # seconds between two lines of progress
MIB = 1024 * 1024


@dataclass
class Moving:
    """Does the steps of `move-data`. `say` takes a line of news, `tell` one of how far a copy has come."""

    roster: Roster
    nodes: Mapping[str, NodeControl]
    returning: Returning
    policy: Policy
    clock: Clock
    operation_id: str
    observe_etcd: Callable[[], EtcdView]
    say: Callable[[str], object] = str
    tell: Callable[[str], object] = str
    still_ours: Callable[[], None] = lambda: None  # raises LockedError when the lock may be lost

    def act(self, step: StopMember | CopyData | FenceOldData | StartMoved | DiscardCopy) -> Facts:
        """Do one step; returns when its goal is reached."""
        if isinstance(step, StopMember):
            return self._stop(step.member)
        if isinstance(step, CopyData):
            return self._copy_or_run_again(step)
        if isinstance(step, FenceOldData):
            return self._fence(step)
        if isinstance(step, StartMoved):
            return self._start(step)
        if isinstance(step, DiscardCopy):
            return self._discard(step)
        return assert_never(step)

    def _stop(self, member: MemberRef) -> Facts:
        must_be_listed(self.roster, member)
        if not same_hashes(self.roster, self.observe_etcd()):
            raise StepFailedError(
                f"the members' data differ, or {member.name} is behind: its data is not moved",
                hint=f"patronictl-etcd resume; if that says the same: patronictl-etcd replace {member.name}",
                code="DATA_DIFFERS",
            )
        self.returning.may_stop(member)
        self.nodes[member.name].stop()
        return {"stopped": format_id(member.id)}

    def _copy_or_run_again(self, step: CopyData) -> Facts:
        """A copy that fails, or is interrupted, leaves the member running on its old data, if it can."""
        try:
            return self._copy(step)
        except BaseException:
            self.say(f"no whole copy was made: starting {step.member.name} again on its old data")
            self.nodes[step.member.name].start()
            raise

    def _copy(self, step: CopyData) -> Facts:
        self._check_down(step.member, step.target)
        source, node = self.nodes[step.member.name].tree(), self.nodes[step.target]
        target = node.tree()
        entries, staged = source.entries(), target.staged(self.operation_id)
        if _shape(staged.entries()) == _shape(entries) and _digests(staged) == _digests(source):
            return self._copied(step.member, entries)  # killed right after the copy was whole
        target.discard(self.operation_id)
        size = sum(entry.size for entry in entries)
        self._check_room(node, size)
        progress = _Progress(size, self.clock, self.tell)
        for entry in entries:
            self._copy_entry(source, target, entry, progress)
        if source.entries() != entries:
            raise _differs(step.member, "it changed while it was copied")
        return self._copied(step.member, entries)

    def _copied(self, member: MemberRef, entries: tuple[DataEntry, ...]) -> Facts:
        return {"copied": format_id(member.id), "bytes": sum(entry.size for entry in entries)}

    def _copy_entry(self, source: DataTree, target: DataTree, entry: DataEntry, progress: _Progress) -> None:
        if entry.directory:
            target.stage(entry, iter(()), self.operation_id)
            return
        sent = hashlib.sha256()
        pieces = progress.watch(source.read(entry.path), sent.update)
        if target.stage(entry, pieces, self.operation_id) != sent.hexdigest():
            raise StepFailedError(
                f"{entry.path} reads back with another SHA-256 than it was written with",
                hint="look at the disk of the new place; then: patronictl-etcd resume",
                code="COPY_DIFFERS",
            )

    def _check_room(self, node: NodeControl, size: int) -> None:
        free, need = node.look().data_free_bytes, size + self.policy.min_free_bytes
        if free is not None and free < need:
            raise StepFailedError(
                f"{free // MIB} MiB free for {node.tree().place}, {need // MIB} MiB needed",
                hint="make room there; then: patronictl-etcd resume",
                code="COPY_FAILED",
            )

    def _check_down(self, member: MemberRef, target: str) -> None:
        """Right before data is read or renamed: neither place may run."""
        for name in (member.name, target):
            view = self.nodes[name].look()
            if view.problem or view.service_active:
                raise StepFailedError(
                    f"{name}: {view.problem or 'its service runs, so its data is not touched'}",
                    hint="patronictl-etcd status; then: patronictl-etcd resume",
                )

    def _fence(self, step: FenceOldData) -> Facts:
        """Set the old data aside, if the copy is still that of it; else the copy is made again first.

        Only then the copy gets its place: until now there was only the old data to start, now only the copy.
        """
        self._check_down(step.member, step.target)
        source, target = self.nodes[step.member.name], self.nodes[step.target]
        staged = target.tree().staged(self.operation_id)
        if not source.tree().entries():
            self._check_ours(step, staged)
        elif _shape(source.tree().entries()) != _shape(staged.entries()):
            self.say(f"{step.member.name} ran since it was copied: copying again")
            self._copy_or_run_again(CopyData(step.member, step.target))
        self.still_ours()
        target.set_data_aside(f"unknown.{self.operation_id}")  # of an etcd that was started there meanwhile
        aside = source.set_data_aside(self._label(step.member), fence=True)
        target.tree().adopt(self.operation_id)
        return {"aside": list(aside)}

    def _label(self, member: MemberRef) -> str:
        return f"{format_id(member.id)}.{self.operation_id}"

    def _check_ours(self, step: FenceOldData, staged: DataTree) -> None:
        """Without the old data the copy counts only if it was we who set that aside, after a look at both."""
        member, aside = step.member, self.nodes[step.member.name].look().set_aside
        if staged.entries() and any(path.endswith(f".{self._label(member)}") for path in aside):
            return
        raise StepFailedError(
            f"the old data of {member.name} is gone, and that was not this operation: whether it ran "
            "since it was copied, so that the copy is too old, can't be told",
            hint="bring it back, then: patronictl-etcd resume; if it is lost: etcdctl member remove "
            f"{format_id(member.id)}; patronictl-etcd abort; patronictl-etcd add {member.name}",
            code="OLD_DATA_GONE",
        )

    def _start(self, step: StartMoved) -> Facts:
        member, node = step.member, self.nodes[step.target]
        renamed = replace(member, name=step.seat.name)
        must_be_listed(self.roster, member, step.seat)
        old, new = self.nodes[member.name].look(), node.look()
        if old.data_present or new.data is None or new.data.member_id != member.id:
            raise MembershipError(
                f"{member.name} is not started: its old place must be empty, and the new one hold its data",
                hint="patronictl-etcd resume",
            )
        urls = ReaddressMember(member, step.seat, step.client_urls, step.former_client_urls)
        settings = {**new_urls(node, urls), "name": step.seat.name, "data-dir": node.tree().place}
        node.write_config(settings, self.operation_id)
        there = partial(is_at, seat=step.seat, client_urls=step.client_urls)
        # A run that was killed has started it: with the old place fenced it runs nowhere else.
        if not (new.service_active and self.returning.is_back(renamed, there)):
            if new.service_active:
                self.returning.may_stop(member, step.seat)
            node.stop()
            node.start()
        moved = set(step.seat.peer_urls) != set(member.peer_urls)
        self.returning.await_back(
            renamed,
            node,
            "look at its etcd log, and whether its command line or environment has settings that win over "
            "its configuration file",
            there,
            HEALTH_INTERVAL if moved else 0.0,
        )
        return {"restarted": format_id(member.id)}

    def _discard(self, step: DiscardCopy) -> Facts:
        """No etcd could be started on it: the old data is whole, and is what counts."""
        self.nodes[step.target].tree().discard(self.operation_id)
        return {"discarded": format_id(step.member.id)}


def _shape(entries: tuple[DataEntry, ...]) -> set[tuple[str, int, int]]:
    """An etcd that ran in between has written: sizes or times of its files are others."""
    return {(entry.path, entry.size, entry.modified_ns) for entry in entries}


def _digests(tree: DataTree) -> dict[str, str]:
    found = {}
    for entry in tree.entries():
        if not entry.directory:
            digest = hashlib.sha256()
            for piece in tree.read(entry.path):
                digest.update(piece)
            found[entry.path] = digest.hexdigest()
    return found


def _differs(member: MemberRef, why: str) -> StepFailedError:
    return StepFailedError(
        f"the data of {member.name} was not copied: {why}",
        hint="see who starts its etcd or writes there; then: patronictl-etcd resume",
        code="COPY_DIFFERS",
    )


@dataclass
class _Progress:
    """Says how much is copied, and how long the rest will take."""

    total: int
    clock: Clock
    say: Callable[[str], object]
    done: int = 0
    began: float = field(init=False)
    said: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.said = self.clock.monotonic()

    def watch(self, pieces: Iterator[bytes], digest: Callable[[bytes], object]) -> Iterator[bytes]:
        """Let the pieces pass."""
        for piece in pieces:
            digest(piece)
            yield piece
            self.done += len(piece)
            now = self.clock.monotonic()
            if now - self.said >= SAY_EVERY:
                left = (self.total - self.done) * (now - self.began) / max(1, self.done)
                self.said = now
                self.say(f"copied {self.done // MIB} of {self.total // MIB} MiB, about {left:.0f} s left")
