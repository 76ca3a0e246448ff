"""feedd.watch on a real folder, with the kernel's events: nothing is missed, nothing is handed over half-written.

No test sleeps: each waits for a batch, with a deadline that is only reached when something is wrong.
"""

from __future__ import annotations

import ast
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import structlog.testing
from watchdog.observers import inotify_c

from feedd import files, inotify, watch
from feedd.watch import Batch, Watcher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify")

DEADLINE_S = 20.0
QUEUE_LIMIT = Path("/proc/sys/fs/inotify/max_queued_events")


@contextmanager
def heard() -> Iterator[list[MutableMapping[str, Any]]]:
    """Log entries of every level, as they come."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
    with structlog.testing.capture_logs() as entries:
        yield entries


class Seen:
    """All batches of a watcher so far, as one."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.paths: set[str] = set()
        self.folders: set[str] = set()
        self.reasons: list[str] = []

    def until(self, done: Callable[[Seen], bool]) -> Seen:
        end = time.monotonic() + DEADLINE_S
        while not done(self):
            batch = self.watcher.next_batch(end - time.monotonic())
            assert batch is not None, f"nothing more came after {self.paths=} {self.folders=} {self.reasons=}"
            self.paths |= batch.paths
            self.folders |= batch.folders
            if batch.full_scan or batch.root_gone:
                self.reasons.append(batch.reason)
        return self

    def until_paths(self, *paths: str) -> Seen:
        return self.until(lambda seen: seen.paths >= set(paths))

    def until_folder(self, folder: str) -> Seen:
        return self.until(lambda seen: folder in seen.folders)

    def until_reason(self, reason: str) -> Seen:
        return self.until(lambda seen: any(reason in said for said in seen.reasons))


@contextmanager
def watching(root: Path, **settings: float | bool) -> Iterator[Seen]:
    """A watcher whose first batch was taken; leaves no thread behind."""
    before = set(threading.enumerate())
    options = {"gap_s": 0.0, "check_s": 0.02, "polling": False, **settings}
    with Watcher(str(root), **options) as watcher:  # type: ignore[arg-type]
        yield Seen(watcher).until(lambda seen: bool(seen.reasons))
        began = time.monotonic()
    assert time.monotonic() - began < 0.5
    assert watcher.next_batch() is None
    assert set(threading.enumerate()) == before


def put(path: Path, text: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path / "root/old.md")
    put(tmp_path / "root/a/b/deep.md")
    return tmp_path / "root"


def test_the_first_batch_asks_for_a_full_scan(root: Path) -> None:
    with Watcher(str(root)) as watcher:
        assert watcher.mode == "inotify"
        assert watcher.next_batch(DEADLINE_S) == Batch(full_scan=True, reason="start")
        assert watcher.next_batch(0) is None


def test_files_new_changed_gone_and_renamed(root: Path) -> None:
    with watching(root) as seen:
        put(root / "a/new.md")
        seen.until_paths("a/new.md")
        with open(root / "old.md", "a") as file:
            file.write("more")
        seen.until_paths("old.md")
        (root / "a/b/deep.md").unlink()
        seen.until_paths("a/b/deep.md")
        (root / "a/new.md").rename(root / "renamed.md")
        seen.until_paths("renamed.md")
        (root / "renamed.md").rename(root / "a/again.md")
        seen.until_paths("a/again.md")
        assert seen.folders == set() and seen.reasons == ["start"]


def test_a_changed_permission_is_news(root: Path) -> None:
    with watching(root) as seen:
        (root / "old.md").chmod(0o600)
        seen.until_paths("old.md")


def test_editors_that_write_a_temporary_file_and_rename(root: Path) -> None:
    with watching(root) as seen:
        put(root / ".old.md.swp")
        put(root / "4913").unlink()
        (root / "old.md").rename(root / "old.md~")
        put(root / "old.md.tmp").rename(root / "old.md")
        (root / "old.md~").unlink()
        put(root / "end.md")
        assert seen.until_paths("end.md").paths == {"old.md", "end.md"}


