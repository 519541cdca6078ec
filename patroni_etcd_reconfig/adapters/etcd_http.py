"""HTTP with a timeout that is a promise: connect, send and the whole answer within it."""

from __future__ import annotations

import io
import socket
import ssl
import time
from http.client import HTTPResponse
from typing import Any

import urllib3
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from patroni_etcd_reconfig.errors import ConfigError


class _DeadlineReader(io.RawIOBase):
    """Makes the socket's timeout, which counts per read, one for the whole answer.

    Else a server that sends a byte now and then would hold a call for ever.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        super().__init__()
        self._raw, self._sock = raw, sock
        self._deadline = time.monotonic() + (sock.gettimeout() or 0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # urllib3 has set the socket's timeout to what its total timeout leaves for reading.
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock))


class _Http(HTTPConnection):
    response_class = _DeadlineResponse


class _Https(HTTPSConnection):
    response_class = _DeadlineResponse


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


def deadline_pool(context: ssl.SSLContext | None) -> PoolManager:
    """Return connections on which a `Timeout(total=…)` bounds the whole answer, however it dribbles in."""
    pool = stream_pool(context)
    pool.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return pool


def stream_pool(context: ssl.SSLContext | None) -> PoolManager:
    """Return connections with urllib3's own timeouts, which count per read; for long streams."""
    return PoolManager(num_pools=64, maxsize=8, ssl_context=context)


def tls_context(cacert: str, cert: str, key: str, *, insecure: bool) -> ssl.SSLContext:
    """Load PEM files; empty paths = the system's CAs, no client certificate. ConfigError if that fails."""
    try:
        context = ssl.create_default_context(cafile=cacert or None)
        if cert:
            context.load_cert_chain(cert, key or None)
    except OSError as exc:  # ssl.SSLError is one
        files = f"cacert {cacert!r}, cert {cert!r}, key {key!r}"
        raise ConfigError(f"could not load the TLS files ({files}): {exc}") from exc
    # urllib3 1.26 can't have ssl check IP addresses: left off, it compares the certificate's names itself.
    context.check_hostname = not insecure and hasattr(urllib3, "BaseHTTPResponse")  # new in 2.0
    if insecure:
        context.verify_mode = ssl.CERT_NONE
    return context
