"""Fixtures for tests on real etcd servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.etcd_servers import etcd_dirs

_WITHOUT = pytest.param(None, id="none", marks=pytest.mark.skip("no etcd on PATH nor in ETCD_DIRS"))


@pytest.fixture(
    scope="module",
    params=[pytest.param(directory, id=version) for version, directory in etcd_dirs()] or [_WITHOUT],
)
def etcd_dir(request: pytest.FixtureRequest) -> Path:
    """Give the directory of one installed etcd after the other."""
    directory = request.param
    assert isinstance(directory, Path)
    return directory
