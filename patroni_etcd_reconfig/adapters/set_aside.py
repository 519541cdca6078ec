"""Data dirs that operations have set aside: renamed, never deleted on the way (law 5)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from patroni_etcd_reconfig.adapters.leftovers import OPERATION


def set_aside_beside(data_dir: Path) -> tuple[str, ...]:
    """Return the directories beside it that operations have set aside, the newest first."""
    try:
        names = [entry.name for entry in os.scandir(data_dir.parent) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return ()
    ours = re.compile(rf"{re.escape(data_dir.name)}\.(?:[0-9a-f]+|unknown)\.{OPERATION}")
    found = [(match["operation"], name) for name in names if (match := ours.fullmatch(name))]
    return tuple(str(data_dir.parent / name) for _, name in sorted(found, reverse=True))
