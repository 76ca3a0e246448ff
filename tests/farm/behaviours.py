"""Hosts that answer in order: statuses, validators, redirects, soft 404s, bot walls, and changes from day to day."""

from __future__ import annotations

from tests.farm.replies import (
    Answer,
    Call,
    Reply,
    article,
    by_day,
    conditional,
    message,
    page,
    plain,
    redirect,
    retry_after,
    status,
)
from tests.farm.sites import (
    ASTRAY_OR_WEAK,
    BLOCKED,
    CHANGED,
    FRESH,
    GONE,
    LED_ASTRAY,
    MISSING,
    MOVED,
    WEAK,
    WEAK_OR_BLOCKED,
    Expected,
    Page,
    Site,
    expected,
    one,
)

_BLOCKED = (401, 402, 403, 405, 406, 407, 412, 428, 429, 451, 999)
_PERMANENT, _PASSING = (301, 308), (302, 303, 307)
_NOT_FOUND = b"<h2>Sorry, we could not find that page</h2><p>It may have been moved or deleted. Try a search.</p>"


def sites() -> list[Site]:
    """All of them."""
    return [*_healthy(), *_statuses(), *_redirects(), *_soft(), *_walls(), *_histories()]


def _healthy() -> list[Site]:
    dated = "Tue, 02 Jan 2024 03:04:05 GMT"
    stories = ("/news/0-ferry", "/news/1-bridge", "/news/2-museum")
    return [
        Site("courier", {path: Page(article(), FRESH) for path in stories} | {"/": Page(article())}),
        one("home", article(), FRESH, path="/"),
        one("etag", conditional(article(), etag='"v1"'), FRESH),
        one("weak-etag", conditional(article(), etag='W/"v1"'), FRESH),
        one("last-modified", conditional(article(), last_modified=dated), FRESH),
        one("both-validators", conditional(article(), '"b"', dated), FRESH),
        one("useless-etag", _new_etag, FRESH),
        one("query", article(), FRESH, path="/story.php?id=17&lang=en"),
        one("pdf", plain("%PDF-1.7\n" + "0" * 2000, kind="application/pdf"), FRESH, path="/papers/report.pdf"),
        one("empty", plain(""), expected("fresh")),
        one("no-content", lambda call: Reply(204, message(204)), expected("fresh")),
        one("slow", _late(2.0), FRESH),
        one("long", article(paragraphs=150), FRESH),
        # Words are no evidence: what reads like an error or a wall, and is an article.
        one("about-404", article(title="Error 404: why page not found still puzzles us"), FRESH),
        one("about-walls", article(title="Just a moment... what checks of your browser are for"), FRESH),
        one("about-login", article(title="How to log in"), FRESH, path="/login"),
    ]


def _statuses() -> list[Site]:
    mixed = {
        "/news/alive": Page(article(), FRESH), "/news/missing": Page(status(404), MISSING),
        "/news/gone": Page(status(410), GONE), "/news/moved": Page(redirect("/news/2024/moved", 301), MOVED),
        "/news/2024/moved": Page(article()), "/members/only": Page(status(403), BLOCKED),
    }  # fmt: skip
    return [
        Site("mixed", mixed),
        one("missing", status(404), MISSING),
        one("gone", status(410), GONE),
        *(one(f"status-{code}", status(code), BLOCKED) for code in _BLOCKED),
        *(one(f"status-{code}", status(code), WEAK) for code in (500, 502, 503, 504)),
        one("unauthorised", status(401, headers='WWW-Authenticate: Basic realm="x"\r\n'), BLOCKED),
        one("busy-seconds", retry_after(429, 2), BLOCKED),
        one("busy-date", retry_after(429, 3, as_date=True), BLOCKED),
        one("closed-seconds", retry_after(503, 2), WEAK_OR_BLOCKED),
        one("closed-date", retry_after(503, 3, as_date=True), WEAK_OR_BLOCKED),
        # Who heeds the pause never sees the second page while it lasts.
        Site("busy-two", {
            "/news/a": Page(retry_after(429, 2), BLOCKED),
            "/news/b": Page(article(), expected("fresh unchecked", "fresh")),
        }),
    ]  # fmt: skip


