"""For tests: the tool kills itself at a step, as a crash would."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

VARIABLE = "PATRONI_ETCD_RECONFIG_FAILPOINT"  # e.g. acted:2


def failpoint(environ: Mapping[str, str]) -> Callable[[str], None]:
    """Return what is called with `before`, `acted` and `after` of each step; it kills at the one asked for.

    `before:N` is before the intent of this run's step N is written, counted from 1, `acted:N` before its
    outcome is, `after:N` after that.
    """
    wanted, _, number = environ.get(VARIABLE, "").partition(":")
    seen = {"before": 0, "acted": 0, "after": 0}

    def pass_by(place: str) -> None:
        seen[place] += 1
        if place == wanted and str(seen[place]) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return pass_by
