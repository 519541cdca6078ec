"""The text of an etcd configuration file: read settings, and change a few without touching the rest.

Two formats: `etcd --config-file` YAML, and KEY=value files that systemd (EnvironmentFile) or a shell reads.
Settings have the names of etcd's flags, such as `initial-cluster`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import yaml as pyyaml

from patroni_etcd_reconfig.errors import ConfigError

FLAG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SAFE_WORD = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")  # needs no quotes, neither for systemd nor for sh
SAFE_YAML = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*|0|[1-9][0-9]*")

ASSIGNMENT = re.compile(r"^(?P<head>[ \t]*(?:export[ \t]+)?ETCD_(?P<name>[A-Z0-9_]+)=)", re.MULTILINE)
OTHER_LINE = re.compile(r"[^\n]*(?:\n|\Z)")
# The pieces of a value: '…', "…", an escaped character (or line end), and plain characters.
PIECE = re.compile(
    r"""'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|\\(?P<escaped>.)|(?P<plain>[^'"\\\n])""", re.DOTALL
)
QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""", re.DOTALL)
COMMENT = re.compile(r"[ \t]+#[^\n]*|[ \t\r]*(?=\n|\Z)")


@dataclass(frozen=True)
class _Assignment:
    """One active assignment of a KEY=value file; `start` and `end` are those of the value's text."""

    flag: str
    value: str
    start: int
    end: int


def is_yaml(path: str) -> bool:
    """Return whether a file of this name is etcd's YAML; all others are KEY=value files."""
    return PurePath(path).suffix in (".yml", ".yaml")


def read_settings(text: str, yaml: bool) -> dict[str, str]:
    """Return the settings by flag name; of several assignments the last counts. ConfigError names the line.

    Sections of a YAML file (such as client-transport-security) are left out.
    """
    if yaml:
        return {
            key: _as_flag(value) for key, value in _load(text).items() if not isinstance(value, dict | list)
        }
    return {item.flag: item.value for item in _assignments(text)}


def set_settings(text: str, settings: Mapping[str, str], yaml: bool) -> str:
    """Return the text with these settings; all else stays byte for byte.

    The last active assignment is replaced in place, a missing one appended, comments are not touched.
    ConfigError where the outcome would not say exactly what is wanted.
    """
    for flag, value in settings.items():
        if not FLAG.fullmatch(flag) or re.search(r"[\x00\n\r]", value):
            raise ConfigError(f"{flag}: a setting must be an etcd flag, its value one line without NUL")
    for flag, value in settings.items():
        text = _set_one(text, flag, value, yaml)
    return text


def _set_one(text: str, flag: str, value: str, yaml: bool) -> str:
    changed = (_set_in_yaml if yaml else _set_in_environment)(text, flag, value)
    try:
        now = read_settings(changed, yaml).get(flag)
        good = now == value and _others(changed, flag, yaml) == _others(text, flag, yaml)
    except ConfigError:
        good = False  # what was read before the edit can't be read after it
    if good:
        return changed
    raise ConfigError(
        f"could not set {flag} without changing something else",
        hint="write it as a plain `name: value` or NAME=value line, without anchors and aliases",
    )


def _others(text: str, flag: str, yaml: bool) -> dict[str, Any]:
    found: Mapping[str, Any] = _load(text) if yaml else read_settings(text, yaml)
    return {key: value for key, value in found.items() if key != flag}


def _set_in_environment(text: str, flag: str, value: str) -> str:
    found = [item for item in _assignments(text) if item.flag == flag]
    if found:
        last = found[-1]
        quoted = text[last.start : last.start + 1] in ("'", '"')
        if re.search(r"[;&|<>()\s]", QUOTED.sub("", text[last.start : last.end])):
            line = text.count("\n", 0, last.start) + 1
            raise ConfigError(f"line {line}: more than one assignment", hint="give it a line of its own")
        return text[: last.start] + _quote(value, always=quoted) + text[last.end :]
    # systemd goes on with a comment on the next line after a backslash: an empty line ends it.
    gap = "\n\n" if text.rstrip("\n").endswith("\\") else "" if text.endswith("\n") or not text else "\n"
    return f"{text}{gap}ETCD_{flag.upper().replace('-', '_')}={_quote(value, always=False)}\n"


