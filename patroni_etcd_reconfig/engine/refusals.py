"""What etcd's strict reconfiguration check refuses: for some seconds, or until somebody does something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from patroni_etcd_reconfig.clock import wait_until
from patroni_etcd_reconfig.core.model import EtcdView, Health, MemberView, format_id
from patroni_etcd_reconfig.errors import EtcdError, StepFailedError
from patroni_etcd_reconfig.ports import Clock

# How long a voter must be missing, in seconds, in every look: longer than one slow answer, and than a restart
# by a supervisor takes. etcd's own wait for a voter that is there is 5 s (HealthInterval).
MISSING = 3.0


@dataclass
class Refusals:
    """Asks again while etcd refuses, and stops once no waiting can help: a voter is not there.

    `but` is the id of a member that may be missing, as the one that is to be removed.
    """

    observe_links: Callable[[], EtcdView]
    clock: Clock
    tell: Callable[[str], None]
    but: int = 0
    last: EtcdError | None = None
    _since: dict[str, float] = field(default_factory=dict)  # who is missing -> since when

    def note(self, error: EtcdError) -> None:
        """Take a refusal by the strict check; raises it, with who is missing, when no waiting helps."""
        self.last = error
        self.tell(f"etcd refuses for now ({error.message}); asking again")
        now = self.clock.monotonic()
        missing = dict(_missing(self.observe_links(), self.but))
        self._since = {who: self._since.get(who, now) for who in missing}
        for who, since in self._since.items():
            if now - since >= MISSING:
                raise type(error)(
                    f"{error.message}: {missing[who]}, and etcd refuses as long as that is so",
                    endpoint=error.endpoint,
                    grpc_code=error.grpc_code,
                    hint=f"either patronictl-etcd abort, and replace {who} first; or bring {who} back",
                )

    def until(self, attempt: Callable[[], object], what: str, seconds: float) -> None:
        """Try until it returns something true; when the time is over, say what etcd refused with."""
        try:
            wait_until(lambda: attempt() or None, what=what, seconds=seconds, clock=self.clock, pause=0.05)
        except StepFailedError:
            if self.last:
                raise self.last from None
            raise


def _missing(etcd: EtcdView, but: int) -> Iterator[tuple[str, str]]:
    """Yield the voters that etcd's check can't count, by name, with what is wrong."""
    for view in etcd.voters:
        who = view.member.name or format_id(view.id)
        if view.id == but:
            continue
        if view.health in (Health.UNREACHABLE, Health.UNSTARTED):
            yield who, f"{who} is {view.health.value}"
        elif not _reached(etcd.leader, view):
            yield who, f"the leader has no connection to {who} on {', '.join(view.member.peer_urls)}"


def _reached(leader: MemberView | None, view: MemberView) -> bool:
    return leader is None or leader.connected_to is None or view.id in leader.connected_to | {leader.id}
