"""One look at a cluster: complete and true as far as can be, and over in time whatever members do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from patroni_etcd_reconfig.clock import SystemClock, wait_until
from patroni_etcd_reconfig.core.model import EtcdView, Health, Member, MemberStatus
from patroni_etcd_reconfig.core.quorum import failure_tolerance
from patroni_etcd_reconfig.errors import (
    AuthFailedError,
    ConfigError,
    EtcdError,
    ExitCode,
    NotEtcdError,
    UnreachableError,
)
from patroni_etcd_reconfig.observe.etcd import EtcdObserver
from tests.core.builders import CLUSTER, IDS
from tests.fake_etcd import FakeEtcd, Process, client_url, peer_url, switchboard

DEADLINE = 0.2
SLACK = 0.5  # for a busy machine


@pytest.fixture
def etcd() -> FakeEtcd:
    return FakeEtcd("a", "b", "c")


def observer(*clusters: FakeEtcd, seeds: str = "abc") -> EtcdObserver:
    """Return an observer that was given these members' URLs."""
    return EtcdObserver(switchboard(*clusters), tuple(map(client_url, seeds)), DEADLINE)


def health(view: EtcdView) -> dict[str, Health]:
    """Return the members' health by name."""
    return {member.member.name: member.health for member in view.members}


def fail_everything(etcd: FakeEtcd, make: Callable[[], EtcdError], *calls: str) -> None:
    """Let these calls fail for ever."""

    def before(call: str) -> None:
        if call in calls:
            raise make()

    etcd.before = before


def test_a_healthy_cluster_is_seen_whole(etcd: FakeEtcd) -> None:
    view = observer(etcd).look()
    assert [member.member.name for member in view.members] == ["a", "b", "c"]
    assert set(health(view).values()) == {Health.HEALTHY}
    assert (view.cluster_id, view.leader_id, view.linearizable) == (CLUSTER, IDS["a"], True)
    assert view.revision == etcd.revision
    assert all(member.connected_to is None for member in view.members)


def test_one_seed_is_enough_to_find_every_member(etcd: FakeEtcd) -> None:
    assert set(health(observer(etcd, seeds="c").look()).values()) == {Health.HEALTHY}


def test_members_are_asked_once_per_look_whatever_leads_to_them(etcd: FakeEtcd) -> None:
    observer(etcd).look()
    assert etcd.called("status") == 3


def hide(etcd: FakeEtcd, name: str, *, behind: str) -> None:
    """Let a member advertise the URLs of others, and listen where it did."""
    urls = tuple(map(client_url, behind))
    etcd.members[IDS[name]] = replace(etcd.members[IDS[name]], client_urls=urls)


def test_a_member_that_hides_behind_the_urls_of_others_is_asked_at_its_address(etcd: FakeEtcd) -> None:
    hide(etcd, "c", behind="ab")
    blind = observer(etcd, seeds="a").look()
    assert health(blind)["c"] is Health.UNREACHABLE
    knowing = observer(etcd, seeds="a")
    knowing.addresses = {name: (client_url(name),) for name in "abc"}
    for _ in range(2):  # also when it asks whom it knows
        view = knowing.look()
        assert set(health(view).values()) == {Health.HEALTHY}
        assert [member.endpoint for member in view.members] == [client_url(name) for name in "abc"]
        assert view.members[2].member.client_urls == (client_url("a"), client_url("b"))


def test_a_hidden_member_that_is_down_is_not_taken_for_the_one_that_answers_at_its_urls(
    etcd: FakeEtcd,
) -> None:
    hide(etcd, "c", behind="ab")
    etcd.process("c").up = False
    knowing = observer(etcd)
    knowing.addresses = {"c": (client_url("c"),)}
    view = knowing.look().members[2]
    assert view.health is Health.UNREACHABLE
    assert "answers there instead" not in view.error


def test_an_address_of_a_member_that_does_not_hide_is_not_asked(etcd: FakeEtcd) -> None:
    knowing = observer(etcd)
    knowing.addresses = {"c": ("http://elsewhere:2379",)}
    assert set(health(knowing.look()).values()) == {Health.HEALTHY}


def test_connections_are_read_when_asked_for(etcd: FakeEtcd) -> None:
    view = observer(etcd).look(connections=True)
    assert view.members[0].connected_to == frozenset({IDS["b"], IDS["c"]})


def test_a_member_that_is_down_is_unreachable_and_says_why(etcd: FakeEtcd) -> None:
    etcd.process("b").up = False
    view = observer(etcd).look()
    assert health(view) == {"a": Health.HEALTHY, "b": Health.UNREACHABLE, "c": Health.HEALTHY}
    assert view.members[1].error == "Connection refused"
    assert failure_tolerance(view) == 0


