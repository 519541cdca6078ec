"""A login that does not suffice is told before anything is stopped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patroni_etcd_reconfig.core.protobuf import repeated_in
from patroni_etcd_reconfig.core.recovery.logins import check_login
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan
from patroni_etcd_reconfig.core.recovery.plan import plan_recovery
from patroni_etcd_reconfig.core.recovery.restoring import SnapshotFile, Wish, plan_restore
from tests.core.recovery.builders import NOW, down, found, keys, members, primary, wiped

KEYS = tuple(keys("pg1").keys.values())
ROOTS = ("admin", "root")


def forced(roots: tuple[str, ...] | None) -> RecoveryPlan:
    evidence = found(down("a", keys=KEYS, auth_roots=roots), wiped("b"), wiped("c"), primary("pg1"))
    return plan_recovery(evidence, frozenset(), NOW)[0]


def restored(roots: tuple[str, ...] | None) -> RecoveryPlan:
    file = SnapshotFile("/s.db", "ab" * 32, 4096, True, 50, NOW, KEYS, members("abc"), roots)
    return plan_restore(found(wiped("a"), wiped("b"), wiped("c"), primary("pg1")), file, Wish("a"), NOW)[0]


@pytest.mark.parametrize("make", [forced, restored])
def test_patroni_s_own_user_is_not_enough(make: object) -> None:
    assert callable(make)
    (finding,) = check_login(make(ROOTS), "patroni")
    assert finding.code == "ETCD_NOT_ROOT"
    assert "the user patroni" in finding.detail
    assert "admin, root" in finding.remedy
    assert len(list(check_login(make(ROOTS), ""))) == 1
    assert list(check_login(make(ROOTS), "admin")) == []
    assert list(check_login(make(None), "")) == []
    assert list(check_login(replace(make(ROOTS), survivor=None), "")) == []


def test_every_role_of_a_user_is_read() -> None:
    user = b"\x0a\x03app\x12\x01x\x1a\x07patroni\x1a\x04root"
    assert repeated_in(user, 3) == (b"patroni", b"root")
    assert repeated_in(user[:-2], 3) == (b"patroni",)
