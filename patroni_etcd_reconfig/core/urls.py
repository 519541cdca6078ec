"""Where an etcd listens when the URLs that it advertises change."""

from __future__ import annotations

import re

_PARTS = re.compile(r"(?P<scheme>https?)://(?P<host>\[[^\]]*\]|[^:/]*):(?P<port>\d+)")
_ADDRESS = re.compile(r"\[[0-9a-fA-F:.%]+\]|\d+\.\d+\.\d+\.\d+")  # etcd listens on addresses only
_EVERYWHERE = ("0.0.0.0", "[::]")  # noqa: S104 - compared with, not bound to


def listening(present: str, former: tuple[str, ...], wanted: tuple[str, ...]) -> str | None:
    """Return the `listen-…-urls` that serve the wanted URLs; None when that can't be told.

    What listens on every address of the same port already serves. A URL that was both listened on and
    advertised is replaced; other entries, such as one for localhost, stay. Where the advertised URLs stay as
    they are, so does this, wherever it is: the member may be behind a proxy or a translation of addresses.
    """
    if present and set(former) == set(wanted):
        return present
    entries = [entry for entry in present.split(",") if entry]
    kept = [entry for entry in entries if entry not in former or entry in wanted]
    added = [url for url in wanted if url not in kept and not _served(url, kept)]
    if any(not _ADDRESS.fullmatch(_split(url)[1]) for url in added):
        return None
    if kept and added and not any(entry in former for entry in entries):
        return None  # it listens elsewhere than it advertises: behind a name or a translation of addresses
    return ",".join([*added, *kept])


def _served(url: str, entries: list[str]) -> bool:
    scheme, host, port = _split(url)
    for entry in entries:
        there = _split(entry)
        by_name = not _ADDRESS.fullmatch(host)
        if (there[0], there[2]) == (scheme, port) and (there[1] in _EVERYWHERE or by_name):
            return True
    return False


def _split(url: str) -> tuple[str, str, str]:
    match = _PARTS.fullmatch(url)
    return (match["scheme"], match["host"], match["port"]) if match else ("", "", "")
