"""A recovery as a value: who survives, who is fenced, what of the DCS is stale, and who should lead."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from patroni_etcd_reconfig.core.changes import Seat


class Way(str, Enum):
    """How etcd comes back, the most harmless way first."""

    NOTHING = "nothing"  # a majority serves: nothing to recover
    START = "start"  # enough stopped members can simply be started
    FORCE = "force"  # one survivor goes on alone (--force-new-cluster), the others are fenced and rebuilt
    RESTORE = "restore"  # a new cluster from a snapshot file


@dataclass(frozen=True)
class Choice:
    """What the operator decided where evidence can't: each is a recorded option, never a flag for all."""

    survivor: str = ""  # --survivor NAME
    leads: tuple[tuple[str, str], ...] = ()  # --lead SCOPE=NAME
    without: tuple[str, ...] = ()  # --without-leader SCOPE

    def lead(self, scope: str) -> str | None:
        """Return whom the operator named for a scope."""
        return dict(self.leads).get(scope)


@dataclass(frozen=True)
class Survivor:
    """The member whose data goes on. In a restore `snapshot` is its file, the ids are the new cluster's."""

    node: str
    member_id: int
    term: int
    last_term: int
    last_index: int
    commit: int
    running: bool
    why: str  # the ranking in words, with numbers
    snapshot: str = ""
    snapshot_sha256: str = ""
    peer_urls: tuple[str, ...] = ()  # as its node has them now; its member list may still say others
    snapshot_size: int = 0  # bytes of the file
    auth_roots: tuple[str, ...] | None = None  # users with etcd's role root; None: no authentication is on


@dataclass(frozen=True)
class Fence:
    """A member that must not come back with its old data. `lost`: declared by the operator, out of reach."""

    node: str
    member_id: int
    seat: Seat
    lost: bool = False


@dataclass(frozen=True)
class Candidate:
    """A PostgreSQL node that could lead. `behind` in bytes of WAL after the one that should."""

    name: str
    timeline: int | None
    lsn: int | None
    behind: int | None
    note: str = ""
    host: str = ""  # where it was asked, or should have been; "" = not known
    port: int = 0  # of PostgreSQL; 0 = nothing names it
    api_url: str = ""  # base URL of its Patroni's REST API


@dataclass(frozen=True)
class ScopePlan:
    """What the evidence says of one Patroni cluster. `stale` names DCS keys that do not tell the truth."""

    scope: str
    leader_in_dcs: str | None
    should_lead: str | None  # None: nothing says that the DCS is wrong, or no node could be asked
    candidates: tuple[Candidate, ...] = ()
    system_identifier: str = ""
    stale: tuple[str, ...] = ()
    paused: bool = False
    synchronous: bool = False
    chosen: bool = False  # `should_lead` was named by the operator, against or without evidence
    without_leader: bool = False  # the operator says that it has none, and that nobody waits for one


@dataclass(frozen=True)
class RecoveryPlan:
    """What `recover apply` will do. `id` is derived from all the rest: another plan has another id."""

    id: str
    made_at: float
    way: Way
    namespace: str
    cluster_id: int
    voters: int = 0  # of the latest member list that was found: learners and removed members are none
    survivor: Survivor | None = None
    start: tuple[str, ...] = ()  # nodes to start (Way.START)
    fence: tuple[Fence, ...] = ()
    minimum_term: int = 0  # the highest raft term that anybody has seen: Patroni refuses a lower one
    scopes: tuple[ScopePlan, ...] = ()
    rebuild: tuple[Seat, ...] = ()  # members to make new, once the survivor serves
    losses: tuple[str, ...] = ()  # what is, or may be, lost; a lower bound, with how it is known
    choices: tuple[str, ...] = ()  # what the operator decided without proof, as the options say it
    rebuild_first: bool = False  # Patroni's file lists not the survivor, but some of those to be rebuilt
