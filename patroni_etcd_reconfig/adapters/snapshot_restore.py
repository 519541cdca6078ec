"""The data dir of a new cluster from a snapshot, made with etcd's own tool, whole or not there at all."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.adapters.commands import run
from patroni_etcd_reconfig.adapters.data_dir import read_data_dir
from patroni_etcd_reconfig.adapters.disk import is_mount
from patroni_etcd_reconfig.adapters.fence import lift_fence
from patroni_etcd_reconfig.adapters.inventory import NodeConfig
from patroni_etcd_reconfig.adapters.restore_tool import RestoreTool, environment
from patroni_etcd_reconfig.adapters.snapshot_file import sha256_of
from patroni_etcd_reconfig.core.model import format_id
from patroni_etcd_reconfig.core.recovery.evidence import DataDirFacts
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Survivor
from patroni_etcd_reconfig.core.recovery.restoring import token_of
from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.files import fsync_dir

# Watchers that remember a revision from before must never meet it again with another content: etcd's own
# documentation (op-guide/recovery.md) recommends this much.
BUMP = 1_000_000_000
TIMEOUT = 3600.0  # seconds: the tool copies and hashes the whole database
_AGAIN = "then give the same command again"


def check(config: NodeConfig, tool: RestoreTool, plan: RecoveryPlan) -> Mapping[str, object]:
    """Return what will restore; StepFailedError where the file or its place is not right."""
    survivor = _survivor(plan)
    try:
        _check_file(survivor)
    except OSError as error:
        words = f"{survivor.snapshot}: {error.strerror or error}"
        raise _failed(words, f"put the file there again; {_AGAIN}") from error
    places = _Places(config, "")
    for place in places.directories:
        if is_mount(place):
            remedy = "make data_dir a directory below it, in the inventory and in etcd's configuration"
            raise _failed(f"{config.name}: {place}: a mount point can't be renamed", f"{remedy}; {_AGAIN}")
    return {"tool": tool.program, "tool_version": tool.version}


def restore(config: NodeConfig, tool: RestoreTool, plan: RecoveryPlan, label: str) -> Mapping[str, object]:
    """Put the data of the plan's snapshot into the node's data dir, which is not there or empty.

    It is made beside it, read back, and moved there when all of it is on disk; killed anywhere, the same
    call goes on. StepFailedError when the file is another one now, the tool fails, or data is in the way.
    """
    survivor = _survivor(plan)
    places = _Places(config, label)
    try:
        if _whose(places.data, places.wal) != (plan.cluster_id, survivor.member_id):
            if not places.made_data.exists():
                _make(config, tool, plan, survivor, places)
            places.move()
        found = read_data_dir(places.data, places.wal, plan.namespace)
    except OSError as error:
        message = f"{config.name}: {error.filename or places.data}: {error.strerror or error}"
        raise _failed(message, f"make room or correct the rights there; {_AGAIN}") from error
    facts = {
        "restored": str(places.data),
        "bumped": tool.bumps,
        "revision": found.revision if found else None,
    }
    left = sorted(one.name for one in (found.members if found else ()) if one.id != survivor.member_id)
    return {**facts, "old_members": left}


def _survivor(plan: RecoveryPlan) -> Survivor:
    if plan.survivor is None:
        raise ValueError("a restore needs a survivor")
    return plan.survivor


def _check_file(survivor: Survivor) -> None:
    if sha256_of(Path(survivor.snapshot)) != survivor.snapshot_sha256:
        raise _failed(
            f"{survivor.snapshot} is not the file that the plan was made for",
            "put that file there again, or make a new plan: patronictl-etcd restore",
        )


@dataclass(frozen=True)
class _Places:
    """Where the data goes: `.part` is being made, `made` is whole, then it is moved to its place."""

    config: NodeConfig
    label: str

    @property
    def data(self) -> Path:
        return Path(self.config.data_dir)

    @property
    def wal(self) -> Path | None:
        return Path(self.config.wal_dir) if self.config.wal_dir else None

    @property
    def made_data(self) -> Path:
        return Path(f"{self.data}.{self.label}")

    @property
    def directories(self) -> tuple[Path, ...]:
        """Return what is moved, the data dir last; a log within it goes with it."""
        apart = self.wal is not None and self.data not in self.wal.parents
        return (self.wal, self.data) if apart and self.wal else (self.data,)

    @property
    def part_of_wal(self) -> Path | None:
        """Return where the log is made; None where it has its usual place."""
        if self.wal is None or self.wal in self.directories:
            return self.part(self.wal) if self.wal else None
        return self.part(self.data) / self.wal.relative_to(self.data)

    def part(self, path: Path) -> Path:
        return Path(f"{path}.{self.label}.part")

    def finish(self) -> None:
        """Give what is whole its name, the data dir last: with its name all of it is whole."""
        for path in self.directories:
            made = Path(f"{path}.{self.label}")
            shutil.rmtree(made, ignore_errors=True)  # of a run that ended between the two
            self.part(path).rename(made)
            fsync_dir(path.parent)

    def move(self) -> None:
        """Move it to its place, the data dir last; only an empty directory gives way."""
        for path in self.directories:
            made = Path(f"{path}.{self.label}")
            if made.exists():
                lift_fence(path)
                made.rename(path)
                fsync_dir(path.parent)


def _make(
    config: NodeConfig, tool: RestoreTool, plan: RecoveryPlan, survivor: Survivor, places: _Places
) -> None:
    _check_file(survivor)
    parts = [places.part(path) for path in places.directories]
    _forget(parts)  # the half that a killed run has left
    try:
        _run_tool(_words(config, tool, plan, survivor, places))
        for place in places.directories:
            _settle(places.part(place), place)
        _check(read_data_dir(places.part(places.data), places.part_of_wal, plan.namespace), plan, survivor)
    except (OSError, StepFailedError):
        _forget(parts)
        raise
    places.finish()


def _forget(parts: list[Path]) -> None:
    for part in parts:
        shutil.rmtree(part, ignore_errors=True)


def _words(
    config: NodeConfig, tool: RestoreTool, plan: RecoveryPlan, survivor: Survivor, places: _Places
) -> list[str]:
    flags = {
        "name": config.name,
        "data-dir": str(places.part(places.data)),
        "initial-cluster": ",".join(f"{config.name}={url}" for url in survivor.peer_urls),
        "initial-cluster-token": token_of(survivor.snapshot_sha256, plan.made_at),
        "initial-advertise-peer-urls": ",".join(survivor.peer_urls),
        **({"wal-dir": str(places.part_of_wal)} if places.part_of_wal else {}),
        **({"skip-hash-check": "true"} if "--raw-database" in plan.choices else {}),
        **({"bump-revision": str(BUMP), "mark-compacted": "true"} if tool.bumps else {}),
    }
    options = [f"--{flag}={value}" for flag, value in flags.items()]
    return [tool.program, "snapshot", "restore", survivor.snapshot, *options]


def _run_tool(words: list[str]) -> None:
    """Run it without the user's ETCDCTL_ variables, and never beyond our own end: it still writes then."""
    done = run(words, TIMEOUT, env=environment(), ends_with_us=True)
    if done.code != 0:
        raise _failed(f"{words[0]} snapshot restore: {done.describe()}", f"correct that; {_AGAIN}")


