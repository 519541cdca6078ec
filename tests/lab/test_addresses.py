from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from patroni_etcd_reconfig.errors import ConfigError
from patroni_etcd_reconfig.lab import programs
from patroni_etcd_reconfig.lab.addresses import Listener, check_free, find_owner, is_taken, parse_listeners
from patroni_etcd_reconfig.lab.layout import Endpoint

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n"


def test_an_ipv4_listener_is_read_from_the_kernel_s_table() -> None:
    text = HEAD + ROW.format(address="0109007F:094B", state="0A")
    assert parse_listeners(text) == [Listener("127.0.9.1", 2379, 4711)]


def test_a_connection_is_no_listener() -> None:
    assert parse_listeners(HEAD + ROW.format(address="0109007F:094B", state="01")) == []


@pytest.mark.parametrize(
    ("words", "address"),
    [("0" * 32, "::"), ("0000000000000000FFFF00000109007F", "127.0.9.1"), ("0" * 24 + "01000000", "::1")],
)
def test_ipv6_words_are_read_in_host_order(words: str, address: str) -> None:
    [listener] = parse_listeners(HEAD + ROW.format(address=f"{words}:1538", state="0A"))
    assert (listener.address, listener.port) == (address, 5432)


def listen(address: str, port: int = 0) -> socket.socket:
    server = socket.socket()
    server.bind((address, port))
    server.listen(1)
    return server


def test_a_listening_process_is_named() -> None:
    with listen("127.0.9.200") as server:
        port = server.getsockname()[1]
        assert is_taken("127.0.9.200", port)
        assert f"pid {os.getpid()} (" in find_owner("127.0.9.200", port)


def test_a_wildcard_listener_takes_every_address() -> None:
    with listen("0.0.0.0") as server:
        port = server.getsockname()[1]
        assert is_taken("127.0.9.200", port)
        assert f"pid {os.getpid()} (" in find_owner("127.0.9.200", port)


def test_another_address_on_the_same_port_is_free() -> None:
    with listen("127.0.9.200") as server:
        assert not is_taken("127.0.9.201", server.getsockname()[1])


def test_an_owner_that_can_t_be_seen_is_said_to_be_so() -> None:
    assert "can't be seen" in find_owner("127.0.9.200", 1)


def test_all_taken_addresses_come_in_one_error() -> None:
    with listen("127.0.9.200") as one, listen("127.0.9.200") as two:
        ports = [server.getsockname()[1] for server in (one, two)]
        with pytest.raises(ConfigError, match=f":{ports[0]} is taken.*:{ports[1]} is taken") as caught:
            check_free(Endpoint("etcd-n1", "127.0.9.200", port) for port in ports)
    assert "--net N" in caught.value.hint


def test_a_missing_etcd_is_an_error_with_the_apt_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not found: etcd") as caught:
        programs.find_programs(tmp_path)
    assert programs.APT_LINE in caught.value.hint
    assert "--etcd-dir" in caught.value.hint


def test_everything_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_VERSIONED", ("/nowhere/*/bin",))
    with pytest.raises(ConfigError, match=r"etcd .*PostgreSQL"):
        programs.find_programs(None)


def test_the_newest_postgresql_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for version in ("9.6", "15", "9.10"):
        directory = tmp_path / version / "bin"
        directory.mkdir(parents=True)
        for name in programs._POSTGRESQL:
            (directory / name).touch(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(programs, "_VERSIONED", (f"{tmp_path}/*/bin",))
    assert programs._find_postgresql() == tmp_path / "15" / "bin"
