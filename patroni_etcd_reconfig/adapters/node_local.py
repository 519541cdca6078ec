"""Control of a node on this machine, with the operator's own commands (`via: local`, `manager: command`)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from patroni_etcd_reconfig.adapters.commands import Outcome, missing_program, run, split_command
from patroni_etcd_reconfig.adapters.data_tree import LocalTree
from patroni_etcd_reconfig.adapters.disk import database_bytes, free_bytes, is_mount, size_of
from patroni_etcd_reconfig.adapters.etcd_config_file import is_yaml, read_settings, set_settings
from patroni_etcd_reconfig.adapters.fence import is_begun, is_free, lift_fence
from patroni_etcd_reconfig.adapters.inventory import NodeConfig
from patroni_etcd_reconfig.adapters.inventory_checks import PLACEHOLDERS
from patroni_etcd_reconfig.adapters.process import kill_holder
from patroni_etcd_reconfig.adapters.set_aside import holds, rename_aside, set_aside_beside
from patroni_etcd_reconfig.core.model import DataDir, NodeView
from patroni_etcd_reconfig.core.wal import read_identity
from patroni_etcd_reconfig.errors import ConfigError, NodeControlError
from patroni_etcd_reconfig.files import read_text, write_atomically

if TYPE_CHECKING:
    from patroni_etcd_reconfig.core.recovery.evidence import DataDirFacts

COMMAND_TIMEOUT = 90.0  # s; etcd's own unit allows as much for a start (systemd's DefaultTimeoutStartSec)
LOOK_TIMEOUT = 10.0  # s; is_active only asks
POLL = 0.05  # s
WAL_HEAD = 64 * 1024  # bytes; the metadata is the second record of a segment
VERSION = re.compile(r"^etcd Version: (\S+)$", re.MULTILINE)
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class LocalNode:
    """One etcd member on this machine. `timeout` is that of a start or stop, in seconds."""

    config: NodeConfig
    timeout: float = COMMAND_TIMEOUT
    other_dir: str = ""  # a data dir that the configuration file may name as well, while data moves

    @property
    def name(self) -> str:
        """Return the member's name in the inventory."""
        return self.config.name

    @property
    def peer_urls(self) -> tuple[str, ...]:
        """Return the peer URL of the inventory, if it gives one."""
        return (self.config.peer_url,) if self.config.peer_url else ()

    @property
    def client_urls(self) -> tuple[str, ...]:
        """Return the client URL of the inventory, if it gives one."""
        return (self.config.client_url,) if self.config.client_url else ()

    def settings(self) -> Mapping[str, str]:
        """Read the configuration file."""
        path = Path(self.config.config_file)
        try:
            return read_settings(_read(path), is_yaml(path.name))
        except OSError as error:
            raise self._failed(f"its configuration: {_words(error)}", "correct config_file") from error
        except ConfigError as error:
            raise self._failed(f"{path}: {error.message}", error.hint or "correct the file") from error

    def look(self) -> NodeView:
        """Read the node's state; what can't be read is the view's `problem`."""
        active, problem = self._is_active()
        try:
            present, data = self._present(), self._identity()
        except OSError as error:
            present, data, problem = True, None, problem or f"data can't be read: {_words(error)}"
        return NodeView(
            name=self.name,
            problem=problem or self._missing() or self._links(),
            service_active=active,
            data_present=present,
            data=data,
            data_free_bytes=free_bytes(Path(self.config.data_dir)),
            data_is_mount=any(is_mount(path) for path in self._directories()),
            config_problem=self._config_problem(),
            set_aside=set_aside_beside(Path(self.config.data_dir)),
            peer_urls=self.peer_urls,
            client_urls=self.client_urls,
            database_bytes=database_bytes(Path(self.config.data_dir)),
            data_bytes=size_of(Path(self.config.data_dir)),
        )

    def at(self, data_dir: str, other: str) -> LocalNode:
        """Return the same node with its data in `data_dir`; its configuration may still name the other."""
        return replace(self, config=replace(self.config, data_dir=data_dir), other_dir=other)

    def tree(self) -> LocalTree:
        """Return the data dir, to be copied."""
        return LocalTree(self.name, Path(self.config.data_dir))

    def read_data(self, namespace: str) -> DataDirFacts | None:
        """Read the data dir without changing anything."""
        # Only here: a change that is no recovery starts without what it loads.
        from patroni_etcd_reconfig.adapters.data_dir import read_data_dir

        wal_dir = Path(self.config.wal_dir) if self.config.wal_dir else None
        try:
            return read_data_dir(Path(self.config.data_dir), wal_dir, namespace)
        except OSError as error:
            raise self._failed(f"its data: {_words(error)}", "correct data_dir or its rights") from error

    def stop(self, *, at_once: bool = False) -> None:
        """Stop the service and wait until `is_active` says that it is down."""
        if not self._asked():
            return
        if at_once:  # etcd holds the lock of its database while it runs
            kill_holder(Path(self.config.data_dir) / "member/snap/db")
        outcome = self._run("stop")
        deadline = time.monotonic() + (self.timeout if outcome.code == 0 else 0)
        while self._asked():
            if time.monotonic() >= deadline:
                how = "ended well, but the service still runs" if outcome.code == 0 else outcome.describe()
                raise self._failed(f"the stop command: {how}", "stop it by hand, or correct commands.stop")
            time.sleep(POLL)

    def start(self) -> None:
        """Run the start command."""
        outcome = self._run("start")
        if outcome.code != 0 or outcome.trouble:
            remedy = f"see etcd's log, correct {self.config.config_file} or commands.start; then resume"
            raise self._failed(f"the start command: {outcome.describe()}", remedy)

    def set_data_aside(self, label: str, *, fence: bool = False) -> tuple[str, ...]:
        """Rename the data dir and a separate WAL dir; the service must be down."""
        self._check_label(label)
        if self._asked():
            raise self._failed("its service runs: the data of a running etcd stays", "stop it first")
        if self._links():
            raise self._failed(self._links(), "name the real directory in the inventory")
        moves = [(path, Path(f"{path}.{label}")) for path in self._directories()]
        for source, target in moves:
            self._check_move(source, target, fence)
        for source, target in moves:
            self._move(source, target, fence)
        return tuple(str(target) for _, target in moves if target.exists())

    def lift_fence(self) -> None:
        """Let etcd start in the data dir again."""
        try:
            lift_fence(Path(self.config.data_dir))
        except OSError as error:
            raise self._failed(f"its data dir: {_words(error)}", "correct its rights; then resume") from error

    def write_config(self, settings: Mapping[str, str], label: str) -> None:
        """Set etcd settings in the configuration file; the former file stays as `<file>.<label>`."""
        self._check_label(label)
        path = Path(self.config.config_file)
        backup = Path(f"{path}.{label}")
        try:
            text = _read(path)
            changed = set_settings(text, settings, is_yaml(path.name))
            if not backup.exists():
                write_atomically(backup, text, like=path)
            if changed != text:
                write_atomically(path, changed, like=path)
        except OSError as error:
            remedy = "make room or correct the rights there; then resume"
            raise self._failed(f"its configuration: {_words(error)}", remedy) from error
        except ConfigError as error:
            raise self._failed(f"{path}: {error.message}", error.hint or "correct the file") from error

    def _directories(self) -> tuple[Path, ...]:
        return tuple(Path(path) for path in (self.config.data_dir, self.config.wal_dir) if path)

    def _present(self) -> bool:
        """An empty directory, as packages and mounts leave it, holds no data."""
        return not all(is_free(path) for path in self._directories())

    def _identity(self) -> DataDir | None:
        """Return whose data it is; any segment says so, and the first one is surely complete."""
        config = self.config
        directory = Path(config.wal_dir) if config.wal_dir else Path(config.data_dir, "member", "wal")
        segments = sorted(directory.iterdir()) if directory.is_dir() else []
        first = next((path for path in segments if path.suffix == ".wal"), None)
        if first is None:
            return None
        with first.open("rb") as file:
            return read_identity(file.read(WAL_HEAD))

    def _missing(self) -> str:
        """A start that can't work is found before the member is stopped."""
        for verb, line in self.config.commands.items():
            if missing := missing_program(split_command(line, self._values())):
                return f"the {verb} command: {missing}"
        return ""

    def _links(self) -> str:
        """A renamed link leaves the data where it is, and the new data lands on another disk."""
        links = [str(path) for path in self._directories() if path.is_symlink()]
        return f"{' and '.join(links)}: a symbolic link can't be set aside" if links else ""

    def _config_problem(self) -> str:
        path = Path(self.config.config_file)
        try:
            found = read_settings(_read(path), is_yaml(path.name))
        except OSError as error:
            return _words(error)
        except ConfigError as error:
            return f"{path}: {error.message}"
        # It is replaced as a whole, so that its directory must be writable, too.
        locked = [item for item in (path, path.resolve().parent) if not os.access(item, os.W_OK)]
        return f"{locked[0]}: not writable" if locked else self._contradiction(path, found)

    def _contradiction(self, path: Path, found: Mapping[str, str]) -> str:
        """Settings that are another member's mean that the inventory names the wrong file."""
        config = self.config
        for flag, ours in (("name", self.name), ("data-dir", config.data_dir), ("wal-dir", config.wal_dir)):
            theirs = found.get(flag, "")
            allowed = {ours, self.other_dir} if flag == "data-dir" and self.other_dir else {ours}
            plain = theirs if flag == "name" else os.path.normpath(theirs)
            same = plain in {item if flag == "name" else os.path.normpath(item) for item in allowed}
            if theirs and "$" not in theirs and not same:
                return f"{path}: {flag} is {theirs} there, but {ours or 'not set'} in the inventory"
        return ""

    def _is_active(self) -> tuple[bool, str]:
        outcome = self._run("is_active", min(self.timeout, LOOK_TIMEOUT))
        problem = outcome.describe() if outcome.trouble or (outcome.code or 0) > 125 else ""
        return outcome.code == 0 and not problem, f"the is_active command: {problem}" if problem else ""

    def _asked(self) -> bool:
        """Return whether the service runs; an error where that can't be found out."""
        active, problem = self._is_active()
        if problem:
            raise self._failed(problem, "correct commands.is_active in the inventory; then resume")
        return active

    def run_command(self, line: str, timeout: float) -> None:
        """Run an operator's command with the node's placeholders filled in."""
        outcome = run(split_command(line, self._values()), timeout)
        if outcome.code != 0 or outcome.trouble:
            raise self._failed(
                f"the command: {outcome.describe()}", "correct it; then: patronictl-etcd resume"
            )

    def program_version(self) -> str:
        """Ask the program, where the inventory names it: that on PATH need not be the one that is started."""
        if not self.config.etcd:
            return ""
        found = VERSION.search(run([self.config.etcd, "--version"], LOOK_TIMEOUT).output)
        return found[1] if found else ""

    def _run(self, command: str, timeout: float | None = None) -> Outcome:
        return run(split_command(self.config.commands[command], self._values()), timeout or self.timeout)

    def _values(self) -> dict[str, str]:
        return {name: getattr(self.config, name) for name in PLACEHOLDERS}

    def _check_move(self, source: Path, target: Path, fence: bool) -> None:
        if is_mount(source):
            remedy = "make data_dir a directory below the mount point, here and in etcd's configuration"
            raise self._failed(f"{source}: a mount point can't be renamed", remedy)
        if holds(source) and os.path.lexists(target) and not (fence and is_begun(target)):
            raise self._failed(f"{target}: is there already, and {source}, too", f"move {target} elsewhere")

    def _move(self, source: Path, target: Path, fence: bool) -> None:
        try:
            rename_aside(source, target, fence)
        except OSError as error:
            remedy = f"correct the rights of {source.parent}; then resume"
            raise self._failed(f"{source} can't be renamed to {target}: {_words(error)}", remedy) from error

    def _check_label(self, label: str) -> None:
        if not LABEL.fullmatch(label):
            raise self._failed(f"{label!r} can't be part of a file name", "use A-Z a-z 0-9 . _ -")

    def _failed(self, message: str, hint: str) -> NodeControlError:
        return NodeControlError(f"{self.name}: {message}", hint=hint)


def _read(path: Path) -> str:
    """Read a file so that what is written back is byte for byte the same, line ends included."""
    return read_text(path, "surrogateescape")


def _words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
