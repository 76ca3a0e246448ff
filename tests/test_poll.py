"""feedd.poll: what two looks at a real folder find, and where it is needed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from feedd import files, poll, settle


class Looks:
    """A poller that looks when it is told to: its times are zero."""

    def __init__(self, root: Path) -> None:
        self.inbox = settle.Inbox(0.0, 0.0, 60.0)
        self.poller = poll.Poller(str(root), self.inbox, 0.0, 0.0)
        self.poller._next_at = 0.0

    def look(self) -> list[str]:
        self.poller._next_at = 0.0
        self.poller.look()
        batch = self.inbox.take(0)
        return sorted(batch.paths) if batch else []


def test_a_change_is_handed_over_when_two_looks_agree(tmp_path: Path) -> None:
    (tmp_path / "same.md").write_text("")
    (tmp_path / "old.md").write_text("")
    looks = Looks(tmp_path)
    assert looks.poller.look() is True
    assert looks.look() == []
    (tmp_path / "new.md").write_text("1")
    (tmp_path / "old.md").unlink()
    assert looks.look() == []
    (tmp_path / "new.md").write_text("12")
    assert looks.look() == ["old.md"]
    assert looks.look() == ["new.md"]
    assert looks.look() == []


def test_a_rename_and_a_moved_folder_are_seen(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.md").write_text("")
    looks = Looks(tmp_path)
    looks.look()
    (tmp_path / "a").rename(tmp_path / "b")
    assert looks.look() == []
    assert looks.look() == ["a/1.md", "b/1.md"]


def test_between_looks_only_what_changed_is_looked_at(tmp_path: Path) -> None:
    inbox = settle.Inbox(0.0, 0.0, 60.0)
    poller = poll.Poller(str(tmp_path), inbox, 60.0, 0.0)
    assert poller.look() is True
    assert 0 < poller.rest_s() <= 60
    (tmp_path / "a.md").write_text("")
    assert poller.look() is False
    assert inbox.take(0) is None
    poller._next_at = 0.0
    poller.look()
    assert poller.rest_s() == 0.0
    poller.look()
    assert inbox.take(0) == settle.Batch(frozenset({"a.md"}))


def test_what_cannot_be_read_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("")
    (tmp_path / "b.md").write_text("")
    looks = Looks(tmp_path)
    looks.look()
    (tmp_path / "a.md").unlink()
    os.mkfifo(tmp_path / "a.md")
    assert looks.look() == []
    assert looks.look() == []
    (tmp_path / "a.md").unlink()
    looks.look()
    assert looks.look() == ["a.md"]


def test_a_root_that_is_gone_is_an_error_and_the_look_at_its_return_is_a_first_one(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    looks = Looks(root)
    looks.look()
    shutil.rmtree(root)
    with pytest.raises(files.RootGoneError):
        looks.look()
    looks.poller.forget()
    root.mkdir()
    assert looks.poller.look() is True


def test_a_look_ends_when_it_is_told_to_stop(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("")
    looks = Looks(tmp_path)
    looks.poller.stop()
    assert looks.poller.look() is False


MOUNTS = r"""
proc /proc proc rw 0 0
/dev/sda / ext4 rw 0 0
server:/x /mnt/news nfs4 rw 0 0
/dev/sdb /mnt/news/local ext4 rw 0 0
shared /mnt/with\040space vboxsf rw 0 0
x /mnt/fuse fuse.sshfs rw 0 0
/dev/sdc /mnt/hidden nfs rw 0 0
/dev/sdd /mnt/hidden ext4 rw 0 0
""".lstrip()


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ("/mnt/news", "/mnt/news/ is of type nfs4"),
        ("/mnt/news/a/b", "/mnt/news/ is of type nfs4"),
        ("/mnt/news/local/a", ""),
        ("/mnt/newsroom", ""),
        ("/mnt/with space/a", "/mnt/with space/ is of type vboxsf"),
        ("/mnt/fuse", "/mnt/fuse/ is of type fuse.sshfs"),
        ("/mnt/hidden", ""),
        ("/mnt", "/mnt/news/ is of type nfs4"),
        ("/srv", ""),
    ],
)
def test_where_events_do_not_come_is_told_by_the_file_system(tmp_path: Path, root: str, reason: str) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert poll.why_poll(root, mounts_path=str(tmp_path / "mounts")) == reason


def test_without_a_list_of_mounts_events_are_hoped_for(tmp_path: Path) -> None:
    assert poll.why_poll("/", mounts_path=str(tmp_path / "none")) == ""
    assert poll.why_poll(str(tmp_path)) == ""


def test_on_other_systems_it_is_always_polling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert "Linux" in poll.why_poll(str(tmp_path))
