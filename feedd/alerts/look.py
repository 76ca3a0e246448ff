"""The state and the links -> the troubles that there are now, for `service`. Reads only, and decides nothing to tell.

Remembers what costs too much to ask each minute: until when feeds are not silent, and which links died.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from msgspec import Struct

from feedd import errors, model, silence, site, troubles
from feedd.store import Store, open_store
from feedd.store.linkrows import Run
from feedd.store.links import Links
from feedd.store.linksurvey import reading
from feedd.store.sqlite import errors_in_words
from feedd.store.vitals import DAY_S, LinkVitals, Vitals
from feedd.troubles import Kind, Trouble

MOST: Final = 500  # troubles of a kind that are told apart
SILENCE_EVERY_S: Final = 600  # silence is a matter of days
DAYS: Final = 15  # of deaths of links: the last one, and those it is compared with
HOSTS: Final = 5  # that are named

Faults = Callable[[], Sequence[str]]  # what keeps everything from being published at this moment, in sentences


class Limits(Struct, frozen=True):
    """From when on something is a trouble. `silent`: kinds of feeds that may fall silent; `dead_links` a day, 0 for any
    number; files and publishing are in trouble after so many seconds.
    """

    articles_s: int = 900
    publishing_s: int = 300
    silent: tuple[model.FeedKind, ...] = ("all", "topic")
    dead_links: int = 20


class Looked(Struct, frozen=True):
    """What is there, and the kinds of which nobody can say whether they are."""

    troubles: tuple[Trouble, ...]
    blind: frozenset[Kind] = frozenset()


class Look:
    """Looks, and remembers what it saw. For one thread."""

    def __init__(
        self, folder: str, limits: Limits, *, is_ready: Callable[[], bool], faults: Faults
    ) -> None:
        self._folder, self._limits, self._is_ready, self._faults = folder, limits, is_ready, faults
        self._rhythms: dict[int, tuple[int, int | None]] = {}  # feed id -> its newest entry, and its limit by then
        self._silent: tuple[int, tuple[Trouble, ...]] = (0, ())  # when that was asked, and the answer
        self._since: dict[str, int] = {}  # what lasts -> when it was first seen
        self._written: tuple[int, int] | None = None  # how far writing was while documents waited, and since when
        self._failing = frozenset[str]()
        self._deaths: tuple[object, tuple[Trouble, ...]] = (None, ())

    def look(self, known: Collection[str], now: int) -> Looked:
        """The troubles of now. What is `known` (keys) already is one without its time of grace, which a restart would
        begin anew.
        """
        found = list[Trouble]()
        blind = set[Kind]()
        faults = self._faults()
        found += self._faulty(faults, known, now)
        if not self._is_ready():  # what the state says is of long ago
            return Looked(tuple(found), frozenset(troubles.KINDS) - {each.kind for each in found})
        try:
            with errors_in_words(), open_store(self._folder, read_only=True) as store:
                vitals = Vitals.of(store)
                if not faults:
                    found += self._stuck(vitals, known, now)
                if faults or found:  # then no feed can be written, for that reason
                    blind.add("feeds")
                else:
                    found += self._failed(vitals, known, now)
                found += self._unreadable(store, vitals, now)
                found += self._silences(vitals, now)
        except errors.StateError:
            blind |= {"feeds", "articles", "silence"}
            if not faults:
                blind.add("publishing")
        if self._limits.dead_links:
            try:
                with reading(self._folder) as links:
                    found += self._links(links, now)
            except errors.StateError:  # none yet, or torn: then they are made anew
                blind |= {"links", "network"}
        return Looked(tuple(each for each in found if each.kind not in blind), frozenset(blind))

    # -- publishing ----------------------------------------------------------------------------------------------------

    def _faulty(self, faults: Sequence[str], known: Collection[str], now: int) -> Iterator[Trouble]:
        if not faults:
            self._since.pop("publishing", None)
        elif (since_at := self._lasting("publishing", known, now)) is not None:
            yield Trouble("publishing", "publishing", since_at, "Nothing can be published. " + " ".join(faults))

    def _stuck(self, vitals: Vitals, known: Collection[str], now: int) -> Iterator[Trouble]:
        """Documents wait, and none is written."""
        waiting, stamp = vitals.find_progress()
        was, since_at = self._written or (stamp, now)
        is_stuck = now - since_at >= self._limits.publishing_s if self._written else "publishing" in known
        if not waiting:
            self._written = None
        elif not self._written or stamp != was or since_at > now:
            self._written = stamp, now
        if waiting and is_stuck and stamp == was:
            text = f"Nothing is published: {_number(waiting, 'document')} to write, and none was of late"
            yield Trouble("publishing", "publishing", since_at, text)

    def _failed(self, vitals: Vitals, known: Collection[str], now: int) -> Iterator[Trouble]:
        """Some feeds cannot be written, while others can."""
        failed = {site.base_path(each.kind, each.slug, each.page): each.error for each in vitals.list_failed(MOST)}
        for path in self._failing - failed.keys():
            self._since.pop(f"feeds:{path}", None)
        self._failing = frozenset(failed)
        for path, error in failed.items():
            if (since_at := self._lasting(f"feeds:{path}", known, now)) is not None:
                yield Trouble(f"feeds:{path}", "feeds", since_at, f"{path} cannot be written: {error}")

    def _lasting(self, key: str, known: Collection[str], now: int) -> int | None:
        """Since when it has been so, if that is long enough for a trouble."""
        since_at = self._since[key] = min(self._since.get(key, now), now)
        return since_at if key in known or now - since_at >= self._limits.publishing_s else None

    # -- articles ------------------------------------------------------------------------------------------------------

    def _unreadable(self, store: Store, vitals: Vitals, now: int) -> Iterator[Trouble]:
        """Machines write files bit by bit: what is unreadable for seconds is no trouble."""
        problems = vitals.list_problems(now - self._limits.articles_s, MOST + 1)
        for each in problems[:MOST]:
            place = f"line {each.line}: " if each.line else ""
            field = f"{each.field}: " if each.field else ""
            text = f"{each.path} cannot be read: {place}{field}{each.message}"
            yield Trouble(f"articles:{each.path}", "articles", each.since_at, text)
        if len(problems) > MOST:
            text = f"More than {MOST} files cannot be read, {store.survey.count_problems()} in all; see `feedd status`"
            yield Trouble("articles", "articles", problems[-1].since_at, text)

    # -- silence -------------------------------------------------------------------------------------------------------

    def _silences(self, vitals: Vitals, now: int) -> Sequence[Trouble]:
        asked_at, silent = self._silent
        if not asked_at <= now < asked_at + SILENCE_EVERY_S:
            silent = tuple(self._newly_silent(vitals, now))
            self._silent = now, silent
        return silent

    def _newly_silent(self, vitals: Vitals, now: int) -> Iterator[Trouble]:
        for feed in vitals.list_newest(self._limits.silent) if self._limits.silent else ():
            if now - feed.at <= silence.FLOOR_S:
                continue
            newest, limit = self._rhythms.get(feed.feed_id, (-1, None))
            if newest != feed.at:  # while nothing comes, the past stays as it is
                times = vitals.list_times(feed.feed_id, slot_s=silence.SLOT_S, slots=silence.SLOTS)
                limit = silence.limit_s(times)
                self._rhythms[feed.feed_id] = feed.at, limit
            if limit is not None and (found := silence.find(feed.at, limit, now)):
                path = site.base_path(feed.kind, feed.slug)
                text = f"{path} has had no new entry for {_span(now - feed.at)}; usual is one within {_span(limit)}"
                yield Trouble(f"silent:{path}", "silence", found.since_at, text, is_news=found.is_news)

    # -- links ---------------------------------------------------------------------------------------------------------

    def _links(self, links: Links, now: int) -> Iterator[Trouble]:
        runs = [run for run in links.list_runs(10) if run.finished_at]
        yield from self._cut_off(runs, now)
        asked = (runs[0].id, links.count_by_hand(), now // 3_600) if runs else None
        if self._deaths[0] != asked:
            self._deaths = asked, tuple(self._died(links, now))
        yield from self._deaths[1]

    def _cut_off(self, runs: Sequence[Run], now: int) -> Iterator[Trouble]:
        """Runs that reached nobody: our own network is down."""
        since_at = None
        for run in runs:
            if not run.counts.get("unreachable"):
                break
            since_at = run.started_at
        if since_at is not None and now - since_at >= self._limits.publishing_s:
            yield Trouble("network", "network", since_at, "Link checks reach no host at all: the network may be down")

    def _died(self, links: Links, now: int) -> Iterator[Trouble]:
        days, hosts = [0] * DAYS, Counter[str]()
        for ago, host, count in LinkVitals.of(links).count_deaths(now, DAYS):
            days[ago] += count
            if ago == 0:
                hosts[host] += count
        if troubles.is_mass(days[0], days[1:], self._limits.dead_links):
            named = tuple(f"{host}: {count}" for host, count in sorted(hosts.items(), key=lambda x: (-x[1], x[0])))
            text = f"{_number(days[0], 'link')} died within a day, of {_number(len(hosts), 'host')}"
            yield Trouble("links", "links", now - DAY_S, text, named[:HOSTS])


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _span(seconds: int) -> str:
    """About how long: hours below two days, then days."""
    return _number(seconds // DAY_S, "day") if seconds >= 2 * DAY_S else _number(seconds // 3_600, "hour")
