"""Whom a recovery asks: the nodes of the plan, too, whatever keys are left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.main import run
from patroni_etcd_reconfig.cli.recover.wiring import RecoveryWiring
from patroni_etcd_reconfig.core.model import KeyValue
from patroni_etcd_reconfig.core.recovery.addresses import Address
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.restoring import SnapshotFile, Wish, plan_restore
from patroni_etcd_reconfig.engine.recovery.operation import SituationError
from patroni_etcd_reconfig.errors import ExitCode
from patroni_etcd_reconfig.observe.postgres import PostgresCollector
from tests.core.recovery.builders import NOW, found, keys, kv, members, standby, wiped

KEYS = tuple(keys("pg1", timeline=1).keys.values())
POSTGRES = (
    standby("pg1", 4_000, host="10.0.0.1", port=5432, api_url="http://10.0.0.1:8008"),
    standby("pg2", 5_000, host="10.0.0.2", port=6432, api_url="http://10.0.0.2:8008"),
)


class Asked:
    """Stands for what asks PostgreSQL, and notes whom."""

    def __init__(self) -> None:
        self.addresses: Sequence[Address] = ()

    def collect(self, addresses: Sequence[Address], by: str, at: float) -> tuple[PostgresEvidence, ...]:
        self.addresses = addresses
        return ()


@pytest.fixture
def app(tmp_path: Path) -> App:
    """Give a machine whose Patroni file names its own node only."""
    local = {"name": "pg1", "restapi": {"connect_address": "10.0.0.1:8008"}}
    own = {"postgresql": {"connect_address": "10.0.0.1:5432"}, "etcd3": {"hosts": ["127.0.0.1:1"]}}
    commands = dict.fromkeys(("start", "stop", "is_active"), "/bin/false")
    node = {
        "via": "local",
        "manager": "command",
        "commands": commands,
        "config_file": "/etc/default/etcd",
        "data_dir": "/var/lib/etcd",
    }
    (tmp_path / "patroni.yml").write_text(yaml.safe_dump({"scope": "demo", **local, **own}))
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"etcd": {"members": {"a": node}}}))
    return App(str(tmp_path / "patroni.yml"), str(tmp_path / "inventory.yml"))


def wiring_of(app: App) -> tuple[RecoveryWiring, Asked]:
    file = SnapshotFile("/s.db", "ab" * 32, 4096, True, 50, NOW, KEYS, members("abc"))
    plan, _ = plan_restore(found(wiped("a"), wiped("b"), wiped("c"), *POSTGRES), file, Wish("a"), NOW)
    wiring, asked = RecoveryWiring(app, plan, "again"), Asked()
    wiring.collector = replace(wiring.collector, postgres=asked)  # type: ignore[arg-type]
    return wiring, asked


def test_a_restore_asks_the_planned_leader_whose_keys_were_dropped(app: App) -> None:
    wiring, asked = wiring_of(app)
    left = tuple(kv for kv in KEYS if not kv.key.endswith("/leader"))
    for ask in (wiring.postgres, wiring._postgres_in_quarantine):
        ask(left)
        there = {one.name: one for one in asked.addresses}
        assert there["pg2"].servers == (("10.0.0.2", 6432),)
        assert there["pg2"].api_urls == ("http://10.0.0.2:8008",)


def test_in_quarantine_the_plan_is_newer_than_keys_and_afterwards_older(app: App) -> None:
    wiring, asked = wiring_of(app)
    conn = {"conn_url": "postgres://10.9.9.9:5432/x", "api_url": "http://10.9.9.9:8008/patroni"}
    key: KeyValue = kv("members/pg2", conn)
    wiring._postgres_in_quarantine((key,))
    assert next(one for one in asked.addresses if one.name == "pg2").host == "10.0.0.2"
    wiring.postgres((key,))
    assert next(one for one in asked.addresses if one.name == "pg2").host == "10.9.9.9"


def test_a_patroni_that_only_an_option_names_is_asked_by_every_command(app: App) -> None:
    wiring, _ = wiring_of(replace(app, patroni_apis=("10.0.0.5:8008",), pg_user="ops"))
    assert "http://10.0.0.5:8008" in [url for one in wiring.collector.addresses for url in one.api_urls]
    assert isinstance(RecoveryWiring(app, wiring.plan, "x").collector.postgres, PostgresCollector)
    again = wiring.app.command_line("recover", "apply", "p.json")
    assert again.endswith("recover apply p.json --patroni 10.0.0.5:8008 --pg-user ops")
    assert "ops" not in wiring.app.command_line("status")


def test_a_login_that_does_not_suffice_stops_the_first_look(app: App) -> None:
    wiring, _ = wiring_of(app)
    assert wiring.plan.survivor
    wiring.plan = replace(wiring.plan, survivor=replace(wiring.plan.survivor, auth_roots=("root",)))
    with pytest.raises(SituationError) as stopped:
        wiring.collect()
    assert (stopped.value.code, stopped.value.exit_code) == ("ETCD_NOT_ROOT", ExitCode.BLOCKED)


@pytest.mark.parametrize("command", ["collect", "plan", "apply", "verify", "restore"])
def test_all_recovery_commands_take_the_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["restore"] if command == "restore" else ["recover", command]
    assert run([*words, "--help"]) == 0
    told = capsys.readouterr().out
    assert "--patroni" in told
    assert "--pg-user" in told


def test_evidence_was_collected_already(app: App, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recover", "plan", str(tmp_path / "e.json"), "--pg-user", "ops", "-f", "json"]
    assert run(words) == ExitCode.USAGE
    assert "leave out them" in json.loads(capsys.readouterr().out)["error"]["message"]