@pytest.mark.parametrize("seeds", ["abc", "b", "a"])
def test_a_leader_that_is_down_is_not_shown_as_leader(etcd: FakeEtcd, seeds: str) -> None:
    etcd.process("a").up = False
    if seeds == "a":
        with pytest.raises(UnreachableError):
            observer(etcd, seeds=seeds).look()
        return
    view = observer(etcd, seeds=seeds).look()
    assert view.leader_id in (IDS["b"], IDS["c"])


def test_a_hung_member_does_not_hold_the_look_up(etcd: FakeEtcd) -> None:
    etcd.process("b").hung, etcd.real_hang = True, 5.0
    watch = observer(etcd)
    watch.connect = lambda url, timeout: etcd.connect(url, 5.0)  # a client that overruns its timeout
    began = time.monotonic()
    view = watch.look()
    assert time.monotonic() - began < DEADLINE + SLACK
    assert health(view) == {"a": Health.HEALTHY, "b": Health.UNREACHABLE, "c": Health.HEALTHY}
    assert view.members[1].error == "no answer in time"


def test_without_quorum_members_and_their_state_are_shown_all_the_same(etcd: FakeEtcd) -> None:
    etcd.process("b").up = etcd.process("c").up = False
    view = observer(etcd).look()
    assert health(view) == {"a": Health.UNHEALTHY, "b": Health.UNREACHABLE, "c": Health.UNREACHABLE}
    assert (view.linearizable, view.leader_id, view.leader) == (False, None, None)
    assert failure_tolerance(view) < 0


def test_a_look_after_quorum_was_lost_lists_the_members_and_ends_in_time(etcd: FakeEtcd) -> None:
    watch = observer(etcd)
    watch.look()
    etcd.process("b").up = etcd.process("c").up = False
    etcd.real_hang = 5.0
    for _ in range(2):
        began = time.monotonic()
        view = watch.look()
        assert time.monotonic() - began < 2 * DEADLINE + SLACK
        assert [member.member.name for member in view.members] == ["a", "b", "c"]
        assert not view.linearizable


def test_a_cluster_that_comes_back_is_seen_healthy_again(etcd: FakeEtcd) -> None:
    watch = observer(etcd)
    etcd.process("b").up = etcd.process("c").up = False
    watch.look()
    etcd.process("b").up = etcd.process("c").up = True
    assert set(health(watch.look()).values()) == {Health.HEALTHY}


def _hanging(etcd: FakeEtcd, name: str) -> EtcdObserver:
    """Return an observer that has seen this member hang in a look."""
    watch = observer(etcd)
    watch.look()
    etcd.process(name).hung = True
    etcd.real_hang = DEADLINE
    watch.look()
    return watch


def test_a_member_that_hangs_is_waited_for_once_and_not_in_every_look(etcd: FakeEtcd) -> None:
    watch = _hanging(etcd, "b")
    watch.deadline = 60.0  # waiting for it even once would show
    before, began = etcd.called("status"), time.monotonic()
    views = [watch.look() for _ in range(3)]
    assert time.monotonic() - began < watch.deadline / 2
    assert all(health(view)["b"] is Health.UNREACHABLE for view in views)
    assert all(view.members[1].error == "no answer in time" for view in views)
    assert etcd.called("status") - before == 6  # it was asked a moment ago, and is not asked again so soon


def test_a_member_that_says_nothing_is_given_up_once_the_others_have_answered(etcd: FakeEtcd) -> None:
    watch = observer(etcd)
    watch.deadline, watch.patience = 60.0, 0.1  # waiting for the deadline would show
    etcd.process("b").hung, etcd.real_hang = True, 5.0
    began = time.monotonic()
    view = watch.look()
    assert watch.patience <= time.monotonic() - began < watch.deadline / 2
    assert health(view) == {"a": Health.HEALTHY, "b": Health.UNREACHABLE, "c": Health.HEALTHY}


def test_a_member_that_has_said_something_gets_the_whole_time(etcd: FakeEtcd) -> None:
    watch = observer(etcd)
    watch.deadline, watch.patience = 10.0, 2 * DEADLINE
    slow = iter((True,))

    def before(call: str) -> None:
        if call == "range" and next(slow, False):  # one of the three: it has said its status by then
            time.sleep(2 * watch.patience)

    etcd.before = before
    assert set(health(watch.look()).values()) == {Health.HEALTHY}


