"""Where everything of a lab is: addresses, ports and paths. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from patroni_etcd_reconfig.errors import ConfigError

DEFAULT_NET = 77
CLIENT_PORT = 2379
PEER_PORT = 2380
REST_PORT = 8008
POSTGRESQL_PORT = 5432
SCOPE = "lab"
NODES = (1, 2, 3)


@dataclass(frozen=True)
class Endpoint:
    """An address and port that a process of the lab listens on."""

    process: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Layout:
    """A lab's directory and network number; all names, addresses and paths follow from these two."""

    root: Path
    net: int

    @property
    def title(self) -> str:
        """Return the lab's name, which is its etcd cluster token too."""
        return f"lab-{self.net}"

    @property
    def marker(self) -> Path:
        """Return the file that makes a directory a lab."""
        return self.root / "lab.json"

    @property
    def secrets(self) -> Path:
        """Return the file with the PostgreSQL passwords."""
        return self.root / "secrets.json"

    @property
    def lock(self) -> Path:
        """Return the file that is locked while a command changes the lab."""
        return self.root / "lab.lock"

    @property
    def inventory(self) -> Path:
        """Return the file for `-i`."""
        return self.root / "etcd-reconfig.yml"

    @property
    def patroni_file(self) -> Path:
        """Return the file for `-c`."""
        return self.root / "patroni.yml"

    @property
    def etcd_service(self) -> Path:
        """Return the script that starts and stops etcd members."""
        return self.root / "bin" / "etcd-service"

    @property
    def state_dir(self) -> Path:
        """Return the directory for the tool's journals and snapshots."""
        return self.root / "state"

    @property
    def directories(self) -> tuple[Path, ...]:
        """Return the directories that a lab has from the start."""
        names = ("bin", "data", "logs", "pids", "state")
        return tuple(self.root / name for name in names) + tuple(self.pg_home(i) for i in NODES)

    def address(self, i: int) -> str:
        """Return node i's address; each node keeps the default ports."""
        return f"127.0.{self.net}.{i}"

    def client_url(self, i: int) -> str:
        """Return the client URL of etcd member i."""
        return f"http://{self.address(i)}:{CLIENT_PORT}"

    def peer_url(self, i: int) -> str:
        """Return the peer URL of etcd member i."""
        return f"http://{self.address(i)}:{PEER_PORT}"

    def etcd_env(self, i: int) -> Path:
        """Return the environment file of etcd member i."""
        return self.root / f"etcd-n{i}.env"

    def etcd_data(self, i: int) -> Path:
        """Return the data dir of etcd member i."""
        return self.root / "data" / f"n{i}"

    def pg_yml(self, i: int) -> Path:
        """Return the Patroni file of node i."""
        return self.root / f"pg{i}.yml"

    def pg_home(self, i: int) -> Path:
        """Return the directory in which Patroni of node i may do as it likes."""
        return self.root / "data" / f"pg{i}"

    def pg_data(self, i: int) -> Path:
        """Return PostgreSQL's data directory. Patroni may rename it, so its parent is Patroni's own."""
        return self.pg_home(i) / "pgdata"

    def pid_file(self, process: str) -> Path:
        """Return the pid file of a process, e.g. `etcd-n1`, `patroni-pg1`."""
        return self.root / "pids" / f"{process}.pid"

    def log(self, process: str) -> Path:
        """Return the log of a process; PostgreSQL writes into its Patroni's."""
        return self.root / "logs" / f"{process}.log"

    def endpoints(self) -> Iterator[Endpoint]:
        """Yield everything that the lab's processes listen on."""
        for i in NODES:
            yield Endpoint(f"etcd-n{i}", self.address(i), CLIENT_PORT)
            yield Endpoint(f"etcd-n{i}", self.address(i), PEER_PORT)
            yield Endpoint(f"patroni-pg{i}", self.address(i), REST_PORT)
            yield Endpoint(f"postgresql-pg{i}", self.address(i), POSTGRESQL_PORT)

    def command_line(self, *words: str) -> str:
        """Return the `patronictl-etcd` line that works on this lab, ready for a shell."""
        files = ("-c", str(self.patroni_file), "-i", str(self.inventory))
        return shlex.join(("patronictl-etcd", *files, *words))


def make_layout(root: Path, net: int) -> Layout:
    """Return the layout of a lab, its directory made absolute; ConfigError for what can't be one."""
    if not 1 <= net <= 255:
        raise ConfigError(f"network number {net} is not between 1 and 255 (127.0.{net}.1 to .3)")
    absolute = root.absolute()
    # Braces would be read as placeholders in the inventory's commands.
    if any(character in "{}" or not character.isprintable() for character in str(absolute)):
        raise ConfigError(f"a lab's directory can't have braces or control characters: {str(absolute)!r}")
    return Layout(absolute, net)


def default_root(net: int) -> Path:
    """Return where a lab is made unless told otherwise."""
    return Path(".lab") / f"lab-{net}"
