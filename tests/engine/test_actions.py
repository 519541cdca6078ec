"""How steps are done: on the members the plan names, once, and only when etcd and nodes allow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from patroni_etcd_reconfig.core.changes import MemberRef, Seat, reference
from patroni_etcd_reconfig.core.model import DataDir, EtcdView, Member, Progress
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.steps import (
    AddLearner,
    AwaitSettled,
    PromoteLearner,
    ReaddressMember,
    RemoveMember,
    SaveSnapshot,
    SetDataAside,
    StartMember,
    Step,
    TransferLeadership,
    Verify,
)
from patroni_etcd_reconfig.engine.joining import MAX_STARTS
from patroni_etcd_reconfig.errors import (
    EtcdTimeoutError,
    ExitCode,
    LearnerNotReadyError,
    LearnerStalledError,
    MemberNotFoundError,
    MembershipError,
    NodeControlError,
    NotEnoughStartedError,
    StepFailedError,
    TooManyLearnersError,
    UnhealthyClusterError,
)
from patroni_etcd_reconfig.ports import HashKv
from tests.core.builders import CLUSTER, IDS
from tests.fake_etcd import DATABASE, Process, client_url, peer_url

from .rig import OPERATION, Rig, seat

A, B, C, D = IDS["a"], IDS["b"], IDS["c"], IDS["d"]
FOLLOWERS = pytest.mark.parametrize("name", ["b", "c"])


@pytest.fixture
def rig() -> Rig:
    return Rig("a", "b", "c")


def on_call(rig: Rig, name: str, do: Callable[[], None]) -> None:
    """Do something right before the first call of this name."""
    left = [do]
    rig.etcd.before = lambda call: left.pop()() if call == name and left else None


# Remove


@FOLLOWERS
def test_a_member_is_removed_by_its_id(rig: Rig, name: str) -> None:
    assert rig.act(RemoveMember(rig.ref(name))) == {"removed": f"{IDS[name]:x}"}
    assert IDS[name] not in rig.etcd.members


def test_a_member_that_is_gone_already_counts_as_removed(rig: Rig) -> None:
    ref = rig.ref("c")
    rig.remove("c")
    assert rig.act(RemoveMember(ref)) == {"removed": "c"}
    assert rig.etcd.called("remove_member") == 0


@pytest.mark.parametrize(
    "ref", [MemberRef(C, "other", (peer_url("c"),)), MemberRef(C, "c", (peer_url("elsewhere"),))]
)
def test_a_member_with_another_name_or_url_than_planned_is_left_alone(rig: Rig, ref: MemberRef) -> None:
    with pytest.raises(MembershipError, match="the plan says") as caught:
        rig.act(RemoveMember(ref))
    assert caught.value.exit_code is ExitCode.STEP_FAILED
    assert rig.etcd.called("remove_member") == 0


def test_a_learner_that_never_started_has_no_name_to_disagree_with(rig: Rig) -> None:
    rig.vacate("c")
    learner = next(m for m in rig.etcd.members.values() if m.is_learner)
    rig.act(RemoveMember(MemberRef(learner.id, "c", learner.peer_urls)))
    assert learner.id not in rig.etcd.members


def test_removal_waits_for_etcds_five_seconds(rig: Rig) -> None:
    rig.etcd.process("b").connected_since = rig.clock.now
    rig.act(RemoveMember(rig.ref("c")))
    assert C not in rig.etcd.members
    assert 5 <= rig.clock.now - 1000 < 6
    assert rig.etcd.called("remove_member") > 1


def test_a_removal_refused_to_the_end_is_told_in_etcds_words(rig: Rig) -> None:
    rig.etcd.process("b").connected_since = 1e9
    with pytest.raises(UnhealthyClusterError, match="unhealthy cluster") as caught:
        rig.act(RemoveMember(rig.ref("c")))
    assert caught.value.exit_code is ExitCode.STEP_FAILED
    assert C in rig.etcd.members
    assert rig.clock.now - 1000 >= rig.policy.step_timeout


def test_the_list_is_read_again_before_every_attempt(rig: Rig) -> None:
    rig.etcd.refusals["remove_member"] = [UnhealthyClusterError("etcdserver: unhealthy cluster")]
    on_call(
        rig,
        "remove_member",
        lambda: rig.etcd.members.update({C: replace(rig.etcd.members[C], name="renamed")}),
    )
    with pytest.raises(MembershipError):
        rig.act(RemoveMember(MemberRef(C, "c", (peer_url("c"),))))
    assert C in rig.etcd.members


def test_a_victim_that_is_elected_while_etcd_refuses_is_not_removed(rig: Rig) -> None:
    rig.etcd.refusals["remove_member"] = [UnhealthyClusterError("etcdserver: unhealthy cluster")]
    on_call(rig, "remove_member", lambda: setattr(rig.etcd, "leader_id", C))
    with pytest.raises(MembershipError, match="right before the removal"):
        rig.act(RemoveMember(rig.ref("c")))
    assert C in rig.etcd.members


@pytest.mark.parametrize("back", [True, False])
def test_a_member_that_died_since_the_gate_forbids_the_removal_unless_it_is_back_at_a_second_look(
    rig: Rig, back: bool
) -> None:
    rig.etcd.process("b").up = False
    if back:
        rig.etcd.before = lambda _: setattr(rig.etcd.process("b"), "up", rig.clock.now > 1001)
        rig.act(RemoveMember(rig.ref("c")))
    else:
        with pytest.raises(MembershipError, match="no quorum now"):
            rig.act(RemoveMember(rig.ref("c")))
    assert (C in rig.etcd.members) is not back
    assert rig.etcd.called("remove_member") == back


def test_a_removal_that_no_waiting_helps_is_given_up_in_three_seconds(rig: Rig) -> None:
    rig.etcd.refusals["remove_member"] = [UnhealthyClusterError("etcdserver: unhealthy cluster")] * 999
    rig.etcd.cut = {(A, B)}
    with pytest.raises(UnhealthyClusterError, match="the leader has no connection to b") as caught:
        rig.act(RemoveMember(rig.ref("c")))
    assert "replace b" in caught.value.hint
    assert 3 <= rig.clock.now - 1000 < 3.5


def test_a_hung_victim_may_be_missing(rig: Rig) -> None:
    rig.etcd.process("c").hung = True
    refusal = UnhealthyClusterError("etcdserver: unhealthy cluster")
    rig.etcd.refusals["remove_member"] = [refusal] * 90  # until its streams time out: 5 s
    rig.act(RemoveMember(rig.ref("c")))
    assert C not in rig.etcd.members


def test_somebody_elses_removal_in_the_same_moment_is_as_good(rig: Rig) -> None:
    rig.etcd.refusals["remove_member"] = [MemberNotFoundError("etcdserver: member not found")]
    assert rig.act(RemoveMember(rig.ref("c"))) == {"removed": "c"}


@pytest.mark.parametrize("call", ["remove_member", "add_learner", "promote_member", "transfer_leadership"])
def test_a_call_whose_answer_is_lost_is_not_sent_again(rig: Rig, call: str) -> None:
    steps: dict[str, Step] = {
        "remove_member": RemoveMember(rig.ref("c")),
        "transfer_leadership": TransferLeadership(rig.ref("a")),
        "add_learner": AddLearner(seat("c")),
        "promote_member": PromoteLearner(seat("c")),
    }
    if call == "add_learner":
        rig.remove("c")
    if call == "promote_member":
        rig.vacate("c")
        rig.nodes["c"].start()
    rig.etcd.lost.add(call)
    before = rig.etcd.called(call)
    with pytest.raises(EtcdTimeoutError) as caught:
        rig.act(steps[call])
    assert caught.value.outcome_unknown
    assert rig.etcd.called(call) == before + 1


# Add


def test_a_learner_is_added_on_the_seat(rig: Rig) -> None:
    rig.remove("c")
    facts = rig.act(AddLearner(seat("c")))
    learner = rig.etcd.members[int(facts["added"], 16)]
    assert (learner.is_learner, learner.peer_urls) == (True, (peer_url("c"),))


def test_a_seat_that_is_taken_is_not_added_to(rig: Rig) -> None:
    with pytest.raises(MembershipError, match="is taken by member c"):
        rig.act(AddLearner(seat("c")))
    assert rig.etcd.called("add_learner") == 0


def test_an_id_used_up_in_the_same_second_is_asked_for_again_a_second_later(rig: Rig) -> None:
    rig.remove("c")
    rig.etcd.refusals["add_learner"] = [MemberNotFoundError("etcdserver: member not found")] * 2
    rig.act(AddLearner(seat("c")))
    assert rig.etcd.called("add_learner") == 3
    assert 1.0 <= rig.clock.now - 1000 < 1.5


def test_addition_waits_for_etcds_five_seconds(rig: Rig) -> None:
    rig.remove("c")
    rig.etcd.process("b").connected_since = rig.clock.now
    rig.act(AddLearner(seat("c")))
    assert 5 <= rig.clock.now - 1000 < 6


@pytest.mark.parametrize("back", [True, False])
def test_a_voter_that_is_down_ends_the_wait_for_an_addition_unless_it_comes_back(
    rig: Rig, back: bool
) -> None:
    rig.remove("c")
    rig.etcd.members[D] = Member(D, "d", (peer_url("d"),), (client_url("d"),))
    rig.etcd.at[client_url("d")] = Process(D, up=False)
    if back:
        rig.etcd.before = lambda _: setattr(rig.etcd.process("d"), "up", rig.clock.now > 1002)
        rig.act(AddLearner(seat("c")))
        return
    with pytest.raises(UnhealthyClusterError, match="unhealthy cluster: d is unreachable") as caught:
        rig.act(AddLearner(seat("c")))
    assert "replace d" in caught.value.hint
    assert 3 <= rig.clock.now - 1000 < 3.5


def test_an_etcd_that_would_take_a_second_learner_is_not_asked(rig: Rig) -> None:
    rig.vacate("c")
    asked = rig.etcd.called("add_learner")
    with pytest.raises(TooManyLearnersError, match="one at a time"):
        rig.act(AddLearner(seat("d")))
    assert rig.etcd.called("add_learner") == asked


def test_another_learner_is_a_refusal_at_once(rig: Rig) -> None:
    rig.vacate("c")
    with pytest.raises(TooManyLearnersError):
        rig.act(AddLearner(seat("d")))


# Leadership


def test_leadership_goes_to_the_voter_that_is_most_caught_up(rig: Rig) -> None:
    rig.etcd.process("b").lag = 5
    assert rig.act(TransferLeadership(rig.ref("a"))) == {"leader": "c"}
    assert rig.etcd.leader_id == C


def test_leadership_that_has_moved_already_is_left_where_it_is(rig: Rig) -> None:
    rig.etcd.leader_id = B
    assert rig.act(TransferLeadership(rig.ref("a"))) == {}
    assert rig.etcd.called("transfer_leadership") == 0


def test_leadership_never_goes_to_a_voter_that_is_down(rig: Rig) -> None:
    rig.etcd.process("c").up = False
    rig.etcd.process("b").lag = 500
    rig.act(TransferLeadership(rig.ref("a")))
    assert rig.etcd.leader_id == B


def test_without_a_healthy_follower_leadership_stays() -> None:
    rig = Rig("a")
    with pytest.raises(StepFailedError, match="healthy"):
        rig.act(TransferLeadership(rig.ref("a")))


def test_a_transfer_without_effect_ends_and_says_what_it_waited_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fake_etcd.FakeMember.transfer_leadership", lambda self, target: None)
    with pytest.raises(StepFailedError, match="a new raft leader"):
        rig.act(TransferLeadership(rig.ref("a")))


# Set aside


def test_the_data_of_a_removed_member_is_set_aside_under_its_id(rig: Rig) -> None:
    view = rig.nodes["c"].view
    rig.remove("c")
    rig.nodes["c"].view = view
    facts = rig.act(SetDataAside(seat("c")))
    assert facts == {"aside": [f"/data/c.c.{OPERATION}"]}
    assert (rig.nodes["c"].stops, rig.nodes["c"].view.service_active) == (1, False)


def test_data_of_nobody_knows_whom_is_set_aside_all_the_same(rig: Rig) -> None:
    rig.remove("c")
    rig.nodes["c"].view = replace(rig.nodes["c"].view, data_present=True)
    assert rig.act(SetDataAside(seat("c"))) == {"aside": [f"/data/c.unknown.{OPERATION}"]}


def test_the_data_of_a_member_is_never_set_aside(rig: Rig) -> None:
    with pytest.raises(MembershipError, match="which is a member: left alone"):
        rig.act(SetDataAside(seat("c")))
    assert rig.nodes["c"].aside == []
    assert rig.nodes["c"].view.data == DataDir(CLUSTER, C)


def test_the_service_of_a_member_is_not_stopped_either(rig: Rig) -> None:
    with pytest.raises(MembershipError):
        rig.act(SetDataAside(seat("c")))
    assert rig.nodes["c"].stops == 0


def test_a_node_that_can_not_be_read_is_left_alone(rig: Rig) -> None:
    rig.remove("c")
    rig.nodes["c"].view = replace(rig.nodes["c"].view, problem="data can't be read: Permission denied")
    with pytest.raises(StepFailedError, match="Permission denied"):
        rig.act(SetDataAside(seat("c")))
    assert rig.nodes["c"].aside == []


# Start


def test_a_start_writes_the_live_membership_and_state_existing(rig: Rig) -> None:
    rig.vacate("c")
    facts = rig.act(StartMember(seat("c")))
    settings = rig.nodes["c"].written
    assert settings["initial-cluster-state"] == "existing"
    assert settings["name"] == "c"
    assert sorted(settings["initial-cluster"].split(",")) == [f"{n}={peer_url(n)}" for n in "abc"]
    assert facts["joined"] == f"{rig.etcd.process('c').member_id:x}"
    assert facts["joined_at"] == rig.clock.now


def test_a_hidden_start_advertises_the_voters_urls_listens_on_its_own_and_is_found_there(rig: Rig) -> None:
    own = Seat("c", (peer_url("c"),), (client_url("c"),))
    rig.vacate("c")
    rig.observer.addresses = {"c": own.client_urls}
    facts = rig.act(StartMember(own, hidden=True))
    written = rig.nodes["c"].written
    assert written["advertise-client-urls"] == f"{client_url('a')},{client_url('b')}"
    assert written["listen-client-urls"] == client_url("c")
    member = rig.etcd.members[int(facts["joined"], 16)]
    assert member.client_urls == (client_url("a"), client_url("b"))
    rig.act(PromoteLearner(own))
    ref = reference(rig.etcd.members[member.id])
    rig.act(ReaddressMember(ref, own, own.client_urls, own.client_urls))
    assert rig.etcd.members[member.id].client_urls == own.client_urls
    assert (rig.nodes["c"].stops, rig.nodes["c"].starts) == (1, 2)
    assert written["listen-client-urls"] == client_url("c")


def test_a_service_that_runs_already_is_not_started_again(rig: Rig) -> None:
    rig.vacate("c")
    rig.nodes["c"].start()
    rig.act(StartMember(seat("c")))
    assert rig.nodes["c"].starts == 1


def test_a_start_that_is_reported_as_failed_is_tried_again_too(rig: Rig) -> None:
    rig.vacate("c")
    rig.nodes["c"].exits, rig.nodes["c"].complains = 2, True
    rig.act(StartMember(seat("c")))
    assert rig.nodes["c"].starts == 3


def test_a_start_that_always_fails_is_told_in_the_words_of_the_command(rig: Rig) -> None:
    rig.vacate("c")
    rig.nodes["c"].exits, rig.nodes["c"].complains = 99, True
    with pytest.raises(NodeControlError, match="exit code 1"):
        rig.act(StartMember(seat("c")))
    assert rig.nodes["c"].starts == MAX_STARTS


@pytest.mark.parametrize("exits", range(1, MAX_STARTS))
def test_a_service_that_exits_at_once_is_started_again(rig: Rig, exits: int) -> None:
    rig.vacate("c")
    rig.nodes["c"].exits = exits
    rig.act(StartMember(seat("c")))
    assert rig.nodes["c"].starts == exits + 1


def test_a_service_that_keeps_exiting_is_given_up_after_four_starts(rig: Rig) -> None:
    rig.vacate("c")
    rig.nodes["c"].exits = 99
    with pytest.raises(StepFailedError, match="exits right after its start") as caught:
        rig.act(StartMember(seat("c")))
    assert caught.value.code == "MEMBER_EXITS"
    assert rig.nodes["c"].starts == MAX_STARTS == 4
    assert rig.clock.now - 1000 < 5


def test_an_etcd_that_made_a_cluster_of_its_own_is_told_at_once_and_cleared_by_a_resume(rig: Rig) -> None:
    rig.vacate("c")
    node = rig.nodes["c"]
    own = replace(node.view, service_active=True, data_present=True, data=DataDir(0xBAD, 0x99))
    node.start = lambda: setattr(node, "view", own)  # type: ignore[method-assign]
    with pytest.raises(StepFailedError, match="made a cluster of its own, bad") as caught:
        rig.act(StartMember(seat("c")))
    assert caught.value.code == "OTHER_CLUSTER"
    assert "initial-cluster-state=new" in caught.value.hint
    assert rig.clock.now - 1000 < 1


@pytest.mark.parametrize("way", ["to", "from"])
def test_a_start_waits_until_the_member_is_connected_to_every_voter(rig: Rig, way: str) -> None:
    rig.vacate("c")
    learner = next(m.id for m in rig.etcd.members.values() if m.is_learner)
    rig.etcd.cut = {(learner, B) if way == "to" else (B, learner)}
    with pytest.raises(StepFailedError, match="c to join as a learner"):
        rig.act(StartMember(seat("c")))


def test_a_member_that_is_removed_meanwhile_ends_the_wait_at_once(rig: Rig) -> None:
    rig.remove("c")
    rig.nodes["c"].exits = 99
    with pytest.raises(StepFailedError, match="not in the member list"):
        rig.act(StartMember(seat("c")))
    assert rig.clock.now == 1000


# Promote


@pytest.fixture
def joined(rig: Rig) -> Rig:
    """Give a cluster in which c is a learner that runs and is in sync."""
    rig.vacate("c")
    rig.nodes["c"].start()
    return rig


def voting(rig: Rig) -> bool:
    """Tell whether the member on c's seat votes."""
    return rig.etcd.process("c").member_id in rig.etcd.voters()


