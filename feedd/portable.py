"""What only a state knows -> lines of JSON, and back: who articles are, what feeds are called, what is known of links.

All else is found again: contents in the files of articles, feeds in both. The lines, each an object with a `type`:

`feedd`, the first. `version`: of this format, 1. `made_by`: the version of feedd. `created_at`. `scanned`: the folder
of articles was gone over once; else all that is in it counts as published at its own date when it is first read.

`feed`. `kind` and `key`: which one. `label`: how articles spell it. `slug`: its name in paths and URLs, for good.
`pages`: of its live document, 0, and its archives from 1 on, oldest first: `page`; `bound`, the highest position in
that archive; `updated_us`, the `updated` it showed last. No pages: configuration took it away.

`article`, in the order in which they were first seen, also those that are gone: their ids are never used again.
`entry_path`: the path where it was first seen, which is its id. `path`: where its file is, absent for none. `story`,
`original`: hashes of its link and its originalUrl in hexadecimal, by which it is known again; "0" for none.
`public_at`: when readers first saw it, absent for never. `published_at`. `updated_us`. `release_at`: it is held until
then. `editorial`: a hash of what it said; another one moves its `updated`. `title`, for people.

`link`. `url`, normalised. The rest is `freshness.states.LinkState`, and `Evidence` in its `history`; what is not
there is as in a link of which nothing is known.

`end`, the last, with the number of lines between: a file that was cut off is not imported.

Units: `_at` whole seconds, `_us` microseconds, since 1970 UTC. Bytes are Base64. Called by `feedd export` and `import`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from types import GenericAlias
from typing import IO, Annotated, Any, Final, Union

import msgspec
from msgspec import Meta, Struct, defstruct, structs

from feedd import __version__, errors, model
from feedd.freshness import urls
from feedd.freshness.effects import Mark
from feedd.freshness.states import Evidence, LinkState
from feedd.store import Store, linkrows, open_store
from feedd.store.identities import Identities, Identity, LinkStates, NamedFeed, Page
from feedd.store.links import Links, open_links, target_of
from feedd.store.sqlite import errors_in_words, hold

VERSION: Final = 1
MAX_LINE: Final = 16 << 20  # a feed of a million articles has 20,000 archives
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?")
_HEX = re.compile(r"[0-9a-f]{1,16}")
_LAST_US = 253_402_300_799_999_999  # the end of the year 9999

Progress = Callable[[str, int], None]
_At = Annotated[int, Meta(ge=0, le=_LAST_US // 1_000_000)]
_Us = Annotated[int, Meta(ge=0, le=_LAST_US)]
_Position = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Text = Annotated[str, Meta(max_length=8_192)]


class _Line(Struct, frozen=True, tag_field="type", forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One line; `type` says which."""


class HeadLine(_Line, frozen=True, tag="feedd", gc=False):
    version: int
    made_by: str
    created_at: _At
    scanned: bool


