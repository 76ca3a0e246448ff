"""What is known of every link, who has it, when it is due, and what publishing is to hear of it: a database of its own.

Apart from the state of publishing, so that neither waits for the other, and kept when that is made anew. What the rows
mean is decided in `freshness`. Called by `linkcheck`, which writes, by `publish` and by what the operator looks at.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

import msgspec

from feedd import errors
from feedd.freshness import judge
from feedd.freshness.states import LinkState, Verdict
from feedd.store import linkrows
from feedd.store.database import as_torn, move_aside
from feedd.store.linkrows import Host, Link, Mark, News, Run, Trouble
from feedd.store.linkuses import LINK, LinkUses, columns, link_from

NAME = linkrows.NAME
KEEP_UNUSED_S: Final = 90 * 86_400
KEEP_RUNS: Final = 100
_PAGE: Final = 1_000
_LAST: Final = (1 << 63) - 1
_FIRST: Final = (1, 0)  # before all links that are due, in their order; next_check_at is 0 for those that never are

_DUE = "uses > 0 AND next_check_at > 0 AND next_check_at <= ?"

_TARGET = "CASE link.verdict WHEN 'moved' THEN link.final_url WHEN 'dead' THEN link.archive_url ELSE '' END"
_MARK = f"link.id, link.url, link.verdict, link.since_at, {_TARGET}, link.changed_at"
_NEWS = (
    f"SELECT news.seq, news.at, news.was, news.now, news.article_id, {_MARK}, "
    "(SELECT group_concat(article_id) FROM use WHERE use.link_id = link.id AND news.article_id IS NULL) "
    "FROM news CROSS JOIN link ON link.id = news.link_id"
)
_FIELDS = ", ".join(f"{name} = ?" for name in LinkState.__struct_fields__[1:])  # all but the verdict
_SAME_VERDICT = f"UPDATE link SET {_FIELDS}, lapses_at = ? WHERE id = ?"
_OTHER_VERDICT = f"UPDATE link SET verdict = ?, {_FIELDS}, lapses_at = ? WHERE id = ?"
_counts_from = msgspec.json.Decoder(dict[str, int]).decode
_values = msgspec.structs.astuple


@as_torn()
def open_links(folder: str, *, read_only: bool = False, wait_s: float = 5.0) -> Links:
    """The links in the state folder, made or migrated if need be. `wait_s`: for others who write at the same time.

    Raises StateTooNewError for a newer feedd's, StateError where there are none to read or none can be kept,
    sqlite3.DatabaseError for a torn file.
    """
    path = os.path.join(folder, NAME)
    if read_only:
        if not os.path.exists(path):
            raise errors.StateError(f"{path}: there are no links yet")
        return _opened(path, "ro", wait_s)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        # One after the other: SQLite does not wait where two make a new file a WAL one at once.
        turn = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.StateError(f"{path}: links cannot be kept there: {errors.in_words(error)}") from error
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return _opened(path, "rwc", wait_s)
    finally:
        os.close(turn)


def _opened(path: str, mode: str, wait_s: float) -> Links:
    # Nothing else here may open and close the file itself: that would end the locks of this process's connections.
    database = sqlite3.connect(
        f"file:{quote(path)}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False, timeout=wait_s
    )
    links = Links(database)
    try:
        links.prepare(path, read_only=mode == "ro")
    except BaseException:
        links.close()
        raise
    return links


def set_aside(folder: str, now: int) -> str:
    """Moves a torn database out of the way; returns where it is. Links come back from the articles, unchecked."""
    return move_aside(os.path.join(folder, NAME), now)


class Links(LinkUses):
    """The verbs: find/list/iter/count read, put/drop write (inside `transaction`). Raises sqlite3 errors as such."""

    def prepare(self, path: str, *, read_only: bool) -> None:
        """Settings, and the migrations that are due; see `open_links`."""
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(linkrows.MIGRATIONS):
            raise errors.StateTooNewError(f"{path}: links of a newer feedd (version {version})")
        self._db.execute("PRAGMA cache_size = -16000")
        if read_only:
            if version < len(linkrows.MIGRATIONS):
                raise errors.StateError(f"{path}: links of an older feedd, or none yet; `feedd run` makes them today's")
            return
        self._log_ahead()
        for number, step in enumerate(linkrows.MIGRATIONS[version:], version + 1):
            self._db.executescript(f"BEGIN IMMEDIATE;\n{step}\nPRAGMA user_version = {number};\nCOMMIT;")

    def find_meta(self, key: str) -> str | None:
        """What is noted of the whole; `id` is the database's own."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def put_meta(self, values: Mapping[str, str | None]) -> None:
        """Notes these; None: nothing of that any more."""
        for key, value in values.items():
            if value is None:
                self._db.execute("DELETE FROM meta WHERE key = ?", (key,))
            else:
                self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # -- runs ----------------------------------------------------------------------------------------------------------

    def list_due(self, now: int, limit: int, *, after: tuple[int, int] = (0, 0)) -> list[Link]:
        """Links to be checked by now, longest due first; `after`: (next_check_at, id) of the last one had."""
        rows = self._db.execute(
            f"SELECT {LINK} FROM link INDEXED BY link_due WHERE uses > 0 AND (next_check_at, id) > (?, ?) "
            "AND next_check_at <= ? ORDER BY next_check_at, id LIMIT ?", (*max(after, _FIRST), now, limit),
        )
        return [link_from(row) for row in rows]

    def list_due_hosts(self, now: int, limit: int) -> list[tuple[int, str]]:
        """(link id, host) of the same links: at little cost, for who wants to know all hosts beforehand.

        Those of one hour in the order of their ids, so that neighbours in the file are read and written together.
        """
        due = f"SELECT id, host, next_check_at FROM link INDEXED BY link_due WHERE {_DUE} ORDER BY next_check_at, id"
        query = f"SELECT id, host FROM ({due} LIMIT ?) ORDER BY next_check_at / 3600, id"
        return self._db.execute(query, (now, limit)).fetchall()

    def count_due(self, now: int) -> int:
        """How many links are to be checked by now."""
        query = f"SELECT count(*) FROM link INDEXED BY link_due WHERE {_DUE}"
        return int(self._db.execute(query, (now,)).fetchone()[0])

    def next_due_at(self) -> int | None:
        """When the next link is to be checked, or was."""
        query = (
            "SELECT next_check_at FROM link INDEXED BY link_due WHERE uses > 0 AND next_check_at > 0 "
            "ORDER BY next_check_at LIMIT 1"
        )
        row = self._db.execute(query).fetchone()
        return row[0] if row else None

    def find_link(self, url: str) -> Link | None:
        """The link with this normalised URL."""
        row = self._db.execute(f"SELECT {LINK} FROM link WHERE url = ?", (url,)).fetchone()
        return link_from(row) if row else None

    def find_links(self, ids: Sequence[int]) -> dict[int, Link]:
        """Links by their ids; those that are gone are missing."""
        return {row[0]: link_from(row) for row in self._in(f"SELECT {LINK} FROM link WHERE id IN", ids)}

    def list_lapsing(self, now: int, limit: int) -> list[Link]:
        """Fresh links that were not verified for so long that they are fresh no more, longest first."""
        rows = self._db.execute(
            f"SELECT {LINK} FROM link INDEXED BY link_lapse WHERE lapses_at > 0 AND uses > 0 AND lapses_at <= ? "
            "ORDER BY lapses_at, id LIMIT ?", (now, limit),
        )
        return [link_from(row) for row in rows]

    def list_canaries(self, exclude_host: str, limit: int) -> list[Link]:
        """Links that should answer if anything does, of as many other hosts: those that stay fresh longest."""
        rows = self._db.execute(
            "SELECT id, host FROM link INDEXED BY link_lapse WHERE lapses_at > 0 AND uses > 0 AND host <> ? "
            "ORDER BY lapses_at DESC, id DESC LIMIT ?", (exclude_host, _PAGE),
        )
        by_host: dict[str, int] = {}
        for link_id, host in rows:
            by_host.setdefault(host, link_id)
        return list(self.find_links(list(islice(by_host.values(), limit))).values())

    def put_checked(self, rows: Iterable[tuple[int, LinkState]], now: int) -> int:
        """What links are after a check, and news of what readers may see of it; returns how much news that is.

        Nothing of a link of which the operator said something else meanwhile: what he said stands until the next one.
        """
        return self._put_states(rows, now, by_hand=False)

    def put_by_hand(self, rows: Iterable[tuple[int, LinkState]], now: int) -> int:
        """The same for what the operator says, whatever was said before; `count_by_hand` tells that there was more."""
        self.put_meta({"by_hand": str(self.count_by_hand() + 1)})
        return self._put_states(rows, now, by_hand=True)

    def count_by_hand(self) -> int:
        """How often the operator said something."""
        return int(self.find_meta("by_hand") or 0)

    def _put_states(self, rows: Iterable[tuple[int, LinkState]], now: int, *, by_hand: bool) -> int:
        states = list(rows)
        query = f"SELECT id, verdict, {_TARGET}, by_hand FROM link WHERE id IN"
        before = {row[0]: row[1:] for row in self._in(query, [link_id for link_id, _ in states])}
        same: dict[int, tuple[Any, ...]] = {}
        other: dict[int, tuple[Any, ...]] = {}
        news = []
        for link_id, state in states:
            was, target, said = before.get(link_id, ("", "", None))
            if said is None or (said != state.by_hand and not by_hand):
                continue
            values = (*columns(state), judge.lapses_at(state), link_id)
            if was == state.verdict and link_id not in other:  # the rule, and an index less to be changed
                same[link_id] = values[1:]
            else:
                other[link_id] = values
            if was != state.verdict or target != target_of(state):
                news.append((now, link_id, was, state.verdict))
            before[link_id] = (state.verdict, target_of(state), state.by_hand)
        self._db.executemany(_SAME_VERDICT, same.values())
        self._db.executemany(_OTHER_VERDICT, other.values())
        self._db.executemany("INSERT INTO news (at, link_id, was, now) VALUES (?, ?, ?, ?)", news)
        return len(news)

    def put_due(self, ids: Iterable[int], at: int) -> None:
        """These links are to be checked at `at`, whatever was planned."""
        self._db.executemany("UPDATE link SET next_check_at = ? WHERE id = ?", ((at, link_id) for link_id in ids))

    def drop_unused(self, now: int, limit: int = 5_000) -> int:
        """Forgets links that no article has had for 90 days, but for those of which the operator said something.

        What is known of them first, which is news; and after another 90 days that they ever were: by then publishing
        has heard. Hosts that nothing was asked of for so long go, too. Returns how many links; no more than `limit`.
        """
        since = now - KEEP_UNUSED_S
        rows = self._db.execute(
            "SELECT id, verdict FROM link WHERE uses = 0 AND unused_at <= ? AND by_hand = '' "
            "ORDER BY unused_at LIMIT ?", (since, limit),
        ).fetchall()
        known = [link_id for link_id, verdict in rows if verdict != "unchecked"]
        forgotten = [(link_id,) for link_id, verdict in rows if verdict == "unchecked"]
        self.put_checked(((link_id, LinkState(since_at=now)) for link_id in known), now)
        self._db.executemany("UPDATE link SET unused_at = ? WHERE id = ?", ((now, link_id) for link_id in known))
        self._db.executemany("DELETE FROM news WHERE link_id = ?", forgotten)
        self._db.executemany("DELETE FROM link WHERE id = ?", forgotten)
        self._db.execute(
            "DELETE FROM host WHERE max(last_at, pause_until, breaker_until, robots_at, made_up_at) <= ?", (since,)
        )
        return len(rows)

    def find_hosts(self, hosts: Sequence[str]) -> dict[str, Host]:
        """What is remembered of hosts; those of which nothing is are missing."""
        return {row[0]: Host(*row) for row in self._in("SELECT * FROM host WHERE host IN", hosts)}

    def put_hosts(self, rows: Iterable[Host]) -> None:
        """Remembers these of them."""
        marks = ", ".join("?" * len(Host.__struct_fields__))
        self._db.executemany(f"INSERT OR REPLACE INTO host VALUES ({marks})", map(_values, rows))

    def start_run(self, by: str, now: int) -> int:
        """Notes that a run begins; returns its id. Only the last hundred stay."""
        query = "INSERT INTO run (started_at, finished_at, by, counts) VALUES (?, 0, ?, '{}')"
        run_id = int(self._db.execute(query, (now, by)).lastrowid or 0)
        self._db.execute("DELETE FROM run WHERE id <= ?", (run_id - KEEP_RUNS,))
        return run_id

    def finish_run(self, run_id: int, counts: Mapping[str, int], now: int) -> None:
        """Notes that a run is at its end, and what it did."""
        text = msgspec.json.encode(counts).decode()
        self._db.execute("UPDATE run SET finished_at = ?, counts = ? WHERE id = ?", (now, text, run_id))

    def list_runs(self, limit: int) -> list[Run]:
        """The last runs, newest first."""
        query = "SELECT id, started_at, finished_at, by, counts FROM run ORDER BY id DESC LIMIT ?"
        rows = self._db.execute(query, (limit,)).fetchall()
        return [Run(*(*row[:-1], _counts_from(row[-1]))) for row in rows]

    # -- publishing ----------------------------------------------------------------------------------------------------

    def newest_news(self) -> int:
        """The last news there ever was: who looks at all marks afterwards needs only what comes after it."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'news'").fetchone()
        return int(row[0]) if row else 0

    def list_news(self, after_seq: int, limit: int) -> list[News]:
        """What happened to links since, in order; each with what readers may see of the link today."""
        query = f"{_NEWS} WHERE news.seq > ? ORDER BY news.seq LIMIT ?"
        return [_news(row) for row in self._db.execute(query, (after_seq, limit))]

    def drop_news(self, up_to_seq: int, *, keep: int = 1_000) -> None:
        """Forgets news that publishing has heard, but for the newest `keep` of all, for the operator."""
        self._db.execute("DELETE FROM news WHERE seq <= min(?, ? - ?)", (up_to_seq, self.newest_news(), keep))

    def list_marks(self, after_id: int, limit: int) -> list[Mark]:
        """What readers may see of links, in pages by their ids, for who knows nothing yet; not of unchecked ones."""
        query = f"SELECT {_MARK} FROM link WHERE id > ? AND uses > 0 AND verdict <> 'unchecked' ORDER BY id LIMIT ?"
        return [Mark(*row) for row in self._db.execute(query, (after_id, limit))]

    def find_marks(self, urls: Sequence[str]) -> dict[str, Mark]:
        """The same of links by their normalised URLs, whoever has them; unchecked and unknown ones are missing."""
        query = f"SELECT {_MARK} FROM link WHERE verdict <> 'unchecked' AND url IN"
        return {row[1]: Mark(*row) for row in self._in(query, urls)}

    # -- the operator --------------------------------------------------------------------------------------------------

    def count_by_verdict(self) -> dict[Verdict, int]:
        """How many links there are of each verdict; none for verdicts without any."""
        query = "SELECT verdict, count(*) FROM link INDEXED BY link_verdict WHERE uses > 0 GROUP BY verdict"
        return dict(self._db.execute(query).fetchall())

    def list_by_verdict(self, verdict: Verdict | None, after: int, limit: int) -> list[Link]:
        """Links of a verdict, or of any (None), in pages by their ids."""
        where = "" if verdict is None else "AND verdict = :verdict"
        query = f"SELECT {LINK} FROM link WHERE uses > 0 {where} AND id > :after ORDER BY id LIMIT :limit"
        rows = self._db.execute(query, {"verdict": verdict, "after": after, "limit": limit})
        return [link_from(row) for row in rows]

    def iter_links(self) -> Iterator[Link]:
        """All links that an article has. Read in pages, so that what is written meanwhile can be checkpointed."""
        after = 0
        while page := self.list_by_verdict(None, after, _PAGE):
            yield from page
            after = page[-1].id

    def list_hosts_in_trouble(self, now: int, limit: int) -> list[Trouble]:
        """Hosts with links that do not hold, or that are left alone now; those with most such links first."""
        rows = self._db.execute(
            "SELECT host, sum(dead), sum(failing), sum(blocked), sum(failures), sum(pause), sum(breaker) FROM ("
            "SELECT host, verdict = 'dead' AS dead, verdict = 'failing' AS failing, verdict = 'blocked' AS blocked, "
            "0 AS failures, 0 AS pause, 0 AS breaker FROM link INDEXED BY link_verdict "
            "WHERE uses > 0 AND verdict IN ('dead', 'failing', 'blocked') UNION ALL "
            "SELECT host, 0, 0, 0, failures, pause_until, breaker_until FROM host "
            "WHERE failures > 0 OR pause_until > ?1 OR breaker_until > ?1) GROUP BY host "
            "ORDER BY sum(dead) + sum(failing) DESC, sum(blocked) DESC, sum(failures) DESC, host LIMIT ?2",
            (now, limit),
        )
        return [Trouble(*row) for row in rows]

    def list_next(self, limit: int) -> list[Link]:
        """The links that are checked next."""
        return self.list_due(_LAST, limit)

    def list_recent_news(self, limit: int) -> list[News]:
        """The last changes of verdicts and targets, newest first."""
        query = f"{_NEWS} WHERE news.article_id IS NULL ORDER BY news.seq DESC LIMIT ?"
        return [_news(row) for row in self._db.execute(query, (limit,))]


def target_of(state: LinkState) -> str:
    """Where readers may be sent instead: to where a moved link went, or to the archived copy of a dead one."""
    return {"moved": state.final_url, "dead": state.archive_url}.get(state.verdict, "")


def _news(row: tuple[Any, ...]) -> News:
    seq, at, was, now, article_id, *mark, users = row
    articles = (article_id,) if article_id is not None else tuple(map(int, users.split(","))) if users else ()
    return News(seq, at, was, now, article_id is not None, articles, Mark(*mark))
