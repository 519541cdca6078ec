"""One etcd member over its gRPC gateway: one endpoint, one attempt per call, a total timeout."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from urllib3 import PoolManager, Timeout, disable_warnings
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from patroni_etcd_reconfig.adapters import etcd_json
from patroni_etcd_reconfig.adapters.etcd_errors import (
    AUTH_DISABLED,
    LEASE_NOT_FOUND,
    from_answer,
    from_failure,
    not_etcd,
    refusal,
)
from patroni_etcd_reconfig.adapters.etcd_http import deadline_pool, stream_pool, tls_context
from patroni_etcd_reconfig.adapters.etcd_json import Json
from patroni_etcd_reconfig.adapters.etcd_login import Logins
from patroni_etcd_reconfig.adapters.etcd_snapshot import copy_snapshot
from patroni_etcd_reconfig.core.model import Alarm, KeyValue, Member, MemberStatus
from patroni_etcd_reconfig.errors import (
    EtcdError,
    GatewayOffError,
    NotSupportedError,
)
from patroni_etcd_reconfig.ports import (
    HashKv,
    LeaseLeft,
    MemberList,
    Metrics,
    RangeResult,
    SnapshotInfo,
)

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse  # urllib3 1.26 has no such name

T = TypeVar("T")
MakePool = Callable[[SSLContext | None], PoolManager]

_CHUNK_SIZE = 256 * 1024
_ERROR_SIZE = 64 * 1024  # enough of a body for any error message


@dataclass
class Connector:
    """Makes clients that share connections, TLS settings and login tokens; safe to use from threads.

    `cacert`, `cert` and `key` are paths of PEM files; ConfigError at once when they can't be loaded.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    cacert: str = ""
    cert: str = ""
    key: str = field(default="", repr=False)
    insecure: bool = False
    logins: Logins = field(default_factory=Logins, init=False, repr=False, compare=False)
    _pools: dict[object, PoolManager] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.insecure:  # the user has said so: no warning on every request
            disable_warnings(InsecureRequestWarning)
        if self.cacert or self.cert:
            _ = self._tls

    def __call__(self, url: str, timeout: float) -> EtcdClient:
        """Return a client for one client URL; `timeout` is the total per call, in seconds."""
        return EtcdClient(url.rstrip("/"), timeout, self)

    def pool(self, make: MakePool, url: str) -> PoolManager:
        """Return the connections to a URL; only TLS loads the CAs, which takes as long as a whole look."""
        secure = url.startswith("https:")
        if (made := self._pools.get((make, secure))) is None:
            made = self._pools.setdefault((make, secure), make(self._tls if secure else None))
        return made

    @cached_property
    def _tls(self) -> SSLContext:
        return tls_context(self.cacert, self.cert, self.key, insecure=self.insecure)


