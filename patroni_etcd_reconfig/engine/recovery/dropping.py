"""What a snapshot can't know the truth of is dropped, in quarantine, before anything else reads it."""

from __future__ import annotations

from collections.abc import Callable

from patroni_etcd_reconfig.core.recovery.volatile import drops_of
from patroni_etcd_reconfig.engine.recovery.loop import Facts
from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.ports import EtcdApi

# A lease that runs out between reading and deleting changes keys: then all is read again.
ROUNDS = 5


def drop_volatile(client: EtcdApi, namespace: str, note: Callable[[Facts], None]) -> Facts:
    """Return when no volatile key is left in any scope; what will be deleted is noted before, durably."""
    done: list[str] = []
    for _ in range(ROUNDS):
        drops = tuple(drops_of(client.range(namespace.rstrip("/") + "/", prefix=True).kvs, namespace))
        if not drops:
            return {"dropped": done}
        note({"dropping": [drop.key for drop in drops]})
        done += [d.key for d in drops if client.delete_if_unchanged(d.key, mod_revision=d.mod_revision)]
    raise StepFailedError(
        f"{drops[0].key} was deleted {ROUNDS} times and is still there",
        hint="somebody else writes to this etcd: find out who; then give the same command again",
        code="REPAIR",
    )
