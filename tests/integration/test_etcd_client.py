"""The client against real etcd servers: every call, and every refusal that can be had quickly."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import time
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pytest

from patroni_etcd_reconfig.adapters.etcd_client import Connector, EtcdClient
from patroni_etcd_reconfig.core.model import Alarm, DataDir
from patroni_etcd_reconfig.core.wal import read_identity
from patroni_etcd_reconfig.errors import (
    AuthFailedError,
    EtcdError,
    EtcdTimeoutError,
    EtcdUnreachableError,
    GatewayOffError,
    LearnerNotReadyError,
    MemberNotFoundError,
    MemberNotLearnerError,
    NoLeaderError,
    NotEtcdError,
    NotLeaderError,
    NotSupportedError,
    PeerUrlExistsError,
    RequestTimedOutError,
    TooManyLearnersError,
    UnhealthyClusterError,
)
from tests.integration.etcd_servers import EtcdCluster, etcd_cluster, wait_until, want_logins

pytestmark = pytest.mark.etcd

TIMEOUT = 5.0
SETTLED = 15.0  # the strict check wants connections that are 5 s old


@pytest.fixture(scope="module")
def three(etcd_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Give three members that all tests of this file share, and leave as they found them."""
    with etcd_cluster(tmp_path_factory.mktemp("three"), 3, etcd_dir=etcd_dir) as cluster:
        yield cluster


@pytest.fixture
def fresh(etcd_dir: Path, tmp_path: Path) -> Iterator[EtcdCluster]:
    """Give three members that were started just now, to break at will."""
    with etcd_cluster(tmp_path, 3, etcd_dir=etcd_dir) as cluster:
        yield cluster


@pytest.fixture
def single(etcd_dir: Path, tmp_path: Path) -> Iterator[EtcdCluster]:
    """Give a cluster of one member, to break at will."""
    with etcd_cluster(tmp_path, 1, etcd_dir=etcd_dir) as cluster:
        yield cluster


def client(cluster: EtcdCluster, i: int = 1, seconds: float = TIMEOUT) -> EtcdClient:
    """Return a client for a node, without login."""
    return Connector()(cluster.client_url(i), seconds)


def leader_of(cluster: EtcdCluster) -> int:
    """Return the number of the node that leads."""

    def leading() -> list[int]:
        statuses = {i: client(cluster, i).status() for i in cluster.running}
        return [i for i, status in statuses.items() if status.leader_id == status.member_id]

    wait_until(lambda: len(leading()) == 1, 10, "one leader")
    return leading()[0]


def settle(cluster: EtcdCluster) -> None:
    """Wait until the strict reconfiguration check lets a learner be added, and take it away again."""

    def accepts() -> bool:
        etcd = client(cluster, leader_of(cluster))
        etcd.remove_member(etcd.add_learner(("http://127.0.0.1:1",)).id)
        return True

    wait_until(accepts, SETTLED, "settled connections")


# What every member answers


def test_status_and_member_list_agree_on_who_is_who(three: EtcdCluster, etcd_dir: Path) -> None:
    listed = client(three).member_list()
    status = client(three).status()
    assert {member.name for member in listed.members} == {"n1", "n2", "n3"}
    assert (listed.cluster_id, listed.answered_by) == (status.cluster_id, status.member_id)
    assert status.leader_id in {member.id for member in listed.members}
    assert status.db_size > 0
    assert status.raft_applied_index <= status.raft_index
    assert not status.errors
    assert not status.is_learner


def test_the_member_list_has_urls_and_names(three: EtcdCluster) -> None:
    for member in client(three).member_list().members:
        i = int(member.name[1:])
        assert member.peer_urls == (three.peer_url(i),)
        assert member.client_urls == (three.client_url(i),)
        assert member.started
        assert not member.is_learner


def _connected(member: EtcdClient) -> frozenset[int]:
    metrics = member.metrics()
    return metrics.connected if metrics else frozenset()


def test_connected_peers_are_the_other_members(three: EtcdCluster) -> None:
    ids = {member.name: member.id for member in client(three).member_list().members}
    wait_until(
        lambda: _connected(client(three)) == frozenset({ids["n2"], ids["n3"]}),
        10,
        "both peers connected",
    )
    metrics = client(three).metrics()
    assert metrics is not None
    assert metrics.quota == 2 * 1024**3  # etcd's default
    assert metrics.sends_snapshot_to == frozenset()


def test_the_write_ahead_log_names_the_member_and_its_cluster(three: EtcdCluster) -> None:
    for i in three.nodes:
        status = client(three, i).status()
        segment = min((three.data_dir(i) / "member" / "wal").glob("*.wal"))
        with segment.open("rb") as file:
            assert read_identity(file.read(4096)) == DataDir(status.cluster_id, status.member_id)


