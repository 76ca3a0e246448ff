"""What the operator sees under /-/ as a Starlette app: a page, JSON and a private feed of problems. GET and HEAD only.

| path | what it answers | query |
|---|---|---|
| /-/ | the page: all below, the newest 200 of each; /- leads there | |
| /-/status.json | `overview.Summary`: process, counts, requests, bytes saved | |
| /-/problems.json | `overview.ProblemPage`, by path | limit 1..1000 (200), after (a path) |
| /-/feeds.json | `overview.FeedPage`, by path, with subscribers | limit, after |
| /-/hubs.json | `overview.HubPage`: hubs, and what they would not hear, oldest first | limit 1..1000 (200) |
| /-/changes.json | `overview.ChangePage`, newest first | limit 1..1000 (200), of the 200 that are kept |
| /-/problems.atom | the newest 200 problems: files, hubs, links | token, for readers that can send no header |
| /-/links and below | what was found of links, as pages and JSON: see `linkpages` | |
| /-/openapi.json | the JSON in the words of OpenAPI 3.1 | |

`access` judges each request first; nothing here is ever cached or logged. Built by the daemon, run by the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from http import HTTPStatus
from importlib import resources
from typing import Any, TypeVar
from urllib.parse import parse_qs

import anyio
import jinja2
import msgspec
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feedd import errors, site
from feedd.render import clean
from feedd.store import Store
from feedd.store.sqlite import errors_in_words
from feedd.web import access, errorpage, http, linkpages, links, openapi, overview, trouble
from feedd.web.audience import Audience

T = TypeVar("T")
THREADS = 2  # requests that read the state at once; the others wait
_LIMIT = re.compile(r"[0-9]{1,4}", re.ASCII)
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", errorpage.POLICY),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex"),
)
_CHALLENGES = {"WWW-Authenticate": 'Basic realm="feedd status", charset="UTF-8", Bearer realm="feedd status"'}


def status_app(
    open_state: Callable[[], Store], audience: Audience, about: Callable[[], overview.About], *,
    settings: site.Settings, token: str, loopback_only: bool, now: Callable[[], float],
) -> Starlette:
    """The app for every path from /-/ on.

    `open_state` opens the store read-only, and is called in a thread for each request, as are `about` and `now`
    (seconds since 1970); what it raises as StateError is answered by 503. `token`: empty for none; then
    `loopback_only`, which says that the server listens on loopback, must be True for anybody to see anything.
    """
    status = _Status(open_state, audience, about, settings, now)
    routes = [
        ("/-", status.folder), ("/-/", status.page), ("/-/status.css", status.style),
        ("/-/status.json", status.summary),
        ("/-/problems.json", status.problems), ("/-/feeds.json", status.feeds), ("/-/changes.json", status.changes),
        ("/-/hubs.json", status.hubs), (trouble.PATH, status.problems_feed), ("/-/openapi.json", status.openapi),
    ]
    of_links = linkpages.LinkPages(status._read, _template, settings, now).routes()
    app = Starlette(
        routes=[*(Route(path, endpoint, methods=["GET"]) for path, endpoint in routes), *of_links],
        middleware=[Middleware(_Guard, access.Access(token, loopback_only))],
        exception_handlers={HTTPException: _refuse, errors.StateError: _unavailable},
    )
    app.router.redirect_slashes = False
    return app


class _Guard:
    """Lets nobody in who may not look, and gives every answer the headers of a private one."""

    def __init__(self, app: ASGIApp, granted: access.Access) -> None:
        self._app, self._granted = app, granted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_private(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        verdict = access.judge(
            self._granted, (scope.get("client") or ("",))[0], scope["http_version"], scope["headers"],
            _query_token(scope),
        )
        if verdict is access.Verdict.OPEN:
            await self._app(scope, receive, send_private)
        elif verdict is access.Verdict.ASK:
            answer = _told(Request(scope), "The token is needed here.", HTTPStatus.UNAUTHORIZED, _CHALLENGES)
            await answer(scope, receive, send_private)
        else:
            await _told(Request(scope), "Not found.", HTTPStatus.NOT_FOUND)(scope, receive, send_private)


class _Status:
    """The endpoints."""

    def __init__(
        self, open_state: Callable[[], Store], audience: Audience, about: Callable[[], overview.About],
        settings: site.Settings, now: Callable[[], float],
    ) -> None:
        self._open_state, self._audience, self._about = open_state, audience, about
        self._settings, self._now = settings, now
        self._threads = anyio.CapacityLimiter(THREADS)

    async def folder(self, request: Request) -> Response:
        return Response(status_code=HTTPStatus.MOVED_PERMANENTLY, headers={"Location": "-/"})

    async def page(self, request: Request) -> Response:
        def work(state: Store) -> bytes:
            found = overview.overview(state, self._audience, self._about(), self._now(), self._settings)
            return _template("status.html").render(
                found=found, title=self._settings.title, shown=overview.SHOWN, now=int(self._now()),
                suffix="html" if self._settings.pages else self._settings.formats[0],
                links=links.brief(state.folder, self._settings),
            ).encode()

        return Response(await self._read(work), media_type="text/html")

    async def style(self, request: Request) -> Response:
        return Response(_style(), media_type="text/css")

    async def summary(self, request: Request) -> Response:
        return _json(await self._read(
            lambda state: overview.summary(state, self._audience, self._about(), self._now(), self._settings.hubs)
        ))

    async def problems(self, request: Request) -> Response:
        after, limit = _paging(request)
        return _json(await self._read(partial(overview.problems, after=after, limit=limit)))

    async def feeds(self, request: Request) -> Response:
        after, limit = _paging(request)
        return _json(await self._read(
            lambda state: overview.feeds(state, self._audience, self._settings, self._now(), after=after, limit=limit)
        ))

    async def changes(self, request: Request) -> Response:
        _, limit = _paging(request)
        return _json(await self._read(partial(overview.changes, limit=limit)))

    async def hubs(self, request: Request) -> Response:
        _, limit = _paging(request)
        return _json(await self._read(
            lambda state: overview.hubs(state, self._settings.hubs, self._about().own_hub, limit=limit)
        ))

    async def problems_feed(self, request: Request) -> Response:
        host = access.local_host(request.scope["headers"])
        base_url = f"http://{host}" if host else self._settings.public_url

        def work(state: Store) -> bytes:
            found = trouble.newest(
                state.survey.list_newest_problems(overview.SHOWN), overview.loads(state, self._settings.hubs),
                overview.SHOWN, links.changes(state.folder, self._settings, trouble.LINKS),
            )
            return trouble.feed(
                found, self._settings, base_url=base_url, started_at=self._about().started_at
            )

        return Response(await self._read(work), media_type="application/atom+xml; charset=utf-8")

    async def openapi(self, request: Request) -> Response:
        return _json(openapi.document())

    async def _read(self, work: Callable[[Store], T]) -> T:
        """What `work` makes of the state, in a thread, and from one moment."""
        def run() -> T:
            with errors_in_words(), self._open_state() as state, state.snapshot():
                return work(state)

        return await to_thread.run_sync(run, limiter=self._threads)


@cache
def _template(name: str) -> jinja2.Template:
    """Compiled once, when it is first asked for."""
    return _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("feedd.web"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )
    environment.filters |= {"size": _size, "number": _number, "span": _span, "anchor": trouble.anchor}
    environment.filters["web_url"] = clean.url
    return environment


@cache
def _style() -> bytes:
    return resources.files("feedd.web").joinpath("templates", "status.css").read_bytes()


def _query_token(scope: Scope) -> str | None:
    """For feed readers, most of which know no other way; nowhere else, as addresses get about."""
    if scope["path"] != trouble.PATH:
        return None
    found = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("token")
    return found[0] if found else None


def _paging(request: Request) -> tuple[str, int]:
    """(`after`, `limit`) of the query; others are left alone. Raises HTTPException 400."""
    limit = request.query_params.get("limit", str(overview.SHOWN))
    if not _LIMIT.fullmatch(limit) or not 1 <= int(limit) <= overview.MOST:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"limit: a whole number from 1 to {overview.MOST}")
    return request.query_params.get("after", ""), int(limit)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(request, error.detail, error.status_code, dict(error.headers or {}))


async def _unavailable(request: Request, error: Exception) -> Response:
    return _error(request, str(error), HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "5"})


def _error(request: Request, what: str, status: int, headers: dict[str, str]) -> Response:
    if request.url.path.endswith(".json"):
        return _json({"error": what}, status, headers)
    return _told(request, what, status, headers)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def _told(request: Request, what: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """A line for programs, a page for people."""
    path = request.scope["path"]
    if path.endswith(".json") or not http.wants_html(http.joined(request.scope["headers"])):
        return Response(what + "\n", status, headers, media_type="text/plain")
    phrase = HTTPStatus(status).phrase
    said = http.DETAILS.get(status, "") if what.casefold().rstrip(".") == phrase.casefold() else what
    page = errorpage.page(f"{status} {phrase}", said, path)
    return Response(page, status, headers, media_type="text/html")


def _number(value: int) -> str:
    return f"{value:,}"


def _size(value: int) -> str:
    """Bytes for people: 980 B, 12.3 kB, 4.0 GB."""
    amount, units = float(value), ["TB", "GB", "MB", "kB"]
    if amount < 1000:
        return f"{value} B"
    while amount >= 1000 and units:
        amount, unit = amount / 1000, units.pop()
    return f"{amount:.1f} {unit}"


def _span(seconds: int) -> str:
    """Seconds for people, by the two largest units: 3 days 4 h, 12 min 5 s."""
    units = (("days", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    parts = []
    for name, length in units:
        number, seconds = divmod(seconds, length)
        parts.append((number, "day" if name == "days" and number == 1 else name))
    first = next((place for place, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {name}" for number, name in parts[first : first + 2] if number or first == 3)
