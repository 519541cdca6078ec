"""PostgreSQL itself: what it is, and how far it got. Reads only, as the superuser of the Patroni file.

psycopg is imported when a server is asked for the first time: that takes 150 ms.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from patroni_etcd_reconfig.adapters.patroni_sources import SUPERUSER
from patroni_etcd_reconfig.core.recovery.postgres_facts import History, SqlFacts, read_history
from patroni_etcd_reconfig.errors import UnreachableError

if TYPE_CHECKING:
    from psycopg import Connection

    Db = Connection[dict[str, Any]]

CONNECT_TIMEOUT = 2  # s; libpq takes 1 for 2
STATEMENT_TIMEOUT = 1500  # ms
HISTORY_SIZE = 1 << 20  # bytes; a line for each timeline there ever was

# On a primary the control file trails the timeline until the checkpoint after a promotion, and the name of
# the WAL file being written does not. A standby has no such file, its control file trails until the next
# restart point, and the receiver's timeline is gone with the primary; IDENTIFY_SYSTEM tells what it replays.
_STATE = """
SELECT pg_catalog.pg_is_in_recovery() AS in_recovery,
       s.system_identifier::text AS system_identifier,
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL
            ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()) END AS wal_file,
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL
            ELSE pg_catalog.pg_current_wal_flush_lsn() - '0/0'::pg_lsn END AS flushed,
       pg_catalog.pg_last_wal_receive_lsn() - '0/0'::pg_lsn AS received,
       pg_catalog.pg_last_wal_replay_lsn() - '0/0'::pg_lsn AS replayed,
       (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()) AS checkpoint_timeline,
       (SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()) AS recovery_timeline,
       (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver) AS received_timeline,
       pg_catalog.current_setting('synchronous_standby_names') AS sync_standby_names
  FROM pg_catalog.pg_control_system() AS s
"""
_SYNC = """
SELECT application_name FROM pg_catalog.pg_stat_replication
 WHERE sync_state IN ('sync', 'quorum') ORDER BY application_name
"""
# A standby that never received WAL since its start still replays what it has; it answers queries meanwhile.
# The startup process says what it waits for (utils/wait_event.h); NULL = it works, or we may not know.
_REPLAY = """
SELECT pg_catalog.pg_last_wal_replay_lsn() - '0/0'::pg_lsn AS replayed,
       pg_catalog.pg_is_wal_replay_paused() AS paused,
       pg_catalog.current_setting('recovery_min_apply_delay', true) AS delay,
       (SELECT wait_event FROM pg_catalog.pg_stat_activity WHERE backend_type = 'startup' LIMIT 1) AS waits
"""
_AT_THE_END = frozenset({"RecoveryWalStream", "RecoveryWalAll", "RecoveryRetrieveRetryInterval"})
LOOKS = 4  # at a standby that replays; what stands still for so long, and waits for nothing else, is done
BETWEEN_LOOKS = 0.2  # s
_HISTORY = "SELECT pg_catalog.pg_read_file(%s, 0, %s, true) AS history"


@dataclass(frozen=True)
class PostgresSql:
    """Asks PostgreSQL servers. `options` are libpq's connection parameters; what is not given there, libpq
    takes from its environment and its password file."""

    options: Mapping[str, str] = field(repr=False)

    def __call__(self, host: str, port: int) -> SqlFacts:
        """Return what a server says; UnreachableError with its own words when it doesn't."""
        import psycopg
        from psycopg.rows import dict_row

        try:
            with psycopg.connect(
                **self._session(host, port), autocommit=True, row_factory=dict_row
            ) as connection:
                state = _rows(connection, _STATE)[0]
                replayed = self._replayed_timeline(host, port) if state["in_recovery"] else None
                return _replayed_to_the_end(connection, state, _facts(connection, state, replayed))
        except psycopg.Error as error:
            raise UnreachableError(f"{host}:{port}: {_words(error)}") from error

    def _replayed_timeline(self, host: str, port: int) -> int | None:
        """Ask a standby as a client of replication would; None where that is refused."""
        import psycopg

        session = {**self._session(host, port), "replication": "database"}
        with suppress(psycopg.Error), psycopg.connect(**session, autocommit=True) as connection:
            row = connection.execute(b"IDENTIFY_SYSTEM").fetchone()
            return int(row[1]) if row else None
        return None

    def _session(self, host: str, port: int) -> dict[str, Any]:
        return {**_session(self.options), "host": host, "port": port, "connect_timeout": CONNECT_TIMEOUT}


