"""Hosts that do not answer in order: silence, drips, floods, bombs, garbage, bad certificates, and redirects that lead
inside, to addresses and ports where a checker has no business.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

import brotli

from tests.farm import addresses
from tests.farm.replies import Answer, Call, Reply, article, endless, message, raw, redirect
from tests.farm.sites import EXCLUDED, FRESH, LED_ASTRAY, UNSURE, WEAK, Expected, Page, Site, expected, one

_OK = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
_MEGABYTE = 1 << 20
# URLs of the farm itself in other spellings, and of other places of this machine; each is one that must not be asked.
_SPELLINGS = {
    "loopback": "127.0.0.1", "loopback-other": "127.9.9.9", "octal": "0177.0.0.1", "hexadecimal": "0x7f.0.0.1",
    "decimal": "2130706433", "short": "127.1", "zero": "0.0.0.0", "zero-short": "0", "v6": "[::1]",
    "v6-mapped": "[::ffff:127.0.0.1]", "v6-mapped-hex": "[::ffff:7f00:1]", "v6-mapped-farm": "[::ffff:127.1.0.1]",
    "v6-unspecified": "[::]", "name": "localhost", "dot": "127.0.0.1.", "wide": "１２７.0.0.1",
    "user": "127.1.0.1@127.0.0.1",
}  # fmt: skip
# Only in a namespace of our own, where the first three are ours and the others lead nowhere.
_REAL = {
    "metadata": addresses.METADATA, "metadata-decimal": "2852039166", "private": addresses.PRIVATE,
    "v6-compatible": "[::127.0.0.1]", "nat64": "[64:ff9b::7f00:1]", "6to4": "[2002:7f00:1::]",
}  # fmt: skip


def sites() -> list[Site]:
    """All that are reached by plain HTTP."""
    return [*_silent(), *_floods(), *_broken(), *_leading_inside()]


def secure_sites(trusted: bool) -> list[Site]:
    """Those with TLS. `trusted`: the checker was given the farm's authority, certs/authority.pem."""
    path = "/news/secure"
    return [
        Site("tls-good", {path: Page(article(), FRESH if trusted else WEAK)}, secure=1),
        Site("tls-selfsigned", {path: Page(article(), WEAK)}, secure=2),
        Site("tls-expired", {path: Page(article(), WEAK)}, secure=3),
        Site("tls-misnamed", {path: Page(article(), WEAK)}, secure=4),
        Site("tls-plain", {path: Page(article(), WEAK)}, secure=5),
        Site("tls-reset", {path: Page(article(), WEAK)}, secure=6),
    ]


def direct() -> dict[str, tuple[str, Expected]]:
    """Links that name a forbidden place themselves, as name -> (URL, what is expected); `{port}` and others to be
    filled in.
    """
    sure = {"loopback", "loopback-other", "v6", "v6-mapped", "metadata", "private"}
    found = {
        f"inside-{name}": (f"http://{host}:{{port}}/latest/meta-data/", EXCLUDED if name in sure else LED_ASTRAY)
        for name, host in {**_SPELLINGS, **_REAL}.items()
    }
    found["stray-port"] = ("http://{courier}:{stray}/admin", EXCLUDED)
    found["refused"] = ("http://{courier}:{closed}/news/refused", WEAK)
    found["ftp"] = ("ftp://{courier}:{stray}/pub/file", EXCLUDED)
    return found


def is_safe(name: str) -> bool:
    """Whether the URL of this name may be given to a checker here: it names nobody else."""
    return name.partition("-")[2] not in _REAL or all(map(addresses.has, (addresses.METADATA, addresses.PRIVATE)))


def _leading_inside() -> list[Site]:
    led = [
        one(f"to-{name}", redirect(f"http://{host}:{{port}}/latest/meta-data/", code), LED_ASTRAY)
        for (name, host), code in zip({**_SPELLINGS, **_REAL}.items(), (301, 302, 303, 307, 308) * 9, strict=False)
    ]
    late = {
        "/story": Page(redirect("/next", 301), LED_ASTRAY), "/next": Page(redirect("//127.0.0.1:{port}/admin", 302)),
    }  # fmt: skip
    return [
        *led,
        Site("to-inside-late", late),
        one("to-stray-port", redirect("http://{courier}:{stray}/admin"), LED_ASTRAY),
        one("to-file", redirect("file:///etc/passwd"), LED_ASTRAY),
        one("to-gopher", redirect("gopher://127.0.0.1:{port}/_x"), LED_ASTRAY),
    ]


