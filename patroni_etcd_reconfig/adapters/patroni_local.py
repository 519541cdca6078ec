"""The Patroni node that the Patroni file itself describes: its addresses, and its PostgreSQL's files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patroni_etcd_reconfig.adapters.patroni_config import PatroniConfig, load
from patroni_etcd_reconfig.adapters.pg_controldata import ControlData
from patroni_etcd_reconfig.core.recovery.addresses import Address, base_url
from patroni_etcd_reconfig.errors import ConfigError

POSTGRES_PORT = 5432
ANY_ADDRESS = ("*", "0.0.0.0", "::", "")  # noqa: S104 - what a server listens on, not we


def local_address(config: PatroniConfig) -> Address | None:
    """Return where the file's own node is; None without a name or an address, as in patronictl's file."""
    name = config.raw.get("name")
    if not (isinstance(name, str) and name and config.scope):
        return None
    api, server = _place(config, "restapi"), _place(config, "postgresql")
    if not api and not server:
        return None
    urls = (base_url(f"{rest_scheme(config)}://{api}"),) if api else ()
    group = _section(config, "citus").get("group")
    scope = config.scope if group is None else f"{config.scope}/{group}"
    return Address(scope, name, urls, _servers(server), local=True)


def configs_on_this_machine(config: PatroniConfig) -> tuple[PatroniConfig, ...]:
    """Return the given configuration, and those beside it of other nodes on this machine, on the same etcd.

    A machine can run several Patronis; Debian keeps one file for each in /etc/patroni. What can't be read
    there, is no Patroni file, or has its data directory elsewhere does not count.
    """
    path = Path(config.path)
    beside = path.resolve().parent.glob("*.y*ml") if config.path and path.is_file() else ()
    names = {(config.scope, config.raw.get("name"))}
    found = [config]
    for other in sorted(beside):
        loaded = _node_config(other, config)
        if loaded and (loaded.scope, loaded.raw["name"]) not in names:
            names.add((loaded.scope, loaded.raw["name"]))
            found.append(loaded)
    return tuple(found)


def _node_config(path: Path, given: PatroniConfig) -> PatroniConfig | None:
    try:
        loaded = load(str(path), {})
    except (ConfigError, OSError):
        return None
    same = (loaded.namespace, loaded.api, set(loaded.hosts)) == (given.namespace, given.api, set(given.hosts))
    data_dir = _section(loaded, "postgresql").get("data_dir")
    there = isinstance(data_dir, str) and Path(data_dir).is_dir()
    return loaded if same and there and local_address(loaded) else None


def given_address(text: str, config: PatroniConfig) -> Address:
    """Return the Patroni that an operator names as HOST:PORT or as a URL; ConfigError."""
    url = base_url(text if "://" in text else f"{rest_scheme(config)}://{text}")
    if not url or (":" not in text.rpartition("]")[2] and "://" not in text):
        raise ConfigError(f"--patroni {text!r}: must be HOST:PORT, or http(s)://HOST:PORT")
    return Address("", "", (url,))


def postgres_port(config: PatroniConfig) -> int:
    """Return the port that PostgreSQL most likely has where nothing tells it: that of the file's own node."""
    servers = _servers(_place(config, "postgresql"))
    return servers[0][1] if servers else POSTGRES_PORT


def rest_scheme(config: PatroniConfig) -> str:
    """Return https where the file's own node serves that."""
    return "https" if _section(config, "restapi").get("certfile") else "http"


def control_data(config: PatroniConfig) -> ControlData | None:
    """Return the reader of the local control file; None when the file names no data directory."""
    section = _section(config, "postgresql")
    data_dir, bin_dir = section.get("data_dir"), section.get("bin_dir")
    if not isinstance(data_dir, str) or not data_dir:
        return None
    names = section.get("bin_name")
    program = names.get("pg_controldata") if isinstance(names, dict) else None
    program = program if isinstance(program, str) and program else "pg_controldata"
    return ControlData(str(Path(bin_dir) / program) if isinstance(bin_dir, str) else program, data_dir)


def _section(config: PatroniConfig, name: str) -> Mapping[str, Any]:
    section = config.raw.get(name)
    return section if isinstance(section, dict) else {}


def _place(config: PatroniConfig, name: str) -> str:
    """Return HOST:PORT; of what it listens on the first, and the loopback where that is everything."""
    section = _section(config, name)
    if section.get("connect_address"):
        return str(section["connect_address"])
    host, _, port = str(section.get("listen") or "").rpartition(":")
    host = host.partition(",")[0].strip()
    return f"{'127.0.0.1' if host.strip('[]') in ANY_ADDRESS else host}:{port}" if port else ""


def _servers(place: str) -> tuple[tuple[str, int], ...]:
    host, _, port = place.rpartition(":")
    return ((host.strip("[]"), int(port)),) if host and port.isascii() and port.isdigit() else ()