def _quote(value: str, *, always: bool) -> str:
    r"""Quote a value so that systemd and sh read the same.

    Only double quotes with \" \\ \$ \` do: systemd does not know the 'a'\''b' of shells.
    """
    if SAFE_WORD.fullmatch(value) and not always:
        return value
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'


def _assignments(text: str) -> Iterator[_Assignment]:
    """Yield the active assignments of ETCD_ variables; lines that are anything else are passed over."""
    at = 0
    while at < len(text):
        head = ASSIGNMENT.match(text, at)
        if head:
            value, at = _value(text, head.end())
            yield _Assignment(head["name"].lower().replace("_", "-"), value, head.end(), at)
        rest = OTHER_LINE.match(text, at)
        at = rest.end() if rest else len(text)


def _value(text: str, start: int) -> tuple[str, int]:
    """Read a value and return it with its end, before trailing blanks and a comment."""
    value, at = "", start
    while not COMMENT.match(text, at):
        piece = PIECE.match(text, at)
        if not piece:
            line = text.count("\n", 0, start) + 1
            raise ConfigError(f"line {line}: a quote is opened and not closed", hint="correct the file")
        value, at = value + _unquote(piece), piece.end()
    return value, at


def _unquote(piece: re.Match[str]) -> str:
    if piece["double"] is not None:
        return re.sub(r'\\(["\\$`\n])', lambda match: match[1].strip("\n"), piece["double"])
    if piece["escaped"] is not None:
        return piece["escaped"].strip("\n")
    return piece["single"] if piece["single"] is not None else piece["plain"]


def _set_in_yaml(text: str, flag: str, value: str) -> str:
    root = _compose(text)
    if root is None:
        return f"{_ended(text)}{flag}: {_yaml_word(value)}\n"
    nodes = [node for key, node in root.value if key.value == flag]
    if not nodes:
        if root.flow_style:
            raise ConfigError(
                f"can't add {flag} to a mapping in braces", hint="write one `name: value` per line"
            )
        return f"{_ended(text)}{' ' * root.start_mark.column}{flag}: {_yaml_word(value)}\n"
    node = nodes[-1]
    if not isinstance(node, pyyaml.ScalarNode):
        raise ConfigError(
            f"line {node.start_mark.line + 1}: {flag} must be a plain value, not a list or a mapping"
        )
    start, end = node.start_mark.index, node.end_mark.index
    blank = "" if text[start - 1 : start] in (" ", "\n") else " "
    tail = "\n" if text[start:end].endswith("\n") else ""
    return f"{text[:start]}{blank}{_yaml_word(value)}{tail}{text[end:]}"


def _yaml_word(value: str) -> str:
    """Write a value; true, false and whole numbers stay bare, as etcd wants them for such flags."""
    bare = SAFE_YAML.fullmatch(value) and _as_flag(pyyaml.safe_load(value)) == value
    return value if bare else json.dumps(value, ensure_ascii=False)


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _as_flag(value: object) -> str:
    """Return a YAML value as it would be written behind a flag."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compose(text: str) -> pyyaml.MappingNode | None:
    """Return the nodes with their places. Python's loader: the places count characters, as slices do."""
    try:
        root = pyyaml.compose(text, pyyaml.SafeLoader)
    except (pyyaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(f"line {mark.line + 1 if mark else 1}: not YAML", hint="correct the file") from None
    if root is None or isinstance(root, pyyaml.MappingNode):
        return root
    raise ConfigError("line 1: etcd's configuration must be a mapping", hint="correct the file")


def _load(text: str) -> dict[str, Any]:
    if _compose(text) is None:
        return {}
    try:
        loaded = pyyaml.safe_load(text)
    except (pyyaml.YAMLError, ValueError):
        raise ConfigError("a value can't be read as YAML", hint="correct the file") from None
    return {str(key): value for key, value in loaded.items()}