def _silent() -> list[Site]:
    return [
        one("hangs", raw(b"", "wait", 0), WEAK),
        one("hangs-in-head", raw(_OK.encode(), "wait"), WEAK),
        one("hangs-in-body", raw((_OK + "Content-Length: 5000\r\n\r\n<p>").encode(), "wait"), UNSURE),
        one("drips-head", endless(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a", 0.2), WEAK),
        one("drips-body", endless(f"{_OK}Content-Length: 900000\r\n\r\n".encode(), b"a", 0.2), UNSURE),
        one("resets", lambda call: Reply(0, b"", "reset"), WEAK),
        one("resets-in-body", raw(f"{_OK}Content-Length: 5000\r\n\r\n<p>".encode(), "reset"), UNSURE),
        one("closes", raw(b"", "close", 0), WEAK),
        one("closes-in-head", raw(b"HTTP/1.1 200 OK\r\nContent-", "close"), WEAK),
    ]


def _floods() -> list[Site]:
    piece = b"<p>and so on</p>\n" * 1000
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
    return [
        one("endless-body", endless(f"{_OK}\r\n".encode(), piece), FRESH),
        one("endless-chunks", endless(f"{_OK}Transfer-Encoding: chunked\r\n\r\n".encode(), chunk), FRESH),
        one("huge-length", endless(f"{_OK}Content-Length: 90000000000\r\n\r\n".encode(), piece), FRESH),
        one("endless-headers", endless(b"HTTP/1.1 200 OK\r\n", b"X-More: and so on\r\n" * 500), WEAK),
        one("endless-header", endless(b"HTTP/1.1 200 OK\r\nX-More: ", b"a" * 9000), WEAK),
        one("endless-status", endless(b"HTTP/1.1 200 ", b"O" * 9000), WEAK),
        one("endless-continue", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), WEAK),
        one("gzip-bomb", _bomb("gzip", _gzip_bomb), UNSURE),
        one("deflate-bomb", _bomb("deflate", _deflate_bomb), UNSURE),
        one("brotli-bomb", _bomb("br", _brotli_bomb), UNSURE),
        one("gzip-twice", _bomb("gzip, gzip", _nested_bomb), UNSURE),
        one("endless-404", endless(b"HTTP/1.1 404 Not Found\r\n\r\n", piece, code=404), expected("failing", "dead")),
    ]


def _broken() -> list[Site]:
    body = b"<p>Short</p>"
    coded = f"{_OK}Content-Length: {len(body)}\r\nContent-Encoding: "
    return [
        one("garbage", raw(bytes(range(128, 256)) * 20), WEAK),
        one("another-protocol", raw(b"SSH-2.0-OpenSSH_9.2\r\n"), WEAK),
        one("bad-status", raw(b"HTTP/1.1 abc Fine\r\nContent-Length: 0\r\n\r\n"), WEAK),
        one("length-too-long", raw(f"{_OK}Content-Length: 9000\r\n\r\n".encode() + body), UNSURE),
        one("length-too-short", raw(f"{_OK}Content-Length: 4\r\n\r\n".encode() + body), UNSURE),
        one("length-nonsense", raw(f"{_OK}Content-Length: many\r\n\r\n".encode() + body), UNSURE),
        one("chunks-broken", raw(f"{_OK}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode() + body), UNSURE),
        one("not-gzip", raw(f"{coded}gzip\r\n\r\n".encode() + body), UNSURE),
        one("encoding-unknown", raw(f"{coded}rot13\r\n\r\n".encode() + body), UNSURE),
        one("until-close", raw(f"{_OK}\r\n".encode() + body), FRESH),
        one("old-http", raw(b"HTTP/1.0 200 OK\r\n\r\n" + body), FRESH),
        one("smuggled", raw(message(200, body) + message(404)), UNSURE),
    ]


def _bomb(coding: str, parts: Answer) -> Answer:
    """The first 4 MB of it at once, and more as long as they are taken."""
    head = f"{_OK}Content-Encoding: {coding}\r\n\r\n".encode()

    def answer(call: Call) -> Reply:
        reply = parts(call)
        return Reply(200, head + reply.data, "close", reply.chunks)

    return answer


def _packed(wbits: int) -> tuple[bytes, bytes]:
    """The start of a stream, and a piece that can be repeated: 16 MB of zeros in 16 kB, at a boundary of bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    start = packer.compress(b"<p>") + packer.flush(zlib.Z_FULL_FLUSH)
    return start, packer.compress(bytes(16 * _MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH)


def _repeated(wbits: int) -> Answer:
    start, piece = _packed(wbits)

    def chunks() -> Iterator[bytes]:
        for _ in range(640):  # 10 GB
            yield piece

    return lambda call: Reply(200, start, chunks=chunks)


_gzip_bomb, _deflate_bomb = _repeated(31), _repeated(15)
_brotli = brotli.compress(bytes(64 * _MEGABYTE), quality=3)
_nested = gzip.compress(gzip.compress(bytes(32 * _MEGABYTE), 9), 9)


def _brotli_bomb(call: Call) -> Reply:
    return Reply(200, _brotli)


def _nested_bomb(call: Call) -> Reply:
    return Reply(200, _nested)
