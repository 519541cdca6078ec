"""The inventory: what it may say, what it may not, and that all mistakes come out at once."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from patroni_etcd_reconfig.adapters import inventory as module
from patroni_etcd_reconfig.adapters.inventory import Inventory, NodeConfig, load
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.errors import ConfigError

GOOD = """\
etcd:
  defaults:
    via: local
    manager: command
    service: etcd.service
    commands: {stop: "stop {name}", is_active: "pgrep {data_dir}"}
  members:
    n1:
      config_file: /etc/etcd/n1.yml
      data_dir: /srv/n1/
      peer_url: http://127.0.0.1:2380
      client_url: http://127.0.0.1:2379
      commands: {start: "start '{config_file}' {host}"}
      host: 127.0.0.1
    n2:
      via: ssh
      manager: systemd
      host: 10.0.0.2
      config_file: /etc/default/etcd
      data_dir: /var/lib/etcd/default
      wal_dir: /wal/n2
policy: {min_voters: 1, probe_interval: 1, accept: [FAILSAFE_OFF], state_dir: /var/lib/x}
"""

LOCAL: dict[str, Any] = {
    "via": "local",
    "manager": "command",
    "config_file": "/etc/etcd/n1.conf",
    "data_dir": "/srv/n1",
    "commands": {"start": "a", "stop": "b", "is_active": "c"},
}


def write(directory: Path, text: str) -> str:
    """Write an inventory and return its path."""
    path = directory / "inventory.yml"
    path.write_text(textwrap.dedent(text))
    return str(path)


def problems(path: str) -> list[str]:
    """Return the lines of the refusal."""
    with pytest.raises(ConfigError) as caught:
        load(path, "")
    return caught.value.message.splitlines()


def member(directory: Path, **changes: Any) -> str:
    """Write an inventory with one member, changed; None leaves a key out. Return its path."""
    values = {key: value for key, value in {**LOCAL, **changes}.items() if value is not None}
    return write(directory, yaml.safe_dump({"etcd": {"members": {"n1": values}}}))


def test_a_member_is_its_own_values_over_the_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert load(path, "") == Inventory(
        path=path,
        nodes={
            "n1": NodeConfig(
                name="n1",
                host="127.0.0.1",
                via="local",
                manager="command",
                service="etcd.service",
                config_file="/etc/etcd/n1.yml",
                data_dir="/srv/n1",
                peer_url="http://127.0.0.1:2380",
                client_url="http://127.0.0.1:2379",
                commands={
                    "start": "start '{config_file}' {host}",
                    "stop": "stop {name}",
                    "is_active": "pgrep {data_dir}",
                },
            ),
            "n2": NodeConfig(
                name="n2",
                host="10.0.0.2",
                via="ssh",
                manager="systemd",
                service="etcd.service",
                config_file="/etc/default/etcd",
                data_dir="/var/lib/etcd/default",
                wal_dir="/wal/n2",
                commands={"stop": "stop {name}", "is_active": "pgrep {data_dir}"},
            ),
        },
        policy=Policy(
            min_voters=1, probe_interval=1.0, accept=frozenset({"FAILSAFE_OFF"}), state_dir="/var/lib/x"
        ),
    )


def test_everything_is_optional(tmp_path: Path) -> None:
    for text in ("", "{}", "etcd:", "etcd: {members: }", "policy:", "etcd: {defaults: }\npolicy: {}"):
        path = write(tmp_path, text)
        assert load(path, "") == Inventory(path=path)


def test_every_policy_field_can_be_set() -> None:
    assert set(module.POLICY_CHECKS) == {field.name for field in dataclasses.fields(Policy)}


def test_the_default_policy_passes_its_own_checks(tmp_path: Path) -> None:
    values = dataclasses.asdict(Policy()) | {"accept": []}
    del values["state_dir"]  # "" means the default and is what leaving it out gives
    path = write(tmp_path, yaml.safe_dump({"policy": values}))
    assert load(path, "").policy == Policy()


# --- where it is ------------------------------------------------------------------------------------------


def test_without_any_file_there_are_no_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEFAULT_PATH", tmp_path / "none.yml")
    assert load(None, str(tmp_path / "patroni.yml")) == Inventory()
    assert load(None, "") == Inventory()


def test_the_default_file_comes_before_that_beside_patronis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEFAULT_PATH", tmp_path / "default.yml")
    beside = tmp_path / module.FILE_NAME
    beside.write_text("policy: {min_voters: 1}")
    assert load(None, str(tmp_path / "patroni.yml")).path == str(beside)
    (tmp_path / "default.yml").write_text("")
    assert load(None, str(tmp_path / "patroni.yml")).path == str(tmp_path / "default.yml")


def test_beside_a_directory_of_patroni_files_means_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEFAULT_PATH", tmp_path / "none.yml")
    (tmp_path / "patroni").mkdir()
    (tmp_path / "patroni" / module.FILE_NAME).write_text("")
    assert load(None, str(tmp_path / "patroni")) == Inventory()


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / "none.yml"), "")
    assert "none.yml: No such file" in caught.value.message
    assert "--inventory" in caught.value.hint


# --- what is wrong with it --------------------------------------------------------------------------------


def test_all_problems_come_at_once_each_with_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        etcd:
          defaults: {via: telnet, comands: {}}
          members:
            n1: {data_dir: var, data_dir: /}
            "x;y": {}
        policy:
          min_voters: true
        polic: 1
        """,
    )
    found = problems(path)
    for line, key, need in (
        (4, "data_dir", "given 2 times"),
        (8, "polic", "unknown key; allowed are etcd, policy"),
        (2, "etcd.defaults.comands", "unknown key"),
        (2, "etcd.defaults.via", "must be local or ssh"),
        (4, "etcd.members.n1.data_dir", "directory of etcd's own"),
        (4, "etcd.members.n1", "needs config_file"),
        (5, "etcd.members.x;y", "a member's name must be"),
        (7, "policy.min_voters", "whole number from 1 to 9"),
    ):
        assert any(item.startswith(f"{path}:{line}: {key}: ") and need in item for item in found), (
            key,
            found,
        )
    assert len(found) == len(set(found))


