"""A body as it came, packed by its Content-Encoding -> its first bytes: piece by piece, no more than is wanted.

Pure but for what a stream remembers. A bomb costs what is taken of it. Called by `fetch`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import brotli

Unpack = Callable[[bytes, int], bytes]  # the next packed bytes and how many are wanted (> 0) -> at most so many

CODINGS = "gzip, deflate, br"  # what may be asked for
Error = (zlib.error, brotli.error)  # raised for what is not packed so


def unpacker(coding: str) -> Unpack | None:
    """For the value of a Content-Encoding (RFC 9110, section 8.4); None for what was not asked for.

    Must not be called again once it gave as much as was wanted. What follows the end of the packed data, in a piece of
    its own for br, is passed over.
    """
    match coding.strip().lower():
        case "" | "identity":
            return lambda data, room: data[:room]
        case "gzip" | "x-gzip":
            return _inflater(zlib.MAX_WBITS | 16)
        case "deflate":
            return _of_deflate()
        case "br":
            return _of_brotli()
    return None


def _inflater(window: int) -> Unpack:
    stream = zlib.decompressobj(window)
    return lambda data, room: b"" if stream.eof else stream.decompress(data, room)


def _of_deflate() -> Unpack:
    """Meant is the zlib format (RFC 1950); some send what is in it alone (RFC 1951). The first byte tells which."""
    inflate: Unpack | None = None

    def unpack(data: bytes, room: int) -> bytes:
        nonlocal inflate
        if inflate is None and data:
            inflate = _inflater(zlib.MAX_WBITS if data[0] & 0x8F == 0x08 else -zlib.MAX_WBITS)
        return inflate(data, room) if inflate else b""

    return unpack


def _of_brotli() -> Unpack:
    stream = brotli.Decompressor()

    def unpack(data: bytes, room: int) -> bytes:
        if stream.is_finished():
            return b""
        unpacked: bytes = stream.process(data, output_buffer_limit=room)  # which ends it one buffer late
        return unpacked[:room]

    return unpack
