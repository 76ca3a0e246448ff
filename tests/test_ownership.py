"""Whose the output folder is: one process at a time holds it, however it came to be, and none is kept out for long."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import disk, turn_read_only

from feedd import errors, ownership
from feedd.ownership import NAME, Hold, Publisher

ME = Publisher("/somewhere/state", os.getpid(), "0123")


def test_one_at_a_time_holds_a_folder_and_the_other_is_told_who(tmp_path: Path) -> None:
    mine, other = Hold(str(tmp_path)), Hold(str(tmp_path))
    assert mine.take() == Publisher()
    with pytest.raises(errors.OutputError, match="another feedd publishes there; stop it"):
        other.take()
    assert mine.sign(ME)
    with pytest.raises(errors.OutputError, match=rf"\(process {os.getpid()}, with its state in /somewhere/state\)"):
        other.take()
    mine.close()
    mine.close()
    assert other.take() == ME
    other.close()


def test_it_is_asked_who_was_there_until_that_is_answered(tmp_path: Path) -> None:
    hold = Hold(str(tmp_path / "made" / "for it"))
    assert not hold.sign(ME)  # of nothing
    assert [hold.take(), hold.take()] == [Publisher(), Publisher()]
    assert hold.sign(ME)
    assert [hold.take(), hold.take()] == [None, None]
    hold.close()
    assert hold.take() == ME
    hold.close()


def test_who_is_killed_holds_nothing_any_more(tmp_path: Path) -> None:
    code = (
        "import sys; from feedd.ownership import Hold, Publisher; hold = Hold(sys.argv[1]); hold.take();"
        "hold.sign(Publisher('/theirs', 1, 'ab')); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(ownership.__file__).parents[1])},
    ) as process:  # fmt: skip
        assert process.stdout and process.stdout.readline() == b"held\n"
        hold = Hold(str(tmp_path))
        with pytest.raises(errors.OutputError, match="/theirs"):
            hold.take()
        process.send_signal(signal.SIGKILL)
    assert hold.take() == Publisher("/theirs", 1, "ab")
    hold.close()


def test_a_folder_that_is_removed_and_made_again_is_held_again(tmp_path: Path) -> None:
    out = tmp_path / "feeds"
    mine = Hold(str(out))
    mine.take()
    mine.sign(ME)
    shutil.rmtree(out)
    assert mine.take() == Publisher()
    mine.sign(ME)
    out.rename(tmp_path / "away")
    other = Hold(str(out))
    assert other.take() == Publisher()
    with pytest.raises(errors.OutputError):
        mine.take()
    other.close()
    (out / NAME).unlink()
    out.rmdir()
    (tmp_path / "away").rename(out)
    assert mine.take() == ME
    mine.close()


def test_what_cannot_be_held_keeps_nobody_from_trying(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert Hold(str(tmp_path / "file")).take() is None
    (tmp_path / NAME).mkdir()
    assert Hold(str(tmp_path)).take() is None


def test_what_cannot_be_read_or_written_is_held_all_the_same(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"state": 5')  # torn
    hold = Hold(str(tmp_path))
    assert hold.take() == Publisher()
    (tmp_path / NAME).rename(tmp_path / "away")
    assert not hold.sign(ME)
    (tmp_path / "away").rename(tmp_path / NAME)
    assert hold.take() == Publisher()  # it is still to be signed
    assert hold.sign(ME)
    assert hold.take() is None
    hold.close()


def test_who_is_shorter_than_who_was_before_leaves_nothing_of_it(tmp_path: Path) -> None:
    for publisher in (Publisher("/a/folder/of/some/length", 12345, "abc"), ME):
        hold = Hold(str(tmp_path))
        hold.take()
        assert hold.sign(publisher)
        hold.close()
    assert Hold(str(tmp_path)).take() == ME
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_a_lock_of_another_user_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        """What a file of another user answers to all but root."""
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "open", refuse)
    assert Hold(str(tmp_path)).take() is None  # it is the folder that takes no files
    monkeypatch.undo()
    (tmp_path / NAME).touch()
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(errors.OutputError, match="remove it, if no feedd of another user"):
        Hold(str(tmp_path)).take()


def test_who_holds_it_may_be_another_than_who_signed_it(tmp_path: Path) -> None:
    holder, other = Hold(str(tmp_path)), Hold(str(tmp_path))
    holder.take()
    assert holder.sign(Publisher("/its/state", (1 << 22) + 1, "ab"))  # no process has such a number
    with pytest.raises(errors.OutputError, match=r"whoever holds \.feedd\.lock there .* was the last to sign it"):
        other.take()
    holder.close()


def test_a_disk_can_be_turned_read_only_while_a_folder_on_it_is_held(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=64k"):
        hold, other = Hold(str(tmp_path / "disk")), Hold(str(tmp_path / "disk"))
        hold.take()
        assert hold.sign(ME)
        turn_read_only(tmp_path / "disk", "size=64k")
        assert hold.take() is None
        with pytest.raises(errors.OutputError):
            other.take()
        hold.close()
        assert other.take() == ME
        assert not other.sign(ME)
        other.close()


Flock = Callable[[int, int], None]


def test_a_file_that_goes_at_the_moment_of_locking_is_left_for_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock: Flock = fcntl.flock

    def late(fd: int, how: int) -> None:
        (tmp_path / NAME).unlink()
        lock(fd, how)

    hold = Hold(str(tmp_path))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(fcntl, "flock", late)
        assert hold.take() is None
    assert hold.take() == Publisher()
    hold.close()


def test_a_file_system_that_locks_only_what_is_open_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS does."""
    lock: Flock = fcntl.flock

    def of_nfs(fd: int, how: int) -> None:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    hold, other = Hold(str(tmp_path)), Hold(str(tmp_path))
    assert hold.take() == Publisher()
    with pytest.raises(errors.OutputError):
        other.take()
    hold.close()


def test_a_file_system_without_locks_is_published_into_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_fd: int, _how: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert Hold(str(tmp_path)).take() is None
