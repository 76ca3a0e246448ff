"""GET /metrics -> who may see it, and the metrics, made in a thread: the event loop is for readers.

An ASGI application, built with the server. Imports what makes metrics when first asked, which takes 3 MB.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread
from msgspec import Struct

from feedd import meters, settle, site
from feedd.store import Store
from feedd.web import access, http
from feedd.web.audience import Totals
from feedd.web.front import Probes, Receive, Scope, Send, request_of, send_answer
from feedd.web.overview import OwnHub

if TYPE_CHECKING:
    from feedd.web.metrics import Metrics

PATH = "/metrics"
_PRIVATE: http.Headers = ((b"cache-control", b"no-store"), (b"x-robots-tag", b"noindex"))
_CHALLENGE = (b"www-authenticate", b'Bearer realm="feedd metrics", Basic realm="feedd metrics", charset="UTF-8"')


class Sources(Struct, frozen=True):
    """Where metrics come from; each is called in the thread of a scrape. `started_at`: seconds since 1970.

    `open_state` opens the state read-only; `waiting` is the watcher's, `requests` the audience's.
    """

    version: str
    started_at: float
    settings: site.Settings
    open_state: Callable[[], Store]
    counted: meters.Meters
    waiting: Callable[[], settle.Waiting]
    requests: Callable[[], Totals]
    is_ready: Callable[[], bool]
    probes: Probes
    own_hub: Callable[[], OwnHub | None]


class Scrape:
    """The application. `granted`: who may ask; None for anybody. `now`: seconds since 1970."""

    def __init__(
        self, sources: Sources, granted: access.Access | None, now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources, self._granted, self._now, self._clock = sources, granted, now, clock
        self._metrics: Metrics | None = None
        self._turn = anyio.CapacityLimiter(1)

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """ASGI, for PATH alone."""
        if scope["type"] == "http":
            await send_answer(await self._answer(scope), send)

    async def _answer(self, scope: Scope) -> http.Answer:
        request = request_of(scope)
        head_only = request.method == "HEAD"
        verdict = access.Verdict.OPEN
        if self._granted is not None:
            verdict = access.judge(self._granted, request.address, scope["http_version"], scope["headers"], None)
        if verdict is access.Verdict.HIDDEN:
            return http.problem(HTTPStatus.NOT_FOUND, headers=_PRIVATE, head_only=head_only)
        if verdict is access.Verdict.ASK:
            return http.problem(
                HTTPStatus.UNAUTHORIZED, detail="The token is needed here.", headers=(*_PRIVATE, _CHALLENGE),
                head_only=head_only,
            )
        if request.method not in ("GET", "HEAD"):
            return http.problem(HTTPStatus.METHOD_NOT_ALLOWED, headers=(*_PRIVATE, (b"allow", b"GET, HEAD")))
        accept = request.headers.get(b"accept", b"").decode("latin-1")
        body, media_type = await to_thread.run_sync(self._make, accept, limiter=self._turn)
        return http.Answer(HTTPStatus.OK, (
            (b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body)),
            (b"x-content-type-options", b"nosniff"), *_PRIVATE,
        ), b"" if head_only else body)

    def _make(self, accept: str) -> tuple[bytes, str]:
        if self._metrics is None:
            from feedd.web import metrics  # with prometheus_client

            self._metrics = metrics.Metrics(self._sources, self._now, self._clock)
        return self._metrics.exposition(accept)
