"""Every rule of what an answer shows of a link: statuses, failures, redirects, walls, pages that are not there."""

from __future__ import annotations

from email.utils import formatdate
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedd.freshness import fingerprint, reading, redirects, walls
from feedd.freshness.reading import MadeUp
from feedd.freshness.states import Answer, Evidence, Failure, Finding, LinkState, Trail

NOW = 1_700_000_000
URL = "https://news.example/2024/05/council-saves-old-bridge.html"
HTML = "text/html; charset=utf-8"
NEW = LinkState()
TEXT = "".join(
    f"<p>The {who} said on Monday that the old bridge would {what}, whatever the costs. Others in town {did} it.</p>"
    for who, what, did in [
        ("council", "be repaired within the year", "welcomed"), ("engineer", "carry lorries again", "doubted"),
        ("mayor", "open before the summer fair", "had hoped for"), ("museum", "be part of its next tour", "laughed at"),
        ("farmer on the far side", "save him an hour each day", "said nothing to"),
        ("historian", "never have been built today", "wrote letters about"), ("ferryman", "ruin him", "denied"),
        ("architect", "outlive everybody present", "applauded"), ("treasurer", "cost eleven million", "feared"),
        ("school", "shorten the way of sixty children", "were glad of"), ("poet", "sing in the wind", "recited"),
        ("painter", "look best in grey", "argued about"), ("bishop", "be blessed on Sunday", "attended"),
        ("hotel", "bring guests from the other bank", "expected"), ("angler", "frighten the fish", "knew"),
    ]
)  # fmt: skip
ARTICLE = f"<!DOCTYPE html><title>Council saves old bridge | News</title><h1>Council saves old bridge</h1>{TEXT}"
NOT_FOUND = (
    "<!DOCTYPE html><title>Page not found | News</title><h1>Sorry!</h1><p>What you are looking for is not here, or not"
    " any more. Try our search, or go back to the start page.</p>"
)
OTHER = ARTICLE.replace("Monday", "Friday").replace("old bridge", "town hall").replace("costs", "weather")


def answered(status: int, body: str = "", url: str = URL, content_type: str = HTML, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(url, status, headers={"content-type": content_type, **named}, body=body.encode())


def page(body: str, status: int = 200, **headers: str) -> Trail:
    return Trail(URL, answered(status, body, **headers))


def redirected(*hops: tuple[int, str] | str, link: str = URL, status: int = 200, body: str = ARTICLE) -> Trail:
    steps = tuple((301, hop) if isinstance(hop, str) else hop for hop in hops)
    return Trail(link, answered(status, body, url=steps[-1][1]), steps)


def read(trail: Trail, made_up: MadeUp | None = None, state: LinkState = NEW) -> Evidence:
    return reading.evidence(trail, state, at=NOW, made_up=made_up)


def shows(trail: Trail, made_up: MadeUp | None = None, state: LinkState = NEW) -> tuple[Finding, str]:
    found = read(trail, made_up, state)
    return found.finding, found.reason


def made_up(body: str, status: int = 200, final_url: str = "") -> MadeUp:
    hops = ((302, final_url),) if final_url else ()
    return reading.made_up(Trail("https://news.example/made-up", answered(status, body), hops))


HONEST = made_up(NOT_FOUND, 404)
SOFT = made_up(NOT_FOUND)


# -- statuses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("statuses", "finding"), [
    ((200, 201, 203, 204, 206, 226), "good"), ((404,), "missing"), ((410,), "gone"),
    ((401, 402, 403, 405, 406, 407, 412, 428, 429, 451, 999), "blocked"),  # the policy's
    ((418, 423, 430, 440, 450, 496, 498, 511, 561), "blocked"),  # of servers with numbers of their own
    ((400, 408, 409, 411, 413, 414, 416, 417, 421, 422, 424, 425, 426, 431, 499), "weak"),
    ((500, 501, 502, 503, 504, 505, 507, 508, 520, 522, 525, 529, 530, 599), "weak"),
    ((100, 102, 300, 305, 306, 600, 777, 1000), "weak"), ((301, 302, 303, 307, 308), "weak"),  # without a Location
])  # fmt: skip
def test_what_a_status_shows(statuses: tuple[int, ...], finding: Finding) -> None:
    for status in statuses:
        found = read(page("", status))
        assert (found.finding, found.status, found.at) == (finding, status, NOW)
        assert found.reason.startswith(f"answered {status}")


