"""Every change, and every single fault at every step: the laws hold, and there is always a way on.

From every state of an undisturbed operation each fault is tried; what follows is walked to its end. The
end is "done", or "stopped": by a gate or by a wait that ended, with a remedy, and with the quorum that the
fault itself left. From where it stopped, putting right what failed leads to "done", and an abort ends, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patroni_etcd_reconfig.core.changes import (
    Change,
    Seat,
    abort_of,
    addition_of,
    cycle_of,
    cycle_with_spare,
    equality_with,
    leader_move,
    move_of,
    promotion_of,
    relocation_of,
    removal_of,
    replacement_of,
    restart_of,
    upgrade_of,
)
from patroni_etcd_reconfig.core.codec import STEP_TYPES
from patroni_etcd_reconfig.core.findings import blockers
from patroni_etcd_reconfig.core.gates import check_step
from patroni_etcd_reconfig.core.hiding import in_hiding, reveals
from patroni_etcd_reconfig.core.invariants import check_invariants
from patroni_etcd_reconfig.core.model import EtcdView, NodeView, Observation
from patroni_etcd_reconfig.core.planner import next_step
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.core.quorum import failure_tolerance
from patroni_etcd_reconfig.core.relocating import holds
from patroni_etcd_reconfig.core.steps import Step

from . import world
from .builders import GIB, IDS, etcd, learner, seen, urls, voter, voters

# docs/how-it-works.md states this number.
STATES_AT_LEAST = 165_000
IN_VAIN = "stopped in vain"
LONGEST = 120  # steps; longer than any change of seven members with one fault
POLICY = Policy()
NAMES = list(IDS)
SPARES = ["x", "y", "z"]


@dataclass
class Explorer:
    """Walks states to their ends, each state once."""

    change: Change
    ends: dict[world.Key, str] = field(default_factory=dict)
    steps: set[str] = field(default_factory=set)
    aborts: dict[Change, Explorer] = field(default_factory=dict)
    begun: frozenset[str] = frozenset()  # kinds of steps, as the journal tells an abort
    usual: str = "done"  # how it ends when nothing goes wrong
    refused: list[Observation] = field(default_factory=list)  # a step may fail there, and may not

    @property
    def states(self) -> int:
        """Return how many states were visited, those of aborts included."""
        return len(self.ends) + sum(len(aborting.ends) for aborting in self.aborts.values())

    def walk(self, start: Observation) -> tuple[str, Observation]:
        """Return how the operation ends when nothing more goes wrong, and in which state."""
        path: list[world.Key] = []
        state: Observation | None = start
        while state is not None and len(path) < LONGEST:
            key, here = world.key_of(state), state
            assert key not in path, "the operation goes round in circles"
            path.append(key)
            end, state = self._go_on(here)
            if state is None:
                self.ends.update(dict.fromkeys(path, end))
                return end, here
        raise AssertionError("the operation never ends")

    def _go_on(self, state: Observation) -> tuple[str, Observation | None]:
        step = next_step(state, self.change)
        if step is None:
            assert_reached(state, self.change)
            return "done", None
        stopping = blockers(check_step(state, step, self.change, POLICY))
        if stopping:
            assert all(finding.remedy for finding in stopping)
            return f"stopped by {stopping[0].code}", None
        self.steps.add(type(step).__name__)
        afters = world.outcomes(state, step, self.change)
        for after in afters:
            if after is not None:
                assert list(check_invariants(state, step, after, self.change)) == []
        going_on = [after for after in afters if after is not None]
        assert len(going_on) <= 1, "a second way on would not be walked"
        if going_on and None in afters:
            self.refused.append(state)
        return IN_VAIN, going_on[0] if going_on else None

    def ends_of(self, start: Observation) -> Iterator[tuple[str, Observation]]:
        """Give every end: the one when all goes on well, and where a step was refused that may be."""
        self.refused.clear()
        yield self.walk(start)
        refused, self.refused = self.refused, []
        yield from ((IN_VAIN, state) for state in refused)


def assert_reached(state: Observation, change: Change) -> None:
    """The end of a change is what it was asked for."""
    present = {view.id for view in state.etcd.members}
    assert not present & {ref.id for ref in change.victims}
    wanted = {url for seat in change.joiners for url in seat.peer_urls}
    assert {ref.id for ref in change.others if not wanted & set(ref.peer_urls)} <= present
    for seat in change.joiners:
        view = state.etcd.by_peer_urls(seat.peer_urls)
        assert view is not None
        assert view.member.is_learner == change.as_learners
        assert change.as_learners or not in_hiding(state.etcd, view, seat)
    assert {ref.id for ref in change.restarts} <= state.progress.restarted
    for to in change.relocations:
        there = {name for name, node in state.nodes.items() if holds(node, to.member)}
        assert there <= {to.target or to.member.name}, "data is where it could be started a second time"
    assert failure_tolerance(state.etcd) >= 0


def explore(start: Observation, change: Change) -> Explorer:
    """Try every single fault in every state of the operation."""
    explorer = Explorer(change)
    explorer.usual = explorer.walk(start)[0]
    for state, step in undisturbed(start, change):
        assert abort(explorer, state) == "done"
        if step is None:
            break
        begun = None if blockers(check_step(state, step, change, POLICY)) else step
        for name, disturbed in world.faults(state, begun, change):
            try:
                judge(explorer, state, disturbed)
                if "the tool" in name:
                    explorer.begun |= {type(step).__name__}
                    assert abort(explorer, disturbed) == "done"
            except AssertionError as error:
                raise AssertionError(f"{name}, before {step}: {error}") from error
        explorer.begun |= {type(step).__name__}
    return explorer


def judge(explorer: Explorer, before: Observation, disturbed: Observation) -> None:
    """After a fault all ends well, or stops where putting things right or an abort leads on."""
    if world.key_of(disturbed) in explorer.ends:
        return
    for end, last in [*explorer.ends_of(disturbed)]:
        abort(explorer, disturbed if end == "done" else last)
        if end != "done":
            judge_stop(explorer, disturbed, end, last)
    abort(explorer, disturbed)


def judge_stop(explorer: Explorer, disturbed: Observation, end: str, last: Observation) -> None:
    """Where an operation stopped, the quorum is what the fault left, and there is a way on."""
    assert failure_tolerance(last.etcd) >= min(0, failure_tolerance(disturbed.etcd))
    mended = world.repaired(last)
    if not world.lost_for_good(mended) and explorer.usual == "done":
        then = explorer.walk(mended)[0]
        # Of two voters that somebody left, one that still hides can't be restarted: an abort ends that.
        left_hidden = then == "stopped by NO_QUORUM_AFTER" and not failure_tolerance(mended.etcd)
        ends = "done" if left_hidden and abort(explorer, mended) == "done" else then
        assert ends in ("done", "stopped by MEMBERSHIP_CHANGED"), f"{end}, then {then}"
    abort(explorer, mended)


def abort(explorer: Explorer, state: Observation) -> str:
    """An abort ends, if not at once, then when what failed is put right; returns how it ended at once."""
    if failure_tolerance(state.etcd) < 0 or state.progress.verified:
        return "done"
    change = abort_of(state.etcd, explorer.change, explorer.begun)
    change = replace(change, relocations=(*change.relocations, *reveals(state.etcd, explorer.change)))
    if any(not holds(state.nodes.get(to.member.name), to.member) for to in change.taken_back):
        return "done"  # refused: from here on there is only the copy, and an abort only leads on
    aborting = explorer.aborts.setdefault(change, Explorer(change))
    end, last = aborting.walk(state)
    mended = world.repaired(last)
    if end != "done" and not world.lost_for_good(mended):
        ok = {"done"} if failure_tolerance(mended.etcd) else {"done", "stopped by NO_QUORUM_AFTER"}
        assert aborting.walk(mended)[0] in ok, f"the abort {end}, then {aborting.walk(mended)[0]}"
    return end


def undisturbed(start: Observation, change: Change) -> Iterator[tuple[Observation, Step | None]]:
    """Give every state of an operation in which nothing goes wrong, with the step that comes next."""
    state: Observation | None = start
    while state is not None:
        step = next_step(state, change)
        yield state, step
        blocked = step is None or blockers(check_step(state, step, change, POLICY))
        afters = [] if blocked or step is None else world.outcomes(state, step, change)
        state = next((after for after in afters if after is not None), None)


# The changes.


def start_of(cluster: EtcdView, change: Change | None = None) -> Observation:
    """Return the look at a healthy cluster; a change under the shield finds `failsafe_mode` off."""
    bare = replace(world.CALM, failsafe_mode=False, failsafe_setting="")
    calm = bare if change and change.shield else world.CALM
    targets = [to.target for to in change.relocations if to.target] if change else []
    spares = {name: NodeView(name, data_free_bytes=GIB) for name in (*NAMES, *SPARES, *targets)}
    base = seen(cluster, calm)
    return replace(base, nodes={**spares, **base.nodes})


def seats(*names: str) -> tuple[Seat, ...]:
    """Return the seats of these names."""
    return tuple(Seat(name, urls(name)) for name in names)


def moved(cluster: EtcdView, name: str, target: str) -> Change:
    """Return the move of a member's data to another node, or to another directory."""
    to = seats(target.partition(":")[0])[0]
    clients = () if ":" in target else (f"http://{target}:2379",)
    return move_of(cluster, name, to, clients, target=target, source_dir="/data", target_dir="/new")


