"""Large batches on all cores: worker processes that read and parse, and that render and write.

Workers are started for one run and end with it, so that nothing of it stays in memory. They never write to the state:
what they did goes back to `publish`.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

from msgspec import Struct

from feedd import errors, intake, model, pool, rebuild, site
from feedd.store import Store, open_store

AHEAD = 32  # tasks given out for each worker: none runs dry while `publish` is busy with a transaction

T = TypeVar("T")
P = TypeVar("P")


class Plan(Struct, frozen=True, array_like=True):
    """All that a worker must know."""

    source: intake.Source
    settings: site.Settings
    state_folder: str
    out: str


class Task(Struct, frozen=True, array_like=True):
    """Documents to be made, and which of their files: `siblings` are the compressed ones."""

    documents: tuple[tuple[int, int], ...]
    formats: tuple[model.Format, ...] | None = None
    siblings: bool = True


class Done(Struct, frozen=True, array_like=True):
    """A document that was dealt with. `changed`: some byte of it is new. `error`: nothing of it counts as written.

    `digests` are of a live document's formats, where hubs are to be told of changes.
    """

    feed_id: int
    page: int
    seq: int
    floor: int | None
    updated_us: int
    entries: int
    base: str
    size: int
    changed: bool
    error: str
    digests: tuple[tuple[model.Format, bytes], ...] = ()


class Workers:
    """As many processes as there are cores, fed in order and a little ahead. WorkerError when one of them ends."""

    def __init__(self, plan: Plan) -> None:
        self._count = os.cpu_count() or 1
        self._pool = pool.Pool(self._count, _start, plan)

    def close(self) -> None:
        """Ends them; what they have not begun is not done."""
        self._pool.close()

    def take(self, readings: Iterable[intake.Reading], *, now_ns: int, settle_ns: int) -> Iterator[intake.Intake]:
        """The Intakes of readings, in their order."""
        batches = _batches(readings, 128)
        for data in self._map(_take, ((batch, now_ns, settle_ns) for batch in batches)):
            yield from intake.unpack(data)

    def make(self, tasks: Iterable[Task]) -> Iterator[Done]:
        """Renders and writes the documents of tasks."""
        for done in self._map(_make, tasks):
            yield from done

    def _map(self, function: Callable[[P], T], values: Iterable[P]) -> Iterator[T]:
        running: deque[Future[T]] = deque()
        for value in values:
            running.append(self._pool.submit(function, value))
            if len(running) > self._count * AHEAD:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(values)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def done_of(built: rebuild.Built, *, changed: bool, error: str, hubs: bool) -> Done:
    """What is left of a document when its files are written. `hubs`: whether there are any."""
    size = sum(len(file.data) for file in built.files)
    digests = rebuild.digests(built) if hubs and not built.page and not error else ()
    return Done(
        built.feed_id, built.page, built.seq, built.floor, built.updated_us, built.entries, built.base, size, changed,
        error, digests,
    )


def make(store: Store, plan: Plan, cache: rebuild.FragmentCache, task: Task) -> list[Done]:
    """Renders and writes the documents of one task, one after the other."""
    out = []
    for feed_id, page in task.documents:
        built = rebuild.build(store, plan.settings, cache, feed_id, page, task.formats)
        changed, error = False, built.error
        made = list(built.files)
        if plan.settings.pages and not page and not task.formats and not error:
            made.append(rebuild.build_page(store, plan.settings, cache, feed_id))
        try:
            for file in made:
                written = rebuild.write_file(plan.out, file, plan.settings.encodings if task.siblings else ())
                changed = changed or bool(written)
        except errors.OutputError as failed:
            error = str(failed)
        out.append(done_of(built, changed=changed, error=error, hubs=bool(plan.settings.advertised_hubs)))
    return out


class _Worker(Struct):
    """What a worker process keeps between its tasks."""

    plan: Plan
    cache: rebuild.FragmentCache
    store: Store | None = None


_worker: list[_Worker] = []


def _start(plan: Plan) -> None:
    _worker[:] = [_Worker(plan, rebuild.FragmentCache(24 << 20))]


def _take(work: tuple[Sequence[intake.Reading], int, int]) -> bytes:
    batch, now_ns, settle_ns = work
    return intake.take_batch(_worker[0].plan.source, batch, now_ns, settle_ns)


def _make(task: Task) -> list[Done]:
    worker = _worker[0]
    if worker.store is None:
        worker.store = open_store(worker.plan.state_folder, read_only=True)
    return make(worker.store, worker.plan, worker.cache, task)
