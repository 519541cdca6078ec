"""The Patroni callback: write one event file into a spool directory and return.

Patroni runs callbacks as its own user, ignores their exit code, and kills a running one (and all its
children) when the next event comes (postgresql/callback_executor.py). So nothing is done here but to
leave a note, atomically; always exit 0, and never an exception into Patroni's log.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

DEFAULT_SPOOL = "/var/spool/patroni-etcd-reconfig"
SPOOL_VARIABLE = "PATRONI_ETCD_RECONFIG_SPOOL"
KEEP = 1000  # events that may wait; when nobody reads the spool, later ones are dropped


def write_event(spool: Path, action: str, role: str, scope: str, now_ns: int) -> Path:
    """Write an event so that a reader sees it whole or not at all; raises OSError."""
    name = f"{now_ns:020d}-{os.getpid()}.json"
    event = {"format": 1, "action": action, "role": role, "scope": scope, "at": now_ns / 1e9}
    hidden = spool / f".{name}"
    hidden.write_text(json.dumps(event) + "\n", encoding="utf-8")
    return hidden.rename(spool / name)


def main() -> None:
    """Take ACTION ROLE SCOPE as Patroni gives them; one line on stderr when the event can't be kept."""
    try:
        action, role, scope = sys.argv[1:4]
        spool = Path(os.environ.get(SPOOL_VARIABLE, DEFAULT_SPOOL))
        if sum(1 for _ in spool.iterdir()) >= KEEP:
            raise OSError(f"{KEEP} events wait in {spool} and nobody reads them")
        write_event(spool, action, role, scope, time.time_ns())
    except (OSError, ValueError) as error:
        sys.stderr.write(f"patroni-etcd-callback: event not kept: {error}\n")
    sys.exit(0)


if __name__ == "__main__":
    main()
