"""The output folder -> feeds as they are now, each read once per change, with the version that stands for the bytes.

Keeps a bounded amount of bytes. Used by the hub's thread alone.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from msgspec import Struct

from feedd.hub import protocol
from feedd.hub.subscriptions import Subscriptions, Topic

_KEPT_BYTES = 16 << 20
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Content(Struct, frozen=True, gc=False):
    """A feed and its bytes: those of `topic.version`."""

    topic: Topic
    data: bytes


class Contents:
    """Feeds that are subscribed to. `on_new` is called with a topic's id where its bytes are not those known before."""

    def __init__(
        self, out_folder: str, public_url: str, store: Subscriptions, on_new: Callable[[int], None]
    ) -> None:
        self._out, self._public_url, self._store, self._on_new = out_folder, public_url, store, on_new
        self._kept: OrderedDict[str, Content] = OrderedDict()
        self._bytes = 0

    def get(self, url: str) -> Content | None:
        """A feed as it was when last looked at; None where it has no file."""
        found = self._kept.get(url)
        if found is None:
            return self.look(url)
        self._kept.move_to_end(url)
        return found

    def look(self, url: str, *, is_wanted: bool = False) -> Content | None:
        """A feed as it is on disk; None where it has no file, or where nobody subscribes, unless it `is_wanted`."""
        before = self._store.find_topic(url)
        if before is None and not is_wanted:
            return None
        name = protocol.topic_name(url, self._public_url)
        data = None if name is None else _read(os.path.join(self._out, name))
        self._forget(url)
        if data is None:
            return None
        digest = blake2b(data, digest_size=16).digest()
        topic = before if before and before.digest == digest else self._store.put_topic(url, digest)
        content = Content(topic, data)
        self._keep(content)
        if before and before.version != topic.version:
            self._on_new(topic.id)
        return content

    def _keep(self, content: Content) -> None:
        self._kept[content.topic.url] = content
        self._bytes += len(content.data)
        while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.data)

    def _forget(self, url: str) -> None:
        found = self._kept.pop(url, None)
        if found is not None:
            self._bytes -= len(found.data)


def is_topic(url: str, public_url: str, out_folder: str) -> bool:
    """Whether a URL is that of a feed that is there now."""
    name = protocol.topic_name(url, public_url)
    return name is not None and os.path.isfile(os.path.join(out_folder, name))


def _read(path: str) -> bytes | None:
    """All of a file; None where it cannot be had. Feeds are replaced as a whole, so what is opened is whole."""
    try:
        with open(os.open(path, _OPEN), "rb") as file:
            return file.read()
    except OSError:
        return None
