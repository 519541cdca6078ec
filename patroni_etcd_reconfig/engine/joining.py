"""How a new member joins: start it as a learner, watch it catch up, promote it by our own measure."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from patroni_etcd_reconfig.clock import wait_until
from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.hiding import borrowed_urls
from patroni_etcd_reconfig.core.model import DataDir, EtcdView, Health, MemberView, format_id
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.quorum import is_linked
from patroni_etcd_reconfig.engine.catching import Catching
from patroni_etcd_reconfig.engine.receiving import Receiving, database_size
from patroni_etcd_reconfig.engine.refusals import Refusals
from patroni_etcd_reconfig.engine.roster import Roster
from patroni_etcd_reconfig.engine.world import Facts
from patroni_etcd_reconfig.errors import (
    LearnerNotReadyError,
    LearnerStalledError,
    MemberNotLearnerError,
    NodeControlError,
    NotEnoughStartedError,
    StepFailedError,
    UnhealthyClusterError,
)
from patroni_etcd_reconfig.ports import Clock, NodeControl

# A start right after `member add` can fail ("member count is unequal"): the joiner may read the list
# from a member that has not applied the addition yet (etcd issue 16687).
MAX_STARTS = 4
SERVICE_CHECK = 0.3  # seconds between two looks at whether the service is still up
ARRIVAL_PAUSE = 0.03  # seconds between two looks at whether a started member has arrived
SYNC_PAUSE = 0.1  # seconds between the two looks that must both show a learner in sync

_WINS = "its command line or its environment has settings that win over its configuration file"


@dataclass
class Joining:
    """Starts and promotes learners."""

    roster: Roster
    nodes: Mapping[str, NodeControl]
    policy: Policy
    clock: Clock
    operation_id: str
    observe_etcd: Callable[[], EtcdView]
    observe_links: Callable[[], EtcdView]  # the same look, with the members' peer connections
    still_ours: Callable[[], None] = lambda: None  # raises LockedError when the lock may be lost
    joined: Callable[[], Container[int]] = tuple  # ids of members that were seen connected before
    tell: Callable[[str], None] = lambda _: None  # told how far a long wait has come

    def start(self, seat: Seat, *, hidden: bool = False) -> Facts:
        """Configure and start the seat's learner; return once it is published and connected to all.

        A hidden one advertises the voters' client URLs instead of its own, which it listens on all the same.

        Raises LearnerStalledError when one that had joined before does not come back within `learner_stall`.
        """
        node = self.nodes[seat.name]
        etcd = self.observe_etcd()
        borrowed = borrowed_urls(etcd, seat) if hidden else ()
        node.write_config(joining_settings(node, etcd, seat, borrowed), self.operation_id)
        arrival = _Arrival(self, seat, node, self._receiving(seat, etcd))
        if not node.look().service_active:
            node.lift_fence()  # of a member that was moved away from here
            arrival.start()
        present = etcd.by_peer_urls(seat.peer_urls)
        known = present is not None and present.id in self.joined()
        view = self._arrived(arrival, seat, known)
        return {"joined": format_id(view.id), "joined_at": self.clock.wall()}

    def _arrived(self, arrival: _Arrival, seat: Seat, known: bool) -> MemberView:
        try:
            return self._await_arrival(
                arrival, self.policy.learner_stall if known else self.policy.step_timeout
            )
        except StepFailedError as error:
            if not known or error.code != "WAIT_TIMEOUT":
                raise
            raise LearnerStalledError(
                f"learner {seat.name} had joined, and did not answer for {self.policy.learner_stall:.0f} s",
                hint=f"look at the etcd log of {seat.name} and at its machine",
            ) from error

    def _await_arrival(self, arrival: _Arrival, seconds: float) -> MemberView:
        """A large database may take any time: the wait is over when nothing has come for that long."""
        seat = arrival.seat
        arrival.progressed_at = self.clock.monotonic()
        while (view := arrival.look()) is None:
            if self.clock.monotonic() - arrival.progressed_at >= seconds:
                raise StepFailedError(
                    f"waited {seconds:.0f} s in vain for {seat.name} to join as a learner, with live "
                    "connections from and to every voter: look at its etcd log, and whether the others "
                    f"reach its peer URL {seat.peer_urls[0]}",
                    code="WAIT_TIMEOUT",
                )
            self.clock.sleep(ARRIVAL_PAUSE)
        return view

    def _receiving(self, seat: Seat, etcd: EtcdView) -> Receiving:
        node = self.nodes[seat.name]
        return Receiving(seat.name, node, self.clock, self.tell, database_size(etcd))

    def promote(self, seat: Seat) -> Facts:
        """Promote once the learner answers itself and is close to the leader, twice; wait until it votes."""
        self._await_sync(seat)
        refusals = Refusals(self.observe_links, self.clock, self.tell)
        attempt = lambda: self._try_promotion(seat, refusals)  # noqa: E731
        refusals.until(attempt, f"etcd to promote {seat.name}", self.policy.step_timeout)
        view = wait_until(
            lambda: self._voting(seat),
            what=f"{seat.name} to know that it votes",
            seconds=self.policy.step_timeout,
            clock=self.clock,
        )
        return {"promoted": format_id(view.id)}

    def _await_sync(self, seat: Seat) -> None:
        """etcd's own rule, a ratio of indexes, lets a stopped learner through: ours is stricter."""
        receiving = self._receiving(seat, self.observe_etcd()) if seat.name in self.nodes else None
        watch = Catching(seat.name, self.policy, self.clock.monotonic(), self.tell, receiving)
        while not watch.look(self.observe_links(), seat, self.clock.monotonic()):
            self.clock.sleep(SYNC_PAUSE)

    def _try_promotion(self, seat: Seat, refusals: Refusals) -> bool:
        view = self.observe_etcd().by_peer_urls(seat.peer_urls)
        if view is None or not view.member.is_learner:
            return view is not None
        if view.health is not Health.HEALTHY:
            refusals.last = None
            return False  # it was in sync a moment ago, and has stopped since
        self.still_ours()
        try:
            self.roster.leader(self.policy.step_timeout).promote_member(view.id)
        except LearnerNotReadyError as error:  # definite refusals: nothing was changed
            refusals.last = error
            return False
        except (UnhealthyClusterError, NotEnoughStartedError) as error:
            refusals.note(error)
            return False
        except MemberNotLearnerError:
            return True
        return True

    def _voting(self, seat: Seat) -> MemberView | None:
        etcd = self.observe_etcd()
        view = etcd.by_peer_urls(seat.peer_urls)
        says_so = view is not None and view.status is not None and not view.status.is_learner
        return view if view in etcd.healthy_voters and says_so else None


