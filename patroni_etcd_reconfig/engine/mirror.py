"""Copies of journals in etcd, for hosts that do not have the file; best effort, never in the way."""

from __future__ import annotations

from collections import defaultdict

from patroni_etcd_reconfig.engine.journal import ETCD_PREFIX
from patroni_etcd_reconfig.engine.roster import Roster
from patroni_etcd_reconfig.errors import ReconfigError


class Mirror:
    """Writes and reads journal lines in etcd."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def __call__(self, place: str, line: str) -> None:
        """Copy one line; a failure is no failure of the operation, whose journal is the local file."""
        try:
            self._roster.voters()[0].put(ETCD_PREFIX + place, line)
        except ReconfigError:
            return

    def journals(self) -> dict[str, list[str]]:
        """Return the lines of every journal in etcd, by operation id."""
        found: dict[str, list[str]] = defaultdict(list)
        for kv in self._roster.voters()[0].range(ETCD_PREFIX, prefix=True).kvs:
            operation_id = kv.key.removeprefix(ETCD_PREFIX).partition("/")[0]
            found[operation_id].append(kv.value)
        return dict(found)
