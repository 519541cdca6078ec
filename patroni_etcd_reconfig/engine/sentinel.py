"""Watches what an operation must not disturb: DCS writes, and every Patroni leader.

It measures what a client of etcd would notice: a small key is written every `interval` seconds through
any member that answers, and a gap is the time between two acknowledged writes. A write that hangs in a
dying member must not hide the others, so the next one is always sent by a thread that is free.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from patroni_etcd_reconfig.core.model import PatroniCluster
from patroni_etcd_reconfig.errors import EtcdError
from patroni_etcd_reconfig.ports import Clock, EtcdApi

PROBE_KEY = "/patroni-etcd-reconfig/probe"
WORKERS = 8
LONG_GAP = 0.1  # the bar of this project: no DCS write gap above 100 ms
PATRONI_INTERVAL = 0.5


@dataclass
class Measured:
    """What was measured in one run; gaps in milliseconds."""

    dcs_write_gap_max_ms: float = 0.0
    dcs_write_gaps_over_100ms: int = 0
    patroni_leader_changes: int = 0
    timeline_changes: int = 0
    dcs_writes: int = 0

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return {**vars(self), "dcs_write_gap_max_ms": round(self.dcs_write_gap_max_ms, 1)}


class GapMeter:
    """Largest time between two events; also counts those above the bar."""

    def __init__(self) -> None:
        self.largest = 0.0
        self.long = 0
        self.events = 0
        self._last: float | None = None

    def mark(self, now: float) -> None:
        """Note an event at `now`; events out of order count as none."""
        gap = now - self._last if self._last is not None else 0.0
        if gap < 0:
            return
        self.events += 1
        self.largest = max(self.largest, gap)
        self.long += gap > LONG_GAP
        self._last = now

    def close(self, now: float) -> None:
        """Count the time since the last event as a gap: nobody may write at the very end either."""
        if self._last is not None and now - self._last > LONG_GAP:
            self.mark(now)
            self.events -= 1


class LeaderWatch:
    """Counts changes of leaders and timelines against what was seen before."""

    def __init__(self, first: Iterable[PatroniCluster]) -> None:
        self.leader_changes = 0
        self.timeline_changes = 0
        self._last = {cluster.scope: cluster for cluster in first}

    def look(self, clusters: Iterable[PatroniCluster]) -> None:
        """Compare with the last look; a lock that was lost and taken again by the same node counts."""
        for cluster in clusters:
            before = self._last.get(cluster.scope, cluster)
            self.leader_changes += before.leader is not None and _lock_of(cluster) != _lock_of(before)
            timeline = before.timeline if cluster.timeline is None else cluster.timeline
            self.timeline_changes += before.timeline is not None and timeline != before.timeline
            self._last[cluster.scope] = replace(cluster, timeline=timeline)


def _lock_of(cluster: PatroniCluster) -> tuple[str | None, int]:
    return cluster.leader, cluster.leader_created


class Sentinel:
    """The watch beside an operation: `start`, then `measured` at any time, then `stop`.

    `clients` gives clients of every member that may take writes now; `patroni` reads the clusters.
    """

    def __init__(
        self,
        clients: Callable[[], list[EtcdApi]],
        patroni: Callable[[], tuple[PatroniCluster, ...]],
        interval: float,
        clock: Clock,
    ) -> None:
        self._clients = clients
        self._patroni = patroni
        self._interval = interval
        self._clock = clock
        self._meter = GapMeter()
        self._leaders = LeaderWatch(())
        self._turn = threading.Lock()
        self._next_slot = 0.0
        self._count = itertools.count()
        self._under_way: Counter[str] = Counter()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, clusters: Iterable[PatroniCluster]) -> None:
        """Begin to write and to watch, with these clusters as what must not change."""
        self._leaders = LeaderWatch(clusters)
        targets = [self._write_in_turn] * WORKERS + [self._watch_patroni]
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Measured:
        """End the watch, take the probe key away, and return what was measured; a second time, only that."""
        if self._stop.is_set():
            return self.measured()
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=2.0)
        with self._turn:
            self._meter.close(self._clock.monotonic())
        self._look_at_patroni()
        self._forget_probe()
        return self.measured()

    def measured(self) -> Measured:
        """Return what was measured so far."""
        with self._turn:
            return Measured(
                self._meter.largest * 1000,
                self._meter.long,
                self._leaders.leader_changes,
                self._leaders.timeline_changes,
                self._meter.events,
            )

    def _write_in_turn(self) -> None:
        while not self._stop.is_set():
            slot = self._take_slot()
            if self._stop.wait(max(0.0, slot - self._clock.monotonic())):
                return
            self._write()

    def _take_slot(self) -> float:
        with self._turn:
            self._next_slot = max(self._clock.monotonic(), self._next_slot + self._interval)
            return self._next_slot

    def _write(self) -> None:
        """One write through the first member that takes it."""
        for client in self._in_order(self._clients()):
            if self._put(client):
                with self._turn:
                    self._meter.mark(self._clock.monotonic())
                return

    def _in_order(self, clients: list[EtcdApi]) -> list[EtcdApi]:
        """In turn, but those with fewer writes under way first: a member that hangs is soon left alone."""
        start = next(self._count) % len(clients) if clients else 0
        return sorted(
            (*clients[start:], *clients[:start]), key=lambda client: self._under_way[client.endpoint]
        )

    def _put(self, client: EtcdApi) -> bool:
        with self._turn:
            self._under_way[client.endpoint] += 1
        try:
            client.put(PROBE_KEY, "")
        except EtcdError:
            return False
        finally:
            with self._turn:
                self._under_way[client.endpoint] -= 1
        return True

    def _watch_patroni(self) -> None:
        while not self._stop.wait(PATRONI_INTERVAL):
            self._look_at_patroni()

    def _look_at_patroni(self) -> None:
        try:
            clusters = self._patroni()
        except EtcdError:
            return  # a gap in the DCS shows in the write meter
        with self._turn:
            self._leaders.look(clusters)

    def _forget_probe(self) -> None:
        for client in self._clients():
            try:
                client.delete(PROBE_KEY)
            except EtcdError:
                continue
            return