def test_a_file_is_not_handed_over_before_its_writer_closes_it(root: Path) -> None:
    with watching(root, open_wait_s=DEADLINE_S) as seen:
        with open(root / "slow.md", "w") as file:
            for number in range(3):
                file.write("half")
                file.flush()
                put(root / f"{number}.md")
                seen.until_paths(f"{number}.md")
            assert "slow.md" not in seen.paths
        seen.until_paths("slow.md")


def test_a_file_that_is_written_while_it_is_renamed_is_not_handed_over_before_it_is_closed(root: Path) -> None:
    with watching(root, open_wait_s=DEADLINE_S) as seen:
        with open(root / "slow.md.part", "w") as file:
            file.write("half")
            file.flush()
            (root / "slow.md.part").rename(root / "slow.md")
            put(root / "end.md")
            assert "slow.md" not in seen.until_paths("end.md").paths
        seen.until_paths("slow.md")


def test_links_that_nobody_closes_are_handed_over_after_a_while(root: Path) -> None:
    with watching(root, open_wait_s=0.05) as seen:
        os.link(root / "old.md", root / "hard.md")
        (root / "soft.md").symlink_to("old.md")
        seen.until_paths("hard.md", "soft.md")


def test_fifos_and_sockets_do_no_harm(root: Path) -> None:
    with watching(root, open_wait_s=0.05) as seen:
        os.mkfifo(root / "fifo.md")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(root / "socket.md"))
        seen.until_paths("fifo.md", "socket.md")


def test_what_was_put_back_comes_again(root: Path) -> None:
    with watching(root) as seen:
        seen.watcher.retry(["old.md"], 0.01)
        seen.until_paths("old.md")
        seen.watcher.ask("hourly")
        seen.until_reason("hourly")


def test_folders_that_come_and_go_are_to_be_scanned_and_what_happens_in_them_is_seen(root: Path) -> None:
    with watching(root) as seen:
        (root / "new").mkdir()
        seen.until_folder("new")
        (root / "new/x").mkdir()
        seen.until_folder("new/x")
        put(root / "new/x/2.md")
        seen.until_paths("new/x/2.md")
        put(root.parent / "outside/y/3.md")
        (root.parent / "outside").rename(root / "in")
        seen.until_folder("in")
        put(root / "in/y/4.md")
        seen.until_paths("in/y/4.md")
        (root / "in").rename(root / "a/in")
        seen.until_folder("a/in").until_folder("in")
        put(root / "a/in/y/5.md")
        seen.until_paths("a/in/y/5.md")
        seen.folders.clear()
        (root / "a").rename(root.parent / "out")
        seen.until_folder("a")
        put(root.parent / "out/in/y/6.md")
        shutil.rmtree(root / "new")
        seen.until_folder("new")
        (root.parent / "out").rename(root / "back")
        seen.until_folder("back")
        put(root / "back/in/y/7.md")
        seen.until_paths("back/in/y/7.md")
        assert not any(path.endswith("6.md") for path in seen.paths)
        assert seen.reasons == ["start"]


def test_a_folder_replaced_by_another_of_the_same_name_is_watched(root: Path) -> None:
    with watching(root) as seen:
        for number in range(50):
            shutil.rmtree(root / "a")
            put(root / "a/b/new.md")
            if number % 2:
                (root / "a").rename(root / f"z{number}")
                put(root / "a/b/new.md")
        put(root / "end.md")
        seen.until_paths("end.md")
        seen.paths.clear()
        put(root / "a/b/last.md")
        put(root / "z49/b/last.md")
        seen.until_paths("a/b/last.md", "z49/b/last.md")
        assert seen.reasons == ["start"]


def test_every_file_of_a_tree_made_in_a_hurry_is_covered(root: Path) -> None:
    """By an event, or by the scan of a folder that was asked for after it was made."""
    made = [f"{one}/{two}/{three}.md" for one in range(10) for two in range(10) for three in range(5)]
    with watching(root) as seen:
        maker = threading.Thread(target=lambda: [put(root / path) for path in made])
        maker.start()
        covered: set[str] = set()

        def all_covered(seen: Seen) -> bool:
            for folder in seen.folders:
                covered.update(path for path, _ in files.scan(str(root), under=folder))
            seen.folders.clear()
            return covered | seen.paths >= set(made)

        seen.until(all_covered)
        maker.join()
        assert seen.reasons == ["start"]


