"""A large etcd database, made once and laid out for each member of a fresh cluster.

Through `snapshot restore`, for a reason: members that wrote it all themselves would keep the last entries
in memory and in their logs, and send a new member those instead of a snapshot.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import urllib3

from patroni_etcd_reconfig.errors import ConfigError, StepFailedError
from patroni_etcd_reconfig.lab import configs, programs
from patroni_etcd_reconfig.lab.bench.ground import Options
from patroni_etcd_reconfig.lab.layout import NODES, Layout
from patroni_etcd_reconfig.lab.yardstick import call, retry

VALUE = 1024 * 1024  # bytes; etcd's default limit of a request is 1.5 MiB
QUOTA = 8 * 1024**3  # bytes; the most that etcd's documentation recommends
SETTINGS = {"quota-backend-bytes": str(QUOTA)}
WRITERS = 4
_STOP_TIMEOUT = 60.0


def make_database(options: Options, place: Path) -> Path:
    """Fill a single member until its database has the size, stop it, and return the database file."""
    layout = Layout(place, options.net)
    with (place / "filling.log").open("wb") as log:
        command = [str(programs.find_etcd(options.etcd_dir)), *_single(layout)]
        etcd = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            _fill(layout, options.size)
        finally:
            etcd.terminate()
            etcd.wait(_STOP_TIMEOUT)
    database = place / "database"
    (place / "filling" / "member" / "snap" / "db").replace(database)
    shutil.rmtree(place / "filling")
    return database


def lay_out(layout: Layout, database: Path, etcd_dir: Path | None) -> None:
    """Give each first member a data dir with the database in it."""
    tool = restore_tool(etcd_dir)
    for i in NODES:
        settings = configs.etcd_settings(layout, i)
        flags = {
            "name": settings["ETCD_NAME"],
            "data-dir": settings["ETCD_DATA_DIR"],
            "initial-cluster": settings["ETCD_INITIAL_CLUSTER"],
            "initial-cluster-token": settings["ETCD_INITIAL_CLUSTER_TOKEN"],
            "initial-advertise-peer-urls": settings["ETCD_INITIAL_ADVERTISE_PEER_URLS"],
            "skip-hash-check": "true",
        }
        words = [f"--{flag}={value}" for flag, value in flags.items()]
        done = subprocess.run(
            [str(tool), "snapshot", "restore", str(database), *words],
            env={"PATH": os.environ.get("PATH", ""), "ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise StepFailedError(f"{tool} snapshot restore: {done.stderr[-400:]}")


def restore_tool(etcd_dir: Path | None) -> Path:
    """Return etcdutl, or etcdctl of 3.4 and 3.5, which can still restore; ConfigError when there is none."""
    etcd = programs.find_etcd(etcd_dir)
    for name in ("etcdutl", "etcdctl"):
        tool = etcd.with_name(name)
        if tool.exists() and _restores(tool):
            return tool
    raise ConfigError(
        f"no program beside {etcd} restores snapshots",
        hint="put etcdutl (etcd 3.6 and later) or etcdctl there, or run the other scenarios",
    )


def _restores(tool: Path) -> bool:
    asked = subprocess.run(
        [str(tool), "snapshot", "restore", "--help"],
        env={"ETCDCTL_API": "3"},
        capture_output=True,
        text=True,
    )
    return "initial-cluster-token" in asked.stdout + asked.stderr


def _single(layout: Layout) -> list[str]:
    client, peer = layout.client_url(1), layout.peer_url(1)
    options = {
        "name": "filling",
        "data-dir": str(layout.root / "filling"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"filling={peer}",
        "snapshot-count": "200",
        **SETTINGS,
    }
    return [f"--{flag}={value}" for flag, value in options.items()]


def _fill(layout: Layout, size: int) -> None:
    http = urllib3.PoolManager(retries=False, maxsize=WRITERS)
    retry(lambda: call(http, layout, 1, "kv/range", {"key": "YQ=="}, read=6), pause=0.05)
    value = min(VALUE, max(size // 16, 1))

    def put(number: int) -> None:
        key = base64.b64encode(b"/large/%06d" % number).decode()
        blob = base64.b64encode(os.urandom(value)).decode()
        retry(lambda: call(http, layout, 1, "kv/put", {"key": key, "value": blob}, read=30), pause=0.2)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(put, range(size // value)))
    time.sleep(0.3)  # etcd writes its database every 100 ms
    http.clear()