def test_hash_kv_agrees_between_members_where_it_is_offered(three: EtcdCluster) -> None:
    revision = client(three).put("/hash", "x")
    wait_until(lambda: _reached(three, revision), 10, "every member to have the key")
    hashes = {client(three, i).hash_kv(revision) for i in three.nodes}
    assert len(hashes) == 1
    if client(three).status().version.startswith("3.4."):
        assert hashes == {None}  # upstream's 3.5.1 has no such call in its gateway either


def _reached(cluster: EtcdCluster, revision: int) -> bool:
    return all(
        client(cluster, i).range("/hash", serializable=True).revision >= revision for i in cluster.nodes
    )


# Keys and leases


def test_keys_are_written_read_and_deleted(three: EtcdCluster) -> None:
    etcd = client(three)
    first = etcd.put("/kv/a", "eins")
    assert etcd.put("/kv/b", "zwei ✓") == first + 1
    etcd.put("/kw", "not under /kv/")
    found = etcd.range("/kv/", prefix=True)
    assert [(kv.key, kv.value, kv.create_revision, kv.version) for kv in found.kvs] == [
        ("/kv/a", "eins", first, 1),
        ("/kv/b", "zwei ✓", first + 1, 1),
    ]
    assert found.revision == first + 2
    assert etcd.range("/kv/a", serializable=True).kvs[0].lease == 0
    assert {"/kv/a", "/kv/b", "/kw"} <= {kv.key for kv in etcd.range("", prefix=True).kvs}
    assert etcd.delete("/kv/", prefix=True) == 2
    assert etcd.delete("/kw") == 1
    assert etcd.delete("/kw") == 0
    assert etcd.range("/kv/", prefix=True).kvs == ()


def test_put_if_absent_creates_once_and_then_shows_the_holder(three: EtcdCluster) -> None:
    etcd = client(three)
    lease = etcd.grant_lease(60)
    assert etcd.put_if_absent("/lock", "me", lease=lease) is None
    holder = etcd.put_if_absent("/lock", "you", lease=lease)
    assert holder is not None
    assert (holder.key, holder.value, holder.lease) == ("/lock", "me", lease)
    etcd.revoke_lease(lease)
    assert etcd.range("/lock").kvs == ()


def test_a_lease_is_renewed_until_it_is_revoked(three: EtcdCluster) -> None:
    etcd = client(three)
    lease = etcd.grant_lease(60)
    left = etcd.lease_left(lease)
    assert left.ttl == 60
    assert 58 <= left.remaining <= 60
    assert etcd.keep_alive(lease) is True
    etcd.revoke_lease(lease)
    etcd.revoke_lease(lease)
    assert etcd.keep_alive(lease) is False
    assert etcd.lease_left(lease).remaining == -1


# Snapshots and alarms


def test_a_snapshot_arrives_whole_with_its_digest(three: EtcdCluster) -> None:
    etcd = client(three)
    for i in range(4):
        etcd.put(f"/big/{i}", "x" * 500_000)
    sink = io.BytesIO()
    info = etcd.snapshot(sink)
    content = sink.getvalue()
    assert info.size == len(content) - 32 > 2_000_000
    assert hashlib.sha256(content[:-32]).digest() == content[-32:] == bytes.fromhex(info.sha256)


def test_a_full_database_raises_an_alarm_with_its_member(etcd_dir: Path, tmp_path: Path) -> None:
    small = {"quota-backend-bytes": "100000"}
    with EtcdCluster(tmp_path, 1, etcd_dir=etcd_dir, settings=small) as cluster:
        cluster.start(1)
        etcd = client(cluster)
        wait_until(lambda: etcd.range("x").revision > 0, 20, "the member to serve")
        assert etcd.alarms() == ()
        with pytest.raises(EtcdError, match="database space exceeded"):
            for i in range(500):  # the quota looks at what is on disk, which follows within 100 ms
                etcd.put(f"/full/{i}", "x" * 50_000)
        assert etcd.alarms() == (Alarm(etcd.status().member_id, "NOSPACE"),)
        assert etcd.status().errors


# Membership


def test_a_learner_is_added_promoted_and_removed(three: EtcdCluster) -> None:
    settle(three)
    etcd = client(three, leader_of(three))
    learner = etcd.add_learner((three.peer_url(4),))
    assert learner.is_learner
    assert not learner.started
    assert learner.peer_urls == (three.peer_url(4),)
    with pytest.raises(TooManyLearnersError):
        etcd.add_learner((three.peer_url(5),))
    with pytest.raises(LearnerNotReadyError):
        etcd.promote_member(learner.id)
    _start_learner(three)
    assert client(three, 4).status().is_learner
    with pytest.raises(NotSupportedError):
        client(three, 4).member_list()
    with pytest.raises(NotSupportedError):
        client(three, 4).range("x")
    wait_until(lambda: etcd.promote_member(learner.id) is None, 10, "the learner to be promoted")  # type: ignore[func-returns-value]
    wait_until(lambda: not client(three, 4).status().is_learner, 10, "the member to know that it votes")
    wait_until(lambda: etcd.remove_member(learner.id) is None, SETTLED, "the fourth member to go")  # type: ignore[func-returns-value]
    assert len(etcd.member_list().members) == 3
    with pytest.raises(MemberNotFoundError):
        etcd.remove_member(learner.id)
    three.stop(4)


