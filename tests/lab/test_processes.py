from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.lab import configs
from patroni_etcd_reconfig.lab.layout import Layout
from patroni_etcd_reconfig.lab.processes import (
    ProcessId,
    find_postmaster,
    find_process,
    is_alive,
    parse_stat,
    read_pid_file,
    running,
    start_detached,
    stop_all,
)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def start_sleep(tmp_path: Path, *command: str) -> ProcessId:
    return start_detached(
        command or ("sleep", "60"),
        pid_file=tmp_path / "x.pid",
        log=tmp_path / "x.log",
        cwd=tmp_path,
        env=dict(os.environ),
    )


def test_a_command_name_with_blanks_and_brackets_is_not_counted() -> None:
    rest = " ".join(str(number) for number in range(4, 23))
    assert parse_stat(f"12 (a) b (c) S {rest} 0 0") == ("S", 22)


def test_a_short_stat_is_no_process() -> None:
    assert parse_stat("12 (sleep) S 1") is None


def test_a_zombie_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    process = find_process(sleeper.pid)
    assert process is not None
    sleeper.kill()
    stop_all([process], timeout=5)
    assert find_process(sleeper.pid) is None


@pytest.mark.parametrize("text", ["", "x y", "12", "1 2 3"])
def test_a_broken_pid_file_names_no_process(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.pid").write_text(text)
    assert read_pid_file(tmp_path / "x.pid") is None


def test_a_detached_process_is_found_by_its_pid_file_and_stopped(tmp_path: Path) -> None:
    process = start_sleep(tmp_path)
    assert running(tmp_path / "x.pid") == process
    stop_all([process], timeout=5)
    assert not is_alive(process)


def test_a_detached_process_has_a_session_of_its_own(tmp_path: Path) -> None:
    process = start_sleep(tmp_path)
    assert os.getsid(process.pid) != os.getsid(0)
    stop_all([process], timeout=5)


def test_output_is_appended_to_the_log(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("before\n")
    process = start_sleep(tmp_path, "sh", "-c", "echo out; echo err >&2; exec sleep 60")
    deadline = time.monotonic() + 5
    while "err" not in (tmp_path / "x.log").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    stop_all([process], timeout=5)
    assert (tmp_path / "x.log").read_text() == "before\nout\nerr\n"


def test_a_pid_that_went_to_another_process_is_never_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    real = find_process(sleeper.pid)
    assert real is not None
    stop_all([ProcessId(real.pid, real.started - 1)], timeout=1)
    assert is_alive(real)


def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; touch trapped; while :; do sleep 0.1; done"
    process = start_sleep(tmp_path, "sh", "-c", script)
    while not (tmp_path / "trapped").exists():
        time.sleep(0.01)
    stop_all([process], timeout=0.2)
    assert not is_alive(process)


def test_a_directory_that_can_t_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError, match="could not be started"):
        start_detached(
            ["true"], pid_file=tmp_path / "no" / "x.pid", log=tmp_path / "x.log", cwd=tmp_path, env={}
        )


def test_a_stale_postmaster_pid_that_is_now_another_process_is_no_server(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "postmaster.pid").write_text(f"{sleeper.pid}\n{tmp_path}\n")
    assert find_postmaster(tmp_path) is None


def test_a_server_works_in_its_data_directory(tmp_path: Path) -> None:
    process = start_sleep(tmp_path)
    (tmp_path / "postmaster.pid").write_text(f"{process.pid}\n{tmp_path}\n")
    assert find_postmaster(tmp_path) == process
    stop_all([process], timeout=5)


class Service:
    """The lab's etcd-service script, with a stand-in for etcd that writes its environment and sleeps."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root, 9)
        for name in ("bin", "logs", "pids"):
            (root / name).mkdir()
        etcd = root / "bin" / "a stand-in"
        etcd.write_text("#!/bin/sh\nenv | grep ^ETCD_ | sort\nexec sleep 60\n")
        etcd.chmod(0o755)
        self.layout.etcd_service.write_text(configs.etcd_service(self.layout, etcd))
        self.layout.etcd_env(1).write_text(configs.etcd_env(self.layout, 1))

    def __call__(self, verb: str, **env: str) -> int:
        command = ["/bin/sh", str(self.layout.etcd_service), "n1", verb]
        return subprocess.run(command, env={**os.environ, **env}, cwd="/", capture_output=True).returncode

    @property
    def process(self) -> ProcessId | None:
        return running(self.layout.pid_file("etcd-n1"))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    root = tmp_path / "it's a lab"
    root.mkdir()
    made = Service(root)
    yield made
    if made.process:
        stop_all([made.process], timeout=5)


def test_the_service_starts_once_and_stops(service: Service) -> None:
    assert service("is_active") == 1
    assert service("start") == 0
    first = service.process
    assert service("start") == 0
    assert service.process == first is not None
    assert service("is_active") == 0
    assert service("stop") == 0
    assert service("is_active") == 1
    assert service("stop") == 0


def test_the_service_starts_again_after_its_process_was_killed(service: Service) -> None:
    service("start")
    assert service.process is not None
    os.kill(service.process.pid, 9)
    while service.process is not None:
        time.sleep(0.01)
    assert service("is_active") == 1
    assert service("start") == 0
    assert service.process is not None


def test_the_service_leaves_a_process_alone_that_got_its_old_pid(
    service: Service, sleeper: subprocess.Popen[bytes]
) -> None:
    service.layout.pid_file("etcd-n1").write_text(f"{sleeper.pid} 1\n")
    assert service("is_active") == 1
    assert service("stop") == 0
    assert sleeper.poll() is None


def test_etcd_gets_the_settings_of_its_file_and_none_of_the_callers(service: Service) -> None:
    service("start", ETCD_NAME="another", ETCD_FORCE_NEW_CLUSTER="true")
    log = service.layout.log("etcd-n1")
    deadline = time.monotonic() + 5
    while "ETCD_NAME" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    wanted = configs.etcd_settings(service.layout, 1)
    assert dict(line.split("=", 1) for line in log.read_text().splitlines()) == wanted


def test_a_missing_environment_file_is_an_error(service: Service) -> None:
    service.layout.etcd_env(1).unlink()
    assert service("start") == 1


def test_an_unknown_verb_is_a_usage_error(service: Service) -> None:
    assert service("dance") == 2
