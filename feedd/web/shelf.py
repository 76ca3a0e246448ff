"""The output folder -> the files in it that may be served, with ETags, from a memory cache of bounded size.

Looks at the file on every request, so that what was just written is served at once. Confines paths. Knows nothing of
HTTP but the names of codings; called by `feeds`, on the event loop alone.
"""

from __future__ import annotations

import os
import stat as mode_bits
import time
from collections import OrderedDict
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

from msgspec import Struct

SUFFIXES = frozenset((".atom", ".rss", ".json", ".opml", ".html", ".css", ".js", ".txt", ".png", ".svg"))
SIBLINGS = {"identity": "", "gzip": ".gz", "br": ".br"}
# The clock of file times ticks slowly. A file that was changed so shortly before it was read may be changed again
# within the same tick, and its stat be the same: what was read so early is read again.
GRAIN_NS = 20_000_000
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FACTS_BYTES = 700  # of memory for one file's facts, with its name and its place in the map
_BODY_BYTES = 250  # beside the bytes themselves


class Facts(Struct, frozen=True, gc=False):
    """What is known of a file without its bytes. The same object as long as the file is the same.

    `name` is relative to the folder, with the sibling's suffix; `size` and `etag` (strong, quoted) are of its own
    bytes, `plain_size` and the times of the file that it stands for.
    """

    name: str
    etag: bytes
    mtime_ns: int
    size: int
    inode: int
    plain_size: int
    sure: bool

    @property
    def mtime_s(self) -> int:
        """Last-Modified, in whole seconds."""
        return self.mtime_ns // 1_000_000_000


class Item(Struct, frozen=True, gc=False):
    """A file with its bytes."""

    data: bytes
    etag: bytes
    mtime_s: int
    mtime_ns: int
    plain_size: int


def confine(path: str) -> str | None:
    """The raw path of a request -> a name below the folder; None where it cannot be one of ours.

    Decoded once. No empty or hidden part, so neither `..` nor temporary files; no control character, no backslash,
    no slash that came encoded. `/` is the index page.
    """
    if path == "/":
        return "index.html"
    lower = path.lower()
    if not path.startswith("/") or "%2f" in lower or "%5c" in lower:
        return None
    try:
        name = unquote_to_bytes(path[1:]).decode()
    except UnicodeError:
        return None
    if "\\" in name or any(c < " " or c == "\x7f" for c in name):
        return None
    if any(not part or part.startswith(".") for part in name.split("/")):
        return None
    return name if os.path.splitext(name)[1] in SUFFIXES else None


