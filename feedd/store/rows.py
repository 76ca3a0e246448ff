"""The rows of the state as values, and how a set of feed ids is kept in a column."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from feedd import model

_pack = msgspec.msgpack.Encoder().encode
_ids_from = msgspec.msgpack.Decoder(tuple[int, ...]).decode


class FileRow(Struct, frozen=True, array_like=True, gc=False):
    """A file as it was when last read."""

    path: str
    mtime_ns: int
    size: int
    inode: int
    digest: bytes
    article_id: int | None


class Problem(Struct, frozen=True, array_like=True, gc=False):
    """Why a file cannot be used."""

    path: str
    line: int
    column: int
    field: str
    message: str
    since_at: int


class Feed(Struct, frozen=True, array_like=True, gc=False):
    """A feed that was made once; it stays known when its last entry goes. `slug` is None until it is first written."""

    id: int
    kind: model.FeedKind
    key: str
    label: str
    slug: str | None


class Document(Struct, frozen=True, array_like=True, gc=False):
    """One document of a feed: the live one (page 0) or an archive; see the table."""

    feed_id: int
    page: int
    bound: int | None
    floor: int | None
    dirty_seq: int
    built_seq: int
    updated_us: int
    entries: int
    bytes: int
    written_at: int | None
    error: str


def pack_ids(ids: Iterable[int]) -> bytes:
    """Feed ids as a column keeps them: sorted, so that equal sets are equal bytes."""
    return _pack(sorted(ids))


def unpack_ids(data: bytes) -> tuple[int, ...]:
    """The ids of `pack_ids`."""
    return _ids_from(data) if data else ()
