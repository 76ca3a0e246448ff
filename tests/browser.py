"""Pages as people see them, for tests: headless Chromium, driven by Playwright, looking at the daemon as it runs.

Nothing leaves this machine: no name is looked up, and pictures of other hosts are drawn here. The system's Chromium is
taken, none is downloaded; `missing` says what is not installed. As a program it takes the screenshots of the README
anew: `PYTHONPATH=. .venv/bin/python tests/browser.py docs`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec.structs import replace
from processes import ROOT, Site
from test_readers import free_port

from feedd.freshness.states import Evidence, Verdict
from feedd.linkcheck.sync import sync
from feedd.store import open_store
from feedd.store.links import open_links

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, Route

NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
PLAIN_HOST = "feeds.example"  # leads to this machine, too; pages from there are no secure context, as at many a home
FLAGS = (
    "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-quic",
    f"--host-resolver-rules=MAP {PLAIN_HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
SEEN: tuple[Verdict, ...] = ("fresh", "dead", "moved", "failing")  # verdicts that links have, one after the other
NARROW, WIDE, HEIGHT = 320, 1280, 800  # of windows, in CSS pixels; WCAG 2.2 section 1.4.10 asks for 320
# Every rule of axe-core that is on by default, best practices too, and the size of targets (WCAG 2.2 section 2.5.8).
AXE = """() => axe.run(document, {rules: {"target-size": {enabled: true}}, resultTypes: ["violations"]}).then(
    found => found.violations.flatMap(
        rule => rule.nodes.map(node => `${rule.id} at ${node.target}: ${node.failureSummary}`)))"""


def find_chromium() -> str | None:
    """Where Chromium is."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def missing() -> str:
    """What there must be, and is not; empty where all is there."""
    packages = [name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None]
    return ", ".join([*([] if find_chromium() else ["Chromium"]), *packages])


@cache
def axe() -> str:
    """The source of axe-core."""
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, with a profile that is thrown away."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS, chromium_sandbox=False)
        yield browser
        browser.close()


@contextlib.contextmanager
def serving(folder: Path, more: Mapping[str, str], public_url: str = "") -> Iterator[tuple[Site, str]]:
    """The sample articles and `more` (name -> text), published and served by the daemon; the site and its address.

    `public_url`: where feeds say that they are; without it, at that address.
    """
    port = free_port()
    root = f"http://127.0.0.1:{port}/"
    tables: dict[str, dict[str, Any]] = {
        "server": {"port": port},
        "site": {
            "public_url": public_url or root.rstrip("/"),
            "description": "Machines, tides and the people who look after them",
        },
        "feeds.custom.good-reads": {
            "title": "Good reads", "description": "What we would send to a friend", "types": ["article"],
            "min_quality": 90,
        },
        "feeds.custom.moving-pictures": {"title": "Moving pictures", "types": ["video"]},
        "links": {"enabled": True, "cron": "0 0 1 1 *"},
        'links.host."*.example"': {"action": "skip"},  # nobody is asked
    }
    site = Site(folder, **tables)
    shutil.copytree(ROOT / "articles", site.articles, dirs_exist_ok=True)
    for name, text in more.items():
        site.put(name, text)
    site.command("build")
    check_links(site)
    with site.running():
        yield site, root


def check_links(site: Site) -> None:
    """As if links had been checked: each has one verdict or another."""
    now = int(time.time())
    with open_store(str(site.state), read_only=True) as state, contextlib.closing(open_links(str(site.state))) as links:
        sync(links, state.marks, ("related",), now)
        found = zip(links.iter_links(), itertools.cycle(SEEN))
        with links.transaction():
            for link, verdict in list(found):
                seen = Evidence(now, "good" if verdict == "fresh" else "weak", f"it is {verdict}, they say", 200)
                checked = replace(link.state, verdict=verdict, since_at=now, checked_at=now, history=(seen,))
                links.put_checked([(link.id, checked)], now)


class Window:
    """One page in a context of its own. `noise`: all that its console shows, what failed, what was asked elsewhere."""

    def __init__(self, context: BrowserContext, root: str) -> None:
        self.root, self.noise = root, list[str]()
        self._own = {urlsplit(root).netloc, f"{PLAIN_HOST}:{urlsplit(root).port}"}
        context.route(lambda url: urlsplit(url).netloc not in self._own and not url.startswith("data:"), self._draw)
        self.page: Page = context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.noise.append(str(error)))
        self.page.on("requestfailed", self._on_failure)
        self.page.on("response", self._on_response)

    def go(self, path: str) -> Page:
        """Opens a path of the site, and waits until all that it asks for at once has come."""
        self.page.goto(self.root + path)
        return self.page

    def resize(self, width: int) -> None:
        """Makes the window narrower or wider."""
        self.page.set_viewport_size({"width": width, "height": HEIGHT})

    def violations(self) -> list[str]:
        """What axe-core finds, a line for each element."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(axe())
        found: list[str] = self.page.evaluate(AXE)
        return found

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        width: int = self.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        return width

    def _on_console(self, message: ConsoleMessage) -> None:
        self.noise.append(f"{message.type}: {message.text}")

    def _on_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # of pictures on a page that was left before they came
            self.noise.append(f"{request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.noise.append(f"{response.url}: {response.status}")

    def _draw(self, route: Route) -> None:
        """Pictures of articles come from names that nobody has; anything else should not have been asked."""
        request = route.request
        if request.resource_type == "image" and (urlsplit(request.url).hostname or "").endswith(".example"):
            route.fulfill(body=picture(request.url), content_type="image/svg+xml")
        else:
            self.noise.append(f"asked elsewhere: {request.url}")
            route.abort()


@contextlib.contextmanager
def window(browser: Browser, root: str, *, width: int = WIDE, height: int = HEIGHT, **options: Any) -> Iterator[Window]:
    """A new window; `options` as Playwright's `new_context` takes them. It must not have made any noise at the end."""
    context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce", **options)
    shown = Window(context, root)
    yield shown
    context.close()
    assert not shown.noise, shown.noise


def picture(url: str) -> str:
    """A sun over two hills as SVG, in colours of its own for each URL."""
    seed = zlib.crc32(url.encode())
    hue, x, y = seed % 360, 120 + seed // 360 % 360, 90 + seed // 129600 % 90
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="600" height="400">'
        f'<path fill="hsl({hue} 45% 82%)" d="M0 0h600v400H0z"/>'
        f'<circle cx="{x}" cy="{y}" r="48" fill="hsl({hue + 40} 80% 94%)"/>'
        f'<path fill="hsl({hue} 32% 58%)" d="M0 {y + 140}Q180 {y + 20} 330 {y + 150}T600 {y + 110}V400H0z"/>'
        f'<path fill="hsl({hue} 38% 36%)" d="M0 {y + 190}Q220 {y + 250} 380 {y + 190}T600 {y + 230}V400H0z"/></svg>'
    )


def main(folder: Path) -> None:
    """Takes the screenshots of the README."""
    with (
        tempfile.TemporaryDirectory() as temporary,
        serving(Path(temporary), {}, "https://feeds.example") as (_, root),
        chromium() as browser,
    ):
        for name, path, scheme, width, height in (
            ("index", "", "light", 1200, 905), ("feed", "feeds/good-reads.html", "dark", 1200, 975),
            ("narrow", "providers/harbourpost.example.html", "light", 360, 1100),
        ):
            with window(browser, root, width=width, height=height, color_scheme=scheme) as shown:
                shown.go(path).wait_for_load_state("networkidle")
                shown.page.screenshot(path=folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