def test_who_redirects_to_what_is_not_http_says_nothing_of_the_link() -> None:
    assert shows(page("", 302, location="mailto:desk@news.example")) == ("blocked", "redirects to what is not http")


def test_a_304_is_a_success_of_who_asked_on_a_condition() -> None:
    asked = LinkState(etag='"1"', fingerprint=b"x" * 16)
    found = read(page("", 304, etag='"1"'), state=asked)
    assert (found.finding, found.unchanged, found.etag, found.fingerprint) == ("good", True, '"1"', b"")
    assert read(page("", 304), state=LinkState(last_modified="x")).unchanged
    assert shows(page("", 304)) == ("weak", "answered 304 to a question without a condition")
    assert shows(redirected("https://news.example/", status=304, body=""), state=asked)[0] == "missing"


@pytest.mark.parametrize("body", ["", " ", "<title>App</title><div id=app></div><script src=/app.js></script>"])
def test_a_page_without_text_is_a_page(body: str) -> None:
    found = read(page(body), SOFT)
    assert (found.finding, found.fingerprint) == ("good", b"")


def test_what_is_no_page_is_good_as_it_is() -> None:
    pdf = Trail(URL, Answer(URL, 200, headers={"content-type": "application/pdf"}, body=b"%PDF-1.7"))
    assert read(pdf, MadeUp(200, "", read(pdf).fingerprint)).finding == "good"
    assert not reading.needs_made_up(pdf, NEW)


def test_a_body_that_was_cut_is_judged_by_what_is_there() -> None:
    whole = (ARTICLE + TEXT * 200).encode()
    cut = Trail(URL, Answer(URL, 200, headers={"content-type": HTML}, body=whole[: 64 << 10]))
    assert len(whole) > 64 << 10
    assert shows(cut, SOFT) == ("good", "answered 200")


# -- failures ----------------------------------------------------------------------------------------------------------

FAILURES: dict[Failure, Finding] = {
    "timeout": "weak", "refused": "weak", "reset": "weak", "name": "gone", "lookup": "weak", "tls": "weak",
    "address": "excluded", "port": "excluded", "size": "weak", "protocol": "weak", "": "weak",
}  # fmt: skip


@pytest.mark.parametrize("failure", get_args(Failure))
def test_what_a_failure_shows(failure: Failure) -> None:
    finding, reason = shows(Trail(URL, Answer(URL, failure=failure)))
    assert finding == FAILURES[failure]
    after = shows(Trail(URL, Answer(URL, failure=failure), ((301, "https://other.example/x"),)))
    assert after == (finding, f"{reason}, after a redirect")


def test_a_bad_certificate_is_told_in_words() -> None:
    assert shows(Trail(URL, Answer(URL, failure="tls"))) == ("weak", "its certificate is not valid")


def test_robots_txt_keeps_us_out_here_or_after_a_redirect() -> None:
    for trail in (
        Trail(URL, Answer(URL), refused="robots"),
        Trail(URL, Answer(URL, 302, location="https://news.example/"), refused="robots"),
    ):
        assert shows(trail) == ("blocked", "robots.txt keeps robots out")


def test_redirects_without_an_end_are_weak_unless_they_wait_for_a_cookie() -> None:
    last = Answer(URL, 302, location=URL)
    assert shows(Trail(URL, last, refused="loop")) == ("weak", "redirects in a circle")
    assert shows(Trail(URL, last, ((302, URL),) * 10, "redirects")) == ("weak", "too many redirects")
    waiting = Answer(URL, 302, location=URL, headers={"set-cookie": "seen=1"})
    assert shows(Trail(URL, waiting, refused="loop")) == ("blocked", "redirects until a cookie is kept")


# -- what is kept of an answer -----------------------------------------------------------------------------------------


