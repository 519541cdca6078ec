"""Keys that a snapshot can't know the truth of: they are dropped before anything else looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from patroni_etcd_reconfig.core.model import KeyValue
from patroni_etcd_reconfig.core.patroni_keys import group_by_scope
from patroni_etcd_reconfig.core.recovery.repairs import DeleteKey

# `sync` is not among them: the audit makes it agree with the real primary. `config`, `initialize` and
# `history` are what a snapshot is good for.
_WHY = {
    "leader": "who led when the snapshot was taken may be behind today's leader",
    "failover": "a request of then would be carried out now",
    "status": "how far it got then; the leader writes it anew",
    "failsafe": "the members of then; the leader writes it anew",
}
_MEMBER = "a member of then; its Patroni registers again when it runs"


def is_volatile(name: str) -> bool:
    """Tell it of a key by its name below its scope."""
    return name in _WHY or name.startswith("members/")


def drops_of(kvs: Iterable[KeyValue], namespace: str) -> Iterator[DeleteKey]:
    """Return what to delete of all scopes, leader keys first."""
    prefix = f"/{namespace.strip('/')}/"
    found = [(one.scope, name, kv) for one in group_by_scope(kvs, namespace) for name, kv in one.keys.items()]
    for scope, name, kv in sorted(found, key=lambda row: (row[1] != "leader", row[0], row[1])):
        if is_volatile(name):
            yield DeleteKey(f"{prefix}{scope}/{name}", _WHY.get(name, _MEMBER), kv.mod_revision)