def test_a_learner_in_sync_is_promoted_after_two_looks(joined: Rig) -> None:
    assert joined.act(PromoteLearner(seat("c"))) == {"promoted": f"{joined.etcd.process('c').member_id:x}"}
    assert voting(joined)


def test_one_look_in_sync_is_not_enough(joined: Rig) -> None:
    learner = joined.etcd.process("c")
    joined.etcd.extra_entries = 100_000

    def in_sync_at_every_second_look() -> EtcdView:
        learner.lag = 5000 - learner.lag
        return joined.look_at_links()

    joined.joining.observe_links = in_sync_at_every_second_look
    joined.joining.policy = replace(joined.policy, learner_stall=3.0)
    with pytest.raises(StepFailedError, match="no progress"):
        joined.act(PromoteLearner(seat("c")))
    assert joined.etcd.called("promote_member") == 0


def test_a_learner_that_catches_up_is_waited_for(joined: Rig) -> None:
    joined.etcd.extra_entries = 100_000
    learner = joined.etcd.process("c")
    learner.lag = 50_000

    def catch_up(call: str) -> None:
        if call == "status":
            learner.lag = max(0, learner.lag - 1000)

    joined.etcd.before = catch_up
    joined.act(PromoteLearner(seat("c")))
    assert voting(joined)


