"""`feedd verify`: every fault that is made here is found, is one line, and is mended; where none is, none is."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from msgspec.structs import replace
from newsroom import Newsroom, article, settings_for, tree
from processes import Site, until

from feedd import errors, repair, verify
from feedd.freshness.effects import Rules
from feedd.freshness.judge import replan
from feedd.freshness.states import LinkState
from feedd.linkcheck.sync import sync
from feedd.store import Topic, schema
from feedd.store.identities import LinkStates
from feedd.store.invariants import Invariants, LinkInvariants
from feedd.store.links import NAME as LINKS
from feedd.store.links import open_links

HUB = "https://hub.example/"
RIVER, LAKE = "https://far.example/river", "https://far.example/lake"


def quiet(_what: str, _count: int) -> None:
    pass


def faults(room: Newsroom, *, quick: bool = False, running: bool = False) -> list[verify.Finding]:
    return list(verify.verify(room.plan, running=running, quick=quick, progress=quiet))


def places(room: Newsroom, **how: bool) -> set[str]:
    return {finding.place for finding in faults(room, **how)}


def mend(room: Newsroom) -> None:
    """Whatever is found, with the publisher's state closed meanwhile, as `--fix` wants it."""
    found = faults(room)
    assert found and all("\n" not in str(finding) and finding.advice in str(finding) for finding in found)
    room.close()
    log: Any = structlog.get_logger()
    repair.fix(room.plan, found, log, now=room.now, now_ns=room.now * 10**9, progress=quiet)
    room.open()
    assert faults(room) == []
    room.check()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Articles with links in live feeds and archives, published, their links checked, hubs told."""
    folder = tmp_path_factory.mktemp("made")
    room = room_of(folder)
    for day in range(1, 9):
        room.put(f"{day}.md", article(
            f"Day {day}", publishedDateTime=f"2023-02-0{day}T00:00:00Z", topics=["AI", f"T{day % 2}"],
            related=[{"title": "River", "webUrl": RIVER}, {"title": "Lake", "webUrl": LAKE}] if day % 2 else None,
        ))
    room.put("held.md", article("Held", publishedDateTime="2033-01-01T00:00:00Z"))
    room.publish()
    links = open_links(str(room.state))
    sync(links, room.store.marks, ("related",), room.now)
    with links.transaction():
        found = links.find_link(RIVER)
        assert found
        links.put_checked([(found.id, LinkState("dead", since_at=5, checked_at=6))], room.now)
    room.publisher.take_verdicts(links, now=room.now)
    links.close()
    room.publish()
    room.close()
    return folder


def room_of(folder: Path) -> Newsroom:
    return Newsroom(folder, settings_for(links=Rules(), hubs=(HUB,)))


@pytest.fixture
def room(made: Path, tmp_path: Path) -> Any:
    shutil.copytree(made, tmp_path / "room")
    opened = room_of(tmp_path / "room")
    yield opened
    opened.close()


def run_sql(room: Newsroom, sql: str, name: str = schema.NAME) -> None:
    database = sqlite3.connect(room.state / name)
    database.executescript(sql)
    database.close()


def test_where_all_is_well_nothing_is_found(room: Newsroom) -> None:
    for quick in (False, True):
        for running in (False, True):
            assert faults(room, quick=quick, running=running) == []


def test_counts_that_wait_are_no_fault_and_a_lost_index_page_is_one(room: Newsroom) -> None:
    run_sql(room, "UPDATE meta SET value = 'stale' WHERE key = 'listing'")
    (room.out / "index.html").write_bytes(b"other counts")
    os.utime(room.out / "index.html", ns=(os.stat(room.out / "index.html.gz").st_mtime_ns,) * 2)
    assert faults(room) == []
    (room.out / "index.html").unlink()
    assert next(finding.place for finding in faults(room)) == "index.html"
    assert faults(room, running=True) == []  # it may be on its way
    mend(room)
    assert faults(room) == [] and (room.out / "index.html").exists()


# -- output ------------------------------------------------------------------------------------------------------------

Spoil = Callable[[Path], object]


def _flip(path: Path) -> None:
    """Other bytes, with the time and size of before."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _cut(path: Path) -> None:
    stat = path.stat()
    path.write_bytes(path.read_bytes()[:-20])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