def test_nobody_is_given_up_while_nobody_has_quorum(etcd: FakeEtcd) -> None:
    watch = observer(etcd)
    watch.patience = 0.0
    etcd.process("b").up = etcd.process("c").up = False
    etcd.real_hang = 5.0
    began = time.monotonic()
    watch.look()
    assert time.monotonic() - began >= watch.deadline


def test_a_member_that_hung_is_seen_again_soon_after_it_goes_on(etcd: FakeEtcd) -> None:
    watch = _hanging(etcd, "b")
    etcd.process("b").hung = False
    wait_until(
        lambda: health(watch.look())["b"] is Health.HEALTHY,
        what="b to be seen",
        seconds=3 * DEADLINE,
        clock=SystemClock(),
    )


def test_a_member_that_hung_is_asked_again_when_nobody_else_has_quorum(etcd: FakeEtcd) -> None:
    watch = _hanging(etcd, "b")
    etcd.process("b").hung = False
    etcd.process("a").up = etcd.process("c").up = False
    assert health(watch.look())["b"] is Health.UNHEALTHY


def test_the_quota_is_read_from_the_metrics_where_the_status_does_not_tell_it(etcd: FakeEtcd) -> None:
    etcd.quota = 8 * 1024**3
    silent, told = (observer(etcd).look(connections=c).members[0].status for c in (False, True))
    assert silent is not None
    assert silent.db_size_quota is None
    assert told is not None
    assert told.db_size_quota == 8 * 1024**3


def test_a_member_that_was_added_is_found_by_the_next_look(etcd: FakeEtcd) -> None:
    watch = observer(etcd)
    watch.look()
    etcd.connect(client_url("a"), 1).add_learner((peer_url("d"),))
    etcd.start("d")
    view = watch.look()
    assert health(view)["d"] is Health.HEALTHY


def test_known_members_are_found_when_no_seed_is_a_member_any_more(etcd: FakeEtcd) -> None:
    watch = observer(etcd, seeds="c")
    watch.look()
    etcd.connect(client_url("a"), 1).remove_member(IDS["c"])
    assert health(watch.look()) == {"a": Health.HEALTHY, "b": Health.HEALTHY}


def test_a_learner_that_never_ran_is_unstarted_and_last(etcd: FakeEtcd) -> None:
    etcd.connect(client_url("a"), 1).add_learner((peer_url("aa"),))
    view = observer(etcd).look()
    assert view.members[-1].health is Health.UNSTARTED
    assert view.learners == view.members[-1:]


def test_a_learner_that_runs_is_healthy_although_it_serves_no_reads(etcd: FakeEtcd) -> None:
    etcd.connect(client_url("a"), 1).add_learner((peer_url("d"),))
    etcd.start("d")
    view = observer(etcd).look()
    assert (view.members[3].health, view.members[3].serves_reads) == (Health.HEALTHY, False)
    assert view.members[3].status is not None
    assert view.members[3].status.is_learner


def test_a_learner_as_only_seed_leads_to_nobody(etcd: FakeEtcd) -> None:
    etcd.connect(client_url("a"), 1).add_learner((peer_url("d"),))
    etcd.start("d")
    with pytest.raises(UnreachableError):
        observer(etcd, seeds="d").look()


def test_a_url_that_another_member_answers_is_said_to_be_anothers(etcd: FakeEtcd) -> None:
    etcd.at[client_url("b")] = etcd.process("c")
    view = observer(etcd).look()
    assert view.members[1].health is Health.UNREACHABLE
    assert view.members[1].error == "member c answers there instead"
    assert health(view)["c"] is Health.HEALTHY


def test_a_member_that_runs_in_another_cluster_is_not_counted(etcd: FakeEtcd) -> None:
    etcd.process("b").sees = MemberStatus(0xBAD, IDS["b"], "3.4.23", 1, None, 9, 1, 1)
    view = observer(etcd).look()
    assert view.members[1].error == "belongs to another cluster, bad"
    assert view.members[1].status is None
    assert view.leader_id == IDS["a"]


def test_seeds_of_two_clusters_are_refused_by_name(etcd: FakeEtcd) -> None:
    other = FakeEtcd("d", "e", "f", cluster_id=0xC2)
    with pytest.raises(ConfigError) as caught:
        observer(etcd, other, seeds="ad").look()
    assert (caught.value.code, caught.value.exit_code) == ("TWO_CLUSTERS", ExitCode.USAGE)
    assert all(word in caught.value.message for word in ("c1", "c2", client_url("a"), client_url("d")))


def test_when_nobody_answers_every_endpoint_is_named(etcd: FakeEtcd) -> None:
    for name in "abc":
        etcd.process(name).up = False
    with pytest.raises(UnreachableError) as caught:
        observer(etcd).look()
    assert all(client_url(name) in caught.value.message for name in "abc")
    assert caught.value.hint


