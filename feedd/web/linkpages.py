"""What the operator sees of links under /-/, as pages and as JSON; part of `status`, which lets nobody else in.

| path | what it answers | query |
|---|---|---|
| /-/links | the page: counts, news, hosts in trouble, runs, next checks | |
| /-/links?verdict=dead | the page of links with a verdict, or with `any` | after, limit 1..1000 (100) |
| /-/links/show | the page of one link: the evidence, the articles that have it | url; after, limit of articles |
| /-/links.json | `links.LinkPage`, oldest first | verdict (any), after, limit 1..1000 (200) |
| /-/links/show.json | `links.LinkDetail` | url, after, limit |
| /-/links/summary.json | `links.LinkSummary` | |
| /-/links/news.json, hosts.json, runs.json, next.json | `links.LinkNewsPage` and the like | limit |

Where links are not checked, or not yet, pages say so, and JSON is 404 with that sentence.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Protocol, TypeVar, cast

import jinja2
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feedd import errors, site
from feedd.freshness.states import VERDICTS, Verdict
from feedd.store import Store
from feedd.store.links import Links
from feedd.web import links, overview

T = TypeVar("T")
LISTED = 100  # links on a page of them
SHOWN = 20  # rows of each kind on the page of everything
ANY = "any"
MEANINGS: dict[Verdict, str] = {
    "fresh": "found as they were, of late",
    "stale": "fresh once, not verified since",
    "moved": "redirect for good, seen twice",
    "blocked": "the host keeps checks out",
    "failing": "not found, and not given up",
    "dead": "not found again and again",
    "unchecked": "nothing is known yet",
    "excluded": "not checked, by your rules",
}
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)

_VERDICT = {
    "name": "verdict", "in": "query", "description": "Only links with this verdict.",
    "schema": {"type": "string", "enum": [*VERDICTS, ANY], "default": ANY},
}
_URL = {
    "name": "url", "in": "query", "required": True, "description": "The link's URL, however it is spelt.",
    "schema": {"type": "string", "minLength": 1},
}
_AFTER = {
    "name": "after", "in": "query", "description": "The `next` of the page before.",
    "schema": {"type": "string", "pattern": "^[0-9]{0,18}$", "default": ""},
}


def described(limit: dict[str, Any]) -> dict[str, tuple[type, str, list[dict[str, Any]]]]:
    """The JSON here for OpenAPI: its type, what it is, its parameters. `limit`: as elsewhere."""
    return {
        "/-/links.json": (links.LinkPage, "Links, by the order in which they came", [_VERDICT, limit, _AFTER]),
        "/-/links/show.json": (links.LinkDetail, "All that is known of one link", [_URL, limit, _AFTER]),
        "/-/links/summary.json": (links.LinkSummary, "Links by verdict, and the last run of checks", []),
        "/-/links/news.json": (links.LinkNewsPage, "Links that died, moved or healed, newest first", [limit]),
        "/-/links/hosts.json": (links.LinkHostPage, "Hosts whose links do not hold, the worst first", [limit]),
        "/-/links/runs.json": (links.RunPage, "Runs of checks, newest first", [limit]),
        "/-/links/next.json": (links.NextPage, "Links that are checked next", [limit]),
    }


PATHS = frozenset(described({}))


class Read(Protocol):
    """What some work makes of the state, in a thread; raises StateError."""

    def __call__(self, work: Callable[[Store], T]) -> Awaitable[T]: ...


class LinkPages:
    """The endpoints. `template`: one of the status by its name."""

    def __init__(
        self, read: Read, template: Callable[[str], jinja2.Template], settings: site.Settings, now: Callable[[], float]
    ) -> None:
        self._read, self._template, self._settings, self._now = read, template, settings, now

    def routes(self) -> list[Route]:
        """All of them."""
        endpoints = [
            ("/-/links", self.page), ("/-/links/show", self.show_page), ("/-/links.json", self.list),
            ("/-/links/show.json", self.show), ("/-/links/summary.json", self.summary),
            ("/-/links/news.json", self.news), ("/-/links/hosts.json", self.hosts),
            ("/-/links/runs.json", self.runs), ("/-/links/next.json", self.next),
        ]
        return [Route(path, endpoint, methods=["GET"]) for path, endpoint in endpoints]

    # -- pages -------------------------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """Everything at a glance; with a verdict, the links that have it."""
        if "verdict" in request.query_params:
            return await self._list_page(request)

        def work(found: Links, state: Store, now: int) -> dict[str, Any]:
            return {
                "summary": links.summary(found, now), "news": links.news(found, limit=SHOWN).news,
                "hosts": links.hosts(found, now, limit=SHOWN).hosts, "runs": links.runs(found, limit=SHOWN).runs,
                "next": links.upcoming(found, now, limit=SHOWN).links, "meanings": MEANINGS, "shown": SHOWN,
            }

        return await self._rendered("links.html", "", work)

    async def _list_page(self, request: Request) -> Response:
        verdict, after, limit = _verdict(request), _after(request), _limit(request, LISTED)

        def work(found: Links, state: Store, now: int) -> dict[str, Any]:
            return {
                "page": links.page(found, verdict, after=after, limit=limit), "verdict": verdict or ANY,
                "meanings": MEANINGS, "limit": limit, "first": not after,
            }

        return await self._rendered("links_list.html", "", work)

    async def show_page(self, request: Request) -> Response:
        """One link."""
        url, after, limit = _url(request), _after(request), _limit(request, LISTED)

        def work(found: Links, state: Store, now: int) -> dict[str, Any]:
            return {"found": _detail(found, state, url, now, after, limit), "limit": limit, "meanings": MEANINGS}

        return await self._rendered("links_show.html", "../", work)

    async def _rendered(self, name: str, root: str, work: Callable[[Links, Store, int], dict[str, Any]]) -> Response:
        """A page with what `work` found; or one that says why there is nothing. `root`: the way to /-/ from there."""
        now = int(self._now())
        known = {"root": root, "title": self._settings.title, "now": now}

        def render(found: Links, state: Store, now: int) -> str:
            return self._template(name).render(**known, **work(found, state, now))

        status = HTTPStatus.OK
        try:
            text = await self._found(render)
        except (links.NoLinksError, errors.StateError) as error:
            status = HTTPStatus.OK if isinstance(error, links.NoLinksError) else HTTPStatus.SERVICE_UNAVAILABLE
            text = self._template("links_none.html").render(**known, why=str(error))
        return Response(text.encode(errors="replace"), status, media_type="text/html")

    # -- JSON --------------------------------------------------------------------------------------------------------

    async def list(self, request: Request) -> Response:
        """Links in pages."""
        verdict, after, limit = _verdict(request), _after(request), _limit(request)
        return await self._json(lambda found, *_: links.page(found, verdict, after=after, limit=limit))

    async def show(self, request: Request) -> Response:
        """One link."""
        url, after, limit = _url(request), _after(request), _limit(request)
        return await self._json(lambda found, state, now: _detail(found, state, url, now, after, limit))

    async def summary(self, request: Request) -> Response:
        """Counts."""
        return await self._json(lambda found, _, now: links.summary(found, now))

    async def news(self, request: Request) -> Response:
        """What died, moved or healed."""
        limit = _limit(request)
        return await self._json(lambda found, *_: links.news(found, limit=limit))

    async def hosts(self, request: Request) -> Response:
        """Hosts in trouble."""
        limit = _limit(request)
        return await self._json(lambda found, _, now: links.hosts(found, now, limit=limit))

    async def runs(self, request: Request) -> Response:
        """The last runs."""
        limit = _limit(request)
        return await self._json(lambda found, *_: links.runs(found, limit=limit))

    async def next(self, request: Request) -> Response:
        """What is checked next."""
        limit = _limit(request)
        return await self._json(lambda found, _, now: links.upcoming(found, now, limit=limit))

    async def _json(self, work: Callable[[Links, Store, int], object]) -> Response:
        try:
            data = await self._found(lambda *given: msgspec.json.encode(work(*given)))
        except links.NoLinksError as error:
            raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from error
        return Response(data, media_type="application/json")

    async def _found(self, work: Callable[[Links, Store, int], T]) -> T:
        def run(state: Store) -> T:
            with links.opened(state.folder, self._settings) as found:
                return work(found, state, int(self._now()))

        return await self._read(run)


def _detail(found: Links, state: Store, url: str, now: int, after: int, limit: int) -> links.LinkDetail:
    detail = links.detail(found, state, url, now, after=after, limit=limit)
    if detail is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no article that was published has this link")
    return detail


def _verdict(request: Request) -> Verdict | None:
    verdict = request.query_params.get("verdict", ANY)
    if verdict not in (*VERDICTS, ANY):
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"verdict: one of {', '.join(VERDICTS)}, {ANY}")
    return None if verdict == ANY else cast(Verdict, verdict)


def _url(request: Request) -> str:
    url = request.query_params.get("url", "")
    if not url:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "url: of which link?")
    return url


def _after(request: Request) -> int:
    after = request.query_params.get("after") or "0"
    if not _NUMBER.fullmatch(after):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "after: the `next` of the page before")
    return int(after)


def _limit(request: Request, usual: int = overview.SHOWN) -> int:
    limit = request.query_params.get("limit", str(usual))
    if not _NUMBER.fullmatch(limit) or not 1 <= int(limit) <= overview.MOST:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"limit: a whole number from 1 to {overview.MOST}")
    return int(limit)
