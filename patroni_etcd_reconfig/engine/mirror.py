"""Copies of journals in etcd, for hosts that do not have the file; best effort, never in the way."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict

from patroni_etcd_reconfig.engine.journal import ETCD_PREFIX
from patroni_etcd_reconfig.engine.roster import Roster
from patroni_etcd_reconfig.errors import ReconfigError


class Mirror:
    """Writes and reads journal lines in etcd."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._waiting: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None

    def __call__(self, place: str, line: str) -> None:
        """Copy one line, in the background: steps do not wait for a copy."""
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, daemon=True)
            self._writer.start()
        self._waiting.put((place, line))

    def flush(self) -> None:
        """Wait, for a bounded time, until every line was copied or could not be."""
        if self._writer is not None:
            self._waiting.put(None)
            self._writer.join(timeout=5.0)
            self._writer = None

    def _write(self) -> None:
        while (item := self._waiting.get()) is not None:
            place, line = item
            try:
                self._roster.voters()[0].put(ETCD_PREFIX + place, line)
            except ReconfigError:
                continue  # no failure of the operation, whose journal is the local file

    def forget(self, operation_id: str) -> None:
        """Delete the copy of one operation, at once and as a whole."""
        self._roster.voters()[0].delete(f"{ETCD_PREFIX}{operation_id}/", prefix=True)

    def journals(self) -> dict[str, list[str]]:
        """Return the lines of every journal in etcd, by operation id."""
        found: dict[str, list[str]] = defaultdict(list)
        for kv in self._roster.voters()[0].range(ETCD_PREFIX, prefix=True).kvs:
            operation_id, _, number = kv.key.removeprefix(ETCD_PREFIX).partition("/")
            # A line that could not be copied leaves a gap; what follows it would be misread.
            if number == f"{len(found[operation_id]) + 1:06d}":
                found[operation_id].append(kv.value)
        return dict(found)
