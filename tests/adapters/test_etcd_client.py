"""The client's promises on time and secrets, against servers that are not etcd, or misbehave."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from patroni_etcd_reconfig.adapters import etcd_json
from patroni_etcd_reconfig.adapters.etcd_client import Connector, EtcdClient
from patroni_etcd_reconfig.errors import (
    ConfigError,
    EtcdError,
    EtcdTimeoutError,
    EtcdUnreachableError,
    NotEtcdError,
)
from patroni_etcd_reconfig.ports import EtcdApi, EtcdConnector, HashKv, Metrics

TIMEOUT = 0.5


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Accept connections and let `answer` deal with each; yield the URL."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def accept() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        answer(connection, over)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def dribble(text: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Return a server that sends a byte of this now and then."""

    def answer(connection: socket.socket, over: threading.Event) -> None:
        for byte in text * 100:
            if over.wait(0.1):
                return
            connection.sendall(bytes([byte]))

    return answer


def silent(connection: socket.socket, over: threading.Event) -> None:
    """Accept and never answer."""
    over.wait()


def read_request(connection: socket.socket) -> bytes:
    """Read one request to its end: what is left unread at the end would turn the close into a reset."""
    got = connection.recv(65536)
    while not got.endswith(b"}"):
        got += connection.recv(65536)
    return got


def hang_up(connection: socket.socket, over: threading.Event) -> None:
    """Read the request, then close."""
    read_request(connection)


def banner(connection: socket.socket, over: threading.Event) -> None:
    """Speak another protocol."""
    read_request(connection)
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def headers_then_dribble(connection: socket.socket, over: threading.Event) -> None:
    """Answer 200 at once, and then send the body byte by byte."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    dribble(b" ")(connection, over)


class ForeignApi(BaseHTTPRequestHandler):
    """A web API that answers any POST with JSON of its own."""

    answer = b'{"status": "ok"}'

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class QuietFiles(SimpleHTTPRequestHandler):
    """Python's own web server, as it comes."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class HashKvApi(ForeignApi):
    """The one call that etcd's gateway has in later 3.5 releases, as Debian's 3.5.30 answers it."""

    answer = b'{"header":{},"hash":3911742849,"compact_revision":"-1"}'


@contextlib.contextmanager
def web_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run an ordinary web server; yield its URL."""
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def client(url: str, seconds: float = TIMEOUT) -> EtcdClient:
    """Return a client without login."""
    return Connector()(url, seconds)


@pytest.mark.parametrize(
    "answer",
    [silent, dribble(b"HTTP/1.1 200 OK\r\n"), headers_then_dribble],
    ids=["silent", "dribbles from the first byte on", "dribbles its body"],
)
def test_a_call_ends_at_about_its_timeout_whatever_the_server_does(
    answer: Callable[[socket.socket, threading.Event], None],
) -> None:
    with serving(answer) as url:
        begun = time.monotonic()
        with pytest.raises(EtcdTimeoutError, match=r"no answer within 0\.5 s") as caught:
            client(url).put("key", "value")
        assert TIMEOUT <= time.monotonic() - begun < TIMEOUT + 0.5
        assert caught.value.outcome_unknown


def test_a_silent_server_ends_a_snapshot_too() -> None:
    with serving(silent) as url, pytest.raises(EtcdTimeoutError):
        client(url).snapshot(io.BytesIO())


def test_a_snapshot_may_take_longer_than_its_timeout_as_long_as_bytes_come() -> None:
    begun = time.monotonic()
    with serving(_slow_snapshot) as url, pytest.raises(EtcdError, match="digest"):
        client(url, 0.4).snapshot(io.BytesIO())
    assert time.monotonic() - begun > 0.8


def _slow_snapshot(connection: socket.socket, over: threading.Event) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    for _ in range(5):
        over.wait(0.2)
        connection.sendall(b'{"result":{"blob":"AAAA"}}\n')


def test_a_connection_that_breaks_after_the_request_leaves_the_outcome_unknown() -> None:
    with serving(hang_up) as url, pytest.raises(EtcdTimeoutError, match="broke") as caught:
        client(url).remove_member(1)
    assert caught.value.outcome_unknown


def test_a_mutation_is_sent_only_once_when_its_connection_breaks() -> None:
    requests: list[bytes] = []

    def count(connection: socket.socket, over: threading.Event) -> None:
        requests.append(read_request(connection))

    with serving(count) as url, pytest.raises(EtcdTimeoutError):
        client(url).remove_member(1)
    assert len(requests) == 1


def test_a_refused_connection_was_certainly_not_carried_out() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(EtcdUnreachableError, match="Connection refused") as caught:
            client(url).put("key", "value")
    assert not caught.value.outcome_unknown


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    with pytest.raises(EtcdUnreachableError):
        client("http://no-such-host.invalid:2379", 3).status()


def test_another_protocol_is_not_etcd() -> None:
    with serving(banner) as url, pytest.raises(NotEtcdError, match="not HTTP"):
        client(url).status()


@pytest.mark.parametrize("handler", [QuietFiles, ForeignApi], ids=["files", "json"])
def test_a_web_server_is_not_etcd(handler: type[BaseHTTPRequestHandler]) -> None:
    with web_server(handler) as url:
        for call in (client(url).status, client(url).member_list, lambda: client(url).delete("key")):
            with pytest.raises(NotEtcdError):
                call()
        assert client(url).metrics() is None


def test_metrics_tell_live_peers_snapshots_under_way_and_the_quota() -> None:
    text = b"""# TYPE etcd_network_active_peers gauge
