"""What an operator can ask for, with every member named by id, name and peer URLs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from patroni_etcd_reconfig.core.model import EtcdView, Member, MemberView, format_id


@dataclass(frozen=True)
class Seat:
    """A place in the cluster: the name and peer URLs of a member whose id is not known yet.

    `client_urls` are what its node shall advertise; empty = what the inventory or its configuration says.
    They do not tell one seat from another.
    """

    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class MemberRef:
    """A member that exists: id, name and peer URLs must all agree before it is touched (law 6)."""

    id: int
    name: str
    peer_urls: tuple[str, ...]

    @property
    def seat(self) -> Seat:
        """Return the member's place, which a replacement takes over."""
        return Seat(self.name, self.peer_urls)


@dataclass(frozen=True)
class Relocation:
    """Where a member that stays the same member is to be: its name, URLs, and the node with its data.

    `target` is the node that its data moves to: a name of the inventory, or `NAME:DIRECTORY` for another
    directory of the same node; empty = the data stays where it is.
    """

    member: MemberRef  # as it was when the change was asked for
    seat: Seat  # its name and peer URLs afterwards
    client_urls: tuple[str, ...]  # afterwards
    former_client_urls: tuple[str, ...]
    target: str = ""
    source_dir: str = ""  # where the data is before, and afterwards; for a move of the data only
    target_dir: str = ""

    @property
    def keeps_peer_urls(self) -> bool:
        """Tell whether the peer URLs stay: their order means nothing."""
        return set(self.seat.peer_urls) == set(self.member.peer_urls)

    def undone(self) -> Relocation:
        """Return the way back to the URLs of before."""
        new = MemberRef(self.member.id, self.seat.name, self.seat.peer_urls)
        return Relocation(new, self.member.seat, self.former_client_urls, self.client_urls)


@dataclass(frozen=True)
class Reshape:
    """Change who is a member: victims go, joiners' seats are filled by new voters, others stay.

    A joiner on a victim's seat is a replacement in place. `verb` is the command, for people.
    """

    verb: str
    cluster_id: int
    victims: tuple[MemberRef, ...] = ()
    joiners: tuple[Seat, ...] = ()
    others: tuple[MemberRef, ...] = ()
    as_learners: bool = False  # joiners stay learners
    restarts: tuple[MemberRef, ...] = ()  # of the others: to be restarted with the data they have
    stepping_down: MemberRef | None = None  # of the others: must not lead
    successor: Seat | None = None  # who should lead instead; None = the most caught-up voter
    # filled before any healthy victim goes; a joiner's seat, or free again at the end
    spare: Seat | None = None
    shield: bool = False  # turn failsafe_mode on where it is off, for the time of the operation
    relocations: tuple[Relocation, ...] = ()  # of the others: to be elsewhere, as the members they are
    command: str = ""  # run on the node of each of the restarts while it is down; empty = none
    to_version: str = ""  # that the command brings; empty = not told
    taken_back: tuple[Relocation, ...] = ()  # moves of data that are given up before the old was set aside

    @property
    def size_before(self) -> int:
        """Return how many members there were when the change was asked for."""
        return len(self.victims) + len(self.others)

    @property
    def size_after(self) -> int:
        """Return how many members there will be."""
        return len(self.joiners) + len(self.others)

    @property
    def stand_in(self) -> Seat | None:
        """Return the seat of a member that is one only while the victims are replaced."""
        return self.spare if self.spare not in self.joiners else None

    @property
    def seats(self) -> tuple[Seat, ...]:
        """Return every seat that gets a new member, for good or for a while."""
        return (*self.joiners, self.stand_in) if self.stand_in else self.joiners

    def successor_of(self, victim: MemberRef) -> Seat | None:
        """Return the seat that can be filled only after this victim is gone; None when there is none.

        Either it is the same place in the cluster, or another one on the same machine, which runs one etcd.
        """
        same = (s for s in self.joiners if s.name == victim.name or set(s.peer_urls) & set(victim.peer_urls))
        return next(same, None)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Return the names of all nodes that are touched, each once."""
        moves = (*self.relocations, *self.taken_back)
        moved = (relocation.member for relocation in moves)
        refs = (*self.victims, *self.restarts, *moved)
        refs = (*refs, *((self.stepping_down,) if self.stepping_down else ()))
        names = [*(ref.name for ref in refs), *(seat.name for seat in self.seats)]
        names += [relocation.target for relocation in moves if relocation.target]
        return tuple(dict.fromkeys(names))


Change = Reshape


class UnknownMemberError(LookupError):
    """No member has this name or id. `key` is what was asked for."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def reference(member: Member) -> MemberRef:
    """Return the full reference to a member of the list."""
    return MemberRef(member.id, member.name, member.peer_urls)


