"""Control of a local node, with real commands, files and processes."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patroni_etcd_reconfig.adapters import disk, set_aside
from patroni_etcd_reconfig.adapters.commands import run, split_command
from patroni_etcd_reconfig.adapters.inventory import Inventory, NodeConfig
from patroni_etcd_reconfig.adapters.node_local import LocalNode
from patroni_etcd_reconfig.adapters.nodes import make_nodes
from patroni_etcd_reconfig.core.model import DataDir
from patroni_etcd_reconfig.errors import ConfigError, NodeControlError
from patroni_etcd_reconfig.ports import NodeControl
from tests.core.test_wal import PREALLOCATED, WHOSE

CONFIG = "ETCD_NAME=n1\nETCD_INITIAL_CLUSTER_STATE=new\n"
LABEL = "op-7"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    """A node whose service is a flag file: there = running."""
    flag = tmp_path / "running"
    (tmp_path / "etcd.conf").write_text(CONFIG)
    return NodeConfig(
        name="n1",
        host="127.0.0.1",
        via="local",
        manager="command",
        service="",
        config_file=str(tmp_path / "etcd.conf"),
        data_dir=str(tmp_path / "data"),
        commands={"start": f"touch {flag}", "stop": f"rm {flag}", "is_active": f"test -e {flag}"},
    )


def node(config: NodeConfig, timeout: float = 5.0, **commands: str) -> LocalNode:
    """Return control of the node, with some of its commands replaced."""
    return LocalNode(replace(config, commands={**config.commands, **commands}), timeout)


def with_data(config: NodeConfig, segment: bytes = PREALLOCATED) -> Path:
    """Give the node a data dir with a write-ahead log; return the data dir."""
    wal = Path(config.wal_dir) if config.wal_dir else Path(config.data_dir, "member", "wal")
    wal.mkdir(parents=True)
    Path(config.data_dir).mkdir(exist_ok=True)
    (wal / "0000000000000001-0000000000000100.wal").write_bytes(b"later")
    (wal / "0000000000000000-0000000000000000.wal").write_bytes(segment)
    (wal / "0.tmp").write_bytes(b"preallocated")
    return Path(config.data_dir)


def failure(action: Any, *args: Any) -> NodeControlError:
    """Return the error of a call; it names the node and says how to go on."""
    with pytest.raises(NodeControlError) as caught:
        action(*args)
    assert caught.value.message.startswith("n1: ")
    assert caught.value.hint
    return caught.value


# --- look -------------------------------------------------------------------------------------------------


def test_it_is_node_control(config: NodeConfig) -> None:
    control: NodeControl = node(replace(config, peer_url="http://a:1", client_url="http://a:2"))
    assert (control.name, control.peer_urls, control.client_urls) == ("n1", ("http://a:1",), ("http://a:2",))
    assert (node(config).peer_urls, node(config).client_urls) == ((), ())


def test_a_stopped_node_without_data(config: NodeConfig) -> None:
    view = node(config).look()
    assert (view.name, view.problem, view.config_problem) == ("n1", "", "")
    assert (view.service_active, view.data_present, view.data) == (False, False, None)
    assert not view.data_is_mount
    assert view.data_free_bytes == pytest.approx(shutil.disk_usage("/tmp").free, rel=0.5)


def test_a_database_that_arrives_is_as_large_as_what_has_come_of_it(config: NodeConfig) -> None:
    assert node(config).look().database_bytes is None
    place = with_data(config) / "member" / "snap"
    place.mkdir()
    assert node(config).look().database_bytes is None
    (place / "db").write_bytes(b"x" * 20)  # as etcd makes it at its start
    (place / "tmp1486543266").write_bytes(b"x" * 3000)
    (place / "0000000000000002-0000000000000010.snap").write_bytes(b"x" * 100)
    assert node(config).look().database_bytes == 3000


def test_a_running_node_with_data(config: NodeConfig) -> None:
    with_data(config)
    node(config).start()
    view = node(config).look()
    assert (view.service_active, view.data_present, view.data) == (True, True, WHOSE)
    assert isinstance(view.data, DataDir)


def test_the_identity_is_read_from_a_separate_wal_dir(config: NodeConfig, tmp_path: Path) -> None:
    config = replace(config, wal_dir=str(tmp_path / "wal"))
    with_data(config)
    assert node(config).look().data == WHOSE


def test_data_without_a_readable_log_is_present_and_nobodys(config: NodeConfig) -> None:
    with_data(config, b"garbage")
    view = node(config).look()
    assert (view.data_present, view.data, view.problem) == (True, None, "")


def test_an_empty_data_dir_holds_no_data(config: NodeConfig) -> None:
    Path(config.data_dir).mkdir()
    assert not node(config).look().data_present


@pytest.mark.parametrize("code", [1, 3, 125])
def test_is_active_may_say_no_in_many_ways(code: int, config: NodeConfig) -> None:
    view = node(config, is_active=f"sh -c 'exit {code}'").look()
    assert (view.service_active, view.problem) == (False, "")


@pytest.mark.parametrize(
    ("command", "need"),
    [
        ("/no/such/program", "could not be run: No such file"),
        ("/etc/passwd", "could not be run: Permission denied"),
        ("sh -c 'echo oh dear >&2; exit 127'", "exit code 127): oh dear"),
        ("sh -c 'exit 126'", "exit code 126"),
        ("sh -c 'exit 200'", "exit code 200"),
        ("sh -c 'kill -9 $$'", "signal 9"),
        ("sleep 60", "did not end within 0.2 s"),
    ],
)
def test_an_is_active_that_can_not_say_is_a_problem(command: str, need: str, config: NodeConfig) -> None:
    control = node(config, timeout=0.2, is_active=command)
    view = control.look()
    assert not view.service_active
    assert need in view.problem
    assert need in failure(control.stop).message
    assert need in failure(control.set_data_aside, LABEL).message


def test_the_configuration_file_must_be_there(config: NodeConfig) -> None:
    view = node(replace(config, config_file="/no/such/file")).look()
    assert view.config_problem == "/no/such/file: No such file or directory"


def test_a_configuration_that_can_not_be_parsed_is_a_problem(config: NodeConfig) -> None:
    Path(config.config_file).write_text("ETCD_NAME='n1\n")
    assert "a quote is opened" in node(config).look().config_problem


@pytest.mark.parametrize(
    ("text", "need"),
    [
        ("ETCD_NAME=other\n", "name is other there, but n1 in the inventory"),
        ("ETCD_DATA_DIR=/srv/other\n", "data-dir is /srv/other there"),
        ("ETCD_WAL_DIR=/srv/wal\n", "wal-dir is /srv/wal there, but not set in the inventory"),
        ("ETCD_NAME=$HOSTNAME\n", ""),
        ("ETCD_DATA_DIR={data_dir}/\n", ""),
        ("", ""),
    ],
)
def test_a_configuration_of_another_member_is_a_problem(text: str, need: str, config: NodeConfig) -> None:
    Path(config.config_file).write_text(text.replace("{data_dir}", config.data_dir))
    problem = node(config).look().config_problem
    assert need in problem
    assert bool(need) == bool(problem)


def test_a_yaml_configuration_is_read_as_such(config: NodeConfig, tmp_path: Path) -> None:
    path = tmp_path / "etcd.yml"
    path.write_text("name: other\n")
    assert "name is other" in node(replace(config, config_file=str(path))).look().config_problem


@not_root
def test_a_configuration_that_is_not_writable_is_a_problem(config: NodeConfig) -> None:
    Path(config.config_file).chmod(0o400)
    assert "not writable" in node(config).look().config_problem


def test_a_directory_that_is_not_writable_is_a_problem(
    config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
    assert node(config).look().config_problem == f"{tmp_path}: not writable"


def test_data_that_can_not_be_read_is_a_problem(config: NodeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with_data(config)

    def denied(_path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", config.data_dir)

    monkeypatch.setattr(Path, "iterdir", denied)
    view = node(config).look()
    assert view.problem == f"data can't be read: {config.data_dir}: Permission denied"
    assert view.data_present


def test_looking_changes_nothing(config: NodeConfig, tmp_path: Path) -> None:
    with_data(config)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    node(config).look()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


# --- start and stop ---------------------------------------------------------------------------------------


def test_start_and_stop(config: NodeConfig) -> None:
    control = node(config)
    control.start()
    assert control.look().service_active
    control.stop()
    assert not control.look().service_active


def test_stopping_what_is_down_is_fine(config: NodeConfig) -> None:
    node(config, stop="false").stop()


def test_a_stop_that_complains_is_fine_when_the_service_is_down(config: NodeConfig) -> None:
    node(config).start()
    node(config, stop=f"sh -c '{config.commands['stop']}; exit 5'").stop()


def test_stop_waits_until_the_service_is_down(config: NodeConfig) -> None:
    node(config).start()
    began = time.monotonic()
    node(config, stop=f"sh -c '(sleep 0.3; {config.commands['stop']}) >/dev/null 2>&1 &'").stop()
    assert time.monotonic() - began >= 0.3
    assert not node(config).look().service_active


def test_a_stop_that_does_not_stop_ends_with_an_error(config: NodeConfig) -> None:
    node(config).start()
    error = failure(node(config, timeout=0.3, stop="true").stop)
    assert "still runs" in error.message
    assert "commands.stop" in error.hint


def test_a_failed_command_shows_its_exit_code_and_last_lines(config: NodeConfig) -> None:
    command = "sh -c 'for i in $(seq 99); do echo line $i; done; echo why >&2; exit 7'"
    message = failure(node(config, start=command).start).message
    assert "exit code 7" in message
    assert message.endswith("line 99\nwhy")
    assert "line 90\n" not in message


def test_a_start_that_does_not_end_is_ended_with_its_children(config: NodeConfig, tmp_path: Path) -> None:
    pid_file = tmp_path / "child"
    began = time.monotonic()
    command = f"sh -c 'sleep 60 & echo $! > {pid_file}; wait'"
    message = failure(node(config, timeout=0.3, start=command).start).message
    assert "did not end within 0.3 s" in message
    assert time.monotonic() - began < 10
    assert is_gone(int(pid_file.read_text()))


def is_gone(pid: int) -> bool:
    """Wait until a process is gone, or a zombie that nobody here may reap."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def test_a_daemon_that_keeps_our_output_open_does_not_hang_us(config: NodeConfig, tmp_path: Path) -> None:
    pid_file = tmp_path / "daemon"
    began = time.monotonic()
    node(config, start=f"sh -c 'sleep 60 & echo $! > {pid_file}'").start()
    assert time.monotonic() - began < 5
    os.kill(int(pid_file.read_text()), signal.SIGKILL)  # still there: start leaves it alone