def test_hidden_folders_and_symlinked_ones_are_not_watched(root: Path) -> None:
    put(root.parent / "outside/x.md")
    with watching(root) as seen:
        put(root / ".git/x.md")
        (root / "link").symlink_to(root.parent / "outside")
        put(root.parent / "outside/x.md")
        name = os.fsdecode(b"caf\xe9")
        put(root / f"{name}.md")
        put(root / f"{name}/x.md")
        put(root / "end.md")
        assert seen.until_paths("end.md").paths == {"end.md"}
        assert seen.folders == set()


def test_a_folder_whose_permissions_change_is_to_be_scanned(root: Path) -> None:
    with watching(root) as seen:
        (root / "a").chmod(0o700)
        seen.until_folder("a")
        seen.folders.clear()
        os.utime(root / "a")  # as rsync does to each folder: no reason to scan
        put(root / "end.md")
        assert seen.until_paths("end.md").folders == set()
        root.chmod(0o700)
        seen.until_reason("permissions changed")


@contextmanager
def as_other_user() -> Iterator[None]:
    """Root may list everything: act, in all threads, as somebody else."""
    other = os.geteuid() == 0
    if other:
        os.seteuid(65534)
    try:
        yield
    finally:
        if other:
            os.seteuid(0)


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A root that any user may enter: pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory(prefix="feedd-test-") as folder:
        Path(folder).chmod(0o755)
        yield put(Path(folder, "root/old.md")).parent


def test_a_folder_that_becomes_readable_is_to_be_scanned_and_watched(open_root: Path) -> None:
    put(open_root / "locked/x/1.md")
    (open_root / "locked").chmod(0)
    with heard() as logs, ExitStack() as stack:
        with as_other_user():
            seen = stack.enter_context(watching(open_root))
        (open_root / "locked").chmod(0o755)
        seen.until_folder("locked")
        put(open_root / "locked/x/2.md")
        seen.until_paths("locked/x/2.md")
    assert [entry["path"] for entry in logs if "cannot be listed" in entry["event"]] == ["locked"]


def test_a_root_that_cannot_be_listed_counts_as_gone_until_it_can(open_root: Path) -> None:
    open_root.chmod(0o311)
    with ExitStack() as stack:
        with as_other_user():
            seen = stack.enter_context(watching(open_root, check_s=DEADLINE_S))
            assert seen.reasons == ["root_gone"]
        open_root.chmod(0o755)
        seen.watcher._wake.set()
        seen.until_reason("root_back")


@pytest.mark.parametrize("polling", [False, True])
def test_a_root_that_came_back_unseen_and_went_again_is_said_to_be_gone_again(root: Path, polling: bool) -> None:
    with watching(root, polling=polling, poll_s=0.02, check_s=0.02) as seen:
        shutil.rmtree(root)
        seen.until_reason("root_gone")
        seen.watcher.found()  # by somebody who looked between two of the watcher's own looks
        seen.until(lambda seen: seen.reasons.count("root_gone") == 2)
        put(root / "new.md")
        seen.until_reason("root_back")


def test_a_burst_of_renames_is_seen_whole(root: Path) -> None:
    count = 3000
    for number in range(count):
        put(root / f"{number % 10}/{number}.md", "")
    with watching(root, gap_s=0.03) as seen:
        for number in range(count):
            os.rename(root / f"{number % 10}/{number}.md", root / f"{number % 10}/new-{number}.md")
        seen.until_paths(*(f"{number % 10}/{name}{number}.md" for number in range(count) for name in ("", "new-")))
        assert seen.reasons == ["start"]


@contextmanager
def short_queue(events: int) -> Iterator[None]:
    """For inotify instances made meanwhile: the kernel reads the limit when it makes one."""
    before = QUEUE_LIMIT.read_text()
    try:
        QUEUE_LIMIT.write_text(str(events))
    except OSError:
        pytest.skip("the length of the kernel's event queue cannot be set here")
    try:
        yield
    finally:
        QUEUE_LIMIT.write_text(before)


