"""A run that failed is no figure, and a missed goal can be an exit code."""

from __future__ import annotations

from typing import Any

import pytest

from patroni_etcd_reconfig.errors import ReconfigError
from patroni_etcd_reconfig.lab.bench import __main__ as bench
from patroni_etcd_reconfig.lab.bench.figures import Figures, Goal, Run, Scenario
from patroni_etcd_reconfig.lab.bench.ground import Options
from patroni_etcd_reconfig.lab.bench.recovery import UnmeasuredError, seconds_of
from patroni_etcd_reconfig.lab.drill import Outcome

DONE = {"exit_code": 0, "measured": {"seconds_to_writable": 2.5}, "error": None}


def outcome(result: dict[str, Any], **facts: Any) -> Outcome:
    said = {"leader": "pg1", "timeline": 2, "lost_rows": 0, "streaming": 2, "seconds": 9.0, **facts}
    return Outcome("way", result=result, **said)


def test_the_time_to_writable_is_what_counts() -> None:
    assert seconds_of(outcome(DONE)) == 2.5
    assert seconds_of(outcome({}, lost_rows=1000)) == 9.0  # the naive way, which may lose rows


@pytest.mark.parametrize(
    ("result", "facts", "words"),
    [
        ({"exit_code": 4, "error": {"message": "no leader", "hint": "look"}}, {}, "exit code 4: no leader"),
        ({**DONE, "exit_code": 5, "error": {"message": "old has none"}}, {}, "old has none"),
        ({**DONE, "measured": {}}, {}, "exit code 0"),
        (DONE, {"lost_rows": 3}, "3 rows lost"),
        (DONE, {"streaming": 1}, "1 replicas"),
    ],
)
def test_a_failed_run_ends_the_bench_with_its_error(result: Any, facts: Any, words: str) -> None:
    with pytest.raises(UnmeasuredError, match=words):
        seconds_of(outcome(result, **facts))


@pytest.mark.parametrize(
    ("seconds", "strict", "code"), [(1, False, 0), (9, False, 0), (1, True, 0), (9, True, 1)]
)
def test_strict_makes_a_missed_goal_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, seconds: float, strict: bool, code: int
) -> None:
    goal = Goal("fast", 5, lambda figures: figures.seconds("floor"))
    scenario = Scenario("cycle", "Cycle", {"floor": lambda: Run(seconds)}, (goal,))

    def measured(options: Options) -> tuple[Scenario, Figures]:
        return scenario, Figures(({"floor": Run(seconds)},))

    monkeypatch.setattr(bench, "SCENARIOS", {"cycle": measured})
    assert bench.main(["cycle", *(["--strict"] if strict else [])]) == code


def test_what_could_not_be_measured_is_one_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(options: Options) -> tuple[Scenario, Figures]:
        raise ReconfigError("broken")

    monkeypatch.setattr(bench, "SCENARIOS", {"cycle": fails})
    assert bench.main(["cycle"]) == 1
