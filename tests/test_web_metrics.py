"""/metrics as Prometheus has it: over the state of a real newsroom, and from a daemon; what the dashboard asks for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from newsroom import SITE, Newsroom, article, settings_for
from processes import ROOT, Daemon, Site, until
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from feedd.freshness import judge
from feedd.freshness.states import VERDICTS, LinkState
from feedd.meters import Meters
from feedd.plan import FeedRef
from feedd.settle import Waiting
from feedd.store import Store, Topic, open_store
from feedd.store.figures import Figures, LinkFigures, Publishing, find_links
from feedd.store.links import Links, open_links
from feedd.web import front
from feedd.web.access import Access
from feedd.web.audience import Audience
from feedd.web.overview import OwnHub
from feedd.web.scrape import PATH, Scrape, Sources

TOKEN = "a-token-of-some-length"
HUB = "https://hub.example/"
LOCAL = [(b"host", b"127.0.0.1:8080")]
PROMTOOL = shutil.which("promtool")
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs" / "grafana.json").read_text())
ALERTS = ROOT / "docs" / "alerts.prometheus.yaml"


@pytest.fixture
def newsroom(tmp_path: Path) -> Iterator[Newsroom]:
    """Two published, one held, one copy of a story, one hidden, one gone; and a file that cannot be read."""
    room = Newsroom(tmp_path, settings_for(hubs=(HUB,)))
    for name in ("one", "two", "three"):
        room.put(f"{name}.md", article(name))
    room.publish()
    room.drop("three.md")
    room.put("two-again.md", article("two"))
    room.put("later.md", article("later", publishedDateTime="2033-01-01T00:00:00Z"))
    room.put("hidden.md", article("hidden", published=False))
    room.put("broken.md", "---\ntitle: [1\n---\n")
    room.publish()
    yield room
    room.close()


class Page:
    """The application as the server makes it, over a newsroom; time stands still unless moved."""

    def __init__(self, room: Newsroom, granted: Access | None = None, own_hub: OwnHub | None = None) -> None:
        self.counted, self.audience, self.clock, self.opened = Meters(), Audience(), 1_000.0, 0
        self.troubles: Sequence[str] = ()
        self.state = str(room.state)

        def open_state() -> Store:
            self.opened += 1
            return open_store(self.state, read_only=True)

        sources = Sources(
            "1.2.3", 5.0, room.settings, open_state, self.counted, lambda: Waiting(2, 990.0), self.audience.totals,
            lambda: True, front.Probes(lambda: self.troubles, lambda: ("publish",)), lambda: own_hub,
        )
        self.app = Scrape(sources, granted, lambda: float(room.now), lambda: self.clock)

    def ask(
        self, *headers: tuple[bytes, bytes], method: str = "GET", client: str = "127.0.0.1",
    ) -> tuple[int, dict[str, str], bytes]:
        """One request, in a loop of its own."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            return {}

        scope = {
            "type": "http", "http_version": "1.1", "method": method, "path": PATH, "raw_path": PATH.encode(),
            "query_string": b"", "headers": [*LOCAL, *headers], "client": (client, 4711),
        }
        asyncio.run(self.app(scope, receive, send))
        return sent[0]["status"], {n.decode(): v.decode() for n, v in sent[0]["headers"]}, sent[1]["body"]

    def values(self) -> dict[str, float]:
        """Every series, by name and labels as in the text, to its value."""
        return series(self.ask()[2].decode())


def series(text: str) -> dict[str, float]:
    """`name{label="value"}` -> value, from the text format."""
    lines = [line.rpartition(" ") for line in text.splitlines() if line[0] != "#"]
    return {name: float(value) for name, _, value in lines}


def names(text: str) -> set[str]:
    """The names of the series, as expressions use them."""
    return {name.partition("{")[0] for name in series(text)}


# --- figures of the state ---------------------------------------------------------------------------------------------


def test_every_article_is_counted_once_by_what_became_of_it(newsroom: Newsroom) -> None:
    found = Figures.of(newsroom.store).find_publishing([HUB])
    assert found.articles == {"published": 2, "held": 1, "hidden": 2, "gone": 1}
    assert found.feeds == {"all": 1, "topic": 1, "provider": 1, "category": 1}
    assert (found.problems, found.waiting, found.failed) == (1, 0, 0)
    assert found.documents == newsroom.store.count()["feeds"] + newsroom.store.count()["archives"]
    assert (found.pings, found.pings_failing) == (newsroom.store.outbox.count_pings(), 0)


