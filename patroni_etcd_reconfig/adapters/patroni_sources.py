"""Where Patroni's settings come from: files and environment variables, merged as patroni/config.py does."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patroni_etcd_reconfig.adapters.yaml_marks import Key, YamlDocument, is_there, read_document
from patroni_etcd_reconfig.errors import ConfigError

HINT = "give Patroni's configuration file through -c/--config-file or PATRONICTL_CONFIG_FILE"

# What Config._build_environment_configuration takes for a DCS, as far as an etcd section has a use for it.
ETCD_SETTINGS = (
    "host", "hosts", "port", "protocol", "url", "proxy", "use_proxies", "srv", "srv_suffix",
    "cacert", "cert", "key", "namespace",
)  # fmt: skip
PLAIN_SETTINGS = {
    "restapi": ("cafile", "certfile", "connect_address", "listen"),
    "postgresql": ("bin_dir", "connect_address", "data_dir", "listen"),
    "ctl": ("insecure", "cacert", "certfile", "keyfile", "keyfile_password"),
}
# patroni/config.py, _AUTH_ALLOWED_PARAMETERS; libpq takes the same names, but for the first.
SUPERUSER = (
    "username", "password", "sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl",
    "sslcrldir", "gssencmode", "channel_binding", "sslnegotiation",
)  # fmt: skip
YES, NO = ("on", "true", "yes", "1"), ("off", "false", "no", "0")  # patroni.utils.parse_bool

Names = dict[tuple[Key, ...], str]


@dataclass(frozen=True)
class Sources:
    """The merged settings, and which file or variable each one came from."""

    path: str
    documents: tuple[YamlDocument, ...]
    variables: Mapping[tuple[Key, ...], str]
    merged: Mapping[str, Any]

    def get(self, *keys: Key) -> Any:
        """Return a value, None where it is not set; a section must be a mapping, as `mapping` has it."""
        value: Any = self.merged
        for depth, key in enumerate(keys):
            if depth and value is not None and not isinstance(value, dict):
                raise self.wrong(keys[:depth], "must be a mapping")
            value = value.get(key) if value else None
        return value

    def text(self, *keys: Key) -> str:
        """Return a string, "" where it is not set."""
        value = self.get(*keys)
        if value is None or isinstance(value, str):
            return value or ""
        raise self.wrong(keys, "must be a string (put a number or a date in quotes)")

    def boolean(self, *keys: Key) -> bool:
        """Return a switch, off where it is not set."""
        value = self.get(*keys)
        if value in (None, "") or isinstance(value, bool):
            return bool(value)
        raise self.wrong(keys, "must be true or false")

    def mapping(self, *keys: Key) -> Mapping[str, Any]:
        """Return a section."""
        value = self.get(*keys)
        if isinstance(value, dict):
            return value
        raise self.wrong(keys, "must be a mapping")

    def wrong(self, keys: tuple[Key, ...], need: str) -> ConfigError:
        """Make the error for a key: where it is and what is allowed, never what is there (secrets)."""
        return ConfigError(f"{self.where(*keys)}: {'.'.join(map(str, keys))}: {need}")

    def where(self, *keys: Key) -> str:
        """Return the variable, or the file and line, that a key's value came from."""
        for depth in range(len(keys), 0, -1):
            if keys[:depth] in self.variables:
                return f"environment variable {self.variables[keys[:depth]]}"
            for document in reversed(self.documents):
                if document.has(*keys[:depth]):
                    return document.where(*keys)
        return self.path


def read_sources(path: str | None, environ: Mapping[str, str]) -> Sources:
    """Read the file or the directory, then the environment over it; without either, ConfigError.

    As with patronictl only the default file may be missing: then the environment has to do.
    """
    # An empty variable counts as none: so does click, and with it patronictl.
    given = path or environ.get("PATRONICTL_CONFIG_FILE")
    place = Path(given) if given else _default_path(environ)
    values, variables = _environment(environ)
    if given or is_there(place):
        documents = tuple(_read(place))
    elif environ.get("PATRONI_CONFIGURATION"):
        documents = (YamlDocument.parse(environ["PATRONI_CONFIGURATION"], "PATRONI_CONFIGURATION"),)
        values, variables = {}, {}  # Patroni takes the one or the other
    elif values:
        documents = ()
    else:
        raise ConfigError(f"no Patroni configuration: {place} does not exist", hint=HINT)
    merged: dict[str, Any] = {}
    for layer in (*(_content(document) for document in documents), values):
        _patch(merged, layer)
    return Sources(str(place) if documents else "environment variables", documents, variables, merged)


