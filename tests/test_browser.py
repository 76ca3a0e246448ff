"""The pages in Chromium, from the daemon as it runs: what they show, how they fit, by keyboard, and without script.

No window may ask for anything elsewhere, fail to get anything, or write to its console: `browser.window` sees to that.
Skipped, with a word on what is missing, where Chromium or Playwright is not installed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import browser
import pytest
from browser import NARROW, PLAIN_HOST, Window, window
from newsroom import article
from processes import Site, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=f"not installed: {browser.missing()}")

PAGES = {"index": "", "feed": "all.html", "status": "-/", "links": "-/links", "dead": "-/links?verdict=dead"}
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
UNWIELDY: dict[str, Any] = {
    "excerpt": f"https://{LONG}.example/{LONG}?{LONG}", "topics": [LONG, "שלום", *"abcdefghijklm"], "length": "PT99H",
    "provider": {"name": LONG, "domain": f"{'long.' * 20}example"}, "price": LONG, "levels": [LONG, LONG],
    "images": [{"url": "https://source.example/thin.png", "width": 9000, "height": 9, "attribution": LONG}],
    "related": [{"title": LONG, "webUrl": "https://source.example/", "provider": {"name": LONG}}],
}
BROKEN = f"{LONG}.md"
# The words of those that are shown, or will be once one scrolls there.
TEXTS = "found => found.filter(x => x.checkVisibility()).map(x => x.textContent.trim().replace(/\\s+/g, ' '))"
CALLED = "const called = x => (x.ariaLabel ?? (x.labels?.[0] ?? x).textContent).trim().replace(/\\s+/g, ' ');"
# The colour behind all of it: red, green, blue.
PAPER = "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
# All that the keyboard should reach, in the order of the page.
STOPS = f"""() => {{
    {CALLED}
    const stops = [...document.querySelectorAll("a[href], button, input, [tabindex='0']")];
    return stops.filter(x => x.checkVisibility()).map(called);
}}"""
# What has the focus: its name, the width of its outline, and whether all of that is in the window.
FOCUS = f"""() => {{
    {CALLED}
    const here = document.activeElement, style = getComputedStyle(here), {{top, bottom}} = here.getBoundingClientRect();
    const width = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
    const around = width + parseFloat(style.outlineOffset);
    return [called(here), width, (top >= around && bottom <= innerHeight - around) || bottom - top > innerHeight];
}}"""


class Stand(NamedTuple):
    """A site that is served, and the browser in front of it."""

    site: Site
    root: str
    chromium: Browser

    @contextlib.contextmanager
    def opened(self, path: str, **options: Any) -> Iterator[Window]:
        """A page of the site in a window of its own."""
        with window(self.chromium, self.root, **options) as shown:
            shown.go(path)
            yield shown


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The sample articles, one that fits nowhere, and one that cannot be read; one daemon and one browser for all."""
    more = {"unwieldy.md": article("Short"), BROKEN: "---\ntitle: a: b\n---\n"}
    folder = tmp_path_factory.mktemp("browser")
    with browser.serving(folder, more) as (site, root), browser.chromium() as chromium:
        site.put("unwieldy.md", article(f"{LONG} {LONG.upper()}", **UNWIELDY))
        until(lambda: any(LONG in title for title in site.titles()), "the edit is published")
        until(site.is_written, "everything is written")
        yield Stand(site, root, chromium)


def texts(page: Page, selector: str) -> list[str]:
    """The words of what a selector finds, as far as they can be seen."""
    found: list[str] = page.locator(selector).evaluate_all(TEXTS)
    return found


def names(page: Page) -> list[str]:
    """The feeds on the index that can be seen."""
    return texts(page, ".cards .name")


# --- what they show ---------------------------------------------------------------------------------------------------


def test_the_index_has_a_card_for_every_feed(stand: Stand) -> None:
    out = stand.site.out
    feeds = {str(path.relative_to(out).with_suffix("")) for path in out.rglob("*.atom") if "archives" not in path.parts}
    with stand.opened("") as shown:
        page = shown.page
        assert page.title() == "Example News: feeds"
        links = page.locator(".cards a.name").evaluate_all("found => found.map(x => x.href)")
        assert sorted(unquote(urlsplit(link).path)[1:] for link in links) == sorted(f"{feed}.html" for feed in feeds)
        assert texts(page, ".cards .take") == [f"Atom RSS JSON Copy link of {name}" for name in names(page)]
        card = page.locator(".cards li", has_text="The Harbour Post")
        assert card.locator("p").first.text_content() == "3 entries, 9 April 2026"
        card.get_by_role("link", name="The Harbour Post").click()
        assert page.url == f"{stand.root}providers/harbourpost.example.html"
        assert texts(page, "h1") == ["The Harbour Post"]
        page.get_by_role("link", name="All feeds of Example News").click()
        assert urlsplit(page.url).path in ("/", "/index.html")


