"""feedd.files on a real file system: what is listed, read and written, and what is refused."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedd import errors, files, outputs

NOW_NS = 1_700_000_000_000_000_000
BIG = 1_000_000
NOBODY = 65534


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder that any user may enter: pytest's own are closed to others."""
    folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="feedd-test-")))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def as_other_user() -> Iterator[None]:
    """Root may read everything: act as somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def put(path: Path, text: str = "text", mtime_ns: int = NOW_NS - 10_000_000_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def paths(root: Path, under: str = "") -> list[str]:
    return [path for path, _ in files.scan(str(root), under=under)]


def problems(root: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for _ in files.scan(str(root), on_problem=found.__setitem__):
        pass
    return found


def read(root: Path, path: str, **changes: int) -> files.Read | files.Unsettled | None:
    return files.read(str(root), path, **{"max_bytes": BIG, "now_ns": NOW_NS, **changes})


# --- which paths


@pytest.mark.parametrize(
    "path",
    ["a.md", "a/b/c.markdown", "a.html", "a.txt", "A.MD", "#1.md", "ü/日本.md", "_data/topics/x.yaml", "b/_data/y.yml"],
)
def test_is_an_article_path(path: str) -> None:
    assert files.is_article_path(path)


@pytest.mark.parametrize(
    "path",
    [
        *[".a.md", ".git/a.md", "a/.b/c.md", ".#a.md", ".a.md.swp", ".feedd-1.md"],
        *["a.md~", "a.md.swp", "#a.md#", "a.md.tmp", "a.md.part", "a.md.crdownload", "4913"],
        *["", "a", "md", "a.json", "_data", "a.yaml", "x_data/a.yaml"],
    ],
)
def test_is_not_an_article_path(path: str) -> None:
    assert not files.is_article_path(path)


def test_names_of_folders_that_are_entered() -> None:
    assert files.is_folder_name("a") and files.is_folder_name("ü")
    assert not files.is_folder_name(".git") and not files.is_folder_name("\udcff")


# --- scan


def test_scan_yields_articles_in_the_order_of_their_paths_with_their_stats(root: Path) -> None:
    articles = ["b.md", "a/z.md", "a.md", "a0.md", "a-b/x.md", "a/b/c.txt", "a/b.md", "_data/t/x.yaml"]
    for name in [*articles, ".x/y.md", "n.pdf"]:
        put(root / name)
    found = list(files.scan(str(root)))
    assert [path for path, _ in found] == sorted(articles)
    told = (root / "b.md").stat()
    assert found[-1][1] == files.Stat(told.st_mtime_ns, told.st_size, told.st_ino)


names = st.text(st.sampled_from("ab.-/0ü日𝄞 _!"), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.sets(names, max_size=12))
def test_scan_order_is_that_of_sorted_whatever_the_names(wanted: set[str]) -> None:
    folder = tempfile.mkdtemp()
    try:
        made = set()
        for name in wanted:
            path = "/".join(part for part in name.split("/") if part.strip(".")) + ".md"
            try:
                put(Path(folder, path))
            except OSError:  # a file is where a folder would have to be, or the like
                continue
            if files.is_article_path(path):
                made.add(path)
        assert paths(Path(folder)) == sorted(made)
        for under in {path.split("/")[0] for path in made if "/" in path}:
            assert paths(Path(folder), under) == sorted(path for path in made if path.startswith(under + "/"))
    finally:
        shutil.rmtree(folder)


def test_scan_of_one_folder(root: Path) -> None:
    for name in ["a/b/1.md", "a/b/c/2.md", "a/3.md", "ab/4.md", ".h/5.md"]:
        put(root / name)
    (root / "link").symlink_to("a")
    assert paths(root, "a/b") == paths(root, "a/b/") == ["a/b/1.md", "a/b/c/2.md"]
    assert paths(root, "nowhere") == paths(root, "a/3.md") == paths(root, ".h") == paths(root, "link/b") == []


def test_scan_tells_a_root_that_is_gone_from_an_empty_one(root: Path) -> None:
    assert paths(root) == []
    for under in ("", "a"):
        with pytest.raises(files.RootGoneError, match="no such file"):
            paths(root / "gone", under)
    with pytest.raises(files.RootGoneError, match="not a folder"):
        paths(put(root / "file"))


def test_scan_notices_a_root_that_goes_or_is_exchanged_while_it_is_listed(root: Path) -> None:
    inner = root / "inner"
    put(inner / "a/1.md")
    put(inner / "b/2.md")
    scan = files.scan(str(inner))
    assert next(scan)[0] == "a/1.md"
    inner.rename(root / "away")
    with pytest.raises(files.RootGoneError):
        next(scan)
    (root / "away").rename(inner)
    scan = files.scan(str(inner))
    next(scan)
    inner.rename(root / "away")
    inner.mkdir()
    with pytest.raises(files.RootGoneError, match="exchanged"):
        list(scan)


def test_scan_passes_over_what_vanishes_while_it_is_listed(root: Path) -> None:
    for name in ["1.md", "2.md", "3/x.md", "4.md", "5/y.md"]:
        put(root / name)
    scan = files.scan(str(root), on_problem=lambda path, reason: pytest.fail(path + reason))
    next(scan)
    (root / "2.md").unlink()
    shutil.rmtree(root / "3")
    shutil.rmtree(root / "5")
    put(root / "5")
    assert [path for path, _ in scan] == ["4.md"]


def test_scan_takes_symlinked_files_inside_the_root_and_no_symlinked_folder(root: Path) -> None:
    inner = root / "inner"
    target = put(inner / "real/a.md", "hello")
    put(root / "outside.md")
    (inner / "in.md").symlink_to("real/a.md")
    (inner / "out.md").symlink_to(root / "outside.md")
    (inner / "none.md").symlink_to("nothing")
    (inner / "loop.md").symlink_to("loop.md")
    (inner / "folder.md").symlink_to("real")
    (inner / "folder").symlink_to("real")
    found = dict(files.scan(str(inner)))
    assert set(found) == {"in.md", "real/a.md"}
    assert found["in.md"].inode == target.stat().st_ino
    assert problems(inner) == {
        "out.md": "a symlink that leads out of the article folder",
        "none.md": "a symlink that leads to nothing",
        "loop.md": "not a regular file",
        "folder.md": "not a regular file",
    }


def test_scan_reports_what_is_no_file_and_names_that_are_not_utf8(root: Path) -> None:
    os.mkfifo(root / "fifo.md")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket.md"))
    put(Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.md")))
    put(Path(os.fsdecode(os.fsencode(root) + b"/d\xe9/x.md")))
    put(root / "é.md")
    (root / "folder.md").mkdir()
    assert paths(root) == ["é.md"]
    assert problems(root) == {
        "fifo.md": "not a regular file",
        "socket.md": "not a regular file",
        r"caf\xe9.md": "its name is not UTF-8",
        r"d\xe9/": "its name is not UTF-8",
    }


def test_scan_reports_folders_that_cannot_be_listed(root: Path) -> None:
    put(root / "a/1.md")
    put(root / "b/2/3.md")
    put(root / "c/4.md")
    (root / "a").chmod(0o311)
    (root / "b").chmod(0)
    (root / "c").chmod(0o644)  # can be listed, and nothing in it looked at
    with as_other_user():
        assert paths(root) == []
        assert problems(root) == {
            "a/": "cannot be listed: permission denied",
            "b/": "cannot be listed: permission denied",
            "c/4.md": "permission denied",
        }
        assert list(files.scan(str(root), under="b/2", on_problem=lambda *_: None)) == []
    (root / "a").chmod(0o755)
    (root / "b").chmod(0o755)
    (root / "c").chmod(0o755)
    root.chmod(0o311)
    with as_other_user(), pytest.raises(files.RootGoneError, match="permission denied"):
        paths(root)


def test_scan_does_not_list_a_folder_below_one_that_is_closed(root: Path) -> None:
    put(root / "b/2/3.md")
    (root / "b").chmod(0)
    found: dict[str, str] = {}
    with as_other_user():
        assert list(files.scan(str(root), under="b/2", on_problem=found.__setitem__)) == []
    assert found == {"b/2/": "cannot be listed: permission denied"}
    (root / "b").chmod(0o755)


def test_find_stat_says_what_scan_says(root: Path) -> None:
    put(root / "real/a.md")
    (root / "in.md").symlink_to("real/a.md")
    (root / "none.md").symlink_to("nothing")
    os.mkfifo(root / "fifo.md")
    found = dict(files.scan(str(root)))
    for path in ["real/a.md", "in.md", "none.md", "fifo.md", "gone.md"]:
        assert files.find_stat(str(root), path) == found.get(path)


# --- read


def test_read_gives_the_bytes_and_their_stat(root: Path) -> None:
    put(root / "a/b.md", "hello")
    found = read(root, "a/b.md")
    assert isinstance(found, files.Read)
    assert (found.data, found.certain) == (b"hello", True)
    assert dict(files.scan(str(root))) == {"a/b.md": found.stat}
    assert read(put(root / "c/d.md", "").parent, "d.md", max_bytes=0) is not None


@pytest.mark.parametrize(
    "path", ["gone.md", "gone/a.md", "file.md/a.md", "folder.md", "fifo.md", "socket.md", "x" * 300]
)
def test_read_of_what_is_no_file_is_none(root: Path, path: str) -> None:
    put(root / "file.md")
    (root / "folder.md").mkdir()
    os.mkfifo(root / "fifo.md")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket.md"))
    assert read(root, path) is None


def test_read_says_so_when_the_whole_root_is_gone(root: Path) -> None:
    with pytest.raises(files.RootGoneError):
        read(root / "gone", "a.md")


def test_read_refuses_more_than_the_limit(root: Path) -> None:
    put(root / "a.md", "12345")
    assert read(root, "a.md", max_bytes=5) is not None
    with pytest.raises(errors.ArticleError, match=r"^a.md: larger than 4 bytes$"):
        read(root, "a.md", max_bytes=4)


def test_read_waits_until_a_file_has_settled(root: Path) -> None:
    second = 1_000_000_000
    put(root / "a.md", mtime_ns=NOW_NS - second)
    put(root / "ahead.md", mtime_ns=NOW_NS + 3600 * second)
    assert isinstance(read(root, "a.md", settle_ns=second + 1), files.Unsettled)
    assert isinstance(read(root, "a.md", settle_ns=second), files.Read)
    assert isinstance(read(root, "ahead.md", settle_ns=second), files.Read)


@pytest.mark.parametrize(
    ("age_ns", "certain"), [(1_000_000, False), (30_000_001, True), (1_000_000_000, False), (3_000_000_000, True)]
)
def test_a_stat_is_certain_only_once_its_mtime_cannot_come_again(root: Path, age_ns: int, certain: bool) -> None:
    put(root / "a.md", mtime_ns=NOW_NS - age_ns)  # NOW_NS is a whole second: so are the coarse ones
    found = read(root, "a.md")
    assert isinstance(found, files.Read) and found.certain is certain


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs a file whose size is never what it says")
def test_read_of_a_file_that_is_not_as_long_as_it_was_a_moment_ago_is_unsettled() -> None:
    assert isinstance(read(Path("/proc"), "self/status"), files.Unsettled)


def test_read_of_a_file_removed_while_it_is_open_is_none(root: Path) -> None:
    path = put(root / "a.md")
    fd = os.open(path, os.O_RDONLY)
    path.unlink()
    try:
        assert files._confined(fd, str(root), "a.md", str(root), str(path)) == fd
        assert files._read_open(fd, "a.md", BIG, NOW_NS, 0) is None
    finally:
        os.close(fd)


def test_where_a_file_really_is_is_known_without_proc_too(root: Path) -> None:
    put(root / "a.md")
    (root / "b.md").symlink_to("a.md")
    assert files._real_path(-1, str(root / "b.md")) == str(root / "a.md")


def test_read_is_confined_to_the_root(root: Path) -> None:
    inner = root / "inner"
    put(inner / "real/a.md", "in")
    put(root / "secret/a.md", "out")
    (inner / "in.md").symlink_to("real/a.md")
    (inner / "in").symlink_to("real")
    (inner / "out.md").symlink_to("../secret/a.md")
    (inner / "out").symlink_to("../secret")
    (inner / "none.md").symlink_to("nothing")
    (inner / "folder.md").symlink_to("real")
    for path in ["in.md", "in/a.md", "real/../real/a.md"]:
        found = read(inner, path)
        assert isinstance(found, files.Read) and found.data == b"in"
    for path in ["out.md", "out/a.md", "../secret/a.md", "real/../../secret/a.md"]:
        with pytest.raises(errors.ArticleError, match="out of the article folder"):
            read(inner, path)
    assert read(inner, "none.md") is None
    assert read(inner, "folder.md") is None
    (inner / "loop.md").symlink_to("loop.md")
    with pytest.raises(errors.ArticleError, match="cannot be read: too many levels"):
        read(inner, "loop.md")


def test_read_follows_a_root_that_is_a_symlink_wherever_it_leads_now(root: Path) -> None:
    put(root / "one/a.md", "1")
    put(root / "two/a.md", "2")
    current = root / "current"
    for name, data in [("one", b"1"), ("two", b"2")]:
        current.unlink(missing_ok=True)
        current.symlink_to(name)
        found = read(current, "a.md")
        assert isinstance(found, files.Read) and found.data == data
    put(root / "three/b.md")
    (root / "three/a.md").symlink_to("../one/a.md")
    current.unlink()
    current.symlink_to("three")
    with pytest.raises(errors.ArticleError, match="out of the article folder"):
        read(current, "a.md")


def test_read_of_an_unreadable_file_says_why(root: Path) -> None:
    put(root / "a.md").chmod(0)
    with as_other_user(), pytest.raises(errors.ArticleError, match=r"^a.md: cannot be read: permission denied$"):
        read(root, "a.md")


# --- write


def test_write_makes_the_file_and_its_folders_once(root: Path) -> None:
    path = root / "topics/deep/a.atom"
    assert outputs.write(str(path), b"one")
    first = path.stat()
    assert not outputs.write(str(path), b"one", mtime_ns=5)
    assert path.stat().st_mtime_ns == first.st_mtime_ns
    assert outputs.write(str(path), b"two", mtime_ns=NOW_NS)
    assert outputs.write(str(path), b"three", mtime_ns=NOW_NS)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (b"three", NOW_NS)
    assert os.listdir(path.parent) == ["a.atom"]
    outputs.sync(str(path))
    outputs.sync(str(path.parent))


def held(path: Path) -> set[int]:
    """The inodes of open files without a name that had this path, or were made for this folder."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        link = os.path.realpath(f"/proc/self/fd/{fd}")
        if link == f"{path} (deleted)" or re.fullmatch(rf"{path}/#\d+ \(deleted\)", link):
            found.add(os.fstat(int(fd)).st_ino)
    return found