def test_validators_and_fingerprint_are_kept_of_a_success_alone() -> None:
    etag, date = 'W/"a"', "Tue, 14 Nov 2023 22:13:20 GMT"
    good = read(page(ARTICLE, etag=etag, last_modified=date))
    assert (good.etag, good.last_modified) == (etag, date)
    assert good.fingerprint == fingerprint.fingerprint(ARTICLE.encode(), HTML) != b""
    for status in (403, 404, 500):
        bad = read(page(ARTICLE, status, etag=etag, last_modified=date))
        assert (bad.etag, bad.last_modified, bad.fingerprint) == ("", "", b"")


@pytest.mark.parametrize("etag", ['"' + "x" * 1000 + '"', '"\r\nx"', '"\x00"', '"é"'])
def test_a_validator_that_could_not_be_sent_back_is_none(etag: str) -> None:
    assert read(page(ARTICLE, etag=etag)).etag == ""


@pytest.mark.parametrize(("status", "header", "seconds"), [
    (503, "120", 120), (429, "1", 1), (403, "0", 0), (503, formatdate(NOW + 60, usegmt=True), 60), (503, "soon", 0),
    (503, formatdate(NOW - 60, usegmt=True), 0), (503, "999999999", 86_400), (200, "120", 0),
])  # fmt: skip
def test_what_a_host_asks_for_is_kept(status: int, header: str, seconds: int) -> None:
    assert read(page(ARTICLE, status, retry_after=header)).retry_after_s == seconds


def test_a_move_is_for_good_if_all_of_it_is() -> None:
    new = "https://news.example/story/council-saves-old-bridge"
    for statuses, permanent in [((301,), True), ((308, 301), True), ((301, 302), False), ((307,), False)]:
        found = read(redirected(*[(status, new) for status in statuses]), HONEST)
        assert (found.finding, found.final_url, found.permanent) == ("good", new, permanent)
    assert (read(page(ARTICLE)).final_url, read(page(ARTICLE)).permanent) == ("", False)


# -- redirects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("final", [
    "http://news.example/2024/05/council-saves-old-bridge.html", "https://www.news.example" + URL[20:], URL + "/",
    "https://news.example:443/2024/05/council-saves-old-bridge.html", URL + "#top",
])  # fmt: skip
def test_the_same_resource_under_another_spelling_shows_nothing(final: str) -> None:
    assert redirects.same_resource(URL, final) and redirects.place(URL, final) == ""
    assert shows(redirected(final), SOFT)[0] == "good"