def test_the_search_box_filters_as_one_types(stand: Stand) -> None:
    with stand.opened("") as shown:
        page = shown.page
        every, groups = names(page), texts(page, "h2")
        box = page.get_by_label("Find a feed")
        for typed in ("h", "ha", "harb"):
            box.press(typed[-1]) if len(typed) < 3 else box.press_sequentially("rb")
            assert names(page) == [name for name in every if typed in name.casefold()], typed
        assert texts(page, "h2") == ["Providers"]
        assert texts(page, "nav li") == ["Providers 1"]
        assert page.get_by_role("status").text_content() == "1 found"

        for typed, found in (("ECONOMIE", ["Économie locale"]), ("post the", ["The Harbour Post"]), ("文", ["文化"])):
            box.fill(typed)
            assert names(page) == found
        box.fill("no such feed")
        assert (names(page), texts(page, "h2")) == ([], [])
        assert texts(page, ".none") == ["No feed has that in its name."]
        box.press("Enter")  # goes nowhere
        box.fill("")
        assert (names(page), texts(page, "h2"), texts(page, ".none")) == (every, groups, [])
        assert page.url == stand.root


def test_a_feeds_page_shows_its_entries(stand: Stand) -> None:
    with stand.opened("all.html") as shown:
        page = shown.page
        assert texts(page, ".entry h3") == stand.site.titles()
        addresses = [f"{stand.root}all.{suffix}" for suffix in ("atom", "rss", "json")]
        assert texts(page, ".subscribe code") == addresses
        assert page.locator("link[rel=alternate]").evaluate_all("found => found.map(x => x.href)") == addresses
        cloche = page.locator(".entry", has_text="Une cloche pour deux villages")
        assert (cloche.get_attribute("lang"), cloche.locator("time").inner_text()) == ("fr", "2026-05-11")
        allocator = page.locator(".entry", has_text="The allocator that nobody dares to touch")
        assert allocator.locator("time").first.inner_text() == "3 February 2026"
        assert allocator.locator(".related a").first.get_attribute("href") == "https://papers.example/free-list-history/"
        pictures = page.locator("img").all()
        assert len(pictures) > 5
        for picture in pictures:
            picture.scroll_into_view_if_needed()  # they come as one scrolls
        until(lambda: all(x.evaluate("x => x.complete && x.naturalWidth") for x in pictures), "pictures are shown")


def test_the_address_of_a_feed_opens_its_page(stand: Stand) -> None:
    with stand.opened("topics/ai.rss") as shown:
        page = shown.page
        assert texts(page, "h1") == ["AI"]
        assert texts(page, ".entry h3") == stand.site.titles("topics/ai")
        answer = page.request.get(page.url)  # what asks as readers do
        assert answer.headers["content-type"] .startswith("application/rss+xml")


def test_pictures_that_do_not_come_leave_no_hole(stand: Stand) -> None:
    with stand.opened("") as shown:
        page = shown.page
        page.route("**/*.{jpg,png,webp}", lambda route: route.fulfill(status=404))
        shown.go("topics/engineering.html")
        player = page.locator("a.player")
        assert player.get_by_role("img", name="How a lathe learns patience").count() == 1
        for picture in page.locator("img").all():
            if picture.is_visible():
                picture.scroll_into_view_if_needed()
        until(lambda: page.locator("img:not([hidden] *, [hidden], .lost)").count() == 0, "all of them are given up")
        assert page.locator("figure", has=page.locator("img")).filter(visible=True).count() == 1
        assert player.evaluate("x => x.href") == "https://video.example/embed/lathe-patience"
        assert shown.violations() == []
        assert {noise.rpartition(": ")[2] for noise in shown.noise if not noise.startswith("error: ")} == {"404"}
        shown.noise.clear()


def test_all_of_it_works_without_script(stand: Stand) -> None:
    with stand.opened("") as shown:
        every = names(shown.page)
    with stand.opened("", java_script_enabled=False) as shown:
        page = shown.page
        assert names(page) == every
        assert page.get_by_role("search").count() == page.get_by_role("button").count() == 0
        page.get_by_role("link", name="Topics").click()
        assert page.url == f"{stand.root}#topic"
        page.get_by_role("link", name="Moving pictures").click()
        assert texts(page, ".entry h3") == stand.site.titles("feeds/moving-pictures")
        assert page.get_by_role("button").count() == 0


def test_who_asks_for_what_is_not_there_is_shown_the_way_to_the_search_box(stand: Stand) -> None:
    with stand.opened("") as shown:
        page = shown.page
        for path, status, root in (("topics/none.html", 404, "../"), ("-/none", 404, "../"), ("none", 404, "")):
            answer = page.goto(stand.root + path)
            assert answer is not None and answer.status == status
            assert texts(page, "h1") == ["404 Not Found"]
            assert page.locator("link[rel=stylesheet]").get_attribute("href") == f"{root}feedd.css"
            assert page.evaluate("() => document.styleSheets[0].cssRules.length") > 50
            assert (shown.overflow(), shown.violations()) == (0, [])
        page.get_by_role("link", name="Find a feed").click()
        page.wait_for_url("**/index.html#search")
        page.keyboard.type("c++")
        assert names(page) == ["C++"]
        assert {noise.rpartition(": ")[2] for noise in shown.noise if not noise.startswith("error: ")} == {"404"}
        shown.noise.clear()


