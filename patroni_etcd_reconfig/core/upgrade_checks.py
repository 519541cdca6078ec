"""Which versions may run beside each other, and which way a version may change."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.changes import Change, MemberRef
from patroni_etcd_reconfig.core.findings import Finding, blocker, info, warning
from patroni_etcd_reconfig.core.hazards import Version, parse_version
from patroni_etcd_reconfig.core.model import EtcdView, Observation

# Older 3.5 wrote memberships that 3.6 does not take over: etcd-io/etcd#19557, #20793, #20967, and etcd's
# own advice (blog of 2025-12-17, "go through 3.5.26 before 3.6").
BEFORE_3_6 = (3, 5, 26)


def check_versions(etcd: EtcdView, *, upgrading: bool) -> Iterator[Finding]:
    """Different minors stop every change but the upgrade that is half done."""
    versions = {view.member.name: view.status.version for view in etcd.members if view.status}
    minors = {(parse_version(text) or (0, 0, 0))[:2] for text in versions.values()}
    half_done = upgrading and _are_neighbours(minors)
    if len(minors) > 1 and not half_done:
        seen = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        remedy = "finish the upgrade of all members: patronictl-etcd upgrade"
        yield blocker("VERSION_SKEW", "etcd", f"different minor versions: {seen}", remedy)


def check_upgrade(etcd: EtcdView, change: Change) -> Iterator[Finding]:
    """Say what stands in the way of the version that was told, before anything is touched."""
    wanted = parse_version(change.to_version)
    if not change.command:
        return
    if wanted is None:
        yield info(
            "UPGRADE_VERSION_UNKNOWN",
            "etcd",
            "which version the command brings was not told, so it is checked only after each start",
            "tell it: --to VERSION",
        )
        return
    yield from _check_v2_requests(etcd, wanted)
    for view in etcd.members:
        present = parse_version(view.status.version) if view.status else None
        if present:
            touched = view.id in {ref.id for ref in change.restarts}
            yield from _check_step(view.member.name, present, wanted, touched)


def _check_v2_requests(etcd: EtcdView, wanted: Version) -> Iterator[Finding]:
    """Seen with 3.4.23 to 3.6.6: "detected disallowed v2 WAL for stage --v2-deprecation=write-only"."""
    versions = {v.member.name: parse_version(v.status.version) for v in etcd.members if v.status}
    older = [name for name, version in versions.items() if version and version[:2] < (3, 6)]
    if wanted[:2] == (3, 6) and older:
        yield warning(
            "UPGRADE_V2_WAL",
            ", ".join(older),
            "3.6 does not start on a write-ahead log with v2 requests since the last raft snapshot, and each "
            "request to /health of 3.4 is one",
            "upgrade only once --snapshot-count writes have passed since the last such request; if the first "
            "member does not start, put its former version back: the others are untouched",
        )


def _check_step(name: str, present: Version, wanted: Version, touched: bool) -> Iterator[Finding]:
    way = f"{_text(present)} to {_text(wanted)}"
    if touched and wanted < present:
        yield blocker(
            "DOWNGRADE", name, f"{way} is a downgrade", "give a version that is not lower with --to"
        )
    if not _are_neighbours({present[:2], wanted[:2]}):
        yield blocker(
            "MINOR_SKIPPED",
            name,
            f"{way} skips a minor version, and etcd runs only with neighbours beside each other",
            f"upgrade all members to {present[0]}.{present[1] + 1} first",
        )
    if present < BEFORE_3_6 and present[:2] == (3, 5) and wanted[:2] == (3, 6):
        yield blocker(
            "UPGRADE_PATH",
            name,
            f"{_text(present)} may have members on record that 3.6 does not take over (etcd-io/etcd#20967)",
            f"upgrade all members to {_text(BEFORE_3_6)} or a later 3.5 first, or --accept UPGRADE_PATH",
        )


def wrong_version(etcd: EtcdView, member_id: int, before: str, wanted: str) -> str:
    """Return what is wrong with the version that a member runs after its upgrade; empty when nothing is."""
    view = etcd.by_id(member_id)
    text = view.status.version if view and view.status else ""
    if parse_version(text) is None:
        return ""
    return (
        f"it runs {text}, not {wanted}" if wanted and text != wanted else unfit(etcd, member_id, text, before)
    )


def unfit(etcd: EtcdView, member_id: int, text: str, before: str) -> str:
    """Return why a member must not run a version; empty when it may, or when the text is no version."""
    version, former = parse_version(text), parse_version(before)
    if version is None:
        return ""
    if former and version < former:
        return f"it runs {text}, which is lower than {before}"
    if former and not _are_neighbours({version[:2], former[:2]}):
        return f"it runs {text}, more than one minor version above {before}"
    others = [parse_version(v.status.version) for v in etcd.members if v.status and v.id != member_id]
    far = [other for other in others if other and not _are_neighbours({version[:2], other[:2]})]
    return f"it runs {text} beside {_text(far[0])}: more than one minor version apart" if far else ""


def _are_neighbours(minors: set[tuple[int, int]]) -> bool:
    low, high = min(minors, default=(0, 0)), max(minors, default=(0, 0))
    return low[0] == high[0] and high[1] - low[1] <= 1


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def version_before(seen: Observation, ref: MemberRef) -> str:
    """A member that a killed run has stopped, or started, does not tell any more what it ran before."""
    view = seen.etcd.by_id(ref.id)
    now = view.status.version if view and view.status else ""
    return seen.progress.versions.get(ref.id) or now


def is_at_version(etcd: EtcdView, ref: MemberRef, version: str) -> bool:
    """A member that runs the wanted version needs no upgrade; where none is told, none is known to."""
    view = etcd.by_id(ref.id)
    return bool(version) and view is not None and view.status is not None and view.status.version == version
