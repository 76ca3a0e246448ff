"""States of every earlier schema, made by the feedds of their time, are of today once opened, and nothing is lost."""

from __future__ import annotations

import gzip
import re
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
from newsroom import tree
from processes import FEEDD, Site, environment, run_feedd

from feedd import backup, errors
from feedd.freshness.states import LinkState
from feedd.hub import subscriptions
from feedd.store import copies, linkrows, open_store, schema
from feedd.store.identities import Identities, LinkStates
from feedd.store.links import open_links
from tests.states import make

STATES = Path(__file__).parent / "states"
FEEDDS = sorted(path.name.removesuffix(".sql.gz") for path in STATES.glob("feedd-*.sql.gz"))
NAMES = {"feedd": schema.NAME, "links": linkrows.NAME, "hub": subscriptions.NAME}
ALL = sorted(path.name.removesuffix(".sql.gz") for path in STATES.glob("*.sql.gz"))


def make_database(name: str, folder: Path) -> Path:
    """A stored database, as the file that it was."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAMES[name.partition("-")[0]]
    database = sqlite3.connect(path)
    database.executescript(gzip.decompress((STATES / f"{name}.sql.gz").read_bytes()).decode())
    database.execute("PRAGMA journal_mode = WAL")
    database.close()
    return path


def version_of(path: Path) -> int:
    database = sqlite3.connect(path)
    (version,) = database.execute("PRAGMA user_version").fetchone()
    database.close()
    return int(version)


def open_all(folder: Path) -> None:
    """What is there of the three, and is migrated by that."""
    if (folder / schema.NAME).exists():
        open_store(str(folder)).close()
    if (folder / linkrows.NAME).exists():
        open_links(str(folder)).close()
    if (folder / subscriptions.NAME).exists():
        subscriptions.open_subscriptions(str(folder)).close()


def test_there_is_a_state_of_every_schema() -> None:
    for kind, name in NAMES.items():
        stored = {int(number) for each in ALL if (number := re.sub(rf"^{kind}-(\d+).*|.*", r"\1", each))}
        assert stored == set(range(1, len(backup.DATABASES[name]) + 1))


@pytest.mark.parametrize("name", ALL)
def test_it_is_sound_and_of_today_when_it_was_opened(tmp_path: Path, name: str) -> None:
    path = make_database(name, tmp_path)
    assert version_of(path) == int(re.findall(r"\d+", name)[0])
    open_all(tmp_path)
    steps = backup.DATABASES[path.name]
    assert version_of(path) == len(steps)
    assert list(copies.flaws(str(path), steps)) == []
    before = path.read_bytes()
    open_all(tmp_path)  # and once more, which is nothing
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", FEEDDS)
def test_articles_are_who_they_were_and_feeds_are_those_of_a_clean_rebuild(tmp_path: Path, name: str) -> None:
    site = Site(tmp_path / "site")
    for step in make.STEPS:
        step(tmp_path / "made")
    (tmp_path / "made/articles").rename(site.folder / "spare")
    site.articles.rmdir()
    (site.folder / "spare").rename(site.articles)
    site.config.write_text(make.CONFIG + "\n[log]\nformat = \"json\"\n[links]\nenabled = false\n")
    path = make_database(name, site.state)
    database = sqlite3.connect(path)
    # What the very first feedd took for an edit was another thing by the end of its day: that moves `updated`, only.
    updated = "0" if name == "feedd-1-first" else "updated_us"
    query = f"SELECT entry_path, path, public_at, published_at, {updated}, position FROM article ORDER BY id"
    known = database.execute(query).fetchall()
    slugs = database.execute("SELECT kind, key, slug FROM feed WHERE slug IS NOT NULL ORDER BY kind, key").fetchall()
    database.close()
    assert ("2.md", "two.md") in [row[:2] for row in known] and ("2.md~2", "2.md") in [row[:2] for row in known]

    assert run_feedd("--config", str(site.config), "build").returncode == 0
    site.check()
    with open_store(str(site.state)) as store:
        assert [(feed.kind, feed.key, feed.slug) for feed in Identities.of(store).iter_feeds()] == slugs
    database = sqlite3.connect(path)
    assert database.execute(query).fetchall() == known
    database.close()
    assert site.ids()["Another"] == "tag:news.example,2026-01-01:2.md~2"
    shown = tree(site.out)
    assert run_feedd("--config", str(site.config), "build").returncode == 0
    assert tree(site.out) == shown


def test_links_and_subscribers_are_known_still(tmp_path: Path) -> None:
    make_database("links-1", tmp_path)
    make_database("hub-1", tmp_path)
    links = open_links(str(tmp_path))
    known = dict(LinkStates(links).iter_known())
    links.close()
    assert known.keys() == {"https://far.example/4", "https://far.example/5"}
    dead = known["https://far.example/4"]
    assert (dead.verdict, dead.strikes, len(dead.history), dead.history[0].reason) == ("dead", 2, 2, "410")
    assert known["https://far.example/5"] == LinkState("fresh", since_at=1_700_000_200, by_hand="fresh")
    hub = subscriptions.open_subscriptions(str(tmp_path))
    assert hub.has("https://feeds.example/all.atom", "https://reader.example/callback")
    hub.close()


@pytest.mark.parametrize("name", ALL)
def test_a_backup_of_an_earlier_feedd_is_restored(tmp_path: Path, name: str) -> None:
    path = make_database(name, tmp_path / "one")
    if path.name != schema.NAME:
        make_database("feedd-1", tmp_path / "one")
    made = backup.to_file(str(tmp_path / "one"), str(tmp_path / "b"), force=False, now=1, progress=lambda *_: None)
    assert [each.schema for each in made.databases if each.name == path.name] == [int(re.findall(r"\d+", name)[0])]
    with open(tmp_path / "b", "rb") as source:
        backup.restore(str(tmp_path / "two"), source, now=1, progress=lambda *_: None)
    assert version_of(tmp_path / "two" / path.name) == len(backup.DATABASES[path.name])


@pytest.mark.parametrize("name", ALL)
def test_a_state_of_a_newer_feedd_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    path = make_database(name, tmp_path)
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()
    with pytest.raises(errors.StateTooNewError, match="newer feedd"):
        open_all(tmp_path)
    assert path.read_bytes() == before


KILLED = """
import os, sqlite3, sys
left = int(sys.argv[2])
class Connection(sqlite3.Connection):
    def count(self, statement):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
connect = sqlite3.connect
def watched(*arguments, **keywords):
    connection = connect(*arguments, **keywords, factory=Connection)
    connection.set_trace_callback(connection.count)
    return connection
sqlite3.connect = watched
sys.path.insert(0, "tests")
from feedd.store import open_store
open_store(sys.argv[1]).close()
"""


def test_a_migration_that_is_killed_goes_on_where_a_whole_step_ended(tmp_path: Path) -> None:
    path = make_database("feedd-1", tmp_path)
    seen = []
    for number in range(200):
        done = subprocess.run(
            [FEEDD[0], "-P", "-c", KILLED, str(tmp_path), str(number)], env=environment(), capture_output=True,
            timeout=60, check=False,
        )
        version = version_of(path)
        seen.append(version)
        assert list(copies.flaws(str(path), schema.MIGRATIONS)) == []  # of the version that it says it is
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert seen == sorted(seen) and set(seen) == set(range(1, len(schema.MIGRATIONS) + 1))
    with open_store(str(tmp_path)) as store:
        assert store.count()["articles"] == 12
