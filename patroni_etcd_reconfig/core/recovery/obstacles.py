"""What stands in the way of bringing etcd back from one copy of its data, each with the way on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from patroni_etcd_reconfig.core.findings import Finding, blocker, info, warning
from patroni_etcd_reconfig.core.model import Member, format_id
from patroni_etcd_reconfig.core.quorum import quorum
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, NodeEvidence
from patroni_etcd_reconfig.core.recovery.fencing import COLLECT, contradicts_loss
from patroni_etcd_reconfig.core.recovery.holders import Holder
from patroni_etcd_reconfig.core.recovery.model import Choice, Fence
from patroni_etcd_reconfig.core.recovery.standing import is_primary

CHOSEN = "(chosen by the operator)"


def serves(serving: Iterable[NodeEvidence], lost: frozenset[str]) -> Finding:
    """A majority serves: --force-new-cluster on any member would end the healthy ones."""
    names = ", ".join(sorted(node.name for node in serving))
    replace = ", ".join(sorted(lost)) or "NAME"
    return blocker(
        "RECOVERY_QUORUM_SERVES",
        "etcd",
        f"it has a quorum: linearizable reads through {names} work. Nothing is to be recovered, and a forced "
        "new cluster would end the healthy members",
        f"see patronictl-etcd status; a member that is gone: patronictl-etcd replace {replace}",
    )


def can_start(
    startable: tuple[str, ...], running: tuple[str, ...], voters: int, forgotten: tuple[str, ...] = ()
) -> Finding:
    """Enough stopped members can simply be started: nothing is lost, if their list is the true one."""
    there = f"; running: {', '.join(running)}" if running else ""
    claim = (
        f"a quorum of a list without {', '.join(forgotten)}: if that was forced, what only they had is lost"
        if forgotten
        else "a quorum, and no write is lost"
    )
    return info(
        "RECOVERY_START",
        ", ".join(startable),
        f"stopped, with sound data{there}: started, that makes {len(startable) + len(running)} of {voters} "
        f"voters, {claim}",
        "recover apply starts them; if they can't be started, name the member whose data shall go on alone: "
        "--survivor NAME",
    )


def moved(startable: Iterable[NodeEvidence], members: Iterable[Member]) -> Iterator[Finding]:
    """Members that are started at another address are not found by the others, unless it only reads so."""
    known = {member.id: member for member in members}
    for node in startable:
        own = known.get(node.data.member_id) if node.data else None
        if own and node.peer_urls and not set(own.peer_urls) & set(node.peer_urls):
            yield warning(
                "RECOVERY_NEW_ADDRESS",
                node.name,
                f"the member list has {', '.join(own.peer_urls)}, its node {', '.join(node.peer_urls)}: at "
                "another address the others can't find it",
                "if a majority has new addresses, starting does not help: --survivor NAME does",
            )


def wrongly_lost(lost: frozenset[str], evidence: Evidence) -> Iterator[Finding]:
    """A loss that is declared must not contradict what was seen."""
    for name in sorted(lost):
        node = evidence.node(name)
        if node and (node.live or node.answers or contradicts_loss(node)):
            answers = node.live or node.answers
            seen = "its etcd answers" if answers else "its node can be reached and controlled"
            yield blocker(
                "RECOVERY_LOST_WRONG", name, f"it is declared lost, and {seen}", f"leave out --lost {name}"
            )


def other_clusters(
    holders: tuple[Holder, ...], family: tuple[Holder, ...], choice: Choice
) -> Iterator[Finding]:
    """Nodes of one inventory hold data of different clusters: which is meant?"""
    ids = {one.cluster_id for one in holders}
    if len(ids) < 2:
        return
    words = "; ".join(
        f"{format_id(one)} on {', '.join(sorted(h.name for h in holders if h.cluster_id == one))}"
        for one in sorted(ids)
    )
    detail = f"the nodes hold data of {len(ids)} etcd clusters: {words}"
    if choice.survivor:
        yield warning("RECOVERY_TWO_CLUSTERS", "etcd", f"{detail} {CHOSEN}", "")
        return
    remedy = "take the nodes of the other cluster out of the inventory, or name whose data goes on: "
    yield blocker(
        "RECOVERY_TWO_CLUSTERS", "etcd", detail, remedy + f"--survivor {family[0].name if family else 'NAME'}"
    )


def majority_runs(running: tuple[str, ...], voters: int, *, chosen: bool) -> Iterator[Finding]:
    """Members that run and do not find each other are a network's matter, not a loss."""
    if voters and len(running) >= quorum(voters):
        detail = f"{', '.join(running)} run, which is {len(running)} of {voters} voters, and yet none serves"
        remedy = "look at the network between their peer URLs, their clocks and disks; collect again"
        if chosen:
            yield warning("RECOVERY_MAJORITY_RUNS", "etcd", f"{detail} {CHOSEN}", remedy)
        else:
            yield blocker("RECOVERY_MAJORITY_RUNS", "etcd", detail, remedy)


