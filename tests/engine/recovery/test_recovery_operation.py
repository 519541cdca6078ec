"""What a refused recovery says, and with which exit code."""

from __future__ import annotations

import pytest

from patroni_etcd_reconfig.core.findings import Finding, blocker
from patroni_etcd_reconfig.engine.recovery.operation import SituationError
from patroni_etcd_reconfig.errors import ExitCode

ALIVE = blocker("MAJORITY_ALIVE", "b, c", "they answer", "look at the network")
CHANGED = blocker("SURVIVOR_CHANGED", "a", "it has more", "plan again")


@pytest.mark.parametrize(
    ("findings", "code"),
    [((ALIVE, CHANGED), ExitCode.BLOCKED), ((CHANGED, ALIVE), ExitCode.PLAN_MISMATCH)],
)
def test_the_exit_code_goes_with_what_is_told(findings: tuple[Finding, ...], code: ExitCode) -> None:
    error = SituationError(findings)
    assert (error.code, error.hint) == (findings[0].code, findings[0].remedy)
    assert error.exit_code is code
    assert error.findings == findings
