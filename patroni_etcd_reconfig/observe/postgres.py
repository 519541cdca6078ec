"""Every PostgreSQL node, through its Patroni and through SQL at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from patroni_etcd_reconfig.core.recovery.addresses import Address, base_url, combined, told_apart
from patroni_etcd_reconfig.core.recovery.evidence import PostgresEvidence
from patroni_etcd_reconfig.core.recovery.postgres_facts import (
    ControlFacts,
    Replies,
    SqlFacts,
    can_be,
    combine,
    identity,
)
from patroni_etcd_reconfig.errors import ReconfigError
from patroni_etcd_reconfig.parallel import Answers, gather
from patroni_etcd_reconfig.ports import ControlDataApi, PatroniRestApi, PostgresApi

Rest = Answers[Mapping[str, Any]]
Sql = Answers[SqlFacts]

_NAMELESS = "before version 3.2 Patroni does not say its name; run `recover collect` on its machine, too"


@dataclass(frozen=True)
class PostgresCollector:
    """Asks PostgreSQL nodes; the look ends within about `deadline` seconds, whatever they do.

    `port` is tried on a node's host where nothing names its PostgreSQL: that answer counts only when it has
    the system identifier that Patroni tells. `control` reads the control files of the nodes on this machine,
    by scope and name.
    """

    rest: PatroniRestApi
    sql: PostgresApi
    control: Mapping[tuple[str, str], ControlDataApi]
    port: int
    deadline: float

    def collect(self, addresses: Sequence[Address], by: str, at: float) -> tuple[PostgresEvidence, ...]:
        """Return the evidence on each node that an address names, or that answers on one."""
        rest, sql = self._ask(addresses)
        named = combined(_named(addresses, rest))
        more = self._remembered(named, rest)
        if more:
            named = combined((*named, *more))
            rest, sql = self._ask(named)
        pairs = [(address, self._replies(address, rest, sql)) for address in told_apart(named)]
        found = (combine(_base(_reached(address, rest, sql), by, at), told) for address, told in pairs)
        return tuple(sorted(found, key=lambda one: (one.scope, one.name)))

    def _ask(self, addresses: Sequence[Address]) -> tuple[Rest, Sql]:
        urls = {url for address in addresses for url in address.api_urls}
        servers = {server for address in addresses for server in self._servers(address)}
        calls: dict[str, Callable[[], Any]] = {url: partial(self.rest, url, self.deadline) for url in urls}
        calls |= {_key(server): partial(self.sql, *server) for server in servers}
        answers: Answers[Any] = gather(calls, self.deadline)
        return answers, answers

    def _remembered(self, named: Sequence[Address], rest: Rest) -> tuple[Address, ...]:
        """Return the nodes that only Patronis know of; with failsafe_mode they remember all the others."""
        asked = {address.api_urls[0]: address for address in named if address.api_urls}
        calls = {url: partial(self.rest.failsafe, url, self.deadline) for url in asked if url in rest.results}
        known = {(address.scope, address.name) for address in named}
        found = [
            Address(asked[url].scope, name, (base_url(api),))
            for url, members in gather(calls, self.deadline).results.items()
            for name, api in members.items()
            if (asked[url].scope, name) not in known and base_url(api)
        ]
        return combined(found)

    def _servers(self, address: Address) -> tuple[tuple[str, int], ...]:
        guessed = ((address.host, self.port),) if address.host else ()
        return address.servers or guessed

    def _replies(self, address: Address, rest: Rest, sql: Sql) -> Replies:
        told, rest_problem = _patroni(address, rest)
        known = str(told.get("database_system_identifier", "")) if told else None
        facts, sql_problem = self._postgres(address, sql, known)
        control, control_problem = (None, "") if facts else self._control_file(address)
        return Replies(told, facts, control, rest_problem, sql_problem, control_problem)

    def _postgres(self, address: Address, sql: Sql, known: str | None) -> tuple[SqlFacts | None, str]:
        servers = self._servers(address)
        for server in servers:
            facts = sql.results.get(_key(server))
            if facts and (address.servers or facts.system_identifier == known):
                return facts, ""
        return None, _problem(sql, [_key(server) for server in servers]) or "nothing names its PostgreSQL"

    def _control_file(self, address: Address) -> tuple[ControlFacts | None, str]:
        read = self.control.get((address.scope, address.name)) if address.local else None
        if read is None:
            return None, ""
        try:
            return read(), ""
        except ReconfigError as error:
            return None, error.message


def _named(addresses: Iterable[Address], rest: Rest) -> Iterator[Address]:
    """Give Patronis that only their address is known of the name that they say they have."""
    for address in addresses:
        answer = rest.results.get(address.api_urls[0]) if address.api_urls else None
        scope, name = identity(answer) if answer and not address.name else (address.scope, address.name)
        yield replace(address, scope=scope, name=name)


def _reached(address: Address, rest: Rest, sql: Sql) -> Address:
    """Put what answered first: later looks go there."""
    return replace(
        address,
        api_urls=tuple(sorted(address.api_urls, key=lambda url: not _is_its(address, rest.results.get(url)))),
        servers=tuple(sorted(address.servers, key=lambda server: _key(server) not in sql.results)),
    )


def _is_its(address: Address, answer: Mapping[str, Any] | None) -> bool:
    """Tell whether an answer is this node's.

    A Citus group is part of the scope in the DCS (`demo/0`), and not in what Patroni says of itself.
    """
    return answer is not None and can_be(answer, address.scope.partition("/")[0], address.name)


def _patroni(address: Address, rest: Rest) -> tuple[Mapping[str, Any] | None, str]:
    """Return the answer of the address that says it is this node, and else why there is none."""
    strangers = []
    for url in address.api_urls:
        answer = rest.results.get(url)
        if _is_its(address, answer):
            return (answer, "") if address.name else (None, f"{url}: {_NAMELESS}")
        if answer is not None:
            strangers.append(f"{url}: is {'/'.join(filter(None, identity(answer)))}")
    return None, "; ".join(strangers) or _problem(rest, address.api_urls)


def _problem(answers: Answers[Any], keys: Iterable[str]) -> str:
    """Return what was said by those that gave no result."""
    silent = [key for key in keys if key not in answers.results]
    return "; ".join(str(answers.errors.get(key) or f"{key}: no answer in time") for key in silent)


def _base(address: Address, by: str, at: float) -> PostgresEvidence:
    scope, name = (address.scope, address.name) if address.name else ("", address.host)
    api = address.api_urls[0] if address.api_urls else ""
    port = address.servers[0][1] if address.servers else 0
    return PostgresEvidence(scope, name, address.host, api, port, collected_by=by, collected_at=at)


def _key(server: tuple[str, int]) -> str:
    return f"{server[0]}:{server[1]}"
