"""One look at an etcd cluster: every endpoint at once, each under the same deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from patroni_etcd_reconfig.core.model import EtcdView, format_id
from patroni_etcd_reconfig.errors import (
    AuthFailedError,
    ConfigError,
    EtcdError,
    EtcdTimeoutError,
    NotEtcdError,
    NotSupportedError,
    UnreachableError,
)
from patroni_etcd_reconfig.observe.rows import Answer, endpoints, make_view
from patroni_etcd_reconfig.parallel import Crowd
from patroni_etcd_reconfig.ports import EtcdApi, EtcdConnector, MemberList

# Read on every member to see whether it can still serve a linearizable read; need not exist.
PROBE_READ = "/patroni-etcd-reconfig/lock"


@dataclass
class EtcdObserver:
    """Looks at a cluster through its seeds and through every member it learns of.

    `deadline` is the time in seconds that one look may take, whatever the endpoints do. Once a member with
    quorum has answered, an endpoint that has said nothing at all for `patience` seconds is not waited for,
    nor is one that was silent in the last look, such as a machine that is gone; as soon as it says anything,
    late as it may be, the next look waits for it again.
    `addresses` are client URLs by name, for members that hide behind the URLs of others (core/hiding.py).
    """

    connect: EtcdConnector
    seeds: tuple[str, ...]
    deadline: float = 1.0
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    patience: float = float("inf")
    _known: frozenset[str] = field(default=frozenset(), init=False)
    _silent: dict[str, float] = field(default_factory=dict, init=False)  # endpoint -> when it was asked

    def look(self, *, connections: bool = False) -> EtcdView:
        """Return the cluster as a member with quorum knows it, or as anybody does if none has quorum.

        `connections` also reads each member's peer connections from its metrics, which takes about as
        long as all the rest.
        Raises AuthFailedError, NotEtcdError or UnreachableError when no endpoint gives a member list,
        and ConfigError when the seeds lead to two different clusters.
        """
        answers = _Round(self, connections).run()
        if self._known and not any(answer.listed for answer in answers):
            # No quorum: lists come only from a round that asks for them before the read that hangs.
            self._known = frozenset()
            answers = _Round(self, connections).run()
        best = _most_trusted(answers)
        self._known = frozenset(endpoints(best.members, self.addresses))
        return make_view(best, answers, self.addresses)

    def client(self, url: str, timeout: float | None = None) -> EtcdApi:
        """Return a client for one URL; its calls end within `timeout`, or within the look's deadline."""
        return self.connect(url, timeout or self.deadline)


