"""Plan files of a recovery; a file that is none, was edited, or is blocked is a usage error."""

from __future__ import annotations

from pathlib import Path

from patroni_etcd_reconfig.cli.recover.files import read_json
from patroni_etcd_reconfig.core.recovery.codec import NotReadableError
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.core.recovery.plan_codec import read_plan_document
from patroni_etcd_reconfig.errors import ConfigError

PLAN_HINT = "give a file that `patronictl-etcd recover plan -o FILE` wrote"


def read_plan(path: Path) -> RecoveryPlan:
    """Return the plan of a file; ConfigError for anything else."""
    try:
        return read_plan_document(read_json(path, PLAN_HINT))
    except NotReadableError as error:
        raise ConfigError(f"{path}: {error}", hint=PLAN_HINT) from error
