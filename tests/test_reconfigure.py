"""After any sequence of configurations, edits, restarts and crashes, feeds/ equals a clean rebuild, byte for byte; and
nothing is looked at that a new configuration does not affect.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace
from newsroom import Newsroom, article, changed, settings_for

from feedd import model, plan, site
from feedd.freshness import effects
from feedd.store import unpack_ids

FILTERS = [
    model.FeedFilter(topics=("AI",)), model.FeedFilter(min_quality=50), model.FeedFilter(not_topics=("AI", "C")),
    model.FeedFilter(languages=("de",)), model.FeedFilter(title_contains=("a",)),
]
rules = st.builds(
    plan.Rules, topics=st.booleans(), providers=st.booleans(), categories=st.booleans(),
    language=st.sampled_from(["en", "de"]),
    custom=st.dictionaries(st.sampled_from(["good", "new"]), st.sampled_from(FILTERS)).map(
        lambda found: tuple(sorted(found.items()))
    ),
    private=st.sampled_from([(), (("good", FILTERS[0]),), (("new", FILTERS[1]), ("own", FILTERS[2]))]),
)
own_settings = st.builds(
    site.FeedSettings, title=st.sampled_from(["", "Own"]), description=st.sampled_from(["", "About"]),
    language=st.sampled_from(["", "fr"]), author=st.sampled_from(["", "Ann"]),
    limit=st.sampled_from([None, 1, 4]), full_content=st.sampled_from([None, True]),
    formats=st.sampled_from([None, ("atom",), ("json", "rss")]),
)
names = st.sampled_from([("topic", "ai"), ("topic", "c++"), ("provider", "source.example"), ("category", "news"),
                         ("custom", "good"), ("private", "good")])
configurations = st.fixed_dictionaries({
    "title": st.sampled_from(["News", "Other"]),
    "public_url": st.sampled_from(["https://feeds.example", "https://f.example/x"]),
    "language": st.sampled_from(["en", "de"]), "author": st.sampled_from(["", "Bob"]),
    "description": st.sampled_from(["", "What there is"]), "limit": st.sampled_from([1, 2, 5]),
    "formats": st.sampled_from([model.FORMATS, ("atom",), ("rss", "json")]), "archives": st.booleans(),
    "full_content": st.booleans(), "encodings": st.sampled_from([(), ("gzip",), ("gzip", "brotli")]),
    "ttl_minutes": st.sampled_from([60, 30]), "pages": st.booleans(),
    "hubs": st.sampled_from([(), ("https://hub.example/",)]),
    "own_hub": st.sampled_from(["", "https://feeds.example/hub"]),
    "links": st.sampled_from([None, effects.Rules(), effects.Rules(dead="drop")]),
    "rules": rules, "feeds": st.dictionaries(names, own_settings, max_size=3),
})  # fmt: skip
stories = st.fixed_dictionaries({
    "title": st.sampled_from(["Alpha", "Beta", "Gamma"]), "topics": st.lists(st.sampled_from(["AI", "C++", "C"])),
    "webUrl": st.sampled_from([None, "https://s.example/1", "https://s.example/2"]),
    "language": st.sampled_from([None, "de"]), "quality": st.sampled_from([None, 10, 90]),
    "publishedDateTime": st.sampled_from(["2023-01-01T00:00:00Z", "2023-11-15T10:00:00Z"]),
    "published": st.sampled_from([True, True, False]),
})
PATHS = [f"{number}.md" for number in range(6)]


class Reloads(RuleBasedStateMachine):
    """Configurations change under a process that runs or restarts, between edits that it hears of or does not."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="feedd-reloads-"))
        self.room = Newsroom(self.folder, settings_for(limit=2))

    def teardown(self) -> None:
        self.room.publish()
        self.room.check()
        self.room.close()
        shutil.rmtree(self.folder)

    @rule(path=st.sampled_from(PATHS), fields=stories)
    def write(self, path: str, fields: dict[str, Any]) -> None:
        self.room.now += 60
        self.room.put(path, article(**fields))

    @rule()
    def a_day_goes_by(self) -> None:
        self.room.now += 86_400

    @rule(path=st.sampled_from(PATHS))
    def drop(self, path: str) -> None:
        if (self.room.articles / path).exists():
            self.room.drop(path)

    @rule(paths=st.lists(st.sampled_from(PATHS), min_size=1, max_size=3))
    def hear(self, paths: list[str]) -> None:
        self.room.see(*paths)

    @rule()
    def publish(self) -> None:
        self.room.publish()
        self.room.check()

    @rule(own=configurations)
    def reload(self, own: dict[str, Any]) -> None:
        """As `daemon.work` does it: no scan, and files are compared only when that is due."""
        room = self.room
        room.publish()
        room.publisher.close()
        room.settings = settings_for(**own)
        room.publisher = type(room.publisher)(
            room.store, room.plan, room.publisher._log, settle_ns=0, parallel=False
        )
        if room.publisher.prepare(now=room.now, clean=False):
            room.publisher.reconcile()
        room.publisher.rebuild(now=room.now)
        room.publisher.write_listing()
        room.check()

    @rule(own=configurations)
    def restart(self, own: dict[str, Any]) -> None:
        self.room.restart(settings_for(**own))
        self.room.check()

    @rule(own=configurations)
    def restart_and_crash(self, own: dict[str, Any]) -> None:
        """Killed once the state is prepared, and nothing is written."""
        self.room.close()
        self.room.settings = settings_for(**own)
        self.room.open()

    @invariant()
    def memberships_are_those_of_the_rules(self) -> None:
        room = self.room
        feeds = {feed.id: (feed.kind, feed.key) for feed in room.store.list_feeds()}
        for article_id, data, _ in room.store.marks.list_linked(0, 100):
            known = room.store.find_articles([article_id])[article_id]
            if known.release_at is not None:  # held: it asks for no feed yet
                continue
            body = room.store.find_bodies([article_id])[article_id]
            wanted = {(ref.kind, ref.key) for ref in plan.feeds_of(body, room.settings.rules)}
            assert {feeds[i] for i in unpack_ids(known.feeds)} == wanted, data


