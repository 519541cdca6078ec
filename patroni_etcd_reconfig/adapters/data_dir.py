"""A member's data dir on this machine, read without changing anything, also while its etcd runs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from patroni_etcd_reconfig.core.bolt import BoltError
from patroni_etcd_reconfig.core.etcd_store import StoreFacts, read_store
from patroni_etcd_reconfig.core.recovery.evidence import DataDirFacts
from patroni_etcd_reconfig.core.wal_log import LogFacts, read_log

_TRIES = 3  # of the database: a running etcd may write a page while it is read


def read_data_dir(data_dir: Path, wal_dir: Path | None, namespace: str) -> DataDirFacts | None:
    """Return what a data dir holds; None where there is no write-ahead log. `wal_dir`: where it lies apart.

    What is damaged or can't be read is in `problems`; OSError only for directories that can't be listed.
    """
    wal = wal_dir or data_dir / "member" / "wal"
    names = segments_in(wal)
    if not names:
        return None
    log, unread = read_segments(wal, names)
    database = data_dir / "member" / "snap" / "db"
    store, problem = _read_store(database, namespace)
    if (store.consistent_index or 0) > log.last.index:  # written meanwhile, if its etcd runs
        names = segments_in(wal)
        log, unread = read_segments(wal, names)
    if (store.consistent_index or 0) > log.last.index:
        problem = (*problem, f"{database}: is at index {store.consistent_index}, beyond the end of the log")
    files = [wal / name for name in names] + [database]
    return _facts(data_dir, log, store, (*unread, *problem), files)


def segments_in(wal: Path) -> list[str]:
    """Return the names of a log's segments, in order."""
    return sorted(path.name for path in wal.iterdir() if path.suffix == ".wal") if wal.is_dir() else []


def _facts(
    data_dir: Path, log: LogFacts, store: StoreFacts, problems: tuple[str, ...], files: list[Path]
) -> DataDirFacts:
    whose = log.whose
    member_id = whose.member_id if whose else 0
    alarm = ("the alarm CORRUPT is raised for it",) if member_id in store.corrupt else ()
    size, written = _size_and_time(files)
    return DataDirFacts(
        path=str(data_dir),
        cluster_id=whose.cluster_id if whose else 0,
        member_id=member_id,
        term=max(log.state.term, store.term or 0, log.last.term),
        vote=log.state.vote,
        commit=log.state.commit,
        last_term=log.last.term,
        last_index=log.last.index,
        consistent_index=store.consistent_index,
        revision=store.revision,
        is_learner=_is_learner(store, member_id),
        is_removed=member_id in store.removed | log.removed,
        members=store.members,
        keys=store.keys,
        auth_roots=store.auth_roots,
        torn_tail=log.torn_tail,
        problems=(*log.problems, *problems, *alarm),
        size=size,
        last_written_at=written,
    )


def _is_learner(store: StoreFacts, member_id: int) -> bool | None:
    """Raft's own word counts first: etcd 3.5.1 to 3.5.19 does not note promotions in the member list."""
    if store.voters is not None and member_id in store.voters:
        return False
    if store.learners is not None and member_id in store.learners:
        return True
    return next((member.is_learner for member in store.members if member.id == member_id), None)


def read_segments(wal: Path, names: list[str]) -> tuple[LogFacts, tuple[str, ...]]:
    """Return what the log tells, and what of it could not be read.

    Segments are read as a whole: a running etcd may cut one shorter, which a mapped file does not survive.
    """
    unread: dict[str, None] = {}

    def content(name: str) -> memoryview:
        try:
            return memoryview((wal / name).read_bytes())
        except OSError as error:
            unread[f"{wal / name}: {error.strerror or error}"] = None
            return memoryview(b"")

    return read_log(names, content), tuple(unread)


def _read_store(database: Path, namespace: str) -> tuple[StoreFacts, tuple[str, ...]]:
    problem = ""
    for _ in range(_TRIES):
        try:
            return read_database(database, namespace), ()
        except FileNotFoundError:
            return StoreFacts(), (f"{database}: is missing",)
        except (OSError, BoltError) as error:
            problem = f"{database}: {getattr(error, 'strerror', None) or error}"
    return StoreFacts(), (problem,)


def read_database(database: Path, namespace: str) -> StoreFacts:
    """Read a database file, also that of a snapshot. Raises OSError, and BoltError when it is damaged."""
    descriptor = os.open(database, os.O_RDONLY | os.O_CLOEXEC)
    end = os.fstat(descriptor).st_size

    def read(offset: int, size: int) -> bytes:
        """A damaged offset or size leads beyond the end: no memory is asked for that."""
        return os.pread(descriptor, min(size, end - offset), offset) if offset < end else b""

    try:
        return read_store(read, namespace.rstrip("/") + "/")
    finally:
        os.close(descriptor)


def _size_and_time(files: list[Path]) -> tuple[int, float | None]:
    stats = []
    for path in files:
        with contextlib.suppress(OSError):
            stats.append(path.stat())
    return sum(one.st_blocks * 512 for one in stats), max((one.st_mtime for one in stats), default=None)
