"""`patronictl-etcd recover`: the night when etcd has lost its majority."""

from __future__ import annotations

import click

from patroni_etcd_reconfig.cli.lazy import LazyGroup, Table

_HERE = "patroni_etcd_reconfig.cli.recover"
COMMANDS: Table = {
    "collect": (f"{_HERE}.collect:command", "Ask every node what it has; change nothing."),
    "plan": (f"{_HERE}.plan:command", "Say who survives, who is fenced, and what is lost; change nothing."),
    "apply": (f"{_HERE}.apply:command", "Carry out a plan, step by step, resumable."),
    "verify": (f"{_HERE}.verify:command", "Check that a recovery reached its goal."),
}


@click.command(cls=LazyGroup, table=COMMANDS)
def recover() -> None:
    """Bring etcd back when a majority of its members is lost, without losing a committed transaction.

    \b
    1. recover collect -o evidence.json    ask every node; on each machine if one can't reach all
    2. recover plan evidence.json ... -o plan.json
    3. recover apply plan.json
    4. recover verify plan.json
    """
