"""Editing etcd's configuration: only what is asked for changes, and every reader reads what is wanted."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
import yaml

from patroni_etcd_reconfig.adapters.etcd_config_file import is_yaml, read_settings, set_settings
from patroni_etcd_reconfig.errors import ConfigError

CLUSTER = "n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380"

ENVIRONMENT = """\
# etcd of node 1
#ETCD_INITIAL_CLUSTER="commented=http://x:1"
ETCD_NAME=n1
export ETCD_DATA_DIR='/srv/etcd data'
  ETCD_INITIAL_CLUSTER="first=http://x:1"
OTHER=1
ETCD_INITIAL_CLUSTER="n1=http://10.0.0.1:2380" # keep me
; systemd's other comment
ETCD_INITIAL_CLUSTER_STATE=new
ETCD_LISTEN_CLIENT_URLS="http://a:1,\\
http://b:2"
ETCD_EMPTY=
# the end, no line break"""

YAML = """\
# etcd of node 1
name: n1
data-dir: "/srv/etcd data"   # a comment
initial-cluster: n1=http://10.0.0.1:2380   # keep me
initial-cluster-state: 'new'
enable-v2: true
heartbeat-interval: 100
quota-backend-bytes:
client-transport-security:
  cert-file: /crt   # name: x
  trusted-ca-file: /ca
"""


def sourced(text: str, directory: Path) -> dict[str, str]:
    """Return the variables that a POSIX shell has after reading the file."""
    (directory / "f").write_bytes(text.encode())
    command = ["sh", "-c", "set -a; . ./f; exec env -0"]
    answer = subprocess.run(
        command, cwd=directory, env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True
    )
    pairs = (item.split("=", 1) for item in answer.stdout.decode().split("\0") if item)
    return {name: value for name, value in pairs if name.startswith("ETCD_")}


def read_by_systemd(text: str) -> dict[str, str]:
    """Read assignments as systemd's parse_env_file_internal (src/basic/env-file.c) does."""
    found: dict[str, str] = {}
    rest = iter(text + "\n")
    for char in rest:
        if char in "#;":
            _skip_comment(rest)
        elif char not in " \t\n\r":
            name = char
            while (char := next(rest)) not in "=\n":
                name += char
            if char == "=":
                found[name.strip()] = _systemd_value(rest)
    return found


def _skip_comment(rest: object) -> None:
    for char in rest:  # type: ignore[attr-defined]
        if char == "\\":
            next(rest)  # type: ignore[call-overload]
        elif char == "\n":
            return


def _systemd_value(rest: object) -> str:
    value, state = "", "pre"
    for char in rest:  # type: ignore[attr-defined]
        if state in ("pre", "value") and char in "\n\r":
            break
        if state in ("pre", "value") and char == "\\":
            follower = next(rest)  # type: ignore[call-overload]
            value, state = value + follower.strip("\n"), "value"
        elif state == "pre" and char in "'\"":
            state = char
        elif state == "pre" and char in " \t":
            continue
        elif state == char:
            state = "pre"
        elif state == '"' and char == "\\":
            follower = next(rest)  # type: ignore[call-overload]
            value += follower if follower in '"\\`$' else "" if follower == "\n" else char + follower
        else:
            value, state = value + char, "value" if state == "pre" else state
    return value.rstrip(" \t") if state == "value" else value


def random_values() -> list[str]:
    """Return values that are made of what readers treat specially; the same ones in every run."""
    source, characters = random.Random(1), "ab \t'\"\\$`#;=~*{}[]:,&|!%@-é\u2028"
    return ["".join(source.choices(characters, k=source.randrange(9))) for _ in range(300)]


def refusal(text: str, settings: dict[str, str], *, as_yaml: bool) -> str:
    """Return the message with which a change is refused."""
    with pytest.raises(ConfigError) as caught:
        set_settings(text, settings, as_yaml)
    return caught.value.message


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/etcd/etcd.yml", True),
        ("/e/e.conf.yaml", True),
        ("/etc/default/etcd", False),
        ("a.yml.bak", False),
    ],
)
def test_the_name_tells_the_format(path: str, expected: bool) -> None:
    assert is_yaml(path) is expected


# --- KEY=value files --------------------------------------------------------------------------------------


def test_an_environment_file_is_read_as_a_shell_reads_it(tmp_path: Path) -> None:
    ours = read_settings(ENVIRONMENT, yaml=False)
    text = ENVIRONMENT.replace("; systemd's", "# systemd's")  # a comment for systemd only
    theirs = sourced(text, tmp_path)
    assert ours == {name[5:].lower().replace("_", "-"): value for name, value in theirs.items()}
    assert ours["data-dir"] == "/srv/etcd data"
    assert ours["listen-client-urls"] == "http://a:1,http://b:2"


