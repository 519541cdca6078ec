"""Which of a lab's addresses are taken, and by whom."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from patroni_etcd_reconfig.errors import ConfigError
from patroni_etcd_reconfig.lab.layout import Endpoint

_SHOWN = 3  # a lab with the same number takes twelve addresses, and two of them tell enough
_LISTEN = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h


@dataclass(frozen=True)
class Listener:
    """A listening socket, as /proc/net/tcp and tcp6 show it."""

    address: str
    port: int
    inode: int


def parse_listeners(text: str) -> list[Listener]:
    """Return the listening sockets in the text of /proc/net/tcp or tcp6."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return [_listener(row) for row in rows if len(row) > 9 and row[3] == _LISTEN]


def _listener(row: list[str]) -> Listener:
    address, _, port = row[1].partition(":")
    return Listener(_address(address), int(port, 16), int(row[9]))


def _address(text: str) -> str:
    """Return an address from the kernel's notation: hex words, each in the machine's byte order."""
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    if len(words) == 1:
        return str(IPv4Address(words[0]))
    full = IPv6Address(b"".join(words))
    return str(full.ipv4_mapped or full)


def is_taken(address: str, port: int) -> bool:
    """Tell whether nothing can listen there. Tried, because wildcard sockets count as well."""
    with socket.socket() as probe:
        # As etcd, Patroni and PostgreSQL do: without it closed connections would count as well.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return True
    return False


def find_owner(address: str, port: int) -> str:
    """Return who listens there in words: pid and command, as far as they can be seen."""
    wildcards = ("0.0.0.0", "::")  # noqa: S104  looked for, not bound
    here = [one for one in _listeners() if one.port == port and one.address in (address, *wildcards)]
    owners = [_describe(pid) for pid in _pids_of({one.inode for one in here})]
    return ", ".join(owners) or "a process that can't be seen (of another user, or in another container)"


def _listeners() -> list[Listener]:
    return [one for name in ("tcp", "tcp6") for one in parse_listeners(_read(Path("/proc/net", name)))]


def _pids_of(inodes: set[int]) -> list[int]:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    pids = sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if wanted & _open_files(pid)]


def _open_files(pid: int) -> set[str]:
    try:
        return {_target(file) for file in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        # It ended meanwhile, or belongs to somebody else.
        return set()


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:
        # Closed meanwhile, as is the listing of our own files.
        return ""


def _describe(pid: int) -> str:
    words = _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ").strip()
    command = words or _read(Path(f"/proc/{pid}/comm")).strip()
    return f"pid {pid} ({command[:100]}{_where(pid)})"


def _where(pid: int) -> str:
    """Return where it runs: the command alone doesn't tell one lab's etcd from another's."""
    try:
        return f", in {Path(f'/proc/{pid}/cwd').readlink()}"
    except OSError:
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def check_free(endpoints: Iterable[Endpoint]) -> None:
    """Raise one ConfigError that names every endpoint that is taken, and by what."""
    taken = [endpoint for endpoint in endpoints if is_taken(endpoint.address, endpoint.port)]
    if taken:
        words = [f"{one} is taken by {find_owner(one.address, one.port)}" for one in taken[:_SHOWN]]
        words += [f"and {len(taken) - _SHOWN} more"] if len(taken) > _SHOWN else []
        hint = "choose other addresses with --net N, or stop what listens there"
        hint += " (another lab: patronictl-etcd lab down --dir DIR)"
        raise ConfigError("; ".join(words), hint=hint, code="LAB_ADDRESS_TAKEN")
