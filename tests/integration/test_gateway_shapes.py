"""How etcd's gateway words its refusals: HTTP status, JSON shape, gRPC code and message, by version.

docs/reference.md has the same as a table. The client goes by words first and by the gRPC code second, so it
is these that must not change unnoticed.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from patroni_etcd_reconfig.adapters.etcd_errors import refusal
from patroni_etcd_reconfig.core.hazards import Version, parse_version
from tests.integration.etcd_servers import EtcdCluster, etcd_cluster, etcd_version, wait_until
from tests.integration.test_etcd_client import client, leader_of, settle

pytestmark = pytest.mark.etcd

NOBODY = {"ID": "12345"}
FREE_URL = "http://127.0.0.1:2"  # not what `settle` adds: an id can't be used twice within a second
KEY = {"key": base64.b64encode(b"a").decode()}
NOT_FOR_LEARNERS = "etcdserver: rpc not supported for learner"
EMPTY, DENIED = "etcdserver: user name is empty", "etcdserver: permission denied"
# gRPC codes that the gateway turns into the same HTTP status in every version. Of 9, FailedPrecondition,
# 3.4 makes 412, later ones 400.
HTTP = {2: 500, 3: 400, 5: 404, 7: 403, 14: 503, 16: 401}


@dataclass(frozen=True)
class Said:
    """One answer. `keys` are those of the outermost object and, of a streaming call, of its error."""

    status: int
    text: str

    @property
    def refusal(self) -> tuple[str, int] | None:
        """Return message and code as our client takes them out."""
        return refusal(self.text.encode())

    @property
    def keys(self) -> tuple[set[str], set[str]]:
        """Return the keys of the object, and of the error in it."""
        data: dict[str, Any] = json.loads(self.text)
        inner = data.get("error")
        return set(data), set(inner) if isinstance(inner, dict) else set()


def ask(url: str, path: str, body: object, token: str = "") -> Said:
    """Send one call and read the first line of the answer."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/v3/{path}", data)  # noqa: S310 - our own server
    if token:
        request.add_header("authorization", token)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return Said(response.status, response.readline().decode())
    except HTTPError as error:
        return Said(error.code, error.read().decode())


@pytest.fixture(scope="module")
def cluster(etcd_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Give three voters with settled connections, and a learner on node 4."""
    with etcd_cluster(tmp_path_factory.mktemp("shapes"), 3, etcd_dir=etcd_dir) as made:
        settle(made)
        client(made, leader_of(made)).add_learner((made.peer_url(4),))
        made.configure(4, state="existing", members=(1, 2, 3, 4))
        made.start(4)
        wait_until(lambda: client(made, 4).status().is_learner, 20, "the learner to run")
        yield made


@pytest.fixture(scope="module")
def version(etcd_dir: Path) -> Version:
    """Give the version under test."""
    found = parse_version(etcd_version(etcd_dir))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def leader(cluster: EtcdCluster) -> str:
    """Give the leader's URL."""
    return cluster.client_url(leader_of(cluster))


def assert_refused(said: Said, version: Version, code: int, message: str) -> None:
    """A unary call: the words and the code are at the top."""
    assert said.refusal == (message, code)
    assert said.status == (HTTP | {9: 412 if version < (3, 5, 0) else 400})[code]
    outer, _ = said.keys
    assert outer >= {"code", "message"}
    assert outer <= {"code", "message", "error"}
    if version < (3, 5, 2):
        assert "error" in outer
    if version >= (3, 5, 30):
        assert "error" not in outer


def assert_stream_refused(said: Said, version: Version, code: int, message: str, status: int) -> None:
    """A streaming call: the same, nested."""
    assert said.refusal == (message, code)
    assert said.status == status
    outer, inner = said.keys
    assert outer == {"error"}
    assert "message" in inner
    assert ("grpc_code" in inner) != ("code" in inner)
    if version >= (3, 5, 30):
        assert inner == {"code", "message"}


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        ("cluster/member/remove", NOBODY, 5, "etcdserver: member not found"),
        ("cluster/member/promote", NOBODY, 5, "etcdserver: member not found"),
        ("maintenance/transfer-leadership", {"targetID": "12345"}, 9, "etcdserver: bad leader transferee"),
        ("lease/revoke", {"ID": "77"}, 5, "etcdserver: requested lease not found"),
        (
            "cluster/member/add",
            {"peerURLs": [FREE_URL], "isLearner": True},
            9,
            "etcdserver: too many learner members in cluster",
        ),
    ],
)
def test_a_leader_words_its_refusals_alike_in_all_versions(
    leader: str, version: Version, path: str, body: object, code: int, message: str
) -> None:
    assert_refused(ask(leader, path, body), version, code, message)


