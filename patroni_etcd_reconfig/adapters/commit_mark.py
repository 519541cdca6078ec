"""How far a stopped member's log is marked as committed, raised to what its database has applied.

etcd writes the mark to its log without a sync, and loses it when it is killed; the database, which has
applied what was committed, can be ahead of it then. `--force-new-cluster` drops what is not marked, and the
database keeps it: members that are added afterwards lack those writes, and the survivor has them. etcd looks
at the database itself since 3.5.22 and 3.6.1 (etcd-io/etcd#20009, #14009).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from patroni_etcd_reconfig.adapters.data_dir import read_database, read_segments, segments_in
from patroni_etcd_reconfig.core.bolt import BoltError
from patroni_etcd_reconfig.core.wal_append import state_record
from patroni_etcd_reconfig.core.wal_log import is_segment


def raise_commit_mark(data_dir: Path, wal_dir: Path | None) -> tuple[int, int] | None:
    """Mark what the database has applied as committed; return the index before and after, None if it was.

    The member must be stopped. Does nothing where the log is damaged or torn: etcd's own repair comes first.
    Durable on return; killed in between, the record is whole or torn, and etcd cuts a torn one off.
    """
    wal = wal_dir or data_dir / "member" / "wal"
    names = list(filter(is_segment, segments_in(wal)))  # the last one is written to
    log, unread = read_segments(wal, names)
    try:
        applied = read_database(data_dir / "member" / "snap" / "db", "/").consistent_index or 0
    except (OSError, BoltError):
        return None
    if unread or log.problems or log.end is None or not log.state.commit < applied <= log.last.index:
        return None
    with (wal / names[-1]).open("r+b") as file:
        file.seek(log.end.offset)
        file.write(state_record(replace(log.state, commit=applied), log.end.crc))
        file.flush()
        os.fsync(file.fileno())
    return log.state.commit, applied