def test_commands_get_no_terminal_and_no_input(config: NodeConfig) -> None:
    ours, (reader, writer) = os.dup(0), os.pipe()
    os.dup2(reader, 0)  # an input that never ends, as a terminal is
    try:
        node(config, timeout=5, start="cat").start()
    finally:
        os.dup2(ours, 0)
        for descriptor in (ours, reader, writer):
            os.close(descriptor)


def test_commands_run_in_a_session_of_their_own(config: NodeConfig, tmp_path: Path) -> None:
    out = tmp_path / "sid"
    program = f"import os; open({str(out)!r}, 'w').write(str(os.getsid(0)))"
    assert run([sys.executable, "-c", program], 10).code == 0
    assert int(out.read_text()) != os.getsid(0)


def test_placeholders_are_filled_in_word_by_word(config: NodeConfig, tmp_path: Path) -> None:
    hostile = replace(config, data_dir="/x y'; touch {name} $(id)", host="")
    out = tmp_path / "words"
    program = f"import sys; open({str(out)!r}, 'w').write(repr(sys.argv[1:]))"
    node(hostile, start=f'{sys.executable} -c "{program}" --name={{name}} {{data_dir}} {{{{x}}}}').start()
    assert out.read_text() == repr(["--name=n1", hostile.data_dir, "{x}"])
    assert split_command("a {name}", {"name": "b c; d"}) == ["a", "b c; d"]


