"""`recover collect` on real etcd, Patroni and PostgreSQL. One lab serves the tests in their order here."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from patroni_etcd_reconfig.adapters.patroni_config import load
from patroni_etcd_reconfig.adapters.patroni_local import control_data
from patroni_etcd_reconfig.adapters.patroni_rest import PatroniRest
from patroni_etcd_reconfig.adapters.postgres import PostgresSql, connection_options
from patroni_etcd_reconfig.cli.recover.files import read_evidence
from patroni_etcd_reconfig.core.recovery.codec import read_evidence_document
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, PostgresEvidence
from patroni_etcd_reconfig.core.recovery.postgres_facts import SqlFacts
from patroni_etcd_reconfig.errors import UnreachableError
from patroni_etcd_reconfig.lab import faults
from patroni_etcd_reconfig.lab.down import down
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.layout import POSTGRESQL_PORT, REST_PORT
from patroni_etcd_reconfig.lab.processes import find_postmaster, running, stop_all
from patroni_etcd_reconfig.lab.up import up
from tests.integration.etcd_servers import wait_until
from tests.integration.tool import Outcome, Tool
from tests.nets import lab_net

pytestmark = [pytest.mark.e2e, pytest.mark.patroni]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, patroni_dir: Path | None) -> Iterator[Lab]:
    with lab_net() as net:
        root = tmp_path_factory.mktemp("collect") / "lab"
        arrived = up(root, net, say=lambda _: None, patroni_dir=patroni_dir).lab
        yield arrived
        down(arrived, say=lambda _: None)


@pytest.fixture(scope="module")
def tool(lab: Lab) -> Tool:
    return Tool(lab.layout)


def collected(done: Outcome) -> Evidence:
    """Return the evidence that a run with -f json printed."""
    assert done.code == 0, done.err
    return read_evidence_document(done.json)


def codes(done: Outcome) -> set[tuple[str, str]]:
    return {(finding["code"], finding["subject"]) for finding in done.json["findings"]}


def pg(evidence: Evidence, name: str) -> PostgresEvidence:
    return next(one for one in evidence.postgres if one.name == name)


def rest(lab: Lab, i: int) -> str:
    return f"http://{lab.layout.address(i)}:{REST_PORT}"


def asked(lab: Lab, i: int) -> SqlFacts:
    options = connection_options(load(str(lab.layout.pg_yml(1)), {}).raw, {})
    return PostgresSql(options)(lab.layout.address(i), POSTGRESQL_PORT)


def leader(lab: Lab) -> int:
    """Return the number of the node that PostgreSQL itself says is the primary."""
    primaries = [i for i in (1, 2, 3) if not asked(lab, i).in_recovery]
    assert len(primaries) == 1
    return primaries[0]


def others(i: int) -> list[int]:
    return [j for j in (1, 2, 3) if j != i]


def test_all_is_known_while_all_is_well(lab: Lab, tool: Tool) -> None:
    done = tool.run("recover", "collect", "-f", "json")
    found = collected(done)
    assert [node.name for node in found.nodes] == ["n1", "n2", "n3"]
    assert all(node.reachable and node.service_active and node.data_present for node in found.nodes)
    lives = [node.live for node in found.nodes if node.live]
    assert len(lives) == 3
    assert all(live.quorate and len(live.members) == 3 and live.keys for live in lives)
    assert [one.source for one in found.postgres] == ["sql", "sql", "sql"]
    assert len({one.system_identifier for one in found.postgres}) == 1
    assert [one.in_recovery for one in found.postgres].count(False) == 1
    assert all(one.lsn_is_exact and one.patroni_answers and one.timeline == 1 for one in found.postgres)
    assert done.json["findings"] == []


def test_the_file_is_private_and_says_the_same(tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    done = tool.run("recover", "collect", "-o", str(path), "-f", "json")
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == done.json
    assert done.err.splitlines()[-1].endswith(" status")  # a majority serves: there is nothing to recover
    assert "password" not in path.read_text()


def test_after_a_failover_timeline_and_history_are_known_of_every_node(lab: Lab) -> None:
    old = leader(lab)
    target = others(old)[0]
    api = PatroniRest(load(str(lab.layout.pg_yml(1)), {}))
    body = json.dumps({"leader": f"pg{old}", "candidate": f"pg{target}"})
    answer = api._pool.request("POST", f"{rest(lab, old)}/switchover", body=body, timeout=30)
    assert answer.status == 200, answer.data

    def followed() -> bool:
        try:
            said = [asked(lab, i) for i in (1, 2, 3)]
        except UnreachableError:
            return False
        return [one.timeline for one in said] == [2, 2, 2]

    wait_until(followed, 40, "all nodes to be on timeline 2")
    for i in (1, 2, 3):
        said = asked(lab, i)
        ((timeline, ended, _),) = said.history
        assert (timeline, said.in_recovery) == (1, i != target)
        assert said.lsn is not None
        assert 0 < ended <= said.lsn
        assert api(rest(lab, i), 2.0)["database_system_identifier"] == said.system_identifier


def test_a_standby_tells_its_timeline_also_when_its_primary_is_gone(lab: Lab) -> None:
    """Neither its control file, before the next restart point, nor a receiver tells it then."""
    primary = leader(lab)
    halted = [running(lab.layout.pid_file(f"patroni-pg{i}")) for i in (1, 2, 3)]
    server = find_postmaster(lab.layout.pg_data(primary))
    assert server is not None
    pids = [process.pid for process in halted if process]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # so that none of them makes another one lead
    try:
        stop_all([server], timeout=20, sig=signal.SIGINT)
        for i in others(primary):
            said = asked(lab, i)
            assert (said.timeline, said.timeline_is_sure) == (2, True)
            assert len(said.history) == 1
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: answers(lab, primary), 60, "the primary to be back")


def test_postgresql_tells_synchronous_standbys_once_they_are(lab: Lab) -> None:
    i = leader(lab)
    set_synchronous_mode(lab, i, True)
    wait_until(lambda: bool(asked(lab, i).sync_standbys), 20, "a synchronous standby")
    name = asked(lab, i).sync_standbys[0]
    assert name in (asked(lab, i).sync_standby_names or "")
    api = PatroniRest(load(str(lab.layout.pg_yml(1)), {}))
    wait_until(
        lambda: api(rest(lab, int(name[2])), 2.0).get("sync_standby") is True, 20, "its Patroni to say so"
    )
    set_synchronous_mode(lab, i, None)
    wait_until(lambda: asked(lab, i).sync_standbys == (), 20, "no synchronous standby")


def set_synchronous_mode(lab: Lab, i: int, value: bool | None) -> None:
    api = PatroniRest(load(str(lab.layout.pg_yml(1)), {}))
    body = json.dumps({"synchronous_mode": value})
    assert api._pool.request("PATCH", f"{rest(lab, i)}/config", body=body, timeout=10).status == 200


def test_a_wrong_password_is_postgresql_s_own_words_and_patroni_s_position_counts(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "wrong-secret")
    done = tool.run("recover", "collect", "-f", "json")
    one = pg(collected(done), "pg1")
    assert (one.source, one.lsn_is_exact, one.timeline) == ("rest", False, 2)
    assert one.lsn
    assert "password authentication failed" in one.problem
    assert "wrong-secret" not in done.out + done.err


def test_a_postgresql_that_is_down_is_known_by_its_control_file_on_its_own_machine(
    lab: Lab, tool: Tool
) -> None:
    i = others(leader(lab))[0]
    pids = [running(lab.layout.pid_file(f"patroni-pg{i}")), find_postmaster(lab.layout.pg_data(i))]
    for process, number in zip(pids, (signal.SIGKILL, signal.SIGINT), strict=True):
        assert process is not None
        stop_all([process], timeout=20, sig=number)
    # The lab's Patroni file is node 1's; those of the others lie beside it.
    done = tool.run("recover", "collect", "-f", "json")
    one = pg(collected(done), f"pg{i}")
    assert (one.source, one.running, one.in_recovery, one.timeline) == ("controldata", False, True, 2)
    assert (one.lsn_is_exact, one.patroni_answers) == (False, False)
    primary = pg(collected(done), f"pg{leader_of(done)}")
    assert one.lsn is not None
    assert primary.lsn is not None
    assert 0 < one.lsn <= primary.lsn
    assert one.system_identifier == primary.system_identifier
    faults.power_on(lab, i)
    wait_until(lambda: answers(lab, i), 40, f"PostgreSQL of pg{i} to be back")


def leader_of(done: Outcome) -> int:
    return next(int(one.name[2]) for one in collected(done).postgres if one.in_recovery is False)


def answers(lab: Lab, i: int) -> bool:
    try:
        return asked(lab, i).timeline is not None
    except UnreachableError:
        return False


def test_the_control_file_of_a_running_postmaster_says_that_it_runs(lab: Lab) -> None:
    control = control_data(load(str(lab.layout.pg_yml(1)), {}))
    assert control is not None
    assert control().alive


def test_a_postgresql_and_a_patroni_that_hang_do_not_hold_the_others_up(lab: Lab, tool: Tool) -> None:
    hung = [find_postmaster(lab.layout.pg_data(2)), running(lab.layout.pid_file("patroni-pg2"))]
    pids = [process.pid for process in hung if process]
    assert len(pids) == 2
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = collected(tool.run("recover", "collect", "-f", "json"))
        assert time.monotonic() - began < 8
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert [one.source for one in found.postgres] == ["sql", "controldata", "sql"]
    one = pg(found, "pg2")
    assert (one.running, one.patroni_answers, one.lsn_is_exact) == (True, False, False)
    assert "no answer in time" in one.problem


def test_another_member_s_data_dir_in_the_inventory_is_a_contradiction(
    lab: Lab, tool: Tool, tmp_path: Path
) -> None:
    inventory = yaml.safe_load(lab.layout.inventory.read_text())
    members = inventory["etcd"]["members"]
    members["n1"]["data_dir"], members["n2"]["data_dir"] = (
        members["n2"]["data_dir"],
        members["n1"]["data_dir"],
    )
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(yaml.safe_dump(inventory))
    done = tool.run("-i", str(wrong), "recover", "collect", "-f", "json")
    assert all(node.config_problem for node in collected(done).nodes if node.name != "n3")
    assert codes(done) == {("EVIDENCE_CONTRADICTS", "n1"), ("EVIDENCE_CONTRADICTS", "n2")}


def test_one_of_three_alive_and_another_that_hangs(lab: Lab, tool: Tool) -> None:
    faults.freeze(lab, 2)
    process = running(lab.layout.pid_file("etcd-n1"))
    assert process is not None
    stop_all([process], timeout=10, sig=signal.SIGKILL)
    began = time.monotonic()
    done = tool.run("recover", "collect", "-f", "json")
    assert time.monotonic() - began < 8  # about 2 s; a hung call would take longer than this
    found = {node.name: node for node in collected(done).nodes}
    alive = found["n3"].live
    assert alive is not None
    assert (alive.quorate, len(alive.members), bool(alive.keys)) == (False, 3, True)
    assert (found["n1"].live, found["n1"].service_active) == (None, False)
    assert (found["n2"].live, found["n2"].service_active) == (None, True)
    assert "no answer" in found["n2"].problem  # of the call, or of the whole look, whichever ends first
    assert {one.source for one in collected(done).postgres} == {"sql"}


def test_the_tables_say_what_stands_and_what_not(tool: Tool) -> None:
    done = tool.run("recover", "collect")
    assert "1 of 3 members answer, NO QUORUM" in done.out
    assert "| n1   | stopped " in done.out
    assert "| n2   | runs, no answer " in done.out
    assert "| n3   | runs, no quorum " in done.out
    assert "Next: " in done.err
    assert "recover collect -o evidence.json" in done.err
    lines = tool.run("recover", "collect", "-f", "tsv").out.splitlines()
    assert lines[0].startswith("Node\tState\t")


def test_none_of_three_alive_the_data_dirs_tell(lab: Lab, tool: Tool) -> None:
    for i in (2, 3):
        process = running(lab.layout.pid_file(f"etcd-n{i}"))
        assert process is not None
        stop_all([process], timeout=10, sig=signal.SIGKILL)
    done = tool.run("recover", "collect", "-f", "json")
    found = collected(done)
    assert [(node.live, node.service_active) for node in found.nodes] == [(None, False)] * 3
    assert all("refused" in node.problem for node in found.nodes)
    for node in found.nodes:
        assert node.data is not None
        assert {member.name for member in node.data.members} == {"n1", "n2", "n3"}
        assert node.data.problems == ()
        assert any(kv.key == "/service/lab/members/pg1" for kv in node.data.keys)
    assert codes(done) == set()
    assert [(one.scope, one.name, one.source) for one in found.postgres] == [
        ("lab", "pg1", "sql"),
        ("lab", "pg2", "sql"),
        ("lab", "pg3", "sql"),
    ]


def test_evidence_of_three_machines_that_each_know_their_own_member_is_whole(
    lab: Lab, tool: Tool, tmp_path: Path
) -> None:
    inventory = yaml.safe_load(lab.layout.inventory.read_text())
    files = []
    for i in (1, 2, 3):
        members = {f"n{i}": inventory["etcd"]["members"][f"n{i}"]}
        own = tmp_path / f"n{i}.yml"
        own.write_text(yaml.safe_dump({**inventory, "etcd": {**inventory["etcd"], "members": members}}))
        files.append(tmp_path / f"evidence{i}.json")
        words = ("-i", str(own), "-c", str(lab.layout.pg_yml(i)), "recover", "collect", "-o", str(files[-1]))
        assert tool.run(*words).code == 0
    whole, findings = read_evidence(files)
    assert [(node.name, node.reachable, node.data is not None) for node in whole.nodes] == [
        ("n1", True, True),
        ("n2", True, True),
        ("n3", True, True),
    ]
    assert [(one.name, one.source) for one in whole.postgres] == [
        ("pg1", "sql"),
        ("pg2", "sql"),
        ("pg3", "sql"),
    ]
    assert findings == ()


def test_without_keys_one_patroni_s_failsafe_names_all_the_others(
    lab: Lab, tool: Tool, tmp_path: Path
) -> None:
    inventory = tmp_path / "empty.yml"
    inventory.write_text("{}\n")
    found = collected(tool.run("-i", str(inventory), "recover", "collect", "-f", "json"))
    assert [(one.scope, one.name, one.source) for one in found.postgres] == [
        ("lab", "pg1", "sql"),
        ("lab", "pg2", "sql"),
        ("lab", "pg3", "sql"),
    ]
    assert len(found.nodes) == 3  # by their addresses, as nothing names them
    assert all("refused" in node.problem for node in found.nodes)


def test_patronis_that_an_operator_names_are_known_by_their_own_names(
    lab: Lab, tool: Tool, tmp_path: Path
) -> None:
    config = yaml.safe_load(lab.layout.pg_yml(1).read_text())
    config.pop("name")  # as a patronictl file, which is of no node
    other = tmp_path / "patronictl.yml"
    other.write_text(yaml.safe_dump(config))
    words = ("--patroni", f"{lab.layout.address(2)}:{REST_PORT}", "--patroni", "127.0.0.1:1")
    found = collected(tool.run("-c", str(other), "recover", "collect", *words, "-f", "json"))
    assert pg(found, "pg2").source == "sql"
    stranger = next(one for one in found.postgres if one.scope == "")
    assert (stranger.name, stranger.source) == ("127.0.0.1", "none")
    assert "connection refused" in stranger.problem
