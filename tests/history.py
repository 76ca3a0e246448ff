"""A made-up history of a folder of articles, of the nature of real ones.

Its rewrites are nearly all without effect: opaque data, scores. Beside those, `published` flaps, related links come and
go, URLs, providers and dates change, files move, leave, return and break. The same seed makes the same history. Knows
nothing of feedd; what must follow from a history is the business of `history_oracle`, and `replay` replays it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, Literal

START = 1_700_000_000
DAY = 86_400
_UNSEEN_OF_RELATED = ("score", "picture", "amp")

# Of 21,166 real rewrites, 53.5 % changed `secured`, 29.9 % scores, 12.1 % related links, 2.9 % what editors write.
WEIGHTS = {
    "secured": 53.5, "scores": 29.9, "related": 12.1, "editorial": 1.5, "url": 0.6, "provider": 0.4, "date": 0.4,
    "layout": 0.5, "amp": 0.3, "type": 0.2,
}  # fmt: skip
FLAPPING = 0.23  # of files, each up to 12 times
STEPS_S = (0, 45, 600, 3_600, 6 * 3_600, DAY, 2 * DAY)  # between two commits, besides up to a minute

_TOPICS = ("AI", "Computer Vision", "Robotics", "Language", "C++", "Café culture", "Ethics", "Chips")
_OUTLETS = (
    ("Harbour Post", "harbourpost.example"), ("Tide & Tech", "www.tideandtech.example"), ("", "nameless.example"),
    ("Daily Buoy", "dailybuoy.example"), ("The Keel", "keel.example"), ("Lagoon", "lagoon.example"),
    ("Pier Review", "pier.example"),
)  # fmt: skip
_NOUNS = ("model", "harbour", "robot", "chip", "court", "river", "school", "archive", "engine", "island", "clerk")
_VERBS = ("learns", "leaves", "reads", "finds", "sells", "builds", "forgets", "measures", "repairs", "names")


@dataclass(frozen=True)
class Put:
    """A file is written, new or over the one there."""

    path: str
    text: str


@dataclass(frozen=True)
class Move:
    """A file is renamed."""

    path: str
    to: str


@dataclass(frozen=True)
class Drop:
    """A file is removed."""

    path: str


Operation = Put | Move | Drop


@dataclass(frozen=True)
class Commit:
    """What happens to the folder at one moment; `at` in seconds since 1970."""

    at: int
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class History:
    """The first commit is the folder as feedd first sees it. `kinds`: how many rewrites of which kind there are."""

    commits: tuple[Commit, ...]
    kinds: dict[str, int]

    @property
    def rewrites(self) -> int:
        """Of files that were there before."""
        return sum(self.kinds.values())


@dataclass
class _Draft:
    """An article while the history is made up."""

    title: str
    excerpt: str
    published_at: int
    web_url: str
    provider: int
    topics: list[str]
    category: str = "news"
    original_url: str = ""
    amp: int = 0
    type: str = "article"
    quality: int = 50
    heat: str = "60"
    published: bool | None = True
    removed: str = ""
    icon: int = 0
    images: list[tuple[str, int, int, str]] = field(default_factory=list)
    related: list[dict[str, Any]] = field(default_factory=list)
    secured: str = ""
    layout: int = 0
    flips_left: int = 0
    broken: bool = False


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _moment(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _related_lines(story: dict[str, Any]) -> Iterator[str]:
    name, domain = _OUTLETS[story["provider"]]
    yield f"  - title: {_quoted(story['title'])}"
    yield f"    excerpt: {_quoted('About ' + story['title'])}"
    if story["published_at"]:
        yield f"    publishedDateTime: {_moment(story['published_at'])}"
    if story["url"]:
        yield f"    webUrl: {_quoted(story['url'])}"
    if story["amp"]:
        yield f"    ampWebUrl: {_quoted(story['url'] + 'amp/')}"
    yield "    type: article"
    yield "    provider:"
    if name:
        yield f"      name: {name}"
    yield f"      domain: {domain}"
    yield f"    quality: {story['score']}"
    if story["picture"]:
        yield "    images:"
        yield f"      - url: {_quoted('https://images.example/related-' + str(story['picture']) + '.jpg')}"
        yield "        width: 991"


def _blocks(draft: _Draft) -> Iterator[list[str]]:
    """The front matter, block by block, as the publisher's machine writes it."""
    name, domain = _OUTLETS[draft.provider]
    yield [f"category: {draft.category}"]
    yield [f"title: {draft.title if draft.broken else _quoted(draft.title)}{': and more' if draft.broken else ''}"]
    yield [f"excerpt: {_quoted(draft.excerpt)}"]
    yield [f"publishedDateTime: {_moment(draft.published_at)}"]
    if draft.original_url:
        yield [f"originalUrl: {_quoted(draft.original_url)}"]
    if draft.web_url:
        yield [f"webUrl: {_quoted(draft.web_url)}"]
    if draft.amp:
        yield [f"ampWebUrl: {_quoted(f'https://{domain}/amp/{draft.amp}/')}"]
    yield [f"type: {draft.type}"]
    yield [f"quality: {draft.quality}"]
    yield [f"heat: {draft.heat}".rstrip()]
    if draft.published is not None:
        yield [f"published: {str(draft.published).lower()}"]
    if draft.removed:
        yield [f"{draft.removed}: true"]
    provider = ["provider:", *([f"  name: {name}"] if name else []), f"  domain: {domain}"]
    if draft.icon:
        icon = f"https://images.example/{domain}-{draft.icon}-50x50.jpg"
        provider += ["  images:", f"    - url: {_quoted(icon)}", "      width: 50", "      height: 50"]
    yield ["", *provider]
    yield ["", "topics:", *(f"  - {topic}" for topic in draft.topics)]
    if draft.images:
        lines = ["", "images:"]
        for url, width, height, title in draft.images:
            lines += [f"  - url: {_quoted(url)}", f"    width: {width}", f"    height: {height}"]
            lines += ["    isCached: true"] if draft.layout % 2 else []
            lines += [f"    title: {_quoted(title)}"] if title else []
        yield lines
    if draft.related:
        yield ["", "related:", *(line for story in draft.related for line in _related_lines(story))]
    yield ["", f"secured: {_quoted(draft.secured)}"]


