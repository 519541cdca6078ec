"""A snapshot is only called good when every byte of it arrived."""

from __future__ import annotations

import hashlib
import io
import json
from base64 import b64encode
from collections.abc import Iterator

import pytest

from patroni_etcd_reconfig.adapters.etcd_snapshot import SnapshotCorruptError, copy_snapshot
from patroni_etcd_reconfig.errors import AuthFailedError, EtcdError

URL = "http://127.0.0.1:2379"
DATABASE = bytes(range(256)) * 400
DIGEST = hashlib.sha256(DATABASE).digest()


def line(piece: bytes) -> bytes:
    """Return a piece as etcd sends it."""
    return json.dumps({"result": {"blob": b64encode(piece).decode()}}).encode() + b"\n"


def stream(*pieces: bytes, chunk: int = 1000) -> Iterator[bytes]:
    """Return pieces as lines, cut into chunks without regard to them."""
    text = b"".join(line(piece) for piece in pieces)
    return (text[at : at + chunk] for at in range(0, len(text), chunk))


@pytest.mark.parametrize("chunk", [1, 7, 1000, 1_000_000])
@pytest.mark.parametrize("size", [13, 32_768, 1_000_000])
def test_a_whole_snapshot_is_written_with_its_digest(size: int, chunk: int) -> None:
    pieces = [DATABASE[at : at + size] for at in range(0, len(DATABASE), size)]
    sink = io.BytesIO()
    info = copy_snapshot(stream(*pieces, DIGEST, chunk=chunk), sink, URL)
    assert sink.getvalue() == DATABASE + DIGEST
    assert (info.size, info.sha256) == (len(DATABASE), DIGEST.hex())


def test_a_digest_that_is_split_over_lines_is_put_together() -> None:
    info = copy_snapshot(stream(DATABASE, DIGEST[:5], DIGEST[5:]), io.BytesIO(), URL)
    assert info.size == len(DATABASE)


@pytest.mark.parametrize(
    "pieces",
    [(), (DIGEST,), (DATABASE,), (DATABASE[:-1], DIGEST), (DATABASE, DIGEST[:-1]), (b"x" + DATABASE, DIGEST)],
)
def test_a_missing_or_changed_byte_is_noticed(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(SnapshotCorruptError, match="incomplete or damaged") as caught:
        copy_snapshot(stream(*pieces), io.BytesIO(), URL)
    assert caught.value.code == "SNAPSHOT_CORRUPT"
    assert caught.value.hint


def test_an_error_in_the_midst_of_it_is_told_in_etcds_words() -> None:
    broken = line(DATABASE) + b'{"error":{"grpc_code":14,"message":"etcdserver: server stopped"}}\n'
    with pytest.raises(SnapshotCorruptError, match="broke off: etcdserver: server stopped"):
        copy_snapshot([broken], io.BytesIO(), URL)


def test_an_error_at_the_start_is_classified_like_any_other() -> None:
    with pytest.raises(AuthFailedError):
        copy_snapshot([b'{"error":{"code":2,"message":"auth: permission denied"}}\n'], io.BytesIO(), URL)


@pytest.mark.parametrize("junk", [b"<html>\n", b'{"result":[]}\n', b'{"result":{"blob":"%%%"}}\n', b"[1]\n"])
def test_what_is_no_line_of_a_snapshot_is_refused(junk: bytes) -> None:
    with pytest.raises(EtcdError, match="not a line of a snapshot"):
        copy_snapshot([junk], io.BytesIO(), URL)


def test_an_endless_line_does_not_fill_the_memory() -> None:
    endless = iter(lambda: b"x" * 1_000_000, b"")
    with pytest.raises(EtcdError, match="not a line of a snapshot"):
        copy_snapshot(endless, io.BytesIO(), URL)