TestReloads = Reloads.TestCase
TestReloads.settings = settings(
    max_examples=8, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@settings(max_examples=12, deadline=None)
@given(st.lists(stories, min_size=1, max_size=5), configurations, configurations)
def test_a_feed_that_is_not_affected_would_come_out_the_same(
    files: list[dict[str, Any]], first: dict[str, Any], second: dict[str, Any]
) -> None:
    """What the fingerprints say is right: every document whose bytes differ under another configuration is marked."""
    folder = Path(tempfile.mkdtemp(prefix="feedd-affected-"))
    room = Newsroom(folder, settings_for(**first))
    for path, fields in zip(PATHS, files, strict=False):
        room.put(path, article(**fields))
    room.publish()
    before = room.clean_rebuild()
    room.close()
    room.settings = replace(settings_for(**second), rules=room.settings.rules, archives=room.settings.archives)
    room.open()
    feeds = {feed.id: site.base_path(feed.kind, feed.slug or "") for feed in room.store.list_feeds()}
    marked = {feeds[feed_id].partition(".")[0] for feed_id, _ in room.store.list_dirty(live=True)}
    others = {name.partition(".")[0].removeprefix("archives/") for name in changed(before, room.clean_rebuild())}
    for base in others - {"feeds", "index", "feedd"}:
        assert any(base == one or base.startswith(one + "/") for one in marked), (base, marked)
    room.close()
    shutil.rmtree(folder)


def test_a_state_of_an_older_feedd_is_looked_at_as_a_whole(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    room.put("a.md", article("One"))
    room.publish()
    with room.store.transaction():
        room.store.put_meta("settings", "0123456789abcdef")
    room.restart()
    assert room.store.find_meta("settings") != "0123456789abcdef"
    room.check()
    room.close()


@pytest.mark.parametrize("own", [{"title": "Other"}, {"limit": 1}, {"links": None}, {"encodings": ("gzip",)}])
def test_what_the_whole_site_shares_affects_every_feed_that_does_not_say_otherwise(own: dict[str, Any]) -> None:
    table = {("topic", "ai"): site.FeedSettings(limit=9)}
    old, new = (site.fingerprints(settings_for(feeds=table, **more)) for more in ({}, own))
    assert site.is_affected(old, new, "topic", "c++")
    assert site.is_affected(old, new, "topic", "ai") == ("limit" not in own)


def test_nothing_is_affected_by_what_feeds_do_not_show() -> None:
    old, new = (site.fingerprints(settings_for(rules=found)) for found in (plan.Rules(), plan.Rules(topics=False)))
    assert old == new