def test_a_learner_that_others_can_not_reach_is_given_up_in_words_that_say_so(joined: Rig) -> None:
    joined.etcd.cut = {(A, joined.etcd.process("c").member_id)}
    joined.joining.policy = replace(joined.policy, learner_stall=3.0)
    with pytest.raises(StepFailedError, match="can't reach it on its peer URL"):
        joined.act(PromoteLearner(seat("c")))
    assert not voting(joined)


def test_a_learner_that_makes_no_progress_is_given_up(joined: Rig) -> None:
    joined.etcd.extra_entries = 100_000
    joined.etcd.process("c").lag = 5000  # etcd's own 90 % rule would let it through
    joined.joining.policy = replace(joined.policy, learner_stall=3.0)
    with pytest.raises(StepFailedError, match="5000 entries behind the leader") as caught:
        joined.act(PromoteLearner(seat("c")))
    assert caught.value.code == "LEARNER_STALLED"
    assert not voting(joined)


def test_a_learner_that_does_not_answer_is_never_promoted(joined: Rig) -> None:
    joined.etcd.process("c").hung = True
    joined.joining.policy = replace(joined.policy, learner_stall=3.0)
    with pytest.raises(StepFailedError, match="it does not answer"):
        joined.act(PromoteLearner(seat("c")))
    assert joined.etcd.called("promote_member") == 0


