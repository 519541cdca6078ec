"""The rows that a drill commits, and who has them."""

from __future__ import annotations

import psycopg

from patroni_etcd_reconfig.clock import SystemClock, wait_until
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.marker import load_secrets
from patroni_etcd_reconfig.lab.writer import connect

ROWS = 1000
_TABLE = "drill_rows"
_PATIENCE = 90.0  # seconds


def make_table(lab: Lab, leader: int) -> None:
    """Make the table for the rows."""
    with connect(lab.layout.address(leader), load_secrets(lab.layout)) as connection:
        connection.execute(f"CREATE TABLE {_TABLE} (id bigint PRIMARY KEY)")


def commit_rows(lab: Lab, leader: int, standby: int, rows: int = ROWS) -> None:
    """Commit rows 0, 1, … on the leader, and return when the standby has them."""
    with connect(lab.layout.address(leader), load_secrets(lab.layout)) as connection:
        connection.execute(f"INSERT INTO {_TABLE} SELECT generate_series(0, {rows - 1})")
    wanted = frozenset(range(rows))
    wait_until(
        lambda: wanted <= stored_rows(lab, standby),
        what=f"pg{standby} to have replayed the rows",
        seconds=_PATIENCE,
        clock=SystemClock(),
    )


def stored_rows(lab: Lab, host: int) -> frozenset[int]:
    """Return the rows that a node has; none when it can't be asked."""
    try:
        with connect(lab.layout.address(host), load_secrets(lab.layout)) as connection:
            return frozenset(row[0] for row in connection.execute(f"SELECT id FROM {_TABLE}"))  # noqa: S608
    except psycopg.Error:
        return frozenset()


def in_recovery(lab: Lab, host: int) -> bool:
    """Tell whether PostgreSQL is read-only there; one that can't be asked is not writable either."""
    try:
        with connect(lab.layout.address(host), load_secrets(lab.layout)) as connection:
            found = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    except psycopg.Error:
        return True
    return bool(found and found[0])
