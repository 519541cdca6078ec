"""What we need of Patroni's own configuration: scope, namespace, and how to reach etcd and REST APIs.

Patroni's code is deliberately not imported: that takes about 280 ms, and a command that only reads must
feel instant. A test holds what is read here against Patroni's `Config` and its etcd client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from patroni_etcd_reconfig.adapters.patroni_sources import Sources, read_sources
from patroni_etcd_reconfig.errors import ConfigError

DEFAULT_NAMESPACE = "service"  # patroni/dcs/__init__.py, AbstractDCS.__init__
DEFAULT_PORT = 2379  # patroni/dcs/etcd.py, get_etcd_client

# In the order of patroni/dcs/etcd.py, _get_machines_cache_from_srv: the first that has records counts.
SRV_SERVICES = ("-client-ssl", "-client", "-ssl", "")


@dataclass(frozen=True)
class PatroniConfig:
    """What Patroni's configuration and its environment variables say, merged as Patroni merges them.

    path       the file or the directory; "" when all comes from the environment
    namespace  with a leading slash and without a trailing one ("" for the root): `namespace + "/" + scope`
               is the prefix of a cluster's keys
    hosts      base URLs `http(s)://host:port`; empty when only `srv` is given (see `endpoints`)
    api        the API that Patroni itself uses: "etcd3", or "etcd" for v2; ours is always v3
    rest_auth  "user:password" for Patroni's REST API, or ""
    raw        the merged configuration; holds secrets. `patroni.request.PatroniRequest` takes it as it is
    """

    path: str
    scope: str
    namespace: str
    hosts: tuple[str, ...]
    api: str = "etcd3"
    username: str = ""
    password: str = field(default="", repr=False)
    cacert: str = ""
    cert: str = ""
    key: str = ""
    use_proxies: bool = False
    srv: str = ""
    srv_suffix: str = ""
    ctl_insecure: bool = False
    rest_auth: str = field(default="", repr=False)
    rest_cacert: str = ""
    rest_certfile: str = ""
    rest_keyfile: str = ""
    rest_keyfile_password: str = field(default="", repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class _Etcd:
    """The part of the section that says where etcd is and as whom to log in."""

    hosts: tuple[str, ...]
    username: str
    password: str


def load(path: str | None, environ: Mapping[str, str]) -> PatroniConfig:
    """Read Patroni's configuration; ConfigError names file and line (or variable), key, what is allowed.

    `path` is a file or a directory of them; None looks where patronictl does.
    """
    sources = read_sources(path, environ)
    api = _section(sources)
    etcd = _etcd(sources, api)
    return PatroniConfig(
        path=sources.path if sources.documents else "",
        scope=sources.text("scope"),
        namespace=_namespace(sources, api),
        hosts=etcd.hosts,
        api=api,
        username=etcd.username,
        password=etcd.password,
        cacert=sources.text(api, "cacert"),
        cert=sources.text(api, "cert"),
        key=sources.text(api, "key"),
        use_proxies=bool(sources.get(api, "proxy")) or sources.boolean(api, "use_proxies"),
        srv=_srv(sources, api),
        srv_suffix=sources.text(api, "srv_suffix"),
        ctl_insecure=sources.boolean("ctl", "insecure"),
        rest_auth=_rest_auth(sources, "ctl") or _rest_auth(sources, "restapi"),
        rest_cacert=sources.text("ctl", "cacert") or sources.text("restapi", "cafile"),
        rest_certfile=sources.text("ctl", "certfile"),
        rest_keyfile=sources.text("ctl", "keyfile"),
        rest_keyfile_password=sources.text("ctl", "keyfile_password"),
        raw=_with_auth(sources),
    )


def endpoints(config: PatroniConfig) -> tuple[str, ...]:
    """Return the etcd base URLs; asks DNS when the configuration names an SRV domain.

    As in Patroni, the hosts given are the fallback. ConfigError when there is nothing left.
    """
    if not config.srv:
        return config.hosts
    for service in SRV_SERVICES:
        suffix = f"{service}-{config.srv_suffix}" if config.srv_suffix else service
        found = _srv_records(f"_etcd{suffix}._tcp.{config.srv}", config.path)
        if found:
            protocol = "https" if "-ssl" in suffix else "http"
            return tuple(_base_url(protocol, host, port) for host, port in found)
    if config.hosts:
        return config.hosts
    raise ConfigError(
        f"{config.path}: {config.api}.srv: {config.srv} has no SRV record _etcd-client-ssl._tcp, "
        "_etcd-client._tcp, _etcd-ssl._tcp or _etcd._tcp, and no hosts are given",
        hint=f"publish such a record for the client port, or set {config.api}.hosts",
    )


def _section(sources: Sources) -> str:
    """Return the section that Patroni uses: of two it takes the first by name (dcs.iter_dcs_classes)."""
    for name in ("etcd", "etcd3"):
        if sources.get(name) is not None:
            if "members" in sources.mapping(name):
                raise _inventory_in_patroni(sources, name)
            return name
    raise ConfigError(
        f"{sources.path}: no etcd3 (or etcd) section",
        hint="give a Patroni file with an etcd3 section through -c, or set PATRONI_ETCD3_HOSTS",
    )


def _inventory_in_patroni(sources: Sources, name: str) -> ConfigError:
    """Patroni takes every *.yml of its directory for its own, and would look for etcd in this one."""
    return ConfigError(
        f"{sources.where(name, 'members')}: {name}.members belongs to our inventory, but Patroni reads it",
        hint=f"move {Path(sources.where(name, 'members')).name.partition(':')[0]} out of {sources.path} "
        "and name it with -i/--inventory",
    )


def _etcd(sources: Sources, api: str) -> _Etcd:
    for key in ("proxy", "url"):
        if sources.text(api, key):
            return _from_url(sources, api, key)
    hosts = _from_hosts(sources, api) or _from_host(sources, api)
    if not hosts and not _srv(sources, api):
        raise sources.wrong((api,), "names no etcd: one of hosts, host, url, proxy or srv is needed")
    return _Etcd(hosts, sources.text(api, "username"), sources.text(api, "password"))


def _from_url(sources: Sources, api: str, key: str) -> _Etcd:
    """Read a URL; user and password are the URL's even where it has none, as Patroni does it."""
    try:
        url = urlsplit(sources.text(api, key))
        host, port = url.hostname, url.port or DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if not host or url.scheme not in ("http", "https"):
        raise sources.wrong((api, key), "must be a URL, http(s)://host:port")
    return _Etcd((_base_url(url.scheme, host, port),), url.username or "", url.password or "")