def quorum_elsewhere(evidence: Evidence, fences: Iterable[Fence]) -> Iterator[Finding]:
    """A primary that leads without failsafe renews its lock somewhere: the rest of etcd may serve there."""
    lost = ", ".join(fence.node for fence in fences if fence.lost)
    leading = [
        one
        for one in evidence.postgres
        if one.patroni_answers and is_primary(one) and one.failsafe_active is False and not one.paused
    ]
    for one in leading if lost else ():
        yield blocker(
            "RECOVERY_QUORUM_ELSEWHERE",
            f"{one.scope}/{one.name}",
            f"it is a primary, not in failsafe mode and not paused, so its Patroni may still reach a quorum "
            f"of etcd; {lost}, declared lost, may serve out of our sight",
            "look at its Patroni log; if it has only not noticed yet, collect again in a minute",
        )


def no_survivor(holders: Iterable[Holder], chosen: str) -> Finding:
    """No copy of the data can go on, or not the one that was named."""
    found = [one for one in holders if not chosen or one.name == chosen]
    words = "; ".join(f"{one.describe()}: {one.unfit or one.apart}" for one in found) or "no data was found"
    return blocker(
        "RECOVERY_NO_SURVIVOR",
        chosen or "etcd",
        f"{'its' if chosen else 'no member has'} data {'can not' if chosen else 'that can'} go on: {words}",
        f"make a voter's machine reachable and run {COLLECT} again"
        + (f", or leave out --survivor {chosen}" if chosen else "")
        + ", or go on from a snapshot: patronictl-etcd restore FILE",
    )


def damaged(holder: Holder, *, chosen: bool) -> Iterator[Finding]:
    """All that is left is damaged, or the operator chose it."""
    if not holder.damage:
        return
    detail = f"its data is damaged: {'; '.join(holder.damage)}"
    if chosen:
        yield warning("RECOVERY_DAMAGED", holder.name, f"{detail} {CHOSEN}", "")
    else:
        yield blocker(
            "RECOVERY_DAMAGED",
            holder.name,
            f"{detail}, and no other voter's data is left",
            f"go on from a snapshot (patronictl-etcd restore FILE), or with it as it is: "
            f"--survivor {holder.name}",
        )


def fresher(
    holder: Holder, family: Iterable[Holder], lost: frozenset[str], *, chosen: bool
) -> Iterator[Finding]:
    """More advanced data is known to exist."""
    for one in family:
        if not one.is_ahead_of(holder):
            continue
        reason = one.unfit or ("; ".join(one.damage) and f"damaged: {one.damage[0]}") or one.apart
        detail = f"{one.describe()} is ahead of {holder.describe()}" + (f"; but {reason}" if reason else "")
        if chosen or one.name in lost:
            yield warning("RECOVERY_FRESHER", one.name, f"{detail} {CHOSEN}", "")
        else:
            yield blocker(
                "RECOVERY_FRESHER",
                one.name,
                f"{detail}: writes that were acknowledged can be only there",
                f"make it usable and collect again, or go on without it: --survivor {holder.name}",
            )


def unread(fences: Iterable[Fence], evidence: Evidence, *, chosen: bool) -> Iterator[Finding]:
    """A member within reach whose data could not be read may be the most advanced."""
    for fence in fences:
        node = evidence.node(fence.node)
        if fence.lost or not node or not node.reachable or node.data or node.data_present is False:
            continue
        detail = f"its data could not be read: {node.problem or 'not known why'}; it can be ahead"
        if chosen:
            yield warning("RECOVERY_UNREAD", fence.node, f"{detail} {CHOSEN}", "")
        else:
            remedy = f"look at its data dir, run {COLLECT} again; or go on without it: --survivor NAME"
            yield blocker("RECOVERY_UNREAD", fence.node, detail, remedy)


def about_node(holder: Holder) -> Iterator[Finding]:
    """What must be right on the survivor's node, and what will be new there."""
    if holder.node.config_problem:
        remedy = "correct its entry in the inventory"
        yield blocker("NODE_CONTROL", holder.name, holder.node.config_problem, remedy)
    own = next((member for member in holder.members if member.id == holder.member_id), None)
    urls = holder.node.peer_urls
    if own and urls and set(own.peer_urls) != set(urls):
        yield info(
            "RECOVERY_NEW_ADDRESS",
            holder.name,
            f"its member list has {', '.join(own.peer_urls)}, its node {', '.join(urls)}",
            "recover apply writes the new one",
        )


def learners_left(holder: Holder, fences: Iterable[Fence]) -> Iterator[Finding]:
    """Whoever did not vote is fenced like the others, and not made new."""
    learners = {member.id for member in holder.members if member.is_learner}
    for fence in fences:
        if fence.member_id in learners:
            yield info(
                "RECOVERY_LEARNER_LEFT",
                fence.node,
                "it is a learner: it is not made new with the voters",
                f"afterwards: patronictl-etcd add {fence.node} --learner",
            )
