"""What an aborted change leaves, in words and with the next command."""

from __future__ import annotations

from dataclasses import replace

from patroni_etcd_reconfig.core.changes import (
    Reshape,
    Seat,
    addition_of,
    cycle_with_spare,
    replacement_of,
    restart_of,
    upgrade_of,
)
from patroni_etcd_reconfig.core.model import EtcdView
from patroni_etcd_reconfig.core.remains import in_words, what_stays

from .builders import cycle, down, etcd, learner, urls, voter, voters

D = Seat("d", urls("d"))


def _said(state: EtcdView, begun: Reshape, *done: str) -> str:
    return "; ".join(in_words(finding) for finding in what_stays(state, begun, frozenset(done)))


def test_what_was_not_begun_stays_as_it_is() -> None:
    assert _said(voters(3), cycle(voters(3), "b")) == "b stays as it is"


def test_what_was_removed_comes_back_with_add() -> None:
    for left in (etcd(voter("a"), voter("c")), etcd(voter("a"), voter("c"), learner("b"))):
        assert _said(left, cycle(voters(3), "b")) == (
            "b stays removed; to have it back: patronictl-etcd add b"
        )


def test_what_was_replaced_is_not_mentioned() -> None:
    new = replace(voter("b"), member=replace(voter("b").member, id=0x77))
    assert _said(etcd(voter("a"), new, voter("c")), cycle(voters(3), "b")) == ""


def test_a_machine_that_did_not_get_its_member_can_be_added() -> None:
    not_added = "d is not added; to add it: patronictl-etcd add d"
    assert _said(voters(3), addition_of(voters(3), (D,))) == not_added
    assert _said(etcd(voter("b"), voter("c")), replacement_of(voters(3), "a", D)) == (
        f"a stays removed; {not_added}"
    )


def test_a_spare_that_votes_stays_a_member() -> None:
    begun = cycle_with_spare(voters(3), ("a",), D)
    assert _said(voters(4), begun) == (
        "a stays as it is; d stays a member: the spare; to free it: patronictl-etcd remove d"
    )
    assert _said(voters(3), begun) == "a stays as it is"


def test_it_is_said_which_members_were_restarted() -> None:
    assert _said(voters(2), restart_of(voters(2), ()), "b") == (
        "a was not restarted; to restart it: patronictl-etcd restart a; b was restarted"
    )


def test_half_an_upgrade_is_said_with_the_versions() -> None:
    state = etcd(voter("a"), voter("b", version="3.5.30"), down("c"))
    assert _said(state, upgrade_of(state, (), "install"), "b") == (
        "a was not upgraded, and runs 3.4.23; to upgrade it: patronictl-etcd upgrade a --command ...; "
        "b was upgraded, and runs 3.5.30; "
        "c was not upgraded, and does not answer now; "
        "to upgrade it: patronictl-etcd upgrade c --command ..."
    )


def test_a_member_with_the_wanted_version_was_upgraded_whatever_was_written_down() -> None:
    state = etcd(voter("a"), voter("b", version="3.5.30"))
    assert _said(state, upgrade_of(state, ("b",), "install", "3.5.30")) == ("b was upgraded, and runs 3.5.30")