def test_a_learner_that_stops_while_etcd_refuses_is_not_promoted(joined: Rig) -> None:
    joined.etcd.refusals["promote_member"] = [UnhealthyClusterError("etcdserver: unhealthy cluster")]
    on_call(joined, "promote_member", joined.nodes["c"].stop)
    with pytest.raises(StepFailedError):
        joined.act(PromoteLearner(seat("c")))
    assert not voting(joined)


@pytest.mark.parametrize("kind", [LearnerNotReadyError, UnhealthyClusterError, NotEnoughStartedError])
def test_a_definite_refusal_to_promote_is_asked_again(
    joined: Rig, kind: type[LearnerNotReadyError | UnhealthyClusterError | NotEnoughStartedError]
) -> None:
    joined.etcd.refusals["promote_member"] = [kind("etcdserver: no")] * 2
    joined.act(PromoteLearner(seat("c")))
    assert joined.etcd.called("promote_member") == 3


def test_a_member_that_votes_already_is_fine(rig: Rig) -> None:
    assert rig.act(PromoteLearner(seat("c"))) == {"promoted": "c"}
    assert rig.etcd.called("promote_member") == 0


# Settled


def test_settled_takes_five_seconds_since_it_joined(rig: Rig) -> None:
    rig.progress = Progress(joined={C: rig.clock.wall() - 2})
    assert rig.act(AwaitSettled(seat("c"))) == {"settled": "c"}
    assert 3 <= rig.clock.now - 1000 < 3.6


