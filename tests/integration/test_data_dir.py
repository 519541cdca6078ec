"""Data dirs of real etcd, read while it runs, after a stop and after a kill, whole and damaged."""

from __future__ import annotations

import json
import random
import shutil
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from patroni_etcd_reconfig.adapters.commit_mark import raise_commit_mark
from patroni_etcd_reconfig.adapters.data_dir import read_data_dir, read_segments
from patroni_etcd_reconfig.adapters.etcd_client import Connector, EtcdClient
from patroni_etcd_reconfig.core.recovery.evidence import DataDirFacts
from tests.integration.etcd_servers import EtcdCluster, wait_until

pytestmark = pytest.mark.etcd
NAMESPACE = "/service"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, etcd_dir: Path) -> Iterator[EtcdCluster]:
    """Give three members after some writes and snapshots: n1 and n2 were killed, n3 was stopped in order."""
    root = tmp_path_factory.mktemp("data-dir")
    with EtcdCluster(root, 3, etcd_dir=etcd_dir, settings={"snapshot-count": "40"}) as cluster:
        cluster.start_all()
        _write(client(cluster, 1))
        (root / "status").write_text(" ".join(str(_position(cluster, i)) for i in (1, 2, 3)))
        cluster.kill(1)
        cluster.kill(2)
        cluster.stop(3)
        yield cluster


def client(cluster: EtcdCluster, i: int) -> EtcdClient:
    return Connector()(cluster.client_url(i), 3.0)


def _write(to: EtcdClient) -> None:
    for number in range(120):
        to.put(f"{NAMESPACE}/lab/members/pg{number % 3}", f"value {number}")
        to.put(f"/other/{number}", "x" * 2000)
    to.put(f"{NAMESPACE}/lab/leader", "pg1", lease=to.grant_lease(60))
    to.delete(f"{NAMESPACE}/lab/members/pg2")


def _position(cluster: EtcdCluster, i: int) -> int:
    want = client(cluster, 1).status().raft_index
    wait_until(lambda: client(cluster, i).status().raft_applied_index >= want, 10, "all to be applied")
    return client(cluster, i).status().raft_index


def facts(cluster: EtcdCluster, i: int) -> DataDirFacts:
    found = read_data_dir(cluster.data_dir(i), None, NAMESPACE)
    assert found is not None
    return found


@pytest.mark.parametrize("i", [1, 2, 3])
def test_a_stopped_member_s_data_tell_how_far_it_got(stopped: EtcdCluster, i: int) -> None:
    live = [int(word) for word in (stopped.root / "status").read_text().split()]
    found = facts(stopped, i)
    assert found.problems == ()
    assert found.last_index >= live[i - 1] >= 240
    assert found.commit <= found.last_index
    assert (found.term, found.last_term) == (2, 2)
    assert (found.is_learner, found.is_removed) == (False, False)
    assert {member.name for member in found.members} == {"n1", "n2", "n3"}
    assert found.member_id in {member.id for member in found.members}
    assert (found.last_written_at or 0) > 0


def test_patroni_s_keys_are_read_from_the_database_as_etcd_would_give_them(stopped: EtcdCluster) -> None:
    found = facts(stopped, 3)  # the others were killed: their databases may trail
    keys = {kv.key: kv for kv in found.keys}
    assert sorted(keys) == [f"{NAMESPACE}/lab/{name}" for name in ("leader", "members/pg0", "members/pg1")]
    assert keys[f"{NAMESPACE}/lab/leader"].value == "pg1"
    assert keys[f"{NAMESPACE}/lab/leader"].lease != 0
    assert keys[f"{NAMESPACE}/lab/members/pg0"].value == "value 117"
    assert keys[f"{NAMESPACE}/lab/members/pg0"].version == 40
    assert found.revision == 1 + 240 + 2


def test_a_running_member_s_data_can_be_read(stopped: EtcdCluster, etcd_dir: Path, tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, 1, etcd_dir=etcd_dir) as running:
        running.start_all()
        client(running, 1).put(f"{NAMESPACE}/x/leader", "a")
        found = facts(running, 1)
        assert found.problems == ()
        assert found.last_index >= client(running, 1).status().raft_index - 1


def test_a_learner_and_a_removed_member_are_told_from_voters(etcd_dir: Path, tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, 2, etcd_dir=etcd_dir) as cluster:
        cluster.start_all()
        wait_until(lambda: client(cluster, 1).add_learner((cluster.peer_url(3),)) is not None, 15, "5 s rule")
        cluster.configure(3, state="existing", members=(1, 2, 3))
        cluster.start(3)
        wait_until(lambda: client(cluster, 3).status().is_learner, 15, "the learner")
        ids = {member.name: member.id for member in client(cluster, 1).member_list().members}
        wait_until(lambda: facts(cluster, 3).is_learner is True, 10, "the learner's own database to say so")
        leader = client(cluster, 1).status().leader_id
        victim = 2 if ids["n1"] == leader else 1
        wait_until(lambda: _removed(client(cluster, 3 - victim), ids[f"n{victim}"]), 15, "the removal")
        removal = client(cluster, 3 - victim).status().raft_index
        wait_until(lambda: victim not in cluster.running, 20, "the removed member to end")
        # The others may turn it away before it has heard that its removal was committed.
        assert facts(cluster, victim).is_removed or facts(cluster, victim).commit < removal


def _removed(through: EtcdClient, member_id: int) -> bool:
    through.remove_member(member_id)
    return True


