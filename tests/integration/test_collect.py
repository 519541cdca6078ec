"""The etcd side of `recover collect` on real servers: hung, foreign, guarded by a login, or learners."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.adapters.etcd_client import Connector
from patroni_etcd_reconfig.core.recovery.assemble import Heard, assemble
from patroni_etcd_reconfig.core.recovery.contradictions import contradictions
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, LiveMember, NodeEvidence
from patroni_etcd_reconfig.observe.members import MembersLook
from tests.integration.etcd_servers import EtcdCluster, etcd_cluster, wait_until, want_logins

pytestmark = pytest.mark.etcd

DEADLINE = 1.5
KEY = "/service/demo/leader"


@pytest.fixture
def etcd(tmp_path: Path, etcd_dir: Path) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path, etcd_dir=etcd_dir) as cluster:
        Connector()(cluster.client_url(1), 3).put(KEY, "pg1")
        yield cluster


def look(*urls: str, username: str = "", password: str = "") -> tuple[Heard, ...]:
    return MembersLook(Connector(username, password), urls, "/service", DEADLINE, DEADLINE).look()


def nodes(*heard: Heard) -> dict[str, NodeEvidence]:
    return {node.name: node for node in assemble((), heard, {}, by="here", at=0.0)}


def live(node: NodeEvidence) -> LiveMember:
    assert node.live is not None
    return node.live


def test_one_url_leads_to_every_member_and_one_member_without_quorum_tells_all(etcd: EtcdCluster) -> None:
    found = nodes(*look(etcd.client_url(2)))
    assert [live(node).quorate for node in found.values()] == [True, True, True]
    etcd.kill(1)
    etcd.pause(2)
    began = time.monotonic()
    found = nodes(*look(etcd.client_url(3)))
    assert time.monotonic() - began < DEADLINE + 1
    etcd.resume(2)
    alone = live(found["n3"])
    assert (alone.quorate, len(alone.members)) == (False, 3)
    assert [(kv.key, kv.value) for kv in alone.keys] == [(KEY, "pg1")]
    assert (found["n1"].live, found["n2"].live) == (None, None)
    assert "refused" in found["n1"].problem
    assert "no answer in time" in found["n2"].problem
    assert found["n1"].peer_urls == (etcd.peer_url(1),)


def test_a_learner_tells_its_status_and_its_keys(etcd: EtcdCluster) -> None:
    client = Connector()(etcd.client_url(1), 3)
    wait_until(lambda: bool(client.add_learner((etcd.peer_url(4),))), 15, "etcd to take a learner")
    etcd.configure(4, state="existing", members=(1, 2, 3, 4))
    etcd.start(4)
    four = Connector()(etcd.client_url(4), 3)
    wait_until(lambda: bool(four.range(KEY, serializable=True).kvs), 15, "the learner to have the key")
    found = nodes(*look(etcd.client_url(1), etcd.client_url(4)))
    learner = live(found["n4"])
    assert (learner.status.is_learner, learner.quorate, learner.members) == (True, False, ())
    assert [kv.value for kv in learner.keys] == ["pg1"]
    assert found["n4"].problem == "the inventory on here does not control it"


def test_a_member_of_another_cluster_stays_apart_and_is_said_to_be_foreign(
    etcd: EtcdCluster, tmp_path: Path, etcd_dir: Path
) -> None:
    with etcd_cluster(tmp_path / "other", 1, etcd_dir=etcd_dir) as other:
        heard = look(etcd.client_url(1), other.client_url(1))
        found = assemble((), heard, {}, by="here", at=0.0)
        names = [node.name for node in found]  # both clusters have a member n1
        assert (len(names), {"n1", "n2", "n3"} - set(names)) == (4, set())
        assert len({live(node).status.cluster_id for node in found}) == 2
        codes = {finding.code for finding in contradictions(Evidence("/service", found))}
        assert "RECOVERY_TWO_CLUSTERS" in codes


def test_a_login_that_needs_quorum_leaves_the_status_and_says_what_is_missing(etcd: EtcdCluster) -> None:
    want_logins(Connector()(etcd.client_url(1), 3), "s3cret")
    login = {"username": "root", "password": "s3cret"}
    assert [kv.value for kv in live(nodes(*look(etcd.client_url(1), **login))["n1"]).keys] == ["pg1"]
    etcd.kill(2)
    etcd.kill(3)
    (found,) = [node for node in nodes(*look(etcd.client_url(1), **login)).values() if node.answers]
    # Newer versions want a login even for the status (since 3.5.28, for CVE-2026-33413).
    told = [found.live] if found.live else []
    assert [(one.quorate, one.keys) for one in told] == [(False, ())] * len(told)
    assert ("Patroni's keys can't be read" if told else "it runs, but tells nothing") in found.problem
    assert "s3cret" not in found.problem
