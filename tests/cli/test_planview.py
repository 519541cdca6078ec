"""The plan as the operator reads it before saying yes."""

from __future__ import annotations

from patroni_etcd_reconfig.cli.planview import show_plan
from patroni_etcd_reconfig.core.model import Observation
from patroni_etcd_reconfig.core.planner import make_plan
from patroni_etcd_reconfig.core.step_words import describe
from tests.core.builders import cycle, down, etcd, patroni, seen, voter, voters


def view(state: Observation, *names: str) -> str:
    """Return the plan of a cycle."""
    return show_plan(make_plan(state, cycle(state.etcd, *names)), state)


def rows(text: str) -> list[list[str]]:
    """Return the cells of the table's rows, without its header."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_every_step_has_a_row_in_order() -> None:
    state = seen(voters(3), patroni())
    steps = make_plan(state, cycle(state.etcd, "c")).steps
    found = rows(view(state, "c"))
    assert [row[0] for row in found] == [str(number) for number in range(1, len(steps) + 1)]
    assert [row[1] for row in found] == [describe(step) for step in steps]


def test_the_title_names_the_change_and_whom_it_is_about() -> None:
    assert view(seen(voters(3)), "a", "c").startswith("+ Plan: cycle a, c -")


def test_tolerance_is_what_is_left_after_each_step() -> None:
    by_step = {row[1].split()[0]: row[3] for row in rows(view(seen(voters(3)), "c"))}
    assert by_step["save"] == "1 failure"
    assert by_step["remove"] == "0 failures"
    assert by_step["promote"] == "1 failure"


def test_only_steps_that_can_be_felt_have_a_gap() -> None:
    gaps = {row[1].split()[0]: row[2] for row in rows(view(seen(voters(3)), "a"))}
    assert gaps["save"] == gaps["verify"] == "-"
    assert gaps["move"] == "250 ms"
    assert gaps["remove"] == "100 ms"


def test_each_patroni_cluster_has_its_budget_below() -> None:
    text = view(seen(voters(3), patroni("one"), patroni("two", retry_timeout=20)), "c")
    assert text.splitlines()[-2:] == [
        " one: leader pg1, write-gap budget 7.0 s",
        " two: leader pg1, write-gap budget 17.0 s",
    ]


def test_a_plan_with_a_dead_member_can_be_shown() -> None:
    assert rows(view(seen(etcd(voter("a"), voter("b"), down("c"))), "c"))


def test_names_from_etcd_can_not_send_control_characters() -> None:
    text = view(seen(voters(3), patroni("de\x1b[2Jmo", leader="p\x07g")), "c")
    assert all(char.isprintable() or char == "\n" for char in text)
