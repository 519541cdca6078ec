"""What an operator can ask for, with every member named by id, name and peer URLs."""

from __future__ import annotations

from dataclasses import dataclass

from patroni_etcd_reconfig.core.model import EtcdView, Member


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
class Seat:
    """A place in the cluster: the name and peer URLs of a member whose id is not known yet."""

    name: str
    peer_urls: tuple[str, ...]


@dataclass(frozen=True)
class Cycle:
    """Replace the victims one by one, in place; `others` are the members that stay as they are."""

    cluster_id: int
    victims: tuple[MemberRef, ...]
    others: tuple[MemberRef, ...]

    verb = "cycle"


Change = Cycle


def reference(member: Member) -> MemberRef:
    """Return the full reference to a member of the list."""
    return MemberRef(member.id, member.name, member.peer_urls)


def cycle_of(etcd: EtcdView, names: tuple[str, ...]) -> Cycle:
    """Return the cycle of the named members, or of all voters when no name is given.

    Raises KeyError with the name that no started voter has.
    """
    refs = {view.member.name: reference(view.member) for view in etcd.voters if view.member.started}
    chosen = tuple(dict.fromkeys(names or sorted(refs)))
    victims = tuple(refs[name] for name in chosen)
    others = tuple(reference(view.member) for view in etcd.members if view.id not in {v.id for v in victims})
    return Cycle(etcd.cluster_id, victims, others)