def find_member(etcd: EtcdView, key: str) -> MemberView:
    """Return the member with this name, or with this id in hex; raises UnknownMemberError."""
    named = [view for view in etcd.members if view.member.name == key]
    numbered = [view for view in etcd.members if format_id(view.id) == key.lower()]
    for view in (*named, *numbered):
        return view
    raise UnknownMemberError(key)


def cycle_of(etcd: EtcdView, names: tuple[str, ...]) -> Reshape:
    """Return the cycle in place of the named members, or of all started voters when no name is given."""
    started = [view.member.name for view in etcd.voters if view.member.started]
    victims = _refs(etcd, names or sorted(started))
    return _reshape("cycle", etcd, victims, tuple(victim.seat for victim in victims))


def cycle_with_spare(etcd: EtcdView, names: tuple[str, ...], spare: Seat, *, keep: bool = False) -> Reshape:
    """Return the cycle in which the spare's machine takes a seat first, so that tolerance never drops.

    At the end the machines are those of before, and the spare is free again. With `keep` it stays, and the
    machine of the last victim, which is the leader's if that is among them, is the next spare.
    """
    change = cycle_of(etcd, names)
    if not keep:
        return replace(change, spare=spare)
    last = next((v for v in change.victims if v.id == etcd.leader_id), change.victims[-1])
    stays = tuple(victim.seat for victim in change.victims if victim != last)
    return replace(change, joiners=(*stays, spare), spare=spare)


def removal_of(etcd: EtcdView, names: tuple[str, ...]) -> Reshape:
    """Return the removal of the named members."""
    return _reshape("remove", etcd, _refs(etcd, names), ())


def addition_of(etcd: EtcdView, seats: tuple[Seat, ...], *, as_learners: bool = False) -> Reshape:
    """Return the addition of these seats."""
    return _reshape("add", etcd, (), seats, as_learners=as_learners)


def replacement_of(etcd: EtcdView, name: str, seat: Seat) -> Reshape:
    """Return the replacement of a member by a new one on this seat, which may be its own."""
    return _reshape("replace", etcd, _refs(etcd, (name,)), (seat,))


def promotion_of(etcd: EtcdView, name: str) -> Reshape:
    """Return the promotion of a learner that is there already."""
    view = find_member(etcd, name)
    return _reshape("promote", etcd, (), (Seat(view.member.name or name, view.member.peer_urls),))


def equality_with(etcd: EtcdView, seats: tuple[Seat, ...]) -> Reshape:
    """Return the change that makes the membership equal to these seats; members are told by peer URL."""
    kept = {url for seat in seats for url in seat.peer_urls}
    victims = tuple(reference(v.member) for v in etcd.members if not kept & set(v.member.peer_urls))
    voting = {url for view in etcd.voters for url in view.member.peer_urls}
    joiners = tuple(seat for seat in seats if not voting & set(seat.peer_urls))
    return _reshape("apply", etcd, victims, joiners)


def restart_of(etcd: EtcdView, names: tuple[str, ...]) -> Reshape:
    """Return the rolling restart of the named members, or of all."""
    everyone = _reshape("restart", etcd, (), ())
    return replace(everyone, restarts=_refs(etcd, names) if names else everyone.others)


def upgrade_of(etcd: EtcdView, names: tuple[str, ...], command: str, to_version: str = "") -> Reshape:
    """Return the rolling restart of the named members, or of all, with a command while each is down."""
    return replace(restart_of(etcd, names), verb="upgrade", command=command, to_version=to_version)


