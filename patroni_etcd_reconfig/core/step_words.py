"""Steps in words, as plans, progress and journals show them."""

from __future__ import annotations

from patroni_etcd_reconfig.core.closed import assert_never
from patroni_etcd_reconfig.core.steps import (
    MOVING,
    AddLearner,
    AwaitSettled,
    CopyData,
    DiscardCopy,
    FenceOldData,
    LowerShield,
    PromoteLearner,
    RaiseShield,
    ReaddressMember,
    RemoveMember,
    RestartMember,
    SaveSnapshot,
    SetDataAside,
    StartMember,
    StartMoved,
    Step,
    StopMember,
    TransferLeadership,
    UpdatePeerUrls,
    UpgradeMember,
    Verify,
    scopes_of,
)


def describe(step: Step) -> str:
    """Return the step in words, as the plan and the progress show it."""
    if isinstance(step, RaiseShield):
        return f"turn failsafe_mode on in {scopes_of(step)}"
    if isinstance(step, LowerShield):
        return f"put failsafe_mode back in {scopes_of(step)}"
    if isinstance(step, SaveSnapshot):
        return f"save a snapshot through {step.through.name}"
    if isinstance(step, AwaitSettled):
        return f"wait until {step.seat.name} is settled"
    if isinstance(step, TransferLeadership):
        to = f" to {step.target.name}" if step.target else ""
        return f"move leadership off {step.source.name}{to}"
    if isinstance(step, MOVING):
        return _describe_move(step)
    if isinstance(step, (RestartMember, UpgradeMember, UpdatePeerUrls, ReaddressMember)):
        return _describe_staying(step)
    if isinstance(step, RemoveMember):
        return f"remove {step.member.name} ({step.member.id:x})"
    if isinstance(step, SetDataAside):
        return f"stop {step.seat.name}, set its data aside"
    if isinstance(step, AddLearner):
        return f"add {step.seat.name} as a learner"
    return _describe_joining(step)


def _describe_staying(step: RestartMember | UpgradeMember | UpdatePeerUrls | ReaddressMember) -> str:
    if isinstance(step, RestartMember):
        return f"restart {step.member.name}"
    if isinstance(step, UpgradeMember):
        return f"upgrade {step.member.name}" + (f" to {step.to_version}" if step.to_version else "")
    if isinstance(step, UpdatePeerUrls):
        return f"update the peer URL of {step.member.name} to {', '.join(step.peer_urls)}"
    if isinstance(step, ReaddressMember):
        return f"configure and restart {step.member.name} with its URLs"
    return assert_never(step)


def _describe_move(step: StopMember | CopyData | FenceOldData | StartMoved | DiscardCopy) -> str:
    if isinstance(step, StopMember):
        return f"stop {step.member.name}, keep it a member"
    if isinstance(step, CopyData):
        return f"copy the data of {step.member.name} to {step.target}"
    if isinstance(step, FenceOldData):
        return f"set the old data of {step.member.name} aside"
    if isinstance(step, StartMoved):
        return f"start {step.member.name} on {step.target}"
    if isinstance(step, DiscardCopy):
        return f"discard the copy on {step.target}"
    return assert_never(step)


def _describe_joining(step: StartMember | PromoteLearner | Verify) -> str:
    if isinstance(step, StartMember):
        return "hidden from Patroni: " * step.hidden + f"start {step.seat.name}, wait until it joins"
    if isinstance(step, PromoteLearner):
        return f"promote {step.seat.name} when in sync"
    if isinstance(step, Verify):
        return "verify the cluster and Patroni"
    return assert_never(step)
