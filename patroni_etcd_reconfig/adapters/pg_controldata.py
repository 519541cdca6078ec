"""The control file of a PostgreSQL on this machine, through pg_controldata: works when it is down."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from patroni_etcd_reconfig.core.recovery.postgres_facts import ControlFacts, read_control
from patroni_etcd_reconfig.errors import UnreachableError

TIMEOUT = 5.0  # s; it reads one file of 8 kB


@dataclass(frozen=True)
class ControlData:
    """Reads the control file of one data directory with one program; both as the Patroni file has them."""

    program: str
    data_dir: str

    def __call__(self) -> ControlFacts:
        """Return what the control file says; UnreachableError with the program's words."""
        try:
            done = subprocess.run(
                (self.program, "-D", self.data_dir),
                env={**os.environ, "LC_ALL": "C", "LANG": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT,
                check=False,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise UnreachableError(f"{self.program}: {getattr(error, 'strerror', None) or error}") from error
        facts = read_control(done.stdout) if done.returncode == 0 else None
        if facts is None:
            raise UnreachableError(f"{self.program}: {(done.stderr or done.stdout).strip()[:300]}")
        return replace(facts, alive=_postmaster_runs(Path(self.data_dir)))


def _postmaster_runs(data_dir: Path) -> bool | None:
    """Return whether the process of postmaster.pid lives and works in this directory, as postmasters do."""
    try:
        pid = int((data_dir / "postmaster.pid").read_text("utf-8", "replace").splitlines()[0])
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == data_dir.resolve()
    except PermissionError:  # not our process: it may be the postmaster, or have got its number
        return None
    except (OSError, ValueError, IndexError):
        return False
