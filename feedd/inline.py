"""Few documents, in this process: it renders and writes, while threads compress, for that needs no lock of Python's.

The way of every edit; `bulk` is for many documents. Called by `publish`, in its one thread.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from msgspec import Struct
from msgspec.structs import replace

from feedd import bulk, errors, outputs, rebuild
from feedd.store import Store

AHEAD = 24  # documents whose bytes are held until threads have compressed them

Progress = Callable[[str, int], None]


class _Begun(Struct):
    """A document whose own files are in place, or could not be; their siblings are on their way."""

    built: rebuild.Built
    placed: list[tuple[rebuild.Placed, Future[dict[str, bytes]]]]
    error: str


class Inline:
    """The threads, and the entries that were rendered before."""

    def __init__(self, plan: bulk.Plan, progress: Progress) -> None:
        self._plan, self._progress = plan, progress
        self._cache = rebuild.FragmentCache(32 << 20, archives=False)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="pack")
        self._stock = outputs.Stock()

    def close(self) -> None:
        """Ends the threads; what they have not begun is not done."""
        self._threads.shutdown(cancel_futures=True)
        self._stock.free()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is held for the next batch."""
        return not self._stock.has_blanks

    def rest(self) -> None:
        """Lets go of what was made ready for the next batch: there is none for now."""
        self._stock.free()

    def warm(self, store: Store, feed_id: int) -> bool:
        """Renders the entries of a live feed, for the next edit of one to find the others; False if that is enough."""
        if store.find_document(feed_id, 0):
            rebuild.build(store, self._plan.settings, self._cache, feed_id, 0)
        return self._cache.has_room

    def make(self, store: Store, documents: Sequence[tuple[int, int]]) -> list[bulk.Done]:
        """Renders and writes documents; returns when all of their files would survive a power cut."""
        done: list[bulk.Done] = []
        written: list[str] = []
        ahead: deque[_Begun] = deque()

        def finish_one() -> None:
            done.append(self._finish(ahead.popleft(), written))
            self._progress("feeds", 1)

        with self._stock:
            for feed_id, page in documents:
                ahead.append(self._begin(store, feed_id, page))
                if len(ahead) > AHEAD:
                    finish_one()
                self._progress("feeds", 0)
            while ahead:
                finish_one()
            self._make_pages(store, done, written)
        self.sync(written)
        return done

    def sync(self, paths: Sequence[str]) -> None:
        """Readers have the files already; they count as written when they would survive a power cut, too."""
        syncing = self._threads.map(outputs.sync, [*paths, *sorted({os.path.dirname(path) for path in paths})])
        self._stock.refill()  # who waits may as well make ready
        list(syncing)

    def _begin(self, store: Store, feed_id: int, page: int) -> _Begun:
        settings = self._plan.settings
        built = rebuild.build(store, settings, self._cache, feed_id, page)
        begun = _Begun(built, [], built.error)
        packings = [self._threads.submit(rebuild.pack, file.data, settings.encodings) for file in built.files]
        try:
            for file, packing in zip(built.files, packings, strict=True):
                begun.placed.append((rebuild.place(self._plan.out, file, stock=self._stock_for(page)), packing))
        except errors.OutputError as failure:
            begun.error = str(failure)
        return begun

    def _make_pages(self, store: Store, done: list[bulk.Done], written: list[str]) -> None:
        """The pages of live feeds that could be written; readers of feeds do not wait for them."""
        for number, each in enumerate(done):
            if each.page or each.error or not self._plan.settings.pages:
                continue
            file = rebuild.build_page(store, self._plan.settings, self._cache, each.feed_id)
            try:
                written += rebuild.write_file(
                    self._plan.out, file, self._plan.settings.encodings, stock=self._stock
                )
            except errors.OutputError as failure:
                done[number] = replace(each, error=str(failure))
            self._progress("feeds", 0)

    def _finish(self, begun: _Begun, written: list[str]) -> bulk.Done:
        before = len(written)
        try:
            for placed, packing in begun.placed:
                written += rebuild.place_siblings(
                    placed, packing.result, self._plan.settings.encodings, stock=self._stock_for(begun.built.page)
                )
        except errors.OutputError as failure:
            begun.error = begun.error or str(failure)
        hubs = bool(self._plan.settings.advertised_hubs)
        return bulk.done_of(begun.built, changed=len(written) > before, error=begun.error, hubs=hubs)

    def _stock_for(self, page: int) -> outputs.Stock | None:
        """Archives are waited for by nobody, and are in folders of their own."""
        return None if page else self._stock