def test_what_was_replaced_stays_open_for_a_while(root: Path) -> None:
    path = str(root / "feed")
    with outputs.Stock(replaced=2) as stock:
        assert outputs.write(path, b"0", stock=stock)
        for number in range(1, 5):
            assert outputs.write(path, b"%d" % number, stock=stock)
            assert not outputs.write(path, b"%d" % number, stock=stock)
        assert len(held(root / "feed")) == 2
    assert not held(root / "feed")
    assert Path(path).read_bytes() == b"4"


def test_what_was_replaced_is_let_go_where_room_runs_out(root: Path) -> None:
    path = str(root / "feed")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with outputs.Stock() as stock:
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 6, before[1]))
        try:
            for number in range(20):
                assert outputs.write(path, b"%d" % number, stock=stock)
            stock.refill()  # as far as it goes
            assert outputs.write(path, b"20", stock=stock)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert Path(path).read_bytes() == b"20"
    stock.free()


def test_files_are_made_before_they_are_needed(root: Path) -> None:
    stock = outputs.Stock(blanks=5)
    one, other = root / "one", root / "other"

    def write(text: bytes, *paths: Path) -> set[int]:
        for path in paths:
            assert outputs.write(str(path), text, mtime_ns=NOW_NS, stock=stock)
            assert (path.read_bytes(), path.stat().st_mtime_ns) == (text, NOW_NS)
        stock.refill()
        return {path.stat().st_ino for path in paths}

    write(b"1", one / "a", one / "b", one / "c")
    made = held(one)
    if not made:
        pytest.skip("this file system makes no files without a name")
    assert len(made) == 3
    assert write(b"2", one / "a", one / "b", one / "c", one / "d") > made  # one more than there were
    made = held(one)
    assert len(made) == 4
    stock.refill()  # nothing was written
    assert held(one) == made
    write(b"3", one / "a", *(other / name for name in "abcde"))
    assert (len(held(one)), len(held(other))) == (1, 4)
    write(b"4", other / "a")
    assert (len(held(one)), len(held(other))) == (0, 1)
    assert sorted(os.listdir(one)) == ["a", "b", "c", "d"]
    assert stock.has_blanks
    assert stock.free()
    assert not stock.free()
    assert not (stock.has_blanks or held(other))