def test_only_the_last_active_assignment_changes() -> None:
    changed = set_settings(ENVIRONMENT, {"initial-cluster": CLUSTER}, yaml=False)
    assert changed == ENVIRONMENT.replace('"n1=http://10.0.0.1:2380" # keep me', f'"{CLUSTER}" # keep me')


def test_a_missing_setting_is_appended() -> None:
    changed = set_settings(ENVIRONMENT, {"initial-cluster-token": "x y"}, yaml=False)
    assert changed == ENVIRONMENT + '\nETCD_INITIAL_CLUSTER_TOKEN="x y"\n'
    assert set_settings("", {"name": "n1"}, yaml=False) == "ETCD_NAME=n1\n"


def test_a_commented_setting_stays_a_comment() -> None:
    text = "#ETCD_NAME=old\n# ETCD_NAME=old\n"
    assert set_settings(text, {"name": "new"}, yaml=False) == text + "ETCD_NAME=new\n"


def test_several_settings_change_together() -> None:
    changed = set_settings(ENVIRONMENT, {"initial-cluster-state": "existing", "name": "n2"}, yaml=False)
    lines = {line for line in changed.splitlines() if line not in ENVIRONMENT.splitlines()}
    assert lines == {"ETCD_INITIAL_CLUSTER_STATE=existing", "ETCD_NAME=n2"}


def test_export_quotes_and_a_value_over_two_lines_are_replaced_whole() -> None:
    changed = set_settings(
        ENVIRONMENT, {"data-dir": "/srv/n1", "listen-client-urls": "http://c:3"}, yaml=False
    )
    assert 'export ETCD_DATA_DIR="/srv/n1"\n' in changed
    assert 'ETCD_LISTEN_CLIENT_URLS="http://c:3"\nETCD_EMPTY=\n' in changed


def test_windows_line_ends_stay() -> None:
    text = "ETCD_NAME=n1\r\nETCD_X=1\r\n"
    assert set_settings(text, {"name": "n2"}, yaml=False) == "ETCD_NAME=n2\r\nETCD_X=1\r\n"


def test_a_comment_that_ends_in_a_backslash_does_not_swallow_what_is_appended() -> None:
    changed = set_settings("# see C:\\", {"name": "n1"}, yaml=False)
    assert read_by_systemd(changed) == {"ETCD_NAME": "n1"}


@pytest.mark.parametrize("text", ["", "ETCD_NAME='old'\nETCD_X=1\n", "ETCD_NAME=old # why\n"])
def test_any_value_is_read_back_by_us_and_by_systemd(text: str) -> None:
    for value in random_values():
        changed = set_settings(text, {"name": value}, yaml=False)
        assert read_settings(changed, yaml=False)["name"] == value
        if "#" not in text:  # systemd takes a comment behind a value for a part of it
            assert read_by_systemd(changed)["ETCD_NAME"] == value


def test_any_value_is_read_back_by_a_real_shell(tmp_path: Path) -> None:
    values = {f"x{number}": value for number, value in enumerate(random_values())}
    found = sourced(set_settings("ETCD_X1='old'\nETCD_X2=old # why\n", values, yaml=False), tmp_path)
    assert found == {f"ETCD_{flag.upper()}": value for flag, value in values.items()}


@pytest.mark.parametrize(
    "value",
    [
        "a b",
        "it's",
        'say "x"',
        "$HOME",
        "`id`",
        "$(id)",
        "a\\b",
        "a\\",
        "*",
        "~",
        "#x",
        "a #b",
        "a;b",
        "!x",
        "",
        "\t",
        "é",
    ],
)
def test_awkward_values_are_read_back_by_a_real_shell(value: str, tmp_path: Path) -> None:
    for text in ("", "ETCD_NAME='old'\nETCD_X=1\n", "ETCD_NAME=old # why\n"):
        changed = set_settings(text, {"name": value}, yaml=False)
        assert sourced(changed, tmp_path)["ETCD_NAME"] == value


def test_a_quote_that_is_not_closed_is_refused_with_its_line() -> None:
    assert refusal("ETCD_X=1\nETCD_NAME='n1\n", {"name": "n2"}, as_yaml=False).startswith("line 2: a quote")


@pytest.mark.parametrize(
    "line", ["ETCD_NAME=n1; export ETCD_NAME", "export ETCD_NAME=n1 ETCD_X=2", "ETCD_NAME=a b"]
)
def test_a_line_that_does_more_than_assign_is_refused(line: str) -> None:
    assert refusal(f"ETCD_X=1\n{line}\n", {"name": "n2"}, as_yaml=False).startswith("line 2: more than one")


