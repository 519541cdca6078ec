"""When a login is made and where: only when asked for, at the member itself, for a learner at another one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from patroni_etcd_reconfig.adapters.etcd_login import Headers, Logins
from patroni_etcd_reconfig.errors import AuthFailedError, EtcdTimeoutError, NotSupportedError

LEARNER, VOTER, DEAD = "http://c:2379", "http://a:2379", "http://b:2379"


@dataclass
class Etcd:
    """Takes the tokens that it knows, and gives none at a learner."""

    known: set[str] = field(default_factory=set)
    logins: list[str] = field(default_factory=list)

    def send(self, headers: Headers) -> str:
        token = headers.get("Authorization", "")
        if token not in self.known:
            raise AuthFailedError(
                "etcdserver: invalid auth token" if token else "etcdserver: user name is empty"
            )
        return token

    def log_in(self, endpoint: str) -> str:
        self.logins.append(endpoint)
        if endpoint == LEARNER:
            raise NotSupportedError("etcdserver: rpc not supported for learner")
        if endpoint == DEAD:
            raise EtcdTimeoutError("no answer")
        token = f"token{len(self.logins)}"
        self.known.add(token)
        return token


def test_nobody_logs_in_before_a_server_asks_for_it() -> None:
    etcd = Etcd(known={""})
    assert Logins().send(VOTER, etcd.send, etcd.log_in) == ""
    assert etcd.logins == []


def test_a_token_is_kept_and_replaced_once_it_is_stale() -> None:
    etcd, logins = Etcd(), Logins()
    assert [logins.send(VOTER, etcd.send, etcd.log_in) for _ in range(2)] == ["token1"] * 2
    etcd.known.clear()
    assert logins.send(VOTER, etcd.send, etcd.log_in) == "token2"


def test_a_refusal_that_no_token_cures_and_a_missing_user_name_are_told() -> None:
    etcd, logins = Etcd(), Logins({VOTER: "token"})

    def denied(_: Headers) -> str:
        raise AuthFailedError("etcdserver: permission denied")

    with pytest.raises(AuthFailedError, match="denied"):
        logins.send(VOTER, denied, etcd.log_in)
    with pytest.raises(AuthFailedError, match="user name is empty"):
        Logins().send(VOTER, etcd.send, None)
    assert etcd.logins == []


@pytest.mark.parametrize("before", [{}, {LEARNER: "of the member that was there before"}], ids=["new", "old"])
def test_a_learner_gets_a_token_of_another_member(before: dict[str, str]) -> None:
    etcd, logins = Etcd(), Logins({DEAD: "x", VOTER: "y", **before})
    token = logins.send(LEARNER, etcd.send, etcd.log_in)
    assert token in etcd.known
    assert logins.send(LEARNER, etcd.send, etcd.log_in) == token
    assert etcd.logins.count(VOTER) == 1


def test_a_learner_that_does_not_know_a_token_yet_costs_the_others_no_login_a_look() -> None:
    etcd, logins = Etcd(), Logins({VOTER: "y"})

    def behind(_: Headers) -> str:
        raise AuthFailedError("etcdserver: invalid auth token")

    for _ in range(5):
        with pytest.raises(AuthFailedError):
            logins.send(LEARNER, behind, etcd.log_in)
    assert etcd.logins.count(VOTER) == 1


def test_who_has_been_a_learner_gives_tokens_once_it_votes() -> None:
    etcd, logins = Etcd(), Logins({VOTER: "y"})
    logins.send(LEARNER, etcd.send, etcd.log_in)
    other = Etcd()
    assert Logins({LEARNER: "z"}).send(VOTER, other.send, other.log_in) in other.known
    assert VOTER in logins.tokens
