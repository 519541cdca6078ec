"""Checks of an inventory's values; every problem is noted, so that all come out at once."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any
from urllib.parse import urlsplit

from patroni_etcd_reconfig.adapters.yaml_marks import Key, YamlDocument
from patroni_etcd_reconfig.errors import ConfigError

PLACEHOLDERS = ("name", "config_file", "data_dir", "host")
ALLOWED = " ".join(f"{{{name}}}" for name in PLACEHOLDERS)
MEMBER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
HOST = re.compile(r"[A-Za-z0-9:\[][A-Za-z0-9._:%\]-]*")  # no leading dash: ssh would read an option
UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.\\@-]*")
FINDING_CODE = re.compile(r"[A-Z][A-Z0-9_]*")

# Renaming one of these aside would take more than etcd's data with it.
_SYSTEM_DIRS = (
    "/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr "
    "/usr/bin /usr/lib /usr/local /usr/sbin /usr/share /var /var/cache /var/lib /var/log /var/run /var/spool "
    "/var/tmp /etc/default /etc/patroni /var/lib/postgresql /var/lib/pgsql"
)
SYSTEM_DIRS = frozenset(_SYSTEM_DIRS.split())

Keys = tuple[Key, ...]


@dataclass
class Checks:
    """Collects problems with their file, line and key path."""

    document: YamlDocument
    problems: dict[str, None] = field(default_factory=dict)  # a set that keeps its order

    def wrong(self, keys: Keys, need: str) -> None:
        """Note a problem: what is allowed at this key."""
        place = f"{self.document.where(*keys)}: {'.'.join(map(str, keys))}" if keys else self.document.path
        self.problems[f"{place}: {need}"] = None

    def raise_all(self) -> None:
        """Raise one ConfigError with all problems, if there are any."""
        problems = [*self.document.duplicates, *self.problems]
        if problems:
            raise ConfigError("\n".join(problems), hint="correct the inventory; nothing was touched")

    def mapping(self, value: Any, keys: Keys, allowed: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return a mapping ({} for none); with `allowed`, unknown keys are problems."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(keys, "must be a mapping")
            return {}
        for key in value:
            if allowed and key not in allowed:
                self.wrong((*keys, key), f"unknown key; allowed are {', '.join(allowed)}")
        return value

    def text(self, value: Any, keys: Keys) -> str:
        """Return a string that has something in it, on one line."""
        if isinstance(value, str) and value.strip() and not re.search(r"[\x00-\x1f\x7f]", value):
            return value
        self.wrong(keys, "must be a string of one line that is not empty (put a number in quotes)")
        return ""

    def matching(self, value: Any, keys: Keys, pattern: re.Pattern[str], need: str) -> str:
        """Return a string that matches the whole pattern."""
        text = self.text(value, keys)
        if text and not pattern.fullmatch(text):
            self.wrong(keys, need)
        return text

    def choice(self, value: Any, keys: Keys, allowed: tuple[str, ...]) -> str:
        """Return one of the allowed words."""
        if value not in allowed:
            self.wrong(keys, f"must be {' or '.join(allowed)}")
        return str(value)

    def number(self, value: Any, keys: Keys, kind: type, low: float, high: float) -> Any:
        """Return a number of the kind in its range; true and false are none, though Python says so."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (kind is float and isinstance(value, float))) or not low <= value <= high:
            self.wrong(keys, f"must be a {'whole ' if kind is int else ''}number from {low} to {high}")
            return low
        return kind(value)

    def path(self, value: Any, keys: Keys) -> str:
        """Return an absolute path, as it is given."""
        text = self.text(value, keys)
        if not text:
            return ""
        if not text.startswith("/") or ".." in text.split("/"):
            self.wrong(keys, "must be an absolute path without ..")
        elif "{" in text or "}" in text:
            self.wrong(keys, "must be a plain path: placeholders are for commands only")
        return text

    def directory(self, value: Any, keys: Keys) -> str:
        """Return the path of a directory that can be renamed aside; system directories can't."""
        text = self.path(value, keys)
        if text and "/" + os.path.normpath(text).lstrip("/") in SYSTEM_DIRS:
            self.wrong(keys, f"must be a directory of etcd's own, not {text}")
        return text.rstrip("/")

    def url(self, value: Any, keys: Keys) -> str:
        """Return http(s)://host:port as it is given: etcd compares URLs as text."""
        text = self.text(value, keys)
        if text and not is_base_url(text):
            self.wrong(keys, "must be http://host:port or https://host:port, with nothing after the port")
        return text

    def command(self, value: Any, keys: Keys, known: Mapping[str, Any]) -> str:
        """Return a command line whose placeholders are all known and have a value."""
        text = self.text(value, keys)
        try:
            names = [name for word in shlex.split(text) for name in placeholders(word)]
        except ValueError as error:
            self.wrong(keys, f"can't be read as a command line: {error}")
            return text
        for name in names:
            if name not in PLACEHOLDERS:
                self.wrong(keys, f"unknown placeholder {{{name}}}; allowed are {ALLOWED} (a brace is {{{{)")
            elif not known.get(name, ""):
                self.wrong(keys, f"uses {{{name}}}, but the member has no {name}")
        return text


def placeholders(word: str) -> list[str]:
    """Return the names in braces of one word, formats and all: only a bare name can be a known one."""
    parts = Formatter().parse(word)
    return [
        name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
        for _, name, spec, conversion in parts
        if name is not None
    ]


def is_base_url(text: str) -> bool:
    """Tell whether the text is http(s)://host:port and no more."""
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        return False
    plain = f"{url.scheme}://{url.netloc}" == text and "@" not in url.netloc and not re.search(r"\s", text)
    return plain and url.scheme in ("http", "https") and bool(host) and bool(port)
