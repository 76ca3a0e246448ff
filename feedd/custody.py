"""The output folder in feedd's care: held against other processes, compared with the state, and looked at for changes
that somebody else made.

Writes no feed: what is missing or another's is marked, and written by the next `rebuild`. A part of `publish`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from structlog.typing import FilteringBoundLogger

from feedd import bulk, inventory, outputs, ownership
from feedd.journal import Journal
from feedd.stamps import Stamps
from feedd.store import Store

_TOKEN = "output"  # what the state remembers of its last hold, to be found in the folder again


class Custody:
    """Of one publisher's output folder, until `close`."""

    def __init__(
        self, store: Store, plan: bulk.Plan, log: FilteringBoundLogger, journal: Journal,
        progress: Callable[[str, int], None], hold: ownership.Hold | None = None,
    ) -> None:
        """`hold`: the caller's, who lets go of it; it outlives publishers."""
        self._store, self._plan, self._log, self._journal, self._progress = store, plan, log, journal, progress
        self._hold, self._is_lent, self._stamps = hold or ownership.Hold(plan.out), hold is not None, Stamps(plan.out)
        self._answered: str | None = None  # the token of another, as long as there is none of ours in its place

    def close(self) -> None:
        """Lets go of the folder."""
        if not self._is_lent:
            self._hold.close()

    def begin(self) -> None:
        """At the start of a process: what one that was killed left half-written goes. Raises as `own` does."""
        self.own()
        self.clean()

    def clean(self) -> None:
        """Removes what a killed process was writing; to be called while nobody writes."""
        outputs.clean_temporaries(self._plan.out)

    def own(self) -> None:
        """Sees to it that the folder is held, which is cheap if it is. Where another state was published in between,
        every document is compared with what it is to be: files of the same name are that state's.

        What cannot be held now, cannot be written to as a rule, and who writes says so. Raises OutputError where
        another process holds it.
        """
        last = self._hold.take()
        if last is None:
            return
        own = os.path.abspath(self._store.folder)
        if last.token != self._answered:
            with self._store.transaction():
                if last.token not in ("", self._store.find_meta(_TOKEN)):
                    if self._store.has_files():
                        why = "this is another output" if last.state == own else "another state published here"
                        self._log.warning(f"{why}, so that every feed is compared", state=last.state)
                    self._store.mark_all_dirty()
                    self._store.put_meta("listing", "")
            self._answered = last.token
        token = os.urandom(8).hex()  # a new one each time: two states may be copies of one
        if self._hold.sign(ownership.Publisher(own, os.getpid(), token)):
            with self._store.transaction():  # where a kill came before it, the next start compares every feed
                self._store.put_meta(_TOKEN, token)
            self._answered = None
            self.wrote(("",))

    def wrote(self, folders: Iterable[str]) -> None:
        """Feedd wrote in these, by their paths below the output folder."""
        self._stamps.take(set(folders))

    def interrupted(self) -> None:
        """Something failed on the way: where feedd wrote is not known."""
        self._stamps.forget()

    def is_disturbed(self, *, at_rest: bool = True) -> bool:
        """Whether somebody else changed the folder since feedd last wrote there, or may have: `reconcile` is due.

        `at_rest`: nobody waits for feedd, so that it looks at folders of archives, too.
        """
        return not self._stamps.knows() or self._stamps.differ(all_of_them=at_rest)

    def reconcile(self) -> bool:
        """Compares the names in the folder with those that should be there: marks what is missing, removes what no feed
        of ours owns any more. Files that feedd would never write are left alone.

        Where somebody else was, files that do not go with their compressed copies are marked, too. True if any of
        feedd's files were gone or others: who took them may be at it still. Raises OutputError where a file cannot be
        removed, when what is missing is marked; or where names cannot be read.
        """
        due = inventory.due(self._store, self._plan.settings, self._progress)
        found = inventory.compare(self._plan.out, due, self._stamps.is_other)
        lost = {*found.missing.values(), *found.damaged.values()}
        with self._store.transaction():
            self._store.mark_dirty((*owner, 0) for owner in sorted(filter(None, lost)))
            if None in lost:
                self._store.put_meta("listing", "")
        self._journal.note_lost(found)
        self._stamps.put(found.folders)
        try:
            for path in found.strays:
                outputs.remove(os.path.join(self._plan.out, path))
                self._progress("feeds", 0)
        finally:
            self.wrote(os.path.dirname(path) for path in found.strays)
        if found.strays:
            self._log.info(
                "files removed", count=len(found.strays), first=found.strays[0], cause="no feed is to have them"
            )
        return bool(lost)
