"""The steps of a recovery as a closed union, and the order in which a plan's steps come.

A recovery is a fixed sequence: unlike a change of membership there is no cluster that could be asked
for what comes next. Each step finds out by itself what of it is done already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.closed import assert_never
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Survivor, Way


@dataclass(frozen=True)
class StartNodes:
    """Start stopped members with the data they have."""

    nodes: tuple[str, ...]


@dataclass(frozen=True)
class AwaitQuorum:
    """Wait until a linearizable read works again."""


@dataclass(frozen=True)
class SaveSurvivor:
    """Take a snapshot from the running survivor, which needs no quorum."""

    node: str


@dataclass(frozen=True)
class StopSurvivor:
    """Stop the survivor cleanly: a hard kill can lose its last acknowledged write."""

    node: str


@dataclass(frozen=True)
class BackUpData:
    """Copy the survivor's whole data dir and compare the copy, before anything in it is changed."""

    node: str


@dataclass(frozen=True)
class FenceMembers:
    """Stop the others, set their data aside, and keep their configuration from making a new cluster."""

    nodes: tuple[str, ...]


@dataclass(frozen=True)
class ForceNewCluster:
    """Make the survivor the only member: the flag for exactly one start, in quarantine."""

    node: str


@dataclass(frozen=True)
class CheckSnapshot:
    """Check that the file is the plan's, and that all is there to restore it, before anything is stopped."""

    node: str


@dataclass(frozen=True)
class DropVolatileKeys:
    """Delete, in quarantine, the keys that a snapshot can't know the truth of."""

    node: str


@dataclass(frozen=True)
class RestoreSnapshot:
    """Make a new cluster of one node from a snapshot file, with a new token, and start it in quarantine."""

    node: str


@dataclass(frozen=True)
class RaiseTerm:
    """Start the survivor without the flag, in quarantine, until its raft term is what Patroni has seen."""

    node: str
    minimum: int


@dataclass(frozen=True)
class RepairKeys:
    """Compare Patroni's keys with what PostgreSQL says, and put right what is not true, in quarantine."""

    scopes: tuple[str, ...]


@dataclass(frozen=True)
class OpenToPatroni:
    """End the quarantine and start the survivor as its service, as it was before."""

    node: str


@dataclass(frozen=True)
class AwaitLeaders:
    """Wait until every Patroni cluster has a leader whose PostgreSQL takes writes."""

    scopes: tuple[str, ...]


@dataclass(frozen=True)
class RebuildMembers:
    """Make the other members new, as learners that are promoted, by the ordinary engine."""

    seats: tuple[Seat, ...]


@dataclass(frozen=True)
class VerifyRecovery:
    """Check quorum, data, Patroni leaders and hosts lists."""


RecoveryStep = (
    StartNodes
    | AwaitQuorum
    | SaveSurvivor
    | StopSurvivor
    | BackUpData
    | FenceMembers
    | ForceNewCluster
    | CheckSnapshot
    | RestoreSnapshot
    | DropVolatileKeys
    | RaiseTerm
    | RepairKeys
    | OpenToPatroni
    | AwaitLeaders
    | RebuildMembers
    | VerifyRecovery
)
_ONLY_LOOK = (SaveSurvivor, BackUpData, CheckSnapshot, AwaitQuorum, AwaitLeaders, VerifyRecovery)
_KINDS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in RecoveryStep.__args__}


def steps_of(plan: RecoveryPlan) -> tuple[RecoveryStep, ...]:
    """Return the steps of a plan, in order; none where a majority serves. ValueError: no such way yet."""
    scopes = tuple(scope.scope for scope in plan.scopes)
    awaited = tuple(scope.scope for scope in plan.scopes if not scope.without_leader)
    leaders: tuple[RecoveryStep, ...] = (AwaitLeaders(awaited),) if awaited else ()
    end = (*_rebuild(plan), *leaders) if plan.rebuild_first else (*leaders, *_rebuild(plan))
    if plan.way is Way.NOTHING:
        return ()
    if plan.way is Way.START:
        return (StartNodes(plan.start), AwaitQuorum(), *end, VerifyRecovery())
    if plan.way is Way.FORCE and plan.survivor is not None:
        return (*_force(plan, plan.survivor, scopes), *end, VerifyRecovery())
    if plan.way is Way.RESTORE and plan.survivor is not None:
        return (*_restore(plan, plan.survivor, scopes), *end, VerifyRecovery())
    raise ValueError(f"no steps for a plan with way {plan.way.value}")


def _force(plan: RecoveryPlan, survivor: Survivor, scopes: tuple[str, ...]) -> tuple[RecoveryStep, ...]:
    node = survivor.node
    snapshot = (SaveSurvivor(node),) if survivor.running else ()
    return (
        *snapshot,
        StopSurvivor(node),
        BackUpData(node),
        *_fencing(plan),
        ForceNewCluster(node),
        RaiseTerm(node, plan.minimum_term),
        *((RepairKeys(scopes),) if scopes else ()),
        OpenToPatroni(node),
    )