@pytest.mark.parametrize(("link", "final", "place"), [
    # start pages
    *[(URL, f"https://news.example{path}", "start") for path in (
        "", "/", "/index.html", "/home", "/en/", "/en", "/de-de/home.aspx", "/?utm_source=x", "/?error=gone",
        "/index.php",
        "/default.aspx", "/?lang=de&ref=old", "/startseite", "/en_US/",
    )],
    (URL, "https://www.news.example/", "start"), (URL, "https://bought.example/", "start"),
    ("https://news.example/?p=123", "https://news.example/", "start"),
    ("https://news.example/news/2024/council-saves-old-bridge", "https://news.example/news/", "start"),
    ("https://news.example/blog/an-old-story", "https://www.news.example/blog", "start"),
    # not start pages, or rightly so
    (URL, "https://news.example/?p=123", ""), (URL, "https://news.example/story/123", ""),
    ("https://news.example/", "https://news.example/en/", ""), ("https://old.example/", "https://new.example/", ""),
    ("https://sho.rt/aB3xY", "https://news.example/", ""),
    ("https://sho.rt/aB3xY-and-more", "https://news.example/", "start"),
    ("https://news.example/aB3xY", "https://www.news.example/", "start"),
    ("https://news.example/story/123/a-slug-of-it", "https://news.example/story/123", ""),
    ("https://news.example/news/rss", "https://news.example/news", ""), (URL, "https://news.example/news/", ""),
    ("https://news.example/a/b/the-long-name-1", "https://news.example/a/b", ""),
    ("https://news.example/news", "https://other.example/news", ""),
    # pages that say that there is none
    *[(URL, f"https://news.example/{path}", "error") for path in (
        "404", "404.html", "en/404", "errors/404.aspx", "not-found", "notfound", "page-not-found.html",
        "pagenotfound", "error",
        "error.aspx?aspxerrorpath=/2024", "error404", "404-error", "404_not_found", "site-error",
        "de/seite-nicht-gefunden",
        "page-introuvable", "fehler", "pagina-no-encontrada", "content-unavailable", "?status=404", "x?e=not-found",
    )],
    (URL, "https://elsewhere.example/404", "error"),
    (URL, "https://news.example/articles/404", ""), (URL, "https://news.example/how-to-fix-404-errors", ""),
    ("https://news.example/?id=404", "https://news.example/404", ""),
    ("https://a.example/error", "https://a.example/x/error", ""),
    ("https://news.example/wiki/HTTP_404", "https://news.example/w?title=404", ""),
    # gates
    *[(URL, url, "log-in") for url in (
        "https://login.news.example/?u=1", "https://accounts.big.example/ServiceLogin",
        "https://news.eu.auth0.com/authorize?x=y",
        "https://news.example/login?next=%2F2024", "https://news.example/user/sign-in",
        "https://news.example/sso/check",
        "https://news.example/subscribe", "https://news.example/paywall/?a=1", "https://news.example/wp-login.php",
        "https://www.job.example/authwall?trk=x", "https://news.example/anmelden",
        "https://x.login.microsoftonline.com/a/b",
        "https://gate.example/v?return_to=https%3A%2F%2Fnews.example%2F2024%2F05%2Fcouncil-saves-old-bridge.html",
        "https://news.example/?returnUrl=/2024/05/council-saves-old-bridge.html",
    )],
    *[(URL, url, "consent") for url in (
        "https://consent.big.example/v2/collectConsent?sessionId=1", "https://guce.big.example/consent?x=1",
        "https://news.example/cookie-consent/", "https://news.example/privacy-gate/accept", "https://news.example/gdpr",
        "https://news.example/age-gate", "https://myprivacy.group.example/?siteKey=a",
    )],
    *[(URL, url, "robots") for url in (
        "https://news.example/captcha", "https://www.big.example/sorry/index?continue=x",
        "https://news.example/blocked.html",
        "https://validate.example/are-you-human", "https://news.example/access-denied",
    )],
    # no gates, or asked for
    ("https://news.example/login", "https://accounts.news.example/login", ""),
    ("https://accounts.news.example/start", "https://accounts.news.example/x", ""),
    ("https://news.example/login", "https://news.example/en/login", ""),
    ("https://dev.example/docs/sso-and-login", "https://dev.example/docs/auth/login", ""),
    ("https://news.example/2024/how-to-subscribe-to-a-feed", "https://news.example/how-to-subscribe-to-a-feed", ""),
    (URL, "https://news.example/story?ref=/elsewhere/on/the/site", ""),
    (URL, "https://news.example/a/b/c/d?ref=/2024/05/council-saves-old-bridge.html", ""),
    ("https://news.example/a", "https://gate.example/?next=/a", ""),
    # odd URLs
    ("not a url", "https://news.example/", "start"), (URL, "mailto:x@news.example", ""), ("", "", ""),
    (URL, "https://", "start"),
])  # fmt: skip
def test_where_a_redirect_led(link: str, final: str, place: redirects.Place) -> None:
    assert redirects.place(link, final) == place


@pytest.mark.parametrize(("final", "expected"), [
    ("https://news.example/", ("missing", "redirects to the site's start page")),
    ("https://news.example/404", ("missing", "redirects to a page that says that there is none")),
    ("https://news.example/login", ("blocked", "redirects to a log-in page")),
    ("https://consent.news.example/", ("blocked", "redirects to a consent page")),
    ("https://news.example/captcha", ("blocked", "redirects to a bot wall")),
])  # fmt: skip
def test_a_success_elsewhere_is_none(final: str, expected: tuple[Finding, str]) -> None:
    trail = redirected(final)
    assert shows(trail, HONEST) == shows(trail) == expected
    assert not reading.needs_made_up(trail, NEW)
    assert read(trail).final_url == final


