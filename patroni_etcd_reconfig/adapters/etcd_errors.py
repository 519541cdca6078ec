"""Turns what an etcd member answers, or how the connection fails, into the classes of errors.py.

Tables first: etcd's own words decide, then the gRPC code, then nothing is guessed (plain EtcdError).
The words are those of etcd 3.4 to 3.7 (api/v3rpc/rpctypes/error.go); the JSON around them differs by
version and by call, which `refusal` hides.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

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


@dataclass(frozen=True)
class Rule:
    """One line of a table: an answer that contains `words` is an error of this kind."""

    words: str
    kind: type[EtcdError]
    hint: str = ""


AUTH_DISABLED = "authentication is not enabled"
LEASE_NOT_FOUND = "requested lease not found"

_CREDENTIALS = "Check username and password in Patroni's etcd3 section."
_ROOT = "Membership calls need a user with etcd's root role: Patroni's own user is not enough."
_NO_QUORUM = "See with `status` whether a majority of the voters is up; what is down has to be started again."
_LOOK_AGAIN = "The call may have been carried out all the same: look again before anything else."

# The first rule that matches wins, so longer words stand before those they contain.
RULES: tuple[Rule, ...] = (
    Rule("too many learner members", TooManyLearnersError, "Promote or remove the other learner first."),
    Rule(
        "can only promote a learner member which is in sync",
        LearnerNotReadyError,
        "Wait until it has caught up; if it never does, see whether its etcd runs and reaches the leader.",
    ),
    Rule("can only promote a learner", MemberNotLearnerError, "It votes already: nothing to promote."),
    Rule("not supported for learner", NotSupportedError, "Ask a voting member instead."),
    Rule("member not found", MemberNotFoundError, "It was removed, or the id is wrong: look again."),
    Rule("peer urls already exists", PeerUrlExistsError, "Remove the member that has this peer URL first."),
    Rule(
        "not enough started members",
        NotEnoughStartedError,
        "Start the members that are in the list but not running, or remove those that never ran.",
    ),
    Rule(
        "unhealthy cluster",
        UnhealthyClusterError,
        "Wait until every voter has been connected for 5 s; if one is down, start it or remove it first.",
    ),
    Rule("not leader", NotLeaderError, "Leadership has moved: look again and ask the leader."),
    Rule("bad leader transferee", NotLeaderError, "Choose a voting member of the list as the new leader."),
    Rule("no leader", NoLeaderError, _NO_QUORUM),
    Rule("raft proposal dropped", ProposalDroppedError, "Leadership was moving: look again, then go on."),
    Rule("request timed out", RequestTimedOutError, _LOOK_AGAIN + " " + _NO_QUORUM),
    Rule("context deadline exceeded", RequestTimedOutError, _LOOK_AGAIN),
    Rule("leader changed", RequestTimedOutError, _LOOK_AGAIN),
    Rule("server stopped", EtcdTimeoutError, "The member is shutting down: ask another, or wait for it."),
    Rule("invalid user id or password", AuthFailedError, _CREDENTIALS),
    Rule("user name is empty", AuthFailedError, "This etcd wants a login: set username and password."),
    Rule("invalid auth token", AuthFailedError, _CREDENTIALS),
    Rule("revision of auth store is old", AuthFailedError, "Users or roles just changed: try again."),
    Rule("permission denied", AuthFailedError, _ROOT),
    Rule(
        "database space exceeded",
        EtcdError,
        "Compact and defragment etcd, then disarm the NOSPACE alarm (`etcdctl alarm disarm`).",
    ),
    Rule("corrupt cluster", EtcdError, "A member's data differs: `etcdctl alarm list` names it; replace it."),
    Rule("member urls are invalid", EtcdError, "Give peer URLs as scheme://host:port."),
)

_BY_CODE: dict[int, Rule] = {
    4: Rule("", RequestTimedOutError, _LOOK_AGAIN),
    7: Rule("", AuthFailedError, _ROOT),
    12: Rule("", NotSupportedError, "This etcd version does not have the call."),
    14: Rule("", EtcdTimeoutError, _LOOK_AGAIN),  # Unavailable without known words: assume the worst
    16: Rule("", AuthFailedError, _CREDENTIALS),
}
_OTHER = Rule("", EtcdError)

# Plain text that etcd itself, or Go's TLS listener, sends in place of JSON.
_TEXTS: tuple[Rule, ...] = (
    Rule(
        "CommonName of client sending a request against gateway",
        AuthFailedError,
        "With etcd's auth on, use a client certificate without a common name, plus username and password.",
    ),
    Rule(
        "Host header was unrecognized",
        EtcdUnreachableError,
        "Add this host name to etcd's --host-whitelist, or use the name or address it lists.",
    ),
    Rule(
        "HTTP request to an HTTPS server",
        EtcdUnreachableError,
        "This etcd wants TLS: use https:// (`protocol: https` and `cacert` in Patroni's etcd3 section).",
    ),
)

_TLS: tuple[Rule, ...] = (
    Rule("WRONG_VERSION_NUMBER", EtcdUnreachableError, "No TLS on this port: use http:// (`protocol`)."),
    Rule("RECORD_LAYER_FAILURE", EtcdUnreachableError, "No TLS on this port: use http:// (`protocol`)."),
    Rule("alert", EtcdUnreachableError, "etcd refuses our client certificate: check `cert` and `key`."),
    Rule(
        "verify failed",
        EtcdUnreachableError,
        "etcd's certificate isn't trusted: check `cacert`, and host names.",
    ),
    Rule("match", EtcdUnreachableError, "etcd's certificate lacks this name: use one it has, see `cacert`."),
    Rule("", EtcdUnreachableError, "Check `cacert`, `cert` and `key` in Patroni's etcd3 section."),
)

_NOT_ETCD_HINT = (
    "Check the URL: this must be etcd's client port with HTTP on it (see etcd's --listen-client-http-urls)."
)
_GATEWAY_HINT = "Set `enable-grpc-gateway: true` in this member's etcd configuration file and restart it."


def refusal(body: bytes) -> tuple[str, int] | None:
    """Return etcd's message and gRPC code out of an error body; None where it isn't one.

    Three shapes: 3.4 and 3.5 `{"error", "message", "code"}`, 3.6 `{"code", "message"}`, and streaming
    calls with all of it nested under "error", with "grpc_code" in 3.4.
    """
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    if not isinstance(answer, dict):
        return None
    inner = answer["error"] if isinstance(answer.get("error"), dict) else answer
    message = inner.get("message") or inner.get("error")
    code = inner.get("grpc_code", inner.get("code"))
    return (message, code) if isinstance(message, str) and isinstance(code, int) else None


def classify(message: str, code: int, endpoint: str) -> EtcdError:
    """Return the error for etcd's words and gRPC code; the words count first, as codes vary by version."""
    known = _find(RULES, message)
    rule = known or _BY_CODE.get(code, _OTHER)
    return rule.kind(message, endpoint=endpoint, grpc_code=code, hint=rule.hint)


