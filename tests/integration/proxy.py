"""A proxy in front of each member's client port, which loses, delays or withholds what passes.

etcd listens at another port of the same address and advertises the proxy's, so that whoever asks a member,
the tool included, asks through its proxy.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from patroni_etcd_reconfig.lab.etcd_only import etcd_only
from patroni_etcd_reconfig.lab.layout import CLIENT_PORT, NODES, Layout
from tests.integration.tool import Tool
from tests.nets import lab_net

BEHIND = 2479  # where etcd itself listens
_PIECE = 64 * 1024


class Fault(Enum):
    """What happens to a call."""

    ANSWER_LOST = "the server acts, and the connection is reset instead of its answer"
    RESET = "the connection is reset before the server has the request"
    WITHHELD = "the server acts, and its answer comes only once the wire is mended"
    HANGS = "the server acts, and from then on its proxy accepts and never answers, until mended"


@dataclass
class Wire:
    """What the proxies of one etcd have in common: the faults to come, each once, and what was done."""

    faults: dict[str, Fault] = field(default_factory=dict)  # by path, e.g. cluster/member/add
    acted: list[str] = field(default_factory=list)  # the paths of the calls that an etcd carried out
    struck: list[str] = field(default_factory=list)  # the paths whose fault has come
    silent: set[str] = field(default_factory=set)  # addresses whose proxy answers nobody
    mended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def before(self, path: str) -> bool:
        """Tell whether the call is to be reset before an etcd has it."""
        with self._lock:
            reset = self.faults.get(path) is Fault.RESET
            if reset:
                self._strike(path)
            return reset

    def after(self, path: str, address: str, answer: bytes) -> Fault | None:
        """Return what is to happen to the answer; what etcd refused is let through: it did not act."""
        with self._lock:
            if not answer.startswith(b"HTTP/1.1 200 "):
                return None
            self.acted.append(path)
            fault = self._strike(path)
            if fault is Fault.HANGS:
                self.silent.add(address)
            return fault

    def _strike(self, path: str) -> Fault | None:
        fault = self.faults.pop(path, None)
        if fault is not None:
            self.struck.append(path)
        return fault

    def mend(self) -> None:
        """Let everything pass that is held back, and whatever comes."""
        self.silent.clear()
        self.mended.set()

    def times(self, path: str) -> int:
        """Return how often an etcd carried a call out."""
        return self.acted.count(path)


class Proxy:
    """The proxy of one address. `close` ends it and every connection through it."""

    def __init__(self, wire: Wire, address: str) -> None:
        self._wire, self._address = wire, address
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((address, CLIENT_PORT), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it."""
        for sock in (self._listener, *self._open):
            _shut(sock)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        try:
            server = socket.create_connection((self._address, BEHIND))
        except OSError:
            _reset(client)
            return
        self._open.add(server)
        call = _Call(self._wire, self._address, client, server)
        with contextlib.suppress(OSError):
            while call.go_on():
                pass
        for sock in (client, server):
            _shut(sock)
            self._open.discard(sock)


@dataclass
class _Call:
    """What passes through one connection. A client that sends again has had the whole answer before."""

    wire: Wire
    address: str
    client: socket.socket
    server: socket.socket
    unanswered: str = ""  # the path of the call

    def go_on(self) -> bool:
        """Let the next piece pass; False ends the connection."""
        ready, _, _ = select.select([self.client, self.server], [], [])
        return self._answer() if self.server in ready else self._ask()

    def _ask(self) -> bool:
        request = _read_request(self.client)
        if request is None:
            return False
        self.unanswered = request.split(b" ", 2)[1].decode().removeprefix("/v3/")
        if self.address in self.wire.silent:
            self.wire.mended.wait()
            return False
        if self.wire.before(self.unanswered):
            _reset(self.client)
            return False
        self.server.sendall(request)
        return True

    def _answer(self) -> bool:
        piece = self.server.recv(_PIECE)
        path, self.unanswered = self.unanswered, ""
        fault = self.wire.after(path, self.address, piece) if path else None
        if fault is Fault.ANSWER_LOST:
            _reset(self.client)
            return False
        if fault is not None:
            self.wire.mended.wait()
        self.client.sendall(piece)
        return bool(piece)


def _read_request(client: socket.socket) -> bytes | None:
    """Return one request, its body by Content-Length included; None at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(_PIECE)
        if not piece:
            return None
        data += piece
    head = data.partition(b"\r\n\r\n")[0].lower()
    sizes = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
    missing = len(head) + 4 + sum(sizes) - len(data)
    while missing > 0:
        piece = client.recv(_PIECE)
        data, missing = data + piece, missing - len(piece) if piece else 0
    return data


def _reset(sock: socket.socket) -> None:
    """Close so that the other side sees a reset, not an orderly end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


@contextlib.contextmanager
def tool_behind(
    root: Path, etcd_dir: Path | None = None, further: tuple[int, ...] = ()
) -> Iterator[tuple[Tool, Wire]]:
    """Give the tool on a fresh etcd behind proxies, with further machines behind theirs, and the wire."""
    wire = Wire()
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(lab_net())

        def prepare(layout: Layout) -> None:
            for i in NODES:
                _listen_behind(layout, i)
            for i in (*NODES, *further):
                stack.callback(Proxy(wire, layout.address(i)).close)

        tool = Tool(stack.enter_context(etcd_only(root, net, etcd_dir, prepare=prepare)))
        stack.callback(wire.mend)
        for i in further:
            tool.plan_node(i)
            _listen_behind(tool.layout, i)
        yield tool, wire


def _listen_behind(layout: Layout, i: int) -> None:
    env = layout.etcd_env(i)
    behind = f"http://{layout.address(i)}:{BEHIND}"
    lines = [line for line in env.read_text().splitlines() if not line.startswith("ETCD_LISTEN_CLIENT_URLS=")]
    env.write_text("\n".join([*lines, f"ETCD_LISTEN_CLIENT_URLS={behind}"]) + "\n")