def test_an_error_page_on_the_way_is_evidence_and_a_log_in_on_the_way_is_none() -> None:
    assert shows(redirected("https://news.example/404", "https://news.example/sorry-about-that"))[0] == "missing"
    assert shows(redirected("https://sso.news.example/check", URL + "?s=1"))[0] == "good"


def test_the_status_at_the_end_of_redirects_counts_first() -> None:
    for status, finding in ((404, "missing"), (410, "gone"), (403, "blocked"), (503, "weak")):
        assert read(redirected("https://news.example/login", status=status, body="")).finding == finding


# -- walls -------------------------------------------------------------------------------------------------------------

CLOUDFLARE = (
    "<!DOCTYPE html><html lang='en-US'><head><title>Just a moment...</title></head><body><noscript>Enable JavaScript"
    " and cookies to continue</noscript><script>window._cf_chl_opt={cvId:'3'}</script></body></html>"
)
WALLS = [
    (CLOUDFLARE, "a bot wall (Cloudflare)"),
    ("<title>Attention Required! | Cloudflare</title><h1>Sorry, you have been blocked</h1>", "a bot wall"),
    (("<HTML><HEAD><TITLE>Access Denied</TITLE></HEAD><BODY><H1>Access Denied</H1>You don't have permission to access"
     ' "http&#58;&#47;&#47;x" on this server.<P>Reference&#32;&#35;18&#46;3<P>https://errors.edgesuite.net/18</BODY></HTML>'),
     "a bot wall (Akamai)"),
    ('<title>Access to this page has been denied</title><div id="px-captcha"></div><p>Press &amp; Hold</p>',
     "a bot wall (PerimeterX)"),
    (("<html><title>news.example</title><p id=cmsg>Please enable JS and disable any ad blocker</p>"
     "<script>var dd={'host':'geo.captcha-delivery.com'}</script></html>"), "a bot wall (DataDome)"),
    (('<html><iframe id="main-iframe" src="/_Incapsula_Resource?S=9">Request unsuccessful. Incapsula incident ID:'
     " 877</iframe></html>"), "a bot wall (Imperva)"),
    ('<html><script src="/_Incapsula_Resource?SWJIYLWA=7"></script></html>', "a bot wall (Imperva)"),
    ("<title>Human Verification</title><script>window.gokuProps={}</script>", "a bot wall (AWS WAF)"),
    ("<title>You are being redirected...</title><script>sucuri_cloudproxy_js=''</script>", "a bot wall (Sucuri)"),
    ("<title>Request Rejected</title>The requested URL was rejected. Please consult with your administrator.",
     "a bot wall (F5)"),
    ("<title>Making sure you&#39;re not a bot!</title><p>Loading...</p>", "a bot wall"),
    ("<title>Pardon Our Interruption</title><p>As you were browsing something made us think</p>", "a bot wall"),
    ("<title>Robot or human?</title><p>Activate and hold the button</p>", "a bot wall"),
    ("<title>News</title><p>Our systems have detected unusual traffic from your computer network.</p>", "a bot wall"),
    ("<title>News</title><form><div class='g-recaptcha'></div></form>", "a bot wall"),
    ("<title>News</title><p>Please confirm that you are not a robot</p>", "a bot wall"),
    ("<title>Nur einen Moment…</title>", "a bot wall"),
    ("<title>Before you continue to News</title><p>We use cookies and data to</p>", "a consent page"),
    ("<title>DPG Media Privacy Gate</title><p>x</p>", "a consent page"),
    ("<title>Sign in | News</title><form><input type=password></form>", "a log-in page"),
    ("<title>Subscribe to read | News</title><form><input name=password></form>", "a log-in page"),
]


@pytest.mark.parametrize(("body", "wall"), WALLS)
@pytest.mark.parametrize("status", [200, 202, 403, 429, 500, 503])
def test_a_wall_is_told_from_a_page(status: int, body: str, wall: str) -> None:
    trail = page(body, status)
    assert shows(trail) == shows(trail, SOFT) == ("blocked", wall)
    assert not reading.needs_made_up(trail, NEW)
    assert reading.made_up(trail) == MadeUp()


