"""Fixtures for tests on real Patroni."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.patronis import patroni_dirs


@pytest.fixture(
    scope="module",
    params=[pytest.param(directory, id=f"patroni-{version}") for version, directory in patroni_dirs()],
)
def patroni_dir(request: pytest.FixtureRequest) -> Path | None:
    """Give the virtual environment of one Patroni after the other; None: the Patroni of our own."""
    directory = request.param
    assert directory is None or isinstance(directory, Path)
    return directory
