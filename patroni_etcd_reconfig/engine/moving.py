"""How a member's data moves: stopped, copied and checked, the old set aside, started on the copy.

The same member id must never run twice, and never on an older copy: it would vote with a lost log. So a
copy counts only while the old data is unchanged, and the old data is unusable before the copy is started.
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
from patroni_etcd_reconfig.engine.roster import Roster, listed, must_be
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
        must_be(member, listed(self.roster)[member.id])
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
        entries = source.entries()
        if target.entries():
            if _shape(target.entries()) == _shape(entries) and _digests(target) == _digests(source):
                return self._copied(step.member, entries)  # killed right after the copy was whole
            node.set_data_aside(f"{format_id(step.member.id)}.{self.operation_id}")
        target.discard(self.operation_id)
        size = sum(entry.size for entry in entries)
        self._check_room(node, size)
        progress = _Progress(size, self.clock, self.tell)
        for entry in entries:
            self._copy_entry(source, target, entry, progress)
        if source.entries() != entries:
            raise _differs(step.member, "it changed while it was copied")
        target.adopt(self.operation_id)
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
        """Set the old data aside, if the copy is still that of it; else the copy is made again first."""
        self._check_down(step.member, step.target)
        source, target = self.nodes[step.member.name], self.nodes[step.target]
        if source.tree().entries() and _shape(source.tree().entries()) != _shape(target.tree().entries()):
            self.say(f"{step.member.name} ran since it was copied: copying again")
            self._copy_or_run_again(CopyData(step.member, step.target))
        self.still_ours()
        return {"aside": list(source.set_data_aside(f"{format_id(step.member.id)}.{self.operation_id}"))}

    def _start(self, step: StartMoved) -> Facts:
        member, node = step.member, self.nodes[step.target]
        must_be(member, listed(self.roster)[member.id], step.seat)
        old, new = self.nodes[member.name].look(), node.look()
        if old.data_present or new.data is None or new.data.member_id != member.id:
            raise MembershipError(
                f"{member.name} is not started: its old place must be empty, and the new one hold its data",
                hint="patronictl-etcd resume",
            )
        urls = ReaddressMember(member, step.seat, step.client_urls, step.former_client_urls)
        settings = {**new_urls(node, urls), "name": step.seat.name, "data-dir": node.tree().place}
        node.write_config(settings, self.operation_id)
        self.returning.may_stop(member, step.seat)
        node.stop()
        node.start()
        moved = set(step.seat.peer_urls) != set(member.peer_urls)
        self.returning.await_back(
            replace(member, name=step.seat.name),
            node,
            "look at its etcd log, and whether its command line or environment has settings that win over "
            "its configuration file",
            partial(is_at, seat=step.seat, client_urls=step.client_urls),
            HEALTH_INTERVAL if moved else 0.0,
        )
        return {"restarted": format_id(member.id)}

    def _discard(self, step: DiscardCopy) -> Facts:
        node = self.nodes[step.target]
        if node.look().service_active and not self.nodes[step.member.name].look().service_active:
            node.stop()
        node.tree().discard(self.operation_id)
        label = f"{format_id(step.member.id)}.{self.operation_id}"
        return {"aside": list(node.set_data_aside(label))}


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