def test_what_operations_set_aside_is_seen_the_newest_first(config: NodeConfig) -> None:
    data = with_data(config)
    older, newer = "f.20261101T101010Z-cycle-abcdef", "1a.20261102T101010Z-recover-012345"
    node(config).set_data_aside(older)
    with_data(config)
    node(config).set_data_aside(newer)
    for other in (".backup", ".x.20261102T101010Z-cycle-012345", "2.1.20261102T101010Z-cycle-012345"):
        Path(f"{data}{other}").mkdir()
    Path(f"{data}.2.20261102T101010Z-cycle-012345").touch()
    assert node(config).look().set_aside == (f"{data}.{newer}", f"{data}.{older}")
    assert node(replace(config, data_dir="/nowhere/data")).look().set_aside == ()


# --- set_data_aside ---------------------------------------------------------------------------------------


def test_data_is_renamed_aside(config: NodeConfig) -> None:
    data = with_data(config)
    assert node(config).set_data_aside(LABEL) == (f"{data}.{LABEL}",)
    assert Path(f"{data}.{LABEL}", "member", "wal").is_dir()


def test_an_empty_directory_with_the_same_rights_takes_its_place(config: NodeConfig) -> None:
    data = with_data(config)
    data.chmod(0o750)
    node(config).set_data_aside(LABEL)
    assert list(data.iterdir()) == []
    assert stat.S_IMODE(data.stat().st_mode) == 0o750