@dataclass
class _Arrival:
    """Looks whether a started member has arrived; starts it again when etcd exited at once."""

    joining: Joining
    seat: Seat
    node: NodeControl
    receiving: Receiving
    progressed_at: float = 0.0
    starts: int = 0
    checked_at: float = 0.0

    def start(self) -> None:
        """Start once; some supervisors report an etcd that ends at once as a failed start."""
        self.starts += 1
        try:
            self.node.start()
        except NodeControlError:
            if self.starts >= MAX_STARTS:
                raise

    def look(self) -> MemberView | None:
        etcd = self.joining.observe_links()
        view = etcd.by_peer_urls(self.seat.peer_urls)
        if view is None:
            raise StepFailedError(
                f"{self.seat.name} is not in the member list", hint="patronictl-etcd resume"
            )
        if view.status is None or view.status.member_id != view.id:
            self._keep_running(etcd, view)
            if self.receiving.look(etcd, view.id):
                self.progressed_at = self.joining.clock.monotonic()
            return None
        return view if view.member.started and is_linked(etcd, view) else None

    def _keep_running(self, etcd: EtcdView, view: MemberView) -> None:
        clock = self.joining.clock
        if clock.monotonic() - self.checked_at < SERVICE_CHECK:
            return
        first, self.checked_at = self.checked_at == 0.0, clock.monotonic()
        if first:
            return
        node = self.node.look()
        self._refuse_other_data(node.data, etcd, view)
        if node.service_active:
            return
        if self.starts >= MAX_STARTS:
            why = f" ({view.error})" if view.error else ""
            raise StepFailedError(
                f"etcd on {self.seat.name} exits right after its start, {self.starts} times{why}",
                hint=f"look at the etcd log of {self.seat.name}: if it names the initial cluster, {_WINS}; "
                "correct the cause; then: patronictl-etcd resume",
                code="MEMBER_EXITS",
            )
        self.start()

    def _refuse_other_data(self, data: DataDir | None, etcd: EtcdView, view: MemberView) -> None:
        """Told to make a new cluster, etcd runs on as one of its own, without a word and without quorum."""
        if data and (data.cluster_id, data.member_id) != (etcd.cluster_id, view.id):
            other = f"made a cluster of its own, {format_id(data.cluster_id)}"
            what = other if data.cluster_id != etcd.cluster_id else "runs on other data"
            raise StepFailedError(
                f"etcd on {self.seat.name} did not join {format_id(etcd.cluster_id)} as member "
                f"{format_id(view.id)}: it {what}, as member {format_id(data.member_id)}",
                hint=f"see whether {_WINS} (as initial-cluster-state=new does); correct that; "
                "its data will be set aside; then: patronictl-etcd resume",
                code="OTHER_CLUSTER",
            )


