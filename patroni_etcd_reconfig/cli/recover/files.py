"""The files that go from one recovery command to the next; a file that is not ours is a usage error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patroni_etcd_reconfig.core.findings import Finding
from patroni_etcd_reconfig.core.recovery.codec import NotReadableError, read_evidence_document
from patroni_etcd_reconfig.core.recovery.evidence import Evidence
from patroni_etcd_reconfig.core.recovery.merge import merge
from patroni_etcd_reconfig.errors import ConfigError
from patroni_etcd_reconfig.files import read_text, write_atomically

COLLECT_HINT = "give files that `patronictl-etcd recover collect -o FILE` wrote"


def read_evidence(paths: Sequence[Path]) -> tuple[Evidence, tuple[Finding, ...]]:
    """Return the evidence of these files as one, and what in it contradicts itself; ConfigError."""
    return merge(*(_evidence(path) for path in paths))


def read_json(path: Path, hint: str) -> Any:
    """Return what a file holds; ConfigError says where it is cut off or is no JSON."""
    try:
        return json.loads(read_text(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a whole JSON file: {error}", hint=hint) from error


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a file with mode 0600, as a whole; ConfigError when that is not possible there."""
    try:
        write_atomically(path, json.dumps(data, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}", hint="choose another file") from error


def _evidence(path: Path) -> Evidence:
    try:
        return read_evidence_document(read_json(path, COLLECT_HINT))
    except NotReadableError as error:
        raise ConfigError(f"{path}: {error}", hint=COLLECT_HINT) from error
