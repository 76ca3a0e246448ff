"""File events under the article root -> settled batches of paths, at the moment when they may be read.

Events are hints: a path in a batch may be new, changed, gone or as it was. What events cannot say (start, the kernel's
queue overflowed, a folder came or went, the root was away) is said as a scan to be made, of a folder or of all.
Reads no article; `inotify` and `poll` bring the news. The daemon calls `next_batch` from one thread.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from types import TracebackType

import structlog

from feedd import files, inotify, poll, pulse, settle
from feedd.settle import Batch

__all__ = ["Batch", "Watcher"]

log = structlog.get_logger(__name__)

_LONGEST_POLLING_S = 3_600.0  # until inotify is tried again


class Watcher:
    """Watches `root` from `start()` to `stop()`, both called once; a context manager.

    A path is handed over after `gap_s` without news of any, at most `max_wait_s` after its own; a file that was
    written to but not closed, after `open_wait_s` without news of it. `polling`: None decides by itself.
    While polling, a change is handed over when two looks agree; a look is taken every `poll_s` seconds, or less often
    if it takes long. Where inotify gave out, it is tried again after `again_s`, then after twice as long. Whether the
    root is still there is looked at every `check_s` seconds, if no event says so.
    """

    def __init__(
        self,
        root: str,
        *,
        gap_s: float = 0.03,
        max_wait_s: float = 0.5,
        open_wait_s: float = 2.0,
        polling: bool | None = None,
        poll_s: float = 2.0,
        check_s: float = 1.0,
        again_s: float = 60.0,
        beat: pulse.Beat = pulse.unheard,
    ) -> None:
        self._root = os.path.abspath(root)
        self._inbox = settle.Inbox(gap_s, max_wait_s, open_wait_s)
        self._check_s, self._beat = check_s, beat
        self._forced = polling
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="feedd-watch", daemon=True)
        self._tree: inotify.Tree | None = None
        self._poller = poll.Poller(self._root, self._inbox, poll_s, min(poll_s, open_wait_s))
        self._polling = False
        self._again_s, self._again_at = again_s, 0.0  # monotonic seconds; 0: inotify is not wanted
        self._away = False

    @property
    def mode(self) -> str:
        """What it does now: "inotify" or "polling"."""
        return "polling" if self._polling else "inotify"

    def start(self) -> None:
        """Begin to watch, then ask for the first full scan; nothing can happen unseen in between."""
        reason = "chosen by configuration"
        if not self._forced:
            reason = "" if self._forced is False and sys.platform == "linux" else poll.why_poll(self._root)
        self._polling = bool(reason)
        if self._polling:
            log.info("polling for changes", root=self._root, reason=reason)
        else:
            self._open_tree("start")
        self._keeper.start()

    def stop(self) -> None:
        """Stop watching; `next_batch` returns None from now on. Returns at once, or after 1 s on a hanging disk."""
        self._stopping.set()
        self._wake.set()
        self._inbox.close()
        self._poller.stop()
        if self._keeper.ident is not None:
            self._keeper.join(timeout=1.0)
        self._drop_tree()

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def next_batch(self, timeout: float | None = None) -> Batch | None:
        """Wait for the next batch; None after `timeout` seconds, or once stopped."""
        return self._inbox.take(timeout)

    def retry(self, paths: Iterable[str], delay_s: float) -> None:
        """Hand these paths over (again) after `delay_s`, or when they are closed: what was found `Unsettled`."""
        self._inbox.hold(paths, delay_s)

    def waiting(self) -> settle.Waiting:
        """What the next batch will bring; from any thread."""
        return self._inbox.waiting()

    def tune(self, gap_s: float, max_wait_s: float) -> None:
        """Hand paths over by these times from now on."""
        self._inbox.tune(gap_s, max_wait_s)

    def ask(self, reason: str) -> None:
        """Ask for a full scan, in turn with everything else."""
        self._inbox.full(reason)

    def found(self) -> None:
        """The root was there for somebody who looked by himself: if it is away again, that is said again."""
        self._away = False

    def wake(self) -> None:
        """Make `next_batch` return None at once: there is something to do that no file tells of."""
        self._inbox.wake()

    def _keep(self) -> None:
        """The body of the keeper thread: sees that the watching goes on, or polls."""
        while not self._stopping.is_set():
            try:
                wait_s = self._step()
            except Exception as error:  # whatever it was: look at everything again, and say so
                log.critical("watching failed, starting over", root=self._root, exc_info=error)
                self._drop_tree()
                wait_s = self._check_s
            self._beat(wait_s)
            self._wake.wait(wait_s)
            self._wake.clear()

    def _step(self) -> float:
        """See to it once; return the seconds until it is due again."""
        if self._polling and 0 < self._again_at <= time.monotonic():
            self._open_tree("inotify is back")
        if self._polling:
            return self._poll()
        if self._tree is None:
            self._open_tree("root_back" if self._away else "watching anew")
        elif trouble := self._tree.trouble():
            log.warning("watching anew", root=self._root, reason=trouble)
            self._drop_tree()
            self._open_tree(trouble)
        return self._check_s

    def _poll(self) -> float:
        try:
            if self._poller.look():
                self._inbox.full("root_back" if self._away else "polling")
                self._away = False
        except files.RootGoneError as error:
            self._note_away(error)
            self._poller.forget()
        except files.ExhaustedError:
            pass  # who reads says so
        return self._check_s if self._away else self._poller.rest_s()

    def _note_away(self, error: files.RootGoneError) -> None:
        if not self._away:
            log.debug("the article folder is gone", root=self._root, reason=error.reason)  # who works says it aloud
            self._away = True
            self._inbox.gone()

    def _drop_tree(self) -> None:
        tree, self._tree = self._tree, None
        if tree is not None:
            tree.close()

    def _open_tree(self, reason: str) -> None:
        """Watch with inotify, else fall back to polling, else note that the root is away."""
        try:
            self._tree = inotify.Tree(self._root, self._inbox, self._wake.set)
        except inotify.UnwatchableError as error:
            if not self._polling:
                log.warning("polling for changes, as inotify cannot be used", root=self._root, reason=str(error))
            self._polling = True
            self._again_at, self._again_s = time.monotonic() + self._again_s, min(2 * self._again_s, _LONGEST_POLLING_S)
        except files.RootGoneError as error:
            self._note_away(error)
        else:
            if self._polling:
                log.info("watching by inotify again", root=self._root)
                self._poller.forget()
            self._away = self._polling = False
            self._inbox.full(reason)