@dataclass(frozen=True)
class EtcdClient:
    """One etcd member. `timeout` is the total per call in seconds, login included; see ports.EtcdApi."""

    endpoint: str
    timeout: float
    connector: Connector = field(repr=False)

    def within(self, seconds: float) -> EtcdClient:
        """Return the same client with another total timeout per call, in seconds."""
        return replace(self, timeout=seconds)

    def member_list(self) -> MemberList:
        """Return the member list as this member knows it; NotSupportedError on a learner."""
        return self._call("cluster/member/list", {}, etcd_json.member_list)

    def status(self) -> MemberStatus:
        """Return what the member says of itself; needs no quorum."""
        return self._call("maintenance/status", {}, etcd_json.status)

    def alarms(self) -> tuple[Alarm, ...]:
        """Return the alarms that are raised in the cluster; goes through raft, so needs quorum."""
        return self._call("maintenance/alarm", {"action": "GET"}, etcd_json.alarms)

    def disarm(self, alarm: Alarm) -> None:
        """Take an alarm away."""
        words = {"action": "DEACTIVATE", "memberID": str(alarm.member_id), "alarm": alarm.kind}
        self._call("maintenance/alarm", words, etcd_json.alarms)

    def metrics(self) -> Metrics | None:
        """Return what the member's metrics tell; None where they are not served at the client URL."""
        try:
            status, body = self._exchange("GET", "/metrics", None, {}, self._deadline())
        except EtcdError:
            return None
        return etcd_json.metrics(body) if status == 200 else None

    def hash_kv(self, revision: int) -> HashKv | None:
        """Return the hash of the key space at a revision; None where the gateway lacks it (3.4, 3.5.1)."""
        try:
            return self._call("maintenance/hashkv", {"revision": str(revision)}, etcd_json.hash_kv)
        except (GatewayOffError, NotSupportedError):  # 404 although it is an etcd
            return None

    def add_learner(self, peer_urls: tuple[str, ...]) -> Member:
        """Add a learner; sent once."""
        request = {"peerURLs": list(peer_urls), "isLearner": True}
        return self._call("cluster/member/add", request, lambda answer: etcd_json.member(answer["member"]))

    def remove_member(self, member_id: int) -> None:
        """Remove a member by id; sent once."""
        self._call("cluster/member/remove", {"ID": str(member_id)}, _nothing)

    def update_member(self, member_id: int, peer_urls: tuple[str, ...]) -> None:
        """Change a member's peer URLs in the list; sent once. Never on a learner (etcd issue 21694)."""
        self._call("cluster/member/update", {"ID": str(member_id), "peerURLs": list(peer_urls)}, _nothing)

    def promote_member(self, member_id: int) -> None:
        """Promote a learner; sent once."""
        self._call("cluster/member/promote", {"ID": str(member_id)}, _nothing)

    def transfer_leadership(self, target_id: int) -> None:
        """Move raft leadership from this member, which must lead, to a voter; sent once."""
        self._call("maintenance/transfer-leadership", {"targetID": str(target_id)}, _nothing)

    def snapshot(self, sink: BinaryIO) -> SnapshotInfo:
        """Stream a snapshot into `sink`, digest included, and check the digest. Needs no quorum.

        The timeout counts per read here, not in total: a large database takes as long as it takes.
        Memory stays bounded by a few lines of the stream. SnapshotCorruptError when the stream is
        incomplete: `sink` then holds rubbish.
        """
        return self._authorized(lambda headers: self._receive(sink, headers), self._deadline())

    def range(self, key: str, *, prefix: bool = False, serializable: bool = False) -> RangeResult:
        """Read a key, or all keys with a prefix; linearizable unless `serializable`."""
        request = {**etcd_json.span(key, prefix), "serializable": serializable}
        return self._call("kv/range", request, etcd_json.read_range)

    def put(self, key: str, value: str, *, lease: int = 0) -> int:
        """Write a key; return the new revision."""
        return self._call("kv/put", etcd_json.put(key, value, lease), etcd_json.revision)

    def put_if_absent(self, key: str, value: str, *, lease: int) -> KeyValue | None:
        """Create a key; return None when created, else the key that is there already."""
        return self._call("kv/txn", etcd_json.create(key, value, lease), etcd_json.holder)

    def put_if_unchanged(self, key: str, value: str, *, mod_revision: int) -> int | None:
        """Write a key that is still as it was at this revision; return the new one, None when it is not."""
        return self._call("kv/txn", etcd_json.swap(key, value, mod_revision), etcd_json.swapped)

    def delete(self, key: str, *, prefix: bool = False) -> int:
        """Delete a key or a prefix; return how many keys went."""
        return self._call("kv/deleterange", etcd_json.span(key, prefix), etcd_json.deleted)

    def delete_if_unchanged(self, key: str, *, mod_revision: int) -> bool:
        """Delete a key that is still as it was at this revision; return whether it was."""
        return self._call("kv/txn", etcd_json.discard(key, mod_revision), etcd_json.succeeded)

    def grant_lease(self, ttl: int) -> int:
        """Grant a lease of `ttl` seconds; return its id."""
        return self._call("lease/grant", {"TTL": str(ttl)}, lambda answer: int(answer["ID"]))

    def keep_alive(self, lease: int) -> bool:
        """Renew a lease once; False when it is gone."""
        return self._call("lease/keepalive", {"ID": str(lease)}, etcd_json.renewed)

    def revoke_lease(self, lease: int) -> None:
        """Revoke a lease, with every key on it; a lease that is gone already is fine."""
        try:
            self._call("lease/revoke", {"ID": str(lease)}, _nothing)
        except EtcdError as exc:
            if LEASE_NOT_FOUND not in exc.message:
                raise

    def lease_left(self, lease: int) -> LeaseLeft:
        """Return what is left of a lease; `remaining` is -1 when it is gone."""
        return self._call("lease/timetolive", {"ID": str(lease)}, etcd_json.lease_left)

    def _deadline(self) -> float:
        return time.monotonic() + self.timeout

    def _call(self, path: str, request: Json, read: Callable[[Json], T]) -> T:
        deadline = self._deadline()
        answer = self._authorized(lambda headers: self._answer(path, request, headers, deadline), deadline)
        try:
            return read(answer)
        except (LookupError, ValueError, TypeError, AttributeError) as exc:
            raise not_etcd(f"not an answer of etcd's {path}: {str(answer)[:80]}", self.endpoint) from exc

    def _authorized(self, send: Callable[[dict[str, str]], T], deadline: float) -> T:
        log_in = partial(self._log_in, deadline) if self.connector.username else None
        return self.connector.logins.send(self.endpoint, send, log_in)

    def _log_in(self, deadline: float, endpoint: str) -> str:
        login = {"name": self.connector.username, "password": self.connector.password}
        try:
            answer = replace(self, endpoint=endpoint)._answer("auth/authenticate", login, {}, deadline)
        except EtcdError as exc:
            if AUTH_DISABLED not in exc.message:
                raise
            return ""
        return str(answer.get("token", ""))

    def _answer(self, path: str, request: Json, headers: dict[str, str], deadline: float) -> Json:
        status, body = self._exchange("POST", f"/v3/{path}", request, headers, deadline)
        if status == 200 and refusal(body) is None:  # a stream can fail after its 200
            with suppress(ValueError, TypeError):
                return dict(json.loads(body))
        raise self._refused(status, body, deadline)

    def _refused(self, status: int, body: bytes, deadline: float) -> EtcdError:
        return from_answer(status, body, self.endpoint, lambda: self._is_etcd(deadline))

    def _is_etcd(self, deadline: float) -> bool:
        status, body = self._exchange("GET", "/version", None, {}, deadline)
        return status == 200 and b"etcdserver" in body

    def _exchange(
        self, method: str, path: str, request: Json | None, headers: dict[str, str], deadline: float
    ) -> tuple[int, bytes]:
        left = Timeout(total=max(deadline - time.monotonic(), 0.001))  # urllib3 refuses 0
        body = None if request is None else json.dumps(request)
        answer = self._open(deadline_pool, method, path, timeout=left, body=body, headers=headers)
        return answer.status, answer.data

    def _open(self, make: MakePool, method: str, path: str, **options: Any) -> BaseHTTPResponse:
        pool = self.connector.pool(make, self.endpoint)
        try:
            return pool.request(method, self.endpoint + path, retries=False, redirect=False, **options)
        except HTTPError as exc:
            raise from_failure(exc, self.endpoint, self.timeout) from exc

    def _receive(self, sink: BinaryIO, headers: dict[str, str]) -> SnapshotInfo:
        per_read = Timeout(connect=self.timeout, read=self.timeout)
        options = {"timeout": per_read, "body": "{}", "headers": headers, "preload_content": False}
        answer = self._open(stream_pool, "POST", "/v3/maintenance/snapshot", **options)
        try:
            if answer.status != 200:
                raise self._refused(answer.status, answer.read(_ERROR_SIZE), self._deadline())
            return copy_snapshot(answer.stream(_CHUNK_SIZE), sink, self.endpoint)
        except HTTPError as exc:
            raise from_failure(exc, self.endpoint, self.timeout) from exc
        finally:
            answer.close()


def _nothing(_: Json) -> None:
    """Read nothing: success is all there is to know (3.4 answers `{}` to some calls)."""
