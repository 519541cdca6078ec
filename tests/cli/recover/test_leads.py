"""A leader that is named after the plan was made: shown, kept, and refused where it comes too late."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from patroni_etcd_reconfig.cli.recover.leads import decided_so_far, named_now
from patroni_etcd_reconfig.cli.recover.recoveryview import plan_text
from patroni_etcd_reconfig.core.recovery.model import Way
from patroni_etcd_reconfig.core.recovery.steps import OpenToPatroni
from patroni_etcd_reconfig.engine.recovery.journal import (
    FLAG_INTENDED,
    LEADS,
    RecoveryJournal,
    journal_path,
    known_recovery,
    open_journal,
)
from patroni_etcd_reconfig.errors import ConfigError
from tests.core.recovery.recovery_plans import forced, scope
from tests.engine.fakes import FakeClock

PLAN = forced("a", "b", "c", scopes=(scope(),))  # pg2 should lead


@pytest.fixture
def app(tmp_path: Path) -> Any:
    return SimpleNamespace(state_dir=tmp_path)


def journal(app: Any) -> RecoveryJournal:
    return open_journal(journal_path(app.state_dir, PLAN.id), PLAN.id, {}, FakeClock(), 0.0)


def test_it_is_shown_before_the_id_is_typed(app: Any) -> None:
    named = named_now(app, PLAN, (("demo", "pg3"),))
    assert named == {"demo": "pg3"}
    assert "demo: pg3 leads, as chosen" in plan_text(decided_so_far(app, PLAN, named))
    assert "demo: pg2 leads\n" in plan_text(decided_so_far(app, PLAN))


def test_the_next_run_knows_it_without_the_option(app: Any) -> None:
    written = journal(app)
    written.note({FLAG_INTENDED: True})
    written.note({LEADS: {"demo": "pg3"}})
    assert decided_so_far(app, PLAN).scopes[0].should_lead == "pg3"
    assert named_now(app, PLAN, (("demo", "pg3"),)) == {}
    assert named_now(app, PLAN, (("demo", "pg1"),)) == {"demo": "pg1"}


def test_once_patroni_was_let_on_it_is_too_late(app: Any) -> None:
    journal(app).intend(OpenToPatroni("a"))
    with pytest.raises(ConfigError, match="let on already") as refused:
        named_now(app, PLAN, (("demo", "pg3"),))
    assert "patronictl switchover demo --candidate pg3" in refused.value.hint


def test_what_the_plan_does_not_know_is_refused(app: Any) -> None:
    with pytest.raises(ConfigError, match="no scope other; it has: demo"):
        named_now(app, PLAN, (("other", "pg3"),))
    with pytest.raises(ConfigError, match="names no leaders"):
        named_now(app, replace(PLAN, way=Way.START), (("demo", "pg3"),))


def test_to_look_at_a_journal_leaves_what_another_process_writes_to_it(app: Any) -> None:
    path = journal(app).path
    assert path is not None
    with path.open("a") as file:
        file.write('{"kind":"no')
    size = path.stat().st_size
    assert known_recovery(app.state_dir, PLAN.id) is not None
    assert path.stat().st_size == size
    assert known_recovery(app.state_dir, "other") is None
