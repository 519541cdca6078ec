"""Exhaustiveness checks for closed unions (typing.assert_never came with Python 3.11)."""

from __future__ import annotations

from typing import NoReturn


def assert_never(value: NoReturn) -> NoReturn:
    """Make mypy prove that no case is left; raise AssertionError if one is."""
    raise AssertionError(f"unhandled case: {value!r}")