class Shelf:
    """The files below `folder`. At most about `max_bytes` of memory: three quarters for bytes, the rest for facts."""

    def __init__(self, folder: str, max_bytes: int = 64 << 20) -> None:
        self._prefix = os.path.join(folder, "")
        self._max_bodies = max_bytes - max_bytes // 4
        self._max_facts = max(16, max_bytes // 4 // _FACTS_BYTES)
        self._facts: OrderedDict[str, Facts] = OrderedDict()
        self._bodies: OrderedDict[str, tuple[Facts, bytes]] = OrderedDict()
        self._size = 0
        self._held: dict[tuple[str, str], Facts | None] | None = None

    @property
    def size(self) -> int:
        """Bytes of memory that the cache holds, nearly."""
        return self._size + len(self._facts) * _FACTS_BYTES

    def hold(self) -> None:
        """What is looked at from now on is not looked at again until `release`.

        For requests that were all there before the first of them is answered: none can tell the difference.
        """
        self._held = {}

    def release(self) -> None:
        """Ends `hold`."""
        self._held = None

    def find(self, path: str, encoding: str = "identity") -> Item | None:
        """What is at the raw path of a request, in this coding; None where there is nothing, or not so coded."""
        name = confine(path)
        while name is not None:
            facts = self.look(name, encoding)
            if facts is None:
                return None
            data = self.read(facts)
            if data is not None:  # else it was replaced in between
                return Item(data, facts.etag, facts.mtime_s, facts.mtime_ns, facts.plain_size)
        return None

    def exists(self, name: str) -> bool:
        """Whether there is a plain file of this name."""
        return self._stat(name) is not None and self._is_inside(name)

    def look(self, name: str, encoding: str = "identity") -> Facts | None:
        """The facts of a name that was confined. Reads the file only if it is new.

        A sibling counts only with the plain file's mtime: after a crash it may be of an older file.
        """
        held = self._held
        if held is None:
            return self._look(name, encoding)
        key = (name, encoding)
        if key not in held:
            held[key] = self._look(name, encoding)
        return held[key]

    def _look(self, name: str, encoding: str) -> Facts | None:
        plain = found = self._stat(name)
        if plain is None or found is None:
            return None
        if encoding != "identity":
            name += SIBLINGS[encoding]
            found = self._stat(name)
            if found is None or found.st_mtime_ns != plain.st_mtime_ns:
                return None
        facts = self._facts.get(name)
        if (
            facts is not None and facts.mtime_ns == found.st_mtime_ns and facts.inode == found.st_ino
            and facts.size == found.st_size and facts.plain_size == plain.st_size and facts.sure
        ):
            self._facts.move_to_end(name)
            return facts
        return self._take(name, plain)

    def read(self, facts: Facts) -> bytes | None:
        """The bytes that go with these facts; None if the file has been replaced since."""
        kept = self._bodies.get(facts.name)
        if kept is not None and kept[0] is facts:
            self._bodies.move_to_end(facts.name)
            return kept[1]
        opened = self._open(facts.name)
        if opened is None or (data := opened[1]) is None or _etag(data) != facts.etag:
            if self._held:
                self._held.clear()
            return None
        self._keep(facts, data)
        return data

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            found = os.lstat(self._prefix + name)
        except (OSError, ValueError):
            return None
        return found if mode_bits.S_ISREG(found.st_mode) else None

    def _take(self, name: str, plain: os.stat_result) -> Facts | None:
        opened = self._open(name)
        if opened is None:
            return None
        found, data = opened
        if found.st_mtime_ns != plain.st_mtime_ns:
            # Replaced since. A plain file is taken as it is now, and siblings will have its new time soon.
            if os.path.splitext(name)[1] not in SUFFIXES:
                return None
            plain = found
        changed_ns = max(found.st_mtime_ns, found.st_ctime_ns)
        sure = not 0 <= time.time_ns() - changed_ns < GRAIN_NS
        facts = Facts(
            name, _etag(data), found.st_mtime_ns, found.st_size, found.st_ino, plain.st_size, sure,
        )
        old = self._facts.get(name)
        if old is not None and (old.etag, old.mtime_ns, old.plain_size) == (
            facts.etag, facts.mtime_ns, facts.plain_size
        ) and (old.inode, old.sure) == (facts.inode, facts.sure):
            facts = old
        self._facts[name] = facts
        self._facts.move_to_end(name)
        while len(self._facts) > self._max_facts:
            self._facts.popitem(last=False)
        self._keep(facts, data)
        return facts

    def _open(self, name: str) -> tuple[os.stat_result, bytes] | None:
        """Stat and bytes of a regular file that is really below the folder."""
        try:
            if not self._is_inside(name):
                return None
            fd = os.open(self._prefix + name, _OPEN)
        except (OSError, ValueError):
            return None
        try:
            found = os.fstat(fd)
            if not mode_bits.S_ISREG(found.st_mode):
                return None
            with os.fdopen(os.dup(fd), "rb", buffering=0) as file:
                return found, file.readall()
        except OSError:
            return None
        finally:
            os.close(fd)

    def _is_inside(self, name: str) -> bool:
        """Whether a name's folder is below ours with all links followed."""
        folder = os.path.realpath(os.path.dirname(self._prefix + name))
        return os.path.join(folder, "").startswith(os.path.join(os.path.realpath(self._prefix), ""))

    def _keep(self, facts: Facts, data: bytes) -> None:
        old = self._bodies.pop(facts.name, None)
        if old is not None:
            self._size -= len(old[1]) + _BODY_BYTES
        if len(data) > self._max_bodies // 4:
            return  # one file must not push out all others
        self._bodies[facts.name] = (facts, data)
        self._size += len(data) + _BODY_BYTES
        while self._size > self._max_bodies:
            _, (_, dropped) = self._bodies.popitem(last=False)
            self._size -= len(dropped) + _BODY_BYTES


def _etag(data: bytes) -> bytes:
    return b'"%s"' % blake2b(data, digest_size=16).hexdigest().encode()