def test_the_revision_is_known_when_its_last_key_was_compacted(etcd_dir: Path, tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, 1, etcd_dir=etcd_dir) as cluster:
        cluster.start_all()
        client(cluster, 1).put("/gone", "x")
        client(cluster, 1).delete("/gone")
        revision = client(cluster, 1).range("/gone").revision
        _call(cluster, "kv/compaction", {"revision": str(revision), "physical": True})
        cluster.stop(1)
        assert (facts(cluster, 1).revision, facts(cluster, 1).problems) == (revision, ())


def test_a_member_with_the_alarm_corrupt_is_damaged(etcd_dir: Path, tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, 1, etcd_dir=etcd_dir) as cluster:
        cluster.start_all()
        own = client(cluster, 1).status().member_id
        for member_id, kind in ((own, "NOSPACE"), (own + 1, "CORRUPT"), (own, "CORRUPT")):
            alarm = {"action": "ACTIVATE", "memberID": str(member_id), "alarm": kind}
            _call(cluster, "maintenance/alarm", alarm)
        cluster.stop(1)
        assert facts(cluster, 1).problems == ("the alarm CORRUPT is raised for it",)


def _call(cluster: EtcdCluster, path: str, body: Mapping[str, object]) -> None:
    request = urllib.request.Request(  # noqa: S310
        f"{cluster.client_url(1)}/v3/{path}", json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        assert answer.status == 200


def test_no_data_dir_is_none(tmp_path: Path) -> None:
    assert read_data_dir(tmp_path, None, NAMESPACE) is None
    assert read_data_dir(tmp_path / "missing", None, NAMESPACE) is None


def test_a_write_ahead_log_elsewhere_is_found(stopped: EtcdCluster, tmp_path: Path) -> None:
    shutil.copytree(stopped.data_dir(3), tmp_path / "data")
    (tmp_path / "data" / "member" / "wal").rename(tmp_path / "wal")
    found = read_data_dir(tmp_path / "data", tmp_path / "wal", NAMESPACE)
    assert found is not None
    assert found.last_index == facts(stopped, 3).last_index


def test_cut_and_damaged_databases_are_named_and_the_log_is_read_all_the_same(
    stopped: EtcdCluster, tmp_path: Path
) -> None:
    shutil.copytree(stopped.data_dir(3), tmp_path / "data")
    database, good = tmp_path / "data" / "member" / "snap" / "db", facts(stopped, 3)
    whole, chance = database.read_bytes(), random.Random(3)
    for number in range(40):
        damaged = bytearray(whole[: chance.randrange(len(whole))] if number % 2 else whole)
        for _ in range(200):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        database.write_bytes(damaged)
        found = read_data_dir(tmp_path / "data", None, NAMESPACE)
        assert found is not None
        assert found.last_index == good.last_index
        assert found.problems == () or str(database) in found.problems[0]
    database.unlink()
    missing = read_data_dir(tmp_path / "data", None, NAMESPACE)
    assert missing is not None
    assert missing.problems == (f"{database}: is missing",)


def test_who_has_the_role_root_is_known_where_authentication_is_on(etcd_dir: Path, tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, 1, etcd_dir=etcd_dir) as cluster:
        cluster.start_all()
        for name in ("root", "admin", "patroni"):
            _call(cluster, "auth/user/add", {"name": name, "password": "x"})
        for name in ("app", "root"):
            _call(cluster, "auth/role/add", {"name": name})
        for user, role in (("root", "root"), ("admin", "app"), ("admin", "root"), ("patroni", "app")):
            _call(cluster, "auth/user/grant", {"user": user, "role": role})
        assert facts(cluster, 1).auth_roots is None
        _call(cluster, "auth/enable", {})
        cluster.stop(1)
        assert facts(cluster, 1).auth_roots == ("admin", "root")


def test_what_was_applied_is_marked_as_committed_and_etcd_goes_on_from_there(
    etcd_dir: Path, tmp_path: Path
) -> None:
    """Killed, a member's log can lag behind its database; the mark is raised as etcd itself writes it."""
    with EtcdCluster(tmp_path, 3, etcd_dir=etcd_dir, settings={"pre-vote": "true"}) as cluster:
        cluster.start_all()
        for number in range(40):
            client(cluster, 1).put(f"/other/{number}", "x")
        time.sleep(0.3)  # the database is written every 0.1 s
        for i in (1, 2, 3):
            cluster.kill(i)
        lagging = 0
        for i in (1, 2, 3):
            before = facts(cluster, i)
            assert before.consistent_index is not None
            odd = cluster.data_dir(i) / "member" / "wal" / "notes.wal"  # somebody's own, and the last by name
            odd.write_bytes(b"mine")
            raised = raise_commit_mark(cluster.data_dir(i), None)
            assert odd.read_bytes() == b"mine"
            odd.unlink()
            behind = before.commit < before.consistent_index
            lagging += behind
            assert raised == ((before.commit, before.consistent_index) if behind else None)
            after = facts(cluster, i)
            assert after.commit == max(before.commit, before.consistent_index)
            assert (after.term, after.vote, after.last_index) == (before.term, before.vote, before.last_index)
            assert (after.problems, after.torn_tail) == ((), False)
            assert raise_commit_mark(cluster.data_dir(i), None) is None
        assert lagging
        cluster.start_all()
        assert len(client(cluster, 2).range("/other/", prefix=True).kvs) == 40
        assert facts(cluster, 2).problems == ()


def test_a_log_that_is_torn_is_left_to_etcds_own_repair(stopped: EtcdCluster, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(stopped.data_dir(1), copy)
    last = max((copy / "member" / "wal").glob("*.wal"))
    end = read_segments(last.parent, [last.name])[0].end
    assert end is not None
    with last.open("r+b") as file:
        file.truncate(end.offset - 4)
    content = last.read_bytes()
    assert raise_commit_mark(copy, None) is None
    assert last.read_bytes() == content
