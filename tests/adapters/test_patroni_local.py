"""What a Patroni file says of its own node, as far as recovery needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from patroni_etcd_reconfig.adapters.patroni_config import PatroniConfig, load
from patroni_etcd_reconfig.adapters.patroni_local import (
    configs_on_this_machine,
    control_data,
    given_address,
    local_address,
    postgres_port,
)
from patroni_etcd_reconfig.adapters.pg_controldata import ControlData
from patroni_etcd_reconfig.adapters.postgres import connection_options
from patroni_etcd_reconfig.core.recovery.addresses import Address
from patroni_etcd_reconfig.errors import ConfigError, UnreachableError


def config(**raw: Any) -> PatroniConfig:
    """Return a configuration of scope demo."""
    return PatroniConfig("p.yml", "demo", "/service", (), raw=raw)


def superuser(**settings: Any) -> dict[str, Any]:
    """Return a configuration with these settings of the superuser."""
    return {"postgresql": {"authentication": {"superuser": settings}}}


def test_the_connect_addresses_are_where_the_node_is() -> None:
    found = local_address(
        config(
            name="pg1",
            restapi={"connect_address": "10.0.0.1:8008", "listen": "*:1", "certfile": "/c"},
            postgresql={"connect_address": "[::1]:6432"},
        )
    )
    assert found == Address("demo", "pg1", ("https://10.0.0.1:8008",), (("::1", 6432),), local=True)


@pytest.mark.parametrize(
    ("listen", "server"),
    [("*:5432", "127.0.0.1"), ("0.0.0.0:5432", "127.0.0.1"), ("10.0.0.1,10.0.0.2:5432", "10.0.0.1")],
)
def test_without_them_what_it_listens_on_counts(listen: str, server: str) -> None:
    found = local_address(config(name="pg1", postgresql={"listen": listen}))
    assert found == Address("demo", "pg1", (), ((server, 5432),), local=True)


@pytest.mark.parametrize("raw", [{}, {"name": ""}, {"name": 5}])
def test_a_file_that_names_no_node_has_none(raw: dict[str, Any]) -> None:
    assert local_address(config(**raw)) is None


def test_values_that_are_no_addresses_are_left_out() -> None:
    found = local_address(config(name="pg1", restapi=[], postgresql={"connect_address": "nonsense"}))
    assert found == Address("demo", "pg1", local=True)
    assert postgres_port(config(postgresql={"connect_address": "nonsense"})) == 5432
    assert postgres_port(config(postgresql={"connect_address": "a:6432"})) == 6432


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("a:8008", "http://a:8008"),
        ("https://a:1/patroni", "https://a:1"),
        ("[::1]:8008", "http://[::1]:8008"),
    ],
)
def test_an_operator_can_name_a_patroni(text: str, url: str) -> None:
    assert given_address(text, config()).api_urls == (url,)


@pytest.mark.parametrize("text", ["", "a", "a:b", ":8008", "ftp://a:1", "a:8008:x", "[::1]"])
def test_what_is_no_address_of_a_patroni_is_a_usage_error(text: str) -> None:
    with pytest.raises(ConfigError, match="must be HOST:PORT"):
        given_address(text, config())


def test_the_file_s_superuser_is_who_asks() -> None:
    listed = superuser(username="admin", password="secret", sslmode="require", other=1)
    assert connection_options(listed, {}) == {"user": "admin", "password": "secret", "sslmode": "require"}


def test_the_environment_and_the_option_count_before_the_file() -> None:
    listed = superuser(username="admin", password="secret")
    assert connection_options(listed, {"PGUSER": "me"}) == {"user": "me"}
    assert connection_options(listed, {"PGPASSWORD": "x"}) == {"user": "admin"}
    assert connection_options(listed, {"PGPASSFILE": "/f"}) == {"user": "admin"}
    assert connection_options(listed, {"PGUSER": "me"}, "her") == {"user": "her"}
    assert connection_options(listed, {}, "admin") == {"user": "admin", "password": "secret"}


@pytest.mark.parametrize(
    "raw", [{}, {"postgresql": None}, {"postgresql": {"authentication": None}}, superuser()]
)
def test_without_a_superuser_it_is_postgres(raw: dict[str, Any]) -> None:
    assert connection_options(raw, {}) == {"user": "postgres"}


def test_the_control_file_is_read_with_the_file_s_own_program() -> None:
    found = control_data(config(postgresql={"data_dir": "/d", "bin_dir": "/b"}))
    assert found == ControlData("/b/pg_controldata", "/d")
    named = {"data_dir": "/d", "bin_name": {"pg_controldata": "pgc"}}
    assert control_data(config(postgresql=named)) == ControlData("pgc", "/d")
    assert control_data(config(postgresql={"bin_dir": "/b"})) is None


@pytest.mark.parametrize("program", ["/nowhere/pg_controldata", "/bin/false", "/bin/true"])
def test_a_program_that_tells_nothing_is_an_error_that_names_it(program: str) -> None:
    with pytest.raises(UnreachableError, match=program):
        ControlData(program, "/d")()


def written(folder: Path, file: str, name: str | None, *, etcd: str = "a:2379", data: bool = True) -> Path:
    """Write a Patroni file of a node whose data directory is here, or is not."""
    where = folder / f"data-{file}"
    if data:
        where.mkdir()
    raw = {
        "scope": "demo",
        "name": name,
        "etcd3": {"hosts": [etcd]},
        "postgresql": {"data_dir": str(where), "listen": "127.0.0.1:5432"},
    }
    (folder / file).write_text(yaml.safe_dump(raw))
    return folder / file


def test_files_beside_the_given_one_are_of_other_nodes_on_this_machine(tmp_path: Path) -> None:
    own = written(tmp_path, "pg1.yml", "pg1")
    written(tmp_path, "pg2.yaml", "pg2")
    written(tmp_path, "same.yml", "pg1")
    written(tmp_path, "far.yml", "pg3", data=False)
    written(tmp_path, "other.yml", "pg4", etcd="b:2379")
    written(tmp_path, "nameless.yml", None)
    (tmp_path / "etcd-reconfig.yml").write_text("etcd: {members: {}}")
    (tmp_path / "broken.yml").write_text("{")
    (tmp_path / "link.yml").symlink_to("pg1.yml")
    for given in (own, tmp_path / "link.yml"):
        found = configs_on_this_machine(load(str(given), {}))
        assert [one.raw["name"] for one in found] == ["pg1", "pg2"]


def test_without_a_file_only_the_given_configuration_counts() -> None:
    given = config(name="pg1")
    assert configs_on_this_machine(given) == (given,)
