"""config.toml, while it is in use: looks whether it says something else, and has that applied, or refuses it in words.

Edge: in the main thread, between signals. A look is a stat a second rather than a watch: it works for files that are
replaced by a rename, for links that are turned (as Kubernetes mounts them), and on file systems without events. SIGHUP
looks at once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from hashlib import blake2b

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from feedd import bulk, config, errors, meters
from feedd.daemon import alarm, checks, opening, supervisor
from feedd.render.text import rfc3339
from feedd.web import overview

LOOK_S = 1.0
SETTLE_S = 0.4  # so long nobody writes to it before it is read

Heard = Callable[[float], signal.Signals | None]
"""Waits for a signal, for so many seconds at most."""
Apply = Callable[[config.Config, config.Config, bulk.Plan], None]
"""Goes over from the first configuration to the second."""


class Reloads:
    """The file at `path`, and `running`, what the process runs by."""

    def __init__(
        self, path: str, running: config.Config, log: FilteringBoundLogger, counted: meters.Meters,
        watchdog: supervisor.Watchdog,
    ) -> None:
        self._path, self._running, self._log = os.path.abspath(path), running, log
        self._loaded: object = None  # the stamp of what was read last; of what was read for the start nobody knows it
        self._seen = _stamp(self._path)
        self._was_empty = _digest(self._path) == _digest(os.devnull)
        self._digest = b""
        self._counted, self._watchdog = counted, watchdog
        self._had_terminal = os.isatty(2)
        self.status = overview.Configuration(self._path, rfc3339(int(time.time())))

    def until_stopped(self, heard: Heard, apply: Apply) -> signal.Signals:
        """Keeps to what the file says, until a signal asks to stop; returns that. Raises what `apply` raises."""
        while True:
            caught = heard(LOOK_S if self._seen == self._loaded else SETTLE_S)
            if caught == signal.SIGHUP and not (self._had_terminal and not os.isatty(2)):  # else the window was closed
                self._loaded = self._seen = _stamp(self._path)
                with self._watchdog.reload():
                    self._reload(apply, asked=True)
            elif caught:
                return caught
            elif self._has_settled():
                with self._watchdog.reload():
                    self._reload(apply, asked=False)

    def _has_settled(self) -> bool:
        """Whether the file is another one than was read, and nobody has touched it since the last look."""
        stamp = _stamp(self._path)
        has_rested, self._seen = stamp == self._seen, stamp
        if stamp == self._loaded or not has_rested:
            return False
        self._loaded = stamp
        return True

    def _reload(self, apply: Apply, *, asked: bool) -> None:
        digest = _digest(self._path)
        if digest == self._digest and not asked:  # touched; what is wrong with it was said
            return
        is_first, self._digest = not self._digest, digest
        try:
            new, waiting = self._read()
            plan = opening.plan_of(new)
            if new.links.enabled:
                checks.job_of(new, plan)  # what the environment lacks is said before anything is changed
            alarm.ways(new)
        except errors.ConfigError as error:
            for key, what in error.problems:
                line = error.lines.get(key)
                place = ({"key": key} if key else {}) | ({"line": line} if line else {})
                self._log.error("configuration refused, the old one stays", **place, reason=what, path=self._path)
            said = tuple(f"{key}: {what}" if key else what for key, what in error.problems)
            self.status = replace(self.status, problems=said)
            self._counted.reloaded(time.time(), succeeded=False)
            return
        changed = config.changed_keys(self._running, new)
        if changed or self.status.problems:
            self._counted.reloaded(time.time(), succeeded=True)
        if changed:
            apply(self._running, new, plan)
            self._running = new
            self.status = replace(self.status, loaded_at=rfc3339(int(time.time())))
            self._log.info("configuration applied", keys=list(changed))
            for key, hint in config.warnings(new):
                if key in changed:
                    self._log.warning("configuration", key=key, hint=hint)
        elif not waiting and (asked or not is_first):
            self._log.info("configuration read, nothing in it has changed")
        if waiting and (asked or waiting != self.status.needs_restart):
            self._log.warning("some of the configuration waits for a restart", keys=list(waiting))
        self.status = replace(self.status, problems=(), needs_restart=waiting)

    def _read(self) -> tuple[config.Config, tuple[str, ...]]:
        """What takes effect, and what waits. Raises ConfigError.

        An empty file would do for a start; for a process that runs it is one that somebody is about to write.
        """
        new = config.reload(self._path, self._running)
        if not os.path.getsize(self._path) and not self._was_empty:
            raise errors.ConfigError(self._path, [("", "is empty; to run by the defaults, restart feedd")])
        return new


def _stamp(path: str) -> object:
    """Another one whenever the file may be another one. Follows links."""
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _digest(path: str) -> bytes:
    """Of what the file says; of nothing, where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return blake2b(file.read(), digest_size=16).digest()
    except OSError:
        return b"none"