def _start_learner(cluster: EtcdCluster) -> None:
    cluster.configure(4, state="existing", members=(1, 2, 3, 4))
    cluster.start(4)
    wait_until(
        lambda: client(cluster, 4).status().leader_id is not None, 20, "the learner to follow a leader"
    )


def test_a_voter_can_not_be_promoted(three: EtcdCluster) -> None:
    etcd = client(three)
    with pytest.raises(MemberNotLearnerError):
        etcd.promote_member(etcd.status().member_id)


def test_an_id_that_is_nobodys_is_not_found(three: EtcdCluster) -> None:
    with pytest.raises(MemberNotFoundError) as caught:
        client(three).remove_member(12345)
    assert (caught.value.grpc_code, caught.value.endpoint) == (5, three.client_url(1))


def test_a_peer_url_belongs_to_one_member_only(three: EtcdCluster) -> None:
    settle(three)
    with pytest.raises(PeerUrlExistsError):
        client(three, leader_of(three)).add_learner((three.peer_url(2),))


def test_leadership_moves_when_the_leader_is_asked_and_only_then(three: EtcdCluster) -> None:
    leader = leader_of(three)
    follower = next(i for i in three.nodes if i != leader)
    target = client(three, follower).status().member_id
    with pytest.raises(NotLeaderError):
        client(three, follower).transfer_leadership(target)
    client(three, leader).transfer_leadership(target)
    assert leader_of(three) == follower
    with pytest.raises(NotLeaderError, match="bad leader transferee"):
        client(three, follower).transfer_leadership(12345)


def test_nothing_is_added_right_after_a_start(fresh: EtcdCluster) -> None:
    with pytest.raises(UnhealthyClusterError) as caught:
        client(fresh, leader_of(fresh)).add_learner((fresh.peer_url(4),))
    assert "5 s" in caught.value.hint


# What happens when members fail


def test_without_quorum_writes_end_in_our_timeout_and_status_still_works(fresh: EtcdCluster) -> None:
    fresh.kill(2)
    fresh.kill(3)
    wait_until(lambda: client(fresh).status().leader_id is None, 10, "the survivor to see no leader")
    begun = time.monotonic()
    with pytest.raises((EtcdTimeoutError, NoLeaderError)) as caught:
        client(fresh, seconds=1).put("/x", "y")
    assert time.monotonic() - begun < 1.5
    assert caught.value.outcome_unknown
    assert client(fresh).status().errors == ("etcdserver: no leader",)
    assert len(client(fresh).member_list().members) == 3
    assert client(fresh).snapshot(io.BytesIO()).size > 0
    with pytest.raises((RequestTimedOutError, NoLeaderError)):
        client(fresh, seconds=12).put("/x", "y")


def test_a_member_that_is_down_is_unreachable(single: EtcdCluster) -> None:
    etcd = client(single)
    etcd.put("/x", "y")  # leaves a connection in the pool, which the next call must not stumble over
    single.stop(1)
    with pytest.raises(EtcdUnreachableError, match="Connection refused") as caught:
        etcd.put("/x", "y")
    assert not caught.value.outcome_unknown


def test_a_frozen_member_ends_in_our_timeout(single: EtcdCluster) -> None:
    single.pause(1)
    begun = time.monotonic()
    with pytest.raises(EtcdTimeoutError) as caught:
        client(single, seconds=0.5).put("/x", "y")
    assert 0.5 <= time.monotonic() - begun < 1
    assert caught.value.outcome_unknown
    single.resume(1)
    client(single).put("/x", "z")


