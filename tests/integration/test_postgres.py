"""How far a PostgreSQL got, asked of real servers."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from patroni_etcd_reconfig.adapters.pg_controldata import ControlData
from patroni_etcd_reconfig.adapters.postgres import PostgresSql
from patroni_etcd_reconfig.core.recovery.postgres_facts import SqlFacts
from patroni_etcd_reconfig.errors import ConfigError, UnreachableError
from patroni_etcd_reconfig.lab.privileges import DIRECT, USER_NAMESPACE, by_name
from patroni_etcd_reconfig.lab.programs import find_programs
from tests.integration.etcd_servers import wait_until
from tests.nets import free_net

pytestmark = pytest.mark.e2e  # needs PostgreSQL
PORTS = {"p": 7711, "s": 7712}
SETTINGS = """
listen_addresses = '{address}'
unix_socket_directories = ''
fsync = off
wal_keep_size = 128MB
checkpoint_timeout = 1h
"""
ROWS = "CREATE TABLE rows AS SELECT generate_series(1, 400000) AS id"


@dataclass
class Pair:
    """A primary `p` and its standby `s`; no checkpoint comes by itself."""

    root: Path
    address: str
    bin: Path

    def run(self, program: str, *words: str) -> None:
        prefix = by_name(USER_NAMESPACE if os.geteuid() == 0 else DIRECT).prefix
        command = (*prefix, str(self.bin / program), *words)
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
        assert done.returncode == 0, done.stderr.decode()

    def ctl(self, name: str, *words: str) -> None:
        home = self.root / name
        port = f"-p {PORTS[name]}"
        self.run("pg_ctl", "-D", str(home), "-l", f"{home}.log", "-o", port, "-w", *words)

    def runs(self, name: str) -> bool:
        return bool(ControlData(str(self.bin / "pg_controldata"), str(self.root / name))().alive)

    def kill(self, name: str) -> None:
        pid = int((self.root / name / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.runs(name), 10, "the postmaster to be gone")

    def execute(self, name: str, statement: str) -> None:
        where = {"host": self.address, "port": PORTS[name], "user": "postgres", "dbname": "postgres"}
        with psycopg.connect(**where, autocommit=True) as connection:  # type: ignore[arg-type]
            connection.execute(statement.encode())

    def asked(self, name: str) -> SqlFacts:
        return PostgresSql({"user": "postgres"})(self.address, PORTS[name])

    def make(self) -> None:
        self.run("initdb", "-D", str(self.root / "p"), "-U", "postgres", "-A", "trust", "-N")
        with (self.root / "p" / "postgresql.conf").open("a") as file:
            file.write(SETTINGS.format(address=self.address))
        self.ctl("p", "start")
        source = ("-h", self.address, "-p", str(PORTS["p"]), "-U", "postgres")
        self.run("pg_basebackup", *source, "-D", str(self.root / "s"), "-R", "-c", "fast", "-N")
        self.ctl("s", "start")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    try:
        programs = find_programs(None)
    except ConfigError as error:
        pytest.skip(str(error))
    made = Pair(tmp_path, f"127.{free_net()}.0.1", programs.pg_bin)
    try:
        made.make()
        yield made
    finally:
        for name in PORTS:
            if (made.root / name / "postmaster.pid").exists() and made.runs(name):
                made.ctl(name, "stop", "-m", "immediate")


def once(ask: Callable[[], SqlFacts]) -> SqlFacts:
    """Ask until it answers: a standby does once it is consistent."""
    found: list[SqlFacts] = []

    def answers() -> bool:
        try:
            found.append(ask())
        except UnreachableError:
            return False
        return True

    wait_until(answers, 20, "an answer")
    return found[-1]


def test_a_standby_that_replays_its_own_wal_is_exact_only_at_its_end(pair: Pair) -> None:
    pair.execute("p", ROWS)
    end = pair.asked("p").lsn or 0
    wait_until(lambda: (pair.asked("s").lsn or 0) >= end, 20, "the standby to have it all")
    pair.ctl("s", "stop", "-m", "immediate")
    pair.ctl("p", "stop", "-m", "immediate")
    with (pair.root / "s" / "postgresql.auto.conf").open("a") as file:
        file.write("primary_conninfo = ''\nrecovery_min_apply_delay = '1h'\n")
    pair.ctl("s", "start")
    delayed = once(lambda: pair.asked("s"))
    assert delayed.may_replay_more
    assert (delayed.lsn or 0) < end
    with (pair.root / "s" / "postgresql.auto.conf").open("a") as file:
        file.write("recovery_min_apply_delay = 0\n")
    pair.ctl("s", "restart", "-m", "fast")
    first = once(lambda: pair.asked("s"))
    assert first.may_replay_more or (first.lsn or 0) >= end  # at once: never exact before its end
    wait_until(lambda: not pair.asked("s").may_replay_more, 30, "all to be replayed")
    assert (pair.asked("s").lsn or 0) >= end
    pair.execute("s", "SELECT pg_wal_replay_pause()")
    wait_until(lambda: pair.asked("s").may_replay_more, 20, "the pause to be seen")


def test_a_primary_that_crashed_right_after_its_promotion_is_on_the_new_timeline(pair: Pair) -> None:
    pair.ctl("s", "promote")
    pair.execute("s", ROWS)
    pair.kill("s")
    found = ControlData(str(pair.bin / "pg_controldata"), str(pair.root / "s"))()
    assert (found.state, found.timeline, found.alive) == ("in production", 2, False)
