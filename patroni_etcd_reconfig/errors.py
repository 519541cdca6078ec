"""Errors that carry data: what failed, where, in the server's own words, and what to do next."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command; part of the contract with scripts."""

    DONE = 0
    BUG = 1
    USAGE = 2
    BLOCKED = 3
    STEP_FAILED = 4
    NOT_VERIFIED = 5
    LOCKED = 6
    PLAN_MISMATCH = 7
    UNREACHABLE = 8
    INTERRUPTED = 130


class ReconfigError(Exception):
    """An error that the user sees: a code for scripts, a message, and a hint on how to go on."""

    exit_code = ExitCode.BUG
    code = "UNEXPECTED"

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or type(self).code


class ConfigError(ReconfigError):
    """A file or an option is wrong: names the place, the key, and what is allowed."""

    exit_code = ExitCode.USAGE
    code = "CONFIG"


class StepFailedError(ReconfigError):
    """A step did not reach its goal; what was done so far is in the journal."""

    exit_code = ExitCode.STEP_FAILED
    code = "STEP_FAILED"


class MembershipError(ReconfigError):
    """A member is not (any more) the one the plan names."""

    exit_code = ExitCode.STEP_FAILED
    code = "MEMBER_MISMATCH"


class HeldBackError(StepFailedError):
    """Right before it acted, a step saw that it must not now: it did nothing, and the loop looks again."""

    code = "HELD_BACK"


class NodeControlError(StepFailedError):
    """A node's service, configuration or data dir could not be handled."""

    code = "NODE_CONTROL"


class LearnerStalledError(StepFailedError):
    """A learner makes no progress any more: it must not vote, and stands in the way of every other change."""

    code = "LEARNER_STALLED"


class JournalError(ReconfigError):
    """The journal can't be read or written: without one, nothing is done."""

    exit_code = ExitCode.STEP_FAILED
    code = "JOURNAL"


class LockedError(ReconfigError):
    """Another operation holds the lock, or ours was lost."""

    exit_code = ExitCode.LOCKED
    code = "LOCKED"


class UnreachableError(ReconfigError):
    """Nobody answered in time."""

    exit_code = ExitCode.UNREACHABLE
    code = "UNREACHABLE"


class InterruptedOperationError(ReconfigError):
    """The operator or the system ended the tool in the middle."""

    exit_code = ExitCode.INTERRUPTED
    code = "INTERRUPTED"


class EtcdError(ReconfigError):
    """An etcd member refused or failed a call. `message` keeps the server's words.

    `grpc_code` is 0 where the failure was not the server's answer. `outcome_unknown` is True when a
    call that changes something may have been carried out all the same: look again, never repeat.
    """

    exit_code = ExitCode.STEP_FAILED
    code = "ETCD"
    outcome_unknown = False

    def __init__(self, message: str, *, endpoint: str = "", grpc_code: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.endpoint = endpoint
        self.grpc_code = grpc_code

    def __str__(self) -> str:
        return f"{self.message} ({self.endpoint})" if self.endpoint else self.message


class EtcdUnreachableError(EtcdError):
    """The connection was refused or never came about: the call was certainly not carried out."""

    exit_code = ExitCode.UNREACHABLE
    code = "ETCD_UNREACHABLE"


class EtcdTimeoutError(EtcdError):
    """The request was sent and no answer came within our own timeout, or the connection broke."""

    exit_code = ExitCode.UNREACHABLE
    code = "ETCD_TIMEOUT"
    outcome_unknown = True


class NotEtcdError(EtcdError):
    """Something answers on this port, but it is not etcd's v3 API."""

    exit_code = ExitCode.UNREACHABLE
    code = "NOT_ETCD"


class GatewayOffError(NotEtcdError):
    """An etcd answers, but with its gRPC gateway off (etcd 3.4 with `--config-file`)."""

    code = "GATEWAY_OFF"


class AuthFailedError(EtcdError):
    """User name, password, token or rights were not accepted."""

    exit_code = ExitCode.USAGE
    code = "AUTH_FAILED"


class NoLeaderError(EtcdError):
    """The member sees no raft leader."""

    code = "NO_LEADER"
    outcome_unknown = True


class RequestTimedOutError(EtcdError):
    """etcd gave up on the request (7 s by default): it may have been carried out all the same."""

    code = "REQUEST_TIMED_OUT"
    outcome_unknown = True


class ProposalDroppedError(EtcdError):
    """Raft dropped the proposal, as it does while leadership moves."""

    code = "PROPOSAL_DROPPED"
    outcome_unknown = True


class UnhealthyClusterError(EtcdError):
    """The strict reconfiguration check wants every peer connected for 5 s, or sees one missing."""

    code = "UNHEALTHY_CLUSTER"


class NotEnoughStartedError(EtcdError):
    """The strict reconfiguration check wants more started members than there are."""

    code = "NOT_ENOUGH_STARTED"


class TooManyLearnersError(EtcdError):
    """The cluster has as many learners as it may have (1, unless `--max-learners` says more)."""

    code = "TOO_MANY_LEARNERS"


class LearnerNotReadyError(EtcdError):
    """The learner is not yet in sync with the leader: normal, wait."""

    code = "LEARNER_NOT_READY"


class MemberNotLearnerError(EtcdError):
    """Only a learner can be promoted, and this member votes already."""

    code = "MEMBER_NOT_LEARNER"


class MemberNotFoundError(EtcdError):
    """No member has this id (any more)."""

    code = "MEMBER_NOT_FOUND"


class PeerUrlExistsError(EtcdError):
    """Another member already has this peer URL."""

    code = "PEER_URL_EXISTS"


class NotLeaderError(EtcdError):
    """The call must go to the raft leader, or names a transferee that can't lead."""

    code = "NOT_LEADER"


class NotSupportedError(EtcdError):
    """This etcd version, or a learner, does not offer the call."""

    code = "NOT_SUPPORTED"
