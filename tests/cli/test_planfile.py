"""Plan files: what is none, and what was edited, is told before anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from patroni_etcd_reconfig.cli.planfile import read_plan
from patroni_etcd_reconfig.core.changes import equality_with
from patroni_etcd_reconfig.core.codec import encode_change
from patroni_etcd_reconfig.errors import ConfigError
from tests.core.builders import urls, voters
from tests.core.test_state_space import seats

CHANGE = equality_with(voters(3), seats("a", "b", "x"))


def plan(**other: Any) -> dict[str, Any]:
    """Return the content of a plan file, with these parts of the change changed."""
    change = {**encode_change(CHANGE), **other}
    return {"format": 1, "plan": {"made_at": "now", "change": change, "steps": ["add x as a learner"]}}


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan()))
    assert read_plan(path) == (CHANGE, ("add x as a learner",))


def _without(data: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != key}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({**plan(), "format": 2}, "its format is 2"),
        (_without(plan(), "format"), "it has no 'format'"),
        ({"format": 1, "plan": _without(plan()["plan"], "steps")}, "it has no 'steps'"),
        ({"format": 1, "plan": {**plan()["plan"], "steps": "verify"}}, "steps are no list"),
        ({"format": 1, "plan": {**plan()["plan"], "steps": [1]}}, "steps are no list"),
        ({"format": 1, "plan": {"id": "abc", "way": "force"}}, "it has no 'change'"),
        (plan(kind="upgrade", command="reboot"), "it was edited"),
        (plan(restarts=[{"id": "a", "name": "a", "peer_urls": list(urls("a"))}]), "it was edited"),
        (plan(victims=["a"]), "not a plan file"),
        (plan(cluster_id="nothing"), "not a plan file"),
        ([1], "not a plan file"),
        (None, "not a plan file"),
    ],
)
def test_what_is_no_plan_is_named_with_what_is_wrong(data: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=said) as caught:
        read_plan(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint
