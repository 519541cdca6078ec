"""Results of checks, as values: reported all at once, turned into an exit code in one place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum


class Severity(str, Enum):
    """How much a finding weighs: a blocker stops an operation unless it is accepted by its code."""

    BLOCKER = "blocker"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """One result of a check: what was seen, on what, and what to do about it.

    `transient` says that waiting may cure it: the engine waits for a bounded time before it stops.
    """

    code: str
    severity: Severity
    subject: str
    detail: str
    remedy: str
    transient: bool = False

    def as_dict(self) -> dict[str, str]:
        """Return the finding as the JSON contract shows it."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "subject": self.subject,
            "detail": self.detail,
            "remedy": self.remedy,
        }


def blocker(code: str, subject: str, detail: str, remedy: str, *, transient: bool = False) -> Finding:
    """Return a finding that stops an operation."""
    return Finding(code, Severity.BLOCKER, subject, detail, remedy, transient)


def warning(code: str, subject: str, detail: str, remedy: str) -> Finding:
    """Return a finding that is worth reading before going on."""
    return Finding(code, Severity.WARNING, subject, detail, remedy)


def info(code: str, subject: str, detail: str, remedy: str) -> Finding:
    """Return a finding that is good to know."""
    return Finding(code, Severity.INFO, subject, detail, remedy)


def blockers(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return those that stop an operation."""
    return tuple(finding for finding in findings if finding.severity is Severity.BLOCKER)


# What an operator may pass knowingly. All else is a law, or means that the tool would act blindly.
ACCEPTABLE = frozenset(
    {
        "ALARM",
        "DB_QUOTA",
        "DISK_SPACE",
        "FAILSAFE_OFF",
        "HAZARD_CORRUPTION",
        "HOSTS_STALE",
        "LEARNER_PRESENT",
        "MEMBER_UNHEALTHY",
        "NOT_CONNECTED",
        "PATRONI_FAILOVER_PENDING",
        "PATRONI_LEASE_STALE",
        "PATRONI_NO_LEADER",
        "PATRONI_PAUSED",
        "RAFT_LAG",
        "TOO_FEW_VOTERS",
        "UPGRADE_PATH",
        "VERSION_SKEW",
        "WRITE_GAP_BUDGET",
    }
)


def accepted(findings: Iterable[Finding], codes: frozenset[str]) -> tuple[Finding, ...]:
    """Turn the blockers that the operator accepted by code into warnings that say so."""
    return tuple(_accept(finding) if finding.code in codes else finding for finding in findings)


def _accept(finding: Finding) -> Finding:
    if finding.severity is not Severity.BLOCKER or finding.code not in ACCEPTABLE:
        return finding
    return replace(finding, severity=Severity.WARNING, detail=f"{finding.detail} (accepted by the operator)")
