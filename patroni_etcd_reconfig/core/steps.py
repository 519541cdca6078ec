"""The steps that plans are made of: a closed union, so that a new step breaks mypy where it must."""

from __future__ import annotations

from dataclasses import dataclass

from patroni_etcd_reconfig.core.changes import MemberRef, Seat


@dataclass(frozen=True)
class SaveSnapshot:
    """Save and verify a snapshot, taken through this member."""

    through: Seat


@dataclass(frozen=True)
class Shield:
    """A scope, and its failsafe_mode before it is turned on: JSON text, "" = not set."""

    scope: str
    before: str


@dataclass(frozen=True)
class RaiseShield:
    """Turn failsafe_mode on in these scopes, and wait until their Patroni acts on it."""

    shields: tuple[Shield, ...]


@dataclass(frozen=True)
class LowerShield:
    """Put failsafe_mode back to what it was, unless somebody else has changed it."""

    shields: tuple[Shield, ...]


@dataclass(frozen=True)
class AwaitSettled:
    """Wait until a new voter is in sync, hashes like the others and has been connected for 5 s (law 1)."""

    seat: Seat


@dataclass(frozen=True)
class TransferLeadership:
    """Move raft leadership off a member before it is touched (law 3)."""

    source: MemberRef
    target: Seat | None = None  # None = the healthy voter that is most caught up


@dataclass(frozen=True)
class RestartMember:
    """Stop a member and start it again with the data and the configuration it has."""

    member: MemberRef


@dataclass(frozen=True)
class UpgradeMember:
    """Stop a member, run the operator's command on its node, start it, and check the version it has then.

    `to_version` is empty where it was not told. The command may run twice, when the tool dies in the middle.
    """

    member: MemberRef
    command: str
    to_version: str = ""
    from_version: str = ""  # that it ran when the step was first begun; empty = not known


@dataclass(frozen=True)
class UpdatePeerUrls:
    """Tell etcd a member's new peer URLs, by id; the member itself learns of them at its next start."""

    member: MemberRef
    peer_urls: tuple[str, ...]


@dataclass(frozen=True)
class ReaddressMember:
    """Write the member's URLs into its configuration, restart it, and wait until the list shows them."""

    member: MemberRef
    seat: Seat
    client_urls: tuple[str, ...]
    former_client_urls: tuple[str, ...]


@dataclass(frozen=True)
class StopMember:
    """Stop a member cleanly, so that its data can be copied: it stays a member."""

    member: MemberRef


@dataclass(frozen=True)
class CopyData:
    """Copy the data dir of a stopped member to another place, every file checked by its SHA-256."""

    member: MemberRef
    target: str


@dataclass(frozen=True)
class FenceOldData:
    """Rename the old data dir aside, and give the copy its place: from here on only that can be started."""

    member: MemberRef
    target: str


@dataclass(frozen=True)
class StartMoved:
    """Configure and start the member on its copied data, and wait until it is back, with the same id."""

    member: MemberRef
    seat: Seat
    client_urls: tuple[str, ...]
    former_client_urls: tuple[str, ...]
    target: str


@dataclass(frozen=True)
class DiscardCopy:
    """Delete a copy that was never to be started: the member goes on with its old data."""

    member: MemberRef
    target: str


@dataclass(frozen=True)
class RemoveMember:
    """Remove a voter from the membership, by id."""

    member: MemberRef


@dataclass(frozen=True)
class SetDataAside:
    """Stop the service of a member that is gone from the list, and rename its data dir aside."""

    seat: Seat


@dataclass(frozen=True)
class AddLearner:
    """Add a learner with the seat's peer URLs."""

    seat: Seat


@dataclass(frozen=True)
class StartMember:
    """Write the node's configuration, start it, and wait until it is published and connected.

    `hidden`: it advertises the voters' client URLs until it votes (see core/hiding.py).
    """

    seat: Seat
    hidden: bool = False


@dataclass(frozen=True)
class PromoteLearner:
    """Promote the seat's learner once it is in sync by our own measure."""

    seat: Seat


@dataclass(frozen=True)
class Verify:
    """Check that everything promised holds: voters, reads, hashes, Patroni leaders and their leases."""


Step = (
    SaveSnapshot
    | RaiseShield
    | LowerShield
    | AwaitSettled
    | TransferLeadership
    | RestartMember
    | UpgradeMember
    | UpdatePeerUrls
    | ReaddressMember
    | StopMember
    | CopyData
    | FenceOldData
    | StartMoved
    | DiscardCopy
    | RemoveMember
    | SetDataAside
    | AddLearner
    | StartMember
    | PromoteLearner
    | Verify
)


# What moves the data of a member that stays one.
MOVING = (StopMember, CopyData, FenceOldData, StartMoved, DiscardCopy)


def scopes_of(step: RaiseShield | LowerShield) -> str:
    """Return the names of the Patroni clusters that the step is about."""
    return ", ".join(shield.scope for shield in step.shields)


def subject(step: Step) -> str:
    """Return the name of the member, or the scopes, that the step is about; empty for the whole cluster."""
    if isinstance(step, Verify):
        return ""
    if isinstance(step, (RaiseShield, LowerShield)):
        return scopes_of(step)
    if isinstance(step, SaveSnapshot):
        return step.through.name
    if isinstance(step, TransferLeadership):
        return step.source.name
    if isinstance(step, (RemoveMember, RestartMember, UpgradeMember, UpdatePeerUrls, ReaddressMember)):
        return step.member.name
    if isinstance(step, MOVING):
        return step.member.name
    return step.seat.name


# Besides those that change the membership: they stop or start an etcd, or change who leads.
FELT = (
    TransferLeadership,
    RestartMember,
    UpgradeMember,
    UpdatePeerUrls,
    ReaddressMember,
    StartMember,
    SetDataAside,
    *MOVING,
)


def changes_membership(step: Step) -> bool:
    """Tell whether the step changes who is a member or who votes."""
    return isinstance(step, (RemoveMember, AddLearner, PromoteLearner))


def leaves_traces(step: Step) -> bool:
    """Tell whether the step changes something that a resume or an abort has to look after."""
    return touches_etcd(step) or isinstance(step, (RaiseShield, LowerShield))


def touches_etcd(step: Step) -> bool:
    """Tell whether the step can be felt by clients of etcd: those wait for Patroni to be calm (law 4)."""
    return changes_membership(step) or isinstance(step, FELT)


def worst_write_gap(step: Step) -> float:
    """Return the worst DCS write gap to expect of the step, in seconds.

    Measured on etcd 3.4.23 and 3.5.30, 6 runs each, largest value rounded up: transfer and removal of
    the former leader 204 ms, removal of a follower 45 ms, a learner added 23 ms, stop of a follower 72 ms.
    """
    if isinstance(step, TransferLeadership):
        return 0.25
    return 0.1 if touches_etcd(step) else 0.0
