"""A feed and the ETag of an older instance of it -> the feed with only the entries that are new or changed since.

RFC 3229 with the instance manipulation `feed`, as feed readers use it: 226 IM Used. Takes a feed apart at the exact
bytes that `render` puts around entries and never parses XML; of a feed that looks otherwise no delta is made. Keeps
digests of instances, not the instances. Called by the server, on its event loop alone.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b

from msgspec import Struct
from msgspec.structs import replace

from feedd import model
from feedd.web import http

# Programs whose parser (feedparser) asks for deltas, and that take its 226 for an error: they would never see news.
MISTAKEN = (b"rss2email/",)
_DIGEST_SIZE = 16
_CDATA, _CDATA_END = b"<![CDATA[", b"]]>"
_ITEMS = b',\n"items":[\n'
_JSON_TAIL = b"\n]\n}\n"
_COMPLETE = b"\n<fh:complete/>\n"


class Parts(Struct, frozen=True, gc=False):
    """A feed taken apart: head, entries with `separator` between them, and tail are its bytes."""

    head: bytes
    entries: list[bytes]
    separator: bytes
    tail: bytes


class _Marks(Struct, frozen=True, gc=False):
    """The bytes around the entries of an XML format."""

    starts: tuple[bytes, ...]
    end: bytes
    tail: bytes


_MARKS: dict[model.Format, _Marks] = {
    "atom": _Marks((b"<entry>\n", b"<entry "), b"</entry>\n", b"</feed>\n"),
    "rss": _Marks((b"<item>\n",), b"</item>\n", b"</channel></rss>\n"),
}


def wants_feed_delta(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the `A-IM` of a request (RFC 3229 section 10.5.3) takes `feed`. A weight of zero or a wrong one means no.

    Names of headers are in any case, and one may come repeatedly.
    """
    accepted = b",".join([value for name, value in headers if len(name) == 4 and name.lower() == b"a-im"])
    return accepted != b"" and http.quality(accepted, b"feed") > 0


def split(data: bytes, fmt: model.Format) -> Parts | None:
    """The parts of a feed as `render` writes it, None where it is not one; in time linear in its length."""
    return _split_json(data) if fmt == "json" else _split_xml(data, _MARKS[fmt])


def _split_xml(data: bytes, marks: _Marks) -> Parts | None:
    if not data.endswith(marks.tail):
        return None
    last = len(data) - len(marks.tail)
    found = [data.find(b"\n" + start) + 1 for start in marks.starts]
    at = first = min(filter(None, found), default=last)
    entries = []
    while at < last:
        end = _end(data, at, marks.end)
        if not end or not data.startswith(marks.starts, at):
            return None
        entries.append(data[at:end])
        at = end
    return Parts(data[:first], entries, b"", data[last:]) if at == last else None


def _end(data: bytes, at: int, mark: bytes) -> int:
    """Where the entry that begins at `at` is over; 0 where it is not.

    Texts and attributes are escaped, so that a mark is one, except in CDATA: there anything may stand but `]]>`.
    """
    end = -1
    while True:
        if end < at:
            end = data.find(mark, at)
            if end < 0:
                return 0
        opened = data.find(_CDATA, at, end)
        if opened < 0:
            return end + len(mark)
        at = data.find(_CDATA_END, opened)
        if at < 0:
            return 0


def _split_json(data: bytes) -> Parts | None:
    # Each item is on a line of its own: a line end in a text is written as `\n`.
    first, last = data.find(_ITEMS) + len(_ITEMS), len(data) - len(_JSON_TAIL)
    if not len(_ITEMS) <= first <= last or not data.endswith(_JSON_TAIL):
        return None
    entries = data[first:last].split(b",\n") if first < last else []
    if not all(entry.startswith(b'{"id":"') and entry.endswith(b"}") for entry in entries):
        return None
    return Parts(data[:first], entries, b",\n", data[last:])


def _digest(entry: bytes) -> bytes:
    """Of a whole entry, its id included: the same for no two entries, nor for two states of one."""
    return blake2b(entry, digest_size=_DIGEST_SIZE).digest()


