"""What an article's change means: significance, identity, order, window, and which feeds it touches.

Pure decisions: values and `now` in, values out; called by `intake` (digests, feeds) and `ingest` (everything else).
Reads no file, no clock, no store.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from urllib.parse import quote

import msgspec
from msgspec import Struct

from feedd import model

DIGEST_VERSION = b"\x01"  # part of every digest: a new meaning of "what a subscriber sees" is a new version
TIE_BITS = 30
TIE_MASK = (1 << TIE_BITS) - 1
PLAUSIBLE_FROM = 631_152_000  # 1990: what is earlier is an empty field (the validator: ImplausibleDate)
_pack = msgspec.msgpack.Encoder().encode
_DATE_IN_NAME = re.compile(r"(?:^|/)(\d{4})-(\d\d)-(\d\d)[-_][^/]*$")


class FeedRef(Struct, frozen=True, array_like=True, gc=False):
    """A feed by its kind and key; `label` is how the article spells it."""

    kind: model.FeedKind
    key: str
    label: str


class Rules(Struct, frozen=True):
    """Which feeds an article can be in: the groups that are made, and custom feeds by name, public and private."""

    topics: bool = True
    providers: bool = True
    categories: bool = True
    language: str = "en"
    custom: tuple[tuple[str, model.FeedFilter], ...] = ()
    private: tuple[tuple[str, model.FeedFilter], ...] = ()


class Parsed(Struct, frozen=True, array_like=True, gc=False):
    """All that decisions need of an article that was just parsed; `body` is the Article itself as bytes.

    `body`, `editorial` and `rendered` are empty for an article that is not public.
    `story` and `original` are 63-bit hashes of the story's link and of originalUrl (0: none).
    """

    public: bool
    story: int
    original: int
    published_at: int | None
    updated_at: int | None
    editorial: bytes
    rendered: bytes
    feeds: tuple[FeedRef, ...]
    body: bytes
    title: str


class Known(Struct, frozen=True, array_like=True, gc=False):
    """An article as the store keeps it; the columns of the table, in their order.

    `path` is None once its file is gone. `public_at` is when it was first public. `position` is its place in feeds:
    None while it is in none (not public, held, or a further copy of a story). `release_at` is set while it is held.
    `feeds` are the ids of the feeds it asks for, `shown_in` those where it has an entry, both packed.
    `revision` counts the changes of its rendered bytes; `copies` counts the files of its story, if it is the entry.
    """

    id: int
    entry_path: str
    path: str | None
    story: int
    original: int
    public: bool
    public_at: int | None
    published_at: int
    updated_us: int
    release_at: int | None
    position: int | None
    editorial: bytes
    rendered: bytes
    revision: int
    copies: int
    feeds: bytes
    shown_in: bytes
    title: str


class Shown(Struct, frozen=True, array_like=True, gc=False):
    """What a feed needs of an entry that it shows, apart from what the article says: a part of Known."""

    id: int
    entry_path: str
    story: int
    published_at: int
    updated_us: int
    position: int
    revision: int
    copies: int


def hash63(text: str) -> int:
    """A hash that never changes between runs, versions and machines: 63 bits, never 0."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1 or 1


def digests(article: model.Article) -> tuple[bytes, bytes]:
    """(editorial, rendered): equal digests mean that a subscriber sees the same.

    Left out on purpose, as no feed shows them: heat, quality (scores), type, AMP links, and whether an image is cached.
    """
    a = article
    editorial = blake2b(
        DIGEST_VERSION + _pack((
            a.title, a.url, a.summary, a.published_at, a.updated_at, a.category, a.language, a.original_url,
            a.provider.name, a.provider.domain, a.topics, a.images, a.embed, a.content_html, a.length, a.price,
            a.levels,
        )),
        digest_size=12,
    ).digest()
    shown = [(r.title, r.url, r.provider.name or r.provider.domain, r.published_at) for r in a.related]
    rendered = blake2b(editorial + _pack((a.provider.icon_url, shown)), digest_size=12).digest()
    return editorial, rendered


def story_of(article: model.Article) -> int:
    """The same for two files that tell one story: the link, without what does not tell pages apart.

    Without a link of its own an article is the same story only as one with the same title, date and summary.
    """
    if not article.has_own_url:
        return hash63(f"\0{article.title}\0{article.published_at}\0{article.summary}")
    return link_key(article.url)


