"""Every etcd member that answers, with or without quorum, and whichever cluster it says it belongs to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from patroni_etcd_reconfig.core.model import KeyValue, Member, MemberStatus
from patroni_etcd_reconfig.core.recovery.assemble import Heard
from patroni_etcd_reconfig.core.recovery.evidence import LiveMember
from patroni_etcd_reconfig.errors import EtcdError, NotSupportedError
from patroni_etcd_reconfig.observe.etcd import PROBE_READ
from patroni_etcd_reconfig.parallel import Crowd
from patroni_etcd_reconfig.ports import EtcdApi, EtcdConnector


@dataclass
class _Asked:
    """What one URL has said so far; each question in a thread of its own, as any of them can hang."""

    url: str
    status: MemberStatus | None = None
    members: tuple[Member, ...] = ()
    keys: tuple[KeyValue, ...] | None = None
    quorate: bool = False
    connected: frozenset[int] | None = None  # members that it has live connections with; None = not known
    error: str = ""

    def heard(self) -> Heard:
        """Return the answer; what is still missing hung, as a login does without quorum."""
        problem = self.error or "no answer in time"
        answers = self.connected is not None
        if self.status is None and answers:
            return Heard(self.url, None, f"it runs, but tells nothing: {problem}", answers=True)
        if self.status is None:
            return Heard(self.url, problem=problem)
        hears = self.status.leader_id in self.connected if self.connected is not None else None
        live = LiveMember(self.status, self.members, self.quorate, self.keys or (), hears)
        missing = f"Patroni's keys can't be read: {problem}" if self.keys is None else ""
        return Heard(self.url, live, missing, answers=True)


@dataclass
class MembersLook:
    """One look through the seeds and every member that somebody names.

    It ends within `deadline` seconds, whatever the endpoints do: a machine that says nothing gets all of it,
    as one that is alive must not pass for a lost one. A member list and the keys are read from the member's
    own store, so that they come without quorum too; only the probe read tells that there is one. Where there
    is none it hangs: it gets `patience` seconds, or until everything else is answered or refused.
    """

    connect: EtcdConnector
    seeds: tuple[str, ...]
    namespace: str
    deadline: float
    patience: float
    _crowd: Crowd = field(default_factory=Crowd, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _asked: dict[str, _Asked] = field(default_factory=dict, init=False)
    _awaited: int = field(default=0, init=False)  # questions that an answer is waited for: all but the probes

    def look(self) -> tuple[Heard, ...]:
        """Return what every URL answered; never raises for what one of them does."""
        began = time.monotonic()
        self.ask(self.seeds)
        self._crowd.wait(self.patience)
        self._crowd.wait(began + self.deadline - time.monotonic(), lambda: not self._awaited)
        with self._lock:
            return tuple(asked.heard() for asked in self._asked.values())

    def ask(self, urls: tuple[str, ...]) -> None:
        """Ask these URLs, too, if they have not been asked."""
        for url in urls:
            with self._lock:
                if url in self._asked:
                    continue
                asked = self._asked[url] = _Asked(url)
            self._start(asked, self._status)
            self._start(asked, self._metrics)

    def _start(self, asked: _Asked, question: Callable[[_Asked, EtcdApi], None], awaited: int = 1) -> None:
        def task() -> None:
            try:
                question(asked, self.connect(asked.url, self.deadline))
            except NotSupportedError:  # a learner says no more than its status and its keys
                return
            except EtcdError as error:
                asked.error = asked.error or error.message
            finally:
                self._count(-awaited)

        self._count(awaited)
        self._crowd.start(task)

    def _count(self, change: int) -> None:
        with self._lock:
            self._awaited += change

    def _status(self, asked: _Asked, client: EtcdApi) -> None:
        asked.status = client.status()
        for question in (self._members, self._keys):
            self._start(asked, question)
        self._start(asked, self._probe, awaited=0)

    def _metrics(self, asked: _Asked, client: EtcdApi) -> None:
        """Newer versions want a login even for the status, and a login wants quorum; metrics want none."""
        found = client.metrics()
        asked.connected = found.connected if found else None

    def _members(self, asked: _Asked, client: EtcdApi) -> None:
        asked.members = client.member_list().members
        self.ask(tuple(url for member in asked.members for url in member.client_urls))

    def _keys(self, asked: _Asked, client: EtcdApi) -> None:
        asked.keys = client.range(f"{self.namespace}/", prefix=True, serializable=True).kvs

    def _probe(self, asked: _Asked, client: EtcdApi) -> None:
        try:
            client.range(PROBE_READ)
            asked.quorate = True
        except EtcdError:  # no quorum, or a learner: that is the answer
            return