class _Instance(Struct, frozen=True, gc=False):
    """What a feed was under some ETags, one for each encoding: the digests of its entries, one after the other."""

    etags: tuple[str, ...]
    digests: bytes

    @property
    def size(self) -> int:
        """Bytes of memory, nearly."""
        return sys.getsizeof(self.digests) + 160 + sum([110 + len(etag) for etag in self.etags])

    def lacking(self, entries: list[bytes]) -> list[bytes]:
        """Those that were not in it, or not as they are now."""
        had = {self.digests[at : at + _DIGEST_SIZE] for at in range(0, len(self.digests), _DIGEST_SIZE)}
        return [entry for entry in entries if _digest(entry) not in had]


class Deltas:
    """The instances that readers may still have, by feed path and ETag. Not for several threads.

    At most `per_feed` of each feed, and `max_bytes` in all: the oldest of the feed least recently used go first.
    A feed of 50 entries takes about 1.7 kB an instance.
    """

    def __init__(self, max_bytes: int = 16 << 20, per_feed: int = 8) -> None:
        self._max_bytes, self._per_feed = max_bytes, per_feed
        self._feeds: OrderedDict[str, tuple[_Instance, ...]] = OrderedDict()  # oldest instance first
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes of memory that are held, nearly."""
        return self._size

    def __len__(self) -> int:
        """Instances that are known."""
        return sum(map(len, self._feeds.values()))

    def note(self, path: str, etags: Iterable[str], data: bytes, fmt: model.Format) -> None:
        """Remembers an instance by the ETags of its encodings; to be told whenever a feed file is read.

        `etags` and those given to `answer` are as in headers, with their quotes. The same instance again only makes
        its feed recently used, and adds ETags that are new.
        """
        given = tuple(map(_opaque, etags))
        kept = self._feeds.get(path, ())
        same = next((instance for instance in kept if not set(given).isdisjoint(instance.etags)), None)
        if same is not None:
            new = replace(same, etags=tuple(dict.fromkeys((*same.etags, *given))))
            kept = tuple(instance for instance in kept if instance is not same)
        else:
            parts = split(data, fmt)
            if parts is None or not given:
                return
            new = _Instance(given, b"".join([_digest(entry) for entry in parts.entries]))
        self._keep(path, (*kept, new)[-self._per_feed :])

    def answer(self, path: str, known_etags: Iterable[str], data: bytes, fmt: model.Format) -> bytes | None:
        """The current instance, `data`, without the entries that the reader has from one of the instances it knows.

        None, for the whole feed is to be sent, where none of those is known here or nothing would be saved. Entries
        that left the feed are absent, as from a whole one. Without `fh:complete`, which would be said of the delta
        (RFC 5005 section 2: what is not in the document is not in the feed), and entries would be lost.
        """
        known = set(map(_opaque, known_etags))
        instances = self._feeds.get(path, ())
        had = next((instance for instance in reversed(instances) if not known.isdisjoint(instance.etags)), None)
        if had is None:
            return None
        self._feeds.move_to_end(path)
        parts = split(data, fmt)
        if parts is None:
            return None
        changed = had.lacking(parts.entries)
        if len(changed) == len(parts.entries):
            return None
        return parts.head.replace(_COMPLETE, b"\n", 1) + parts.separator.join(changed) + parts.tail

    def _keep(self, path: str, instances: tuple[_Instance, ...]) -> None:
        self._size -= _size(path, self._feeds.pop(path, ()))
        self._feeds[path] = instances
        self._size += _size(path, instances)
        while self._size > self._max_bytes:
            oldest, kept = self._feeds.popitem(last=False)
            self._size -= _size(oldest, kept)
            if len(kept) > 1:
                self._feeds[oldest] = kept[1:]
                self._feeds.move_to_end(oldest, last=False)
                self._size += _size(oldest, kept[1:])


def _size(path: str, instances: tuple[_Instance, ...]) -> int:
    return 300 + 2 * len(path) + sum([instance.size + 8 for instance in instances]) if instances else 0


def _opaque(etag: str) -> str:
    """Without the mark that a proxy which compresses makes an ETag weak by: entries are compared, and not bytes."""
    return etag.removeprefix("W/")
