"""The tables of links.sqlite, as numbered steps like those of `schema`, and the values that its rows are read as.

What is known of a link is `freshness.states.LinkState`, a column for each field; here is what stands around it.
Called by `links` and `linkuses`; the values are for all.
"""

from __future__ import annotations

from msgspec import Struct

from feedd.freshness.states import LinkState, Verdict

NAME = "links.sqlite"
VERSION_1 = """
-- `id`: made at random with the database. Who notes how far they read notes of which database.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('id', lower(hex(randomblob(8))));

-- One row for each normalised URL. uses: the articles that have it; feed_uses: those of them that are in a feed.
-- unused_at: since when no article has it; such a link is never due. lapses_at: when it is fresh no more; else 0.
CREATE TABLE link (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: an answer may come late
    url               TEXT NOT NULL UNIQUE,
    host              TEXT NOT NULL,
    uses              INTEGER NOT NULL,
    feed_uses         INTEGER NOT NULL,
    unused_at         INTEGER NOT NULL,
    lapses_at         INTEGER NOT NULL,
    verdict           TEXT NOT NULL,
    since_at          INTEGER NOT NULL,
    verified_at       INTEGER NOT NULL,
    checked_at        INTEGER NOT NULL,
    next_check_at     INTEGER NOT NULL,
    strikes           INTEGER NOT NULL,
    strike_at         INTEGER NOT NULL,
    weak_days         INTEGER NOT NULL,
    weak_at           INTEGER NOT NULL,
    first_failed_at   INTEGER NOT NULL,
    status            INTEGER NOT NULL,
    final_url         TEXT NOT NULL,
    moved_at          INTEGER NOT NULL,
    etag              TEXT NOT NULL,
    last_modified     TEXT NOT NULL,
    fingerprint       BLOB NOT NULL,
    other_fingerprint BLOB NOT NULL,
    changed_at        INTEGER NOT NULL,
    interval_days     INTEGER NOT NULL,
    archive_url       TEXT NOT NULL,
    by_hand           TEXT NOT NULL,
    history           BLOB NOT NULL
);
-- Each answers its question by itself: a row with its history is long, and there may be a million. For that it needs
-- `uses`, too, although its condition says enough of it.
CREATE INDEX link_due ON link (next_check_at, id, host, uses) WHERE uses > 0;
CREATE INDEX link_verdict ON link (verdict, id, host, uses) WHERE uses > 0;
CREATE INDEX link_lapse ON link (lapses_at, id, host, uses) WHERE lapses_at > 0 AND uses > 0;
CREATE INDEX link_unused ON link (unused_at) WHERE uses = 0;

-- Which article has which link, and whether it is in a feed.
CREATE TABLE use (
    link_id INTEGER NOT NULL, article_id INTEGER NOT NULL, in_feed INTEGER NOT NULL,
    PRIMARY KEY (link_id, article_id)
) WITHOUT ROWID;
CREATE INDEX use_article ON use (article_id, link_id, in_feed);

-- What is remembered of a host between runs; see Host.
CREATE TABLE host (
    host          TEXT PRIMARY KEY,
    last_at       INTEGER NOT NULL,
    pause_until   INTEGER NOT NULL,
    breaker_until INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    rests         INTEGER NOT NULL,
    robots_status INTEGER NOT NULL,
    robots_at     INTEGER NOT NULL,
    robots        BLOB NOT NULL,
    made_up_at    INTEGER NOT NULL,
    made_up       BLOB NOT NULL
) WITHOUT ROWID;

-- Changes of what readers may see of a link, for publishing and for the operator. With an article: what began to have
-- a link of which something is known already.
CREATE TABLE news (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, link_id INTEGER NOT NULL, article_id INTEGER,
    was TEXT NOT NULL, now TEXT NOT NULL
);
CREATE INDEX news_link ON news (link_id);
CREATE INDEX news_verdict ON news (seq) WHERE article_id IS NULL;

-- The last runs; counts are JSON.
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT, started_at INTEGER NOT NULL, finished_at INTEGER NOT NULL, by TEXT NOT NULL,
    counts TEXT NOT NULL
);
"""
MIGRATIONS = (VERSION_1,)


class Link(Struct, frozen=True, array_like=True, gc=False):
    """A link as it is kept. `host` is what `freshness.urls.host_of` says; `in_feed`: an article in a feed has it."""

    id: int
    url: str
    host: str
    uses: int
    in_feed: bool
    state: LinkState


class Mark(Struct, frozen=True, array_like=True, gc=False):
    """What readers may see of a link. `target`: where a moved one went, or the archived copy of a dead one."""

    link_id: int
    url: str
    verdict: Verdict
    since_at: int
    target: str
    changed_at: int


class News(Struct, frozen=True, array_like=True, gc=False):
    """That a link went from the verdict `was` to `now` (the same where only its target is another), and its mark today.

    `articles`: who has it today; or, where `began`, the one article that began to.
    """

    seq: int
    at: int
    was: Verdict
    now: Verdict
    began: bool
    articles: tuple[int, ...]
    mark: Mark


class Host(Struct, frozen=True, array_like=True, gc=False):
    """What is remembered of a host between runs; 0 and empty: never, none.

    `last_at`: when it was last asked. `pause_until`: it asked to be left alone so long; `breaker_until`: it is left
    alone after `failures` weak ones in a row, the `rests`-th time since it did well. `robots`: the robots.txt as read,
    `robots_status` its answer's. `made_up`: what it says to a made-up path, as `freshness` packs it.
    """

    host: str
    last_at: int = 0
    pause_until: int = 0
    breaker_until: int = 0
    failures: int = 0
    rests: int = 0
    robots_status: int = 0
    robots_at: int = 0
    robots: bytes = b""
    made_up_at: int = 0
    made_up: bytes = b""


class Trouble(Struct, frozen=True, array_like=True, gc=False):
    """A host that troubles the operator: how many of its links are what, and what is the matter now."""

    host: str
    dead: int
    failing: int
    blocked: int
    failures: int
    pause_until: int
    breaker_until: int


class Run(Struct, frozen=True, array_like=True, gc=False):
    """A run of checks, started by `by`. `finished_at` is 0 for one that is not at its end, or was killed."""

    id: int
    started_at: int
    finished_at: int
    by: str
    counts: dict[str, int]