def leader_move(etcd: EtcdView, name: str | None) -> Reshape:
    """Return the move of leadership off the leader of now, to the named voter or to the best one.

    Raises UnknownMemberError when there is no leader or no such member.
    """
    if etcd.leader is None:
        raise UnknownMemberError("leader")
    target = find_member(etcd, name).member if name else None
    leader = None if target and target.id == etcd.leader_id else reference(etcd.leader.member)
    successor = Seat(target.name, target.peer_urls) if target else None
    return replace(_reshape("move-leader", etcd, (), ()), stepping_down=leader, successor=successor)


def relocation_of(
    etcd: EtcdView, name: str, peer_urls: tuple[str, ...], client_urls: tuple[str, ...]
) -> Reshape:
    """Return the change of a member's URLs; those that are not given stay."""
    member = find_member(etcd, name).member
    seat = Seat(member.name, tuple(sorted(peer_urls)) or member.peer_urls)
    wanted = tuple(sorted(client_urls)) or member.client_urls
    moved = Relocation(reference(member), seat, wanted, member.client_urls)
    news = not moved.keeps_peer_urls or set(wanted) != set(member.client_urls)
    return replace(_reshape("update-urls", etcd, (), ()), relocations=(moved,) if news else ())


def move_of(
    etcd: EtcdView,
    name: str,
    seat: Seat,
    client_urls: tuple[str, ...],
    *,
    target: str,
    source_dir: str,
    target_dir: str,
) -> Reshape:
    """Return the move of a member's data to a node (see Relocation), with its name and URLs there."""
    member = find_member(etcd, name).member
    urls = tuple(sorted(client_urls)) or member.client_urls
    place = Seat(seat.name, tuple(sorted(seat.peer_urls)))
    to = Relocation(reference(member), place, urls, member.client_urls, target, source_dir, target_dir)
    return replace(_reshape("move-data", etcd, (), ()), relocations=(to,))


def abort_of(etcd: EtcdView, begun: Reshape, steps: frozenset[str] = frozenset()) -> Reshape:
    """Return what brings a begun change to a safe end; `steps` are the kinds of steps that were begun.

    Half-joined learners are removed again, a member whose URLs were about to change gets its old ones, and
    one that a restart left stopped is started.
    """
    before = {ref.id for ref in (*begun.victims, *begun.others)}
    seated = [(view, _seat_in(begun, view)) for view in etcd.learners if view.id not in before]
    half = [MemberRef(view.id, seat.name, view.member.peer_urls) for view, seat in seated if seat]
    change = _reshape("abort", etcd, tuple(half), ())
    stopped = {"RestartMember", "UpgradeMember"} & steps
    silent = {view.id for view in etcd.members if view.status is None}
    down = tuple(ref for ref in begun.restarts if stopped and ref.id in silent)
    moving = [to for to in begun.relocations if to.target and etcd.by_id(to.member.id)]
    moves = tuple(moving) if "StopMember" in steps else ()
    halfway = steps & {"UpdatePeerUrls", "ReaddressMember"}
    urls = tuple(to.undone() for to in begun.relocations if not to.target) if halfway else ()
    return replace(change, relocations=urls, taken_back=moves, restarts=down)


def _seat_in(change: Reshape, view: MemberView) -> Seat | None:
    """Return the joiner's seat that a member sits on: it tells the node also while it has no name yet."""
    taken = set(view.member.peer_urls)
    return next((seat for seat in change.seats if taken & set(seat.peer_urls)), None)


def _refs(etcd: EtcdView, keys: Iterable[str]) -> tuple[MemberRef, ...]:
    return tuple(dict.fromkeys(reference(find_member(etcd, key).member) for key in keys))


def _reshape(
    verb: str,
    etcd: EtcdView,
    victims: tuple[MemberRef, ...],
    joiners: tuple[Seat, ...],
    *,
    as_learners: bool = False,
) -> Reshape:
    gone = {victim.id for victim in victims}
    others = tuple(reference(view.member) for view in etcd.members if view.id not in gone)
    return Reshape(verb, etcd.cluster_id, victims, joiners, others, as_learners)