def _text(draft: _Draft) -> str:
    blocks = list(_blocks(draft))
    if draft.layout > 1:  # the machine was changed: another order of keys, and no empty lines
        blocks = [[line for line in block if line] for block in blocks[::-1]]
    return "\n".join(["---", *(line for block in blocks for line in block), "---", ""])


class _Writer:
    """Makes a history up, commit by commit."""

    def __init__(self, seed: int, articles: int) -> None:
        self._rng = Random(seed)
        self._now = START
        self._number = 0
        self._live: dict[str, _Draft] = {}
        self._lost: list[tuple[str, _Draft]] = []
        self._touched: set[str] = set()
        self.kinds: Counter[str] = Counter()
        self._operations: list[Operation] = []
        for _ in range(articles):
            self._create(initial=True)
        for topic in _TOPICS[:3]:
            self._describe("topics", topic)
        self._describe("organizations", _OUTLETS[0][1])
        self.commits = [self._commit()]

    # -- commits ---------------------------------------------------------------------------------------------------

    def write(self, commits: int, rewrites: float) -> None:
        """Adds commits, each of `rewrites` ordinary ones on average and, in proportion, of something rarer."""
        rare: list[tuple[float, Callable[[], None]]] = [
            (0.15, self._create), (0.30, self._flip), (0.05, self._drop), (0.06, self._return), (0.07, self._rename),
            (0.03, self._copy), (0.05, self._break), (0.10, self._mend), (0.05, self._redescribe),
        ]  # fmt: skip
        for _ in range(commits):
            self._now += self._rng.choice(STEPS_S) + self._rng.randint(1, 60)
            for likely, happen in rare:
                if self._rng.random() < likely * rewrites / 12:
                    happen()
            for _ in range(self._rng.randint(0, round(2 * rewrites))):
                self._rewrite()
            if self._operations:
                self.commits.append(self._commit())

    def _commit(self) -> Commit:
        operations, self._operations, self._touched = tuple(self._operations), [], set()
        return Commit(self._now, operations)

    def _put(self, path: str, draft: _Draft) -> None:
        self._live[path] = draft
        self._touched.add(path)
        self._operations.append(Put(path, _text(draft)))

    def _pick(self, wanted: Callable[[_Draft], bool] = lambda draft: not draft.broken) -> str | None:
        paths = [path for path, draft in self._live.items() if path not in self._touched and wanted(draft)]
        return self._rng.choice(paths) if paths else None

    def _sentence(self) -> str:
        rng = self._rng
        self._number += 1
        odd = rng.choice(("", "", "", "", " &amp; more", " &#8217;round the bay", " – ça va", " at 50%"))
        return f"A {rng.choice(_NOUNS)} {rng.choice(_VERBS)} the {rng.choice(_NOUNS)} {self._number}{odd}"

    # -- files that come, go, move and break -----------------------------------------------------------------------

    def _create(self, initial: bool = False) -> None:
        rng = self._rng
        ago = rng.randrange(0, 60 * DAY) if initial else rng.choice((0, 1, 3_600, DAY, 14 * DAY, -5 * 3_600, -2 * DAY))
        at = self._now - ago
        if initial and self._live and rng.random() < 0.2:  # many items share one second
            at = rng.choice(list(self._live.values())).published_at
        if initial and rng.random() < 0.03:
            at = self._now + rng.randrange(1, 5 * DAY)
        provider, title = rng.randrange(len(_OUTLETS)), self._sentence()
        url = f"https://{_OUTLETS[provider][1]}/{self._number}/"
        no_url = rng.random() < 0.06
        draft = _Draft(
            title, rng.choice((f"About {title}.", f"About {title}.", "")), at, "" if no_url else url, provider,
            self._topics(0.5 if at > self._now else 0.1), category=rng.choice(("news", "news", "news", "videos")),
            original_url=rng.choice(("", url)) if no_url else rng.choice(("", url, url + "?from=feed")),
            published=rng.choices((True, None, False), (60, 25, 15))[0], icon=rng.choice((0, 1)),
            secured=rng.randbytes(30).hex(), flips_left=rng.randint(1, 12) if rng.random() < FLAPPING else 0,
            removed=rng.choices(("", "removed", "deleted"), (96, 2, 2))[0],
        )  # fmt: skip
        draft.images = [self._image() for _ in range(rng.choice((0, 1, 1, 2)))]
        draft.related = [self._story() for _ in range(rng.choice((0, 0, 1, 2, 4)))]
        self._put(f"_news/{datetime.fromtimestamp(at, UTC):%Y-%m-%d}-{self._number}.md", draft)

    def _topics(self, likely: float) -> list[str]:
        """Now and then one that is new."""
        rare = [f"Affair {self._number}"] if self._rng.random() < likely else []
        return self._rng.sample(_TOPICS, self._rng.randint(1, 3)) + rare

    def _image(self) -> tuple[str, int, int, str]:
        self._number += 1
        url = self._rng.choice(("https://images.example/", "/assets/images/")) + f"{self._number}.jpg"
        return url, self._rng.choice((636, 1200)), 382, self._rng.choice(("", f"Picture {self._number}"))

    def _story(self) -> dict[str, Any]:
        rng, title = self._rng, self._sentence()
        return {
            "title": title, "url": rng.choice(("", *4 * [f"https://stories.example/{self._number}/"])),
            "published_at": rng.choice((0, self._now - rng.randrange(DAY))), "provider": rng.randrange(len(_OUTLETS)),
            "score": rng.randrange(120), "picture": 0, "amp": False,
        }  # fmt: skip

    def _drop(self) -> None:
        if path := self._pick():
            self._touched.add(path)
            self._lost.append((path, self._live.pop(path)))
            self._operations.append(Drop(path))

    def _return(self) -> None:
        """At the old place or at another one, as it was or edited."""
        if self._lost and self._lost[0][0] not in self._touched:
            path, draft = self._lost.pop(0)
            if self._rng.random() < 0.4:
                path = f"_news/returned/{path.rpartition('/')[2]}"
            if self._rng.random() < 0.5:
                draft.excerpt = self._sentence()
            if path not in self._live:
                self._put(path, draft)

    def _rename(self) -> None:
        if path := self._pick():
            folder, _, name = path.rpartition("/")
            to = f"{self._rng.choice(('_news/moved', folder))}/{self._number}-{name[-40:]}"
            self._number += 1
            draft = self._live.pop(path)
            self._touched |= {path, to}
            self._operations.append(Move(path, to))
            self._live[to] = draft
            if self._rng.random() < 0.5:  # and edited on the way, with the link kept
                draft.title = self._sentence()
                self._operations.append(Put(to, _text(draft)))

    def _copy(self) -> None:
        """One story in two files: by another provider, in other topics, under nearly the same link."""
        if path := self._pick(lambda draft: draft.web_url.endswith("/") and draft.published is not False):
            draft, rng = self._live[path], self._rng
            self._number += 1
            twin = _Draft(
                draft.title, draft.excerpt, draft.published_at,
                draft.web_url.rstrip("/") + rng.choice(("", "/", "/#top")), rng.randrange(len(_OUTLETS)),
                rng.sample(_TOPICS, 2), original_url=rng.choice(("", "https://o.example/1")), secured="0" * 60,
            )  # fmt: skip
            self._put(f"_games/{self._number}.md", twin)

    def _break(self) -> None:
        """The unquoted colon that breaks YAML."""
        if path := self._pick():
            self._live[path].broken = True
            self.kinds["broken"] += 1
            self._put(path, self._live[path])

    def _mend(self) -> None:
        if path := self._pick(lambda draft: draft.broken):
            self._live[path].broken = False
            self.kinds["mended"] += 1
            self._put(path, self._live[path])

    def _describe(self, kind: Literal["topics", "organizations"], key: str) -> None:
        """Writes metadata of a topic or a provider, each time of other words."""
        self._number += 1
        slug = key.lower().replace(" ", "-")
        picture = f"/assets/{slug}-{self._number % 3}-50x50.jpg"
        lines = [
            f"name: {key}" if kind == "topics" else f"name: {_quoted(f'The outlet {self._number % 4}')}",
            *([] if kind == "topics" else [f"domain: {key}"]), f"_id: {slug}", f"keywords: [one, {self._number}]",
            f"description: {_quoted(f'All of it, part {self._number % 2}')}",
            "images:", f"  - url: {picture}", "    width: 50", "    height: 50",
        ]  # fmt: skip
        path = f"_data/{kind}/{slug}.{'yaml' if kind == 'topics' else 'md'}"
        self._touched.add(path)
        body = "\n".join([*lines, ""])
        self._operations.append(Put(path, body if kind == "topics" else f"---\n{body}---\n"))

    def _redescribe(self) -> None:
        key = self._rng.choice((*_TOPICS[:4], _OUTLETS[0][1]))
        self._describe("topics" if key in _TOPICS else "organizations", key)

    def _flip(self) -> None:
        if path := self._pick(lambda draft: draft.flips_left > 0 and not draft.broken):
            draft = self._live[path]
            draft.flips_left -= 1
            draft.published = draft.published is False
            self.kinds["flip"] += 1
            self._put(path, draft)

    def _rewrite(self) -> None:
        path = self._pick()
        if path is None:
            return
        draft, rng = self._live[path], self._rng
        kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        draft.secured = rng.randbytes(30).hex()
        if kind == "scores":
            draft.quality, draft.heat = rng.randrange(140), rng.choice(("", "-1", str(rng.randrange(300))))
        elif kind == "related":
            self._relate(draft)
        elif kind == "editorial":
            self._edit(draft)
        elif kind == "url":
            self._number += 1
            draft.web_url = f"https://{_OUTLETS[draft.provider][1]}/{self._number}/"
        elif kind == "provider":
            draft.provider = rng.randrange(len(_OUTLETS))
            draft.icon = rng.randrange(3)
        elif kind == "date":
            draft.published_at = self._now + rng.choice((-30 * DAY, -DAY, -3_600, -60, 3_600, DAY))
        elif kind == "layout":
            draft.layout = rng.randrange(4)
            draft.published = None if draft.published is True else draft.published
        elif kind == "amp":
            draft.amp = rng.randrange(100)
        elif kind == "type":
            draft.type = rng.choice(("article", "video", "post"))
        self.kinds[kind] += 1
        self._put(path, draft)

    def _edit(self, draft: _Draft) -> None:
        rng = self._rng
        what = rng.choice(("title", "excerpt", "topics", "images", "category", "original", "removed"))
        if what == "title":
            draft.title = self._sentence()
        elif what == "excerpt":
            draft.excerpt = self._sentence()
        elif what == "topics":
            draft.topics = self._topics(0.1)
        elif what == "images":
            draft.images = [self._image() for _ in range(rng.choice((0, 1, 2)))]
        elif what == "category":
            draft.category = rng.choice(("news", "videos"))
        elif what == "original":
            draft.original_url = f"https://o.example/{self._number}"
        else:
            draft.removed = "" if draft.removed else rng.choice(("removed", "deleted"))

    def _relate(self, draft: _Draft) -> None:
        """Related stories come, go, change places, or are told otherwise; half of it no feed shows."""
        rng, stories = self._rng, draft.related
        what = rng.choice(("come", "go", "order", "title", "url", "published_at", "provider", *2 * _UNSEEN_OF_RELATED))
        if what == "come" or not stories:
            stories.insert(rng.randint(0, len(stories)), self._story())
            return
        story = rng.choice(stories)
        if what == "go":
            stories.remove(story)
        elif what == "order":
            rng.shuffle(stories)
        elif what == "title":
            story["title"] = self._sentence()
        elif what == "url":
            story["url"] = rng.choice(("", f"https://stories.example/{self._number}/again/"))
        elif what == "published_at":
            story["published_at"] = self._now - rng.randrange(DAY)
        elif what == "amp":
            story["amp"] = not story["amp"]
        else:
            story[what] = rng.randrange(len(_OUTLETS))


def make(*, seed: int, articles: int, commits: int, rewrites: float) -> History:
    """A history of that many commits, with `rewrites` ordinary rewrites in each on average; always the same."""
    writer = _Writer(seed, articles)
    writer.write(commits, rewrites)
    return History(tuple(writer.commits), dict(writer.kinds))
