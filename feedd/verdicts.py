"""What link checks found -> what readers see: marks in the state, and the documents that show those links marked dirty.

Reads the news that `linkcheck` left in its store, from where it last stopped; one transaction for each piece of them,
so that a kill neither loses nor repeats any. A verdict never moves an `updated`. Called by `publish`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from feedd.freshness.effects import Mark, Rules, shown_alike
from feedd.ingest import Report
from feedd.linkcheck import sync
from feedd.store import Store, linkrows, unpack_ids
from feedd.store.links import Links
from feedd.store.sqlite import errors_in_words
from feedd.stories import mark

AT_ONCE = 1_000  # news in one transaction
_TOLD = "links_told"  # the id of the database of links, and the last news that was heard of it


def apply(store: Store, links: Links, rules: Rules, *, now: int) -> Iterator[Report]:
    """Takes in what is new, a piece at a time.

    Raises StateError where the links cannot be read, sqlite3 errors of the state, with nothing changed by that piece.
    """
    with errors_in_words():
        current = links.find_meta("id") or ""
        newest = links.newest_news()
    told_of, _, seq = (store.find_meta(_TOLD) or "").partition(":")
    if told_of != current:
        seq = "0"
        if store.marks.has_marks() or not _has_all_news(links, newest):
            seq = str(newest)
            with store.transaction():
                _start_anew(store, links)
                store.put_meta(_TOLD, f"{current}:{seq}")
    while news := _news(links, int(seq)):
        seq = str(news[-1].seq)
        with store.transaction():
            report = _apply(store, news, rules, now)
            store.put_meta(_TOLD, f"{current}:{seq}")
        yield report
    with errors_in_words():
        read = sync.read_up_to(links, store.marks.state_id())
    store.marks.drop_relinked(read)


def _marks(links: Links, after: int) -> list[linkrows.Mark]:
    with errors_in_words():
        return links.list_marks(after, AT_ONCE)


def _news(links: Links, after: int, limit: int = AT_ONCE) -> list[linkrows.News]:
    with errors_in_words():
        return links.list_news(after, limit)


def heard_of(store: Store, links: Links) -> int:
    """The last news of these links that readers see; 0 where there is none yet."""
    told_of, _, seq = (store.find_meta(_TOLD) or "").partition(":")
    return int(seq) if told_of == links.find_meta("id") else 0


def _has_all_news(links: Links, newest: int) -> bool:
    """Whether no news was ever forgotten: then it tells all that there is to know."""
    first = _news(links, 0, 1)
    return first[0].seq == 1 if first else not newest


def _start_anew(store: Store, links: Links) -> None:
    """The links are others than before: all that is known of them is news, and whatever was known is forgotten."""
    after = 0
    store.marks.drop_marks()
    while rows := _marks(links, after):
        store.marks.put_marks((row.url, mark_of(row)) for row in rows)
        after = rows[-1].link_id
    store.bump_revisions()
    store.mark_all_dirty()


def _apply(store: Store, news: Sequence[linkrows.News], rules: Rules, now: int) -> Report:
    newest = {item.mark.url: mark_of(item.mark) for item in news}
    before = store.marks.find_marks(sorted(newest))
    store.marks.put_marks(newest.items())
    touched: dict[int, str] = {}  # article -> why its entry shows something else; empty where only pages do
    for item in news:
        url = item.mark.url
        was = None if item.began else before.get(url)  # an article that is new may have been written before the mark
        why = "" if shown_alike(was, newest[url], rules) else f"link {item.mark.verdict}: {url}"
        for article_id in item.articles:
            touched[article_id] = touched.get(article_id) or why
    known = store.find_articles(sorted(touched))
    shown = {i: article for i, article in known.items() if article.position is not None}
    store.put_articles([replace(article, revision=article.revision + 1) for article in shown.values()])
    causes: dict[int, tuple[str, int]] = {}
    for archives in (True, False):
        marks: dict[int, dict[int, int]] = {}
        for article_id, article in sorted(shown.items()):
            if bool(touched[article_id]) == archives:
                for feed_id in unpack_ids(article.shown_in):
                    marks.setdefault(feed_id, {})[article.position or 0] = 0
                    first, number = causes.get(feed_id, (touched[article_id] or "links were checked", 0))
                    causes[feed_id] = (first, number + 1)
        mark(store, marks, archives=archives)
    store.put_changes(
        [(now, article.path or article.entry_path, touched[i]) for i, article in sorted(shown.items()) if touched[i]]
    )
    return Report(causes=causes)


def mark_of(row: linkrows.Mark) -> Mark:
    """What readers see of a link, as the store of links has it."""
    return Mark(row.verdict, row.since_at, row.target, bool(row.changed_at))