def test_a_new_state_has_nothing(tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as state:
        nothing = {"published": 0, "held": 0, "hidden": 0, "gone": 0}
        assert Figures.of(state).find_publishing([]) == Publishing(nothing, {}, 0, 0, 0, 0, 0, 0)


def test_what_waits_and_what_failed_are_told_apart(tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as state:
        with state.transaction():
            ids = [state.put_feed(FeedRef("topic", key, key)) for key in "abc"]
            state.mark_failed(ids[0], 0, "no space left")
            state.outbox.put_pings([HUB, "https://old.example/"], [Topic("u", "a", b"1"), Topic("v", "b", b"1")], 1)
            state.outbox.put_ping_failure(state.outbox.list_pings(HUB, 1)[0], 9, "HTTP 500")
        found = Figures.of(state).find_publishing([HUB])
    assert (found.documents, found.waiting, found.failed, found.pings, found.pings_failing) == (3, 3, 1, 2, 1)


def test_links_are_counted_by_verdict_and_the_first_that_is_due_says_how_late_checks_are(tmp_path: Path) -> None:
    with contextlib.closing(open_links(str(tmp_path))) as links:
        assert find_links(links, 100) == LinkFigures(dict.fromkeys(VERDICTS, 0), 0, 0)
        put_links(links, fresh=100, dead=200, stale=300)
        found = find_links(links, 250)
        assert {verdict: count for verdict, count in found.verdicts.items() if count} == dict.fromkeys(
            ("fresh", "dead", "stale"), 1
        )
        assert (found.due, found.overdue_s, find_links(links, 50).overdue_s) == (2, 150, 0)


def put_links(links: Links, **due: int) -> None:
    """A link of each verdict, with the time of its next check."""
    urls = {f"https://{verdict}.example/": LinkState(verdict, next_check_at=at) for verdict, at in due.items()}  # type: ignore[arg-type]
    with links.transaction():
        links.put_uses([(1, list(urls), True)], judge.replan, 1)
        found = {url: link.id for url in urls if (link := links.find_link(url))}
        links.put_checked([(found[url], state) for url, state in urls.items()], 1)


# --- the text ---------------------------------------------------------------------------------------------------------


def test_it_says_what_is_counted_and_what_the_state_says(newsroom: Newsroom) -> None:
    page = Page(newsroom, own_hub=OwnHub("https://feeds.example/hub", 7, None))
    with contextlib.closing(open_links(str(newsroom.state))) as links:
        put_links(links, fresh=newsroom.now + 9, dead=newsroom.now - 60)
    page.counted.took(980.0, 3)
    page.counted.wrote("edited: 2026/a.md", 100, archive=False)
    page.audience.saw("/all.atom", "r", "127.0.0.2", 200, 400, 1_000, 1.0)
    page.audience.saw("/all.atom", "r", "127.0.0.2", 304, 0, 1_000, 1.0)
    said = page.values()
    expected = {
        "feedd_ready": 1, "feedd_loops_silent": 1, "feedd_state_readable": 1, "feedd_queue_paths": 5,
        "feedd_queue_oldest_seconds": 20, 'feedd_feeds_written_total{cause="edited"}': 1,
        'feedd_feeds_written_total{cause="removed"}': 0, 'feedd_articles{state="published"}': 2,
        'feedd_articles{state="held"}': 1, "feedd_article_files_rejected": 1, 'feedd_feeds{kind="custom"}': 0,
        'feedd_http_requests_total{status="2xx"}': 1, "feedd_http_not_modified_total": 1,
        "feedd_http_sent_bytes_total": 400, 'feedd_http_saved_bytes_total{by="not_modified"}': 1_000,
        'feedd_links{verdict="dead"}': 1, 'feedd_links{verdict="moved"}': 0, "feedd_links_due": 1,
        "feedd_link_check_overdue_seconds": 60, "feedd_hub_subscriptions": 7, "feedd_hub_subscriptions_failing": 0,
        "feedd_config_last_reload_success_timestamp_seconds": 5,
    }
    assert {name: said.get(name) for name in expected} == expected
    assert said["feedd_hub_pings_waiting"] == newsroom.store.outbox.count_pings()
    assert said["process_resident_memory_bytes"] > 1_000_000
    page.troubles = ("The output cannot be written: no space left on device.",)
    assert page.values()["feedd_ready"] == 0


@pytest.mark.parametrize(("accept", "media_type", "parsed"), [
    (b"*/*", "text/plain; version=0.0.4; charset=utf-8", parse),
    (b"application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text; version=1.0.0",
     parse_openmetrics),
])
def test_each_format_is_understood_and_every_family_has_help_and_type(
    newsroom: Newsroom, accept: bytes, media_type: str, parsed: Callable[[str], Any]
) -> None:
    status, headers, body = Page(newsroom).ask((b"accept", accept))
    assert (status, headers["content-type"].startswith(media_type)) == (200, True)
    assert headers["cache-control"] == "no-store"
    families = list(parsed(body.decode()))
    assert len(families) > 30
    assert [family.name for family in families if not family.documentation or family.type == "unknown"] == []


def test_no_series_names_an_article_a_feed_a_link_or_a_hub_and_their_number_stays_small(newsroom: Newsroom) -> None:
    page = Page(newsroom)
    with contextlib.closing(open_links(str(newsroom.state))) as links:
        put_links(links, fresh=9, dead=9)
    for number in range(50):
        page.counted.wrote(f"edited: {number}.md", 1, archive=False)
        page.audience.saw(f"/topics/{number}.atom", "r", "127.0.0.2", 200 + number, 1, 1, 1.0)
    text = page.ask()[2].decode()
    for private in (str(newsroom.articles.parent), ".md", "source.example", HUB, SITE, "topics/", "127.0.0.2"):
        assert private not in text
    assert len(series(text)) < 120


def test_a_state_that_cannot_be_read_leaves_what_is_known_without_it(newsroom: Newsroom, tmp_path: Path) -> None:
    page = Page(newsroom)
    page.state = str(tmp_path / "nowhere")
    said = page.values()
    assert (said["feedd_state_readable"], said["feedd_queue_paths"]) == (0, 2)
    assert not any(name.startswith("feedd_articles") for name in said)
    page.state, page.clock = str(newsroom.state), page.clock + 5
    assert page.values()["feedd_state_readable"] == 1


def test_the_state_is_asked_once_in_some_seconds_however_often_it_is_scraped(newsroom: Newsroom) -> None:
    page = Page(newsroom)
    for _ in range(3):
        page.ask()
    assert page.opened == 1
    page.clock += 5
    page.ask()
    assert page.opened == 2


# --- who may see it ---------------------------------------------------------------------------------------------------

STRANGER, HERE = "203.0.113.9", "127.0.0.1"
BEARER = (b"authorization", b"Bearer " + TOKEN.encode())


@pytest.mark.parametrize(("granted", "client", "headers", "status"), [
    (None, STRANGER, [], 200),
    (Access("", loopback_only=True), HERE, [], 200),
    (Access("", loopback_only=True), STRANGER, [], 404),
    (Access("", loopback_only=False), HERE, [], 404),
    (Access(TOKEN, loopback_only=False), STRANGER, [], 401),
    (Access(TOKEN, loopback_only=False), STRANGER, [BEARER], 200),
    (Access(TOKEN, loopback_only=True), HERE, [(b"authorization", b"Bearer another-token-of-some")], 401),
    (Access("", loopback_only=True), HERE, [(b"x-forwarded-for", STRANGER.encode())], 404),
])
def test_it_is_for_this_machine_or_for_the_token(
    newsroom: Newsroom, granted: Access | None, client: str, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    got, said, body = Page(newsroom, granted).ask(*headers, client=client)
    assert (got, b"feedd_ready" in body, said["cache-control"]) == (status, status == 200, "no-store")
    assert ("www-authenticate" in said) == (status == 401)


def test_it_is_read_and_nothing_else(newsroom: Newsroom) -> None:
    page = Page(newsroom)
    status, headers, body = page.ask(method="HEAD")
    assert (status, body, int(headers["content-length"]) > 3_000) == (200, b"", True)
    assert page.ask(method="POST")[0] == 405


def test_what_makes_metrics_is_not_imported_before_somebody_asks() -> None:
    code = "import feedd.daemon.life, sys; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0


# --- a daemon, and the dashboard --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Daemon]]:
    """What a daemon with links and a topic says after an edit; its links are checked tomorrow."""
    site = Site(tmp_path_factory.mktemp("scraped"), links={"enabled": True, "soon_s": 86_400}, server={"port": 0})
    site.put("one.md", article("One"))
    site.put("broken.md", "---\ntitle: [1\n---\n")
    with site.running() as feedd:
        before = series(feedd.get(PATH)[2].decode())
        site.put("two.md", article("Two"))
        site.shows("One", "Two")
        feedd.get("/all.atom")
        counts = 'feedd_event_to_disk_seconds_bucket{le="+Inf"}'

        def after() -> str:
            text = feedd.get(PATH)[2].decode()
            said = series(text)
            is_seen = said[counts] > before[counts] and said['feedd_articles{state="published"}'] == 2
            return text if is_seen else ""

        yield until(after, "the edit is counted"), feedd


def test_a_daemon_counts_what_it_does(scraped: tuple[str, Daemon]) -> None:
    said = series(scraped[0])
    expected = {
        'feedd_feeds_written_total{cause="new"}': 4, 'feedd_article_changes_total{change="new"}': 2,
        "feedd_article_rejections_total": 1, "feedd_article_files_rejected": 1, "feedd_ready": 1,
        "feedd_scan_duration_seconds_count": 1, 'feedd_publish_faults_total{part="output"}': 0,
        'feedd_http_requests_total{status="2xx"}': 1, 'feedd_links{verdict="fresh"}': 0, "feedd_queue_paths": 0,
    }
    assert {name: value for name, value in said.items() if name in expected and value < expected[name]} == {}
    assert 0 < said["feedd_event_to_disk_seconds_sum"] < 10


def test_a_daemon_does_not_say_it_where_it_is_switched_off(tmp_path: Path) -> None:
    site = Site(tmp_path, server={"port": 0, "metrics": "off"})
    with site.running() as feedd:
        assert feedd.get(PATH)[0] == 404


def test_a_configuration_that_is_refused_shows_until_it_is_mended(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.running() as feedd:
        good = site.config.read_text()
        site.config.write_text("server = [")
        said = until(lambda: reloads(feedd, is_current=0), "the refusal is counted")
        assert said == {"refused": 1.0, "applied": 0.0}
        site.config.write_text(good)
        assert until(lambda: reloads(feedd, is_current=1), "it is mended") == {"refused": 1.0, "applied": 1.0}


def reloads(feedd: Daemon, *, is_current: int) -> dict[str, float]:
    """How often the configuration was read; nothing until it is so."""
    said = series(feedd.get(PATH)[2].decode())
    found = {each: said[f'feedd_config_reloads_total{{result="{each}"}}'] for each in ("refused", "applied")}
    return found if said["feedd_config_last_reload_successful"] == is_current else {}


def expressions(found: object) -> Iterator[str]:
    """Every PromQL expression of the dashboard."""
    if isinstance(found, dict):
        yield from (found[key] for key in ("expr", "definition") if found.get(key))
        found = list(found.values())
    if isinstance(found, list):
        for each in found:
            yield from expressions(each)


def used(expression: str) -> set[str]:
    """The metrics that an expression names."""
    return set(re.findall(r"\b(?:feedd|process)_\w+", expression))


def test_the_dashboard_and_the_alerts_ask_for_what_is_there(scraped: tuple[str, Daemon]) -> None:
    asked = [*expressions(DASHBOARD["panels"]), *expressions(DASHBOARD["annotations"])]
    asked += [*expressions(DASHBOARD["templating"])]
    asked += [rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len(asked) > 50
    there = names(scraped[0])
    assert {name for expression in asked for name in used(expression)} - there == set()


def test_every_metric_is_on_the_dashboard_but_for_those_of_no_interest_by_themselves(
    scraped: tuple[str, Daemon],
) -> None:
    shown = {name for expression in expressions(DASHBOARD) for name in used(expression)}
    own = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names(scraped[0]) if name.startswith("feedd_")}
    assert own - {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} == {
        "feedd_state_readable", "feedd_documents", "feedd_config_last_reload_successful",
        "feedd_config_last_reload_success_timestamp_seconds",
    }


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert (len(ids), DASHBOARD["schemaVersion"] >= 39) == (len(set(ids)), True)
    cells = set[tuple[int, int]]()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not own & cells, panel["title"]
        cells |= own
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
            assert panel["description"]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")
def test_promtool_finds_nothing_wrong(scraped: tuple[str, Daemon], tmp_path: Path) -> None:
    assert PROMTOOL
    checked = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=scraped[0], capture_output=True, text=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    asked = [*expressions(DASHBOARD["panels"]), *expressions(DASHBOARD["annotations"])]
    filled = [re.sub(r"\$(job|instance)", ".*", re.sub(r"\$__(rate_)?interval", "5m", each)) for each in asked]
    rules = [{"record": f"feedd:{number}", "expr": each} for number, each in enumerate(filled)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    for each in (path, ALERTS):
        checked = subprocess.run(
            [PROMTOOL, "check", "rules", "--lint-fatal", str(each)], capture_output=True, text=True, timeout=30,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
