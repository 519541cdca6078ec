"""What every command shares: options, configuration, and the look at the cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from patroni_etcd_reconfig.adapters.etcd_client import Connector
from patroni_etcd_reconfig.adapters.inventory import Inventory
from patroni_etcd_reconfig.adapters.inventory import load as load_inventory
from patroni_etcd_reconfig.adapters.patroni_config import PatroniConfig
from patroni_etcd_reconfig.adapters.patroni_config import endpoints as patroni_endpoints
from patroni_etcd_reconfig.adapters.patroni_config import load as load_patroni
from patroni_etcd_reconfig.core.findings import ACCEPTABLE
from patroni_etcd_reconfig.core.model import PatroniHosts
from patroni_etcd_reconfig.core.policy import Policy
from patroni_etcd_reconfig.errors import ConfigError
from patroni_etcd_reconfig.observe.etcd import EtcdObserver
from patroni_etcd_reconfig.observe.everything import NODE_DEADLINE, Observer
from patroni_etcd_reconfig.ports import NodeControl

# One look may take this long, whatever dead members do: `status` answers in about a second.
LOOK_DEADLINE = 0.9
# What a member has for its first word, where others have quorum: a connection with TLS and an answer are four
# round trips, each below etcd's default heartbeat interval (100 ms: https://etcd.io/docs/v3.5/tuning/).
FIRST_WORD = 0.5
# What a login may add: etcd hashes the password with bcrypt, at its default cost for 0.05 to 0.2 s of a core,
# on every member, and once more on one that has been restarted.
LOGIN = 2.0


@dataclass
class App:
    """One invocation. Files are read when they are first needed, and only then."""

    config_file: str | None = None
    inventory_file: str | None = None
    insecure: bool = False
    format: str = "pretty"
    accept: frozenset[str] = field(default_factory=frozenset)
    seeds: tuple[str, ...] = ()  # client URLs to ask besides the hosts of the Patroni file
    shield: bool = False
    leave_out: frozenset[str] = frozenset()  # scopes without a leader that a recovery does not wait for
    patroni_apis: tuple[str, ...] = ()  # HOST:PORT of Patronis to ask besides those that anything names
    pg_user: str = ""  # how recovery logs in to PostgreSQL; "" = as the environment or the Patroni file says

    @property
    def wants_data(self) -> bool:
        """Tell whether the result is for programs: the contract's JSON or YAML."""
        return self.format in ("json", "yaml", "yml")

    @cached_property
    def patroni(self) -> PatroniConfig:
        """Return what the Patroni file says."""
        return load_patroni(self.config_file, os.environ)

    @cached_property
    def endpoints(self) -> tuple[str, ...]:
        """Return the etcd endpoints of the Patroni file; its SRV records are resolved only now."""
        return patroni_endpoints(self.patroni)

    @cached_property
    def inventory(self) -> Inventory:
        """Return what the inventory says."""
        return load_inventory(self.inventory_file, self.patroni.path)

    @cached_property
    def policy(self) -> Policy:
        """Return the inventory's policy with what the command line accepts."""
        policy = self.inventory.policy
        accept = policy.accept | self.accept
        if accept - ACCEPTABLE:
            raise ConfigError(
                f"can't be accepted: {', '.join(sorted(accept - ACCEPTABLE))}",
                hint=f"these can: {', '.join(sorted(ACCEPTABLE))}",
                code="NOT_ACCEPTABLE",
            )
        return replace(policy, accept=accept)

    @cached_property
    def connector(self) -> Connector:
        """Return the maker of etcd clients with the Patroni file's TLS and credentials."""
        cfg = self.patroni
        return Connector(cfg.username, cfg.password, cfg.cacert, cfg.cert, cfg.key, self.insecure)

    @cached_property
    def state_dir(self) -> Path:
        """Return where journals and snapshots go: the policy's, or the user's default."""
        if self.policy.state_dir:
            return Path(self.policy.state_dir)
        if os.geteuid() == 0:
            return Path("/var/lib/patroni-etcd-reconfig")
        base = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
        return Path(base) / "patroni-etcd-reconfig"

    @property
    def look_deadline(self) -> float:
        """Return what one look, or one call to etcd, may take in seconds, a login included."""
        return LOOK_DEADLINE + self._login

    @property
    def _login(self) -> float:
        return LOGIN if self.patroni.username else 0.0

    def observer(
        self, nodes: Mapping[str, NodeControl] | None = None, node_deadline: float = NODE_DEADLINE
    ) -> Observer:
        """Return a fresh look at everything; without nodes, at what the network shows."""
        return Observer(
            EtcdObserver(
                self.connector,
                (*self.endpoints, *self.seeds),
                self.look_deadline,
                {name: node.client_urls for name, node in (nodes or {}).items()},
                FIRST_WORD + self._login,  # newer versions want it even for the status
            ),
            self.patroni.namespace,
            nodes or {},
            self._patroni_hosts(),
            self.state_dir if nodes is not None else None,
            node_deadline=node_deadline,
            leave_out=self.leave_out,
        )

    def _patroni_hosts(self) -> tuple[PatroniHosts, ...]:
        endpoints = tuple(url.split("://", 1)[-1] for url in self.endpoints)
        return (PatroniHosts(self.patroni.path, endpoints),)

    def command_line(self, *words: str) -> str:
        """Return the command to type next, with the options that this one was given."""
        options = []
        if self.config_file:
            options += ["-c", self.config_file]
        if self.inventory_file:
            options += ["-i", self.inventory_file]
        asking = self._asking() if words[:1] in (("recover",), ("restore",)) else ()
        return " ".join(["patronictl-etcd", *options, *words, *asking])

    def _asking(self) -> tuple[str, ...]:
        """Return what recovery commands pass on, so that the next one asks the same nodes alike."""
        named = (word for api in self.patroni_apis for word in ("--patroni", api))
        return (*named, *(("--pg-user", self.pg_user) if self.pg_user else ()))
