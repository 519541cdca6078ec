"""Logins to an etcd that wants them: when, where, and what to do with the tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from patroni_etcd_reconfig.errors import AuthFailedError, EtcdError, NotSupportedError

T = TypeVar("T")
Headers = dict[str, str]

_STALE_TOKEN = ("invalid auth token", "revision of auth store is old", "user name is empty")
# Seconds before a token is asked for again on behalf of a learner: each costs a voter the hash of a password.
_PAUSE = 1.0


@dataclass
class Logins:
    """The tokens that are known, by endpoint; safe to use from threads."""

    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    _borrowed: dict[str, float] = field(default_factory=dict)  # endpoint -> when a voter was asked for it

    def send(self, endpoint: str, send: Callable[[Headers], T], log_in: Callable[[str], str] | None) -> T:
        """Send with the token that is known; log in when the server asks for it, and send once more.

        `log_in` returns a token of the endpoint that it is given; None where there is no user name.
        etcd checks the token before it proposes or applies anything, so a request that was refused
        for it was certainly not executed: this one re-send can't repeat a change. Logging in needs
        quorum, hence not before a server asks: status and snapshot must work when quorum is lost.
        """
        token = self.tokens.get(endpoint, "")
        try:
            return send(_authorization(token))
        except AuthFailedError as exc:
            stale = not token or any(words in exc.message for words in _STALE_TOKEN)
            if log_in is None or not stale:
                raise
            refused = exc
        try:
            token = log_in(endpoint)
        except NotSupportedError:  # a learner takes tokens and gives none
            token = self._borrow(endpoint, log_in, refused)
        self.tokens[endpoint] = token
        return send(_authorization(token))

    def _borrow(self, endpoint: str, log_in: Callable[[str], str], refused: AuthFailedError) -> str:
        """Return a token of another member; each gets to know it through raft, if it did not come before."""
        now = time.monotonic()
        if now - self._borrowed.get(endpoint, -_PAUSE) < _PAUSE:
            raise refused
        self._borrowed[endpoint] = now
        for other in set(self.tokens) - {endpoint}:
            with suppress(EtcdError):
                return log_in(other)
        raise refused


def _authorization(token: str) -> Headers:
    return {"Authorization": token} if token else {}  # etcd takes the bare token, not "Bearer"
