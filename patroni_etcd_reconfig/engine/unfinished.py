"""Operations that wait to be resumed: from this host's files, or from their copies in etcd."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from patroni_etcd_reconfig.engine.journal import Record, journal_error, read
from patroni_etcd_reconfig.engine.mirror import Mirror
from patroni_etcd_reconfig.errors import JournalError, ReconfigError
from patroni_etcd_reconfig.files import append_durably

# Operation ids become file names; what comes from etcd is not trusted with more than this.
_SAFE_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


def find_unfinished(state_dir: Path, mirror: Mirror | None, cluster_id: int) -> list[Record]:
    """Return the unfinished operations on this cluster, newest first; without a mirror this host's."""
    records = all_records(state_dir, mirror)
    return [r for r in records if not r.finished and r.change.cluster_id == cluster_id]


def all_records(state_dir: Path, mirror: Mirror | None) -> list[Record]:
    """Return every operation that is known here or in etcd, newest first; without a mirror this host's."""
    records: dict[str, Record] = {}
    for record in (*_local(state_dir), *(_remote(mirror) if mirror else ())):
        known = records.get(record.operation_id)
        # The file is ahead of its copy, unless another host went on with the operation.
        if known is None or record.entries > known.entries:
            records[record.operation_id] = record
    return sorted(records.values(), key=lambda record: record.started_at, reverse=True)


def prune_copies(state_dir: Path, mirror: Mirror, keep: int) -> list[str]:
    """Delete the oldest journals in etcd but `keep`, and return whose; what can be resumed stays.

    For the holder of the lock. The files on the hosts stay. So does a copy that can't be read to its end:
    what its gap hides may be an operation of another host that can be resumed.
    """
    copied = mirror.journals()
    records = [record for record in all_records(state_dir, mirror) if record.operation_id in copied]
    ended = [record for record in records[keep:] if record.finished and record.state != "running"]
    old = [record.operation_id for record in ended]
    for operation_id in old:
        mirror.forget(operation_id)
    return old


def fetch(path: Path, operation_id: str, mirror: Mirror) -> None:
    """Bring an operation's journal from etcd to this host, as far as it is not here."""
    try:
        present = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        copied = mirror.journals().get(operation_id, [])
        if copied[: len(present)] == present:  # else the copy has holes, and the file is all there is
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            for line in copied[len(present) :]:
                append_durably(path, line + "\n")
    except OSError as error:
        raise journal_error(path, error) from error


def _local(state_dir: Path) -> Iterator[Record]:
    for path in sorted((state_dir / "operations").glob("*.jsonl")):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise journal_error(path, error) from error
        if text:  # an empty file: killed before anything was intended
            yield read(text.splitlines(), str(path))


def _remote(mirror: Mirror) -> Iterator[Record]:
    try:
        journals = mirror.journals()
    except ReconfigError:
        return
    for operation_id, lines in journals.items():
        if _SAFE_ID.fullmatch(operation_id):
            try:
                record = read(lines, f"the journal of {operation_id} in etcd")
            except JournalError:
                continue
            if record.operation_id == operation_id:
                yield record
