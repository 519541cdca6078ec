"""Whose login a recovery has: etcd's membership calls need its role root, which Patroni's user has not."""

from __future__ import annotations

from collections.abc import Iterator

from patroni_etcd_reconfig.core.findings import Finding, blocker
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan


def check_login(plan: RecoveryPlan, user: str) -> Iterator[Finding]:
    """Return what is wrong with the user, before anything is stopped: later the new etcd would refuse it."""
    survivor = plan.survivor
    if survivor is None or survivor.auth_roots is None or user in survivor.auth_roots:
        return
    who = f"the user {user} of the Patroni file has not its role root" if user else "no user was given"
    yield blocker(
        "ETCD_NOT_ROOT",
        survivor.node,
        f"etcd's authentication is on in its data, and {who}, which members are removed and added with",
        "copy the Patroni file, put username and password of a user with the role root into its etcd3 section"
        f" ({', '.join(survivor.auth_roots) or 'none has it'}), and give it with -c",
    )