class _Round:
    """One round of asking: an endpoint's member list may bring further endpoints to ask."""

    def __init__(self, observer: EtcdObserver, connections: bool) -> None:
        self._observer = observer
        self._connections = connections
        self._crowd = Crowd()
        self._lock = threading.Lock()
        self._answers: dict[str, Answer] = {}
        self._began = time.monotonic()
        self._silent = dict(observer._silent)
        self._patient = True

    def run(self) -> list[Answer]:
        self._ask((*self._observer.seeds, *sorted(self._observer._known)))
        self._crowd.wait(min(self._observer.patience, self._left()), self._enough)
        self._patient = False
        self._crowd.wait(self._left(), self._enough)
        if not self._enough():
            self._wake()
            self._crowd.wait(self._left())
        with self._lock:
            self._remember_silent()
            return [replace(answer) for answer in self._answers.values()]

    def _left(self) -> float:
        return self._began + self._observer.deadline - time.monotonic()

    def _enough(self) -> bool:
        """A member with quorum has answered, and only those that nobody waits for have not."""
        with self._lock:
            answers = tuple(self._answers.values())
        return any(a.revision is not None for a in answers) and all(
            a.ended or self._is_given_up(a) for a in answers
        )

    def _is_given_up(self, answer: Answer) -> bool:
        return answer.url in self._silent or (answer.status is None and not self._patient)

    def _wake(self) -> None:
        """Ask those, too, that were left alone: nobody else knows enough."""
        for answer in self._answers.values():
            if answer.rests:
                answer.rests = False
                self._crowd.start(lambda answer=answer: self._fill(answer))  # type: ignore[misc]

    def _remember_silent(self) -> None:
        silent = self._observer._silent
        for url, answer in self._answers.items():
            hangs = not answer.ended or isinstance(answer.error, EtcdTimeoutError)
            if hangs and answer.status is None and not answer.rests:
                silent[url] = self._began

    def _ask(self, urls: tuple[str, ...]) -> None:
        for url in urls:
            with self._lock:
                if url in self._answers:
                    continue
                answer = self._answers[url] = Answer(url)
                # One question at a time is enough for an endpoint that does not answer.
                answer.rests = self._began - self._silent.get(url, float("-inf")) < self._observer.deadline
            if answer.rests:
                continue
            self._crowd.start(lambda answer=answer: self._fill(answer))  # type: ignore[misc]

    def _fill(self, answer: Answer) -> None:
        try:
            self._question(answer, self._observer.client(answer.url))
        except EtcdError as error:
            answer.error = error
        with self._lock:
            answer.ended = True
            if answer.status is not None or not isinstance(answer.error, EtcdTimeoutError):
                self._observer._silent.pop(answer.url, None)

    def _question(self, answer: Answer, client: EtcdApi) -> None:
        answer.status = client.status()
        if self._connections:
            answer.metrics = client.metrics()
        try:
            if not self._observer._known:  # without quorum the read below hangs: learn the members first
                self._take_list(answer, client)
            revision = client.range(PROBE_READ).revision
            # The list is a local read on etcd 3.4: only one that was read after a linearizable read is fresh.
            self._take_list(answer, client)
            answer.revision = revision
        except NotSupportedError:  # a learner says no more than its status
            return

    def _take_list(self, answer: Answer, client: EtcdApi) -> None:
        answer.listed = client.member_list()
        self._ask(endpoints(answer.listed.members, self._observer.addresses))


def _most_trusted(answers: list[Answer]) -> MemberList:
    """Return the list of a member with quorum; else the one that was read with the highest raft index."""
    listed = [answer for answer in answers if answer.listed]
    if not listed:
        raise _nobody(answers)
    fresh = [answer for answer in listed if answer.revision is not None]
    if not fresh:  # old etcd lets anybody read the list and the status: the read shows wrong credentials
        _raise_first(AuthFailedError, answers)
    clusters = {answer.listed.cluster_id for answer in fresh if answer.listed}
    if len(clusters) > 1:
        names = ", ".join(f"{format_id(a.listed.cluster_id)} at {a.url}" for a in fresh if a.listed)
        raise ConfigError(
            f"the etcd hosts lead to different clusters: {names}",
            hint="if one is old data that came back after a recovery, stop it and move its data away; "
            "list only members of one cluster in the Patroni file's etcd section",
            code="TWO_CLUSTERS",
        )
    serving = {answer.listed.answered_by for answer in fresh if answer.listed}
    best = max(fresh or listed, key=lambda answer: _trust(answer, serving))
    assert best.listed is not None  # noqa: S101 - told mypy; `listed` holds no others
    return best.listed


def _trust(answer: Answer, serving: set[int]) -> tuple[bool, int]:
    """A list without somebody who serves is the later one: of a removal, or of a forced new cluster.

    The members that a forced new cluster has dropped can have the higher index: theirs are the old ones.
    """
    rows = {member.id for member in answer.listed.members} if answer.listed else set()
    return bool(serving - rows), answer.status.raft_applied_index if answer.status else 0


def _raise_first(kind: type[EtcdError], answers: list[Answer]) -> None:
    for answer in answers:
        if isinstance(answer.error, kind):
            raise answer.error


def _nobody(answers: list[Answer]) -> Exception:
    """Say why nobody answered: the error that tells most comes first."""
    for kind in (AuthFailedError, NotEtcdError):
        _raise_first(kind, answers)
    words = "; ".join(f"{a.url}: {a.error.message if a.error else 'no answer in time'}" for a in answers)
    return UnreachableError(
        f"no etcd member answered: {words}",
        hint="start the stopped members, and check `hosts` in the Patroni file's etcd section; "
        "if they are lost: patronictl-etcd recover collect -o evidence.json",
    )
