"""What a joining node's configuration is made to say, and where it listens after a move."""

from __future__ import annotations

import json

import pytest

from patroni_etcd_reconfig.core.changes import Seat, replacement_of
from patroni_etcd_reconfig.core.codec import decode_change, encode_change
from patroni_etcd_reconfig.engine.joining import follow, joining_settings
from tests.core.builders import voters

from .rig import Rig, seat

NEW = Seat("c", ("http://c:2390",), ("http://c:2389",))


def _settings(present: dict[str, str], wanted: Seat = NEW) -> dict[str, str]:
    rig = Rig("a", "b", "c")
    rig.nodes["c"].written.update(present)
    return joining_settings(rig.nodes["c"], voters(3), wanted)


def test_a_new_member_advertises_and_listens_on_its_new_urls() -> None:
    present = {
        "listen-peer-urls": "http://c:2380",
        "initial-advertise-peer-urls": "http://c:2380",
        "listen-client-urls": "http://c:2379,http://127.0.0.1:2379",
        "advertise-client-urls": "http://c:2379",
    }
    settings = _settings(present)
    assert settings["initial-advertise-peer-urls"] == settings["listen-peer-urls"] == "http://c:2390"
    assert settings["advertise-client-urls"] == "http://c:2389"
    assert settings["listen-client-urls"] == "http://c:2389,http://127.0.0.1:2379"


def test_a_file_that_says_where_to_listen_is_left_alone_when_nothing_moves() -> None:
    present = {"listen-peer-urls": "http://0.0.0.0:2380", "listen-client-urls": "http://0.0.0.0:2379"}
    settings = _settings(present, seat("c"))
    assert not {"listen-peer-urls", "listen-client-urls", "advertise-client-urls"} & set(settings)


def test_a_file_that_does_not_say_where_to_listen_is_told() -> None:
    settings = _settings({})
    assert (settings["listen-peer-urls"], settings["listen-client-urls"]) == (
        "http://c:2390",
        "http://c:2389",
    )


def test_a_move_that_was_written_before_a_crash_is_written_the_same_again() -> None:
    once = _settings({"listen-peer-urls": "http://c:2380", "initial-advertise-peer-urls": "http://c:2380"})
    assert _settings(once) | once == once


@pytest.mark.parametrize(
    ("listens", "old", "new", "expected"),
    [
        ("http://0.0.0.0:2380", "http://c:2380", "http://c:2390", "http://0.0.0.0:2390"),
        ("http://[::]:2380", "http://c:2380", "http://c:2390", "http://[::]:2390"),
        ("http://0.0.0.0:2380", "http://c:2380", "http://d:2380", "http://0.0.0.0:2380"),
        ("http://10.0.0.3:2380", "http://c:2380", "http://c:2390", "http://10.0.0.3:2380"),
        ("http://c:2380, http://x:1", "http://c:2380", "https://c:2380", "https://c:2380,http://x:1"),
        ("http://c:2380", "", "http://c:2390", "http://c:2380"),
    ],
)
def test_listen_urls_follow_only_what_named_the_old_url(
    listens: str, old: str, new: str, expected: str
) -> None:
    assert follow(listens, old, new) == expected


def test_the_new_urls_survive_the_journal() -> None:
    change = replacement_of(voters(3), "c", NEW)
    again = decode_change(json.loads(json.dumps(encode_change(change))))
    assert again == change
    assert again.joiners[0].client_urls == NEW.client_urls
    old = encode_change(change)
    for joiner in old["joiners"]:
        del joiner["client_urls"]  # as an earlier version wrote it
    assert decode_change(old) == change