def _redirects() -> list[Site]:
    found = []
    for code in (*_PERMANENT, *_PASSING):
        pages = {"/old/story": Page(redirect("/new/story", code), MOVED if code in _PERMANENT else FRESH)}
        found.append(Site(f"redirect-{code}", pages | {"/new/story": Page(article())}))
    return [
        *found,
        _chain("chain-301", 5, (301,), MOVED),
        _chain("chain-mixed", 4, (301, 302), FRESH),
        _chain("chain-10", 10, (308,), expected("fresh", "moved fresh")),
        _chain("chain-14", 14, (301,), ASTRAY_OR_WEAK),
        Site("slash", {"/topic": Page(redirect("/topic/", 301), MOVED), "/topic/": Page(article())}),
        Site("loop", {"/a": Page(redirect("/b", 301), ASTRAY_OR_WEAK), "/b": Page(redirect("/a", 301))}),
        one("loop-self", redirect("/me", 302), ASTRAY_OR_WEAK, path="/me"),
        one("across", redirect("http://{courier}:{port}/news/0-ferry", 301), MOVED),
        one("across-passing", redirect("http://{courier}:{port}/news/1-bridge", 302), FRESH),
        one("across-missing", redirect("http://{missing}:{port}/news/2024/missing.html", 301), MISSING),
        one("across-gone", redirect("http://{gone}:{port}/news/2024/gone.html", 301), GONE),
        one("across-root", redirect("http://{courier}:{port}/", 301), MISSING),
        one("no-location", lambda call: Reply(302, message(302)), WEAK_OR_BLOCKED),
        one("bad-location", redirect("http://[bad/", 302), WEAK_OR_BLOCKED),
        one("to-mail", redirect("mailto:a@b.example", 302), LED_ASTRAY),
        Site("to-root", {"/story": Page(redirect("/", 301), MISSING), "/": Page(article())}),
        Site("to-root-passing", {"/story": Page(redirect("/", 302), MISSING), "/": Page(article())}),
        Site("to-root-full", {
            "/a/b/c": Page(redirect("http://{to-root-full}:{port}", 302), MISSING), "/": Page(article()),
        }),
        Site("to-not-found", {"/story": Page(redirect("/404.html"), MISSING), "/404.html": Page(_page(_NOT_FOUND))}),
        Site("to-not-found-words", {
            "/story": Page(redirect("/page-not-found", 301), MISSING), "/page-not-found": Page(_page(_NOT_FOUND)),
        }),
        Site("to-missing", {"/story": Page(redirect("/error"), MISSING), "/error": Page(status(404))}),
        Site("to-login", {
            "/story": Page(redirect("/login?next=story"), BLOCKED), "/login?next=story": Page(_login),
        }),
        Site("to-signin", {"/story": Page(redirect("/account/signin", 303), BLOCKED), "/account/signin": Page(_login)}),
        Site("root-language", {"/": Page(redirect("/en/", 302), FRESH), "/en/": Page(article())}),
    ]  # fmt: skip


def _soft() -> list[Site]:
    """Hosts that say 200 to everything; and honest ones beside them, whatever they say to a path that never was."""
    there = {"/news/there": Page(article(), FRESH)}
    paths = ("/news/vanished", "/2019/05/old-story.html")
    same, echo = _page(_NOT_FOUND), _echo

    def vanished(answer: Answer) -> dict[str, Page]:
        return {path: Page(answer, MISSING) for path in paths}

    return [
        Site("soft-same", there | vanished(same), other=same),
        Site("soft-echo", there | vanished(echo), other=echo),
        Site("soft-home", there | vanished(article("home", title="Welcome")), other=article("home", title="Welcome")),
        Site("soft-root", there | vanished(redirect("/")) | {"/": Page(article())}, other=redirect("/")),
        Site("soft-lost", there | vanished(redirect("/lost")) | {"/lost": Page(same)}, other=redirect("/lost")),
        Site("probe-403", there, other=status(403)),
        Site("probe-500", there, other=status(500)),
        Site("probe-reset", there, other=lambda call: Reply(0, b"", "reset")),
        Site("probe-410", there | {"/news/missing": Page(status(404), MISSING)}, other=status(410)),
        Site("thin", {"/n/1": Page(plain("Short.", kind="text/html"), FRESH)}),
    ]


