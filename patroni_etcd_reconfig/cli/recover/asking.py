"""Whom a recovery asks, and as whom: the options of all its commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from patroni_etcd_reconfig.cli.app import App


def _patroni(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> None:  # noqa: ARG001
    if value:
        ctx.find_object(App).patroni_apis = value  # type: ignore[union-attr]


def _pg_user(ctx: click.Context, param: click.Parameter, value: str) -> None:  # noqa: ARG001
    if value:
        ctx.find_object(App).pg_user = value  # type: ignore[union-attr]


def asking_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; what they say is in the App, for the collector and the next command."""
    patroni = click.option(
        "--patroni",
        multiple=True,
        metavar="HOST:PORT",
        expose_value=False,
        callback=_patroni,
        help="A Patroni REST API to ask, too, where the DCS tells nothing. Can be given more than once.",
    )
    pg_user = click.option(
        "--pg-user",
        default="",
        metavar="NAME",
        expose_value=False,
        callback=_pg_user,
        help="Ask PostgreSQL as this user, with PGPASSWORD or PGPASSFILE.",
    )
    return patroni(pg_user(command))
