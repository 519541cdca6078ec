"""What a recovery plan will do, in words and in order."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.recovery.model import Fence, RecoveryPlan, ScopePlan, Survivor, Way


def steps_in_words(plan: RecoveryPlan) -> tuple[str, ...]:
    """Return the steps of a plan, one line each."""
    if plan.way is Way.NOTHING:
        return ()
    if plan.way is Way.START:
        return (*(f"start etcd on {name}" for name in plan.start), "wait until a majority serves")
    return tuple(_forced(plan))


def _forced(plan: RecoveryPlan) -> Iterator[str]:
    survivor = plan.survivor
    if survivor is None:
        return
    yield from _secure(survivor)
    yield from (_fence(fence) for fence in plan.fence)
    yield from _begin(plan, survivor)
    yield from (_scope(scope) for scope in plan.scopes)
    yield f"open {survivor.node} to Patroni, and wait until each scope has a leader that accepts writes"
    for seat in plan.rebuild:
        yield f"{seat.name}: join as a learner with empty data, promote when in sync"
    yield "verify: members, data, leaders, and the etcd hosts that Patroni has"


def _secure(survivor: Survivor) -> Iterator[str]:
    if survivor.snapshot:
        yield f"{survivor.node}: check the snapshot {survivor.snapshot} by its hash"
        return
    if survivor.running:
        yield f"{survivor.node}: save a snapshot while it runs, then stop it cleanly"
    yield f"{survivor.node}: copy its data dir before anything changes it"


def _fence(fence: Fence) -> str:
    if fence.lost:
        return f"{fence.node}: declared lost; it must never start with its old data"
    return f"{fence.node}: stop etcd, keep it stopped, rename its data dir aside"


def _begin(plan: RecoveryPlan, survivor: Survivor) -> Iterator[str]:
    how = "restore the snapshot, with a new cluster token," if survivor.snapshot else "start it alone"
    flag = "" if survivor.snapshot else " with --force-new-cluster, for one start,"
    yield f"{survivor.node}: {how}{flag} on loopback, where Patroni can't reach it"
    if survivor.peer_urls:
        yield f"{survivor.node}: its peer URL becomes {', '.join(survivor.peer_urls)}, if it is another"
    if not survivor.snapshot:
        yield (
            f"{survivor.node}: restart it without the flag until its raft term is {plan.minimum_term} or more"
        )


def _scope(scope: ScopePlan) -> str:
    keys = ", ".join(scope.stale) or "none"
    lead = f"the lead goes to {scope.should_lead}" if scope.should_lead else "nobody is given the lead"
    if scope.paused:
        lead = f"it stays paused; {lead}" if scope.chosen else "it stays paused"
    return (
        f"scope {scope.scope}: compare its keys with PostgreSQL and repair them (now stale: {keys}); {lead}"
    )
