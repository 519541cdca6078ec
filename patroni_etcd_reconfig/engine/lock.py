"""One operation at a time: a lease-held key in etcd, checked again right before every step.

etcd's locks alone are no safe mutual exclusion (Jepsen, etcd issue 11456): a holder that was frozen past
its lease still believes in it. So every step first asks whether the key is still the one we created,
and a holder whose own clock says that the lease is over does not even ask.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from patroni_etcd_reconfig.core.model import KeyValue
from patroni_etcd_reconfig.errors import EtcdError, ExitCode, LockedError
from patroni_etcd_reconfig.ports import Clock, EtcdApi

LOCK_KEY = "/patroni-etcd-reconfig/lock"
AGAIN = "see with patronictl-etcd status, then give the same command again"
T = TypeVar("T")


def describe_self(operation_id: str, clock: Clock) -> dict[str, Any]:
    """Return who holds the lock, as the key's value tells others; start time makes a reused pid visible."""
    return {
        "operation": operation_id,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_started": process_start(os.getpid()),
        "kernel": _kernel(),
        "user": os.environ.get("SUDO_USER") or os.environ.get("USER", ""),
        "since": datetime.fromtimestamp(clock.wall(), timezone.utc).isoformat(timespec="seconds"),
    }


def process_start(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot (proc(5), stat field 22).

    "" if it is gone; one that was killed and that nobody has waited for yet (a zombie) is gone, too.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in ("Z", "X") else fields[19]
    except (OSError, IndexError):
        return ""


class Lock:
    """The lock while it is held. `clients` gives clients of the members that are healthy now."""

    def __init__(self, clients: Callable[[], list[EtcdApi]], ttl: int, clock: Clock) -> None:
        self._clients = clients
        self._ttl = ttl
        self._clock = clock
        self._lease = 0
        self._created = 0
        self._renewed_at = 0.0
        self._stop = threading.Event()

    def acquire(self, holder: Mapping[str, Any], *, say: Callable[[str], None], wait: bool = False) -> None:
        """Take the lock, at once from a dead process of this host; `wait` waits for another's lease to end.

        Raises LockedError, which says who holds it and since when.
        """
        try:
            self._acquire(holder, say, wait)
        except BaseException as error:
            self.release()  # of a lock, too, that was taken without our learning of it
            if isinstance(error, EtcdError):
                error.hint = f"{error.hint} The lock was not taken, so nothing was begun: {AGAIN}".lstrip()
            raise
        threading.Thread(target=self._keep_alive, daemon=True).start()

    def _acquire(self, holder: Mapping[str, Any], say: Callable[[str], None], wait: bool) -> None:
        deadline = self._clock.monotonic() + self._ttl + 5
        told: set[int] = set()
        while (other := self._try(holder)) is not None:
            first = other.lease not in told
            told.add(other.lease)
            if first and other.lease and _is_dead_here(other):
                self._revoke(other.lease)
                say(f"took the lock over from a dead process of this host ({_who(other)})")
            elif not wait or not other.lease or self._clock.monotonic() > deadline:
                raise _locked(other)
            else:
                if first:
                    say(f"waiting for the lock of {_who(other)}, at most {self._ttl} s")
                self._clock.sleep(1.0)

    def check(self) -> None:
        """Raise LockedError unless the lock is certainly still ours."""
        if self._clock.monotonic() - self._renewed_at >= self._ttl:
            raise _lost(f"its lease of {self._ttl} s could not be renewed in time")
        found = self._read()
        if not found or found[0].create_revision != self._created:
            raise _lost(f"now held by {_who(found[0])}" if found else "its key is gone")

    def release(self) -> None:
        """Give the lock back by revoking its lease; if etcd does not answer, the lease ends by itself."""
        self._stop.set()
        for client in self._clients() if self._lease else []:
            try:
                client.revoke_lease(self._lease)
            except EtcdError:
                continue
            return

    def _read(self) -> tuple[KeyValue, ...]:
        return self._ask(lambda client: client.range(LOCK_KEY).kvs)

    def _ask(self, call: Callable[[EtcdApi], T]) -> T:
        """Ask one member after the other until one answers, the first one again at the end.

        For calls that may be carried out twice, since an answer can be lost after the server has acted.
        """
        clients = self._clients()
        for client in clients:
            try:
                return call(client)
            except EtcdError as error:
                if error.exit_code is ExitCode.USAGE:  # wrong credentials are so everywhere
                    raise
        return call(clients[0])

    def _try(self, holder: Mapping[str, Any]) -> KeyValue | None:
        """Take the lock; return None when it is ours, else the key of another.

        A lease that was granted without our learning of it holds nothing, and ends by itself. A key that was
        created so is found by the next attempt, which can't create it twice: it is ours by its lease.
        """
        self._lease, asked_at = self._ask(self._grant)
        value = json.dumps(dict(holder))
        found = self._ask(lambda client: client.put_if_absent(LOCK_KEY, value, lease=self._lease))
        if found is not None and found.lease != self._lease:
            self._revoke(self._lease)
            self._lease = 0
            return found
        self._renewed_at = asked_at
        mine = found or next(iter(self._read()), None)
        self._created = mine.create_revision if mine else 0  # gone already: `check` will say so
        return None

    def _grant(self, client: EtcdApi) -> tuple[int, float]:
        asked_at = self._clock.monotonic()
        return client.grant_lease(self._ttl), asked_at

    def _revoke(self, lease: int) -> None:
        self._ask(lambda client: client.revoke_lease(lease))

    def _keep_alive(self) -> None:
        """Renew at a third of the TTL, through whichever member answers."""
        while not self._stop.wait(self._ttl / 3):
            for client in self._clients():
                asked_at = self._clock.monotonic()
                try:
                    if client.keep_alive(self._lease):
                        self._renewed_at = asked_at
                    break
                except EtcdError:
                    continue


@dataclass(frozen=True)
class Holder:
    """Who holds the lock: the id of the operation, "" where none was left, and all that is known in words."""

    operation_id: str
    words: str


def lock_holder(client: EtcdApi) -> Holder | None:
    """Return who works on the cluster now; None for nobody, or for a process of this host that is dead."""
    held = [kv for kv in client.range(LOCK_KEY).kvs if not _is_dead_here(kv)]
    return Holder(str(_holder(held[0]).get("operation", "")), _who(held[0])) if held else None


def _holder(kv: KeyValue) -> Mapping[str, Any]:
    try:
        data = json.loads(kv.value)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _is_dead_here(kv: KeyValue) -> bool:
    """True only if the holder's process was in this very kernel and pid namespace, and is certainly gone."""
    holder = _holder(kv)
    pid, started = holder.get("pid"), holder.get("pid_started")
    here = holder.get("host") == socket.gethostname() and holder.get("kernel") == _kernel()
    if not here or not isinstance(pid, int) or not started:
        return False
    try:
        os.kill(pid, 0)  # asks only; /proc may hide the processes of others
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return process_start(pid) != str(started)


def _kernel() -> str:
    """Return what tells this boot and this pid namespace from any other; host names can be equal."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return "unknown"


def _who(kv: KeyValue) -> str:
    holder = _holder(kv)
    if not holder:
        return "somebody who left no name"
    return (
        f"{holder.get('user') or 'somebody'} on {holder.get('host')}, pid {holder.get('pid')}, "
        f"operation {holder.get('operation')}, since {holder.get('since')}"
    )


def _locked(kv: KeyValue) -> LockedError:
    return LockedError(
        f"another operation holds the lock: {_who(kv)}",
        hint="wait until it has ended; if its machine is gone for good, the lock ends with its lease "
        "within a minute, and then: patronictl-etcd resume",
    )


def _lost(why: str) -> LockedError:
    return LockedError(
        f"the lock was lost: {why}",
        hint="nothing was begun after that; see who works on the cluster, then: patronictl-etcd resume",
        code="LOCK_LOST",
    )