@pytest.mark.parametrize("name", ["a/b", "../x", ".", "-n", "a b", "a;b", "ä", "", "x" * 129, "a\nb"])
def test_a_hostile_name_is_refused(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump({"etcd": {"members": {name: LOCAL}}}))
    assert any("etcd.members" in item for item in problems(path))


def test_a_name_that_is_a_number_is_refused(tmp_path: Path) -> None:
    assert "string" in problems(write(tmp_path, "etcd: {members: {1: {}}}"))[0]


@pytest.mark.parametrize(
    ("key", "value", "need"),
    [
        ("data_dir", "srv/n1", "absolute path"),
        ("data_dir", "/srv/../etc", "absolute path"),
        ("data_dir", "/", "directory of etcd's own"),
        ("data_dir", "//", "directory of etcd's own"),
        ("data_dir", "/var/lib/", "directory of etcd's own"),
        ("data_dir", "/./var//lib", "directory of etcd's own"),
        ("data_dir", "/srv/{name}", "placeholders are for commands only"),
        ("data_dir", "/etc/etcd", "must not hold the config_file"),
        ("data_dir", "/srv/\u0007", "one line"),
        ("data_dir", "", "not empty"),
        ("data_dir", 5, "string"),
        ("data_dir", ["/srv"], "string"),
        ("data_dir", None, "needs data_dir"),
        ("config_file", None, "needs config_file"),
        ("config_file", "etcd.conf", "absolute path"),
        ("wal_dir", "/srv", "directory of etcd's own"),
        ("wal_dir", "/srv/n1", "must be neither data_dir"),
        ("peer_url", "http://a", "http://host:port"),
        ("peer_url", "http://a:2380/", "http://host:port"),
        ("peer_url", "a:2380", "http://host:port"),
        ("peer_url", "unix://a:2380", "http://host:port"),
        ("peer_url", "http://me:pw@a:2380", "http://host:port"),
        ("peer_url", "http://a:99999", "http://host:port"),
        ("client_url", "http://[::1:2379", "http://host:port"),
        ("client_url", "http://a:1,http://b:1", "http://host:port"),
        ("host", "-oProxyCommand=x", "host name or an address"),
        ("host", "a b", "host name or an address"),
        ("service", "--now", "systemd unit"),
        ("via", "SSH", "local or ssh"),
        ("via", True, "local or ssh"),
        ("manager", "docker", "systemd or command"),
        ("commands", None, "needs start, stop, is_active"),
        ("commands", "systemctl", "mapping"),
        ("commands", {"start": "a"}, "needs stop, is_active"),
        (
            "commands",
            {**LOCAL["commands"], "restart": "x"},
            "unknown key; allowed are start, stop, is_active",
        ),
        ("commands", {**LOCAL["commands"], "start": ["a"]}, "string"),
        ("commands", {**LOCAL["commands"], "start": "a 'b"}, "command line: No closing quotation"),
        ("commands", {**LOCAL["commands"], "start": "a {nam}"}, "unknown placeholder {nam}"),
        ("commands", {**LOCAL["commands"], "start": "a {}"}, "unknown placeholder {}"),
        ("commands", {**LOCAL["commands"], "start": "a {name!r}"}, "unknown placeholder {name!r}"),
        ("commands", {**LOCAL["commands"], "start": "a {name.x}"}, "unknown placeholder {name.x}"),
        ("commands", {**LOCAL["commands"], "start": "a {name:>5}"}, "unknown placeholder {name:>5}"),
        ("commands", {**LOCAL["commands"], "start": "a {"}, "command line"),
        ("commands", {**LOCAL["commands"], "start": "a {host}"}, "the member has no host"),
    ],
)
def test_a_wrong_value_names_key_and_what_is_allowed(key: str, value: Any, need: str, tmp_path: Path) -> None:
    path = member(tmp_path, **{key: value})
    found = problems(path)
    assert any(
        need in item and item.startswith(f"{path}:") and "etcd.members.n1" in item for item in found
    ), found
    assert all(f"needs {name}" not in " ".join(found) for name in LOCAL if name != key)


