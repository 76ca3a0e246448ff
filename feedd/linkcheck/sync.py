"""Articles as published -> the links that are to be checked: brings links.sqlite up to the state of publishing.

Goes over what changed since it was last here, or over everything where that cannot be told; in small transactions,
each with the note of how far it got, so that a kill costs no more than one. Called before a run, and after publishing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from feedd import model
from feedd.freshness import judge, urls
from feedd.store.links import Links
from feedd.store.linkuses import Replan, Uses

AT_ONCE: Final = 500  # articles in one transaction, and in memory
_OF, _KINDS, _SEQ, _WALK = "sync_of", "sync_kinds", "sync_seq", "sync_walk"  # what is noted in the links' database
_LAST: Final = (1 << 63) - 1
_article_from = msgspec.msgpack.Decoder(model.Article).decode


class Articles(Protocol):
    """The articles of a state, as the store of publishing has them."""

    def state_id(self) -> str:
        """Another one for every state that is made anew: neither ids nor numbers of changes go from one to another.

        Empty while it is first filled.
        """

    def newest_relinked(self) -> int:
        """The number of the last change of any article's links; 0 without any."""

    def list_relinked(self, after: int, limit: int) -> list[tuple[int, int]]:
        """(number, article id) of changes since, in order: the article's links may be others, or its use.

        Each change has a number of its own, greater than those of all changes before; of one article the last
        suffices.
        """

    def list_linked(self, after_id: int, limit: int) -> list[tuple[int, bytes, bool]]:
        """(id, model.Article as MessagePack, whether it is in a feed) of public articles, in pages by their ids."""

    def find_linked(self, ids: Sequence[int]) -> Mapping[int, tuple[bytes, bool]]:
        """The same by id; those that are gone or not public are missing."""


def sync(
    links: Links, articles: Articles, kinds: Collection[urls.Kind], now: int, *, replan: Replan = judge.replan,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Notes which articles have which links of these kinds; returns how many articles were looked at.

    States of links stay, whatever becomes of articles. When `stop` says so, it ends early: the next call goes on.
    Does nothing while the articles come in for the first time: what is not there yet is not gone. Raises what the two
    stores raise.
    """
    of = articles.state_id()
    if not of:
        return 0
    _begin(links, articles, of, kinds)
    looked_at = 0
    if links.find_meta(_WALK) is not None:
        with links.loading():
            while not stop() and (done := _walk(links, articles, kinds, now, replan)) is not None:
                looked_at += done
    while not stop() and (done := _follow(links, articles, kinds, now, replan)) is not None:
        looked_at += done
    return looked_at


def read_up_to(links: Links, of: str) -> int:
    """The last change in the state `of` that will not be asked for again; 0 where none was looked at."""
    return int(links.find_meta(_SEQ) or 0) if links.find_meta(_OF) == of else 0


def _begin(links: Links, articles: Articles, of: str, kinds: Collection[urls.Kind]) -> None:
    """Starts a walk over all articles where what is noted is of another state or of other kinds of links.

    A state whose changes have smaller numbers than what is noted is another one, too: a copy was put back.
    """
    wanted, newest = " ".join(sorted(kinds)), articles.newest_relinked()
    is_known = links.find_meta(_OF) == of and links.find_meta(_KINDS) == wanted
    if is_known and read_up_to(links, of) <= newest:
        return
    with links.transaction():  # the number from before the walk: what changes during it is looked at again
        links.put_meta({_OF: of, _KINDS: wanted, _SEQ: str(newest), _WALK: "-1"})


def _walk(
    links: Links, articles: Articles, kinds: Collection[urls.Kind], now: int, replan: Replan
) -> int | None:
    """The next articles of a walk, side by side with those that had links; None where no walk is to be done."""
    at = links.find_meta(_WALK)
    if at is None:
        return None
    after = int(at)
    rows, had = articles.list_linked(after, AT_ONCE), links.list_users(after, AT_ONCE)
    # As far as both pages go: what comes after the last of a full page is not known yet.
    up_to = min(rows[-1][0] if len(rows) == AT_ONCE else _LAST, had[-1] if len(had) == AT_ONCE else _LAST)
    found = {article_id: (data, in_feed) for article_id, data, in_feed in rows if article_id <= up_to}
    ids = sorted({*found, *(article_id for article_id in had if article_id <= up_to)})
    with links.transaction():
        links.put_uses(_uses(ids, found, kinds), replan, now)
        links.put_meta({_WALK: None if up_to == _LAST else str(up_to)})
    return len(ids)


def _follow(
    links: Links, articles: Articles, kinds: Collection[urls.Kind], now: int, replan: Replan
) -> int | None:
    """The next articles whose links may have changed; None where there are none."""
    if links.find_meta(_WALK) is not None:  # stopped before the walk's end
        return None
    changes = articles.list_relinked(int(links.find_meta(_SEQ) or 0), AT_ONCE)
    if not changes:
        return None
    ids = sorted({article_id for _, article_id in changes})
    found = articles.find_linked(ids)  # as they are now, which may be later than the change: then they come again
    with links.transaction():
        links.put_uses(_uses(ids, found, kinds), replan, now)
        links.put_meta({_SEQ: str(changes[-1][0])})
    return len(ids)


def _uses(
    ids: Sequence[int], found: Mapping[int, tuple[bytes, bool]], kinds: Collection[urls.Kind]
) -> Iterable[Uses]:
    for article_id in ids:
        data, in_feed = found.get(article_id, (b"", False))
        yield article_id, urls.links_of(_article_from(data), kinds) if data else (), in_feed