def _restore(plan: RecoveryPlan, survivor: Survivor, scopes: tuple[str, ...]) -> tuple[RecoveryStep, ...]:
    """Fencing is the backup, too: the old data of the restored node is set aside with the others'."""
    node = survivor.node
    repair = (RepairKeys(scopes),) if scopes else ()
    new = (RestoreSnapshot(node), DropVolatileKeys(node))
    return (CheckSnapshot(node), *_fencing(plan), *new, *repair, OpenToPatroni(node))


def _fencing(plan: RecoveryPlan) -> tuple[RecoveryStep, ...]:
    reachable = tuple(fence.node for fence in plan.fence if not fence.lost)
    return (FenceMembers(reachable),) if reachable else ()


def _rebuild(plan: RecoveryPlan) -> tuple[RecoveryStep, ...]:
    seats = seats_to_rebuild(plan)
    return (RebuildMembers(seats),) if seats else ()


def seats_to_rebuild(plan: RecoveryPlan) -> tuple[Seat, ...]:
    """Return whom the plan makes new. Those that are lost can't be now: `add` brings them back later."""
    lost = {fence.node for fence in plan.fence if fence.lost}
    return tuple(seat for seat in plan.rebuild if seat.name not in lost)


def subject(step: RecoveryStep) -> str:
    """Return what the step is about: node names, or scopes; empty for the whole cluster."""
    if isinstance(step, (StartNodes, FenceMembers)):
        return ", ".join(step.nodes)
    if isinstance(step, (RepairKeys, AwaitLeaders)):
        return ", ".join(step.scopes)
    if isinstance(step, RebuildMembers):
        return ", ".join(seat.name for seat in step.seats)
    if isinstance(step, (AwaitQuorum, VerifyRecovery)):
        return ""
    return step.node


def changes_something(step: RecoveryStep) -> bool:
    """Tell whether a recovery that was interrupted in this step has to be finished."""
    return not isinstance(step, _ONLY_LOOK)


def describe(step: RecoveryStep) -> str:
    """Return the step in words, as the plan and the progress show it."""
    about = subject(step)
    if isinstance(step, StartNodes):
        return f"start {about} with the data they have"
    if isinstance(step, AwaitQuorum):
        return "wait until etcd has a quorum"
    if isinstance(step, SaveSurvivor):
        return f"save a snapshot of {about}, which runs"
    if isinstance(step, StopSurvivor):
        return f"stop {about} cleanly"
    if isinstance(step, BackUpData):
        return f"copy the data dir of {about} and compare the copy"
    if isinstance(step, FenceMembers):
        return f"fence {about}: stopped, data set aside, no new cluster by an accidental start"
    if isinstance(step, CheckSnapshot):
        return f"check the snapshot again, and that {about} has a tool that can restore it"
    return _describe_quarantine(step, about)


def _describe_quarantine(
    step: ForceNewCluster
    | RestoreSnapshot
    | DropVolatileKeys
    | RaiseTerm
    | RepairKeys
    | OpenToPatroni
    | AwaitLeaders
    | RebuildMembers
    | VerifyRecovery,
    about: str,
) -> str:
    if isinstance(step, ForceNewCluster):
        return f"start {about} in quarantine, once with --force-new-cluster: it goes on alone"
    if isinstance(step, RestoreSnapshot):
        return f"restore the snapshot on {about} as a new cluster with a new token, in quarantine"
    if isinstance(step, DropVolatileKeys):
        return "drop what a snapshot can't know, in quarantine: leader, members, failover, status, failsafe"
    if isinstance(step, RaiseTerm):
        return f"restart {about} in quarantine without the flag until its raft term is {step.minimum} or more"
    if isinstance(step, RepairKeys):
        return f"compare Patroni's keys with PostgreSQL, and repair them{f': {about}' if about else ''}"
    if isinstance(step, OpenToPatroni):
        return f"end the quarantine and start {about} as its service"
    if isinstance(step, AwaitLeaders):
        return f"wait until {about} {'have' if ',' in about else 'has'} a leader that takes writes"
    if isinstance(step, RebuildMembers):
        return f"rebuild {about} as learners, and promote them"
    if isinstance(step, VerifyRecovery):
        return "verify etcd, Patroni and its list of etcd hosts"
    return assert_never(step)


def encode_step(step: RecoveryStep) -> dict[str, Any]:
    """Return the step as JSON data."""
    return {"kind": type(step).__name__, **asdict(step)}


def decode_step(data: Mapping[str, Any]) -> RecoveryStep:
    """Return the step; raises KeyError, TypeError or ValueError for data that is none."""
    kind = _KINDS[data["kind"]]
    step: RecoveryStep = kind(**{field.name: _decode(data[field.name]) for field in fields(kind)})
    return step


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return Seat(value["name"], tuple(value["peer_urls"]), tuple(value["client_urls"]))
    return tuple(_decode(item) for item in value) if isinstance(value, (list, tuple)) else value
