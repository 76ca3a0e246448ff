"""The tables of the state, as numbered steps from an empty file to today's; `sqlite` runs those that are due.

A step is never changed once it has been released: a new need is a new step, with a line that says why.
"""

from __future__ import annotations

NAME = "feedd.db"

VERSION_1 = """
-- What was true for the whole state: fingerprints of the configuration, whether the first scan is done.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- A file that was read, as it was then: stat and digest tell whether it must be read and parsed again.
-- Narrow, and in the order of a scan, so that a scan is a merge of two ordered streams.
CREATE TABLE file (
    path       TEXT PRIMARY KEY,
    mtime_ns   INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    inode      INTEGER NOT NULL,
    digest     BLOB NOT NULL,
    article_id INTEGER                 -- NULL: metadata, or never yet an article
) WITHOUT ROWID;

-- A file that could not be used; the last good version of its article stays published.
CREATE TABLE problem (
    path TEXT PRIMARY KEY, line INTEGER NOT NULL, "column" INTEGER NOT NULL, field TEXT NOT NULL,
    message TEXT NOT NULL, since_at INTEGER NOT NULL
) WITHOUT ROWID;

-- One row for each identity, kept for ever: an article whose file is gone comes back with its id. See plan.Known.
CREATE TABLE article (
    id           INTEGER PRIMARY KEY,
    entry_path   TEXT NOT NULL UNIQUE,
    path         TEXT,
    story        INTEGER NOT NULL,
    original     INTEGER NOT NULL,
    public       INTEGER NOT NULL,
    public_at    INTEGER,
    published_at INTEGER NOT NULL,
    updated_us   INTEGER NOT NULL,
    release_at   INTEGER,
    position     INTEGER,
    editorial    BLOB NOT NULL,
    rendered     BLOB NOT NULL,
    revision     INTEGER NOT NULL,
    copies       INTEGER NOT NULL,
    feeds        BLOB NOT NULL,
    shown_in     BLOB NOT NULL,
    title        TEXT NOT NULL
);
CREATE INDEX article_story ON article (story);
CREATE INDEX article_release ON article (release_at) WHERE release_at IS NOT NULL;
CREATE INDEX article_gone ON article (original) WHERE path IS NULL;

-- What public articles say (model.Article as bytes), apart from what is decided about them.
CREATE TABLE body (article_id INTEGER PRIMARY KEY, data BLOB NOT NULL);

CREATE TABLE feed (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: articles name feeds by it
    kind  TEXT NOT NULL,
    key   TEXT NOT NULL,
    label TEXT NOT NULL,
    slug  TEXT,                        -- assigned once, before the feed is first written
    UNIQUE (kind, key), UNIQUE (kind, slug)
);
CREATE INDEX feed_unnamed ON feed (kind, key) WHERE slug IS NULL;

-- The entries of a feed in its order; the newest N are the end of a range of the key.
CREATE TABLE membership (
    feed_id INTEGER NOT NULL, position INTEGER NOT NULL, article_id INTEGER NOT NULL,
    PRIMARY KEY (feed_id, position, article_id)
) WITHOUT ROWID;

-- Page 0 of a feed is the live one, pages from 1 are its archives, oldest first (RFC 5005).
-- An archive holds the positions above the bound of the page before it, up to its own.
-- `floor`: the lowest position that the live feed showed when it was full, NULL while it was not.
-- dirty_seq counts the changes, built_seq is the change that was last written.
CREATE TABLE document (
    feed_id    INTEGER NOT NULL,
    page       INTEGER NOT NULL,
    bound      INTEGER,
    floor      INTEGER,
    dirty_seq  INTEGER NOT NULL,
    built_seq  INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    entries    INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    written_at INTEGER,
    error      TEXT NOT NULL,
    PRIMARY KEY (feed_id, page)
) WITHOUT ROWID;
CREATE INDEX document_dirty ON document (page, feed_id) WHERE dirty_seq <> built_seq;

-- Names and pictures of topics and providers.
CREATE TABLE metadata (path TEXT PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX metadata_key ON metadata (kind, key);

-- The last changes that readers saw, for the operator.
CREATE TABLE change (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, path TEXT NOT NULL, what TEXT NOT NULL);
"""

VERSION_2 = """
-- The bytes of live documents that hubs were told of, or are about to be: whether there is something new to tell.
CREATE TABLE announced (url TEXT PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID;

-- What WebSub hubs are still to be told. seq counts the changes of a topic while it waits: what was done about one
-- says nothing of the next. See outbox.Ping.
CREATE TABLE outbox (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: an answer may come late
    hub      TEXT NOT NULL,
    url      TEXT NOT NULL,
    feed     TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    since_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_at  INTEGER NOT NULL,
    error    TEXT NOT NULL,
    UNIQUE (hub, url)
);
CREATE INDEX outbox_due ON outbox (hub, next_at, id);
"""

VERSION_3 = """
-- Which state this is, for what is kept elsewhere about its articles.
INSERT INTO meta VALUES ('id', lower(hex(randomblob(8))));

-- Articles whose links may have changed, for link checks to look at.
CREATE TABLE relinked (seq INTEGER PRIMARY KEY AUTOINCREMENT, article_id INTEGER NOT NULL);

-- What readers see of a link's freshness, by normalised URL. See effects.Mark.
CREATE TABLE mark (
    url TEXT PRIMARY KEY, verdict TEXT NOT NULL, since_at INTEGER NOT NULL, target TEXT NOT NULL,
    changed INTEGER NOT NULL
) WITHOUT ROWID;
"""

MIGRATIONS = (VERSION_1, VERSION_2, VERSION_3)