def test_settled_takes_all_five_seconds_when_nobody_knows_since_when(rig: Rig) -> None:
    rig.act(AwaitSettled(seat("c")))
    assert 5 <= rig.clock.now - 1000 < 5.6


def test_a_clock_that_was_set_back_does_not_make_it_wait_for_ever(rig: Rig) -> None:
    rig.progress = Progress(joined={C: rig.clock.wall() + 1e6})
    rig.act(AwaitSettled(seat("c")))
    assert rig.clock.now - 1000 < 5.6


def test_a_member_that_is_down_is_not_settled(rig: Rig) -> None:
    rig.etcd.process("c").up = False
    with pytest.raises(StepFailedError, match="c to be in sync and connected"):
        rig.act(AwaitSettled(seat("c")))


@pytest.mark.parametrize("cut", [(B, C), (C, B)], ids=["from b", "to b"])
def test_a_voter_that_is_not_connected_both_ways_is_not_settled(rig: Rig, cut: tuple[int, int]) -> None:
    rig.etcd.cut = {cut}
    with pytest.raises(StepFailedError, match="connected to every voter"):
        rig.act(AwaitSettled(seat("c")))


def test_a_member_with_another_hash_is_not_settled(rig: Rig) -> None:
    for name, value in (("a", 1), ("b", 1), ("c", 2)):
        rig.etcd.process(name).hash_kv = HashKv(value, 0)
    with pytest.raises(StepFailedError):
        rig.act(AwaitSettled(seat("c")))