def test_a_peer_url_that_is_taken_and_a_voter_that_can_not_be_promoted(
    cluster: EtcdCluster, leader: str, version: Version
) -> None:
    taken = ask(leader, "cluster/member/add", {"peerURLs": [cluster.peer_url(1)]})
    assert_refused(taken, version, 9, "etcdserver: Peer URLs already exists")
    voter = client(cluster).status().member_id
    promoted = ask(leader, "cluster/member/promote", {"ID": str(voter)})
    assert_refused(promoted, version, 9, "etcdserver: can only promote a learner member")


def test_a_follower_does_not_move_leadership(cluster: EtcdCluster, version: Version) -> None:
    follower = next(i for i in cluster.nodes if i != leader_of(cluster))
    target = {"targetID": str(client(cluster, follower).status().member_id)}
    said = ask(cluster.client_url(follower), "maintenance/transfer-leadership", target)
    assert_refused(said, version, 9, "etcdserver: not leader")


@pytest.mark.parametrize(
    ("path", "body"), [("kv/range", KEY), ("kv/put", {**KEY, "value": ""}), ("cluster/member/list", {})]
)
def test_a_learner_is_unavailable_before_36_and_a_failed_precondition_since(
    cluster: EtcdCluster, version: Version, path: str, body: object
) -> None:
    said = ask(cluster.client_url(4), path, body)
    assert_refused(said, version, 14 if version < (3, 6, 0) else 9, NOT_FOR_LEARNERS)


@pytest.mark.parametrize(
    ("path", "body"), [("lease/keepalive", {"ID": "77"}), ("watch", {"create_request": KEY})]
)
def test_a_learner_refuses_streams_in_the_nested_shape(
    cluster: EtcdCluster, version: Version, path: str, body: object
) -> None:
    said = ask(cluster.client_url(4), path, body)
    before = version < (3, 6, 0)
    assert_stream_refused(said, version, 14 if before else 9, NOT_FOR_LEARNERS, 503 if before else 400)


def test_a_call_that_does_not_exist_is_a_404_in_text_or_json(leader: str, version: Version) -> None:
    said = ask(leader, "nothing", {})
    assert said.status == 404
    assert said.refusal in (None, ("Not Found", 5))
    if version >= (3, 5, 30):
        assert said.refusal == ("Not Found", 5)


def test_a_learner_that_never_ran_is_not_in_sync_and_a_young_cluster_is_unhealthy(
    etcd_dir: Path, tmp_path: Path, version: Version
) -> None:
    with etcd_cluster(tmp_path, 3, etcd_dir=etcd_dir) as fresh:
        url = fresh.client_url(leader_of(fresh))
        early = ask(url, "cluster/member/add", {"peerURLs": [FREE_URL], "isLearner": True})
        assert_refused(early, version, 14, "etcdserver: unhealthy cluster")
        settle(fresh)
        learner = client(fresh, leader_of(fresh)).add_learner((FREE_URL,))
        said = ask(url, "cluster/member/promote", {"ID": str(learner.id)})
        message = "etcdserver: can only promote a learner member which is in sync with leader"
        assert_refused(said, version, 9, message)


def test_logins_and_rights(etcd_dir: Path, tmp_path: Path, version: Version) -> None:
    with etcd_cluster(tmp_path, 1, etcd_dir=etcd_dir) as one:
        url = one.client_url(1)
        token = _with_a_user(url)
        wrong = ask(url, "auth/authenticate", {"name": "u", "password": "y"})
        message = "etcdserver: authentication failed, invalid user ID or password"
        assert_refused(wrong, version, 3, message)
        assert_refused(ask(url, "kv/range", KEY), version, 3, EMPTY)
        assert_refused(ask(url, "kv/range", KEY, "bad"), version, 16, "etcdserver: invalid auth token")
        assert_refused(ask(url, "kv/range", KEY, token), version, 7, DENIED)
        assert_refused(ask(url, "cluster/member/remove", NOBODY), version, 3, EMPTY)
        assert_refused(ask(url, "cluster/member/remove", NOBODY, token), version, 7, DENIED)
        snapshot = ask(url, "maintenance/snapshot", {}, token)
        old = version < (3, 6, 0)
        words = "auth: permission denied" if old else DENIED
        assert_stream_refused(snapshot, version, 2 if old else 7, words, 500 if old else 403)


def _with_a_user(url: str) -> str:
    """Turn auth on, and return the token of a user without rights."""
    for path, body in (
        ("auth/user/add", {"name": "root", "password": "x"}),
        ("auth/user/add", {"name": "u", "password": "x"}),
        ("auth/role/add", {"name": "root"}),
        ("auth/user/grant", {"user": "root", "role": "root"}),
        ("auth/enable", {}),
    ):
        assert ask(url, path, body).status == 200, path
    answer = ask(url, "auth/authenticate", {"name": "u", "password": "x"})
    token: str = json.loads(answer.text)["token"]
    return token