def addressed(change: Change) -> Change:
    """Return the change with the seats' own client URLs, as the commands fill them in."""
    known = {seat: replace(seat, client_urls=(f"http://{seat.name}:2379",)) for seat in change.seats}
    spare = replace(change.spare, client_urls=(f"http://{change.spare.name}:2379",)) if change.spare else None
    return replace(change, joiners=tuple(known[seat] for seat in change.joiners), spare=spare)


def changes_of(cluster: EtcdView) -> Iterator[tuple[str, Change]]:
    """Give every change of a healthy cluster: whom it is about is the leader, a follower, or all."""
    names = [view.member.name for view in cluster.voters]
    leader, last = names[0], names[-1]
    for one in dict.fromkeys((leader, last)):
        yield f"cycle {one}", cycle_of(cluster, (one,))
        yield f"replace {one}", replacement_of(cluster, one, seats(one)[0])
        yield f"replace {one} --by x", replacement_of(cluster, one, seats("x")[0])
        yield f"update-urls {one}", relocation_of(cluster, one, urls("w"), ("http://w:2379",))
        yield f"restart {one}", restart_of(cluster, (one,))
        yield f"move-leader {one}", leader_move(cluster, one)
        yield f"move-data {one} --to-host x", moved(cluster, one, "x")
        yield f"move-data {one} --to-dir", moved(cluster, one, f"{one}:/new")
        if len(names) > 1:
            yield f"remove {one}", removal_of(cluster, (one,))
    yield "cycle", cycle_of(cluster, ())
    yield "cycle --spare x", cycle_with_spare(cluster, tuple(names[:2]), seats("x")[0])
    yield (
        "cycle --spare x --keep-spare",
        cycle_with_spare(cluster, tuple(names[:2]), seats("x")[0], keep=True),
    )
    yield "upgrade", upgrade_of(cluster, (), "true")
    yield "restart --shield", replace(restart_of(cluster, ()), shield=True)
    yield "restart", restart_of(cluster, ())
    yield "move-leader", leader_move(cluster, None)
    yield "add x", addition_of(cluster, seats("x"))
    yield "add x --learner", addition_of(cluster, seats("x"), as_learners=True)
    yield "apply: two more", equality_with(cluster, seats(*names, "x", "y"))
    if len(names) > 3:
        yield "remove two, the leader too", removal_of(cluster, (leader, last))
    if len(names) > 2:
        yield "apply: two fewer, the leader too", equality_with(cluster, seats(*names[1:-1]))
        yield "apply: two moved", equality_with(cluster, seats(*names[1:-1], "x", "y"))
        yield "apply: one moved, one more", equality_with(cluster, seats(*names[:-1], "x", "y"))