def _check(facts: DataDirFacts | None, plan: RecoveryPlan, survivor: Survivor) -> None:
    found = (facts.cluster_id, facts.member_id) if facts else (0, 0)
    problems = facts.problems if facts else ("no write-ahead log",)
    if problems or found != (plan.cluster_id, survivor.member_id):
        words = "; ".join(problems) or f"it is of cluster {format_id(found[0])}"
        raise _failed(f"what was restored is not as it should be: {words}", f"see etcd's tool; {_AGAIN}")


def _settle(part: Path, place: Path) -> None:
    """Give everything the owner of the place, its top the mode, too, and wait until all is on disk."""
    owner = (place if place.is_dir() else place.parent).stat()
    for path in (*sorted(part.rglob("*"), reverse=True), part):
        if os.geteuid() == 0:
            os.chown(path, owner.st_uid, owner.st_gid)
        if path.is_dir():
            path.chmod(stat.S_IMODE(owner.st_mode) if path == part and place.is_dir() else 0o700)
            fsync_dir(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _whose(data: Path, wal: Path | None) -> tuple[int, int] | None:
    """Return the ids of the data in place; the database must be there, too, or it is only half moved."""
    found = read_data_dir(data, wal, "/") if (data / "member").is_dir() else None
    return (found.cluster_id, found.member_id) if found else None


def _failed(message: str, hint: str) -> StepFailedError:
    return StepFailedError(message, hint=hint, code="RESTORE")