def test_an_entry_from_right_to_left_is_so_altogether(stand: Stand) -> None:
    stand.site.put("rtl.md", article("שלום עולם", excerpt="זהו תקציר.", topics=["שלום"], provider={"name": "עיתון"}))
    until(lambda: "שלום עולם" in stand.site.titles(), "it is published")
    with stand.opened("all.html") as shown:
        entry = shown.page.locator(".entry", has_text="שלום עולם")
        edges = entry.locator("> :not(figure)").evaluate_all(
            "found => found.map(x => { const range = document.createRange(); range.selectNodeContents(x);"
            " return Math.round(x.parentNode.getBoundingClientRect().right - range.getBoundingClientRect().right); })"
        )
        assert len(edges) > 3 and max(edges) < 16  # all end at its right edge, topics but for their rim
    stand.site.articles.joinpath("rtl.md").unlink()
    until(lambda: "שלום עולם" not in stand.site.titles(), "it is gone")


def test_the_status_page_shows_what_is_wrong(stand: Stand) -> None:
    with stand.opened("-/") as shown:
        assert any(BROKEN in row and "2:9" in row for row in texts(shown.page, "#problems tbody tr"))
        assert any("unwieldy.md" in row for row in texts(shown.page, "#changes tbody tr"))


# --- how they look ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_every_page_fits_and_can_be_read_by_all(stand: Stand, path: str) -> None:
    with stand.opened(path, color_scheme="light") as shown:
        assert (shown.overflow(), shown.violations()) == (0, [])
        assert min(shown.page.evaluate(PAPER)) > 192
        shown.page.emulate_media(color_scheme="dark")
        shown.resize(NARROW)
        assert (shown.overflow(), shown.violations()) == (0, [])
        assert max(shown.page.evaluate(PAPER)) < 64


# --- by hand ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_the_keyboard_reaches_everything_visibly_and_in_order(stand: Stand, path: str) -> None:
    with stand.opened(path) as shown:
        page = shown.page
        if not path:
            page.get_by_label("Find a feed").fill("c")  # some of the cards are enough
            page.evaluate("() => document.activeElement.blur()")
            page.goto(f"{stand.root}#")  # Tab begins at the top again
        stops = page.evaluate(STOPS)
        assert len(stops) > 10

        def walk(key: str, expected: list[str]) -> None:
            found = []
            for _ in expected:
                page.keyboard.press(key)
                found.append(page.evaluate(FOCUS))
            assert [name for name, _, _ in found] == expected
            assert [(name, width, seen) for name, width, seen in found if width < 2 or not seen] == []

        walk("Tab", stops)
        shown.resize(NARROW)
        walk("Shift+Tab", stops[-2::-1])


def test_the_skip_link_leads_past_the_head(stand: Stand) -> None:
    with stand.opened("") as shown:
        page = shown.page
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUS)[2]
        page.keyboard.press("Enter")
        assert page.evaluate("() => document.activeElement.id") == "main"
        page.keyboard.press("Tab")
        page.keyboard.type("c++")
        assert names(page) == ["C++"]
        for _ in range(3):  # the one kind that is left, the card, its first format
            page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/topics/c.html")


@pytest.mark.parametrize("host", ["127.0.0.1", PLAIN_HOST])
def test_buttons_copy_the_address(stand: Stand, host: str) -> None:
    """By the clipboard that browsers keep for secure contexts, and by the older way elsewhere."""
    root = stand.root.replace("127.0.0.1", host)
    with window(stand.chromium, root) as shown:
        page = shown.page
        page.clock.install()
        shown.go("all.html")
        assert page.evaluate("() => isSecureContext") == (host == "127.0.0.1")
        for path, name, kind in (("", "C++", "topics/c.atom"), ("all.html", "RSS", "all.rss")):
            shown.go(path)
            button = page.get_by_role("button", name=f"Copy link of {name}", exact=True)
            button.click()
            copied = page.get_by_role("button", name=f"Copied of {name}", exact=True)
            copied.wait_for()
            assert page.get_by_role("status").text_content() == "Copied"
            assert copied.evaluate("x => x === document.activeElement")
            page.clock.run_for(2000)
            button.wait_for()
            assert page.get_by_role("status").text_content() == ""
            shown.go("")
            page.get_by_label("Find a feed").focus()
            page.keyboard.press("Control+V")
            assert page.get_by_label("Find a feed").input_value() == urljoin(stand.root, kind)
