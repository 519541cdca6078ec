"""What `status` shows of an observation, in each format."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from patroni_etcd_reconfig.adapters.inventory import Inventory
from patroni_etcd_reconfig.adapters.patroni_config import PatroniConfig
from patroni_etcd_reconfig.cli import status
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.core.model import Observation, PatroniMember
from patroni_etcd_reconfig.core.policy import Policy
from tests.core.builders import down, etcd, learner, patroni, seen, voter, voters
from tests.fake_etcd import FakeEtcd

MIB = 1024 * 1024
MEMBERS = (
    PatroniMember("pg1", "leader", "running", 3, None, "10.0.0.1:5432"),
    PatroniMember("pg2", "replica", "streaming", 3, 5 * MIB, "10.0.0.2:5432"),
)
DEMO = patroni(members=MEMBERS)


@dataclass
class Seeing:
    """An observer that sees this."""

    state: Observation

    def observe(self) -> Observation:
        return self.state


def app_that_sees(state: Observation, fmt: str) -> App:
    """Return an invocation on an etcd of which nobody has a journal."""
    app = App(format=fmt)
    app.__dict__.update(
        policy=Policy(),
        inventory=Inventory(),
        patroni=PatroniConfig("/etc/patroni.yml", "demo", "/service", ()),
        connector=FakeEtcd("a", "b", "c").connect,
        state_dir=Path("/nowhere"),
    )
    app.observer = lambda *_: Seeing(state)  # type: ignore[method-assign,assignment]
    return app


def shown(state: Observation, fmt: str = "pretty") -> str:
    """Return what `status` prints, without colours."""
    return click.unstyle(status._look(app_that_sees(state, fmt)))


def row(text: str, name: str) -> list[str]:
    """Return the cells of a member's row."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_title_tells_quorum_and_what_may_still_fail() -> None:
    assert "+ etcd: c1 (3 of 3 voters healthy, quorum 2, 1 more may fail) -" in shown(seen(voters(3)))


@pytest.mark.parametrize(
    ("names_down", "words"),
    [
        ("c", "2 of 3 voters healthy, quorum 2, 0 more may fail"),
        ("bc", "1 of 3 voters healthy, quorum 2, NO"),
    ],
)
def test_the_title_counts_the_living(names_down: str, words: str) -> None:
    views = [down(name) if name in names_down else voter(name) for name in "abc"]
    assert words in shown(seen(etcd(*views)))


def test_a_member_has_its_role_state_and_figures() -> None:
    view = replace(voter("b", db_size=3 * MIB), alarms=("NOSPACE", "CORRUPT"))
    text = shown(seen(etcd(voter("a"), view, down("c"))))
    assert row(text, "a")[:8] == ["a", "a", "leader", "healthy", "3.4.23", "20 kB", "2", "1000"]
    assert row(text, "b")[2:6] == ["voter", "unhealthy", "3.4.23", "3.0 MB"]
    assert row(text, "b")[8:] == ["NOSPACE, CORRUPT", "http://b:2379", "http://b:2380"]
    assert row(text, "c")[3:8] == ["unreachable", "", "", "", ""]


def test_a_learner_that_never_ran_has_no_name_and_no_figures() -> None:
    text = shown(seen(etcd(*voters(3).members, learner("d", started=False))))
    assert "| 99 | learner | unstarted |" in " ".join(text.split())


def test_findings_stand_below_with_their_remedy() -> None:
    lines = shown(seen(etcd(voter("a"), voter("b"), down("c")))).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("BLOCKER MEMBER_UNHEALTHY c: "))
    assert lines[at + 1].startswith("    -> ")


