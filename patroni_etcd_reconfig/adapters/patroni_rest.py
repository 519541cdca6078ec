"""Patroni's REST API: what a node says of itself, from memory and without the DCS."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from urllib3 import PoolManager, Timeout, disable_warnings, make_headers
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from patroni_etcd_reconfig.adapters.etcd_http import deadline_pool, tls_context
from patroni_etcd_reconfig.adapters.patroni_config import PatroniConfig
from patroni_etcd_reconfig.errors import ConfigError, UnreachableError


@dataclass(frozen=True)
class PatroniRest:
    """Asks Patronis with the TLS files and credentials that patronictl would use. Safe from threads."""

    config: PatroniConfig
    insecure: bool = False

    def __post_init__(self) -> None:
        if self._unverified:  # the user has said so: no warning on every request
            disable_warnings(InsecureRequestWarning)

    def __call__(self, url: str, timeout: float) -> Mapping[str, Any]:
        """Return the answer to GET /patroni; `timeout` is the total, in seconds.

        `url` is the base URL. UnreachableError when nobody answers, or it is no Patroni.
        """
        _, data = self._get(url, "patroni", timeout)
        if "state" not in data:
            raise UnreachableError(f"{url}: answers, but is no Patroni")
        return data

    def failsafe(self, url: str, timeout: float) -> Mapping[str, str]:
        """Return the other members' API URLs by name, as a Patroni with failsafe_mode remembers them."""
        try:
            status, data = self._get(url, "failsafe", timeout)
        except UnreachableError:
            return {}
        # 502 when failsafe_mode is off (patroni/api.py, do_GET_failsafe)
        return {name: api for name, api in data.items() if isinstance(api, str)} if status == 200 else {}

    def _get(self, url: str, path: str, timeout: float) -> tuple[int, Mapping[str, Any]]:
        options: dict[str, Any] = {"timeout": Timeout(total=timeout), "retries": False, "redirect": False}
        headers = make_headers(basic_auth=self.config.rest_auth) if self.config.rest_auth else {}
        try:
            answer = self._pool.request("GET", f"{url}/{path}", headers=headers, **options)
            data = json.loads(answer.data)
        except HTTPError as error:
            raise UnreachableError(f"{url}: {_words(error)}") from error
        except (ValueError, RecursionError) as error:
            raise UnreachableError(f"{url}: answers, but is no Patroni") from error
        return answer.status, data if isinstance(data, dict) else {}

    @cached_property
    def _pool(self) -> PoolManager:
        return deadline_pool(self._tls())

    @property
    def _unverified(self) -> bool:
        return self.insecure or self.config.ctl_insecure

    def _tls(self) -> ssl.SSLContext:
        """As PatroniRequest: the `ctl` section's files, and without them the CA of `restapi`."""
        config = self.config
        context = tls_context(config.rest_cacert, "", "", insecure=self._unverified)
        if config.rest_certfile:
            try:
                context.load_cert_chain(
                    config.rest_certfile, config.rest_keyfile or None, config.rest_keyfile_password or None
                )
            except OSError as error:  # ssl.SSLError is one
                raise ConfigError(f"could not load ctl.certfile {config.rest_certfile}: {error}") from error
        return context


def _words(error: HTTPError) -> str:
    """Return what happened, without the objects that urllib3 puts into its messages."""
    text = str(error)
    for known in ("Connection refused", "No route to host", "Name or service not known"):
        if known in text:
            return known.lower()
    if "timed out" in text:
        return "no answer in time"
    return f"{type(error).__name__}: {text[:200]}"