def test_a_web_server_on_the_port_is_not_etcd(single: EtcdCluster) -> None:
    single.stop(1)
    with HTTPServer((single.host(1), 2379), SimpleHTTPRequestHandler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            with pytest.raises(NotEtcdError):
                client(single).status()
        finally:
            server.shutdown()
            thread.join()


def test_an_etcd_whose_gateway_is_off_is_told_from_a_web_server(etcd_dir: Path, tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, 1, etcd_dir=etcd_dir, settings={"enable-grpc-gateway": "false"}) as cluster:
        cluster.start_all()
        with pytest.raises(GatewayOffError, match="gateway is off"):
            client(cluster).status()


# Logins


@pytest.fixture
def guarded(single: EtcdCluster) -> EtcdCluster:
    """Give a member with etcd's auth on and a user root."""
    etcd = client(single)
    etcd._call("auth/user/add", {"name": "app", "password": "app"}, lambda _: None)
    want_logins(etcd, "s3cret")
    return single


def login(cluster: EtcdCluster, password: str, user: str = "root") -> EtcdClient:
    """Return a client with a login, on a connector of its own."""
    return Connector(username=user, password=password)(cluster.client_url(1), TIMEOUT)


def test_the_right_password_works_and_a_missing_or_wrong_one_does_not(guarded: EtcdCluster) -> None:
    root = login(guarded, "s3cret")
    assert root.put("/x", "y") > 0
    assert root.range("/x").kvs[0].value == "y"
    assert root.snapshot(io.BytesIO()).size > 0
    with pytest.raises(MemberNotFoundError):
        root.remove_member(12345)
    with pytest.raises(AuthFailedError):
        client(guarded).put("/x", "y")
    with pytest.raises(AuthFailedError, match="invalid user ID or password") as caught:
        login(guarded, "wr0ng").put("/x", "y")
    assert "wr0ng" not in f"{caught.value!r} {caught.value} {caught.value.hint}"


def test_a_snapshot_may_be_the_first_call_of_a_login(guarded: EtcdCluster) -> None:
    assert login(guarded, "s3cret").snapshot(io.BytesIO()).size > 0


def test_a_user_without_the_root_role_may_not_change_members(guarded: EtcdCluster) -> None:
    with pytest.raises(AuthFailedError, match="permission denied") as caught:
        login(guarded, "app", user="app").remove_member(12345)
    assert "root role" in caught.value.hint


def test_a_restarted_member_is_logged_in_to_again_without_ado(guarded: EtcdCluster) -> None:
    root = login(guarded, "s3cret")
    root.put("/x", "1")
    token = root.connector.logins.tokens[root.endpoint]
    guarded.stop(1)
    guarded.start(1)
    guarded.wait_ready()
    assert root.put("/x", "2") > 0
    assert root.connector.logins.tokens[root.endpoint] != token


def test_a_login_is_carried_on_without_when_auth_was_switched_off(guarded: EtcdCluster) -> None:
    root = login(guarded, "s3cret")
    root._call("auth/disable", {}, lambda _: None)
    assert login(guarded, "s3cret").put("/x", "y") > 0
    root.connector.logins.tokens.clear()
    assert root.put("/x", "y") > 0


# TLS


def certificate(directory: Path, *hosts: str) -> tuple[str, str]:
    """Make a self-signed certificate that serves as CA, server and client; return its path and its key's."""
    cert, key = str(directory / "cert.pem"), str(directory / "key.pem")
    names = ["-subj", "/O=test", "-addext", f"subjectAltName={','.join(f'IP:{host}' for host in hosts)}"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-nodes",
        "-days",
        "2",
        *curve,
        *names,
        "-keyout",
        key,
        "-out",
        cert,
    ]
    subprocess.run(command, capture_output=True, check=True)
    return cert, key


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make certificates with")
def test_tls_wants_the_right_certificates(etcd_dir: Path, tmp_path: Path) -> None:
    with EtcdCluster(tmp_path, 1, etcd_dir=etcd_dir) as cluster:
        pem, key = certificate(tmp_path, cluster.host(1))
        url = cluster.client_url(1).replace("http:", "https:")
        misnamed = cluster.client_url(2).replace("http:", "https:")
        cluster.configure(
            1,
            listen_client_urls=f"{url},{misnamed}",
            advertise_client_urls=url,
            cert_file=pem,
            key_file=key,
            trusted_ca_file=pem,
            client_cert_auth="true",
        )
        cluster.start(1)
        good = Connector(cacert=pem, cert=pem, key=key)(url, TIMEOUT)
        wait_until(lambda: good.put("/x", "y") > 0, 20, "the member to serve")
        assert Connector(cert=pem, key=key, insecure=True)(misnamed, TIMEOUT).put("/x", "y") > 0
        assert good.snapshot(io.BytesIO()).size > 0
        with pytest.raises(EtcdUnreachableError, match="verify failed") as caught:
            Connector(cert=pem, key=key)(url, TIMEOUT).status()
        assert "`cacert`" in caught.value.hint
        with pytest.raises(EtcdUnreachableError, match="match") as caught:
            good.connector(misnamed, TIMEOUT).status()
        assert "`cacert`" in caught.value.hint
        # How a refused handshake comes to light is a race between the alert and the closed connection.
        for refused in (Connector(cacert=pem)(url, TIMEOUT), client(cluster)):
            with pytest.raises((EtcdUnreachableError, EtcdTimeoutError)) as hung_up:
                refused.status()
            assert "`cert`" in hung_up.value.hint