@pytest.mark.parametrize("kind", [AuthFailedError, NotEtcdError])
def test_the_error_that_tells_most_is_the_one_that_is_told(etcd: FakeEtcd, kind: type[EtcdError]) -> None:
    etcd.process("a").up = False
    fail_everything(etcd, lambda: kind("what the server says"), "status")
    with pytest.raises(kind, match="what the server says"):
        observer(etcd).look()


def test_wrong_credentials_are_told_even_where_lists_need_none(etcd: FakeEtcd) -> None:
    fail_everything(etcd, lambda: AuthFailedError("invalid user ID or password"), "range")
    with pytest.raises(AuthFailedError):
        observer(etcd).look()


def test_one_member_that_refuses_the_login_does_not_hide_the_others(etcd: FakeEtcd) -> None:
    etcd.refusals["range"] = [AuthFailedError("invalid auth token")]
    view = observer(etcd).look()
    assert sorted(health(view).values()) == [Health.HEALTHY, Health.HEALTHY, Health.UNHEALTHY]


def test_an_alarm_is_shown_at_the_member_that_it_is_about(etcd: FakeEtcd) -> None:
    etcd.raise_alarm("b", "NOSPACE")
    view = observer(etcd).look()
    assert [member.alarms for member in view.members] == [(), ("NOSPACE",), ()]
    assert health(view)["b"] is Health.UNHEALTHY


def test_two_alarms_about_one_member_are_both_shown(etcd: FakeEtcd) -> None:
    etcd.raise_alarm("c", "NOSPACE")
    etcd.raise_alarm("c", "CORRUPT")
    assert observer(etcd).look().members[2].alarms == ("NOSPACE", "CORRUPT")


def test_the_list_of_a_member_with_quorum_wins_over_a_stale_one(etcd: FakeEtcd) -> None:
    stale = FakeEtcd("a", "b", "c")  # what c saw before it was cut off: d was not there yet
    stale.process("a").up = stale.process("b").up = False
    stale.term, stale.extra_entries = 1, 500
    etcd.members[IDS["d"]] = Member(IDS["d"], "d", (peer_url("d"),), (client_url("d"),))
    etcd.at[client_url("d")] = Process(IDS["d"])
    del etcd.at[client_url("c")]
    del stale.at[client_url("a")], stale.at[client_url("b")]
    view = observer(etcd, stale, seeds="ca").look()
    assert sorted(health(view)) == ["a", "b", "c", "d"]
    assert health(view)["c"] is Health.UNHEALTHY


def came_back(etcd: FakeEtcd) -> FakeEtcd:
    """Return the old cluster of a, b and c, of which only b and c run; a alone goes on as `etcd`."""
    old = FakeEtcd("a", "b", "c")
    old.process("a").up = False
    for name in "bc":
        del etcd.members[IDS[name]], etcd.at[client_url(name)]
    del old.at[client_url("a")]
    return old


@pytest.mark.parametrize("entries", [0, 500])
def test_old_members_that_came_back_after_a_recovery_are_strangers(etcd: FakeEtcd, entries: int) -> None:
    old = came_back(etcd)
    old.extra_entries = entries
    view = observer(etcd, old).look()
    assert list(health(view)) == ["a"]
    assert [(s.name, s.member_id, s.serves_reads) for s in view.strangers] == [
        ("b", IDS["b"], True),
        ("c", IDS["c"], True),
    ]


def test_one_old_member_has_no_majority_of_its_own(etcd: FakeEtcd) -> None:
    old = came_back(etcd)
    old.process("c").up = False
    view = observer(etcd, old).look()
    assert [(s.name, s.serves_reads, s.url) for s in view.strangers] == [("b", False, client_url("b"))]


def test_a_member_in_another_cluster_is_a_stranger_and_a_healthy_cluster_has_none(etcd: FakeEtcd) -> None:
    assert observer(etcd).look().strangers == ()
    etcd.process("b").sees = MemberStatus(0xBAD, IDS["b"], "3.4.23", 1, None, 9, 1, 1)
    (stranger,) = observer(etcd).look().strangers
    assert (stranger.cluster_id, stranger.member_id) == (0xBAD, IDS["b"])


def test_a_candidate_that_is_cut_off_does_not_hide_the_leader(etcd: FakeEtcd) -> None:
    status = etcd.connect(client_url("c"), 1).status()
    # etcd 3.4 without --pre-vote: each vain election raises the term.
    etcd.process("c").sees = replace(status, raft_term=99, leader_id=None, errors=("etcdserver: no leader",))
    assert observer(etcd).look().leader_id == IDS["a"]