def _from_hosts(sources: Sources, api: str) -> tuple[str, ...]:
    value = sources.get(api, "hosts")
    items = value.split(",") if isinstance(value, str) else value or []
    if not isinstance(items, list):
        raise sources.wrong((api, "hosts"), "must be a list of host:port, or one string with commas")
    pairs = [
        _host_port(sources, (api, "hosts", number), item, _port(sources, api) or DEFAULT_PORT)
        for number, item in enumerate(items)
        if item != ""
    ]
    return tuple(_base_url(_protocol(sources, api), host, port) for host, port in pairs)


def _from_host(sources: Sources, api: str) -> tuple[str, ...]:
    value = sources.text(api, "host")
    if not value:
        return ()
    host, port = _host_port(sources, (api, "host"), value, DEFAULT_PORT)
    return (_base_url(_protocol(sources, api), host, _port(sources, api) or port),)


def _host_port(sources: Sources, keys: tuple[str | int, ...], value: object, default: int) -> tuple[str, int]:
    """Split `host`, `host:port` or `[v6]:port` as patroni.utils.split_host_port does, but strictly."""
    text = value.strip() if isinstance(value, str) else ""
    host, port = text.rsplit(":", 1) if ":" in text else (text, str(default))
    host = host.strip("[]") if ":" in host else host
    good = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not good or not re.fullmatch(r"[\w.:%-]+", host, re.ASCII):
        # Not repeated in the message: it may be a URL with a password in it.
        raise sources.wrong(keys, "must be host:port, without http:// (that is what `protocol` is for)")
    return host, int(port)


def _port(sources: Sources, api: str) -> int | None:
    value = sources.get(api, "port")
    if value in (None, ""):
        return None
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 65536:
        raise sources.wrong((api, "port"), "must be a number from 1 to 65535")
    return number


def _protocol(sources: Sources, api: str) -> str:
    value = sources.text(api, "protocol") or "http"
    if value not in ("http", "https"):
        raise sources.wrong((api, "protocol"), "must be http or https")
    return value


def _srv(sources: Sources, api: str) -> str:
    """Return the SRV domain. With a proxy Patroni does not look at it."""
    if sources.get(api, "proxy"):
        return ""
    names = ("srv_domain", "discovery_srv", "srv")  # the last one that is set counts
    return next((value for name in names if (value := sources.text(api, name))), "")


def _base_url(protocol: str, host: str, port: int) -> str:
    return f"{protocol}://[{host}]:{port}" if ":" in host else f"{protocol}://{host}:{port}"


def _namespace(sources: Sources, api: str) -> str:
    keys: tuple[str, ...] = ("namespace",)
    if sources.get(*keys) is None and sources.get(api, "namespace") is not None:
        keys = (api, "namespace")
    if sources.get(*keys) == "":
        raise sources.wrong(keys, "is empty, which Patroni can't take: leave it out, or write / for the root")
    value = sources.text(*keys) or DEFAULT_NAMESPACE
    return re.sub("/+", "/", f"/{value}").rstrip("/")


def _rest_auth(sources: Sources, section: str) -> str:
    """Return "user:password"; Patroni makes it from `authentication` and else takes `auth` itself."""
    auth = sources.get(section, "authentication")
    if auth is None:
        return sources.text(section, "auth")
    sources.mapping(section, "authentication")
    if not {"username", "password"} <= set(auth):
        raise sources.wrong((section, "authentication"), "needs username and password")
    return f"{auth['username']}:{auth['password']}"


def _with_auth(sources: Sources) -> dict[str, Any]:
    """Add `auth` to both sections, where Patroni's own REST client looks for it."""
    raw = dict(sources.merged)
    for section in ("ctl", "restapi"):
        auth = _rest_auth(sources, section)
        if auth:
            raw[section] = {**raw[section], "auth": auth}
    return raw


def _srv_records(name: str, path: str) -> list[tuple[str, int]]:
    """Ask DNS; no such record is an empty list, a DNS that doesn't answer a ConfigError."""
    import dns.resolver  # 40 ms, and few configurations need it

    try:
        answer = dns.resolver.resolve(name, "SRV")
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except dns.exception.DNSException as error:
        raise ConfigError(
            f"{path}: the SRV record {name} could not be looked up: {error}",
            hint="check the name server, or give the etcd section hosts instead of srv",
        ) from error
    return [(record.target.to_text(omit_final_dot=True), record.port) for record in answer]