FILES = [
    "all.atom", "all.json", "all.html", "topics/t1.rss", "archives/all/1.atom", "archives/topics/ai/1.rss",
    "index.html", "feeds.opml", "feedd.css",
]  # fmt: skip


@pytest.mark.parametrize("suffix", ["", ".gz", ".br"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_with_other_bytes_or_none_is_found_and_written_again(room: Newsroom, name: str, suffix: str) -> None:
    path = room.out / (name + suffix)
    spoils: tuple[Spoil, ...] = (_flip, _cut, Path.unlink)
    for spoil in spoils[FILES.index(name) % 3 :: 3] if suffix else spoils:
        before = tree(room.out)
        spoil(path)
        assert places(room) == {name + suffix}
        assert spoil is not Path.unlink or places(room, quick=True) == {name + suffix}
        mend(room)
        assert tree(room.out) == before


def test_a_sibling_of_another_time_is_found_without_a_look_into_it(room: Newsroom) -> None:
    os.utime(room.out / "all.rss.gz", (1, 1))
    assert places(room) == set()
    (finding,) = faults(room, quick=True)
    assert (finding.place, finding.stray) == ("all.rss.gz", "all.rss.gz")


def test_strays_are_found_and_removed_and_files_of_others_are_left_alone(room: Newsroom) -> None:
    names = ("topics/gone.atom", "archives/all/99.atom.gz", ".feedd-0123", "topics/.feedd-4567", "all.html.br.html")
    for name in names:
        (room.out / name).write_bytes(b"x")
    (room.out / "favicon.ico").write_bytes(b"mine")
    assert places(room) == set(names)
    assert places(room, running=True) == {name for name in names if ".feedd-" not in name}
    room.close()
    log: Any = structlog.get_logger()
    repair.fix(room.plan, faults(room), log, now=room.now, now_ns=room.now * 10**9, progress=quiet)
    room.open()
    assert (room.out / "favicon.ico").read_bytes() == b"mine"
    (room.out / "favicon.ico").unlink()
    room.check()


def test_what_is_still_to_be_written_is_a_fault_unless_a_daemon_is_at_it(room: Newsroom) -> None:
    room.put("9.md", article("Day 9"))
    room.scan()
    found = faults(room)
    assert {finding.what for finding in found} == {"was to be written"}
    assert {"all", "index.html"} & {finding.place for finding in found}
    assert faults(room, running=True) == []
    mend(room)


def test_a_document_that_failed_is_told_with_its_reason(room: Newsroom) -> None:
    with room.store.transaction():
        room.store.mark_failed(room.store.find_feed("all", "") or 0, 0, "no space left")
    (finding,) = faults(room)
    assert (finding.place, finding.what) == ("all", "could not be written: no space left")


def test_another_configuration_than_feeds_were_written_by_is_one_fault(room: Newsroom) -> None:
    other = replace(room.plan, settings=replace(room.settings, title="Other News"))
    found = list(verify.verify(other, running=False, quick=False, progress=quiet))
    assert [finding.place for finding in found] == ["config.toml"]


def test_hubs_that_were_not_told_are_told(room: Newsroom) -> None:
    url = "https://feeds.example/all.atom"
    run_sql(room, f"DELETE FROM outbox; UPDATE announced SET digest = x'00' WHERE url = '{url}'")
    with room.store.transaction():
        room.store.outbox.put_pings(["https://former.example/"], [Topic("https://x.example/", "x", b"1")], 1)
    assert places(room) == {url, "feedd.db: outbox: https://former.example/"}
    mend(room)
    assert room.store.outbox.list_hubs() == [HUB]
    assert [ping.url for ping in room.store.outbox.list_pings(HUB, 9)] == [url]
    assert room.store.outbox.find_announced("https://never.example/") is None


# -- the state's tables ------------------------------------------------------------------------------------------------

TABLES: dict[str, tuple[str, set[str]]] = {
    "a file of another article": (
        "UPDATE file SET article_id = 2 WHERE path = '1.md'", {"feedd.db: file: 1.md", "feedd.db: article: 1.md"}),
    "an article without a file": ("DELETE FROM file WHERE path = '1.md'", {"feedd.db: article: 1.md"}),
    "an entry without contents": ("DELETE FROM body WHERE article_id = 3", {"feedd.db: body: 3.md"}),
    "a wrong place": (
        "".join(f"UPDATE {table} SET position = position + 1 WHERE {key} = 3;"
                for table, key in (("membership", "article_id"), ("article", "id"))), {"feedd.db: article: 3.md"}),
    "an entry too few": (
        "DELETE FROM membership WHERE article_id = 3 AND feed_id = (SELECT id FROM feed WHERE key = 't1')",
        {"feedd.db: membership: topic/t1"}),
    "an entry too many": (
        "INSERT INTO membership SELECT id, 7, 2 FROM feed WHERE key = 't1'", {"feedd.db: membership: topic/t1"}),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_belie_each_other_are_found_and_mended(room: Newsroom, name: str) -> None:
    sql, wanted = TABLES[name]
    before = tree(room.out)
    run_sql(room, sql)
    found = faults(room, quick=True)
    assert {finding.place for finding in found} == wanted
    room.close()
    log: Any = structlog.get_logger()
    deeds = repair.fix(room.plan, found, log, now=room.now, now_ns=room.now * 10**9, progress=quiet)
    assert [(deed.what, set(deed.names)) for deed in deeds] == [("put right", wanted)]
    room.open()
    assert faults(room) == []
    assert tree(room.out) == before


def test_documents_that_cannot_be_are_found(room: Newsroom) -> None:
    run_sql(
        room,
        "UPDATE document SET built_seq = dirty_seq + 1 WHERE feed_id = (SELECT id FROM feed WHERE kind = 'all');"
        "DELETE FROM document WHERE page = 1 AND feed_id = (SELECT id FROM feed WHERE key = 'ai');"
        "INSERT INTO document VALUES (999, 0, NULL, NULL, 1, 1, 0, 0, 0, NULL, '')",
    )
    assert Invariants.of(room.store).list_wrong_documents() == ["999", "all/", "topic/ai"]


# -- links -------------------------------------------------------------------------------------------------------------


def test_links_that_belie_articles_are_found_and_gone_over(room: Newsroom) -> None:
    sql = "UPDATE link SET uses = 40; DELETE FROM use WHERE article_id = 3; INSERT INTO use VALUES (1, 77, 1)"
    run_sql(room, sql, LINKS)
    assert places(room) == {f"links.sqlite: {what}" for what in (RIVER, LAKE, "article 3", "article 77")}
    assert places(room, quick=True) == set()
    found = faults(room)
    room.close()
    log: Any = structlog.get_logger()
    repair.fix(room.plan, found, log, now=room.now, now_ns=room.now * 10**9, progress=quiet)
    room.open()
    links = open_links(str(room.state))
    assert LinkInvariants.of(links).list_miscounted() == []
    sync(links, room.store.marks, ("related",), room.now, replan=replan)
    assert {link.uses for link in links.iter_links()} == {4}
    room.publisher.take_verdicts(links, now=room.now)
    links.close()
    room.publish()
    assert faults(room) == []


def test_marks_that_are_not_what_was_found_are_found_and_mended(room: Newsroom) -> None:
    run_sql(room, f"UPDATE mark SET verdict = 'fresh' WHERE url = '{RIVER}'")
    assert places(room) >= {f"feedd.db: mark: {RIVER}", "all.atom"}
    mend(room)


def test_what_links_have_not_been_told_yet_is_no_fault(room: Newsroom) -> None:
    room.put("9.md", article("Day 9", related=[{"title": "Sea", "webUrl": "https://far.example/sea"}]))
    room.publish()
    links = open_links(str(room.state))
    with links.transaction():
        LinkStates(links).put_known(LAKE, LinkState("dead", checked_at=1), 1, force=True)
    links.close()
    assert faults(room) == []
    (room.state / LINKS).unlink()
    assert faults(room) == []


# -- torn --------------------------------------------------------------------------------------------------------------


def _tear(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * 4096 + data[8192:])


@pytest.mark.parametrize("name", [schema.NAME, LINKS])
def test_a_torn_database_is_found_and_set_aside(room: Newsroom, name: str) -> None:
    room.close()
    before = room.out.joinpath("all.json").read_bytes()
    _tear(room.state / name)
    found = faults(room)
    assert {finding.place for finding in found} == {name}
    log: Any = structlog.get_logger()
    repair.fix(room.plan, found, log, now=room.now, now_ns=room.now * 10**9, progress=quiet)
    assert (room.state / f"{name}.torn-{room.now}").exists()
    room.open()
    if name == LINKS:
        assert room.out.joinpath("all.json").read_bytes() == before
    assert {finding.place for finding in faults(room)} == set()


def test_a_state_of_a_newer_feedd_or_one_out_of_reach_is_no_torn_one(room: Newsroom) -> None:
    room.close()
    path = room.state / schema.NAME
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript("PRAGMA user_version = 99; CREATE TABLE later (x)")
    with pytest.raises(errors.StateTooNewError, match="99"):
        faults(room)
    path.unlink()
    path.mkdir()
    with pytest.raises(errors.StateError, match="cannot be used"):
        faults(room)


def test_no_state_or_an_older_one_is_said(tmp_path: Path) -> None:
    room = Newsroom(tmp_path / "a")
    room.close()
    shutil.rmtree(room.state)
    with pytest.raises(errors.StateError, match="no state yet"):
        faults(room)
    room.state.mkdir()
    database = sqlite3.connect(room.state / schema.NAME)
    database.executescript(f"{schema.VERSION_1}; PRAGMA user_version = 1")
    database.close()
    with pytest.raises(errors.StateError, match="older feedd"):
        faults(room)


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_finds_mends_and_says_so(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number in range(5):
        site.put(f"{number}.md", article(f"A {number}", publishedDateTime=f"2023-01-01T00:00:0{number}Z"))
    assert site.command("verify").returncode == 3
    with site.running():
        until(lambda: len(site.titles()) == 5, "all are shown")
        for edition in range(2):
            site.put("0.md", article(f"A 0, {edition}", publishedDateTime="2023-01-02T00:00:00Z"))
            done = site.command("verify")
            assert (done.returncode, done.stdout) == (0, "0 faults\n"), done.stdout + done.stderr
        locked = site.command("verify", "--fix")
        assert locked.returncode == 3 and "stop it first" in locked.stderr
    (site.out / "all.rss.br").unlink()
    (site.out / "all.9.atom").write_bytes(b"")
    found = site.command("verify", "--quick")
    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        "all.rss.br: no such file or directory; `feedd verify --fix` mends it",
        "all.9.atom: belongs to no feed; remove it, or `feedd verify --fix` does", "2 faults",
    ]
    mended = site.command("verify", "--fix")
    assert (mended.returncode, mended.stdout.splitlines()) == (0, [
        "all.rss.br: no such file or directory", "all.9.atom: belongs to no feed", "removed: all.9.atom",
        "written anew: all", "0 faults left",
    ])
    assert site.command("verify").stdout == "0 faults\n"
    site.check()


def test_what_was_done_is_said_by_kind_with_a_few_names(room: Newsroom) -> None:
    for name in ("feeds.opml", "index.html"):
        (room.out / name).unlink()
    strays = [f"all.{number}.atom" for number in range(7)]
    for name in strays:
        (room.out / name).write_text("x")
    (room.out / "archives/topics/ai/1.rss").unlink()
    found = faults(room)
    room.close()
    _tear(room.state / LINKS)
    log: Any = structlog.get_logger()
    found += faults(room)[:1]
    deeds = repair.fix(room.plan, found, log, now=room.now, now_ns=room.now * 10**9, progress=quiet)
    assert [str(deed) for deed in deeds] == [
        f"set aside, as it was torn: links.sqlite as {room.state}/links.sqlite.torn-{room.now}",
        "removed: all.0.atom, all.1.atom, all.2.atom, all.3.atom, all.4.atom and 2 more",
        "written anew: archives/topics/ai/1, feeds.opml, index.html",
    ]
    room.open()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_mends_belongs_to_the_service_as_before(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("a.md", article("One"))
    assert site.command("build").returncode == 0
    folders = (site.state, site.out)
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)
    (site.out / "all.atom").write_bytes(b"x")
    _tear(site.state / schema.NAME)
    assert site.command("verify", "--fix").returncode == 0
    assert {path.stat().st_uid for folder in folders for path in folder.rglob("*")} == {65534}
