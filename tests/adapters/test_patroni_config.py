"""Patroni's configuration as we read it, held against Patroni's own reading of it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dns.resolver
import pytest
import urllib3.util.connection

from patroni_etcd_reconfig.adapters import patroni_config
from patroni_etcd_reconfig.adapters.patroni_config import PatroniConfig, endpoints, load
from patroni_etcd_reconfig.errors import ConfigError

SECRET = "s3cr3t-word"


def write(directory: Path, text: str, name: str = "patroni.yml") -> str:
    """Write a Patroni file and return its path."""
    path = directory / name
    path.write_text(textwrap.dedent(text))
    return str(path)


def refusal(path: str | None, environ: Mapping[str, str] | None = None) -> str:
    """Return the message with which a configuration is refused; no message may hold the secret."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    assert SECRET not in caught.value.message + caught.value.hint
    return caught.value.message


# --- the contract with Patroni ---------------------------------------------------------------------------

HOSTS = "etcd3: {hosts: '10.0.0.1:2379,10.0.0.2'}"
TABLE: dict[str, tuple[str, dict[str, str]]] = {
    "hosts as a string": (f"scope: demo\n{HOSTS}", {}),
    "hosts as a list with blanks": ("etcd3: {hosts: [' a:1 ', b, 'c:3']}", {}),
    "hosts with a port and https": ("etcd3: {hosts: [a, 'b:2'], port: 4001, protocol: https}", {}),
    "hosts with IPv6": ("etcd3: {hosts: ['[fe80::1]:2379', 'fe80::2:2380']}", {}),
    "a single host": ("etcd3: {host: 'a:4001'}", {}),
    "a host without a port": ("etcd3: {host: a}", {}),
    "a host and a port, which wins": ("etcd3: {host: 'a:1', port: 2}", {}),
    "an IPv6 host": ("etcd3: {host: '[::1]:2379'}", {}),
    "hosts win over host": ("etcd3: {host: a, hosts: b}", {}),
    "a url": ("etcd3: {url: 'https://a:1'}", {}),
    "a url without a port": ("etcd3: {url: 'http://a'}", {}),
    "a url with a user": ("etcd3: {url: 'http://me:pw@a:1'}", {}),
    "a url drops the user beside it": ("etcd3: {url: 'http://a:1', username: me, password: pw}", {}),
    "a proxy": ("etcd3: {proxy: 'http://p:8080', username: me, password: pw}", {}),
    "use_proxies": ("etcd3: {hosts: 'a,b', use_proxies: true}", {}),
    "a user": ("etcd3: {hosts: a, username: me, password: pw}", {}),
    "TLS": ("etcd3: {hosts: a, protocol: https, cacert: /ca, cert: /crt, key: /key}", {}),
    "a certificate with its key inside": ("etcd3: {hosts: a, protocol: https, cert: /crt}", {}),
    "the v2 API": ("etcd: {hosts: a}", {}),
    "both sections": ("etcd: {hosts: old}\netcd3: {hosts: new}", {}),
    "an empty v2 section": ("etcd:\netcd3: {hosts: new}", {}),
    "srv with hosts to fall back on": ("etcd3: {srv: example.org, srv_suffix: x, hosts: a}", {}),
    "discovery_srv": ("etcd3: {discovery_srv: example.org}", {}),
    "srv_domain": ("etcd3: {srv_domain: example.org, discovery_srv: other, srv: third}", {}),
    "a namespace": (f"namespace: /db/\nscope: demo\n{HOSTS}", {}),
    "a namespace with slashes": (f"namespace: //db//x\nscope: demo\n{HOSTS}", {}),
    "a namespace without a slash": (f"namespace: db\nscope: demo\n{HOSTS}", {}),
    "the root as namespace": (f"namespace: /\nscope: demo\n{HOSTS}", {}),
    "a namespace in the section": ("scope: demo\netcd3: {hosts: a, namespace: inner}", {}),
    "two namespaces": ("namespace: outer\nscope: demo\netcd3: {hosts: a, namespace: inner}", {}),
    "a duplicate key": ("scope: one\nscope: two\netcd3: {hosts: a}", {}),
    "an anchor": ("x: &e {hosts: a, port: 1}\netcd3: {<<: *e, port: 2}", {}),
    "environment: scope and namespace": (HOSTS, {"SCOPE": "env", "NAMESPACE": "env"}),
    "environment: empty means not set": (f"scope: demo\n{HOSTS}", {"SCOPE": ""}),
    "environment: hosts": ("scope: demo", {"ETCD3_HOSTS": "a:1,b"}),
    "environment: hosts with quotes": (HOSTS, {"ETCD3_HOSTS": "'a:1','b:2'"}),
    "environment: hosts as a YAML list": (HOSTS, {"ETCD3_HOSTS": "- a:1\n- b:2"}),
    "environment: hosts in brackets": (HOSTS, {"ETCD3_HOSTS": "['a:1', b]"}),
    "environment: host and port": ("scope: demo", {"ETCD3_HOST": "a", "ETCD3_PORT": "4001"}),
    "environment: a port that is none": ("scope: demo", {"ETCD3_HOST": "a", "ETCD3_PORT": "x"}),
    "environment: url": ("etcd3: {host: b}", {"ETCD3_URL": "https://a:1"}),
    "environment: proxy": (HOSTS, {"ETCD3_PROXY": "http://p:1"}),
    "environment: use_proxies": (HOSTS, {"ETCD3_USE_PROXIES": "on"}),
    "environment: protocol": (HOSTS, {"ETCD3_PROTOCOL": "https"}),
    "environment: TLS": (HOSTS, {"ETCD3_CACERT": "/ca", "ETCD3_CERT": "/c", "ETCD3_KEY": "/k"}),
    "environment: srv": ("scope: demo", {"ETCD3_SRV": "example.org", "ETCD3_SRV_SUFFIX": "x"}),
    "environment: a user": ("scope: x", {"ETCD3_HOST": "a", "ETCD3_USERNAME": "me", "ETCD3_PASSWORD": "pw"}),
    "environment: a user alone is ignored": (HOSTS, {"ETCD3_USERNAME": "me", "ETCD3_PASSWORD": "pw"}),
    "environment: v2": ("scope: demo", {"ETCD_HOSTS": "a:1", "ETCD_USERNAME": "me"}),
    "REST: restapi": (f"{HOSTS}\nrestapi: {{authentication: {{username: u, password: 1}}, cafile: /ca}}", {}),
    "REST: auth": (f"{HOSTS}\nrestapi: {{auth: 'u:pw'}}", {}),
    "REST: ctl": (
        f"{HOSTS}\nrestapi: {{auth: 'r:r', cafile: /r}}\n"
        "ctl: {authentication: {username: u, password: p}, cacert: /ca, certfile: /c, keyfile: /k, "
        "keyfile_password: kp}",
        {},
    ),
    "REST: insecure": (f"{HOSTS}\nctl: {{insecure: true}}", {}),
    "REST: insecure with a certificate": (f"{HOSTS}\nctl: {{insecure: true, certfile: /c}}", {}),
    "REST: environment": (
        HOSTS,
        {
            "RESTAPI_USERNAME": "u", "RESTAPI_PASSWORD": "p", "RESTAPI_CAFILE": "/ca", "CTL_INSECURE": "no",
            "CTL_CERTFILE": "/c", "CTL_KEYFILE": "/k", "CTL_KEYFILE_PASSWORD": "kp",
        },
    ),
    "REST: environment over the file": (
        f"{HOSTS}\nctl: {{authentication: {{username: u, password: p}}, insecure: true}}",
        {"CTL_PASSWORD": "new", "CTL_INSECURE": "off", "CTL_CACERT": "/ca"},
    ),
    "this node: file": (
        f"{HOSTS}\nname: pg1\nrestapi: {{connect_address: 'a:8008', listen: '*:8008', certfile: /c}}\n"
        "postgresql: {connect_address: 'a:5432', listen: '*:5432', data_dir: /d, bin_dir: /b, "
        "authentication: {superuser: {username: u, password: p, sslmode: require}}}",
        {},
    ),
    "this node: environment over the file": (
        f"{HOSTS}\nname: pg1\npostgresql: {{data_dir: /d, authentication: {{superuser: {{username: u}}}}}}",
        {
            "NAME": "pg2", "RESTAPI_CONNECT_ADDRESS": "a:8008", "RESTAPI_LISTEN": "*:8008",
            "RESTAPI_CERTFILE": "/c", "POSTGRESQL_CONNECT_ADDRESS": "a:1", "POSTGRESQL_LISTEN": "*:1",
            "POSTGRESQL_DATA_DIR": "/e", "POSTGRESQL_BIN_DIR": "/b", "SUPERUSER_USERNAME": "root",
            "SUPERUSER_PASSWORD": "pw", "SUPERUSER_SSLMODE": "require", "SUPERUSER_SSLNEGOTIATION": "direct",
        },
    ),
}  # fmt: skip


