"""Groups that know their commands' names and first lines without importing them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

# name -> (module:attribute, first line)
Table = Mapping[str, tuple[str, str]]


class LazyGroup(click.Group):
    """A group that imports a command when it is called."""

    def __init__(self, *arguments: Any, table: Table, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order in which one meets them."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table, without imports."""
        rows = [(name, text) for name, (_, text) in self.table.items()]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
