"""An abort takes half-joined learners back, and never a member that votes by now."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.changes import Change
from patroni_etcd_reconfig.core.findings import Finding, blocker
from patroni_etcd_reconfig.core.model import EtcdView, MemberView, format_id


def promoted(etcd: EtcdView, change: Change) -> tuple[MemberView, ...]:
    """Return who was a half-joined learner when an abort was made, and votes now.

    A promotion whose answer was lost can take effect later; so can one by a run that was still alive.
    """
    if change.verb != "abort":
        return ()
    learners = {victim.id for victim in change.victims}
    return tuple(view for view in etcd.voters if view.id in learners)


def victims_left(etcd: EtcdView, change: Change) -> list[MemberView]:
    """Return the victims that are still members, in the order named; an abort leaves those that vote."""
    voting = promoted(etcd, change)
    return [v for victim in change.victims if (v := etcd.by_id(victim.id)) and v not in voting]


def check_promoted(etcd: EtcdView, change: Change) -> Iterator[Finding]:
    """Block an abort that was made for another state: a new one leaves such a voter where it is."""
    for view in promoted(etcd, change):
        yield blocker(
            "MEMBERSHIP_CHANGED",
            view.member.name or format_id(view.id),
            "it was promoted meanwhile: a member that votes is not taken back",
            "patronictl-etcd abort",
        )
