"""Real time, and waits that always end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.ports import Clock

T = TypeVar("T")


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Return a monotonic time in seconds."""
        return time.monotonic()

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def wait_until(
    probe: Callable[[], T | None], *, what: str, seconds: float, clock: Clock, pause: float = 0.02
) -> T:
    """Return the first result of `probe` that is not None or False.

    Raises StepFailedError, naming what was waited for, when the time is over.
    """
    deadline = clock.monotonic() + seconds
    while True:
        result = probe()
        if result is not None and result is not False:
            return result
        if clock.monotonic() >= deadline:
            raise StepFailedError(f"waited {seconds:.0f} s in vain for {what}", code="WAIT_TIMEOUT")
        clock.sleep(pause)