etcd_network_active_peers{Local="bf481ca675bd37e4",Remote="2a"} 1
etcd_network_active_peers{Local="bf481ca675bd37e4",Remote="2b"} 0
etcd_network_snapshot_send_inflights_total{To="2a"} 0
etcd_network_snapshot_send_inflights_total{To="2c"} 1
etcd_server_quota_backend_bytes 8.589934592e+09
"""
    assert etcd_json.metrics(text) == Metrics(frozenset({0x2A}), frozenset({0x2C}), 8 * 1024**3)
    assert etcd_json.metrics(b"etcd_server_has_leader 1\n") == Metrics(frozenset())


def test_hash_kv_is_read_where_the_gateway_offers_it() -> None:
    with web_server(HashKvApi) as url:
        assert client(url).hash_kv(0) == HashKv(hash=3911742849, compact_revision=-1)


def test_plain_http_does_not_wait_for_the_systems_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: loaded.append("yes"))
    with web_server(HashKvApi) as url:
        assert client(url).hash_kv(0) == HashKv(hash=3911742849, compact_revision=-1)
        assert not loaded
        with pytest.raises(EtcdUnreachableError):
            client(url.replace("http:", "https:")).status()
    assert loaded


def test_https_on_a_port_without_tls_says_so() -> None:
    with web_server(ForeignApi) as url, pytest.raises(EtcdUnreachableError) as caught:
        client(url.replace("http:", "https:")).status()
    assert "http://" in caught.value.hint


def test_a_certificate_file_that_is_missing_is_a_configuration_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cacert"):
        Connector(cacert=str(tmp_path / "none.pem"))


def test_the_password_shows_neither_in_a_connector_nor_in_its_clients() -> None:
    connector = Connector(username="root", password="s3cret")
    assert "s3cret" not in repr(connector) + repr(connector("http://127.0.0.1:2379", 1))


def test_within_changes_the_timeout_of_a_copy_only() -> None:
    first = client("http://127.0.0.1:2379/")
    second = first.within(7)
    assert (first.timeout, second.timeout, second.endpoint) == (TIMEOUT, 7, "http://127.0.0.1:2379")


def test_the_client_is_what_the_ports_promise() -> None:
    connector: EtcdConnector = Connector()
    made: EtcdApi = connector("http://127.0.0.1:2379", 1)
    assert made.endpoint == "http://127.0.0.1:2379"
