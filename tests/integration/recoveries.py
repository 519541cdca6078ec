"""An etcd that lost its majority, and plans to bring it back, for tests on real servers."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patroni_etcd_reconfig.clock import SystemClock, wait_until
from patroni_etcd_reconfig.core.changes import Seat
from patroni_etcd_reconfig.core.recovery.codec import read_evidence_document
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence
from patroni_etcd_reconfig.core.recovery.model import Fence, RecoveryPlan, Survivor, Way
from patroni_etcd_reconfig.core.recovery.plan_codec import plan_document, with_id
from patroni_etcd_reconfig.core.recovery.steps import steps_of
from patroni_etcd_reconfig.engine.failpoint import VARIABLE
from patroni_etcd_reconfig.errors import EtcdError
from patroni_etcd_reconfig.lab.up import run_service
from tests.integration.tool import Outcome, Tool


@dataclass(frozen=True)
class Scene:
    """A lab, and what its members were before the loss."""

    tool: Tool
    ids: dict[str, int]
    cluster_id: int

    def kill(self, *numbers: int) -> None:
        """Kill members hard."""
        for i in numbers:
            os.kill(self.tool.etcd_pid(i), signal.SIGKILL)

    def stop(self, *numbers: int) -> None:
        """Stop members cleanly."""
        for i in numbers:
            run_service(self.tool.layout, f"n{i}", "stop")

    def start(self, *numbers: int) -> None:
        """Start members."""
        for i in numbers:
            run_service(self.tool.layout, f"n{i}", "start")

    def is_active(self, i: int) -> bool:
        """Tell whether the service of a member runs."""
        return not os.system(f"sh {self.tool.layout.etcd_service} n{i} is_active")  # noqa: S605

    def await_no_leader(self, i: int) -> None:
        """Wait until a member knows that it has lost its majority."""
        client = self.tool.client(i)
        wait(lambda: client.status().leader_id is None, f"n{i} to see no leader")

    def evidence(self) -> Evidence:
        """Return what `recover collect` finds now."""
        outcome = self.tool.run("recover", "collect", "-f", "json")
        return read_evidence_document(outcome.json)

    def plan(self, survivor: int, *fenced: int, lost: tuple[int, ...] = (), **more: Any) -> RecoveryPlan:
        """Return the plan that makes one member the survivor, from what is there now."""
        name = f"n{survivor}"
        seen = self.evidence().node(name)
        assert seen is not None
        fences = [self._fence(i, lost=False) for i in fenced] + [self._fence(i, lost=True) for i in lost]
        plan = RecoveryPlan(
            "",
            0.0,
            Way.FORCE,
            "/service",
            self.cluster_id,
            voters=1 + len(fences),
            survivor=survivor_of(seen, self.ids[name]),
            fence=tuple(fences),
            rebuild=tuple(fence.seat for fence in fences if not fence.lost),
        )
        return with_id(replace(plan, **more))

    def write(self, plan: RecoveryPlan) -> Path:
        """Write a plan file."""
        path = self.tool.layout.root / "plan.json"
        path.write_text(json.dumps(plan_document(plan)))
        return path

    def apply(self, plan: RecoveryPlan, *words: str, seconds: float = 120.0) -> Outcome:
        """Apply a plan to the end, without questions."""
        path = str(self.write(plan))
        return self.tool.run(
            "recover", "apply", path, "--confirm", plan.id, "-f", "json", *words, seconds=seconds
        )

    def apply_killed_at_every_step(self, plan: RecoveryPlan) -> tuple[Outcome, str]:
        """Apply it again and again, killed in each step before and after it acted; return the last run.

        And what all of them said.
        """
        words = ("recover", "apply", str(self.write(plan)), "--confirm", plan.id, "-f", "json")
        said = ""
        for kind in dict.fromkeys(type(step).__name__ for step in steps_of(plan)):
            for moment in ("intended", "acted"):
                outcome = self.tool.run(*words, env={VARIABLE: f"{moment}:{kind}"}, seconds=120)
                said += outcome.err
                assert outcome.code == -signal.SIGKILL, (
                    f"{moment}:{kind}: {outcome.code} {outcome.out} {outcome.err}"
                )
        outcome = self.tool.run(*words)
        return outcome, said + outcome.err

    def seat(self, i: int) -> Seat:
        """Return a member's seat."""
        return Seat(f"n{i}", (self.tool.layout.peer_url(i),))

    def _fence(self, i: int, *, lost: bool) -> Fence:
        return Fence(f"n{i}", self.ids[f"n{i}"], self.seat(i), lost)


def survivor_of(seen: NodeEvidence, member_id: int) -> Survivor:
    """Return a node as the survivor, at the position at which it is now."""
    assert seen.data is not None
    data = seen.data
    return Survivor(
        seen.name,
        member_id,
        data.term,
        data.last_term,
        data.last_index,
        data.commit,
        seen.live is not None,
        "test",
    )


def scene_of(tool: Tool) -> Scene:
    """Remember who is who in a healthy lab."""
    return Scene(tool, tool.ids(), tool.client(1).status().cluster_id)


def wait(probe: Any, what: str, seconds: float = 20.0) -> Any:
    """Wait until a probe is true; an etcd that does not answer counts as not yet."""

    def calm() -> Any:
        try:
            return probe()
        except EtcdError:
            return None

    return wait_until(calm, what=what, seconds=seconds, clock=SystemClock(), pause=0.05)
