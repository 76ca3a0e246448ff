"""A tree of folders -> news of the files in it, as the kernel tells them (inotify(7)); a callback of watchdog's reader.

Keeps a watch on each folder, and says when all of it must be made anew. Decides nothing of when a file may be read.
The only module that imports watchdog; called by `watch`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
import threading
from collections.abc import Callable

import structlog

from feedd import files, poll, settle

if sys.platform == "linux":
    from watchdog.observers import inotify_c

log = structlog.get_logger(__name__)

# <linux/inotify.h>
IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE = 0x2, 0x4, 0x8
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
IN_UNMOUNT, IN_ONLYDIR, IN_DONT_FOLLOW, IN_EXCL_UNLINK, IN_ISDIR = 0x2000, 0x1000000, 0x2000000, 0x4000000, 0x40000000
_CONTENT = IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
_FOLDER_MASK = _CONTENT | IN_ONLYDIR | IN_EXCL_UNLINK | IN_DONT_FOLLOW
_ROOT_MASK = _CONTENT | IN_ONLYDIR | IN_EXCL_UNLINK | IN_DELETE_SELF | IN_MOVE_SELF  # the root itself may be a symlink

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})  # a folder's end is an event, too


class UnwatchableError(Exception):
    """inotify cannot watch this root, or not all of it."""


class Tree:
    """Keeps an inotify watch on each folder below the root, and passes what the kernel says on to the inbox.

    watchdog's Observer is not used for this: it pairs renames by searching all pending events (20,000 renames at once:
    half of the paths lost and 2.6 s of CPU, here none and 0.2 s), and passes over what it cannot watch without a word.
    watchdog reads, parses and dispatches the events in its thread; this is the callback for all of them.
    Raises UnwatchableError if a folder cannot be watched for want of watches, RootGoneError if there is no root.
    """

    def __init__(self, root: str, inbox: settle.Inbox, wake: Callable[[], object]) -> None:
        self._root, self._inbox, self._wake = root, inbox, wake
        self._lock = threading.RLock()
        self._closing = False
        self._trouble = ""
        self._numbers = itertools.count(1)
        self._callbacks: dict[int, inotify_c.CallbackId] = {}  # by watch
        self._paths: dict[int, str] = {}  # watch -> folder
        self._folders: dict[str, tuple[int, int]] = {}  # folder -> watch (-1: not permitted) and mode
        try:
            self._reader = inotify_c.InotifyFD()
        except OSError as error:
            raise UnwatchableError(_what_to_do(error)) from error
        self._mounts = poll.Mounts(root)
        self._reader.name = "feedd-inotify"
        self._reader.start()
        try:
            with self._lock:  # events wait in the kernel meanwhile
                self._identity = files.identify(root)
                self._add_below("")
                if self._trouble:
                    raise UnwatchableError(self._trouble)
                if self._folders.get("", (-1, 0))[0] == -1:
                    raise files.RootGoneError(root, "cannot be listed")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._closing = True  # ends a long _add_below
        with self._lock:  # and no watch is added after it: the descriptor's number may be another's by then
            pass
        self._reader.stop()
        self._reader.join(timeout=1.0)
        self._mounts.close()

    def trouble(self) -> str:
        """Why this tree must be replaced; empty if all is well."""
        if self._trouble:
            return self._trouble
        if not self._reader.is_alive():
            return "the reader of events died"
        if self._mounts.have_changed():
            return "something was mounted or unmounted"
        try:
            return "" if files.identify(self._root) == self._identity else "root exchanged"
        except files.RootGoneError:
            return "root exchanged"

    # Called by watchdog in its thread (its WatchCallback protocol).

    def on_event(self, event: inotify_c.InotifyEvent) -> None:
        try:
            with self._lock:
                folder = self._paths.get(event.wd)
                if folder is not None and not self._closing:
                    self._handle(folder, event)
        except Exception as error:  # it would end watchdog's thread without a word
            log.critical("an event could not be handled", root=self._root, exc_info=error)
            self._fail("an event could not be handled")

    def on_watch_deleted(self, wd: inotify_c.WatchDescriptor) -> None:
        if self._closing:
            return
        with self._lock:
            folder = self._paths.pop(wd, None)
            self._callbacks.pop(wd, None)
            if folder is not None and self._folders.get(folder, (0, 0))[0] == wd:
                del self._folders[folder]
                if not folder:
                    self._fail("root exchanged")

    def on_queue_overflow(self) -> None:
        if not self._trouble:  # it may be told several times until this tree is closed
            log.warning("the kernel's event queue overflowed: events were lost", root=self._root)
        self._fail("overflow")  # folders may have come and gone unseen: all watches are made anew

    def _handle(self, folder: str, event: inotify_c.InotifyEvent) -> None:
        mask = event.mask
        if not event.name:
            if mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT):
                self._fail("root exchanged" if not folder else f"{folder} was unmounted")
            elif mask & IN_ATTRIB and not folder:
                self._wake()  # the root lost its name, perhaps
                if self._remember(folder, self._folders[folder][0]):
                    self._inbox.full("permissions changed")
            return
        try:
            name = event.name.decode()
        except UnicodeDecodeError:
            return  # a scan reports it
        path = f"{folder}/{name}" if folder else name
        if not mask & IN_ISDIR:
            self._pass_on(path, mask, event.cookie)
        elif not files.is_folder_name(name):
            return
        elif mask & (IN_CREATE | IN_MOVED_TO):
            self._add_below(path)
            self._inbox.folder(path)
        elif mask & IN_DELETE:
            self._forget(path)  # it was empty
            self._inbox.folder(path)
        elif mask & IN_MOVED_FROM:
            below = path + "/"
            for other in [other for other in self._folders if other.startswith(below)]:
                self._forget(other)
            self._forget(path)
            self._inbox.folder(path)
        elif self._folders.get(path, (-1, 0))[0] == -1 or self._remember(path, self._folders[path][0]):
            self._add_below(path)  # it may have become readable
            self._inbox.folder(path)

    def _pass_on(self, path: str, mask: int, cookie: int) -> None:
        if mask & (IN_CREATE | IN_MODIFY):
            self._inbox.written(path)
        elif mask & (IN_CLOSE_WRITE | IN_DELETE):
            self._inbox.closed(path)
        elif mask & IN_MOVED_FROM:
            self._inbox.renamed_from(path, cookie)
        elif mask & IN_MOVED_TO:
            self._inbox.renamed_to(path, cookie)
        else:
            self._inbox.touched(path)

    def _fail(self, reason: str) -> None:
        self._trouble = self._trouble or reason
        self._wake()

    def _add_below(self, folder: str) -> None:
        """Watch a folder and all below it: each before it is listed, so that nothing is created unseen."""
        pending = [folder]
        while pending and not self._closing and not self._trouble:
            path = pending.pop()
            self._add(path)
            try:
                with os.scandir(f"{self._root}/{path}") as entries:
                    for entry in entries:
                        name = entry.name
                        if entry.is_dir(follow_symlinks=False) and files.is_folder_name(name):
                            pending.append(f"{path}/{name}" if path else name)
            except OSError as error:
                if error.errno == errno.EACCES:
                    log.warning("a folder cannot be listed", path=path, reason=error.strerror)
                    self._folders[path] = -1, 0
                elif error.errno not in _GONE:
                    self._fail(f"{path or self._root}: {error.strerror}")

    def _add(self, folder: str) -> None:
        """Watch one folder. What became of it meanwhile is an event of its parent; want of watches is trouble."""
        number = inotify_c.CallbackId(next(self._numbers))  # watchdog warns if one comes twice
        mask = inotify_c.Mask(_FOLDER_MASK if folder else _ROOT_MASK)
        try:
            wd = self._reader.add_callback(os.fsencode(f"{self._root}/{folder}"), mask, self, number)
        except OSError as error:
            if error.errno not in _GONE:
                self._fail(_what_to_do(error))
            return
        if wd == -1 or wd in self._paths:  # not permitted; or watched already, and its first callback is enough
            self._reader.remove_callbacks([(wd, number)])
        else:
            self._callbacks[wd] = number
        if wd != -1:
            before = self._paths.get(wd, folder)
            if before != folder and self._folders.get(before, (-1, 0))[0] == wd:
                del self._folders[before]  # it was moved from there, and that event is still to come
            self._paths[wd] = folder
        self._remember(folder, wd)

    def _remember(self, folder: str, wd: int) -> bool:
        """Note the watch and mode of a folder; True if the mode is another one than before."""
        _, before = self._folders.get(folder, (wd, 0))
        mode = before
        with contextlib.suppress(OSError):
            mode = os.stat(f"{self._root}/{folder}").st_mode
        self._folders[folder] = wd, mode
        return mode != before

    def _forget(self, folder: str) -> None:
        wd, _ = self._folders.pop(folder, (-1, 0))
        if wd != -1:
            del self._paths[wd]
            self._reader.remove_callbacks([(inotify_c.WatchDescriptor(wd), self._callbacks.pop(wd))])


def _what_to_do(error: OSError) -> str:
    """Why inotify cannot be used, and what to do about it."""
    match error.errno:
        case errno.ENOSPC:
            return "the limit of inotify watches is reached: raise fs.inotify.max_user_watches (sysctl)"
        case errno.EMFILE:
            return "the limit of inotify instances, or of open files, is reached: raise fs.inotify.max_user_instances"
    return f"inotify: {error.strerror}"