def from_answer(status: int, body: bytes, endpoint: str, is_etcd: Callable[[], bool]) -> EtcdError:
    """Return the error for an HTTP answer that is not a result.

    `is_etcd` tells whether `GET /version` there is answered by an etcd; it is only called for a 404 in
    plain text, which is both what etcd says with its gateway off and what any web server says.
    """
    words = refusal(body)
    if words is not None:
        return classify(*words, endpoint)
    text = _first_line(body)
    rule = _find(_TEXTS, body.decode("utf-8", "replace"))
    if rule is not None:
        return rule.kind(text, endpoint=endpoint, hint=rule.hint)
    if status == 404 and is_etcd():
        message = "etcd answers, but its gRPC gateway is off (404 for /v3)"
        return GatewayOffError(message, endpoint=endpoint, hint=_GATEWAY_HINT)
    return not_etcd(f"HTTP {status} {text!r} is not an answer of etcd's v3 API", endpoint)


def not_etcd(message: str, endpoint: str) -> NotEtcdError:
    """Return the error for an answer that etcd would not give."""
    return NotEtcdError(message, endpoint=endpoint, hint=_NOT_ETCD_HINT)


def from_failure(failure: HTTPError, endpoint: str, seconds: float) -> EtcdError:
    """Return the error for a connection that failed, keeping apart "never sent" and "outcome unknown".

    When in doubt it is "outcome unknown": that costs another look, the opposite might repeat a change.
    """
    cause = _cause(failure)
    if isinstance(cause, ssl.SSLEOFError):  # torn down, perhaps after the request was read
        return _broken(cause, endpoint)
    if isinstance(failure, SSLError):
        hint = next(rule.hint for rule in _TLS if rule.words in str(cause))
        return EtcdUnreachableError(f"TLS failed: {cause}", endpoint=endpoint, hint=hint)
    if isinstance(failure, ReadTimeoutError):
        return EtcdTimeoutError(f"no answer within {seconds:g} s", endpoint=endpoint, hint=_LOOK_AGAIN)
    if isinstance(failure, NewConnectionError):
        return _unreachable(_reason(cause), endpoint)
    if isinstance(failure, ConnectTimeoutError):
        return _unreachable(f"no connection within {seconds:g} s", endpoint)
    if isinstance(failure, LocationValueError):
        return _unreachable(f"not a usable URL: {failure}", endpoint)
    return _not_http(cause, endpoint) if _speaks_otherwise(failure, cause) else _broken(cause, endpoint)


def _find(rules: tuple[Rule, ...], text: str) -> Rule | None:
    lowered = text.lower()
    return next((rule for rule in rules if rule.words.lower() in lowered), None)


def _first_line(body: bytes) -> str:
    """Return the start of a body, short enough for a message."""
    lines = body[:400].decode("utf-8", "replace").strip().splitlines()
    return lines[0][:120] if lines else ""


def _cause(failure: BaseException) -> BaseException:
    """Return the innermost reason that urllib3 wrapped."""
    inner = failure.__cause__ or next((a for a in failure.args if isinstance(a, BaseException)), None)
    return _cause(inner) if inner is not None and inner is not failure else failure


def _reason(cause: BaseException) -> str:
    words = cause.strerror if isinstance(cause, OSError) else None
    return words or str(cause) or type(cause).__name__


def _unreachable(message: str, endpoint: str) -> EtcdUnreachableError:
    hint = "Check that etcd runs there and that host, port and firewall are right."
    return EtcdUnreachableError(message, endpoint=endpoint, hint=hint)


def _broken(cause: BaseException, endpoint: str) -> EtcdTimeoutError:
    hint = _LOOK_AGAIN + " (With TLS etcd also hangs up on http:// and on a client without `cert`.)"
    return EtcdTimeoutError(f"the connection broke: {_reason(cause)}", endpoint=endpoint, hint=hint)


def _speaks_otherwise(failure: HTTPError, cause: BaseException) -> bool:
    """True where bytes came back which aren't HTTP; RemoteDisconnected means that none came."""
    garbled = isinstance(cause, http.client.BadStatusLine | http.client.LineTooLong)
    return isinstance(failure, ProtocolError) and garbled and not isinstance(cause, ConnectionError)


def _not_http(cause: BaseException, endpoint: str) -> NotEtcdError:
    return not_etcd(f"the answer is not HTTP: {str(cause)[:80]!r}", endpoint)
