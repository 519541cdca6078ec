"""Is the situation still the one that a recovery plan was made for? Asked in each run until data is forced.

What stands in the way here can't be accepted: each of these findings means that data would be lost which
the plan does not speak of, or that two halves of one cluster would take writes.
"""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.findings import Finding, blocker
from patroni_etcd_reconfig.core.model import format_id
from patroni_etcd_reconfig.core.quorum import quorum
from patroni_etcd_reconfig.core.recovery.evidence import DataDirFacts, Evidence, NodeEvidence
from patroni_etcd_reconfig.core.recovery.holders import holders_in
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Survivor, Way
from patroni_etcd_reconfig.core.recovery.restore_checks import check_restore, runs
from patroni_etcd_reconfig.core.recovery.start_checks import PLAN_AGAIN, check_starting

# These say that the plan is of another situation (exit code 7), the others that something is in the way (3).
MISMATCHES = frozenset({"SURVIVOR_CHANGED", "SURVIVOR_RUNS_NOW", "PLAN_OTHER_CLUSTER", "START_OUTDATED"})


def check_situation(
    plan: RecoveryPlan, seen: Evidence, reserve: int, program: str = "", *, copied: bool = False
) -> tuple[Finding, ...]:
    """Return what stands in the way; `reserve` in bytes stays free on the survivor's disk.

    `program` is the version of the etcd that the quarantine runs; "" = not known. `copied`: an earlier run
    has made the copy of the survivor's data, which has its room then.
    """
    if plan.way is Way.START:
        return tuple(check_starting(plan, seen))
    if plan.way is Way.RESTORE:
        return tuple(check_restore(plan, seen, reserve))
    survivor = plan.survivor
    if plan.way is not Way.FORCE or survivor is None:
        return ()
    return (
        *check_majority(plan, seen),
        *check_lost(plan, seen),
        *_check_survivor(plan, survivor, seen.node(survivor.node), program),
        *(() if copied else _check_room(seen.node(survivor.node), reserve)),
        *_check_others(plan, seen),
        *_check_positions(plan, survivor, seen),
    )


def check_majority(plan: RecoveryPlan, seen: Evidence) -> Iterator[Finding]:
    """A majority that is alive would be killed by a forced new cluster, and its writes with it."""
    names = _answering_voters(plan, seen)
    chosen = any(choice.startswith("--survivor ") for choice in plan.choices)
    if len(names) >= quorum(plan.voters) and not chosen:
        yield blocker(
            "MAJORITY_ALIVE",
            ", ".join(names),
            "enough voters for a majority answer: they only have to reach each other",
            "look at the network between the peers: patronictl-etcd status",
            transient=True,
        )
    for node in seen.nodes:
        live = node.live
        if live is None or live.status.cluster_id != plan.cluster_id:
            continue
        if live.quorate or seen.has_leader(live):
            what = "serves linearizable reads" if live.quorate else "has a raft leader"
            yield blocker(
                "MAJORITY_ALIVE",
                node.name,
                f"the member {what}: etcd has, or just now had, a majority",
                "nothing is to be recovered while it has one: patronictl-etcd status",
                transient=True,
            )


def _answering_voters(plan: RecoveryPlan, seen: Evidence) -> list[str]:
    """Return the nodes whose member answers and votes."""
    live = ((node.name, node.live) for node in seen.nodes)
    return [
        name
        for name, one in live
        if one and one.status.cluster_id == plan.cluster_id and not one.status.is_learner
    ]


def check_lost(plan: RecoveryPlan, seen: Evidence) -> Iterator[Finding]:
    """A member that was declared lost and is there could go on with the old data beside the survivor."""
    for fence in plan.fence:
        node = seen.node(fence.node)
        if fence.lost and runs(node):
            yield blocker(
                "LOST_ANSWERS",
                fence.node,
                "it was declared lost, but its etcd runs",
                f"its data counts, too. {PLAN_AGAIN}, without --lost {fence.node}",
            )


def _check_survivor(
    plan: RecoveryPlan, survivor: Survivor, node: NodeEvidence | None, program: str
) -> Iterator[Finding]:
    if node is None or not node.reachable:
        why = node.problem if node else "the inventory does not name it"
        remedy = "run this on the survivor's machine, with an inventory that has it with via: local"
        yield blocker("SURVIVOR_UNREACHABLE", survivor.node, why or "nobody could look at it", remedy)
        return
    if node.config_problem:
        yield blocker("NODE_CONFIG", node.name, node.config_problem, "correct its configuration")
    yield from _check_program(node, program)
    data = node.data
    if data is None:
        detail = node.problem or "its data dir holds no readable write-ahead log"
        yield blocker("SURVIVOR_CHANGED", survivor.node, detail, PLAN_AGAIN)
        return
    yield from _check_identity(plan, survivor, data)
    yield from _check_position(survivor, node, data)