def test_where_a_blank_file_cannot_be_named_another_is_written(root: Path) -> None:
    class OfAnotherDisk(outputs.Stock):
        def take(self, folder: str) -> int | None:
            super().take(folder)
            return os.memfd_create("blank")

    path, stock = root / "feeds/feed", OfAnotherDisk()
    for text in (b"1", b"2"):
        assert outputs.write(str(path), text, stock=stock)
        assert path.read_bytes() == text
    assert os.listdir(path.parent) == ["feed"]
    stock.free()
    shutil.rmtree(path.parent)
    stock.refill()
    assert not stock.free()


def test_date(root: Path) -> None:
    path = put(root / "feed", "x")
    outputs.date(str(path), NOW_NS)
    assert path.stat().st_mtime_ns == NOW_NS
    with pytest.raises(errors.OutputError, match="gone: cannot be dated: no such file"):
        outputs.date(str(root / "gone"), NOW_NS)


def test_written_files_have_the_mode_of_any_new_file(root: Path) -> None:
    before = os.umask(0o027)
    stock = outputs.Stock()
    try:
        for text in (b"", b"from a blank one"):
            outputs.write(str(root / "a"), text, stock=stock)
            stock.refill()
            assert stat.S_IMODE((root / "a").stat().st_mode) == 0o640
    finally:
        os.umask(before)
        stock.free()


