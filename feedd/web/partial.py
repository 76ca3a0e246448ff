"""A request that takes deltas -> 226 IM Used (RFC 3229) with the entries that its reader lacks; None for a 200.

Compressed as the whole feed would be: else that would soon be the smaller answer. The last few are kept, for after a
change most readers come from the same instance. Called by `feeds`, on its event loop alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from feedd import model
from feedd.web import delta, http, shelf

Make = Callable[[str, tuple[str, ...], bytes, model.Format], bytes | None]
"""Name, ETags that the reader knows, the feed, its format -> the delta; see `Deltas.answer`."""
Compress = Callable[[bytes, str], bytes]
"""Bytes and `gzip` or `br` -> compressed bytes."""

# An ordinary feed of 94 kB: a delta takes 0.4 ms to make; of 10 of its 50 entries (18 kB) it is 2.9 kB in gzip
# (0.03 ms), and 2.5 kB in brotli (0.15 ms). The whole feed is 12.1 and 10.0 kB.
MOST_BYTES = 128 << 10  # of a delta that is compressed: 1 ms by brotli
_KEPT = 64  # at most 8 MB of them, and some 200 kB where feeds are ordinary

_Key = tuple[str, bytes, tuple[str, ...]]


class _Body(Struct, frozen=True, gc=False):
    """A delta as it is sent; `data` is empty where the whole feed is no longer than that."""

    data: bytes
    is_packed: bool


class Partial:
    """Not for several threads. Without `compress` deltas are sent as they are."""

    def __init__(self, files: shelf.Shelf, make: Make, compress: Compress | None) -> None:
        self._shelf, self._make, self._compress = files, make, compress
        self._kept: OrderedDict[_Key, _Body] = OrderedDict()

    def answer(
        self, request: http.Request, name: str, fmt: model.Format, facts: shelf.Facts, headers: http.Headers
    ) -> http.Answer | None:
        """`facts` and `headers` are those of the whole feed, in the coding that a 200 would have.

        The ETag is that of the whole instance, so that the next request can be a 304. The coding is put on last and
        taken off first, as every client does it; RFC 3229 (section 4) has it below the delta, where none would look.
        """
        if not delta.wants_feed_delta(request.headers.items()):
            return None
        if request.headers.get(b"user-agent", b"").startswith(delta.MISTAKEN):
            return None
        etags = tuple(tag.decode("latin-1") for tag in http.etags_of(request.headers.get(b"if-none-match", b"")))
        body = self._find(name, fmt, facts, etags) if etags else None
        if body is None or not body.data:
            return None
        own = {b"content-length": b"%d" % len(body.data), b"cache-control": b"no-store, im"}
        found = tuple(
            (key, own.get(key, value + b", A-IM, If-None-Match" if key == b"vary" else value))
            for key, value in headers if body.is_packed or key != b"content-encoding"
        )
        return http.Answer(226, (*found, (b"im", b"feed")), b"" if request.method == "HEAD" else body.data)

    def _find(self, name: str, fmt: model.Format, facts: shelf.Facts, etags: tuple[str, ...]) -> _Body | None:
        """One that is kept, or a new one; None where these ETags are not known."""
        key = (facts.name, facts.etag, etags)
        body = self._kept.get(key)
        if body is None:
            plain = self._shelf.look(name)
            data = None if plain is None else self._shelf.read(plain)
            if plain is None or data is None or plain.mtime_ns != facts.mtime_ns:
                return None  # it is being replaced
            made = self._make(name, etags, data, fmt)
            if made is None:
                return None
            body = self._body(made, facts)
            if len(body.data) > MOST_BYTES:
                return body
            self._kept[key] = body
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return body

    def _body(self, made: bytes, facts: shelf.Facts) -> _Body:
        coding = next((name for name, end in shelf.SIBLINGS.items() if end and facts.name.endswith(end)), "")
        data = made
        if coding and self._compress is not None and len(made) <= MOST_BYTES:
            data = min(self._compress(made, coding), made, key=len)
        return _Body(data if len(data) < facts.size else b"", data is not made)
