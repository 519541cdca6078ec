"""The operator's limits: how far an operation may go, how long it may wait, what it must leave free."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Policy:
    """The limits of every operation, from the inventory's `policy:` section.

    min_voters       fewest voters a change may leave behind; below 3 no member may fail any more
    failsafe         whether Patroni's failsafe_mode must be on in every scope: "require" or "warn";
                     it is what keeps a PostgreSQL leader up when the DCS is gone all the same
    probe_interval   seconds between the sentinel's probe writes: the resolution of the measured write gap
    max_learner_lag  raft entries a learner may be behind the leader when it is promoted; etcd's own rule
                     (90 % of the leader's index) lets a stopped learner through
    learner_stall    seconds a learner may make no progress before the operation stops
    step_timeout     seconds that any one step may wait for its goal
    lock_ttl         seconds the operation's lock outlives a holder that died
    gate_timeout     seconds a transient gate (such as a lease renewed just now) may hold up a step
    state_dir        absolute path for journals and snapshots; empty = the default for the user
    journal_copies   operations whose journals are kept in etcd; those that can be resumed always are
    retention_days   days for which data set aside and operations' snapshots are meant to be kept; nothing is
                     deleted without being asked for: see `cleanup`
    min_free_bytes   bytes left free on a disk after a snapshot or a copy, so that we never fill it up
    accept           codes of findings that the operator passes knowingly
    """

    min_voters: int = 3
    failsafe: str = "require"
    probe_interval: float = 0.05
    max_learner_lag: int = 1000
    learner_stall: float = 60.0
    step_timeout: float = 60.0
    lock_ttl: int = 30
    gate_timeout: float = 45.0
    state_dir: str = ""
    journal_copies: int = 20
    retention_days: int = 30
    min_free_bytes: int = 64 * MIB
    accept: frozenset[str] = frozenset()
