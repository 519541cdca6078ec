"""Loopback networks 127.0.N.0 for tests, reserved so that test runs beside each other do not meet."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from patroni_etcd_reconfig.lab.layout import NODES

CLIENT_PORT, PEER_PORT = 2379, 2380
_KEEPER = 254  # holding this host's port reserves the network as long as the test process lives
_LABS = range(200, 250)
_kept: list[socket.socket] = []


def reserve(numbers: Iterable[int], hosts: Iterable[int]) -> tuple[int, socket.socket]:
    """Return a network number whose hosts are free, and the socket that keeps it while it is open."""
    for number in numbers:
        keeper = _bind(f"127.0.{number}.{_KEEPER}", CLIENT_PORT)
        if keeper is not None and all(_free(f"127.0.{number}.{host}") for host in hosts):
            return number, keeper
        if keeper is not None:
            keeper.close()
    raise AssertionError(f"no free loopback network in {numbers}")


def free_net() -> int:
    """Return a number for a lab, reserved until this process ends."""
    number, keeper = reserve(_LABS, NODES)
    _kept.append(keeper)
    return number


@contextmanager
def lab_net() -> Iterator[int]:
    """Give a number for a lab, reserved as long as that takes: a whole test run needs more than there are."""
    number, keeper = reserve(_LABS, NODES)
    with keeper:
        yield number


def _free(host: str) -> bool:
    for port in (CLIENT_PORT, PEER_PORT):
        sock = _bind(host, port)
        if sock is None:
            return False
        sock.close()
    return True


def _bind(host: str, port: int) -> socket.socket | None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(1)
    except OSError:
        sock.close()
        return None
    return sock