SMALL = [
    pytest.param(size, name, id=f"{size}: {name}")
    for size in (1, 2, 3, 4, 5)
    for name, _ in changes_of(voters(size))
]
# What a larger cluster adds is more of the same: whole cycles are left to hypothesis below.
LARGE = [
    pytest.param(size, name, id=f"{size}: {name}")
    for size in (6, 7)
    for name, _ in changes_of(voters(size))
    if name not in ("cycle", "restart", "upgrade")
]
_visited: dict[str, int] = {}
_steps: set[str] = set()


@pytest.mark.parametrize(("size", "name"), [*SMALL, *LARGE])
def test_whatever_fails_once_the_laws_hold_and_there_is_a_way_on(size: int, name: str) -> None:
    change = dict(changes_of(voters(size)))[name]
    explorer = explore(start_of(voters(size), change), change)
    _visited[f"{size}: {name}"] = explorer.states
    _steps.update(explorer.steps, *(aborting.steps for aborting in explorer.aborts.values()))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7])
def test_a_learner_is_promoted_or_aborted_whatever_fails_once(size: int) -> None:
    cluster = etcd(*voters(size).members, learner("x"))
    explorer = explore(start_of(cluster), promotion_of(cluster, "x"))
    _visited[f"{size}: promote x"] = explorer.states


