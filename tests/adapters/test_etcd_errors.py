"""What etcd answers becomes the right class, in all shapes that etcd 3.4 to 3.7 put around their words."""

from __future__ import annotations

import json
import socket
import ssl
from http.client import BadStatusLine, RemoteDisconnected
from typing import cast

import pytest
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from patroni_etcd_reconfig.adapters.etcd_errors import classify, from_answer, from_failure, refusal
from patroni_etcd_reconfig.errors import (
    AuthFailedError,
    EtcdError,
    EtcdTimeoutError,
    EtcdUnreachableError,
    GatewayOffError,
    LearnerNotReadyError,
    MemberNotFoundError,
    MemberNotLearnerError,
    NoLeaderError,
    NotEnoughStartedError,
    NotEtcdError,
    NotLeaderError,
    NotSupportedError,
    PeerUrlExistsError,
    ProposalDroppedError,
    RequestTimedOutError,
    TooManyLearnersError,
    UnhealthyClusterError,
)

URL = "http://127.0.0.1:2379"

ANSWERS = [
    ("etcdserver: too many learner members in cluster", 9, TooManyLearnersError),
    ("etcdserver: can only promote a learner member which is in sync with leader", 9, LearnerNotReadyError),
    ("etcdserver: can only promote a learner member", 9, MemberNotLearnerError),
    ("etcdserver: rpc not supported for learner", 14, NotSupportedError),  # 3.4 and 3.5
    ("etcdserver: rpc not supported for learner", 9, NotSupportedError),  # 3.6
    ("etcdserver: member not found", 5, MemberNotFoundError),
    ("etcdserver: Peer URLs already exists", 9, PeerUrlExistsError),
    ("etcdserver: re-configuration failed due to not enough started members", 2, NotEnoughStartedError),
    ("etcdserver: re-configuration failed due to not enough started members", 9, NotEnoughStartedError),
    ("etcdserver: unhealthy cluster", 14, UnhealthyClusterError),
    ("etcdserver: not leader", 9, NotLeaderError),
    ("etcdserver: bad leader transferee", 9, NotLeaderError),
    ("etcdserver: no leader", 14, NoLeaderError),
    ("RAFT NO LEADER", 14, NoLeaderError),
    ("raft proposal dropped", 2, ProposalDroppedError),
    ("etcdserver: request timed out", 14, RequestTimedOutError),
    ("etcdserver: request timed out, possibly due to previous leader failure", 14, RequestTimedOutError),
    ("etcdserver: request timed out, possibly due to connection lost", 14, RequestTimedOutError),
    ("context deadline exceeded", 2, RequestTimedOutError),  # 3.4
    ("context deadline exceeded", 4, RequestTimedOutError),
    ("etcdserver: leader changed", 14, RequestTimedOutError),
    ("etcdserver: server stopped", 14, EtcdTimeoutError),
    ("etcdserver: authentication failed, invalid user ID or password", 3, AuthFailedError),
    ("etcdserver: user name is empty", 3, AuthFailedError),
    ("etcdserver: invalid auth token", 16, AuthFailedError),
    ("etcdserver: revision of auth store is old", 3, AuthFailedError),
    ("etcdserver: permission denied", 7, AuthFailedError),
    ("auth: permission denied", 2, AuthFailedError),
    ("etcdserver: mvcc: database space exceeded", 8, EtcdError),
    ("etcdserver: requested lease not found", 5, EtcdError),
    ("etcdserver: authentication is not enabled", 9, EtcdError),
    ("transport is closing", 14, EtcdTimeoutError),
    ("Method Not Allowed", 12, NotSupportedError),
    ("never heard of", 2, EtcdError),
]


def flat34(message: str, code: int) -> bytes:
    """As the gateways of 3.4 (v1.9) and of upstream 3.5 (v1.16) put it."""
    return json.dumps({"error": message, "message": message, "code": code}).encode()


def flat36(message: str, code: int) -> bytes:
    """As the gateway of 3.6 and of Debian's 3.5.30 (v2) puts it."""
    return json.dumps({"code": code, "message": message, "details": []}).encode()


def streaming34(message: str, code: int) -> bytes:
    """As a streaming call of 3.4 puts it."""
    inner = {"grpc_code": code, "http_code": 503, "message": message, "http_status": "Service Unavailable"}
    return json.dumps({"error": inner}).encode()


def streaming36(message: str, code: int) -> bytes:
    """As a streaming call of 3.6 puts it."""
    return json.dumps({"error": {"code": code, "message": message}}).encode()


def never() -> bool:
    """Stand for a probe that must not be made."""
    raise AssertionError("asked for /version without need")


@pytest.mark.parametrize("shape", [flat34, flat36, streaming34, streaming36])
@pytest.mark.parametrize(("message", "code", "kind"), ANSWERS)
def test_etcds_words_become_their_class_in_every_shape(
    shape: object, message: str, code: int, kind: type[EtcdError]
) -> None:
    body = shape(message, code)  # type: ignore[operator]
    error = from_answer(400, body, URL, never)
    assert type(error) is kind
    assert (error.message, error.grpc_code, error.endpoint) == (message, code, URL)


