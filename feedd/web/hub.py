"""ASGI, before an application: `POST /hub` is handed to the built-in WebSub hub; all else goes on to the application.

Answers 202 at once, as verification comes later, or an error that says in text what is wrong (WebSub, section 5.1).
"""

from __future__ import annotations

import time
from typing import Protocol

from feedd.hub.protocol import MOST_BYTES, RefusedError
from feedd.web import http
from feedd.web.front import ASGIApp, Receive, Scope, Send, request_of, send_answer

PATH = "/hub"
_ABOUT = "A WebSub hub. Subscribe with a POST (https://www.w3.org/TR/websub/)."
_ACCEPTED = b"The callback will be asked whether this is meant.\n"


class Asked(Protocol):
    """What there must be of a hub."""

    def ask(self, content_type: str, body: bytes, address: str, now: float) -> None:
        """Takes a request. Raises RefusedError."""


def with_hub(hub: Asked, otherwise: ASGIApp) -> ASGIApp:
    """The application with the hub before it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            await send_answer(await _answer(hub, scope, receive), send)
        else:
            await otherwise(scope, receive, send)

    return app


async def _answer(hub: Asked, scope: Scope, receive: Receive) -> http.Answer:
    request = request_of(scope)
    if request.method != "POST":
        return http.problem(
            405, detail=_ABOUT, headers=((b"allow", b"POST"),), head_only=request.method == "HEAD",
            html=http.wants_html(request.headers), path=request.path,
        )
    kept = ((b"cache-control", b"no-store"),)
    try:
        body = await _body(receive)
        hub.ask(
            request.headers.get(b"content-type", b"").decode("latin-1"), body, request.address, time.monotonic()
        )
    except RefusedError as error:
        later = ((b"retry-after", b"%d" % error.wait_s),) if error.wait_s else ()
        return http.problem(error.status, detail=str(error), headers=kept + later)
    return http.Answer(202, (
        (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(_ACCEPTED)),
        (b"x-content-type-options", b"nosniff"), *kept,
    ), _ACCEPTED)


async def _body(receive: Receive) -> bytes:
    """All of a form. Raises RefusedError for one that is too long."""
    body = b""
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise RefusedError(400, "The request has ended too soon.")
        body += bytes(event.get("body", b""))
        if len(body) > MOST_BYTES:
            raise RefusedError(413, f"A form has at most {MOST_BYTES} bytes.")
        if not event.get("more_body"):
            return body
