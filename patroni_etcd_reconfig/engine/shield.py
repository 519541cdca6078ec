"""failsafe_mode for the time of an operation: turned on where it is off, and put back to what it was.

Patroni's dynamic configuration is one key of JSON that others change, too: it is written only as a whole, as
Patroni itself does it, by compare-and-swap on the key's revision, with nothing but failsafe_mode changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from patroni_etcd_reconfig.clock import wait_until
from patroni_etcd_reconfig.core.model import KeyValue, PatroniCluster
from patroni_etcd_reconfig.core.patroni_keys import failsafe_setting, with_failsafe
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.steps import LowerShield, RaiseShield, Shield
from patroni_etcd_reconfig.engine.roster import Roster
from patroni_etcd_reconfig.engine.world import Facts
from patroni_etcd_reconfig.errors import EtcdError, StepFailedError
from patroni_etcd_reconfig.ports import Clock

T = TypeVar("T")
ON = "true"
# A loop that began before our write can still renew the lease after it: Patroni renews the lease within this
# time, in seconds, of reading the keys.
ONE_LOOP = 2.0
# Every node reads the configuration once a loop; what a loop takes beyond `loop_wait`, in seconds.
LOOP_GRACE = 1.0


@dataclass(frozen=True)
class _Written:
    """When failsafe_mode was turned on: revision of the configuration, monotonic seconds."""

    revision: int
    at: float


@dataclass
class Shielding:
    """Opens and closes the shield. `still_ours` raises LockedError when the lock may be lost."""

    roster: Roster
    namespace: str
    policy: Policy
    clock: Clock
    observe_patroni: Callable[[], tuple[PatroniCluster, ...]]
    still_ours: Callable[[], None] = lambda: None

    def act(self, step: RaiseShield | LowerShield) -> Facts:
        """Do the step; returns when its goal is reached."""
        return self.lift(step.shields) if isinstance(step, RaiseShield) else self.lower(step.shields)

    def lift(self, shields: Iterable[Shield]) -> Facts:
        """Turn failsafe_mode on and return once every scope's Patroni acts on it.

        Raises StepFailedError when one has no configuration, or does not act in `step_timeout` and a loop.
        """
        written = {shield.scope: self._turn_on(shield.scope) for shield in shields}
        slowest = max((c.loop_wait for c in self.observe_patroni() if c.scope in written), default=0.0)
        wait_until(
            lambda: self._all_act(written),
            what=f"Patroni to act on failsafe_mode in {', '.join(written)}: the leader to write key failsafe",
            seconds=self.policy.step_timeout + slowest,
            clock=self.clock,
            pause=0.1,
        )
        return {"shielded": sorted(written)}

    def lower(self, shields: Iterable[Shield]) -> Facts:
        """Put failsafe_mode back; where somebody changed it meanwhile it stays, and the facts say so."""
        left = {shield.scope: why for shield in shields if (why := self._put_back(shield))}
        return {"unshielded": sorted(shield.scope for shield in shields), "shields_left": left}

    def _turn_on(self, scope: str) -> _Written:
        def attempt() -> _Written | None:
            config = self._config(scope)
            if config is None or failsafe_setting(config.value) is None:
                raise StepFailedError(
                    f"{scope}: there is no dynamic configuration to turn failsafe_mode on in",
                    hint=f"patronictl edit-config {scope}; then: patronictl-etcd resume",
                )
            if failsafe_setting(config.value) == ON:
                return _Written(config.mod_revision, self.clock.monotonic())
            revision = self._swap(config, ON)
            return _Written(revision, self.clock.monotonic()) if revision else None

        return self._until_swapped(attempt, f"{scope}: its configuration to be left alone by others")

    def _put_back(self, shield: Shield) -> str:
        """Return why it was not put back; empty when it was, or is as it was already."""

        def attempt() -> str | None:
            config = self._config(shield.scope)
            now = failsafe_setting(config.value) if config else None
            if config is None or now is None:
                return "its dynamic configuration is gone"
            if now == shield.before:
                return ""
            if now != ON:
                was = shield.before or "not set"
                return f"somebody changed it meanwhile, to {now or 'not set'}; it was {was}"
            return "" if self._swap(config, shield.before) else None

        return self._until_swapped(attempt, f"{shield.scope}: its configuration to be left alone by others")

    def _until_swapped(self, attempt: Callable[[], T | None], what: str) -> T:
        """Ask again while others are faster: a swap that etcd refused has changed nothing."""
        return wait_until(attempt, what=what, seconds=self.policy.step_timeout, clock=self.clock, pause=0.05)

    def _config(self, scope: str) -> KeyValue | None:
        key = f"{self.namespace.rstrip('/')}/{scope}/config"
        return next(iter(self.roster.voters()[0].range(key).kvs), None)

    def _swap(self, config: KeyValue, setting: str) -> int | None:
        value = with_failsafe(config.value, setting)
        self.still_ours()
        return self.roster.voters()[0].put_if_unchanged(config.key, value, mod_revision=config.mod_revision)

    def _all_act(self, written: dict[str, _Written]) -> bool:
        try:
            clusters = {cluster.scope: cluster for cluster in self.observe_patroni()}
        except EtcdError:
            return False
        now = self.clock.monotonic()
        return all(scope in clusters and _acts(clusters[scope], w, now) for scope, w in written.items())


def _acts(cluster: PatroniCluster, written: _Written, now: float) -> bool:
    """Tell whether the leader wrote down whom to ask, after it read the new configuration, and all read it.

    It writes the key `failsafe` only when its content changes: an old one with the same content counts once
    a renewal surely came from a loop that began after the write.
    """
    wrote = cluster.failsafe_revision > written.revision
    renewed = cluster.lease is not None and cluster.lease.renewed_after >= written.at + ONE_LOOP
    everybody = now >= written.at + cluster.loop_wait + LOOP_GRACE
    return cluster.leader in cluster.failsafe_members and (wrote or renewed) and everybody