class Recorder:
    """Stands for Patroni's etcd client class: keeps the settings it would be made with."""

    def __init__(self, config: dict[str, Any], _resolver: object) -> None:
        self.config = config
        self.protocol = config.get("protocol") or "http"
        self.machines = ["any"]
        self._config = config

    def _get_machines_cache_from_dns(self, host: str, port: int) -> list[str]:
        from patroni.utils import uri

        return [uri(self.protocol, (host, port))]

    def _get_machines_cache_from_srv(self, _srv: str, _suffix: str | None) -> list[str]:
        return []  # as when DNS has no record


@pytest.fixture
def patroni_env(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Let Patroni patch urllib3 and take its variables out of the environment, and undo both."""
    monkeypatch.setattr(
        urllib3.util.connection, "create_connection", urllib3.util.connection.create_connection
    )
    monkeypatch.setattr("patroni.dcs.etcd.DnsCachingResolver", object)
    yield monkeypatch


def patronis_client(path: str) -> tuple[Any, Recorder, Any]:
    """Return Patroni's Config, a client as its DCS would make it, and the DCS' key prefix."""
    from patroni.config import Config
    from patroni.dcs import iter_dcs_classes
    from patroni.dcs.etcd import AbstractEtcd

    config = Config(path, validator=None)
    name, _ = next(iter(iter_dcs_classes(config.copy())))
    section = {**config[name], **{key: config[key] for key in ("namespace", "scope") if key in config}}
    client = AbstractEtcd.get_etcd_client(object(), section, Recorder)
    return config, client, section


@pytest.mark.parametrize("case", TABLE)
def test_we_read_what_patroni_reads(case: str, tmp_path: Path, patroni_env: pytest.MonkeyPatch) -> None:
    from patroni.dcs.etcd import AbstractEtcdClientWithFailover as Client
    from patroni.request import PatroniRequest

    text, variables = TABLE[case]
    path = write(tmp_path, text)
    environ = {f"PATRONI_{name}": value for name, value in variables.items()}
    for name, value in environ.items():
        patroni_env.setenv(name, value)

    ours = load(path, environ)
    config, client, section = patronis_client(path)

    assert ours.hosts == tuple(Client._get_machines_cache_from_config(client))
    theirs = client.config
    assert (ours.username, ours.password) == (theirs.get("username") or "", theirs.get("password") or "")
    cert = theirs.get("cert") or ""
    assert ((ours.cert, ours.key) if ours.key else ours.cert) == cert
    assert ours.cacert == theirs.get("ca_cert", "")
    assert ours.use_proxies == bool(theirs.get("use_proxies"))
    assert (ours.srv, ours.srv_suffix) == (theirs.get("srv", ""), theirs.get("srv_suffix", ""))
    assert ours.api in config
    assert ours.scope == (config.get("scope") or "")
    assert f"{ours.namespace}/{ours.scope}/" == patronis_prefix(section)
    assert node_settings(ours.raw) == node_settings(config)
    assert rest_settings(PatroniRequest(dict(ours.raw))) == rest_settings(PatroniRequest(config))
    assert_rest_fields(ours, rest_settings(PatroniRequest(config)))


def node_settings(config: Any) -> dict[str, Any]:
    """Return what a configuration says of its own node."""
    restapi, postgresql = config.get("restapi") or {}, config.get("postgresql") or {}
    keys = ("connect_address", "listen", "certfile", "data_dir", "bin_dir")
    return {
        "name": config.get("name"),
        **{f"restapi.{key}": restapi.get(key) for key in keys},
        **{f"postgresql.{key}": postgresql.get(key) for key in keys},
        "superuser": (postgresql.get("authentication") or {}).get("superuser") or None,
    }


def patronis_prefix(section: dict[str, Any]) -> str:
    """Return the prefix of a cluster's keys as Patroni's AbstractDCS makes it."""
    from patroni.dcs.etcd3 import Etcd3

    dcs = Etcd3.__new__(Etcd3)
    mpp: Any = None
    super(sys.modules["patroni.dcs.etcd"].AbstractEtcd, dcs).__init__(
        {"scope": "", "name": "", "loop_wait": 10, **section}, mpp
    )
    return (
        str(dcs._base_path).rstrip("/") + "/"
        if section.get("scope")
        else str(dcs._base_path).rstrip("/") + "//"
    )


def rest_settings(request: Any) -> dict[str, Any]:
    """Return how a PatroniRequest authenticates and what it checks."""
    return {**request._pool.connection_pool_kw, "headers": dict(request._pool.headers)}


def assert_rest_fields(ours: PatroniConfig, theirs: dict[str, Any]) -> None:
    headers = urllib3.make_headers(basic_auth=ours.rest_auth or None)
    assert headers.get("authorization") == theirs["headers"].get("authorization")
    assert ours.rest_cacert == theirs.get("ca_certs", "")
    assert ours.rest_certfile == theirs.get("cert_file", "")
    assert ours.rest_keyfile == theirs.get("key_file", "")
    assert ours.rest_keyfile_password == theirs.get("key_password", "")
    insecure = theirs["cert_reqs"] == "CERT_NONE" or theirs.get("assert_hostname") is False
    assert ours.ctl_insecure == insecure


def test_a_directory_is_merged_as_patroni_merges_it(tmp_path: Path, patroni_env: pytest.MonkeyPatch) -> None:
    from patroni.dcs.etcd import AbstractEtcdClientWithFailover as Client

    write(tmp_path, "scope: one\netcd3: {hosts: a, username: me, password: pw}\nnamespace: x", "1.yml")
    write(tmp_path, "scope: two\netcd3: {hosts: [b, 'c:1'], username: null}\nnamespace: null", "2.yaml")
    write(tmp_path, "scope: three", "3.conf")
    (tmp_path / "4.yml").mkdir()
    ours = load(str(tmp_path), {})
    _, client, _ = patronis_client(str(tmp_path))
    assert ours.hosts == tuple(Client._get_machines_cache_from_config(client))
    assert (ours.scope, ours.username, ours.password, ours.namespace) == ("two", "", "pw", "/service")


def test_the_default_path_is_patronictls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    for environ in ({"HOME": str(tmp_path)}, {"HOME": "/nowhere", "XDG_CONFIG_HOME": str(tmp_path / "xdg")}):
        with monkeypatch.context() as patch:
            patch.delenv("XDG_CONFIG_HOME", raising=False)
            for name, value in environ.items():
                patch.setenv(name, value)
            expected = Path(click.get_app_dir("patroni")) / "patronictl.yaml"
        expected.parent.mkdir(parents=True)
        expected.write_text("scope: demo\netcd3: {hosts: a}")
        assert load(None, environ).path == str(expected)


def test_patroni_itself_is_not_imported() -> None:
    import subprocess

    code = "import sys, patroni_etcd_reconfig.adapters.patroni_config; sys.exit('patroni' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- where the configuration is ---------------------------------------------------------------------------


def test_patronictl_config_file_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "etcd3: {hosts: a}")
    assert load(None, {"PATRONICTL_CONFIG_FILE": path}).path == path


def test_the_option_wins_over_the_variable(tmp_path: Path) -> None:
    path = write(tmp_path, "etcd3: {hosts: a}")
    assert load(path, {"PATRONICTL_CONFIG_FILE": "/nowhere"}).path == path


def test_the_environment_alone_is_enough(tmp_path: Path) -> None:
    config = load(None, {"HOME": str(tmp_path), "PATRONI_ETCD3_HOSTS": "a", "PATRONI_SCOPE": "demo"})
    assert (config.hosts, config.scope, config.path) == (("http://a:2379",), "demo", "")


def test_a_whole_configuration_may_be_in_one_variable(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PATRONI_CONFIGURATION": "etcd3: {hosts: a}", "PATRONI_SCOPE": "no"}
    assert load(None, environ).scope == ""


def test_no_configuration_at_all_names_the_default_path_and_the_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"HOME": str(tmp_path)})
    assert "patroni/patronictl.yaml" in caught.value.message
    assert "--config-file" in caught.value.hint
    assert "PATRONICTL_CONFIG_FILE" in caught.value.hint


def test_secrets_are_not_in_the_repr(tmp_path: Path) -> None:
    text = f"""
        etcd3: {{hosts: a, username: me, password: {SECRET}}}
        ctl: {{keyfile_password: {SECRET}, authentication: {{username: u, password: {SECRET}}}}}
    """
    assert SECRET not in repr(load(write(tmp_path, text), {}))


# --- what is wrong with it --------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "none.yml")).endswith("none.yml: No such file or directory")
    assert "none.yml" in refusal(None, {"PATRONICTL_CONFIG_FILE": str(tmp_path / "none.yml")})


def test_a_directory_without_yaml_files_is_refused(tmp_path: Path) -> None:
    assert "no *.yml or *.yaml" in refusal(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        f"etcd3:\n  password: *{SECRET}\n",
        f"etcd3:\n  password: !{SECRET} x\n",
        f"etcd3:\n  password: '{SECRET}\n",
        f"etcd3:\n  password: {SECRET}\n : x: y: z",
        f"etcd3: {{hosts: a}}\nx: 2024-13-45 {SECRET}\ny: 2024-13-45",
        f"? [{SECRET}]\n: 1",
        f"? {{{SECRET}: 1}}\n: 1",
        "[" * 100_000,
        "scope: \x01",
    ],
)
def test_what_is_no_yaml_is_refused_without_showing_it(text: str, tmp_path: Path) -> None:
    refusal(write(tmp_path, text))


def test_a_yaml_error_has_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path, "scope: demo\netcd3: [1, 2\nx: y\n")
    assert refusal(path).startswith(f"{path}:3:2: not YAML")


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_bytes(b"scope: caf\xe9")
    assert "no UTF-8" in refusal(str(tmp_path / "p.yml"))


@pytest.mark.parametrize(
    ("text", "line", "key", "need"),
    [
        ("- etcd3", None, "", "mapping"),
        ("", None, "", "is empty"),
        ("scope: demo", None, "", "no etcd3 (or etcd) section"),
        ("scope: x\netcd3: hosts", 2, "etcd3", "must be a mapping"),
        ("scope: x\netcd3: {}", 2, "etcd3", "names no etcd"),
        ("etcd3:\n  hosts: []", 1, "etcd3", "names no etcd"),
        ("etcd3:\n  hosts: 5", 2, "etcd3.hosts", "list of host:port"),
        ("etcd3:\n  hosts: {a: 1}", 2, "etcd3.hosts", "list of host:port"),
        ("etcd3:\n  hosts:\n  - a:1\n  - 2379", 4, "etcd3.hosts.1", "host:port"),
        ("etcd3:\n  hosts:\n  - a:x", 3, "etcd3.hosts.0", "host:port"),
        ("etcd3:\n  hosts: a:1,b:99999", 2, "etcd3.hosts.1", "host:port"),
        (f"etcd3:\n  hosts: ['http://me:{SECRET}@a:1']", 2, "etcd3.hosts.0", "without http://"),
        ("etcd3:\n  host: '[::1]'", 2, "etcd3.host", "host:port"),
        ("etcd3:\n  host: [a]", 2, "etcd3.host", "string"),
        ("etcd3:\n  host: a\n  port: x", 3, "etcd3.port", "number from 1 to 65535"),
        ("etcd3:\n  host: a\n  port: true", 3, "etcd3.port", "number from 1 to 65535"),
        (f"etcd3:\n  url: ftp://me:{SECRET}@a", 2, "etcd3.url", "http(s)://host:port"),
        ("etcd3:\n  url: http://a:b", 2, "etcd3.url", "http(s)://host:port"),
        ("etcd3:\n  hosts: a\n  protocol: ftp", 3, "etcd3.protocol", "http or https"),
        ("etcd3:\n  hosts: a\n  password: 12345", 3, "etcd3.password", "string"),
        ("etcd3: {hosts: a}\nnamespace: [x]", 2, "namespace", "string"),
        ("etcd3: {hosts: a}\nnamespace: ''", 2, "namespace", "empty"),
        ("etcd3: {hosts: a}\nscope: 5", 2, "scope", "string"),
        ("etcd3: {hosts: a}\nctl: {insecure: 'false'}", 2, "ctl.insecure", "true or false"),
        ("etcd3: {hosts: a}\nctl: [x]", 2, "ctl", "mapping"),
        (
            "etcd3: {hosts: a}\nrestapi: {authentication: {username: u}}",
            2,
            "restapi.authentication",
            "password",
        ),
        ("etcd: {members: {n1: {}}}", 1, "etcd.members", "inventory"),
    ],
)
def test_a_wrong_value_is_named_with_line_key_and_what_is_allowed(
    text: str, line: int | None, key: str, need: str, tmp_path: Path
) -> None:
    path = write(tmp_path, text)
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: {key}" if line else f"{path}:")
    assert need in message


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "etcd3: {hosts: a}")
    message = refusal(path, {"PATRONI_ETCD3_HOSTS": f"a:{SECRET}"})
    assert message.startswith("environment variable PATRONI_ETCD3_HOSTS: etcd3.hosts.0")
    assert "PATRONI_ETCD3_HOSTS" in refusal(path, {"PATRONI_ETCD3_HOSTS": "[a"})


# --- SRV records ------------------------------------------------------------------------------------------


class Zone:
    """A little DNS: name -> records, and a log of what was asked."""

    def __init__(self, **records: str) -> None:
        self.records = {name.replace("__", "-"): value for name, value in records.items()}
        self.asked: list[str] = []

    def resolve(self, name: str, kind: str) -> Any:
        assert kind == "SRV"
        self.asked.append(name)
        label = name.split(".", maxsplit=1)[0]
        if label not in self.records:
            raise dns.resolver.NXDOMAIN
        return dns.rrset.from_text(name, 60, "IN", "SRV", *self.records[label].split(","))


def with_dns(monkeypatch: pytest.MonkeyPatch, zone: Zone) -> Zone:
    monkeypatch.setattr(dns.resolver, "resolve", zone.resolve)
    return zone


def srv(hosts: tuple[str, ...] = (), suffix: str = "") -> PatroniConfig:
    return PatroniConfig("p.yml", "", "/service", hosts, srv="example.org", srv_suffix=suffix)


def test_srv_records_are_looked_up_in_patronis_order(monkeypatch: pytest.MonkeyPatch) -> None:
    with_dns(monkeypatch, Zone(**{"_etcd-client": "0 0 2379 a.example.org.,0 0 2380 b.example.org."}))
    assert sorted(endpoints(srv())) == ["http://a.example.org:2379", "http://b.example.org:2380"]
    with_dns(monkeypatch, Zone(**{"_etcd-client": "0 0 1 a.", "_etcd-client-ssl-x": "0 0 2 b."}))
    assert endpoints(srv(suffix="x")) == ("https://b:2",)


def test_without_srv_records_the_hosts_are_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = with_dns(monkeypatch, Zone())
    assert endpoints(srv(("http://a:1",))) == ("http://a:1",)
    assert [name.split(".")[0] for name in zone.asked] == [
        "_etcd-client-ssl", "_etcd-client", "_etcd-ssl", "_etcd",
    ]  # fmt: skip


def test_without_srv_records_and_hosts_the_domain_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with_dns(monkeypatch, Zone())
    with pytest.raises(ConfigError, match=r"etcd3\.srv: example\.org has no SRV record"):
        endpoints(srv())


def test_a_name_server_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(_name: str, _kind: str) -> Any:
        raise dns.resolver.NoNameservers

    monkeypatch.setattr(dns.resolver, "resolve", resolve)
    with pytest.raises(ConfigError, match="could not be looked up"):
        endpoints(srv())


def test_without_srv_dns_is_not_asked() -> None:
    config = PatroniConfig("p.yml", "", "/service", ("http://a:1",))
    assert endpoints(config) == ("http://a:1",)
    assert patroni_config.SRV_SERVICES[0] == "-client-ssl"