def _walls() -> list[Site]:
    challenge = "cf-mitigated: challenge\r\nCF-RAY: 8a1b2c3d4e5f6789-FRA\r\nServer: cloudflare\r\n"
    moment = (
        "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body><noscript>Enable JavaScript and "
        "cookies to continue</noscript>"
        "<script src='/cdn-cgi/challenge-platform/h/b/orchestrate/chl_page/v1'></script></body>"
    )
    pardon = (
        "<html><head><title>Pardon Our Interruption</title></head><body><p>As you were browsing something about your "
        "browser made us think you were a bot.</p><script src='/_Incapsula_Resource?x=1'></script></body></html>"
    )
    captcha = (
        "<html><head><title>Access to this page has been denied</title></head><body><div id='px-captcha'></div>"
        "<script>window._pxAppId='PX123';</script></body></html>"
    )

    def walled(name: str, code: int, text: str, headers: str = "") -> Site:
        wall = plain(text, code, "text/html", headers)
        return one(name, wall, BLOCKED, other=wall)

    return [
        walled("wall-403", 403, moment, challenge),
        walled("wall-503", 503, moment, challenge),
        walled("wall-200", 200, moment, challenge),
        walled("wall-pardon", 200, pardon),
        walled("wall-captcha", 403, captcha),
        walled("wall-captcha-200", 200, captcha),
        walled("wall-202", 202, "", "x-amzn-waf-action: challenge\r\n"),
    ]


def _histories() -> list[Site]:
    up, missing, down, shut = article(), status(404), status(503), status(403)
    return [
        one("edited", by_day((0, article("first")), (3, article("second"))), CHANGED),
        one("edited-etag", by_day(
            (0, conditional(article("first"), '"1"')), (3, conditional(article("second"), '"2"'))
        ), CHANGED),
        one("edited-once", by_day((0, article("first")), (1, article("second")), (2, article("first"))), FRESH),
        one("heals", by_day((0, missing), (6, up)), expected("failing", "fresh", changed=False)),
        one("heals-late", by_day((0, status(410)), (9, up)), expected("failing", "fresh dead failing")),
        one("dies", by_day((0, up), (2, missing)), expected("fresh", "failing dead")),
        one("dies-etag", by_day((0, conditional(up, '"1"')), (2, status(410))), expected("fresh", "failing dead")),
        one("outage", by_day((0, up), (1, down), (2, up)), expected("fresh")),
        one("every-other-day", lambda call: (up if call.day % 2 else down)(call), expected(
            "unchecked failing", "fresh failing stale"
        )),
        one("walled-off", by_day((0, up), (1, shut)), expected("fresh", "blocked stale fresh")),
        one("let-in", by_day((0, shut), (5, up)), expected("blocked", "fresh blocked")),
        one("then-moved", by_day((0, up), (1, redirect("http://{courier}:{port}/news/2-museum", 301))), expected(
            "fresh", "moved fresh"
        )),
        one("moves-about", lambda call: redirect(f"/d{call.day}", 301)(call), expected("fresh"), other=up),
        one("blinks", by_day((0, missing), (1, up), (2, missing), (3, up)), expected("failing", "fresh")),
    ]  # fmt: skip


def _page(body: bytes) -> Answer:
    return lambda call: Reply(200, message(200, page("Page not found", body, call.count)))


def _echo(call: Call) -> Reply:
    """An error page that says the path back, and a number for the case."""
    words = f"<p>We looked for {call.target}, and it is not here.</p><p>Case {call.count}</p>".encode()
    return Reply(200, message(200, page("Nothing here", _NOT_FOUND + words, call.count)))


def _login(call: Call) -> Reply:
    form = b"<form method='post'><input name='user'><input name='password' type='password'></form>"
    return Reply(200, message(200, page("Log in", form, call.count)))


def _new_etag(call: Call) -> Reply:
    """A validator that never matches, as servers in a cluster send them."""
    return conditional(article(), f'"{call.count:x}"')(call)


def _late(delay_s: float) -> Answer:
    return article(delay_s=delay_s)


def _chain(name: str, hops: int, codes: tuple[int, ...], end: Expected) -> Site:
    pages = {f"/hop/{n}": Page(redirect(f"/hop/{n + 1}", codes[n % len(codes)])) for n in range(hops)}
    pages["/hop/0"] = Page(pages["/hop/0"].answer, end)
    return Site(name, pages | {f"/hop/{hops}": Page(article())})
