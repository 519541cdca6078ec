"""Run the tool from the lab as a user would."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

CLI = (sys.executable, "-m", "patroni_etcd_reconfig.cli.main")


def cli_env() -> dict[str, str]:
    """Return an environment in which `-m` finds this very package, installed or not, from any cwd."""
    package_root = str(Path(__file__).resolve().parents[2])
    path = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def json_object(text: bytes) -> dict[str, Any]:
    """Return what a command printed as JSON; {} when that is no object."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
