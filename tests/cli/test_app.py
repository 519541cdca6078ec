"""What every command shares: how long one look may take."""

from __future__ import annotations

from pathlib import Path

from patroni_etcd_reconfig.cli.app import FIRST_WORD, LOGIN, LOOK_DEADLINE, App


def test_a_look_that_has_to_log_in_gets_the_time_for_it(tmp_path: Path) -> None:
    plain, guarded = tmp_path / "plain.yml", tmp_path / "guarded.yml"
    plain.write_text("etcd3: {hosts: '127.0.0.1:2379'}\n")
    guarded.write_text("etcd3: {hosts: '127.0.0.1:2379', username: root, password: secret}\n")
    looks = [App(config_file=str(path)).observer().etcd for path in (plain, guarded)]
    assert [look.deadline for look in looks] == [LOOK_DEADLINE, LOOK_DEADLINE + LOGIN]
    assert [look.patience for look in looks] == [FIRST_WORD, FIRST_WORD + LOGIN]