def joining_settings(
    node: NodeControl, etcd: EtcdView, seat: Seat, borrowed: tuple[str, ...] = ()
) -> dict[str, str]:
    """Return what the node's configuration must say to join; `borrowed` are client URLs to hide behind.

    Where it listens is set if it does not say, and follows where it names the URL that was advertised so far.
    """
    peer, client = ",".join(seat.peer_urls), ",".join(seat.client_urls or node.client_urls)
    present = node.settings()
    wanted = {"initial-advertise-peer-urls": peer, "advertise-client-urls": ",".join(borrowed) or client}
    listening = {
        "listen-peer-urls": _listen(present, "listen-peer-urls", "initial-advertise-peer-urls", peer),
        "listen-client-urls": _listen(present, "listen-client-urls", "advertise-client-urls", client),
    }
    return {
        **{flag: urls for flag, urls in (wanted | listening).items() if urls},
        "name": seat.name,
        "initial-cluster": initial_cluster(etcd, seat),
        "initial-cluster-state": "existing",
    }


def _listen(present: Mapping[str, str], flag: str, advertised: str, new: str) -> str:
    """Return where to listen, "" to leave it as it is."""
    if flag not in present or not new:
        return "" if flag in present else new
    followed = follow(present[flag], present.get(advertised, ""), new)
    return followed if followed != present[flag] else ""


def follow(listens: str, old: str, new: str) -> str:
    """Return listen URLs that go with a move from the old to the new advertised URL, each with commas.

    One that names the old URL becomes the new one. One on every interface follows to another port.
    """
    moved = dict(zip(_split(old), _split(new), strict=False))
    ports = {_port(before): _port(after) for before, after in moved.items()}
    return ",".join(moved.get(url) or _on_port(url, ports) for url in _split(listens))


def _split(urls: str) -> list[str]:
    return [url.strip() for url in urls.split(",") if url.strip()]


def _port(url: str) -> str:
    return url.rpartition(":")[2]


def _on_port(url: str, ports: Mapping[str, str]) -> str:
    everywhere = urlsplit(url).hostname in ("0.0.0.0", "::")  # noqa: S104 - read, not bound
    return f"{url.rpartition(':')[0]}:{ports.get(_port(url), _port(url))}" if everywhere else url


def initial_cluster(etcd: EtcdView, seat: Seat) -> str:
    """Return `--initial-cluster` from the live list: it must name exactly the members there are.

    A member that has not published its name yet can only be the one on the seat.
    """
    return ",".join(
        f"{view.member.name or seat.name}={url}" for view in etcd.members for url in view.member.peer_urls
    )
