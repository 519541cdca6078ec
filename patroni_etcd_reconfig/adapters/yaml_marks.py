"""YAML that knows where it says what: values together with the line of every key."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from patroni_etcd_reconfig.errors import ConfigError
from patroni_etcd_reconfig.files import read_text

# libyaml's loader is about ten times as fast; some distributions build PyYAML without it.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The loader in C recurses without a limit of its own: some 10,000 brackets end the process (PyYAML 6.0.3).
MAX_DEPTH = 200

Key = str | int


@dataclass(frozen=True)
class YamlDocument:
    """One YAML document; `duplicates` are messages, since some readers (Patroni) take the last value."""

    path: str
    data: Any
    duplicates: tuple[str, ...]
    root: yaml.Node | None

    @classmethod
    def parse(cls, text: str, path: str) -> YamlDocument:
        """Return the document; ConfigError with file, line and column where it is no YAML."""
        try:
            _check_depth(text)
            loader = Loader(text)
            root = loader.get_single_node()
            duplicates = tuple(_duplicates(root, path)) if root else ()
            # Constructing also merges `<<` keys into the nodes, so it comes after the duplicates.
            data = loader.construct_document(root) if root else None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(_not_yaml(error, path), hint="correct the file") from None
        return cls(path, data, duplicates, root)

    def has(self, *keys: Key) -> bool:
        """Return whether the document itself holds this key path."""
        return self._find(keys)[1] == len(keys)

    def line(self, *keys: Key) -> int:
        """Return the line, from 1, of a key path; that of the nearest parent where it is not there."""
        node = self._find(keys)[0]
        return node.start_mark.line + 1 if node and node.start_mark else 1

    def where(self, *keys: Key) -> str:
        """Return `file:line` of a key path."""
        return f"{self.path}:{self.line(*keys)}"

    def _find(self, keys: tuple[Key, ...]) -> tuple[yaml.Node | None, int]:
        """Return the node that marks the path (for a mapping, its key's), and how many keys were found."""
        mark, value = self.root, self.root
        for depth, key in enumerate(keys):
            found = _child(value, key)
            if found is None:
                return mark, depth
            mark, value = found
        return mark, len(keys)


def read_document(path: Path, what: str, hint: str) -> YamlDocument:
    """Read a YAML file; ConfigError names the file, `what` it was wanted for, and the hint."""
    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigError(f"{what} {path}: {error.strerror or error}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} {path}: no UTF-8 text at byte {error.start}", hint=hint) from None
    return YamlDocument.parse(text, str(path))


def is_there(path: Path) -> bool:
    """Return whether there is such a file; one that can't be looked at counts, so that reading it fails."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _child(node: yaml.Node | None, key: Key) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and 0 <= key < len(node.value):
        return node.value[key], node.value[key]
    if isinstance(node, yaml.MappingNode):
        # The last one counts, as it does for the values: a merged key stands before the mapping's own.
        for key_node, value in reversed(node.value):
            if isinstance(key_node, yaml.ScalarNode) and key_node.value == str(key):
                return key_node, value
    return None


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError


def _duplicates(root: yaml.Node, path: str) -> Iterator[str]:
    """Walk all mappings, each once: an alias can make a document refer to itself."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node.value, list):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield from _twice(node, path)
            waiting.extend(value for _, value in node.value)
        else:
            waiting.extend(node.value)


def _twice(mapping: yaml.MappingNode, path: str) -> Iterator[str]:
    keys = [key for key, _ in mapping.value if isinstance(key, yaml.ScalarNode)]
    counts = Counter(key.value for key in keys)
    for name, count in counts.items():
        if count > 1 and name != "<<":
            lines = [str(key.start_mark.line + 1) for key in keys if key.value == name]
            yield f"{path}:{lines[-1]}: {name}: given {count} times (lines {', '.join(lines)}), not once"


def _not_yaml(error: Exception, path: str) -> str:
    """Describe a parse error without the text it is about: that may be a password."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "a value can't be read"
    return f"{place}: not YAML: " + re.sub(r"'[^'<][^']+'", "'…'", str(problem))
