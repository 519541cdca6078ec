"""The inventory, `etcd-reconfig.yml`: how each node is controlled, and the operator's policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patroni_etcd_reconfig.adapters.inventory_checks import (
    FINDING_CODE,
    HOST,
    MEMBER_NAME,
    UNIT,
    Checks,
    Keys,
)
from patroni_etcd_reconfig.adapters.yaml_marks import YamlDocument, is_there, read_document
from patroni_etcd_reconfig.core.policy import Policy

FILE_NAME = "etcd-reconfig.yml"
DEFAULT_PATH = Path("/etc/patroni") / FILE_NAME
HINT = "give the inventory through -i/--inventory"

COMMANDS = ("start", "stop", "is_active")
SHARED = ("via", "manager", "service", "config_file", "data_dir", "wal_dir", "host", "commands", "etcd")
MEMBER = (*SHARED, "peer_url", "client_url")
BUILT_IN = {"via": "ssh", "manager": "systemd", "service": "etcd.service"}
HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class NodeConfig:
    """One member's node. Empty: `host` of a local node, `wal_dir` inside the data dir, URLs as they run.

    `etcd` is the program that its service runs; empty = the one on PATH.
    """

    name: str
    host: str
    via: str
    manager: str
    service: str
    config_file: str
    data_dir: str
    wal_dir: str = ""
    peer_url: str = ""
    client_url: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)
    etcd: str = ""


@dataclass(frozen=True)
class Inventory:
    """The nodes by member name, and the policy. `path` is "" when there is no file: all is optional."""

    path: str = ""
    nodes: Mapping[str, NodeConfig] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)


def load(path: str | None, patroni_path: str) -> Inventory:
    """Read the inventory; ConfigError lists everything that is wrong with it, each with file and line.

    Without `path` it is /etc/patroni/etcd-reconfig.yml, else that name beside the Patroni configuration;
    that neither is there is fine.
    """
    found = Path(path) if path else _search(patroni_path)
    return parse(read_document(found, "inventory", HINT)) if found else Inventory()


def parse(document: YamlDocument) -> Inventory:
    """Check a document and return what it says; ConfigError with all problems."""
    checks = Checks(document)
    top = checks.mapping(document.data, (), ("etcd", "policy"))
    etcd = checks.mapping(top.get("etcd"), ("etcd",), ("defaults", "members"))
    members = checks.mapping(etcd.get("members"), ("etcd", "members"))
    common = checks.mapping(etcd.get("defaults"), ("etcd", "defaults"), SHARED)
    defaults = {key: common[key] for key in SHARED if key in common}
    nodes = [_member(checks, name, members[name], defaults) for name in members]
    _check_shared(checks, nodes)
    policy = _policy(checks, top.get("policy"))
    checks.raise_all()
    return Inventory(document.path, {node.name: node for node in nodes}, policy)


def _search(patroni_path: str) -> Path | None:
    """Return the default inventory. Beside a directory, not in it: Patroni would read it as its own."""
    beside = [Path(patroni_path).absolute().parent / FILE_NAME] if patroni_path else []
    return next((path for path in (DEFAULT_PATH, *beside) if is_there(path)), None)


@dataclass(frozen=True)
class _Values:
    """A member's own values over the defaults, each with the place it came from."""

    own: Mapping[str, Any]
    defaults: Mapping[str, Any]
    at: Keys

    def get(self, key: str) -> Any:
        value = self.own.get(key)
        return self.defaults.get(key, BUILT_IN.get(key)) if value is None else value

    def keys(self, key: str) -> Keys:
        inherited = self.own.get(key) is None and key in self.defaults
        return ("etcd", "defaults", key) if inherited else (*self.at, key)

    def read(self, key: str, check: Callable[..., str], *args: Any) -> str:
        """Return a checked value, "" where it isn't set."""
        value = self.get(key)
        return "" if value is None else check(value, self.keys(key), *args)


def _member(checks: Checks, name: Any, own: Any, defaults: Mapping[str, Any]) -> NodeConfig:
    at: Keys = ("etcd", "members", name)
    need = "a member's name must be a string of A-Z a-z 0-9 . _ -, up to 128, not beginning with . or -"
    checks.matching(name, at, MEMBER_NAME, need)
    values = _Values(checks.mapping(own, at, MEMBER), defaults, at)
    node = NodeConfig(
        name=str(name),
        host=values.read("host", checks.matching, HOST, "must be a host name or an address"),
        via=values.read("via", checks.choice, ("local", "ssh")),
        manager=values.read("manager", checks.choice, ("systemd", "command")),
        service=values.read("service", checks.matching, UNIT, "must be the name of a systemd unit"),
        config_file=values.read("config_file", checks.path),
        data_dir=values.read("data_dir", checks.directory),
        wal_dir=values.read("wal_dir", checks.directory),
        peer_url=values.read("peer_url", checks.url),
        client_url=values.read("client_url", checks.url),
        commands=_commands(checks, values),
        etcd=values.read("etcd", checks.path),
    )
    _check_required(checks, node, values)
    _check_paths(checks, node, values)
    return node


