"""Old data that came back: members that are none any more, running or waiting to be started.

Two members of a lost majority that are switched on again find each other, are a majority of the old cluster,
and serve old keys under the same cluster id; a Patroni that meets them believes whoever has the higher term.
"""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.findings import Finding, blocker, info, warning
from patroni_etcd_reconfig.core.model import EtcdView, NodeView, Observation, Stranger, format_id

STOP = "stop its etcd, keep it stopped, and move its data dir away"


def check_zombies(seen: Observation) -> Iterator[Finding]:
    """Block while somebody answers who is no member; warn of data that would be one if it was started.

    Only a list that was read with quorum says who is no member any more. Another cluster id says it always.
    A member that was removed a moment ago still answers: that passes.
    """
    for stranger in seen.etcd.strangers:
        if seen.etcd.linearizable or stranger.cluster_id != seen.etcd.cluster_id:
            yield _running(stranger, seen.etcd)
    told = {stranger.member_id for stranger in seen.etcd.strangers}
    for name, node in sorted(seen.nodes.items()):
        if seen.etcd.linearizable and node.data and node.data.member_id not in told:
            yield from _stored(name, node, seen.etcd)


def _running(stranger: Stranger, etcd: EtcdView) -> Finding:
    owner = next((v.member.name for v in etcd.members if stranger.url in v.member.client_urls), "")
    detail = (
        f"at {stranger.url} answers member {format_id(stranger.member_id)} of cluster "
        f"{format_id(stranger.cluster_id)}, which is {_what(stranger.cluster_id, etcd)}"
    )
    remedy = f"{STOP}; take its URL out of the hosts if it is no member's"
    if stranger.serves_reads:
        detail += ", and it has a majority of its own: both take writes"
        check = "patronictl-etcd recover verify PLAN, or the plan: the old one has the members that it fences"
        remedy = f"find out which of the two is the old one ({check}), then {remedy}"
    subject = stranger.name or owner or stranger.url
    return blocker("ZOMBIE_MEMBER", subject, detail, remedy, transient=True)


def _stored(name: str, node: NodeView, etcd: EtcdView) -> Iterator[Finding]:
    data = node.data
    if data is None or (data.cluster_id == etcd.cluster_id and etcd.by_id(data.member_id)):
        return
    if node.service_active and any(v.status and v.member.name == name for v in etcd.members):
        return  # its member answers, so that this is not its data: the inventory is wrong (NODE_MISMATCH)
    make = blocker if node.service_active else warning
    yield make(
        "ZOMBIE_MEMBER",
        name,
        f"its {'service runs on' if node.service_active else 'data dir holds'} the data of member "
        f"{format_id(data.member_id)} of cluster {format_id(data.cluster_id)}, which is "
        f"{_what(data.cluster_id, etcd)}",
        STOP if node.service_active else "move its data dir away before its etcd is started",
    )


def _what(cluster_id: int, etcd: EtcdView) -> str:
    if cluster_id == etcd.cluster_id:
        return "no member any more"
    return f"another cluster than {format_id(etcd.cluster_id)}"


def check_set_aside(seen: Observation) -> Iterator[Finding]:
    """Tell of nodes whose data lies aside and that have none now: removed, or an operation stopped there."""
    for name, node in sorted(seen.nodes.items()):
        if node.set_aside and not node.data_present and not node.problem:
            yield info(
                "DATA_SET_ASIDE",
                name,
                f"it has no data; what it had was set aside as {node.set_aside[0]}",
                "if what did it is not finished (patronictl-etcd history), finish it; "
                "never start etcd on that directory again",
            )
