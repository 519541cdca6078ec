"""Kill the tool right before or right after a step acts, and let it be resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.integration.tool import Outcome, Tool

ACCEPT = ("--accept", "HAZARD_CORRUPTION")  # old versions that the tests run on
SUFFIXES = (" ...", ": done")  # what the line of a step ends with before it acts, and after it has acted


@dataclass(frozen=True)
class Scenario:
    """A command, and by kind of step what its line on stderr contains; {words} are filled in."""

    words: tuple[str, ...]
    lines: Mapping[str, str]


UPDATE_URLS = Scenario(
    ("update-urls", "{leader}", "--peer-url", "{peer_url}", "--client-url", "{client_url}"),
    {"UpdatePeerUrls": "update the peer URL of", "ReaddressMember": "with its URLs"},
)
# How a member joins and goes, in every scenario that has it. {new} is another machine, or the leader's own.
_GOES = {"RemoveMember": "remove {leader} ", "SetDataAside": "stop {leader}, set its data aside"}
_COMES = {
    "AddLearner": "add {new} as a learner",
    "StartMember": "start {new}, wait until it joins",
    "PromoteLearner": "promote {new} when in sync",
}
_SETTLED = {
    "AwaitSettled": "wait until {new} is settled",
    "TransferLeadership": "move leadership off {leader}",
}
REPLACE_URLS = Scenario(
    ("replace", "{leader}", "--peer-url", "{peer_url}", "--client-url", "{client_url}"), {**_GOES, **_COMES}
)
REPLACE_ELSEWHERE = Scenario(("replace", "{leader}", "--host", "{new_host}"), {**_COMES, **_SETTLED, **_GOES})
CYCLE_WITH_SPARE = Scenario(("cycle", "{leader}", "--spare", "{new}"), {**_COMES, **_SETTLED, **_GOES})
# Of the members this takes any change; Patroni has to be there: tests/e2e/test_shield.py.
SHIELD = Scenario(
    ("cycle", "{leader}", "--shield"),
    {"RaiseShield": "turn failsafe_mode on in", "LowerShield": "put failsafe_mode back in"},
)
# To be killed with n4 as a further machine: `tool.plan_node(4)`.
MOVE_DATA = Scenario(
    ("move-data", "n1", "--to-host", "n4"),
    {
        "StopMember": "keep it a member",
        "CopyData": "copy the data of",
        "FenceOldData": "set the old data of",
        "UpdatePeerUrls": "update the peer URL of",
        "StartMoved": "start n1 on",
    },
)
# After MOVE_DATA was killed right after its CopyData.
ABORT_MOVE = Scenario(("abort",), {"DiscardCopy": "discard the copy on"})
UPGRADE = Scenario(("upgrade", "--command", "true"), {"UpgradeMember": "upgrade n"})
SCENARIOS = (
    UPDATE_URLS,
    REPLACE_URLS,
    REPLACE_ELSEWHERE,
    CYCLE_WITH_SPARE,
    SHIELD,
    MOVE_DATA,
    ABORT_MOVE,
    UPGRADE,
)


def kill_at(tool: Tool, words: Sequence[str], line: str, suffix: str) -> None:
    """Run until stderr shows the line of a step with this suffix, or to the end, and kill the tool."""
    with tool.running(*words, "--force", *ACCEPT) as process:
        assert process.stderr is not None
        for said in process.stderr:
            if line in said and suffix in said:
                break
        process.kill()
        process.wait()


def resume(tool: Tool) -> Outcome:
    """Finish what was begun; an operation that was killed before its first change needs no resume."""
    resumed = tool.run("resume", "--force", "-f", "json", *ACCEPT)
    assert resumed.code == 0, resumed.err + resumed.out
    return resumed
