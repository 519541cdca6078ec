"""Where a test lets the tool die: `PATRONI_ETCD_RECONFIG_FAILPOINT="acted:AddLearner"`. For tests only.

The moments are `before` (nothing is in the journal), `intended` (the intent is there, and nothing was done),
`acted` (the step acted, and its outcome is not in the journal yet) and `after` (it is). Instead of the kind
of step its number can be given, counted from 1: in the operation, or in this run of a recovery.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "PATRONI_ETCD_RECONFIG_FAILPOINT"
MOMENTS = ("before", "intended", "acted", "after")


def failpoint(moment: str, kind: str, number: int) -> None:
    """End this process as `kill -9` does, if that is what the environment asks for here."""
    if os.environ.get(VARIABLE) in (f"{moment}:{kind}", f"{moment}:{number}"):
        os.kill(os.getpid(), signal.SIGKILL)