def test_ssh_needs_a_host(tmp_path: Path) -> None:
    assert "needs host, with via: ssh" in problems(member(tmp_path, via="ssh"))[0]


def test_a_brace_can_be_written_twice(tmp_path: Path) -> None:
    commands = {**LOCAL["commands"], "start": "sh -c 'echo ${{HOME}}'"}
    assert load(member(tmp_path, commands=commands), "").nodes["n1"].commands == commands


@pytest.mark.parametrize("key", ["data_dir", "config_file", "peer_url", "client_url"])
def test_two_members_may_not_share(key: str, tmp_path: Path) -> None:
    urls = {"peer_url": "http://a:1", "client_url": "http://a:2"}
    one = {**LOCAL, **urls}
    other = {**LOCAL, "data_dir": "/srv/n2", "config_file": "/etc/etcd/n2.conf", key: one[key]}
    path = write(tmp_path, yaml.safe_dump({"etcd": {"members": {"n1": one, "n2": other}}}))
    assert [item.split(": ", 2)[1:] for item in problems(path)] == [
        [f"etcd.members.n2.{key}", f"{one[key]} is that of member n1, too"]
    ]


def test_members_on_two_hosts_may_have_the_same_paths(tmp_path: Path) -> None:
    members = {name: {**LOCAL, "via": "ssh", "host": name} for name in ("n1", "n2")}
    assert len(load(write(tmp_path, yaml.safe_dump({"etcd": {"members": members}})), "").nodes) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("min_voters", 0),
        ("min_voters", 3.0),
        ("min_voters", "3"),
        ("failsafe", "off"),
        ("failsafe", False),
        ("probe_interval", 0),
        ("probe_interval", float("nan")),
        ("probe_interval", True),
        ("max_learner_lag", -1),
        ("learner_stall", float("inf")),
        ("step_timeout", 0),
        ("lock_ttl", 30.5),
        ("gate_timeout", -1),
        ("state_dir", "state"),
        ("min_free_bytes", "64MB"),
        ("accept", "FAILSAFE_OFF"),
        ("accept", ["failsafe off"]),
        ("accept", [5]),
        ("unknown", 1),
    ],
)
def test_a_wrong_policy_names_key_and_line(key: str, value: Any, tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump({"policy": {key: value}}))
    (found,) = problems(path)
    assert found.startswith((f"{path}:2: policy.{key}", f"{path}:3: policy.{key}.0"))


@pytest.mark.parametrize("text", ["[]", "x", "etcd: 5", "etcd: {members: [n1]}", "etcd: {members: {n1: x}}"])
def test_what_should_be_a_mapping_must_be_one(text: str, tmp_path: Path) -> None:
    assert any("must be a mapping" in item for item in problems(write(tmp_path, text)))


def test_no_yaml_names_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path, "etcd: [1\npolicy: x\n")
    assert problems(path)[0].startswith(f"{path}:2:7: not YAML")


def test_a_document_that_refers_to_itself_is_refused(tmp_path: Path) -> None:
    assert problems(write(tmp_path, "etcd: &x {members: {n1: *x}}"))


def test_merged_keys_keep_their_lines(tmp_path: Path) -> None:
    text = """\
    etcd:
      members:
        n1: &one
          via: telnet
        n2: {<<: *one, manager: docker}
    """
    found = problems(path := write(tmp_path, text))
    assert f"{path}:4: etcd.members.n2.via: must be local or ssh" in found
    assert f"{path}:5: etcd.members.n2.manager: must be systemd or command" in found