def _commands(checks: Checks, values: _Values) -> dict[str, str]:
    """Merge the commands one by one: a member may have its own `start` and the common rest."""
    layers = (("etcd", "defaults", "commands"), (*values.at, "commands"))
    known = {key: values.get(key) for key in ("host", "config_file", "data_dir")} | {"name": values.at[-1]}
    found: dict[str, str] = {}
    for keys, layer in zip(layers, (values.defaults, values.own), strict=True):
        for name, line in checks.mapping(layer.get("commands"), keys, COMMANDS).items():
            found[str(name)] = checks.command(line, (*keys, name), known)
    return found


def _check_required(checks: Checks, node: NodeConfig, values: _Values) -> None:
    for key in ("config_file", "data_dir"):
        if values.get(key) is None:
            checks.wrong(values.at, f"needs {key} (here or under etcd.defaults)")
    if node.via == "ssh" and values.get("host") is None:
        checks.wrong(values.at, "needs host, with via: ssh")
    missing = [name for name in COMMANDS if name not in node.commands]
    if node.manager == "command" and missing:
        checks.wrong((*values.at, "commands"), f"needs {', '.join(missing)}, with manager: command")


def _check_paths(checks: Checks, node: NodeConfig, values: _Values) -> None:
    """What is set aside with the data must be data only."""
    for key, directory in (("data_dir", node.data_dir), ("wal_dir", node.wal_dir)):
        if directory and f"{node.config_file}/".startswith(f"{directory}/"):
            checks.wrong(values.keys(key), f"must not hold the config_file, {node.config_file}")
    if node.wal_dir and f"{node.data_dir}/".startswith(f"{node.wal_dir}/"):
        checks.wrong(values.keys("wal_dir"), "must be neither data_dir nor a directory that holds it")


def _check_shared(checks: Checks, nodes: list[NodeConfig]) -> None:
    """Two members with one data dir, file or URL: the tool would do to one what is meant for the other."""
    owner: dict[tuple[str, str], str] = {}
    for node in nodes:
        place = "" if node.via == "local" else node.host
        for key in ("config_file", "data_dir", "wal_dir", "peer_url", "client_url"):
            value = getattr(node, key)
            where = "" if key.endswith("_url") else place
            other = owner.setdefault((where, value), node.name) if value else node.name
            if other != node.name:
                checks.wrong(("etcd", "members", node.name, key), f"{value} is that of member {other}, too")


def _policy(checks: Checks, value: Any) -> Policy:
    given = checks.mapping(value, ("policy",), tuple(POLICY_CHECKS))
    known = {key: item for key, item in given.items() if key in POLICY_CHECKS and item is not None}
    return Policy(**{key: POLICY_CHECKS[key](checks, item, ("policy", key)) for key, item in known.items()})


PolicyCheck = Callable[[Checks, Any, Keys], Any]


def _number(kind: type, low: float, high: float) -> PolicyCheck:
    return lambda checks, value, keys: checks.number(value, keys, kind, low, high)


def _accept(checks: Checks, value: Any, keys: Keys) -> frozenset[str]:
    if not isinstance(value, list):
        checks.wrong(keys, "must be a list of finding codes, such as [FAILSAFE_OFF]")
        return frozenset()
    need = "must be a finding's code, as preflight shows it: A-Z 0-9 _"
    return frozenset(
        checks.matching(code, (*keys, number), FINDING_CODE, need) for number, code in enumerate(value)
    )


POLICY_CHECKS: Mapping[str, PolicyCheck] = {
    "min_voters": _number(int, 1, 9),
    "failsafe": lambda checks, value, keys: checks.choice(value, keys, ("require", "warn")),
    "probe_interval": _number(float, 0.01, 10),
    "max_learner_lag": _number(int, 0, 1_000_000),
    "learner_stall": _number(float, 1, DAY),
    "step_timeout": _number(float, 1, HOUR),
    "lock_ttl": _number(int, 5, 3600),
    "gate_timeout": _number(float, 0, HOUR),
    "state_dir": lambda checks, value, keys: checks.path(value, keys),
    "journal_copies": _number(int, 1, 1000),
    "retention_days": _number(int, 0, 36500),
    "min_free_bytes": _number(int, 0, 2**60),
    "accept": _accept,
}
