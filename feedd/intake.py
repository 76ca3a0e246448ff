"""A path -> what its file says now: read, compared, parsed, summarised; for one path or for a batch in a worker.

Touches no state: `ingest` decides what an Intake means. Runs in the daemon or in workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Literal

import msgspec
from msgspec import Struct

from feedd import errors, files, model, parse, plan

Outcome = Literal["gone", "same", "article", "metadata", "problem", "unsettled"]


class Source(Struct, frozen=True, array_like=True):
    """Where articles are and how they are read; the same for a whole run."""

    root: str
    site_url: str
    max_bytes: int
    rules: plan.Rules


class Reading(Struct, frozen=True, array_like=True, gc=False):
    """A path to look at, with the digest of the bytes that are known of it (empty: read it in any case)."""

    path: str
    digest: bytes = b""


class Trouble(Struct, frozen=True, array_like=True, gc=False):
    """Why a file cannot be used."""

    line: int
    column: int
    field: str
    message: str


class Intake(Struct, frozen=True, array_like=True, gc=False):
    """What a path turned out to be. `digest` is of the file's bytes; the last three belong to their outcomes."""

    path: str
    outcome: Outcome
    mtime_ns: int = 0
    size: int = 0
    inode: int = 0
    digest: bytes = b""
    parsed: plan.Parsed | None = None
    metadata: model.Metadata | None = None
    trouble: Trouble | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Intake]).decode


def take(source: Source, reading: Reading, *, now_ns: int, settle_ns: int = 0) -> Intake:
    """Reads and parses one path. Whatever the file holds, the answer is an Intake."""
    path = reading.path
    try:
        read = files.read(source.root, path, max_bytes=source.max_bytes, settle_ns=settle_ns, now_ns=now_ns)
    except errors.ArticleError as error:
        return Intake(path, "problem", trouble=_trouble(error))
    if read is None:
        return Intake(path, "gone")
    if isinstance(read, files.Unsettled):
        return Intake(path, "unsettled")
    stat, digest = read.stat, blake2b(read.data, digest_size=12).digest()
    seen = (stat.mtime_ns if read.certain else 0, stat.size, stat.inode, digest)  # 0: a scan reads it once more
    if digest == reading.digest:
        return Intake(path, "same", *seen)
    try:
        if parse.metadata_kind(path):
            return Intake(path, "metadata", *seen, metadata=parse.parse_metadata(read.data, path, source.site_url))
        article = parse.parse(read.data, path, source.site_url)
    except errors.ArticleError as error:
        return Intake(path, "problem", *seen, trouble=_trouble(error))
    return Intake(path, "article", *seen, parsed=plan.summarise(article, source.rules))


def _trouble(error: errors.ArticleError) -> Trouble:
    return Trouble(error.line, error.column, error.field, error.message)


def take_batch(source: Source, batch: Sequence[Reading], now_ns: int, settle_ns: int) -> bytes:
    """The Intakes of a batch as bytes: what a worker process sends back."""
    return _encode([take(source, reading, now_ns=now_ns, settle_ns=settle_ns) for reading in batch])


def unpack(data: bytes) -> list[Intake]:
    """The Intakes of `take_batch`."""
    return _decode(data)


def readings_of(
    found: Iterable[Reading | Intake], known: list[Intake]
) -> Iterator[Reading]:
    """What must be read; the rest goes to `known`."""
    for item in found:
        if isinstance(item, Intake):
            known.append(item)
        else:
            yield item


def with_known(known: list[Intake], taken: Iterator[Intake]) -> Iterator[Intake]:
    """All Intakes; the known ones (gone, mostly) as soon as they are known, so that what was renamed is recognised."""
    for item in taken:
        while known:
            yield known.pop()
        yield item
    yield from known
