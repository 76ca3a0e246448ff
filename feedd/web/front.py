"""Request -> Answer for all that needs no application: health, feeds; and the same as ASGI, before an application.

`/livez` says whether the loops turn, `/readyz` whether feedd can do its work; both to anybody, and without a secret.
The fast lane of `protocol` asks `answer` alone; requests that wait for others, or have a body, go through `first`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from msgspec import Struct, json

from feedd.web import http
from feedd.web.feeds import Feeds

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEALTH = ("/readyz", "/livez")
_NO_STORE = (b"cache-control", b"no-store")


def _nothing() -> tuple[str, ...]:
    return ()


class Probes(Struct, frozen=True):
    """What health is made of; called on the event loop for each request, so they must be cheap.

    `troubles`: a sentence for each thing that keeps feedd from its work, naming nothing private. `silent`: the loops
    that stand still. `identity`: what `feedd healthcheck` knows this feedd by; it is in a header of both answers.
    """

    troubles: Callable[[], Sequence[str]] = _nothing
    silent: Callable[[], Sequence[str]] = _nothing
    identity: str = ""


class Front:
    """What is asked before `app`, and whom requests come from. `trusted`: addresses of proxies of ours.

    `change` puts others in their place, between two requests: connections stay, and what is being answered is.
    """

    def __init__(
        self, feeds: Feeds | None, app: ASGIApp | None, is_ready: Callable[[], bool],
        trusted: frozenset[str] = frozenset(), probes: Probes | None = None,
    ) -> None:
        self._feeds, self._is_ready, self._trusted = feeds, is_ready, trusted
        self._probes = probes or Probes()
        self.app: ASGIApp = app or nothing_here
        self.is_held = False

    def change(self, feeds: Feeds | None, app: ASGIApp | None, trusted: frozenset[str]) -> None:
        """For every request that is not answered yet; to be called on the event loop."""
        self._release()
        self._feeds, self._trusted, self.app = feeds, trusted, app or nothing_here

    def answer(self, request: http.Request) -> http.Answer | None:
        """Health or a file; None for the application's."""
        if request.path in _HEALTH:
            return self._health(request)
        return None if self._feeds is None else self._feeds.answer(request, time.time())

    def hold(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Files are looked at once for all requests that one turn of the event loop finds."""
        self.is_held = True
        if self._feeds is not None:
            self._feeds.shelf.hold()
        call_soon(self._release)

    def _release(self) -> None:
        self.is_held = False
        if self._feeds is not None:
            self._feeds.shelf.release()

    async def first(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: `answer`, else the application."""
        answer = self.answer(request_of(scope)) if scope["type"] == "http" else None
        if answer is None:
            await self.app(scope, receive, send)
        else:
            await send_answer(answer, send)

    def address_of(self, peer: str, headers: dict[bytes, bytes]) -> str:
        """Who asks: the peer, or what a proxy of ours says."""
        return http.address_of(peer, headers, self._trusted) if peer in self._trusted else peer

    def _health(self, request: http.Request) -> http.Answer:
        if request.method not in ("GET", "HEAD"):
            return http.problem(405, headers=((b"allow", b"GET, HEAD"),))
        if request.path == "/livez":
            what, troubles = "alive", [f"{name.capitalize()} stands still." for name in self._probes.silent()]
        else:
            what, troubles = "ready", [] if self._is_ready() else ["The first scan is not published yet."]
            troubles += self._probes.troubles()
        accept = request.headers.get(b"accept", b"")
        if http.quality(accept, b"application/json") > http.quality(accept, b"text/plain"):
            media_type, body = b"application/json", json.encode({what: not troubles, "troubles": troubles})
        else:
            media_type, body = b"text/plain; charset=utf-8", "\n".join([*(troubles or [what]), ""]).encode()
        return http.Answer(503 if troubles else 200, (
            (b"content-type", media_type), (b"content-length", b"%d" % len(body)), _NO_STORE,
            (b"x-content-type-options", b"nosniff"), *(((b"retry-after", b"1"),) if troubles else ()),
            *(((b"feedd-state", self._probes.identity.encode()),) if self._probes.identity else ()),
        ), b"" if request.method == "HEAD" else body)


def request_of(scope: Scope) -> http.Request:
    """An ASGI scope as a request."""
    client = scope.get("client")
    return http.Request(
        scope["method"], scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1"),
        http.joined(scope["headers"]), client[0] if client else "", scope["http_version"],
    )


async def send_answer(answer: http.Answer, send: Send) -> None:
    """An answer as ASGI events."""
    await send({"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def below(folder: str, app: ASGIApp) -> ASGIApp:
    """`app` for what is in the folder, and for nothing else."""

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        is_there = scope["type"] != "http" or scope["path"] == folder or scope["path"].startswith(folder + "/")
        await (app if is_there else nothing_here)(scope, receive, send)

    return choose


def at(path: str, app: ASGIApp, otherwise: ASGIApp) -> ASGIApp:
    """`app` for just this path, and `otherwise` for all others."""

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        is_there = scope["type"] == "http" and scope["path"] == path
        await (app if is_there else otherwise)(scope, receive, send)

    return choose


async def nothing_here(scope: Scope, _receive: Receive, send: Send) -> None:
    """The application where there is none."""
    if scope["type"] == "http":
        request = request_of(scope)
        await send_answer(http.problem(
            404, html=http.wants_html(request.headers), path=request.path, head_only=request.method == "HEAD"
        ), send)
