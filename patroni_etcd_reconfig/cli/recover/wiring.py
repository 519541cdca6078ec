"""Puts the parts of a recovery together."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path

from patroni_etcd_reconfig.adapters.commands import run
from patroni_etcd_reconfig.adapters.data_copy import back_up
from patroni_etcd_reconfig.adapters.inventory import NodeConfig
from patroni_etcd_reconfig.adapters.nodes import controllable, make_nodes
from patroni_etcd_reconfig.adapters.process import accepts
from patroni_etcd_reconfig.adapters.quarantine import LocalQuarantine
from patroni_etcd_reconfig.adapters.restore_tool import RestoreTool, find_tool
from patroni_etcd_reconfig.adapters.snapshot_restore import check, restore
from patroni_etcd_reconfig.cli.app import App
from patroni_etcd_reconfig.cli.recover.collect import collector
from patroni_etcd_reconfig.cli.recover.rebuilding import rebuild
from patroni_etcd_reconfig.cli.recover.verification import verify
from patroni_etcd_reconfig.clock import SystemClock
from patroni_etcd_reconfig.core.model import KeyValue, PatroniCluster
from patroni_etcd_reconfig.core.recovery.addresses import (
    Address,
    addresses_in_keys,
    addresses_in_plan,
    combined,
)
from patroni_etcd_reconfig.core.recovery.evidence import Evidence, PostgresEvidence
from patroni_etcd_reconfig.core.recovery.logins import check_login
from patroni_etcd_reconfig.core.recovery.model import RecoveryPlan, Way
from patroni_etcd_reconfig.core.recovery.steps import RecoveryStep
from patroni_etcd_reconfig.engine.recovery.actions import RecoveryActions
from patroni_etcd_reconfig.engine.recovery.fencing import Fencing
from patroni_etcd_reconfig.engine.recovery.isolation import READY, Isolation
from patroni_etcd_reconfig.engine.recovery.journal import RecoveryJournal, operation_id_of
from patroni_etcd_reconfig.engine.recovery.loop import Facts, RecoveryReporter
from patroni_etcd_reconfig.engine.recovery.opening import READY as OPENED
from patroni_etcd_reconfig.engine.recovery.opening import Opening
from patroni_etcd_reconfig.engine.recovery.operation import Recovery, SituationError
from patroni_etcd_reconfig.engine.recovery.repairing import Repairing
from patroni_etcd_reconfig.errors import ConfigError
from patroni_etcd_reconfig.observe.patroni import look_at_patroni
from patroni_etcd_reconfig.ports import EtcdApi

# What a read through quorum gets before the first step, in seconds, from members that answer all else. Who
# serves does so within a tenth of it; a majority that is between two leaders shows by how many answer.
PATIENCE = 0.4
LOOK = 1.0  # seconds for one look at the leases of all Patroni clusters


class RecoveryWiring:
    """The parts that look and act for one plan."""

    def __init__(
        self, app: App, plan: RecoveryPlan, again: str, leads: Mapping[str, str] | None = None
    ) -> None:
        """`again` is the command line that goes on after a crash; `leads` are the leaders named with it."""
        self.leads = leads or {}
        # The hosts of the Patroni file may all be gone: the survivor's own address counts, too.
        urls = tuple(node.client_url for node in app.inventory.nodes.values() if node.client_url)
        self.app = replace(app, seeds=urls)
        self.plan = plan
        self.clock = SystemClock()
        # Members that are only to be started can be on other machines.
        self.nodes = (controllable if plan.way is Way.START else make_nodes)(app.inventory)
        self.collector = collector(app)
        self.again = again
        if plan.scopes:  # it takes 0.15 s to load, and PostgreSQL is asked while nobody can write
            threading.Thread(target=import_module, args=("psycopg",), daemon=True).start()

    def recovery(self, reporter: RecoveryReporter, began_at: float) -> Recovery:
        """Return the recovery, ready to run."""
        return Recovery(
            plan=self.plan,
            state_dir=self.app.state_dir,
            markers=tuple(Path(f"{self._config(name).data_dir}.recovery-lock") for name in self._touched()),
            reserve=self.app.policy.min_free_bytes,
            program=version_of(self._quarantine.etcd) if self._quarantine else "",
            clock=self.clock,
            reporter=reporter,
            collect=self.collect,
            actions_for=partial(self._actions, reporter),
            end_quarantine=self._end_quarantine,
            again=self.again,
            began_at=began_at,
            leads=self.leads,
        )

    def collect(self) -> Evidence:
        """Look again at the members that the plan is of; SituationError where our login does not suffice."""
        if stopping := tuple(check_login(self.plan, self.app.patroni.username)):
            raise SituationError(stopping)
        return replace(self.collector, patience=PATIENCE).look_at_members()

    def postgres(self, kvs: tuple[KeyValue, ...]) -> tuple[PostgresEvidence, ...]:
        """Ask every PostgreSQL node that these keys, the plan, or the Patroni file, name."""
        return self._ask(addresses_in_keys([kvs], self.plan.namespace), addresses_in_plan(self.plan.scopes))

    def _postgres_in_quarantine(self, kvs: tuple[KeyValue, ...]) -> tuple[PostgresEvidence, ...]:
        """Ask them where they were when the plan was made: no key can be newer."""
        return self._ask(addresses_in_plan(self.plan.scopes), addresses_in_keys([kvs], self.plan.namespace))

    def _ask(self, *likely: tuple[Address, ...]) -> tuple[PostgresEvidence, ...]:
        seen = self.collector
        addresses = combined((*(one for group in likely for one in group), *seen.addresses))
        return seen.postgres.collect(addresses, seen.host, self.clock.wall())

    def _touched(self) -> tuple[str, ...]:
        """Return the nodes of this machine that the plan works on."""
        lost = {fence.node for fence in self.plan.fence if fence.lost}
        names = [self.plan.survivor.node] if self.plan.survivor else []
        names += [*self.plan.start, *(fence.node for fence in self.plan.fence)]
        return tuple(name for name in dict.fromkeys(names) if name in self.nodes and name not in lost)

    def _config(self, name: str) -> NodeConfig:
        return self.app.inventory.nodes[name]

    @cached_property
    def _quarantine(self) -> LocalQuarantine | None:
        survivor = self.plan.survivor
        if survivor is None:
            return None
        config = self.app.inventory.nodes.get(survivor.node)
        if config is None or config.via != "local":
            raise ConfigError(
                f"{survivor.node}, the survivor, is not on this machine",
                hint="run this on its machine, with an inventory that has it with via: local",
                code="SURVIVOR_ELSEWHERE",
            )
        return LocalQuarantine(config, self.app.state_dir / "quarantine", find_etcd(config))

    def _end_quarantine(self) -> None:
        if self._quarantine is not None:
            self._quarantine.stop()

    def _actions(
        self, reporter: RecoveryReporter, journal: RecoveryJournal
    ) -> Callable[[RecoveryStep], Facts]:
        fencing = self._fencing(reporter)
        isolation = self._isolation(reporter, journal)
        opening = Opening(
            plan=self.plan,
            nodes=self.nodes,
            connect=self.app.connector,
            clock=self.clock,
            say=reporter.say,
            prove_stopped=fencing.prove_stopped,
            end_quarantine=self._end_quarantine,
            ready=max(self.app.policy.step_timeout, OPENED),
            look_at_patroni=self._clusters,
            look_at_postgres=self._postgres_of,
        )
        return RecoveryActions(
            plan=self.plan,
            journal=journal,
            fencing=fencing,
            isolation=isolation,
            opening=opening,
            repair=self._repairing(isolation, journal, reporter).repair if isolation else dict,
            rebuild=partial(rebuild, self.app, partial(self._leaderless, journal)),
            verify=partial(verify, self.app, self),
            check=self._check_restore,
            restore=self._restore,
        ).act

    def _leaderless(self, journal: RecoveryJournal) -> frozenset[str]:
        """Return the scopes that have no leader on purpose or can't have one yet, and those that got none."""
        first = self.plan.rebuild_first
        meant = (scope.scope for scope in self.plan.scopes if scope.without_leader or first)
        return frozenset((*meant, *journal.record.facts.get("leaderless", ())))

    def _fencing(self, reporter: RecoveryReporter) -> Fencing:
        return Fencing(
            plan=self.plan,
            nodes=self.nodes,
            connect=self.app.connector,
            clock=self.clock,
            operation_id=operation_id_of(self.plan.id),
            snapshots=self.app.state_dir / "snapshots",
            copy_data=self._copy_data,
            port_answers=accepts,
            say=reporter.say,
        )

    def _isolation(self, reporter: RecoveryReporter, journal: RecoveryJournal) -> Isolation | None:
        survivor, quarantine = self.plan.survivor, self._quarantine
        if survivor is None or quarantine is None:
            return None
        facts = journal.record.facts
        return Isolation(
            plan=self.plan,
            survivor=survivor,
            quarantine=quarantine,
            connect=self.app.connector,
            clock=self.clock,
            say=reporter.say,
            copy=lambda: ", ".join(facts.get("copies", ())) or survivor.snapshot,
            revision_seen=lambda: int(facts.get("revision_seen", 0)),
            note=journal.note,
            ready=max(self.app.policy.step_timeout, READY),
        )

    def _repairing(
        self, isolation: Isolation, journal: RecoveryJournal, reporter: RecoveryReporter
    ) -> Repairing:
        return Repairing(
            self.plan,
            isolation.client,
            self._postgres_in_quarantine,
            journal.note,
            reporter.say,
            self.clock,
            again=self.again,
        )

    def _copy_data(self, name: str, label: str) -> Facts:
        copies = back_up(self._config(name), label, self.app.policy.min_free_bytes)
        return {"copies": [one.path for one in copies], "sha256": [one.sha256 for one in copies]}

    def _check_restore(self) -> Facts:
        config, tool = self._restore_parts()
        return check(config, tool, self.plan)

    def _restore(self) -> Facts:
        config, tool = self._restore_parts()
        return restore(config, tool, self.plan, f"restored.{operation_id_of(self.plan.id)}")

    def _restore_parts(self) -> tuple[NodeConfig, RestoreTool]:
        if self.plan.survivor is None:
            raise ValueError("this plan has no survivor")
        config = self._config(self.plan.survivor.node)
        return config, find_tool(find_etcd(config))

    def _clusters(self, client: EtcdApi) -> tuple[PatroniCluster, ...]:
        return look_at_patroni(client, self.plan.namespace, seconds=LOOK)

    def _postgres_of(self, client: EtcdApi, scope: str, member: str) -> PostgresEvidence | None:
        kvs = client.range(f"{self.plan.namespace.rstrip('/')}/{scope}/", prefix=True).kvs
        found = self.postgres(kvs)
        return next((one for one in found if (one.scope, one.name) == (scope, member)), None)


def version_of(etcd: str) -> str:
    """Return the version that an etcd program says it has; "" when it says none."""
    outcome = run([etcd, "--version"], 5.0)
    found = re.search(r"etcd Version: (\S+)", outcome.output)
    return found[1] if found else ""


def find_etcd(config: NodeConfig) -> str:
    """Return the etcd program of a node: the inventory's, else the one on PATH; ConfigError without one."""
    found = shutil.which(config.etcd or "etcd")
    if found is None:
        raise ConfigError(
            f"{config.etcd or 'etcd on PATH'}: no program that can be run",
            hint=f"put the etcd that the service runs under etcd.members.{config.name}.etcd in the inventory",
            code="ETCD_PROGRAM_MISSING",
        )
    return str(Path(found).absolute())