@pytest.mark.parametrize(("headers", "wall"), [
    ({"cf_mitigated": "challenge"}, "Cloudflare"), ({"x_vercel_mitigated": "challenge"}, "Vercel"),
    ({"x_amzn_waf_action": "captcha"}, "AWS WAF"), ({"x_dd_b": "1"}, "DataDome"),
])  # fmt: skip
@pytest.mark.parametrize("status", [200, 202, 403, 404, 410, 503])
def test_headers_own_up_to_a_wall(status: int, headers: dict[str, str], wall: str) -> None:
    assert shows(page(ARTICLE, status, **headers)) == ("blocked", f"a bot wall ({wall})")


@pytest.mark.parametrize("body", [
    ARTICLE.replace("Council saves old bridge", "Just a moment...").replace("Monday", "a page “verify you are human”"),
    f"{ARTICLE}<script src='/_Incapsula_Resource?x'></script><script src='https://js.datadome.example/tags.js'></script>",
    f"{ARTICLE}<script src='/cdn-cgi/challenge-platform/scripts/jsd/main.js'></script><div class='g-recaptcha'></div>",
    f"<title>Write to us</title><div class='g-recaptcha'></div>{TEXT[:800]}",
    "<title>Log in or not: a history of doors</title><p>A password was a word once, said to a guard, and no more.</p>",
    "<title>Sign in</title><p>How to sign in to the guest book of the village, which lies at the town hall.</p>",
    "<title>The news</title><p>A short item, with nothing that could be taken for anything else at all.</p>",
])  # fmt: skip
def test_what_has_the_words_of_a_wall_is_not_yet_one(body: str) -> None:
    assert shows(page(body), HONEST) == ("good", "answered 200")


def test_a_page_that_is_no_html_has_walls_in_its_headers_only() -> None:
    assert shows(Trail(URL, answered(200, CLOUDFLARE, content_type="text/plain")))[0] == "good"
    assert shows(Trail(URL, answered(503, CLOUDFLARE, content_type="text/plain")))[0] == "weak"


def test_mitigated_otherwise_than_by_a_challenge_is_no_wall() -> None:
    assert walls.bot_wall_by_headers(answered(200, cf_mitigated="none")) == ""


# -- pages that are not there ------------------------------------------------------------------------------------------

TITLES = [
    "404", "404 Not Found", "404 - Page not found | News", "Page not found", "Page Not Found – News",
    "News | Page Not Found",
    "Not Found", "Error 404", "404 Error", "HTTP Error 404: Not Found", "Page not found (404)", "Oops! Page not found",
    "Sorry, page not found", "The page you requested could not be found", "Oops, that page can't be found.",
    "Page missing",
    "This page doesn’t exist", "The page you are looking for does not exist", "Article no longer available | News",
    "Seite nicht gefunden - Zeitung", "Die Seite wurde nicht gefunden", "Fehler 404", "Page introuvable | Journal",
    "Página no encontrada", "Página não encontrada", "Pagina non trovata", "Pagina niet gevonden",
    "Sidan hittades inte",
    "Siden ble ikke funnet", "Nie znaleziono strony", "Страница не найдена", "Ошибка 404", "ページが見つかりません",
    "页面不存在",
    "페이지를 찾을 수 없습니다", "404: This page could not be found.", "410", "We can't find that page",
    "Nothing found",
]
NOT_THOSE = [
    "Council saves old bridge | 404 Media", "HTTP 404 - Wikipedia", "How to fix a 404 error",
    "Weapons not found, says report",
    "404 people rescued", "Missing page of a diary found", "Lost and found", "Page",
    "Not found in nature: a new crystal",
    "Why pages are not found", "The error of 404 BC", "", "|", ":", ", | -", "Errors", "Highway 404 reopens",
]


def soft(title: str) -> str:
    return f"<title>{title}</title><h1>Hm</h1><p>Here are the news of the day, the {title} and more like it.</p>"


@pytest.mark.parametrize("title", TITLES)
def test_a_title_says_that_there_is_no_page_where_the_host_says_so_of_none(title: str) -> None:
    trail = page(soft(title))
    assert reading.needs_made_up(trail, NEW)
    expected = ("missing", "its title says that there is no such page")
    assert shows(trail, made_up("<title>News</title><p>Something else, of some length.</p>")) == expected
    assert shows(trail, HONEST) == ("good", "answered 200")
    for unknown in (None, MadeUp()):
        assert shows(trail, unknown)[0] == "weak"
        verified = LinkState(fingerprint=fingerprint.fingerprint(soft(title).encode(), HTML))
        assert shows(trail, unknown, verified)[0] == "good"