# Snapshot and verification


def test_the_snapshot_has_cluster_and_operation_in_its_name(tmp_path: Path) -> None:
    rig = Rig("a", "b", "c", snapshots=tmp_path)
    facts = rig.act(SaveSnapshot(seat("b")))
    path = tmp_path / f"c1-{OPERATION}.db"
    assert facts["snapshot"] == str(path)
    assert path.read_bytes().startswith(DATABASE)
    assert rig.etcd.calls[-1] == ("snapshot", client_url("b"))


def test_a_snapshot_through_somebody_who_is_no_member_is_refused(rig: Rig) -> None:
    with pytest.raises(MembershipError):
        rig.act(SaveSnapshot(seat("z")))


def test_verify_is_done_by_the_verification(rig: Rig) -> None:
    assert rig.act(Verify()) == {"verified": True}


def test_the_policys_stall_time_is_the_one_that_counts() -> None:
    rig = Rig("a", "b", "c", policy=Policy(learner_stall=2.0))
    rig.vacate("c")
    with pytest.raises(StepFailedError, match="no progress for 2 s"):
        rig.act(PromoteLearner(seat("c")))
    assert rig.clock.now - 1000 < 3


def test_a_learner_that_had_joined_and_does_not_come_back_has_stalled(rig: Rig) -> None:
    rig.vacate("c")
    rig.act(StartMember(seat("c")))
    learner = rig.etcd.process("c")
    learner.hung = True
    rig.joining.joined = lambda: {learner.member_id}
    began = rig.clock.now
    with pytest.raises(LearnerStalledError, match="had joined, and did not answer for 60 s"):
        rig.act(StartMember(seat("c")))
    assert rig.clock.now - began >= rig.policy.learner_stall