def test_a_patroni_cluster_is_shown_with_lease_budget_and_lag() -> None:
    text = shown(seen(voters(3), DEMO))
    assert "+ Patroni: demo (leader pg1, lease 29 of 30 s) " in text
    assert "write-gap budget 7.0 s; failsafe_mode on" in text
    assert row(text, "pg1") == ["pg1", "10.0.0.1:5432", "Leader", "running", "3", ""]
    assert row(text, "pg2") == ["pg2", "10.0.0.2:5432", "Replica", "streaming", "3", "5"]
    assert "Maintenance mode" not in text


def test_a_patroni_cluster_without_leader_or_in_maintenance_says_so() -> None:
    text = shown(seen(voters(3), replace(DEMO, leader=None, lease=None, paused=True)))
    assert "(leader none, no lease)" in text
    assert "Maintenance mode: on" in text


def test_every_patroni_cluster_has_its_table() -> None:
    text = shown(seen(voters(3), DEMO, patroni("other", members=MEMBERS)))
    assert [line.split()[2] for line in text.splitlines() if line.startswith("+ Patroni:")] == [
        "demo",
        "other",
    ]


def test_names_with_control_characters_are_shown_not_sent() -> None:
    bad = replace(
        DEMO, scope="de\x1b[2Jmo", leader="p\x07g", members=(PatroniMember("p\x1bg", "re\x1b", "s\x1b"),)
    )
    member = replace(voter("a"), member=replace(voter("a").member, name="a\x1b]0;x\x07"))
    state = seen(etcd(member, voter("b"), voter("c")), bad)
    for fmt in ("pretty", "tsv"):
        assert all(char.isprintable() or char in "\n\t" for char in shown(state, fmt))


def test_tsv_has_one_line_a_member_and_the_cluster_in_front() -> None:
    first, second = shown(seen(voters(3), DEMO), "tsv").split("\n\n")
    header, *rows = [line.split("\t") for line in first.splitlines()]
    assert header[:4] == ["Cluster", "Member", "ID", "Role"]
    assert [cells[:4] for cells in rows] == [
        ["etcd", "a", "a", "leader"],
        ["etcd", "b", "b", "voter"],
        ["etcd", "c", "c", "voter"],
    ]
    assert second.splitlines()[2].split("\t") == [
        *("demo", "pg2", "10.0.0.2:5432", "Replica", "streaming", "3", "5"),
    ]


@pytest.mark.parametrize("fmt", ["json", "yaml", "yml"])
def test_data_formats_have_the_whole_contract(fmt: str) -> None:
    out = shown(seen(etcd(voter("a"), voter("b"), down("c")), DEMO), fmt)
    data: dict[str, Any] = json.loads(out) if fmt == "json" else yaml.safe_load(out)
    assert (data["format"], data["error"]) == (1, None)
    assert (data["etcd"]["cluster_id"], data["etcd"]["leader"]) == ("c1", "a")
    assert (data["etcd"]["quorum"], data["etcd"]["failure_tolerance"]) == (2, 0)
    assert [m["state"] for m in data["etcd"]["members"]] == ["healthy", "healthy", "unreachable"]
    assert data["etcd"]["members"][2]["error"] == "connection refused"
    assert data["patroni"][0]["write_gap_budget"] == 7.0
    assert data["patroni"][0]["members"][1]["lag"] == 5 * MIB
    assert {finding["code"] for finding in data["findings"]} >= {"MEMBER_UNHEALTHY", "NO_TOLERANCE"}


class WatchedEnoughError(Exception):
    """The test has seen enough."""


def test_watching_json_clears_the_screen_before_it_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def enough(seconds: float) -> None:
        raise WatchedEnoughError

    app = app_that_sees(seen(voters(3)), "json")
    monkeypatch.setattr(click, "clear", lambda: said.append("clear"))
    monkeypatch.setattr(click, "echo", lambda text="", **options: said.append(str(text)))
    monkeypatch.setattr("time.sleep", enough)
    assert status.command.callback is not None
    with pytest.raises(WatchedEnoughError):
        click.Context(status.command, obj=app).invoke(status.command.callback, watch=True, seconds=None)
    assert said[0] == "clear"
