"""The texts of a lab's configuration files. Pure but for reading the script's template."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml

from patroni_etcd_reconfig.lab.layout import NODES, POSTGRESQL_PORT, REST_PORT, SCOPE, Layout


@dataclass(frozen=True)
class Secrets:
    """The passwords of PostgreSQL's two roles, made for one lab."""

    superuser: str
    replication: str

    def __repr__(self) -> str:
        return "Secrets(…)"


def etcd_settings(layout: Layout, i: int) -> dict[str, str]:
    """Return the settings of etcd member i in a cluster that is yet to be made."""
    cluster = ",".join(f"n{j}={layout.peer_url(j)}" for j in NODES)
    return {
        "ETCD_NAME": f"n{i}",
        "ETCD_DATA_DIR": str(layout.etcd_data(i)),
        "ETCD_LISTEN_CLIENT_URLS": layout.client_url(i),
        "ETCD_ADVERTISE_CLIENT_URLS": layout.client_url(i),
        "ETCD_LISTEN_PEER_URLS": layout.peer_url(i),
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": layout.peer_url(i),
        "ETCD_INITIAL_CLUSTER": cluster,
        "ETCD_INITIAL_CLUSTER_STATE": "new",
        "ETCD_INITIAL_CLUSTER_TOKEN": layout.title,
    }


def etcd_env(layout: Layout, i: int, settings: Mapping[str, str] | None = None) -> str:
    """Return the environment file of etcd member i, fit for both a shell and systemd.

    `settings` are further ones, by flag name.
    """
    more = {f"ETCD_{flag.upper().replace('-', '_')}": value for flag, value in (settings or {}).items()}
    variables = {**etcd_settings(layout, i), **more}
    lines = (f"{key}={shlex.quote(value)}\n" for key, value in variables.items())
    return "".join(lines)


def etcd_service(layout: Layout, etcd: Path) -> str:
    """Return the script that starts and stops the lab's etcd members."""
    template = resources.files(__package__).joinpath("templates/etcd-service.sh").read_text("utf-8")
    filled = template.replace("@LAB@", shlex.quote(str(layout.root)))
    return filled.replace("@ETCD@", shlex.quote(str(etcd)))


def inventory(layout: Layout, probe_interval: float, etcd: Path) -> str:
    """Return the inventory for `-i`; `probe_interval` in seconds, `etcd` the program of all members."""
    # Run by name of the shell: the lab may lie on a file system that is mounted noexec.
    script = shlex.join(("/bin/sh", str(layout.etcd_service)))
    defaults = {
        "via": "local",
        "manager": "command",
        "etcd": str(etcd),
        "commands": {verb: f"{script} {{name}} {verb}" for verb in ("start", "stop", "is_active")},
    }
    members = {f"n{i}": member(layout, i) for i in NODES}
    policy = {"state_dir": str(layout.state_dir), "probe_interval": probe_interval}
    return _yaml({"etcd": {"defaults": defaults, "members": members}, "policy": policy})


def member(layout: Layout, i: int) -> dict[str, str]:
    """Return etcd member i's entry in the inventory."""
    return {
        "host": layout.address(i),
        "config_file": str(layout.etcd_env(i)),
        "data_dir": str(layout.etcd_data(i)),
        "peer_url": layout.peer_url(i),
        "client_url": layout.client_url(i),
    }


def patroni_yml(layout: Layout, i: int, secrets: Secrets, pg_bin: Path) -> str:
    """Return the Patroni file of node i."""
    rest = f"{layout.address(i)}:{REST_PORT}"
    return _yaml(
        {
            "scope": SCOPE,
            "name": f"pg{i}",
            "etcd3": {"hosts": [layout.client_url(j).removeprefix("http://") for j in NODES]},
            "restapi": {"listen": rest, "connect_address": rest},
            # As root Patroni would take hold of /dev/watchdog and reboot the machine with the lab.
            "watchdog": {"mode": "off"},
            "bootstrap": _bootstrap(),
            "postgresql": _postgresql(layout, i, secrets, pg_bin),
        }
    )


def _bootstrap() -> dict[str, object]:
    parameters = {"max_connections": 50, "shared_buffers": "32MB", "fsync": "on"}
    dcs = {
        "ttl": 20,
        # Patroni wants loop_wait + 2 * retry_timeout <= ttl.
        "loop_wait": 1,
        "retry_timeout": 9,
        "failsafe_mode": True,
        "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": parameters},
    }
    auth = [{"auth-host": "scram-sha-256"}, {"auth-local": "scram-sha-256"}]
    # no-sync speeds up the making of the files only; PostgreSQL itself runs with fsync on. pg_rewind,
    # by which an old leader comes back after a failover, wants data-checksums.
    switches = ["no-sync", "data-checksums"]
    return {"dcs": dcs, "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, *auth, *switches]}


def _postgresql(layout: Layout, i: int, secrets: Secrets, pg_bin: Path) -> dict[str, object]:
    address = f"{layout.address(i)}:{POSTGRESQL_PORT}"
    return {
        "listen": address,
        "connect_address": address,
        "data_dir": str(layout.pg_data(i)),
        "bin_dir": str(pg_bin),
        "pgpass": str(layout.pg_home(i) / ".pgpass"),
        "authentication": {
            "superuser": {"username": "postgres", "password": secrets.superuser},
            "replication": {"username": "replicator", "password": secrets.replication},
        },
        "basebackup": [{"checkpoint": "fast"}, "no-sync"],
        # TCP only: a socket's path may have 107 bytes, and a lab's directory more than that.
        "parameters": {"unix_socket_directories": "", "log_line_prefix": "%m [%p] "},
        "pg_hba": [
            "host replication replicator 127.0.0.0/8 scram-sha-256",
            "host all all 127.0.0.0/8 scram-sha-256",
        ],
    }


def _yaml(content: Mapping[str, object]) -> str:
    text: str = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=1000)
    return text
