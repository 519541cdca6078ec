"""The whole tool in this process, so that somebody can step in right before one of its calls to etcd."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from patroni_etcd_reconfig.adapters.etcd_client import EtcdClient
from patroni_etcd_reconfig.cli.main import run
from patroni_etcd_reconfig.errors import EtcdError
from tests.integration.kills import ACCEPT
from tests.integration.tool import Outcome, Tool


@dataclass
class Meddled:
    """Runs the tool on real servers; `before(call, do)` does something right before its first such call."""

    tool: Tool
    patch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    refused: list[EtcdError] = field(default_factory=list)  # what the meddled calls were answered, in order

    def before(self, call: str, *do: Callable[[], object], owner: type = EtcdClient) -> None:
        """Let somebody do the nth thing right before the tool's nth call of this name."""
        real, left = getattr(owner, call), list(do)

        def meddled(itself: Any, *args: Any, **named: Any) -> Any:
            if left:
                left.pop(0)()
            try:
                return real(itself, *args, **named)
            except EtcdError as error:
                self.refused.append(error)
                raise

        self.patch.setattr(owner, call, meddled)

    def run(self, *words: str) -> Outcome:
        """Run a command to its end, with JSON on stdout; from then on nobody meddles any more."""
        files = ("-c", str(self.tool.layout.patroni_file), "-i", str(self.tool.layout.inventory))
        self.capsys.readouterr()
        code = run([*files, *words, "--force", "-f", "json", *ACCEPT])
        said = self.capsys.readouterr()
        self.patch.undo()
        return Outcome(code, said.out, said.err)

    def words(self) -> list[str]:
        """Return what etcd refused the meddled calls with."""
        return [error.message for error in self.refused]


def error_of(outcome: Outcome) -> tuple[int, str]:
    """Return the exit code and the code of the error; a next command must be there."""
    error = json.loads(outcome.out)["error"]
    assert error, outcome.err
    assert "patronictl-etcd" in error["hint"], error
    return outcome.code, error["code"]


def next_second() -> None:
    """Return at the beginning of a second: member ids are hashes of the URLs and the second."""
    time.sleep(1.01 - time.time() % 1)
