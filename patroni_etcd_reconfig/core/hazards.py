"""Known bugs of etcd versions that endanger membership changes, and what is done about each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from patroni_etcd_reconfig.core.findings import Finding, Severity
from patroni_etcd_reconfig.core.model import EtcdView

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Hazard:
    """A bug in the versions from `first` up to, but without, `fixed`."""

    code: str
    first: Version
    fixed: Version
    severity: Severity
    detail: str
    remedy: str
    issue: str


HAZARDS = (
    Hazard(
        "HAZARD_CORRUPTION",
        (3, 5, 0),
        (3, 5, 3),
        Severity.BLOCKER,
        "a crash can leave members with different data",
        "upgrade to 3.5.3 or later before any other change",
        "etcd-io/etcd#13766",
    ),
    Hazard(
        "HAZARD_DEFRAG_CRASH",
        (3, 5, 3),
        (3, 5, 6),
        Severity.WARNING,
        "a crash during defragmentation can leave members with different revisions",
        "do not defragment during the operation; upgrade to 3.5.6 or later",
        "etcd-io/etcd#14685",
    ),
    Hazard(
        "HAZARD_PROMOTION_NOT_PERSISTED",
        (3, 5, 1),
        (3, 5, 20),
        Severity.WARNING,
        "promotions are missing in the v2 store, which an upgrade to 3.6 reads: "
        "'too many learner members in cluster'",
        "upgrade to the latest 3.5 before you upgrade to 3.6",
        "etcd-io/etcd#19557",
    ),
    Hazard(
        "HAZARD_LEARNER_TRAP",
        (3, 6, 0),
        (4, 0, 0),
        Severity.INFO,
        "a learner refuses Patroni with an error that makes it ask the same learner again until it gives up",
        "none that this tool starts is seen by Patroni; while another one is in the list, restart no etcd "
        "and no Patroni",
        "etcd-io/etcd#13853",
    ),
)


def parse_version(text: str) -> Version | None:
    """Return (major, minor, patch), or None when the text is no version."""
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def check_hazards(etcd: EtcdView, *, upgrading: bool = False) -> Iterator[Finding]:
    """Report each known hazard once, with the members that run an affected version.

    None stops an upgrade, which is the remedy.
    """
    for hazard in HAZARDS:
        names = [
            f"{view.member.name} ({view.status.version})"
            for view in etcd.members
            if view.status and _affects(hazard, view.status.version)
        ]
        if names:
            detail = f"{', '.join(names)}: {hazard.detail} ({hazard.issue})"
            eased = upgrading and hazard.severity is Severity.BLOCKER
            severity = Severity.WARNING if eased else hazard.severity
            yield Finding(hazard.code, severity, "etcd", detail, hazard.remedy)


def _affects(hazard: Hazard, text: str) -> bool:
    version = parse_version(text)
    return version is not None and hazard.first <= version < hazard.fixed
