from __future__ import annotations

import shlex
import stat
from pathlib import Path

import pytest
import yaml

from patroni_etcd_reconfig.errors import ConfigError
from patroni_etcd_reconfig.lab import configs
from patroni_etcd_reconfig.lab.layout import Layout, make_layout
from patroni_etcd_reconfig.lab.marker import (
    Marker,
    ensure_secrets,
    load_marker,
    load_secrets,
    open_layout,
    save_marker,
)

LAYOUT = Layout(Path("/srv/a lab"), 9)
SECRETS = configs.Secrets("s3cret", "r3plica")


def test_each_node_has_its_own_address_and_the_default_ports() -> None:
    told = {str(endpoint) for endpoint in LAYOUT.endpoints()}
    ports = (2379, 2380, 5432, 8008)
    assert told == {f"127.0.9.{i}:{port}" for i in (1, 2, 3) for port in ports}


@pytest.mark.parametrize("net", [0, 256, -1])
def test_a_network_number_outside_the_loopback_range_is_refused(net: int) -> None:
    with pytest.raises(ConfigError, match=f"network number {net}"):
        make_layout(Path("x"), net)


@pytest.mark.parametrize("name", ["a{name}", "a\nb"])
def test_a_directory_that_the_inventory_could_misread_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="braces or control characters"):
        make_layout(Path("/srv") / name, 9)


def test_the_next_command_can_be_pasted_into_a_shell() -> None:
    words = shlex.split(LAYOUT.command_line("status"))
    assert words == [
        "patronictl-etcd",
        "-c",
        "/srv/a lab/patroni.yml",
        "-i",
        "/srv/a lab/etcd-reconfig.yml",
        "status",
    ]


def test_the_environment_file_survives_blanks_in_paths() -> None:
    assert "ETCD_DATA_DIR='/srv/a lab/data/n2'\n" in configs.etcd_env(LAYOUT, 2)


def test_the_environment_file_makes_a_new_cluster_of_three() -> None:
    settings = configs.etcd_settings(LAYOUT, 1)
    assert settings["ETCD_INITIAL_CLUSTER_STATE"] == "new"
    assert settings["ETCD_INITIAL_CLUSTER_TOKEN"] == "lab-9"
    assert settings["ETCD_INITIAL_CLUSTER"].count("http://127.0.9.") == 3
    assert "ETCD_ENABLE_V2" not in settings


def test_the_inventory_runs_the_service_script_for_every_member() -> None:
    inventory = yaml.safe_load(configs.inventory(LAYOUT, 0.05, Path("/usr/bin/etcd")))
    start = inventory["etcd"]["defaults"]["commands"]["start"].format(name="n1")
    assert shlex.split(start) == ["/bin/sh", "/srv/a lab/bin/etcd-service", "n1", "start"]
    assert sorted(inventory["etcd"]["members"]) == ["n1", "n2", "n3"]
    assert inventory["policy"] == {"state_dir": "/srv/a lab/state", "probe_interval": 0.05}


def test_patroni_gets_a_ttl_that_its_waits_fit_into() -> None:
    dcs = yaml.safe_load(configs.patroni_yml(LAYOUT, 1, SECRETS, Path("/pg")))["bootstrap"]["dcs"]
    assert dcs["loop_wait"] + 2 * dcs["retry_timeout"] <= dcs["ttl"]
    assert dcs["failsafe_mode"] is True


def test_patroni_never_touches_the_machines_watchdog() -> None:
    text = configs.patroni_yml(LAYOUT, 1, SECRETS, Path("/pg"))
    assert yaml.safe_load(text)["watchdog"] == {"mode": "off"}


def test_secrets_don_t_show_in_their_repr() -> None:
    assert "s3cret" not in repr(SECRETS)


def test_the_marker_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    marker = Marker(str(tmp_path), 9, "/opt/etcd", "direct")
    save_marker(Layout(tmp_path, 9), marker)
    assert load_marker(tmp_path) == marker


def test_an_empty_or_absent_directory_may_become_a_lab(tmp_path: Path) -> None:
    assert load_marker(tmp_path) is None
    assert load_marker(tmp_path / "absent") is None


def test_a_directory_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="is not a lab's directory"):
        load_marker(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"root": "/x", "net": 1}', '{"what": 1}'])
def test_a_broken_marker_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab.json").write_text(text)
    with pytest.raises(ConfigError, match="is not a lab's directory"):
        load_marker(tmp_path)


def test_a_lab_that_was_moved_is_refused(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    save_marker(Layout(here, 9), Marker(str(here), 9, None))
    here.rename(there)
    with pytest.raises(ConfigError, match="can't be moved"):
        load_marker(there)


def test_another_network_number_than_the_lab_has_is_refused(tmp_path: Path) -> None:
    save_marker(Layout(tmp_path, 9), Marker(str(tmp_path), 9, None))
    assert open_layout(tmp_path, None, 77)[0].net == 9
    with pytest.raises(ConfigError, match="has network number 9, not 10"):
        open_layout(tmp_path, 10, 77)


def test_passwords_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    layout = Layout(tmp_path, 9)
    made = ensure_secrets(layout)
    assert ensure_secrets(layout) == made == load_secrets(layout)
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o600