def test_a_separate_wal_dir_goes_with_it(config: NodeConfig, tmp_path: Path) -> None:
    config = replace(config, wal_dir=str(tmp_path / "wal"))
    with_data(config)
    Path(config.data_dir, "member").mkdir(parents=True, exist_ok=True)
    assert node(config).set_data_aside(LABEL) == (f"{config.data_dir}.{LABEL}", f"{config.wal_dir}.{LABEL}")
    assert list(Path(config.wal_dir).iterdir()) == []


def test_a_rename_is_on_disk_before_it_is_reported(
    config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, synced = with_data(config), []
    monkeypatch.setattr(set_aside, "fsync_dir", lambda path: synced.append((path, list(data.iterdir()))))
    node(config).set_data_aside(LABEL)
    assert synced == [(tmp_path, [])]


def test_what_is_done_already_is_fine_and_reported_again(config: NodeConfig, tmp_path: Path) -> None:
    config = replace(config, wal_dir=str(tmp_path / "wal"))
    with_data(config)
    Path(config.data_dir).rename(f"{config.data_dir}.{LABEL}")  # and then the power failed
    both = (f"{config.data_dir}.{LABEL}", f"{config.wal_dir}.{LABEL}")
    assert node(config).set_data_aside(LABEL) == both
    assert node(config).set_data_aside(LABEL) == both


def test_nothing_to_set_aside_is_fine(config: NodeConfig) -> None:
    assert node(config).set_data_aside(LABEL) == ()


def test_an_existing_target_is_an_error_and_nothing_moves(config: NodeConfig, tmp_path: Path) -> None:
    config = replace(config, wal_dir=str(tmp_path / "wal"))
    data = with_data(config)
    Path(f"{config.wal_dir}.{LABEL}").mkdir()
    assert "is there already" in failure(node(config).set_data_aside, LABEL).message
    assert data.exists()
    assert Path(config.wal_dir).exists()


def test_the_data_of_a_running_service_stays(config: NodeConfig) -> None:
    data = with_data(config)
    node(config).start()
    assert "its service runs" in failure(node(config).set_data_aside, LABEL).message
    assert data.exists()


def test_a_symbolic_link_is_refused_and_seen_beforehand(config: NodeConfig, tmp_path: Path) -> None:
    real = with_data(replace(config, data_dir=str(tmp_path / "real")))
    Path(config.data_dir).symlink_to(real)
    assert "symbolic link" in node(config).look().problem
    assert "symbolic link" in failure(node(config).set_data_aside, LABEL).message
    assert real.exists()


@needs_root
def test_a_mount_point_is_refused_and_seen_beforehand(config: NodeConfig, tmp_path: Path) -> None:
    bound = tmp_path / "with blank"
    (tmp_path / "source").mkdir()
    bound.mkdir()
    mount = ["mount", "--bind", str(tmp_path / "source"), str(bound)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    config = replace(config, data_dir=str(bound))
    try:
        assert node(config).look().data_is_mount
        assert "mount point" in failure(node(config).set_data_aside, LABEL).message
    finally:
        subprocess.run(["umount", str(bound)], check=True)
    assert not node(config).look().data_is_mount


def test_a_mount_point_in_the_kernels_table_is_seen(config: NodeConfig) -> None:
    assert disk.is_mount(Path("/proc"))
    assert not disk.is_mount(Path(config.data_dir))


def test_a_rename_that_fails_is_an_error_with_the_systems_words(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_data(config)

    def busy(path: Path, _target: Path) -> Path:
        raise OSError(16, "Device or resource busy", str(path))

    monkeypatch.setattr(Path, "rename", busy)
    assert "Device or resource busy" in failure(node(config).set_data_aside, LABEL).message


@pytest.mark.parametrize("label", ["", "../x", "a/b", ".x", "a b", "a\n"])
def test_a_label_that_is_no_file_name_is_refused(label: str, config: NodeConfig) -> None:
    with_data(config)
    failure(node(config).set_data_aside, label)
    failure(node(config).write_config, {"name": "n1"}, label)


# --- write_config -----------------------------------------------------------------------------------------


def test_settings_are_written_and_the_former_file_is_kept(config: NodeConfig) -> None:
    path = Path(config.config_file)
    path.chmod(0o640)
    node(config).write_config({"initial-cluster-state": "existing"}, LABEL)
    backup = Path(f"{path}.{LABEL}")
    assert path.read_text() == CONFIG.replace("=new", "=existing")
    assert backup.read_text() == CONFIG
    assert [item.stat().st_mode & 0o777 for item in (path, backup)] == [0o640, 0o640]


def test_a_second_write_keeps_the_first_backup(config: NodeConfig) -> None:
    for state in ("existing", "new", "existing", "existing"):
        node(config).write_config({"initial-cluster-state": state}, LABEL)
    assert Path(f"{config.config_file}.{LABEL}").read_text() == CONFIG
    assert "existing" in Path(config.config_file).read_text()


def test_a_yaml_file_is_written_as_yaml(config: NodeConfig, tmp_path: Path) -> None:
    path = tmp_path / "etcd.yaml"
    path.write_text("name: n1 # me\n")
    node(replace(config, config_file=str(path))).write_config({"initial-cluster": "n1=http://a:1"}, LABEL)
    assert path.read_text() == 'name: n1 # me\ninitial-cluster: "n1=http://a:1"\n'


def test_other_bytes_stay_as_they_are(config: NodeConfig) -> None:
    path = Path(config.config_file)
    path.write_bytes(b"# caf\xe9\r\nETCD_NAME=n1\r\n")
    node(config).write_config({"name": "n2"}, LABEL)
    assert path.read_bytes() == b"# caf\xe9\r\nETCD_NAME=n2\r\n"


def test_a_missing_configuration_is_an_error(config: NodeConfig) -> None:
    Path(config.config_file).unlink()
    assert "No such file" in failure(node(config).write_config, {"name": "n1"}, LABEL).message


def test_a_setting_that_can_not_be_written_is_an_error_and_the_file_stays(config: NodeConfig) -> None:
    error = failure(node(config).write_config, {"name": "a\nETCD_X=1"}, LABEL)
    assert config.config_file in error.message
    assert Path(config.config_file).read_text() == CONFIG


def test_a_full_disk_is_an_error_and_the_file_stays(
    config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in failure(node(config).write_config, {"name": "n2"}, LABEL).message
    assert Path(config.config_file).read_text() == CONFIG
    assert sorted(tmp_path.iterdir()) == before


# --- make_nodes -------------------------------------------------------------------------------------------


def test_nodes_are_made_by_name(config: NodeConfig) -> None:
    nodes = make_nodes(Inventory("i.yml", {"n1": config}))
    assert [(name, item.name) for name, item in nodes.items()] == [("n1", "n1")]
    assert make_nodes(Inventory()) == {}


def test_what_this_version_can_not_control_is_refused_all_at_once(config: NodeConfig) -> None:
    other, third = replace(config, name="n2", via="ssh"), replace(config, name="n3", manager="systemd")
    nodes = {"n1": config, "n2": other, "n3": third}
    with pytest.raises(ConfigError) as caught:
        make_nodes(Inventory("i.yml", nodes))
    assert [line.split(": ")[1] for line in caught.value.message.splitlines()] == [
        "etcd.members.n2",
        "etcd.members.n3",
    ]
    assert caught.value.hint == "use via: local with manager: command"


def test_an_operators_command_gets_the_nodes_values_and_its_failure_is_told(config: NodeConfig) -> None:
    told = Path(config.data_dir).parent / "told"
    node = LocalNode(config)
    node.run_command(f"sh -c 'echo \"$0\" > {told}' {{name}}", 10.0)
    assert told.read_text() == f"{config.name}\n"
    with pytest.raises(NodeControlError, match="exit code 3: no room"):
        node.run_command("sh -c 'echo no room; exit 3'", 10.0)
    with pytest.raises(NodeControlError, match=r"did not end within 0\.1 s"):
        node.run_command("sleep 5", 0.1)


@pytest.mark.parametrize("verb", ["start", "stop"])
@pytest.mark.parametrize("program", ["/nowhere/etcd-service {name}", "no-such-program"])
def test_a_program_that_is_not_there_is_found_before_it_is_needed(
    config: NodeConfig, verb: str, program: str
) -> None:
    seen = LocalNode(replace(config, commands={**config.commands, verb: program})).look()
    assert seen.problem == f"the {verb} command: {program.split()[0]}: no such program"
