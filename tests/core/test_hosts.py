"""What a Patroni file's etcd list means at the next start."""

from __future__ import annotations

import pytest

from patroni_etcd_reconfig.core.hosts import judge_hosts
from patroni_etcd_reconfig.core.model import PatroniHosts

from .builders import down, etcd, voter, voters

ALL = ("a:2379", "b:2379", "c:2379")


@pytest.mark.parametrize(
    ("listed", "starts", "words"),
    [
        (ALL, True, "starts"),
        (("a:2379",), True, "single endpoint"),
        (("a:2379", "b:2379"), True, "out of date"),
        ((*ALL, "old:2379"), True, "out of date"),
        (("old:2379",), False, "does not start PostgreSQL"),
        ((), False, "does not start PostgreSQL"),
    ],
)
def test_the_verdict_says_what_happens(listed: tuple[str, ...], starts: bool, words: str) -> None:
    verdict = judge_hosts(voters(3), PatroniHosts("pg1.yml", listed))
    assert verdict.starts is starts
    assert words in verdict.words


def test_a_list_whose_only_member_is_down_does_not_start() -> None:
    verdict = judge_hosts(etcd(voter("a"), voter("b"), down("c")), PatroniHosts("pg1.yml", ("c:2379",)))
    assert not verdict.starts
    assert verdict.missing == ("a:2379", "b:2379")