@pytest.mark.parametrize("title", NOT_THOSE)
def test_a_title_with_such_words_is_a_title(title: str) -> None:
    assert shows(page(soft(title)), made_up(NOT_FOUND))[0] == "good"


def test_the_main_heading_says_it_as_well() -> None:
    body = "<title>The Daily News</title><h1>Page not found</h1><p>Try the search, or the start page of this site.</p>"
    assert shows(page(body), made_up("<title>x</title><p>Another text altogether.</p>"))[0] == "missing"


def test_a_page_that_is_the_same_as_a_made_up_one_is_proven_not_to_be_there() -> None:
    home = "<title>The Daily News</title><h1>Today</h1>" + TEXT
    assert shows(page(home), made_up(home)) == ("missing", "its host answers the same to a made-up address")
    assert shows(page(home), made_up(home, 404))[0] == "good"
    assert shows(page(ARTICLE), made_up(home))[0] == "good"  # the same text below another title


def test_pages_that_name_the_path_asked_for_are_the_same_still() -> None:
    made = "https://news.example/made-up-path-1"
    body = "<title>News</title><p>There is nothing here at <b>{}</b> to see.</p><p>Perhaps this is of interest?</p>"
    theirs = reading.made_up(Trail(made, answered(200, body.format("/made-up-path-1"))))
    assert shows(page(body.format("/2024/05/council-saves-old-bridge.html")), theirs)[0] == "missing"


def test_a_redirect_to_where_all_made_up_addresses_lead_is_none_to_the_page() -> None:
    lead = "https://news.example/discover"
    theirs = made_up(ARTICLE, final_url=lead)
    trail = redirected(lead, body=OTHER)
    assert reading.needs_made_up(trail, NEW)
    assert shows(trail, theirs) == ("missing", "redirects to where made-up addresses of its host lead, too")
    assert shows(redirected("https://news.example/story", body=OTHER), theirs)[0] == "good"
    assert shows(redirected("http://news.example/discover/", link=lead, body=OTHER), theirs)[0] == "good"
    assert shows(trail, made_up(ARTICLE))[0] == "good"


def test_the_start_page_is_there_though_all_else_looks_like_it() -> None:
    for start in ("https://news.example/", "https://news.example/en/"):
        trail = Trail(start, answered(200, ARTICLE))
        assert not reading.needs_made_up(trail, NEW)
        assert shows(trail, made_up(ARTICLE))[0] == "good"


@pytest.mark.parametrize(("trail", "state", "needed"), [
    (page(ARTICLE), NEW, True), (page(ARTICLE, 206), NEW, True),
    (page(ARTICLE), LinkState(fingerprint=fingerprint.fingerprint(ARTICLE.encode(), HTML)), False),
    (page(ARTICLE), LinkState(fingerprint=fingerprint.fingerprint(NOT_FOUND.encode(), HTML)), True),
    (page("", 304), LinkState(etag="x"), False), (page(NOT_FOUND, 404), NEW, False), (page(""), NEW, False),
    (page("<title>404</title>"), NEW, True), (page(ARTICLE, 500), NEW, False), (page("<title>App</title>"), NEW, False),
    (Trail(URL, Answer(URL), refused="robots"), NEW, False), (Trail(URL, Answer(URL, failure="timeout")), NEW, False),
])  # fmt: skip
def test_when_a_made_up_path_is_worth_asking(trail: Trail, state: LinkState, needed: bool) -> None:
    assert reading.needs_made_up(trail, state) is needed


def test_what_is_remembered_of_a_made_up_path() -> None:
    assert HONEST.is_honest and not HONEST.is_soft and made_up("", 410).is_honest
    assert SOFT.is_soft and SOFT.title == "Page not found | News" and SOFT.final_url == ""
    assert made_up(ARTICLE, final_url="https://news.example/").final_url == "https://news.example/"
    for status in (0, 302, 401, 403, 429, 500, 503):
        assert made_up(NOT_FOUND, status) == MadeUp()
    assert reading.made_up(Trail(URL, answered(200, ARTICLE), refused="robots")) == MadeUp()