@pytest.mark.parametrize(("message", "code", "kind"), [row for row in ANSWERS if row[2] is not EtcdError])
def test_every_known_refusal_says_what_to_do_next(message: str, code: int, kind: type[EtcdError]) -> None:
    assert classify(message, code, URL).hint.endswith((".", ")"))


def test_a_code_alone_decides_when_the_words_are_new() -> None:
    assert type(classify("something new", 16, URL)) is AuthFailedError
    assert type(classify("something new", 14, URL)) is EtcdTimeoutError
    assert type(classify("something new", 9, URL)) is EtcdError


def test_what_may_have_been_carried_out_is_marked_so() -> None:
    unknown = {kind for _, _, kind in ANSWERS if kind.outcome_unknown}
    assert unknown == {NoLeaderError, ProposalDroppedError, RequestTimedOutError, EtcdTimeoutError}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{}", b'{"header":{}}', b"<html>", b'{"error":"x"}', b'{"code":3}', b"\xff"],
)
def test_a_body_without_message_and_code_is_no_refusal(body: bytes) -> None:
    assert refusal(body) is None


def test_a_404_in_plain_text_from_an_etcd_means_that_its_gateway_is_off() -> None:
    error = from_answer(404, b"404 page not found\n", URL, lambda: True)
    assert type(error) is GatewayOffError
    assert "enable-grpc-gateway" in error.hint


def test_a_404_in_plain_text_from_anything_else_is_not_etcd() -> None:
    assert type(from_answer(404, b"404 page not found\n", URL, lambda: False)) is NotEtcdError


@pytest.mark.parametrize("status", [200, 302, 400, 502, 503])
def test_html_is_not_etcd_whatever_its_status(status: int) -> None:
    error = from_answer(status, b"<!DOCTYPE html>\n<title>Bad gateway</title>", URL, never)
    assert type(error) is NotEtcdError
    assert "<!DOCTYPE html>" in error.message
    assert "listen-client-http-urls" in error.hint


@pytest.mark.parametrize(
    ("text", "kind", "hint"),
    [
        (
            "CommonName of client sending a request against gateway will be ignored and not used as expected",
            AuthFailedError,
            "common name",
        ),
        (
            "\netcd received your request, but the Host header was unrecognized.\n\nTo fix this, …",
            EtcdUnreachableError,
            "host-whitelist",
        ),
        ("Client sent an HTTP request to an HTTPS server.\n", EtcdUnreachableError, "https://"),
    ],
)
def test_plain_text_that_etcd_is_known_to_send_is_understood(
    text: str, kind: type[EtcdError], hint: str
) -> None:
    error = from_answer(400, text.encode(), URL, never)
    assert type(error) is kind
    assert hint in error.hint


POOL = cast(ConnectionPool, None)
CONNECTION = cast(HTTPConnection, None)


def chained(outer: HTTPError, cause: BaseException) -> HTTPError:
    """Put a cause behind urllib3's error, as it does itself."""
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (
            chained(NewConnectionError(CONNECTION, "…"), ConnectionRefusedError(111, "Connection refused")),
            EtcdUnreachableError,
            "Connection refused",
        ),
        (
            chained(NewConnectionError(CONNECTION, "…"), socket.gaierror(-2, "Name or service not known")),
            EtcdUnreachableError,
            "Name or service not known",
        ),
        (ConnectTimeoutError(CONNECTION, "…"), EtcdUnreachableError, "no connection within 2 s"),
        (
            LocationParseError(
                "http://[",
            ),
            EtcdUnreachableError,
            "not a usable URL",
        ),
        (ReadTimeoutError(POOL, "/", "…"), EtcdTimeoutError, "no answer within 2 s"),
        (
            ProtocolError("Connection aborted.", ConnectionResetError(104, "Connection reset by peer")),
            EtcdTimeoutError,
            "Connection reset by peer",
        ),
        (
            ProtocolError("Connection aborted.", RemoteDisconnected("Remote end closed connection")),
            EtcdTimeoutError,
            "Remote end closed",
        ),
        (ProtocolError("Connection aborted.", BadStatusLine("SSH-2.0")), NotEtcdError, "SSH-2.0"),
        (SSLError(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")), EtcdTimeoutError, "EOF"),
    ],
)
def test_failed_connections_keep_apart_what_was_never_sent(
    failure: HTTPError, kind: type[EtcdError], words: str
) -> None:
    error = from_failure(failure, URL, 2)
    assert type(error) is kind
    assert words in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate", "`cacert`"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required", "`cert` and `key`"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "http://"),
        ("[SSL] something else", "`cacert`, `cert` and `key`"),
    ],
)
def test_a_tls_failure_names_the_option_to_look_at(words: str, hint: str) -> None:
    error = from_failure(SSLError(ssl.SSLError(1, words)), URL, 2)
    assert type(error) is EtcdUnreachableError
    assert hint in error.hint