def test_an_overflow_of_the_kernels_queue_is_logged_and_leads_to_a_full_scan(root: Path) -> None:
    with heard() as logs, ExitStack() as stack:
        with short_queue(16):
            watcher = stack.enter_context(Watcher(str(root), gap_s=0.0, polling=False))
        assert watcher._tree is not None
        seen = Seen(watcher).until_reason("start")
        with watcher._tree._lock:  # the reader of events is busy
            for number in range(200):
                put(root / f"{number}.md")
            (root / "unseen").mkdir()
        seen.until_reason("overflow")
        put(root / "unseen/x.md")
        seen.until_paths("unseen/x.md")
    assert [entry["log_level"] for entry in logs if entry["event"].startswith("the kernel's")] == ["warning"]


def test_the_root_removed_and_made_again(root: Path) -> None:
    with heard() as logs, watching(root) as seen:
        shutil.rmtree(root)
        seen.until_reason("root_gone")
        put(root / "new.md")
        seen.until_reason("root_back")
        put(root / "x/newer.md")
        seen.until_folder("x")
        put(root / "x/newest.md")
        seen.until_paths("x/newest.md")
    assert [entry["log_level"] for entry in logs if "gone" in entry["event"]] == ["debug"]


def test_the_root_moved_away_and_another_put_in_its_place(root: Path) -> None:
    put(root.parent / "other/x.md")
    with watching(root) as seen:
        root.rename(root.parent / "away")
        (root.parent / "other").rename(root)
        seen.until_reason("root")
        if seen.reasons[-1] == "root_gone":
            seen.until_reason("root_back")
        put(root / "new.md")
        put(root.parent / "away/wrong.md")
        seen.until_paths("new.md")
        assert "wrong.md" not in seen.paths


def test_a_root_whose_parent_is_exchanged_is_found_out_without_an_event(tmp_path: Path) -> None:
    put(tmp_path / "one/articles/a.md")
    put(tmp_path / "two/articles/b.md")
    (tmp_path / "current").symlink_to("one")
    with watching(tmp_path / "current/articles") as seen:
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(tmp_path / "current")
        seen.until_reason("root exchanged")
        put(tmp_path / "two/articles/new.md")
        seen.until_paths("new.md")


@pytest.mark.parametrize("polling", [False, True])
def test_a_root_that_is_not_there_yet(tmp_path: Path, polling: bool) -> None:
    with watching(tmp_path / "later", polling=polling, poll_s=0.02) as seen:
        assert seen.reasons == ["root_gone"]
        put(tmp_path / "later/a.md")
        seen.until_reason("root_back")
        put(tmp_path / "later/b.md")
        seen.until_paths("b.md")


def test_polling_finds_what_events_would_have_told(root: Path) -> None:
    with watching(root, polling=True, poll_s=0.02) as seen:
        assert seen.watcher.mode == "polling"
        assert seen.reasons == ["polling"]
        put(root / "new/x.md")
        seen.until_paths("new/x.md")
        put(root / "old.md", "longer than before")
        seen.until_paths("old.md")
        (root / "a").rename(root / "z")
        seen.until_paths("a/b/deep.md", "z/b/deep.md")
        (root / "z/b/deep.md").unlink()
        shutil.rmtree(root)
        seen.until_reason("root_gone")
        put(root / "back.md")
        seen.until_reason("root_back")


