"""Write into PostgreSQL without a pause, and keep account of every answer."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import psycopg

from patroni_etcd_reconfig.lab.configs import Secrets
from patroni_etcd_reconfig.lab.layout import POSTGRESQL_PORT

_PAUSE = 0.002  # seconds between two writes
_RETRY_PAUSE = 0.1  # seconds before a new connection after an error
_TABLE = "lab_writes"


@dataclass(frozen=True)
class WriterReport:
    """What the writer saw. An error counts even when the next write went well."""

    acknowledged: frozenset[int]
    errors: tuple[str, ...]
    largest_gap_ms: float
    seconds: float


@dataclass
class _Account:
    acknowledged: set[int] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    largest_gap: float = 0.0
    last: float = 0.0

    def gap_ends(self, now: float) -> None:
        self.largest_gap = max(self.largest_gap, now - self.last)
        self.last = now


def connect(address: str, secrets: Secrets) -> psycopg.Connection[tuple[int]]:
    """Connect to a PostgreSQL of the lab as superuser, each statement a transaction of its own."""
    return psycopg.connect(
        host=address,
        port=POSTGRESQL_PORT,
        user="postgres",
        password=secrets.superuser,
        dbname="postgres",
        sslmode="disable",
        connect_timeout=2,
        autocommit=True,
        # A write that hangs must become an error that is counted.
        options="-c statement_timeout=10s",
    )


def stored_ids(address: str, secrets: Secrets) -> frozenset[int]:
    """Return the ids of all rows that are there."""
    with connect(address, secrets) as connection:
        rows = connection.execute(f"SELECT id FROM {_TABLE}").fetchall()  # noqa: S608 - a constant
    return frozenset(row[0] for row in rows)


class Writer:
    """A thread that inserts increasing ids on one server, whatever that server becomes."""

    def __init__(self, address: str, secrets: Secrets) -> None:
        self._address = address
        self._secrets = secrets
        self._stop = threading.Event()
        self._account = _Account()
        self._begin = 0.0
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Make the table, then start to write."""
        with connect(self._address, self._secrets) as connection:
            connection.execute(f"CREATE TABLE {_TABLE} (id bigint PRIMARY KEY, at timestamptz DEFAULT now())")
        self._begin = self._account.last = time.monotonic()
        self._thread.start()

    def stop(self) -> WriterReport:
        """End the writing and return the account; the time since the last answer counts as a gap, too."""
        self._stop.set()
        self._thread.join(timeout=30)
        now, account = time.monotonic(), self._account
        account.gap_ends(now)
        return WriterReport(
            acknowledged=frozenset(account.acknowledged),
            errors=tuple(account.errors),
            largest_gap_ms=account.largest_gap * 1000,
            seconds=now - self._begin,
        )

    def _run(self) -> None:
        next_id = 1
        while not self._stop.is_set():
            try:
                with connect(self._address, self._secrets) as connection:
                    while not self._stop.wait(_PAUSE):
                        # An id whose outcome is unknown is never used again.
                        next_id += 1
                        self._write(connection, next_id - 1)
            except psycopg.Error as error:
                self._account.errors.append(f"{time.strftime('%H:%M:%S')} {error}".strip())
                self._stop.wait(_RETRY_PAUSE)

    def _write(self, connection: psycopg.Connection[tuple[int]], row: int) -> None:
        connection.execute(f"INSERT INTO {_TABLE} (id) VALUES (%s)", (row,))  # noqa: S608 - a constant
        self._account.acknowledged.add(row)
        self._account.gap_ends(time.monotonic())