class PageLine(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    page: Annotated[int, Meta(ge=0, le=1 << 40)]
    updated_us: _Us
    bound: _Position | None = None


class FeedLine(_Line, frozen=True, tag="feed", gc=False):
    kind: model.FeedKind
    key: _Text
    label: _Text
    slug: str
    pages: tuple[PageLine, ...] = ()


class ArticleLine(_Line, frozen=True, tag="article", gc=False):
    entry_path: _Text
    story: str
    published_at: _At
    updated_us: _Us
    path: _Text | None = None
    original: str = "0"
    public_at: _At | None = None
    release_at: _At | None = None
    editorial: Annotated[bytes, Meta(max_length=64)] = b""
    title: _Text = ""


class EndLine(_Line, frozen=True, tag="end", gc=False):
    lines: int


def _twin(name: str, value: type[Struct], first: Sequence[tuple[str, Any]] = (), **other: Any) -> Any:
    """A value of the core whose fields bear their names in a line: what is added to it is exported, too."""
    fields: list[Any] = [*first]
    for field in structs.fields(value):
        kind = other.get(field.name, field.type)
        fields.append((field.name, kind) if field.required else (field.name, kind, field.default))
    return defstruct(name, fields, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type",
                     tag="link" if first else None)


_EvidenceLine: Any = _twin("_EvidenceLine", Evidence)
_LinkLine: Any = _twin("_LinkLine", LinkState, [("url", _Text)], history=GenericAlias(tuple, (_EvidenceLine, ...)))
_encode = msgspec.json.Encoder().encode
_line_from: Callable[[bytes], Any] = msgspec.json.Decoder(
    Union[HeadLine, FeedLine, ArticleLine, _LinkLine, EndLine]  # noqa: UP007  # one of them is made as this is read
).decode


class LineError(errors.FeeddError):
    """A line that cannot be imported; `line` is its number, from 1 on."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}; nothing was imported")
        self.line = line


class Imported(Struct, frozen=True):
    """How many of each type of line were taken in, and how many stay as they were."""

    taken: Counter[str]
    kept: Counter[str]


# -- export ------------------------------------------------------------------------------------------------------------


def export(folder: str, out: IO[bytes], *, now: int, progress: Progress) -> int:
    """Writes all of it, whoever works on the state meanwhile; returns the number of lines.

    Raises StateError where there is none.
    """
    count = 0
    with errors_in_words():
        for line in _lines(folder, now):
            out.write(_encode(line) + b"\n")
            count += 1
            progress("lines", 1)
        out.write(_encode(EndLine(count - 1)) + b"\n")
    return count + 1


def _lines(folder: str, now: int) -> Iterator[object]:
    with open_store(folder, read_only=True) as store, store.snapshot():
        own = Identities.of(store)
        yield HeadLine(VERSION, __version__, now, store.find_meta("first_scan") is not None)
        for feed in own.iter_feeds():
            pages = tuple(PageLine(page.page, page.updated_us, page.bound) for page in feed.pages)
            yield FeedLine(feed.kind, feed.key, feed.label, feed.slug, pages)
        for known in own.iter_identities():
            yield ArticleLine(**structs.asdict(known) | {
                "story": f"{known.story:x}", "original": f"{known.original:x}",
            })
    if os.path.exists(os.path.join(folder, linkrows.NAME)):
        with closing(open_links(folder, read_only=True)) as links, links.snapshot():
            for url, state in LinkStates(links).iter_known():
                history = tuple(_EvidenceLine(**structs.asdict(piece)) for piece in state.history)
                yield _LinkLine(url, **structs.asdict(state) | {"history": history})


# -- import ------------------------------------------------------------------------------------------------------------


def take_in(folder: str, source: IO[bytes], *, force: bool, now: int, progress: Progress) -> Imported:
    """Takes in what `export` wrote; the next start reads the articles, and publishes them as who they are.

    What the state knows already stays as it is. With `force`, what is imported wins, and what files say is read anew:
    one that cannot be read now is in no feed until it can.
    All or nothing: raises LineError for the first bad line, StateLockedError while a feedd works on the state,
    StateError where it cannot be used.
    """
    with ExitStack() as held, errors_in_words():
        held.callback(os.close, hold(folder, "links.lock"))
        store = held.enter_context(open_store(folder))
        links = held.enter_context(closing(open_links(folder)))
        taking = _Taking(store, links, now, force)
        with store.transaction(), links.transaction():  # links are safe first: marks are of links that are there
            taking.begin()
            for number, line in enumerate(_numbered(source), 1):
                try:
                    taking.take(line)
                except (ValueError, OverflowError) as error:
                    raise LineError(number, str(error)) from error
                progress("lines", 1)
            taking.end()
    return taking.done


def _numbered(source: IO[bytes]) -> Iterator[Any]:
    """The lines as values; from the first to the last as they must be. Raises LineError."""
    number, line = 0, None
    while data := source.readline(MAX_LINE + 1):
        number += 1
        if len(data) > MAX_LINE:
            raise LineError(number, f"it has more than {MAX_LINE} bytes")
        if isinstance(line, EndLine):
            raise LineError(number, "the line before says that it is the last")
        try:
            line = _line_from(data)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise LineError(number, f"{error}") from error
        if isinstance(line, HeadLine) != (number == 1):
            raise LineError(number, "`feedd` must be the type of the first line, and of no other")
        if isinstance(line, HeadLine) and line.version != VERSION:
            raise LineError(number, f"format {line.version} is not known here, only {VERSION}")
        if isinstance(line, EndLine) and line.lines != number - 2:
            raise LineError(number, f"there should be {line.lines} lines between the first and the last")
        yield line
    if not isinstance(line, EndLine):
        raise LineError(number + 1, "the file ends without a line of the type `end`: it was cut off")


class _Taking:
    """One import, within the transactions of both stores."""

    def __init__(self, store: Store, links: Links, now: int, force: bool) -> None:
        self._store, self._links, self._now, self._force = store, links, now, force
        self._own, self._states = Identities.of(store), LinkStates(links)
        self._is_first = not self._states.has_known()
        self.done = Imported(Counter(), Counter())

    def begin(self) -> None:
        """Before the first line."""
        self._own.begin_import()
        if self._force:
            self._own.forget_contents()

    def end(self) -> None:
        """After the last."""
        self._store.put_meta("listing", "")
        if self._is_first:
            self._own.put_told(self._links)

    def take(self, line: Any) -> None:
        """Takes a line in, or leaves what is there. Raises ValueError for what no feedd would have written."""
        match line:
            case FeedLine():
                self._note("feeds", self._take_feed(line))
            case ArticleLine():
                self._note("articles", self._take_article(line))
            case HeadLine(scanned=True) if self._store.find_meta("first_scan") is None:
                self._store.put_meta("first_scan", str(self._now))
            case _LinkLine():
                self._note("links", self._take_link(line))

    def _note(self, what: str, taken: bool) -> None:
        (self.done.taken if taken else self.done.kept)[what] += 1

    def _claim(self, what: str, key: str) -> None:
        if not self._own.claim(what, key):
            raise ValueError(f"a line before has the same {what}: {key!r}")

    def _take_feed(self, line: FeedLine) -> bool:
        if not _SLUG.fullmatch(line.slug) or ".." in line.slug:
            raise ValueError(f"slug: {line.slug!r} cannot be the name of a file")
        bounds = [page.bound for page in line.pages[1:]]
        known = [bound for bound in bounds if bound is not None]
        if [page.page for page in line.pages] != list(range(len(line.pages))) or known != bounds \
                or known != sorted(set(known)) or (line.pages and line.pages[0].bound is not None):
            raise ValueError("pages: 0 and then archives from 1 on, each with a higher bound than the one before")
        self._claim("feed", f"{line.kind}/{line.key}")
        self._claim("slug", f"{line.kind}/{line.slug}")
        pages = tuple(Page(page.page, page.bound, page.updated_us) for page in line.pages)
        return self._own.put_feed(NamedFeed(line.kind, line.key, line.label, line.slug, pages), force=self._force)

    def _take_article(self, line: ArticleLine) -> bool:
        self._claim("entry_path", _path("entry_path", line.entry_path))
        if line.path is not None:
            self._claim("path", _path("path", line.path))
        known = Identity(
            line.entry_path, line.path, _hash("story", line.story), _hash("original", line.original), line.public_at,
            line.published_at, line.updated_us, line.release_at, line.editorial, line.title,
        )
        return self._own.put_identity(known, force=self._force)

    def _take_link(self, line: Any) -> bool:
        url = urls.normalise(line.url)
        if not url:
            raise ValueError(f"url: {line.url!r} is no link to http or https")
        self._claim("url", url)
        fields = {name: getattr(line, name) for name in LinkState.__struct_fields__}
        fields["history"] = tuple(Evidence(**structs.asdict(piece)) for piece in line.history)
        state = LinkState(**fields)
        taken = self._states.put_known(url, state, self._now, force=self._force)
        if taken:
            mark = Mark(state.verdict, state.since_at, target_of(state), bool(state.changed_at))
            self._store.marks.put_marks([(url, mark)])
        return taken


def _path(field: str, path: str) -> str:
    """A path as articles have it: relative, and leading nowhere else."""
    if not path or "\0" in path or {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"{field}: {path!r} is no path of an article")
    return path


def _hash(field: str, text: str) -> int:
    if not _HEX.fullmatch(text) or (number := int(text, 16)) >= 1 << 63:
        raise ValueError(f"{field}: {text!r} is no hexadecimal number of 63 bits")
    return number