def _default_path(environ: Mapping[str, str]) -> Path:
    """Return what click.get_app_dir("patroni") makes patronictl look for."""
    home = Path(environ.get("HOME") or "~").expanduser()
    return Path(environ.get("XDG_CONFIG_HOME", home / ".config")) / "patroni" / "patronictl.yaml"


def _read(place: Path) -> list[YamlDocument]:
    if not place.is_dir():
        return [read_document(place, "Patroni configuration", HINT)]
    try:
        names = sorted(
            item for item in place.iterdir() if item.name.endswith((".yml", ".yaml")) and item.is_file()
        )
    except OSError as error:
        raise ConfigError(f"Patroni configuration {place}: {error.strerror}", hint=HINT) from error
    if not names:
        raise ConfigError(f"Patroni configuration {place}: no *.yml or *.yaml file in it", hint=HINT)
    return [read_document(name, "Patroni configuration", HINT) for name in names]


def _content(document: YamlDocument) -> dict[str, Any]:
    if isinstance(document.data, dict):
        return document.data
    found = "is empty" if document.data is None else "is no mapping"
    raise ConfigError(f"{document.path}: {found}; Patroni's configuration is a mapping", hint=HINT)


def _patch(config: dict[str, Any], data: Mapping[str, Any]) -> None:
    """Merge as patroni.utils.patch_config does: None removes, mappings merge, all else replaces."""
    for name, value in data.items():
        if value is None:
            config.pop(name, None)
        elif isinstance(value, dict) and isinstance(config.get(name), dict):
            _patch(config[name], value)
        else:
            config[name] = deepcopy(value)


def _environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], Names]:
    """Return the settings that variables give, and which variable gave which."""
    values: dict[str, Any] = {}
    variables: Names = {}

    def take(name: str, value: Any, *keys: Key) -> None:
        section = values
        for key in keys[:-1]:
            section = section.setdefault(str(key), {})
        section[str(keys[-1])] = value
        variables[keys] = name

    for name, keys in _plain_variables().items():
        value = _parse(name, keys[-1], environ.get(name) or None)
        if value is not None:
            take(name, value, *keys)
    for section in ("etcd", "etcd3"):
        # Patroni reads user and password only where another variable made the section.
        if section in values:
            for key in ("username", "password"):
                name = f"PATRONI_{section}_{key}".upper()
                if environ.get(name):
                    take(name, environ[name], section, key)
    return values, variables


def _plain_variables() -> dict[str, tuple[str, ...]]:
    paths: list[tuple[str, ...]] = [("namespace",), ("scope",), ("name",)]
    paths += [(section, key) for section, keys in PLAIN_SETTINGS.items() for key in keys]
    paths += [(section, key) for section in ("etcd", "etcd3") for key in ETCD_SETTINGS]
    names = {"PATRONI_" + "_".join(path).upper(): path for path in paths}
    for section in ("restapi", "ctl"):
        for key in ("username", "password"):
            names[f"PATRONI_{section}_{key}".upper()] = (section, "authentication", key)
    for key in SUPERUSER:
        names[f"PATRONI_SUPERUSER_{key}".upper()] = ("postgresql", "authentication", "superuser", key)
    return names


def _parse(name: str, key: str, value: str | None) -> Any:
    """Turn a variable's text into what the setting is; None where Patroni would ignore it, too."""
    if value is None:
        return None
    if key == "hosts":
        return _parse_list(name, value)
    if key == "port":
        return int(value) if value.strip().isdigit() else None
    if key in ("use_proxies", "insecure"):
        word = value.lower()
        return word in YES if word in YES + NO else None
    return value


def _parse_list(name: str, value: str) -> Any:
    """Parse a list as Config._parse_list does: YAML, or its items with commas between them."""
    if not (value.strip().startswith("-") or "[" in value):
        value = f"[{value}]"
    try:
        return YamlDocument.parse(value, name).data
    except ConfigError:
        raise ConfigError(f"environment variable {name}: must be host:port, with commas between") from None
