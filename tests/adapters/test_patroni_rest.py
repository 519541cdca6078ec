"""What may answer on the address of a Patroni; the real one is in tests/e2e/test_collect.py."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from patroni_etcd_reconfig.adapters.patroni_config import PatroniConfig
from patroni_etcd_reconfig.adapters.patroni_rest import PatroniRest
from patroni_etcd_reconfig.errors import ConfigError, UnreachableError
from tests.integration.test_etcd_client import certificate

CONFIG = PatroniConfig("p.yml", "demo", "/service", (), rest_auth="user:secret")


@contextmanager
def answering(
    *pieces: bytes, pause: float = 0.0, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[bytes]]]:
    """Serve one request with these pieces; gives the URL and what was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            accepted, _ = server.accept()
            with suppress(OSError), secured(accepted, tls) as connection:  # whoever asked may be gone
                asked.append(connection.recv(65536))
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause)

        threading.Thread(target=serve, daemon=True).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.getsockname()[1]}", asked


def secured(connection: socket.socket, tls: ssl.SSLContext | None) -> socket.socket:
    """Return the connection, with TLS if wanted."""
    return tls.wrap_socket(connection, server_side=True) if tls else connection


def http(body: bytes, status: bytes = b"200 OK") -> bytes:
    """Return an HTTP answer."""
    return b"HTTP/1.0 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def test_a_patroni_is_asked_as_the_user_of_the_file() -> None:
    with answering(http(b'{"state": "running"}')) as (url, asked):
        assert PatroniRest(CONFIG)(url, 2.0) == {"state": "running"}
    assert asked[0].startswith(b"GET /patroni HTTP/1.1\r\n")
    assert b"authorization: Basic dXNlcjpzZWNyZXQ=" in asked[0]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"5", b"{}", b'{"error": 1}', b"[" * 100_000, b"\xff\xfe", b'{"state": "r'],
)
def test_what_is_no_patroni_is_said_to_be_none(body: bytes) -> None:
    with answering(http(body)) as (url, _), pytest.raises(UnreachableError, match="is no Patroni") as caught:
        PatroniRest(CONFIG)(url, 2.0)
    assert "secret" not in str(caught.value)


def test_an_answer_that_dribbles_in_ends_with_the_timeout() -> None:
    began = time.monotonic()
    with answering(*[b"x"] * 100, pause=0.05) as (url, _), pytest.raises(UnreachableError):
        PatroniRest(CONFIG)(url, 0.3)
    assert time.monotonic() - began < 3


def test_a_server_that_never_answers_and_a_port_that_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UnreachableError, match="no answer in time"):
            PatroniRest(CONFIG)(url, 0.2)
    with pytest.raises(UnreachableError, match="connection refused"):
        PatroniRest(CONFIG)(url, 0.2)


@pytest.mark.parametrize(
    ("answer", "members"),
    [
        (http(b'{"pg1": "http://a:1/patroni", "pg2": 5}'), {"pg1": "http://a:1/patroni"}),
        (http(b'{"pg1": "http://a:1/patroni"}', b"502 off"), {}),
        (http(b"<html>", b"502 off"), {}),
        (http(b"[]"), {}),
    ],
)
def test_the_members_that_failsafe_mode_remembers(answer: bytes, members: dict[str, str]) -> None:
    with answering(answer) as (url, _):
        assert PatroniRest(CONFIG).failsafe(url, 2.0) == members


def test_a_client_certificate_that_can_t_be_loaded_is_a_usage_error() -> None:
    config = PatroniConfig("p.yml", "demo", "/service", (), rest_certfile="/nowhere")
    with pytest.raises(ConfigError, match=r"ctl.certfile /nowhere"):
        PatroniRest(config)("http://127.0.0.1:1", 0.2)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make certificates with")
def test_tls_is_verified_with_the_file_s_authorities_and_shows_its_certificate(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path, "127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pem)
    tls.load_cert_chain(pem, key)
    tls.verify_mode = ssl.CERT_REQUIRED  # as restapi.verify_client: required
    own = replace(CONFIG, rest_certfile=pem, rest_keyfile=key)
    answer = http(b'{"state": "running"}')
    with answering(answer, tls=tls) as (url, _):
        assert PatroniRest(replace(own, rest_cacert=pem))(url, 2.0)["state"] == "running"
    with answering(answer, tls=tls) as (url, _), pytest.raises(UnreachableError, match="certificate"):
        PatroniRest(own)(url, 2.0)
    with answering(answer, tls=tls) as (url, _), pytest.raises(UnreachableError):
        PatroniRest(replace(CONFIG, rest_cacert=pem))(url, 2.0)
    for config, insecure in ((own, True), (replace(own, ctl_insecure=True), False)):
        with answering(answer, tls=tls) as (url, _):
            assert PatroniRest(config, insecure)(url, 2.0)["state"] == "running"