@pytest.mark.parametrize(("of", "start"), [
    ("news.example", "https://news.example/"), ("news.example:8443", "https://news.example:8443/"),
    (URL, "https://news.example/"), ("http://user:x@127.1.0.1:8080?q", "http://127.1.0.1:8080/"),
    ("http://[2001:db8::1]:80/x", "http://[2001:db8::1]:80/"), ("https://news.example#x", "https://news.example/"),
])  # fmt: skip
def test_a_made_up_path_is_of_the_same_host_and_the_same_for_the_same_seed(of: str, start: str) -> None:
    url = reading.made_up_path(of, 1)
    assert url.startswith(start) and len(url) > len(start) + 20 and url.count("/") == 3
    assert url == reading.made_up_path(of, 1) == reading.made_up_path(start, 1) != reading.made_up_path(of, 2)


# -- anything at all ---------------------------------------------------------------------------------------------------

ODD_URLS = st.sampled_from([
    "", URL, "https://news.example", "http://[", "https://x/%zz?%ff&=&a=%00", "//x",
    "https://login.x.example/?next=" + URL,
    "https://x.example/" + "a/" * 2000, "https://x.example/?" + "a&" * 2000, "HTTP://X.EXAMPLE:80/É", "\ud800",
    "https://\ud800/\udfff",
])  # fmt: skip
BODIES = st.sampled_from([ARTICLE, NOT_FOUND, CLOUDFLARE, "", "<title>\0",
"<title>404"]).map(str.encode) | st.binary(max_size=99)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "etag", "last-modified", "retry-after", "set-cookie", "cf-mitigated", "x-dd-b"]),
    st.sampled_from([HTML, "", "challenge", "10", "\ud800", "Tue, 14 Nov 2023 22:13:20 GMT"]) | st.text(max_size=20),
    max_size=3,
)
STATUSES = st.sampled_from([0, 100, 200, 204, 301, 304, 404, 410, 403, 500, 503, 999]) | st.integers(-1, 10**6)
ANSWERS = st.builds(
    Answer, ODD_URLS, STATUSES, st.just(""), st.just(""), ODD_URLS, HEADERS, BODIES
) | st.builds(Answer, ODD_URLS, failure=st.sampled_from(get_args(Failure)))  # fmt: skip
TRAILS = st.builds(
    Trail, ODD_URLS | st.text(max_size=30), ANSWERS, st.lists(st.tuples(STATUSES, ODD_URLS), max_size=3).map(tuple),
    st.sampled_from(["", "", "", "robots", "redirects", "loop"]),
)  # fmt: skip
STATES = st.builds(LinkState, etag=st.sampled_from(["", "x"]), fingerprint=st.sampled_from([b"", SOFT.fingerprint]))


@given(TRAILS, STATES, TRAILS | st.none(), st.integers(0, 2**33))
@settings(max_examples=500, deadline=None)
def test_no_trail_is_an_error(trail: Trail, state: LinkState, other: Trail | None, at: int) -> None:
    theirs = reading.made_up(other) if other else None
    found = reading.evidence(trail, state, at=at, made_up=theirs)
    assert found.reason and found.at == at and found.status == trail.answer.status and found.retry_after_s >= 0
    assert isinstance(reading.needs_made_up(trail, state), bool)
    if found.finding != "good":
        assert (found.fingerprint, found.etag, found.last_modified, found.unchanged) == (b"", "", "", False)
    else:
        assert trail.answer.status == 304 or 200 <= trail.answer.status < 300
        assert not trail.refused and not trail.answer.failure


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_title_and_no_url_is_an_error(one: str, other: str) -> None:
    assert all(walls.title_parts(one))
    assert redirects.place(one, other) in get_args(redirects.Place)
    assert redirects.place(f"https://x.example/{one}", f"https://x.example/{other}?{one}") in get_args(redirects.Place)
    assert reading.made_up_path(one, 1)