def test_without_inotify_instances_it_polls(root: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    watcher = Watcher(str(root), poll_s=0.02)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    try:
        with heard() as logs:
            watcher._open_tree("start")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert watcher.mode == "polling"
    assert "limit" in logs[0]["reason"]


FEW_WATCHES = """
import os, sys, time
from feedd.watch import Watcher
with open("/proc/sys/user/max_inotify_watches", "w") as limit:
    limit.write(sys.argv[2])
root = sys.argv[1]
with Watcher(root, gap_s=0.0, check_s=0.02, poll_s=0.02, polling=False) as watcher:
    print(watcher.mode, flush=True)
    for number in range(20):
        os.makedirs(f"{root}/{number}", exist_ok=True)
    while "polling" not in watcher.next_batch(20).reason:
        pass
    print(watcher.mode, flush=True)
    os.makedirs(f"{root}/last", exist_ok=True)
    with open(f"{root}/last/x.md", "w") as file:
        file.write("x")
    while "last/x.md" not in watcher.next_batch(20).paths:
        pass
    print("seen", flush=True)
"""


@pytest.mark.parametrize(("watches", "at_first"), [(2, "polling"), (8, "inotify")])
def test_when_the_kernel_has_no_more_watches_it_polls(root: Path, watches: int, at_first: str) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Ur", "true"], check=False).returncode:
        pytest.skip("the number of watches cannot be limited here")
    ran = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", FEW_WATCHES, str(root), str(watches)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    said = [line for line in ran.stdout.splitlines() if line in ("polling", "inotify", "seen")]
    assert said == [at_first, "polling", "seen"]


def test_an_event_that_cannot_be_handled_is_logged_and_leads_to_a_full_scan(root: Path) -> None:
    with heard() as logs, watching(root) as seen:
        assert seen.watcher._tree is not None
        seen.watcher._tree._folders = None  # type: ignore[assignment]
        (root / "x").mkdir()
        seen.until_reason("could not be handled")
        put(root / "x/1.md")
        seen.until_paths("x/1.md")
    assert "critical" in [entry["log_level"] for entry in logs]


def test_a_reader_of_events_that_dies_is_replaced(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda died: None)
    with watching(root) as seen:
        assert seen.watcher._tree is not None
        seen.watcher._tree._reader.handle_event = None  # type: ignore[assignment,method-assign]
        put(root / "new.md")
        seen.until_reason("died")
        put(root / "new.md")
        seen.until_paths("new.md")


def test_a_failing_keeper_starts_over(root: Path) -> None:
    with heard() as logs, watching(root) as seen:
        assert seen.watcher._tree is not None
        seen.watcher._tree.trouble = None  # type: ignore[assignment,method-assign]
        seen.until_reason("anew")
        put(root / "new.md")
        seen.until_paths("new.md")
    assert "critical" in [entry["log_level"] for entry in logs]


def test_stopping_ends_a_wait_and_may_come_before_starting(root: Path) -> None:
    Watcher(str(root)).stop()
    with watching(root) as seen:
        got: list[Batch | None] = []
        waiting = threading.Thread(target=lambda: got.append(seen.watcher.next_batch()))
        waiting.start()
        seen.watcher.stop()
        waiting.join(DEADLINE_S)
        assert got == [None]


def test_the_installed_watchdog_has_what_is_built_upon() -> None:
    """Its parts below the public Observer: another version that lacks one of them must fail here, not in service."""
    for name in ["IN_MODIFY", "IN_ATTRIB", "IN_CLOSE_WRITE", "IN_MOVED_FROM", "IN_MOVED_TO", "IN_CREATE", "IN_DELETE"]:
        assert getattr(inotify_c.InotifyConstants, name) == getattr(inotify, name)
    for name in ["IN_DELETE_SELF", "IN_MOVE_SELF", "IN_UNMOUNT", "IN_ONLYDIR", "IN_DONT_FOLLOW", "IN_EXCL_UNLINK"]:
        assert getattr(inotify_c.InotifyConstants, name) == getattr(inotify, name)
    assert inotify_c.InotifyConstants.IN_ISDIR == inotify.IN_ISDIR
    for name in ["add_callback", "remove_callbacks", "start", "stop", "join"]:
        assert callable(getattr(inotify_c.InotifyFD, name))
    assert set(vars(inotify_c.WatchCallback)) >= {"on_event", "on_watch_deleted", "on_queue_overflow"}


def test_an_overflow_is_told_to_the_callbacks(root: Path) -> None:
    """watchdog before 7.1 dropped this event without a word."""
    with watching(root) as seen:
        assert seen.watcher._tree is not None
        reader = seen.watcher._tree._reader
        reader.handle_event(inotify_c.InotifyEvent(inotify_c.WatchDescriptor(-1), inotify_c.Mask(0x4000), 0, b""))
        seen.until_reason("overflow")


def test_watchdog_is_imported_by_inotify_only() -> None:
    for path in Path(watch.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert path.name == "inotify.py" or not any(name.startswith("watchdog") for name in names), path
