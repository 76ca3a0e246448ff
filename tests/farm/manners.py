"""Hosts that say how they want to be treated: robots.txt in every state, and limits on how often one may ask."""

from __future__ import annotations

from tests.farm.replies import Answer, Call, Reply, article, message, plain, raw, redirect, retry_after, status
from tests.farm.sites import ASTRAY_OR_WEAK, BLOCKED, FRESH, Page, Site, expected

_ANYTHING = (("*", "/.*"),)
_PRIVATE = (("*", "/private/.*"),)
_LIMIT_S = 0.5
_OPEN, _CLOSED = Page(article(), FRESH), Page(article(), BLOCKED)
_EITHER = Page(article(), expected("fresh blocked"))
_BOTH = {"/private/a": _CLOSED, "/news/a": _OPEN}


def sites() -> list[Site]:
    """All of them."""
    return [*_rules(), *_states(), *_limits()]


def _rules() -> list[Site]:
    """What a robots.txt can say (RFC 9309)."""

    def says(name: str, robots: str, pages: dict[str, Page], forbids: str = "") -> Site:
        return Site(name, pages, plain(robots), (("*", forbids),) if forbids else ())

    agents = "User-agent: feedd\nDisallow: /not-feedd\n\nUser-agent: *\nDisallow: /only-feedd\n"
    forbids = (("feedd", "/not-feedd.*"), ("*", "/only-feedd.*"))
    longest, pattern = "User-agent: *\nAllow: /a/b\nDisallow: /a\n", "User-agent: *\nDisallow: /*.pdf$\n"
    filler = "".join(f"# {n:07} filler\nDisallow: /never/{n}\n" for n in range(60_000))  # 2 MB
    return [
        says("robots-all", "User-agent: *\nDisallow: /\n", {"/news/a": _CLOSED, "/": _CLOSED}, "/.*"),
        says("robots-part", "User-agent: *\nDisallow: /private/\n", _BOTH, "/private/.*"),
        says("robots-longest", longest, {"/a/c": _CLOSED, "/a/b/c": _OPEN}, "/a(?!/b).*"),
        says("robots-pattern", pattern, {"/x/y.pdf": _CLOSED, "/x/y.pdf.html": _OPEN}, r"/.*\.pdf"),
        says("robots-windows", "\ufeffuser-agent: *\r\nDISALLOW: /private\r\n", _BOTH, "/private.*"),
        says("robots-empty-rule", "User-agent: *\nDisallow:\n", {"/news/a": _OPEN}),
        says("robots-huge", f"User-agent: *\nDisallow: /private/\n{filler}", _BOTH, "/private/.*"),
        Site("robots-agents", {"/not-feedd/a": _CLOSED, "/only-feedd/a": _OPEN}, plain(agents), forbids),
        Site(
            "crawl-delay", {f"/news/{n}": _OPEN for n in range(3)}, plain("User-agent: *\nCrawl-delay: 2\n"),
            crawl_delay_s=2.0,
        ),
        Site("into-robots", {"/go": Page(redirect("http://{robots-part}:{port}/private/a", 302), BLOCKED)}),
    ]  # fmt: skip


def _states() -> list[Site]:
    """How a robots.txt can be had, or not."""
    image = message(200, bytes(range(256)) * 8, kind="image/png")
    elsewhere, inside = "http://{robots-part}:{port}/robots.txt", "http://127.0.0.1:{port}/robots.txt"
    return [
        Site("robots-403", {"/news/a": _OPEN}, status(403)),
        # Not to be had is not the same as not there: all is forbidden until it can be read (section 2.3.1.4).
        Site("robots-500", {"/news/a": _CLOSED}, status(500), _ANYTHING),
        Site("robots-503", {"/news/a": _CLOSED}, status(503), _ANYTHING),
        Site("robots-hangs", {"/news/a": Page(article(), ASTRAY_OR_WEAK)}, raw(b"", "wait", 0), _ANYTHING),
        Site("robots-page", {"/news/a": _OPEN}, article()),
        Site("robots-binary", {"/news/a": _OPEN}, raw(image, "keep")),
        Site("robots-moved", _BOTH, redirect(elsewhere, 301), _PRIVATE),
        Site("robots-loop", {"/news/a": _EITHER}, redirect("/robots.txt", 302)),
        Site("robots-inside", {"/news/a": _EITHER}, redirect(inside)),
    ]


def _limits() -> list[Site]:
    once = Page(_once_a_day, expected("blocked fresh unchecked"))
    return [
        Site("limited", {f"/news/{n}": Page(_limited, expected("fresh blocked")) for n in range(4)}, other=_limited),
        Site("limited-hard", {f"/news/{n}": once for n in range(2)}),
    ]


def _limited(call: Call) -> Reply:
    """Who asks again within half a second is sent away for two."""
    before, call.memory["asked"] = call.memory.get("asked", -_LIMIT_S), call.clock
    return (article() if call.clock - before >= _LIMIT_S else retry_after(429, 2))(call)


def _once_a_day(call: Call) -> Reply:
    """The first request of a day is refused, the next one is not."""
    first = call.memory.get("day") != call.day
    call.memory["day"] = call.day
    answer: Answer = retry_after(429, 1) if first else article()
    return answer(call)