# From this version on a learner hides from Patroni, and is restarted once it votes.
HIDING = "3.6.6"
HIDDEN = [
    pytest.param(size, name, id=f"{size}: {name}")
    for size in (1, 2, 3)
    for name, change in changes_of(voters(size))
    if change.joiners
]


def of_version(version: str, size: int) -> EtcdView:
    """Return a healthy cluster of this version."""
    return etcd(*(voter(name, version=version) for name in NAMES[:size]))


@pytest.mark.parametrize(("size", "name"), HIDDEN)
def test_learners_that_hide_do_so_until_they_vote_whatever_fails_once(
    size: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "VERSION", HIDING)
    cluster = of_version(HIDING, size)
    change = addressed(dict(changes_of(cluster))[name])
    explorer = explore(start_of(cluster, change), change)
    assert size < 3 or name == "add x --learner" or "ReaddressMember" in explorer.steps
    _visited[f"{HIDING}, {size}: {name}"] = explorer.states


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("name", ["restart c", "update-urls c", "move-data c", "upgrade c"])
def test_a_member_that_is_down_comes_back_whatever_fails_once(size: int, name: str) -> None:
    cluster = voters(size)
    changes = {
        "restart c": restart_of(cluster, ("c",)),
        "update-urls c": relocation_of(cluster, "c", urls("w"), ("http://w:2379",)),
        "move-data c": moved(cluster, "c", "x"),
        "upgrade c": upgrade_of(cluster, ("c",), "true"),
    }
    start = world.dies(start_of(cluster, changes[name]), "c")[0]
    explorer = explore(start, changes[name])
    assert explorer.usual == "done"
    _visited[f"{size}: {name}, which is down"] = explorer.states


def test_a_step_that_may_be_refused_is_followed_both_ways() -> None:
    cluster = voters(3)
    change = addition_of(cluster, seats("x"))
    explorer = Explorer(change)
    ends = [end for end, _ in explorer.ends_of(world.dies(start_of(cluster, change), "c")[0])]
    assert ends == [IN_VAIN, IN_VAIN]  # the learner joins, and the end can't be verified; or it is refused


def test_every_kind_of_step_was_walked_through() -> None:
    assert _steps == set(STEP_TYPES), "a step is in no change here: add one to changes_of"


def test_as_many_states_were_visited_as_the_documentation_says() -> None:
    sys.stdout.write(f"{sum(_visited.values()):,} states of {len(_visited)} changes\n")
    assert sum(_visited.values()) >= STATES_AT_LEAST


ANY = {f"{size}: {name}": size for size in range(1, 8) for name, _ in changes_of(voters(size))}


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(ANY)), st.data())
def test_whatever_fails_twice_the_laws_hold_and_there_is_a_way_on(case: str, data: st.DataObject) -> None:
    cluster = voters(ANY[case])
    change = dict(changes_of(cluster))[case.partition(": ")[2]]
    explorer = Explorer(change)
    state = start_of(cluster, change)
    explorer.usual = explorer.walk(state)[0]
    for _ in range(2):
        states = list(undisturbed(state, change))[: data.draw(st.integers(1, 60))]
        state, step = states[-1]
        after = list(world.faults(state, step, change)) if step else []
        if after:
            _, state = after[data.draw(st.integers(0, len(after) - 1))]
    judge(explorer, state, state)


SEATS = st.lists(st.sampled_from([*NAMES, *SPARES]), min_size=1, max_size=7, unique=True)


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 7), SEATS, st.data())
def test_any_mix_of_members_that_go_and_come_is_safe(
    size: int, after: list[str], data: st.DataObject
) -> None:
    cluster = voters(size, leader=data.draw(st.sampled_from(NAMES[:size])))
    change = equality_with(cluster, seats(*after))
    states = list(undisturbed(start_of(cluster), change))
    state, step = states[data.draw(st.integers(0, len(states) - 1))]
    explorer = Explorer(change)
    explorer.usual = explorer.walk(states[0][0])[0]
    for _, disturbed in world.faults(state, step, change) if step else ():
        judge(explorer, state, disturbed)
