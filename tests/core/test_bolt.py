"""etcd's database: damaged files make the reader say so, and nothing else. Real ones: test_data_dir.py."""

from __future__ import annotations

import pytest

from patroni_etcd_reconfig.core.bolt import Bolt, BoltError


def reader(data: bytes) -> Bolt:
    return Bolt(lambda offset, size: data[offset : offset + size])


@pytest.mark.parametrize("data", [b"", bytes(8192), b"\xff" * 8192, b"no database" * 1000])
def test_what_is_no_database_is_refused(data: bytes) -> None:
    with pytest.raises(BoltError, match="neither meta page"):
        reader(data)
