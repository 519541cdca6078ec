"""The files by which a directory is known as a lab, and how a lab's files are written."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from patroni_etcd_reconfig.errors import ConfigError, LockedError
from patroni_etcd_reconfig.lab.configs import Secrets
from patroni_etcd_reconfig.lab.layout import Layout, default_root, make_layout

_KIND = "patroni_etcd_reconfig lab"


@dataclass(frozen=True)
class Marker:
    """What a lab remembers between commands. `privileges` is "" until a way was tried."""

    root: str
    net: int
    etcd_dir: str | None
    privileges: str = ""
    patroni_dir: str | None = None
    kind: str = _KIND


def temporary_root(prefix: str) -> Path:
    """Make a directory for a lab that lasts as long as one command."""
    root = Path(tempfile.mkdtemp(prefix=prefix))
    # PostgreSQL may run as another user, who has to get through to its data.
    root.chmod(0o711)
    return root


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file whole or not at all, readable by its owner only unless `mode` says more."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    temporary.replace(path)


def save_marker(layout: Layout, marker: Marker) -> None:
    """Write the marker."""
    write_private(layout.marker, json.dumps(asdict(marker), indent=2) + "\n")


def load_marker(root: Path) -> Marker | None:
    """Return a lab's marker; None where there is nothing yet; ConfigError for anything else."""
    path = root.absolute() / "lab.json"
    try:
        marker = Marker(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        _refuse_foreign(root)
        return None
    except (OSError, ValueError, TypeError) as error:
        raise _not_a_lab(root, f"{path}: {error}") from error
    _check_marker(marker, root)
    return marker


def _refuse_foreign(root: Path) -> None:
    try:
        foreign = root.exists() and (not root.is_dir() or any(root.iterdir()))
    except OSError as error:
        raise _not_a_lab(root, str(error)) from error
    if foreign:
        raise _not_a_lab(root, "it is there already, and has no lab.json")


def _check_marker(marker: Marker, root: Path) -> None:
    if marker.kind != _KIND:
        raise _not_a_lab(root, f"its lab.json is of another kind: {marker.kind!r}")
    if not Path(marker.root).exists() or not Path(marker.root).samefile(root):
        raise _not_a_lab(root, f"it was made as {marker.root}, and labs can't be moved")


def _not_a_lab(root: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{root} is not a lab's directory: {why}",
        hint="give another directory with --dir",
        code="LAB_NOT_A_LAB",
    )


def open_layout(root: Path | None, net: int | None, default_net: int) -> tuple[Layout, Marker | None]:
    """Return where the lab is, and its marker if it exists; what is not given comes from the marker."""
    directory = root or default_root(net or default_net)
    marker = load_marker(directory)
    if marker and net not in (None, marker.net):
        raise ConfigError(
            f"the lab in {directory} has network number {marker.net}, not {net}",
            hint="leave out --net, or give another directory with --dir",
        )
    if marker:
        return make_layout(Path(marker.root), marker.net), marker
    return make_layout(directory, net or default_net), None


def load_secrets(layout: Layout) -> Secrets:
    """Return the lab's passwords; ConfigError when they can't be read."""
    try:
        return Secrets(**json.loads(layout.secrets.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{layout.secrets}: {error}", code="LAB_NOT_A_LAB") from error


def ensure_secrets(layout: Layout) -> Secrets:
    """Return the lab's passwords, made the first time."""
    if not layout.secrets.exists():
        made = Secrets(secrets.token_urlsafe(18), secrets.token_urlsafe(18))
        write_private(layout.secrets, json.dumps(asdict(made)) + "\n")
    return load_secrets(layout)


@contextlib.contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Hold the lab against other `lab` commands; LockedError when one is at work on it."""
    with layout.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another command is working on the lab in {layout.root}"
            raise LockedError(message, hint="wait for it to end, then try again") from error
        yield