# --- etcd's YAML ------------------------------------------------------------------------------------------


def test_yaml_is_read_as_flags() -> None:
    assert read_settings(YAML, yaml=True) == {
        "name": "n1",
        "data-dir": "/srv/etcd data",
        "initial-cluster": "n1=http://10.0.0.1:2380",
        "initial-cluster-state": "new",
        "enable-v2": "true",
        "heartbeat-interval": "100",
        "quota-backend-bytes": "",
    }


def test_only_the_value_changes_in_yaml() -> None:
    changed = set_settings(YAML, {"initial-cluster": CLUSTER, "initial-cluster-state": "existing"}, yaml=True)
    assert changed == YAML.replace(
        "initial-cluster: n1=http://10.0.0.1:2380 ", f'initial-cluster: "{CLUSTER}" '
    ).replace("'new'", "existing")


def test_a_missing_setting_is_appended_to_yaml() -> None:
    assert (
        set_settings(YAML, {"initial-cluster-token": "t"}, yaml=True) == YAML + "initial-cluster-token: t\n"
    )
    assert set_settings("# nothing", {"name": "a"}, yaml=True) == "# nothing\nname: a\n"
    assert set_settings("  name: a", {"data-dir": "/x"}, yaml=True) == '  name: a\n  data-dir: "/x"\n'


def test_flags_that_are_no_strings_stay_bare_in_yaml() -> None:
    changed = set_settings(
        YAML, {"enable-v2": "false", "heartbeat-interval": "250", "force-new-cluster": "true"}, True
    )
    loaded = yaml.safe_load(changed)
    assert (loaded["enable-v2"], loaded["heartbeat-interval"], loaded["force-new-cluster"]) == (
        False,
        250,
        True,
    )


@pytest.mark.parametrize(
    "text", ["name:\n", "name: |\n  old\nx: 1\n", "{name: old, x: 1}\n", "name: old", 'name: ""\n']
)
@pytest.mark.parametrize(
    "value", ["n2", "a b", "a: b", "# x", "no", "010", "1.5", "é", "", "a\tb", "x, y", "null", "~"]
)
def test_any_value_in_any_style_of_yaml_is_read_back(text: str, value: str) -> None:
    changed = set_settings(text, {"name": value}, yaml=True)
    assert yaml.safe_load(changed)["name"] == value
    assert yaml.safe_load(changed).get("x") == yaml.safe_load(text).get("x")


def test_any_text_is_read_back_from_yaml() -> None:
    for value in random_values():
        assert read_settings(set_settings(YAML, {"name": value}, yaml=True), yaml=True)["name"] == value


@pytest.mark.parametrize(
    ("text", "need"),
    [
        ("x: &a old\nname: *a\n", "without changing something else"),
        ("name: &a old\nx: *a\n", "without changing something else"),
        ("name: [a]\n", "line 1: name must be a plain value"),
        ("{x: 1}\n", "braces"),
        ("- name\n", "must be a mapping"),
        ("x: 1\nname: [\n", "not YAML"),
        ("x: 1\n...\n", "without changing something else"),
    ],
)
def test_yaml_that_can_not_be_edited_safely_is_refused(text: str, need: str) -> None:
    assert need in refusal(text, {"name": "n2"}, as_yaml=True)


# --- both -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_yaml", [True, False])
@pytest.mark.parametrize("value", ["a\nETCD_X=1", "a\0b", "a\rb"])
def test_line_breaks_and_nul_are_refused(value: str, as_yaml: bool) -> None:
    assert "one line without NUL" in refusal("", {"name": value}, as_yaml=as_yaml)


@pytest.mark.parametrize("flag", ["", "a b", "NAME", "name=x", "--name"])
def test_what_is_no_flag_is_refused(flag: str) -> None:
    assert "must be an etcd flag" in refusal("", {flag: "x"}, as_yaml=False)


@pytest.mark.parametrize(("text", "as_yaml"), [(ENVIRONMENT, False), (YAML, True)])
def test_setting_what_is_there_already_changes_nothing_that_counts(text: str, as_yaml: bool) -> None:
    settings = read_settings(text, as_yaml)
    wanted = {"name": settings["name"], "initial-cluster": settings["initial-cluster"]}
    changed = set_settings(text, wanted, as_yaml)
    assert read_settings(changed, as_yaml) == settings
    assert set_settings(changed, wanted, as_yaml) == changed