def _check_room(node: NodeEvidence | None, reserve: int) -> Iterator[Finding]:
    free = node.data_free_bytes if node else None
    if node and node.data and free is not None and free < node.data.size + reserve:
        yield blocker(
            "DISK_SPACE",
            node.name,
            f"{free} bytes are free, its copy needs {node.data.size}, and {reserve} stay free",
            "make room there: without a copy nothing is changed",
        )


def _check_program(node: NodeEvidence, program: str) -> Iterator[Finding]:
    """Another etcd than the service's could write what that one can't read."""
    runs = node.live.status.version if node.live else ""
    if program and runs and program != runs:
        yield blocker(
            "ETCD_PROGRAM",
            node.name,
            f"its service runs etcd {runs}, and the quarantine would run {program}",
            f"put the service's etcd under etcd.members.{node.name}.etcd in the inventory",
        )


def _check_identity(plan: RecoveryPlan, survivor: Survivor, data: DataDirFacts) -> Iterator[Finding]:
    if (data.cluster_id, data.member_id) != (plan.cluster_id, survivor.member_id):
        yield blocker(
            "PLAN_OTHER_CLUSTER",
            survivor.node,
            f"{data.path} holds member {format_id(data.member_id)} of cluster {format_id(data.cluster_id)}, "
            f"the plan says {format_id(survivor.member_id)} of {format_id(plan.cluster_id)}",
            f"correct data_dir in the inventory, or {PLAN_AGAIN}",
        )
    if data.is_learner or data.is_removed:
        what = "a learner" if data.is_learner else "a member that was removed"
        yield blocker(
            "SURVIVOR_UNFIT",
            survivor.node,
            f"the data is that of {what}: a forced new cluster panics on it, and damages it",
            PLAN_AGAIN,
        )


def _check_position(survivor: Survivor, node: NodeEvidence, data: DataDirFacts) -> Iterator[Finding]:
    then = (survivor.last_term, survivor.last_index)
    now = (data.last_term, data.last_index)
    if now < then or (now != then and not survivor.running):
        yield blocker(
            "SURVIVOR_CHANGED",
            survivor.node,
            f"its log ends at term {now[0]}, index {now[1]}, in the plan at term {then[0]}, index {then[1]}",
            PLAN_AGAIN,
        )
    if node.live is not None and not survivor.running:
        yield blocker(
            "SURVIVOR_RUNS_NOW",
            survivor.node,
            "it was stopped when the plan was made, and runs now",
            PLAN_AGAIN,
        )


def _check_others(plan: RecoveryPlan, seen: Evidence) -> Iterator[Finding]:
    """Those that can be fenced must be those that the plan means."""
    for fence in plan.fence:
        node = seen.node(fence.node)
        if fence.lost:
            continue
        if node is None or not node.reachable:
            why = (node.problem if node else "the inventory does not name it") or "nobody could look at it"
            remedy = f"make it reachable, or declare it lost when it is: plan again with --lost {fence.node}"
            yield blocker("CANNOT_FENCE", fence.node, why, remedy)
        elif node.config_problem:
            yield blocker("NODE_CONFIG", node.name, node.config_problem, "correct its configuration")
        elif node.data and (node.data.cluster_id, node.data.member_id) != (plan.cluster_id, fence.member_id):
            yield blocker(
                "PLAN_OTHER_CLUSTER",
                fence.node,
                f"{node.data.path} holds member {format_id(node.data.member_id)}, "
                f"the plan says {format_id(fence.member_id)}",
                f"correct data_dir in the inventory, or {PLAN_AGAIN}",
            )


def _check_positions(plan: RecoveryPlan, survivor: Survivor, seen: Evidence) -> Iterator[Finding]:
    """Others can have gone on since the plan was made: writes that were acknowledged would be only there."""
    if f"--survivor {survivor.node}" in plan.choices:
        return
    holders = {one.name: one for one in holders_in(seen) if one.cluster_id == plan.cluster_id}
    own = holders.get(survivor.node)
    for fence in plan.fence:
        other = holders.get(fence.node)
        if own and other and not fence.lost and other.is_ahead_of(own):
            detail = f"{other.describe()} is ahead of the survivor, {own.describe()}: it went on meanwhile"
            yield blocker("SURVIVOR_CHANGED", fence.node, detail, PLAN_AGAIN)
