"""Says which etcd, Patroni and PostgreSQL the tests run against."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

from tests.integration.etcd_servers import etcd_dirs
from tests.patronis import patroni_dirs

# A job that a script put in the background has Ctrl-C ignored, and so would every tool that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> list[str]:
    """Print the versions under test, and where each etcd is."""
    etcds = ", ".join(f"{number} ({directory})" for number, directory in etcd_dirs())
    patronis = ", ".join(
        f"{number} ({directory})" if directory else number for number, directory in patroni_dirs()
    )
    return [f"under test: etcd {etcds or 'none'}; Patroni {patronis}; PostgreSQL {_postgresql()}"]


def _postgresql() -> str:
    """Return the versions of all PostgreSQL servers, Debian's off-PATH places included."""
    on_path = shutil.which("postgres")
    found = {Path(on_path)} if on_path else set()
    found.update(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    told = (subprocess.run([server, "--version"], capture_output=True, text=True) for server in found)
    return ", ".join(sorted({answer.stdout.split()[2] for answer in told if answer.stdout})) or "none"
