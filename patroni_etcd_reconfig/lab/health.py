"""Ask the lab's etcd and Patroni how they are, and wait until they are well."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from patroni_etcd_reconfig.lab.layout import CLIENT_PORT, NODES, REST_PORT, Layout

_POLL = 0.1  # seconds between two looks


@dataclass(frozen=True)
class PgMember:
    """A PostgreSQL node as Patroni's GET /cluster shows it."""

    name: str
    role: str
    state: str
    timeline: int


@dataclass(frozen=True)
class PgCluster:
    """All PostgreSQL nodes of the lab."""

    members: tuple[PgMember, ...]

    @property
    def leader(self) -> PgMember | None:
        """Return the node that leads and runs."""
        leaders = (one for one in self.members if one.role == "leader" and one.state == "running")
        return next(leaders, None)

    @property
    def streaming(self) -> tuple[PgMember, ...]:
        """Return the replicas that stream from the leader."""
        return tuple(one for one in self.members if one.role != "leader" and one.state == "streaming")

    def missing(self) -> str:
        """Return what the lab still lacks, in words; "" when it has a leader and two replicas."""
        if self.leader is None:
            return "a Patroni leader"
        lacking = len(NODES) - 1 - len(self.streaming)
        return f"{lacking} more streaming replica{'s'[: lacking - 1]}" if lacking else ""


def get_json(
    address: str, port: int, path: str, *, timeout: float = 1.0, body: str | None = None
) -> dict[str, object] | None:
    """Return the JSON object that a server of the lab answers; None when it doesn't (yet)."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("POST" if body else "GET", path, body)
        answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else None


def etcd_missing(layout: Layout) -> str:
    """Return which etcd members are not healthy; "" when all are: each did a read with quorum."""
    unwell = [f"n{i}" for i in NODES if not _etcd_healthy(layout.address(i))]
    return f"etcd {', '.join(unwell)}" if unwell else ""


def _etcd_healthy(address: str) -> bool:
    answer = get_json(address, CLIENT_PORT, "/health")
    return answer is not None and answer.get("health") == "true"


def etcd_version(layout: Layout) -> str:
    """Return the version of the first etcd that answers; "" when none does."""
    answers = (get_json(layout.address(i), CLIENT_PORT, "/version") for i in NODES)
    return next((str(answer.get("etcdserver", "")) for answer in answers if answer), "")


def etcd_member_ids(layout: Layout) -> dict[str, str]:
    """Return the ids of the etcd members by name, in hex as etcdctl shows them; {} when none answers."""
    path = "/v3/cluster/member/list"
    answers = (get_json(layout.address(i), CLIENT_PORT, path, body="{}") for i in NODES)
    members = next((answer.get("members") for answer in answers if answer), None)
    listed = members if isinstance(members, list) else []
    return {str(one.get("name", "")): f"{int(one['ID']):x}" for one in listed}


def pg_cluster(layout: Layout) -> PgCluster | None:
    """Return the PostgreSQL nodes as the first Patroni that answers knows them; None when none does."""
    answers = (get_json(layout.address(i), REST_PORT, "/cluster", timeout=3) for i in NODES)
    return next((parse_cluster(answer) for answer in answers if answer), None)


def parse_cluster(answer: dict[str, object]) -> PgCluster:
    """Return the nodes in an answer of Patroni's GET /cluster."""
    members = answer.get("members")
    return PgCluster(tuple(_pg_member(one) for one in (members if isinstance(members, list) else [])))


def _pg_member(one: dict[str, object]) -> PgMember:
    timeline = one.get("timeline")
    return PgMember(
        name=str(one.get("name", "")),
        role=str(one.get("role", "")),
        state=str(one.get("state", "")),
        timeline=timeline if isinstance(timeline, int) else 0,
    )


def _postgresql_runs(address: str) -> bool:
    answer = get_json(address, REST_PORT, "/patroni", timeout=3)
    return answer is not None and answer.get("state") in ("running", "streaming", "in archive recovery")


def postgresql_missing(layout: Layout) -> str:
    """Return what PostgreSQL still lacks, in words; "" when it is all there.

    Each node is asked itself as well: for `ttl` seconds the others know a dead one as well.
    """
    cluster = pg_cluster(layout)
    what = cluster.missing() if cluster else "an answer of Patroni"
    silent = [f"pg{i}" for i in NODES if not _postgresql_runs(layout.address(i))]
    return what or (f"PostgreSQL of {', '.join(silent)}" if silent else "")


def wait_until_nothing_is_missing(
    missing: Callable[[], str], *, timeout: float, say: Callable[[str], None]
) -> str:
    """Wait until `missing` returns "" and say what for; return what still is after `timeout` seconds."""
    deadline, said = time.monotonic() + timeout, ""
    while (what := missing()) and time.monotonic() < deadline:
        if what != said:
            say(f"waiting for {what}")
            said = what
        time.sleep(_POLL)
    return what
