"""How a member gets another version: stopped, the operator's command, started, and looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from patroni_etcd_reconfig.core.changes import MemberRef
from patroni_etcd_reconfig.core.model import EtcdView, MemberView, format_id
from patroni_etcd_reconfig.core.steps import UpgradeMember
from patroni_etcd_reconfig.core.upgrade_checks import unfit, wrong_version
from patroni_etcd_reconfig.engine.returning import Returning
from patroni_etcd_reconfig.engine.world import Facts
from patroni_etcd_reconfig.errors import StepFailedError
from patroni_etcd_reconfig.ports import NodeControl

COMMAND_TIMEOUT = 900.0  # seconds; a package upgrade may download, and wait for another one's lock


@dataclass
class Upgrading:
    """Upgrades one member. `say` takes a line of progress."""

    nodes: Mapping[str, NodeControl]
    returning: Returning
    observe_etcd: Callable[[], EtcdView]
    say: Callable[[str], object] = str

    def upgrade(self, step: UpgradeMember) -> Facts:
        """Return once the member is back with a version that may run here."""
        member, node = step.member, self.nodes[step.member.name]
        self.returning.may_stop(member)
        node.stop()
        self._run(node, step.command)
        self._check_program(node, step)
        node.start()
        self.returning.await_back(
            member,
            node,
            "look at its etcd log; to go back, put the former version there and start it",
            lambda view: self._fits(view, member, step.from_version, step.to_version),
        )
        return {"restarted": format_id(member.id)}

    def _run(self, node: NodeControl, command: str) -> None:
        """A command that fails leaves the member running with what is there, if that can be started."""
        try:
            node.run_command(command, COMMAND_TIMEOUT)
        except BaseException:
            self.say(f"the command on {node.name} did not end well: starting it with what is there")
            node.start()
            raise

    def _check_program(self, node: NodeControl, step: UpgradeMember) -> None:
        """Its first start may change the data for good: what does not fit here is not started at all."""
        told = node.program_version()
        problem = unfit(self.observe_etcd(), step.member.id, told, step.from_version) if told else ""
        if problem:
            raise StepFailedError(
                f"{step.member.name} is down, its data untouched; it is not started: after that {problem}",
                hint="correct the command, or put a version there that may run: patronictl-etcd resume; "
                "or put the former version back: patronictl-etcd abort",
                code="WRONG_VERSION",
            )

    def _fits(self, view: MemberView, member: MemberRef, before: str, wanted: str) -> bool:
        problem = wrong_version(self.observe_etcd(), view.id, before, wanted)
        if problem:
            raise StepFailedError(
                f"{member.name} is back, but {problem}",
                hint="correct the command or put the right version there; then: patronictl-etcd resume",
                code="WRONG_VERSION",
            )
        return True
