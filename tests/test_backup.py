"""Backups: taken under a daemon at work, refused when they are not what feedd wrote, put back whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import os
import signal
import sqlite3
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from newsroom import Newsroom, article, settings_for, tree
from processes import FEEDD, Site, environment, until

from feedd import backup, errors
from feedd.freshness.states import LinkState
from feedd.hub.subscriptions import open_subscriptions
from feedd.store import copies, open_store, schema
from feedd.store.database import move_aside
from feedd.store.identities import LinkStates
from feedd.store.links import open_links
from feedd.store.sqlite import RESTORING

SECRET = b"the subscriber's own"


def quiet(_what: str, _count: int) -> None:
    pass


def take(state: Path, path: Path, *, force: bool = False, now: int = 1_700_000_000) -> backup.Manifest:
    return backup.to_file(str(state), str(path), force=force, now=now, progress=quiet)


def put_back(state: Path, data: bytes, now: int = 7) -> backup.Restored:
    return backup.restore(str(state), io.BytesIO(data), now=now, progress=quiet)


def room_of(folder: Path) -> Newsroom:
    """A newsroom with all three databases."""
    room = Newsroom(folder, settings_for(links=None))
    for day in range(1, 6):
        room.put(f"{day}.md", article(f"Day {day}", publishedDateTime=f"2023-02-0{day}T00:00:00Z"))
    room.publish()
    links = open_links(str(room.state))
    with links.transaction():
        LinkStates(links).put_known("https://far.example/", LinkState("dead", checked_at=1), 1, force=True)
    links.close()
    hub = open_subscriptions(str(room.state))
    with hub.transaction():
        hub.put(hub.put_topic("https://t.example/", b"d"), "https://s.example/", "s.example", SECRET, 1 << 40)
    hub.close()
    return room


# -- taken -------------------------------------------------------------------------------------------------------------


def test_a_backup_is_an_archive_that_anyone_can_read_and_its_owner_alone_may(tmp_path: Path) -> None:
    room = room_of(tmp_path)
    made = take(room.state, tmp_path / "b.tar.gz")
    assert stat.S_IMODE((tmp_path / "b.tar.gz").stat().st_mode) == 0o600
    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        assert archive.getnames() == ["manifest.json", "feedd.db", "links.sqlite", "hub.sqlite"]
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "xzf", tmp_path / "b.tar.gz", "-C", tmp_path / "out"], check=True)
    said = json.loads((tmp_path / "out/manifest.json").read_bytes())
    assert said["created_at"] == 1_700_000_000 and [each["schema"] for each in said["databases"]] == [
        len(steps) for steps in backup.DATABASES.values()
    ]
    for copy in made.databases:
        data = (tmp_path / "out" / copy.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (copy.bytes, copy.sha256)
        assert list(copies.flaws(str(tmp_path / "out" / copy.name), backup.DATABASES[copy.name])) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["articles", "b.tar.gz", "feeds", "out", "state"]
    room.close()


def test_a_file_that_is_there_is_replaced_only_if_asked_for(tmp_path: Path) -> None:
    room, path = room_of(tmp_path), tmp_path / "b.tar.gz"
    path.write_bytes(b"mine")
    with pytest.raises(errors.OutputError, match="there already"):
        take(room.state, path)
    assert path.read_bytes() == b"mine"
    take(room.state, path, force=True)
    assert put_back(tmp_path / "other", path.read_bytes()).aside == ()
    with pytest.raises(errors.OutputError, match="cannot be written: no such file"):
        take(room.state, tmp_path / "nowhere" / "b.tar.gz")
    room.close()


def test_no_backup_is_made_of_nothing_of_a_torn_state_or_of_a_newer_one(tmp_path: Path) -> None:
    with pytest.raises(errors.StateError, match="no state yet"):
        take(tmp_path, tmp_path / "b")
    room = room_of(tmp_path)
    room.close()
    whole = (room.state / schema.NAME).read_bytes()
    (room.state / schema.NAME).write_bytes(whole[:8192] + b"\xff" * 4096 + whole[12288:])
    with pytest.raises(errors.StateError, match="torn"):
        take(room.state, tmp_path / "b")
    (room.state / schema.NAME).write_bytes(b"no database" * 1000)
    with pytest.raises(errors.StateError, match="torn"):
        take(room.state, tmp_path / "b")
    (room.state / schema.NAME).write_bytes(whole)
    with sqlite3.connect(room.state / "links.sqlite") as links:
        links.execute("PRAGMA user_version = 99")
    links.close()
    with pytest.raises(errors.StateTooNewError, match=r"links.sqlite is of a newer feedd \(schema 99"):
        take(room.state, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_copy_is_of_one_moment_whatever_is_written_while_it_is_made(tmp_path: Path) -> None:
    """Two counters that are raised together, faster than pages are copied: a copy made of several moments differs."""
    path, stop = str(tmp_path / "busy.db"), threading.Event()
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.executescript(
        "PRAGMA journal_mode = WAL; CREATE TABLE a (n); CREATE TABLE pad (x); CREATE TABLE b (n);"
        "INSERT INTO a VALUES (0); INSERT INTO b VALUES (0);"
    )
    database.executemany("INSERT INTO pad VALUES (?)", ((b"x" * 4_000,) for _ in range(6_000)))
    raised = threading.Event()

    def write() -> None:
        while not stop.is_set():
            database.executescript("BEGIN; UPDATE a SET n = n + 1; UPDATE b SET n = n + 1; COMMIT")
            raised.set()

    thread, pieces = threading.Thread(target=write), list[int]()
    thread.start()
    try:
        for number in range(3):
            snapshot = copies.Snapshot(path)
            raised.clear()
            assert raised.wait(20)  # there is something new before a page was copied
            snapshot.copy_to(str(tmp_path / f"{number}.db"), pieces.append)
            snapshot.close()
            copied = sqlite3.connect(tmp_path / f"{number}.db")
            first, second = copied.execute("SELECT a.n, b.n FROM a, b").fetchone()
            assert first == second
            copied.close()
            assert [each.name for each in tmp_path.glob(f"{number}.db*")] == [f"{number}.db"]
    finally:
        stop.set()
        thread.join()
        database.close()
    assert sum(pieces) >= 3 * 6_000 * 4_000 and len(pieces) > 6


# -- put back ----------------------------------------------------------------------------------------------------------


def test_a_state_is_put_back_and_the_one_that_was_there_is_kept(tmp_path: Path) -> None:
    room = room_of(tmp_path)
    take(room.state, tmp_path / "b")
    ids = {item["title"]: item["id"] for item in room.entries()}
    room.now += 86_400
    room.put("1.md", article("Day 1, edited", publishedDateTime="2023-02-01T00:00:00Z"))
    room.move("2.md", "two.md")
    room.put("9.md", article("Day 9", publishedDateTime="2023-02-09T00:00:00Z"))
    room.publish()
    with pytest.raises(errors.StateLockedError):
        put_back(room.state, (tmp_path / "b").read_bytes())
    room.close()
    later = (room.state / schema.NAME).read_bytes()
    done = put_back(room.state, (tmp_path / "b").read_bytes())
    assert [Path(path).name for path in done.aside] == [f"{name}.replaced-7" for name in backup.DATABASES]
    assert (room.state / f"{schema.NAME}.replaced-7").read_bytes() == later
    assert not any(path.name.startswith((RESTORING, ".restore")) for path in room.state.iterdir())
    assert stat.S_IMODE((room.state / "hub.sqlite").stat().st_mode) == 0o600
    room.open()
    room.publish()
    room.check()
    assert {item["title"]: item["id"] for item in room.entries()}.items() & ids.items()
    assert room.known("two.md").entry_path == "2.md" and room.known("1.md").updated_us // 1_000_000 == room.now
    room.close()
    assert put_back(room.state, (tmp_path / "b").read_bytes()).aside[0].endswith("feedd.db.replaced-8")
    hub, links = open_subscriptions(str(room.state)), open_links(str(room.state))
    assert hub.count() == 1 and dict(LinkStates(links).iter_known()).keys() == {"https://far.example/"}
    hub.close()
    links.close()


def test_feeds_are_those_of_the_backup_though_others_lie_on_disk(tmp_path: Path) -> None:
    room = room_of(tmp_path)
    take(room.state, tmp_path / "b")
    before = tree(room.out)
    for path in room.out.rglob("*.atom"):
        path.write_bytes(b"of a later state")
    room.close()
    put_back(room.state, (tmp_path / "b").read_bytes())
    room.open()
    room.publish()
    assert tree(room.out) == before
    room.close()


def test_a_restore_that_was_cut_off_is_no_state_until_it_is_done_again(tmp_path: Path) -> None:
    room = room_of(tmp_path)
    take(room.state, tmp_path / "b")
    room.close()
    (room.state / RESTORING).touch()
    (room.state / schema.NAME).unlink()
    with pytest.raises(errors.StateError, match="restore"):
        open_store(str(room.state))
    put_back(room.state, (tmp_path / "b").read_bytes())
    room.open()
    assert room.store.count()["articles"] == 5
    room.close()


def test_restores_that_are_killed_leave_the_old_state_or_none_or_the_new_one(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("a.md", article("A"))
    assert site.command("build").returncode == 0
    take(site.state, tmp_path / "b")
    source = (
        "import os, sys\n"
        "from feedd import backup\n"
        "left = int(sys.argv[3])\n"
        "def told(event, arguments):\n"
        "    global left\n"
        "    if event in ('os.rename', 'os.remove', 'os.mkdir', 'os.rmdir'):\n"
        "        left -= 1\n"
        "        if left < 0: os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(told)\n"
        "backup.restore(sys.argv[1], open(sys.argv[2], 'rb'), now=1, progress=lambda *_: None)\n"
    )
    refused = number = 0
    while True:
        arguments = [FEEDD[0], "-P", "-c", source, str(site.state), str(tmp_path / "b"), str(number)]
        done = subprocess.run(arguments, env=environment(), capture_output=True, timeout=60, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        try:
            with open_store(str(site.state)) as store:
                assert store.count()["articles"] == 1
        except errors.StateError as error:
            assert "cut off" in str(error)
            refused += 1
        number += 1
    assert refused and number > refused > 1
    with open_store(str(site.state)) as store:
        assert store.count()["articles"] == 1


# -- refused -----------------------------------------------------------------------------------------------------------

Member = tuple[tarfile.TarInfo, bytes]


def members_of(path: Path) -> list[Member]:
    with tarfile.open(path) as archive:
        return [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]


def packed(members: list[Member], *, fmt: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=fmt) as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def member(name: str, data: bytes, **own: Any) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in own.items():
        setattr(info, field, value)
    return info, data


def with_manifest(members: list[Member], change: Callable[[dict[str, Any]], object]) -> list[Member]:
    said = json.loads(members[0][1])
    change(said)
    return [member("manifest.json", json.dumps(said).encode()), *members[1:]]


def with_database(members: list[Member], sql: str, folder: Path) -> list[Member]:
    """The archive with another feedd.db, under a digest that is right."""
    path = folder / "made.db"
    path.write_bytes(members[1][1])
    with sqlite3.connect(path) as database:
        database.executescript(sql)
    database.close()
    data = path.read_bytes()

    def sign(said: dict[str, Any]) -> None:
        said["databases"][0] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    return with_manifest([members[0], member(schema.NAME, data), *members[2:]], sign)


def _first(said: dict[str, Any], **own: Any) -> None:
    said["databases"][0] |= own


HOSTILE: dict[str, tuple[str, Callable[[list[Member], Path], bytes]]] = {
    "not packed": ("no backup", lambda m, _: b"text" * 500),
    "nothing": ("no backup", lambda m, _: b""),
    "cut off": ("only a part", lambda m, _: packed(m)[:-3000]),
    "cut, and packed": ("too soon", lambda m, _: gzip.compress(gzip.decompress(packed(m))[:20_000])),
    "cut at a member": ("only a part", lambda m, _: packed(m[:2])),
    "no archive": ("no backup", lambda m, _: gzip.compress(b"text" * 500)),
    "no manifest": ("where manifest.json should be", lambda m, _: packed(m[1:])),
    "traversal": ("where feedd.db should be", lambda m, _: packed([m[0], member("../../feedd.db", m[1][1]), *m[2:]])),
    "absolute": ("where feedd.db should be", lambda m, _: packed([m[0], member("/tmp/feedd.db", m[1][1]), *m[2:]])),
    "symlink": ("where feedd.db should be", lambda m, _: packed(
        [m[0], member(schema.NAME, b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), *m[1:]])),
    "other order": ("where feedd.db should be", lambda m, _: packed([m[0], m[2], m[1], m[3]])),
    "long headers": ("no backup", lambda m, _: packed(
        [member("manifest.json", m[0][1], pax_headers={"comment": "x" * 200_000}), *m[1:]], fmt=tarfile.PAX_FORMAT)),
    "huge manifest": ("its manifest has", lambda m, _: packed(
        [member("manifest.json", b" " * 100_000), *m[1:]])),
    "manifest of nothing": ("cannot be read", lambda m, _: packed([member("manifest.json", b"{}"), *m[1:]])),
    "manifest no JSON": ("cannot be read", lambda m, _: packed([member("manifest.json", b"\xff{"), *m[1:]])),
    "later format": ("not of format 1", lambda m, _: packed(with_manifest(m, lambda s: s.update(format=2)))),
    "other names": ("other files", lambda m, _: packed(with_manifest(m, lambda s: _first(s, name="../feedd.db")))),
    "twice": ("other files", lambda m, _: packed(
        with_manifest(m, lambda s: s["databases"].append(s["databases"][0])))),
    "none": ("other files", lambda m, _: packed(with_manifest(m, lambda s: s.update(databases=[])))),
    "negative": ("below 0", lambda m, _: packed(with_manifest(m, lambda s: _first(s, bytes=-1)))),
    "too large for the disk": ("free", lambda m, _: packed(with_manifest(m, lambda s: _first(s, bytes=1 << 60)))),
    "other size": ("another size", lambda m, _: packed(with_manifest(m, lambda s: _first(s, bytes=5)))),
    "newer": ("newer feedd", lambda m, _: packed(with_manifest(m, lambda s: _first(s, schema=99)))),
    "other bytes": ("sha256", lambda m, _: packed([m[0], (m[1][0], m[1][1][:-1] + b"\1"), *m[2:]])),
    "a trigger": ("not feedd's", lambda m, folder: packed(with_database(
        m, "CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM article; END", folder))),
    "a table less": ("there is no table change", lambda m, folder: packed(with_database(
        m, "DROP TABLE change", folder))),
    "newer than it says": ("not feedd's|no table|is no|newer", lambda m, folder: packed(with_database(
        m, "PRAGMA user_version = 99", folder))),
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    folder = tmp_path_factory.mktemp("good")
    room = room_of(folder)
    take(room.state, folder / "b")
    room.close()
    return members_of(folder / "b")


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_backup_changes_nothing(tmp_path: Path, good: list[Member], name: str) -> None:
    says, make = HOSTILE[name]
    data = make(good, tmp_path)
    open_store(str(tmp_path / "state")).close()
    before = tree(tmp_path / "state")
    with pytest.raises(errors.StateError, match=says):
        put_back(tmp_path / "state", data)
    assert tree(tmp_path / "state") == before | {"links.lock": b""}


def test_the_archive_that_those_were_made_of_is_good(tmp_path: Path, good: list[Member]) -> None:
    assert put_back(tmp_path / "state", packed(good)).aside == ()
    assert put_back(tmp_path / "bare", packed(with_manifest(good[:2], lambda s: s.update(
        databases=s["databases"][:1])))).manifest.databases[0].name == schema.NAME


def test_a_folder_that_cannot_be_written_to_is_an_error_that_says_so(tmp_path: Path, good: list[Member]) -> None:
    (tmp_path / ".restore").write_bytes(b"")  # where the folder should be
    with pytest.raises(errors.StateError, match="cannot be restored: file exists"):
        put_back(tmp_path, packed(good))


# -- soundness ---------------------------------------------------------------------------------------------------------


def test_references_to_nothing_and_lost_indexes_are_told_apart(tmp_path: Path) -> None:
    open_subscriptions(str(tmp_path)).close()
    path = str(tmp_path / "hub.sqlite")
    with sqlite3.connect(path) as hub:
        hub.execute("DROP INDEX subscription_host")
        hub.execute("INSERT INTO subscription VALUES (1, 5, 'c', 'h', x'', 1, 1, 0, 0, '')")
    hub.close()
    assert list(copies.flaws(path, backup.DATABASES["hub.sqlite"])) == [
        "row 1 of subscription refers to a row of topic that is not there"
    ]
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        list(copies.flaws(str(tmp_path / "none"), ()))
    other = sqlite3.connect(tmp_path / "other.db")
    other.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (NULL); PRAGMA writable_schema = ON;"
                        "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (x NOT NULL)'; PRAGMA user_version = 1")
    other.close()
    assert list(copies.flaws(str(tmp_path / "other.db"), ("CREATE TABLE t (x NOT NULL)",))) == ["NULL value in t.x"]


def test_what_is_set_aside_never_replaces_what_was_before(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "x").write_bytes(b"%d" % number)
        assert move_aside(str(tmp_path / "x"), 5) == str(tmp_path / f"x.torn-{5 + number}")


# -- the commands ------------------------------------------------------------------------------------------------------


def test_a_backup_under_a_daemon_at_work_comes_back_with_the_same_ids(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number in range(40):
        site.put(f"{number}.md", article(f"A {number}", publishedDateTime=f"2023-01-01T00:00:{number:02}Z"))
    with site.running() as daemon:
        stop = threading.Event()

        def edit() -> None:
            for edition in itertools.takewhile(lambda _: not stop.is_set(), itertools.count()):
                title = f"A 0, {edition}"
                site.put("0.md", article(title, publishedDateTime="2023-03-01T00:00:00Z"))
                until(partial(lambda title: title in site.titles(), title), "the edit is shown")

        editor = threading.Thread(target=edit)
        editor.start()
        try:
            done = site.command("backup", str(tmp_path / "b.tar.gz"))
            again = site.command("backup", str(tmp_path / "b.tar.gz"))
            piped = subprocess.run(
                [*FEEDD, "--config", str(site.config), "backup", "-"], env=environment(), capture_output=True,
                timeout=60, check=False,
            )
            locked = site.command("restore", str(tmp_path / "b.tar.gz"))
        finally:
            stop.set()
            editor.join()
        assert (done.returncode, done.stdout) == (0, "") and "feedd.db" in done.stderr
        assert again.returncode == 4 and "--force" in again.stderr
        assert piped.returncode == 0 and piped.stdout[:2] == b"\x1f\x8b"
        assert locked.returncode == 3 and "another feedd" in locked.stderr
        assert daemon.poll() is None
    ids = site.ids()
    (site.articles / "0.md").unlink()
    back = site.command("restore", str(tmp_path / "b.tar.gz"))
    assert back.returncode == 0 and "kept: " in back.stdout, back.stderr
    site.put("0.md", article("A 0, at last", publishedDateTime="2023-03-01T00:00:00Z"))
    with site.running():
        until(lambda: "A 0, at last" in site.titles(), "the change since is a change")
    site.check()
    assert {id for title, id in site.ids().items()} == set(ids.values())
    bad = site.command("restore", str(site.config))
    assert bad.returncode == 3 and "no backup" in bad.stderr
    assert os.listdir(site.state).count(RESTORING) == 0