def link_key(url: str) -> int:
    """63-bit hash of a URL without scheme, `www.`, fragment and trailing slash; 0 for no URL."""
    if not url:
        return 0
    rest = url.partition("://")[2].partition("#")[0]
    return hash63(rest.removeprefix("www.").rstrip("/"))


def topic_key(name: str) -> str:
    """Topics that differ in case or compatibility forms only are one topic."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFKC", name).casefold()


def feeds_of(article: model.Article, rules: Rules) -> tuple[FeedRef, ...]:
    """Every feed that a public article belongs to."""
    refs = [FeedRef("all", "", "")]
    if rules.topics:
        refs += [FeedRef("topic", key, label) for key, label in _topics(article).items()]
    provider = article.provider
    if rules.providers and (provider.domain or provider.name):
        refs.append(FeedRef("provider", provider.domain or provider.name.casefold(), provider.name or provider.domain))
    if rules.categories and article.category:
        refs.append(FeedRef("category", article.category.casefold(), article.category))
    own: tuple[tuple[model.FeedKind, tuple[tuple[str, model.FeedFilter], ...]], ...] = (
        ("custom", rules.custom), ("private", rules.private),
    )
    for kind, filters in own:
        refs += [FeedRef(kind, name, name) for name, wanted in filters if matches(article, wanted, rules.language)]
    return tuple(refs)


def _topics(article: model.Article) -> dict[str, str]:
    return {topic_key(name): name for name in reversed(article.topics)}


def matches(article: model.Article, wanted: model.FeedFilter, language: str) -> bool:
    """Whether a custom feed takes an article: all of its conditions hold, each for any of its values.

    An article without a score does not reach any minimum; without a language it has the site's.
    """
    topics = {topic_key(name) for name in article.topics}
    providers = {article.provider.domain.casefold(), article.provider.name.casefold()} - {""}
    own_language = (article.language or language).casefold()
    languages = {own_language, own_language.partition("-")[0]}
    pairs = (
        (topics, {topic_key(t) for t in wanted.topics}, {topic_key(t) for t in wanted.not_topics}),
        (providers, _folded(wanted.providers), _folded(wanted.not_providers)),
        ({article.category.casefold()}, _folded(wanted.categories), _folded(wanted.not_categories)),
        ({article.type.casefold()}, _folded(wanted.types), _folded(wanted.not_types)),
        (languages, _folded(wanted.languages), _folded(wanted.not_languages)),
    )
    if any((need and not have & need) or have & refuse for have, need, refuse in pairs):
        return False
    if wanted.min_quality is not None and (article.quality is None or article.quality < wanted.min_quality):
        return False
    if wanted.min_heat is not None and (article.heat is None or article.heat < wanted.min_heat):
        return False
    title = article.title.casefold()
    return not wanted.title_contains or any(text.casefold() in title for text in wanted.title_contains)


def _folded(values: Iterable[str]) -> set[str]:
    return {value.casefold() for value in values}


def summarise(article: model.Article, rules: Rules) -> Parsed:
    """What is kept of an article for decisions."""
    if not article.public:
        editorial = rendered = body = b""
        feeds: tuple[FeedRef, ...] = ()
    else:
        editorial, rendered = digests(article)
        feeds, body = feeds_of(article, rules), _pack(article)
    return Parsed(
        article.public, story_of(article), link_key(article.original_url), article.published_at, article.updated_at,
        editorial, rendered, feeds, body, article.title,
    )


def date_in_name(path: str) -> int | None:
    """The date that leads a file's name (`2026-05-01-title.md`), as seconds; for articles that state none."""
    found = _DATE_IN_NAME.search(path)
    if not found:
        return None
    try:
        return int(datetime(*map(int, found.groups()), tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]
    except ValueError:
        return None


def position(sort_at: int, published_at: int, entry_path: str) -> int:
    """The total order of entries as one integer, the newest highest.

    Seconds first; then, for those that became public together, their own dates; then a hash of the identity.
    """
    tie = hash63(entry_path) & TIE_MASK if sort_at == published_at else min(max(published_at, 0) >> 3, TIE_MASK)
    return (sort_at << TIE_BITS) | tie


def stamp(seconds: int, entry_path: str) -> int:
    """Microseconds of an `updated`: the digits below a second come from the identity, so that entries differ."""
    return seconds * 1_000_000 + hash63(entry_path) % 1_000_000


def decide(old: Known | None, new: Parsed, *, article_id: int, path: str, entry_path: str, feeds: bytes, now: int,
           initial: bool) -> Known:
    """The article's next state, but for what its story decides (position, feeds that show it): see `entry_of`.

    `feeds` are the packed ids of `new.feeds`.

    `initial`: the folder is seen for the first time, so what is public counts as public since its own date.
    An unpublished article keeps its clocks, and comes back with them.
    """
    published_at = _date(new.published_at, new.updated_at, old.published_at if old else None)
    if published_at is None:
        published_at = _date(date_in_name(path), now) or now
    held = new.public and published_at > now
    visible = new.public and not held
    public_at = old.public_at if old else None
    first_time = public_at is None
    if visible and public_at is None:
        released = old is not None and old.release_at == published_at
        public_at = published_at if initial or released else now
    updated_us = old.updated_us if old else 0
    if new.public and first_time:
        updated_us = stamp(min(max(new.updated_at or published_at, published_at), max(now, published_at)), entry_path)
    elif new.public and old and old.editorial != new.editorial:
        updated_us = max(stamp(now, entry_path), updated_us + 1)
    changed = new.public and (old is None or old.rendered != new.rendered)
    return Known(
        id=article_id, entry_path=entry_path, path=path, story=new.story, original=new.original, public=new.public,
        public_at=public_at, published_at=published_at, updated_us=updated_us,
        release_at=published_at if held else None,
        position=old.position if old else None,
        editorial=new.editorial if new.public else (old.editorial if old else b""),
        rendered=new.rendered if new.public else (old.rendered if old else b""),
        revision=(old.revision if old else 0) + changed, copies=old.copies if old else 0, feeds=feeds,
        shown_in=old.shown_in if old else b"", title=new.title,
    )


def _date(*candidates: int | None) -> int | None:
    return next((at for at in candidates if at is not None and at >= PLAUSIBLE_FROM), None)


def place(entry: Known) -> int:
    """The position of an article that is an entry."""
    public_at = entry.public_at if entry.public_at is not None else entry.published_at
    return position(max(entry.published_at, public_at), entry.published_at, entry.entry_path)


def changed_us(entry: Shown) -> int:
    """When a feed last changed because of an entry: its last edit, or its coming."""
    return max(entry.updated_us, (entry.position >> TIE_BITS) * 1_000_000)


def visible(known: Known) -> bool:
    """Whether a reader may see it: its file is there, it is public, and its time has come."""
    return known.path is not None and known.public and known.release_at is None


def entry_of(copies: Sequence[Known]) -> Known | None:
    """Which copy of a story is its entry: the one that was public first; None if none is visible."""
    return min(
        (copy for copy in copies if visible(copy)),
        key=lambda copy: (copy.public_at or 0, copy.entry_path),
        default=None,
    )


def mint(path: str, taken: Iterable[str]) -> str:
    """The identity of an article first seen at `path`; another one's if a renamed article still owns that path."""
    owned = set(taken)
    number, candidate = 2, path
    while candidate in owned:
        candidate, number = f"{path}~{number}", number + 1
    return candidate


def tag_uri(host: str, date: str, entry_path: str) -> str:
    """The entry's id (RFC 4151), the same for ever: nothing but the first path goes into it.

    In NFC, as validators want URIs. A path that is not, as macOS writes them, may have a twin that is: hence the hash.
    """
    if not entry_path.isascii() and (normal := unicodedata.normalize("NFC", entry_path)) != entry_path:
        entry_path = f"{normal}~{hash63(entry_path):016x}"
    return f"tag:{host},{date}:{quote(entry_path, safe='/~!$&()*+,;=:@')}"


def distinct_updated(entries: Sequence[tuple[int, int]]) -> dict[int, int]:
    """(article id, `updated_us`) in a feed's order -> id and another time, where an earlier entry has it.

    The later one steps up by microseconds until it is alone (the validator's DuplicateUpdated).
    """
    taken = {updated_us for _, updated_us in entries}
    seen: set[int] = set()
    out: dict[int, int] = {}
    for article_id, updated_us in entries:
        at = updated_us
        if at in seen:
            while at in taken:
                at += 1
            taken.add(at)
            out[article_id] = at
        seen.add(at)
    return out


def pages_due(uncovered: int, limit: int) -> int:
    """How many archive documents of `limit` entries to close, given the entries that no archive holds yet.

    None while the live feed shows them all (RFC 5005, section 4); then as few as make live and archives complete.
    """
    return max(0, -(-(uncovered - limit) // limit))