def test_write_replaces_a_symlink_and_leaves_its_target(root: Path) -> None:
    target = put(root / "target", "same")
    (root / "feed").symlink_to(target)
    assert outputs.write(str(root / "feed"), b"same")
    assert not (root / "feed").is_symlink()
    assert outputs.write(str(root / "feed"), b"else")
    assert target.read_text() == "same"


def test_write_that_fails_leaves_the_old_file_and_nothing_else(root: Path) -> None:
    path = put(root / "feed", "old")
    (root / "folder").mkdir()
    with pytest.raises(errors.OutputError, match=r"folder: cannot be written: is a directory"):
        outputs.write(str(root / "folder"), b"new")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # the next best thing to a full disk
    try:
        with pytest.raises(errors.OutputError, match=r"feed: cannot be written: file too large"):
            outputs.write(str(path), b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    with pytest.raises(errors.OutputError, match="not a directory"):
        outputs.write(str(path / "below"), b"new")
    assert path.read_text() == "old"
    assert sorted(os.listdir(root)) == ["feed", "folder"]


def test_sync_of_what_is_gone_is_nothing_and_of_what_cannot_be_synced_says_so(root: Path) -> None:
    outputs.sync(str(root / "gone"))
    with pytest.raises(errors.OutputError, match="cannot be synced: file name too long"):
        outputs.sync(str(root / ("x" * 300)))
    with pytest.raises(errors.OutputError, match="cannot be synced: invalid argument"):
        outputs.sync("/proc/self/mountinfo")


def test_remove_leaves_no_file_or_says_why(root: Path) -> None:
    path = put(root / "feed", "old")
    outputs.remove(str(path))
    outputs.remove(str(path))
    assert not path.exists()
    with pytest.raises(errors.OutputError, match="cannot be removed"):
        outputs.remove(str(root))


def test_write_to_a_folder_of_the_working_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert outputs.write("a", b"1")
    assert outputs.write("new/a", b"1")
    assert outputs.write("newer/a", b"1")
    assert (root / "new/a").read_bytes() == b"1"


def test_clean_temporaries_removes_leftovers_and_nothing_else(root: Path) -> None:
    for name in ["all.atom", ".feedd-1", "topics/.feedd-2", "topics/a.atom", ".feedd-folder/x", "locked/.feedd-3"]:
        put(root / name)
    (root / "topics/.feedd-link").symlink_to("a.atom")
    (root / "locked").chmod(0o555)
    root.chmod(0o777)
    (root / "topics").chmod(0o777)
    with as_other_user():
        assert outputs.clean_temporaries(str(root)) == 2
    (root / "locked").chmod(0o755)
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()) == [
        ".feedd-folder/x",
        "all.atom",
        "locked/.feedd-3",
        "topics/.feedd-link",
        "topics/a.atom",
    ]
    assert outputs.clean_temporaries(str(root / "gone")) == 0


def test_scan_without_stats_yields_the_same_paths(root: Path) -> None:
    put(root / "a.md", "1")
    put(root / "deep/b.md", "2")
    (root / "c.md").symlink_to(root / "a.md")
    os.mkfifo(root / "pipe.md")
    quick = list(files.scan(str(root), stats=False))
    assert [path for path, _ in quick] == [path for path, _ in files.scan(str(root))] == ["a.md", "c.md", "deep/b.md"]
    assert [stat for path, stat in quick if path != "c.md"] == [files.NO_STAT] * 2
