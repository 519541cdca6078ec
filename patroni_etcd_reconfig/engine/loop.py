"""The loop that looks, plans, passes the gates and does the first step, until nothing is left.

It owns no knowledge of its own: killed anywhere and started again, it goes on from what is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from patroni_etcd_reconfig.core.changes import Change
from patroni_etcd_reconfig.core.findings import Finding, blockers
from patroni_etcd_reconfig.core.gates import check_step
from patroni_etcd_reconfig.core.model import Observation
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.step_words import describe
from patroni_etcd_reconfig.core.steps import Step
from patroni_etcd_reconfig.engine.failpoint import failpoint
from patroni_etcd_reconfig.engine.journal import Journal
from patroni_etcd_reconfig.engine.world import World
from patroni_etcd_reconfig.errors import (
    EtcdError,
    ExitCode,
    HeldBackError,
    ReconfigError,
    StepFailedError,
    UnreachableError,
)
from patroni_etcd_reconfig.ports import Clock

# How often a step may come up again right after it was done or had an unknown outcome.
MAX_REPEATS = 3
GATE_PAUSE = 0.1  # seconds between two looks while a gate holds a step up
FRESH = 0.2  # how old a look may be on which a step is begun, in seconds: no more than a slow look takes


class Reporter(Protocol):
    """Told what happens, as it happens."""

    def started(self, steps: tuple[Step, ...]) -> None:
        """The first of these steps begins; the others are planned after it."""

    def ended(self, step: Step, state: str, seconds: float) -> None:
        """A step ended as `done`, `failed` or `unknown`."""

    def held_up(self, step: Step, findings: tuple[Finding, ...]) -> None:
        """Gates hold a step up; told again only when the reasons change."""

    def say(self, text: str) -> None:
        """Something worth a line."""

    def progress(self, text: str) -> None:
        """How far the running step has come: told often, and only the last word counts."""


class BlockedError(ReconfigError):
    """Gates did not let a step pass, in the time that the policy gives them."""

    exit_code = ExitCode.BLOCKED
    code = "BLOCKED"

    def __init__(self, step: Step, findings: tuple[Finding, ...]) -> None:
        first = findings[0]
        super().__init__(
            f"before '{describe(step)}': {first.subject}: {first.detail}", hint=first.remedy, code=first.code
        )
        self.findings = findings
        if first.code in ("CLUSTER_ID_CHANGED", "MEMBERSHIP_CHANGED"):
            self.exit_code = ExitCode.PLAN_MISMATCH


@dataclass
class Engine:
    """Carries out one change. `still_ours` raises LockedError when the lock is not certainly held."""

    world: World
    journal: Journal
    policy: Policy
    clock: Clock
    reporter: Reporter
    still_ours: Callable[[], None]

    def run(self, change: Change, seen: Observation | None = None) -> None:
        """Return when the change is done and verified; raises ReconfigError when it stops before that.

        `seen` was seen under the lock: while it is fresh, the first step needs no other look.
        """
        last, repeats = None, 0
        seen = self._if_fresh(seen) or self._look()
        while steps := make_plan(seen, change).steps:
            repeats = repeats + 1 if steps[0] == last else 0
            last = steps[0]
            if repeats > MAX_REPEATS:
                raise self._in_vain(last, repeats)
            ready = self._pass_gates(seen, steps[0], change)
            if ready is not None:
                self._do(steps, *ready)
            seen = self._look()

    def _if_fresh(self, seen: Observation | None) -> Observation | None:
        if seen is None or not 0 <= self.clock.monotonic() - seen.at <= FRESH:
            return None
        return replace(seen, progress=self.journal.record.progress)

    def _in_vain(self, step: Step, times: int) -> StepFailedError:
        past = {step.state for step in self.journal.record.steps[-times:]}
        done = "done" in past
        else_ = "and held back every time" if past == {"failed"} else "and nobody said what came of it"
        what = "and still has no effect" if done else else_
        return StepFailedError(
            f"'{describe(step)}' was {'done' if done else 'tried'} {times} times {what}",
            hint="patronictl-etcd status; then: patronictl-etcd resume",
        )

    def _look(self) -> Observation:
        """Look; an election or a lost answer is no reason to end an operation: look again for a while."""
        deadline = self.clock.monotonic() + self.policy.gate_timeout
        told = False
        while True:
            try:
                return self.world.observe(self.journal.record.progress)
            except (EtcdError, UnreachableError) as error:
                if error.exit_code is ExitCode.USAGE or self.clock.monotonic() >= deadline:
                    raise
                if not told:
                    self.reporter.say(f"can't look at the cluster now ({error}); looking again")
                told = True
                self.clock.sleep(GATE_PAUSE)

    def _pass_gates(
        self, seen: Observation, step: Step, change: Change
    ) -> tuple[Observation, tuple[Finding, ...]] | None:
        """Return the look at which the step may run, and what the operator accepted to let it.

        None when the wait changed what comes first.
        """
        deadline = self.clock.monotonic() + self.policy.gate_timeout
        told: tuple[str, ...] = ()
        while stopping := blockers(findings := check_step(seen, step, change, self.policy)):
            over = self.clock.monotonic() >= deadline
            if over or not all(finding.transient for finding in stopping):
                raise BlockedError(step, stopping)
            reasons = tuple(finding.code for finding in stopping)
            if reasons != told:
                self.reporter.held_up(step, stopping)
            told = reasons
            self.clock.sleep(GATE_PAUSE)
            seen = self._look()
            if make_plan(seen, change).steps[:1] != (step,):
                return None
        return seen, findings

    def _do(self, steps: tuple[Step, ...], seen: Observation, accepted: tuple[Finding, ...]) -> None:
        """One step: intent durable before, outcome after; an unknown outcome means looking again."""
        step = steps[0]
        self.still_ours()
        kind, number = type(step).__name__, len(self.journal.record.steps) + 1
        failpoint("before", kind, number)
        self.journal.intend(step, [finding.code for finding in accepted])
        failpoint("intended", kind, number)
        self.reporter.started(steps)
        began = self.clock.monotonic()
        state, facts = "unknown", {}
        try:
            facts = dict(self.world.act(step, seen))
            failpoint("acted", kind, number)
            state = "done"
        except EtcdError as error:
            if not error.outcome_unknown:
                state = "failed"
                raise
            self.reporter.say(f"the outcome of '{describe(step)}' is unknown ({error}); looking again")
        except HeldBackError as error:
            state = "failed"
            self.reporter.say(f"'{describe(step)}' was held back ({error}); looking again")
        except ReconfigError:
            state = "failed"
            raise
        finally:
            seconds = self.clock.monotonic() - began
            self.journal.conclude(step, state, seconds, facts)
            self.reporter.ended(step, state, seconds)
        failpoint("after", kind, number)
