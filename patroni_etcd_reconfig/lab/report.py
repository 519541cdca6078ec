"""What the lab's commands print."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from patroni_etcd_reconfig.lab.down import Departure
from patroni_etcd_reconfig.lab.lab import Lab
from patroni_etcd_reconfig.lab.up import Arrival

Json = Mapping[str, Any]


def as_json(value: Json) -> str:
    """Return a result as JSON."""
    return json.dumps(value, indent=2)


def arrival(result: Arrival) -> str:
    """Return the summary of `lab up`, with the command to go on with."""
    layout, cluster = result.lab.layout, result.cluster
    did = f"started {len(result.started)} processes" if result.started else "was running already"
    leader = cluster.leader.name if cluster.leader else "none"
    return "\n".join(
        (
            f"{layout.title} is up ({did}, {result.seconds:.1f} s): etcd {result.etcd_version}; PostgreSQL "
            f"leader {leader}, {len(cluster.streaming)} streaming replicas",
            f"Addresses: {layout.address(1)} to .3. Everything is in {layout.root}",
            f"Next:      {layout.command_line('status')}",
            f"To end it: {shlex.join(('patronictl-etcd', 'lab', 'down', '--dir', str(layout.root)))}",
        )
    )


def departure(result: Departure) -> str:
    """Return the summary of `lab down`."""
    ended = ", ".join(f"{name} ({pid})" for name, pid in result.ended)
    where = f"{result.root} is deleted" if result.removed else f"{result.root} stays"
    return f"ended {ended}; {where}" if ended else f"nothing was running; {where}"


def status(lab: Lab) -> dict[str, Any]:
    """Return the state of a lab's processes; `running` when all of them are alive."""
    states = lab.processes()
    return {
        "format": 1,
        "dir": str(lab.layout.root),
        "net": lab.layout.net,
        "running": all(state.alive for state in states),
        "processes": [
            {"name": state.name, "pid": state.pid, "alive": state.alive, "listens": list(state.listens)}
            for state in states
        ],
    }


def status_text(value: Json) -> str:
    """Return the state of a lab's processes for reading."""
    alive = sum(process["alive"] for process in value["processes"])
    head = f"lab-{value['net']} in {value['dir']}: {alive} of {len(value['processes'])} processes run"
    return "\n".join((head, *(_process_line(process) for process in value["processes"])))


def _process_line(process: Json) -> str:
    dead = "never started, or stopped" if process["pid"] is None else "dead"
    state = "running" if process["alive"] else dead
    return f"  {process['name']:<15} {process['pid'] or '-':>8}  {', '.join(process['listens']):<34} {state}"