def _session(options: Mapping[str, str]) -> dict[str, Any]:
    settings = f"-c statement_timeout={STATEMENT_TIMEOUT} -c default_transaction_read_only=on"
    defaults = {"dbname": "postgres", "application_name": "patronictl-etcd", "options": settings}
    return {**defaults, **options}


def _facts(connection: Db, state: Mapping[str, Any], replayed: int | None) -> SqlFacts:
    timeline = replayed or _timeline(state)
    return SqlFacts(
        in_recovery=bool(state["in_recovery"]),
        timeline=timeline,
        lsn=_position(state),
        system_identifier=str(state["system_identifier"]),
        sync_standby_names=state["sync_standby_names"],
        sync_standbys=tuple(row["application_name"] for row in _rows(connection, _SYNC)),
        history=_history(connection, timeline) if timeline and timeline > 1 else (),
        timeline_is_sure=bool(replayed or state["wal_file"]),
    )


def _replayed_to_the_end(connection: Db, state: Mapping[str, Any], facts: SqlFacts) -> SqlFacts:
    """See whether a standby that received nothing has replayed all that it has, and how far that is."""
    if not facts.in_recovery or state["received"] is not None:
        return facts
    looks = [_rows(connection, _REPLAY)[0]]
    while len(looks) < LOOKS and not _waits_for_wal(looks[-1]):
        time.sleep(BETWEEN_LOOKS)
        looks.append(_rows(connection, _REPLAY)[0])
    done = _waits_for_wal(looks[-1]) or _stands_still(looks)
    # Once more: what was read together with the wait may have been read before it.
    last = _rows(connection, _REPLAY)[0]["replayed"]
    return replace(facts, lsn=facts.lsn if last is None else int(last), may_replay_more=not done)


def _waits_for_wal(look: Mapping[str, Any]) -> bool:
    return look["waits"] in _AT_THE_END and not look["paused"]


def _stands_still(looks: list[dict[str, Any]]) -> bool:
    free = all(not one["paused"] and one["delay"] in (None, "0") and one["waits"] is None for one in looks)
    return free and len({one["replayed"] for one in looks}) == 1


def _rows(connection: Db, statement: str, *values: object) -> list[dict[str, Any]]:
    return connection.execute(statement.encode(), values).fetchall()


def _timeline(state: Mapping[str, Any]) -> int | None:
    if state["wal_file"]:
        return int(state["wal_file"][:8], 16)
    known = ("checkpoint_timeline", "recovery_timeline", "received_timeline")
    return max((int(state[key] or 0) for key in known), default=0) or None


def _position(state: Mapping[str, Any]) -> int | None:
    """What is flushed on a primary, the further of received and replayed on a standby."""
    known = [int(state[key]) for key in ("flushed", "received", "replayed") if state[key] is not None]
    return max(known, default=None)


def _history(connection: Db, timeline: int) -> History:
    """Only a superuser, or who may read the server's files, sees it; the file can be gone, too."""
    import psycopg

    with suppress(psycopg.Error):
        row = _rows(connection, _HISTORY, f"pg_wal/{timeline:08X}.history", HISTORY_SIZE)[0]
        return read_history(row["history"] or "")
    return ()


def _words(error: Exception) -> str:
    """Return the last line of libpq's message, which says why, without the address."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text.rpartition(" failed: ")[2].removeprefix("FATAL:").strip()


def connection_options(raw: Mapping[str, Any], environ: Mapping[str, str], user: str = "") -> dict[str, str]:
    """Return libpq's options from a Patroni configuration, the environment and an option for the user.

    PGUSER, PGPASSWORD and PGPASSFILE count before the file: an operator sets them on purpose. A password
    of the file is for the user of the file only.
    """
    given = raw.get("postgresql") or {}
    listed = ((given.get("authentication") or {}).get("superuser") or {}) if isinstance(given, dict) else {}
    listed = listed if isinstance(listed, dict) else {}
    options = {key: str(listed[key]) for key in SUPERUSER[2:] if listed.get(key) is not None}
    chosen = user or environ.get("PGUSER") or str(listed.get("username") or "postgres")
    own = "PGPASSWORD" in environ or "PGPASSFILE" in environ
    if not own and listed.get("password") and chosen == str(listed.get("username") or "postgres"):
        options["password"] = str(listed["password"])
    return {**options, "user": chosen}
