"""A data dir on this machine, to be copied from or to: whole and verified, or not there at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.adapters.fence import is_free, lift_fence
from patroni_etcd_reconfig.errors import NodeControlError
from patroni_etcd_reconfig.files import fsync_dir
from patroni_etcd_reconfig.ports import DataEntry

PIECE = 1024 * 1024  # bytes; as much of a file is in memory at a time


@dataclass(frozen=True)
class LocalTree:
    """See ports.DataTree. `name` is that of the node, for messages."""

    name: str
    directory: Path

    @property
    def place(self) -> str:
        """Return the directory."""
        return str(self.directory)

    def entries(self) -> tuple[DataEntry, ...]:
        """Return what is in it; NodeControlError for what is neither file nor directory."""
        with self._told():
            if is_free(self.directory):
                return ()
            inside = sorted(self.directory.rglob("*"))
            return (self._entry(self.directory), *(self._entry(path) for path in inside))

    def read(self, path: str) -> Iterator[bytes]:
        """Read one file, piece by piece."""
        with self._told(), (self.directory / path).open("rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def stage(self, entry: DataEntry, pieces: Iterator[bytes], label: str) -> str:
        """Write an entry below the `.part` directory, with owner, mode and time; return its SHA-256."""
        target = self._part(label) / entry.path
        with self._told():
            if entry.directory:
                target.mkdir(mode=0o700)
                _set_rights(target, entry)
                return ""
            _write(target, pieces)
            _set_rights(target, entry)
            os.utime(target, ns=(entry.modified_ns, entry.modified_ns))
            return self._digest(target)

    def staged(self, label: str) -> LocalTree:
        """Return what was staged and not adopted."""
        return LocalTree(self.name, self._part(label))

    def adopt(self, label: str) -> None:
        """Rename the `.part` directory; an empty directory in its place is as good as none."""
        part = self._part(label)
        with self._told():
            for path in [part, *part.rglob("*")]:
                if path.is_dir():
                    fsync_dir(path)
            if self.directory.is_dir():
                lift_fence(self.directory)
                self.directory.rmdir()  # fails where there is something in it
            part.rename(self.directory)
            fsync_dir(self.directory.parent)

    def discard(self, label: str) -> None:
        """Delete the `.part` directory: a copy that is not whole is no data."""
        with self._told():
            if self._part(label).is_dir():
                shutil.rmtree(self._part(label))

    def _part(self, label: str) -> Path:
        return Path(f"{self.directory}.{label}.part")

    def _entry(self, path: Path) -> DataEntry:
        facts = path.lstat()
        directory = stat.S_ISDIR(facts.st_mode)
        if not directory and not stat.S_ISREG(facts.st_mode):
            raise NodeControlError(
                f"{self.name}: {path} is neither a file nor a directory, and is not copied",
                hint="put the real file or directory there; then: patronictl-etcd resume",
            )
        relative = path.relative_to(self.directory)
        return DataEntry(
            path="" if path == self.directory else str(relative),
            directory=directory,
            size=0 if directory else facts.st_size,
            mode=stat.S_IMODE(facts.st_mode),
            uid=facts.st_uid,
            gid=facts.st_gid,
            modified_ns=0 if directory else facts.st_mtime_ns,
        )

    def _digest(self, path: Path) -> str:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
        return digest.hexdigest()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
            raise NodeControlError(
                f"{self.name}: its data can't be copied: {what}",
                hint="make room or correct the rights there; then: patronictl-etcd resume",
                code="COPY_FAILED",
            ) from error


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _set_rights(path: Path, entry: DataEntry) -> None:
    """Owner first: chown clears setuid bits."""
    own = path.stat()
    if (own.st_uid, own.st_gid) != (entry.uid, entry.gid):
        os.chown(path, entry.uid, entry.gid)
    path.chmod(entry.mode)
