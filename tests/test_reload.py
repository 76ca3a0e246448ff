"""The configuration while feedd runs: read again when it changes or when asked, refused in words, applied to just what
it affects, while everything else goes on. What it affects, over any sequence, is held in test_reconfigure.
"""

from __future__ import annotations

import http.client
import json
import os
import pty
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from newsroom import article
from processes import DEADLINE_S, FEEDD, Daemon, Site, environment, until

from tests.farm import process
from tests.linksite import links_table, story, until_asked, url_of

SECRET = "a-token-of-a-test-4711"
TOPICS = ("AI", "Tides", "C++")


def topic(name: str, **own: Any) -> str:
    """A table of config.toml for one topic's feed."""
    return f'[feeds.topic."{name}"]\n' + "".join(f"{key} = {json.dumps(value)}\n" for key, value in own.items())


def custom(name: str, **own: Any) -> str:
    """A table of config.toml for a custom feed."""
    return f"[feeds.custom.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in own.items())


def news(folder: Path, count: int = 12, **tables: Mapping[str, Any]) -> Site:
    """A site with some articles in three topics."""
    found = Site(folder, **tables)
    for number in range(count):
        fields = {"topics": [TOPICS[number % 3]], "publishedDateTime": f"2023-01-{number + 1:02}T00:00:00Z"}
        found.put(f"{number}.md", article(f"Story {number}", quality=number * 10, **fields))
    return found


def configure(site: Site, /, *more: str, **tables: Mapping[str, Any]) -> None:
    """Replaces config.toml by a rename, as editors do."""
    kept, target = site.config, site.config.with_name("new.toml")
    site.config = target
    site.configure(**tables)
    site.config = kept
    target.write_text(target.read_text() + "".join(more))
    target.replace(kept)


_READ: dict[int, int] = {}  # process -> its lines of which tests have heard


def hang_up(feedd: Daemon, event: str = "configuration applied", **fields: object) -> dict[str, Any]:
    """SIGHUP; the next line of the log that says so. A look at the file may have come before it."""
    os.kill(feedd.pid, signal.SIGHUP)
    said = feedd.wait(event, _READ.get(feedd.pid, 0), **fields)
    _READ[feedd.pid] = next(number for number, line in enumerate(feedd.lines, 1) if line is said)
    return said


def change(feedd: Daemon, /, *more: str, **tables: Mapping[str, Any]) -> None:
    """Another config.toml, and SIGHUP; returns when it is applied."""
    configure(feedd.site, *more, **tables)
    hang_up(feedd)


def status(feedd: Daemon) -> dict[str, Any]:
    """What the status says of the configuration."""
    code, _, body = feedd.get("/-/status.json")
    assert code == 200, (code, body)
    found: dict[str, Any] = json.loads(body)["configuration"]
    return found


def settle(site: Site) -> None:
    """Waits until everything is written."""
    until(site.is_written, "everything is written")


def stamps(site: Site) -> dict[str, tuple[int, int]]:
    """When each file of the output was replaced last."""
    found = {}
    for path in site.out.rglob("*"):
        if path.is_file():
            stat = path.stat()
            found[str(path.relative_to(site.out))] = (stat.st_ino, stat.st_mtime_ns)
    return found


# --- what is affected, and nothing else ------------------------------------------------------------------------------


def test_another_title_of_one_feed_rewrites_that_feed_and_the_list_of_feeds(tmp_path: Path) -> None:
    site = news(tmp_path)
    with site.running() as feedd:
        settle(site)
        before, said = stamps(site), len(feedd.lines)
        configure(site, topic("AI", title="Machines that think"))
        hang_up(feedd, keys=['feeds.topic.AI'])
        until(lambda: b"Machines that think" in (site.out / "topics/ai.atom").read_bytes(), "the title")
        settle(site)
        assert [line["feed"] for line in feedd.find("feed written", said)] == ["topics/ai"]
        assert feedd.find("feed written", said)[0]["cause"] == "configuration"
        assert not feedd.find("scanning", said)
        assert len([line for line in feedd.lines[said:] if line["event"].startswith("configuration")]) == 1
        differing = {name for name, stamp in stamps(site).items() if before[name] != stamp}
        assert {name.partition(".")[0] for name in differing} == {"topics/ai", "feeds", "index"}
        site.check()


def test_a_limit_of_one_topic_concerns_that_topic(tmp_path: Path) -> None:
    site = news(tmp_path)
    with site.running() as feedd:
        settle(site)
        said = len(feedd.lines)
        change(feedd, topic("Tides", limit=2))
        until(lambda: len(site.items("topics/tides")) == 2, "a shorter feed")
        settle(site)
        written = {line["feed"] for line in feedd.find("feed written", said)}
        assert written == {"topics/tides", "archives/topics/tides/1"}
        site.check()


def test_custom_feeds_come_change_and_go_without_a_file_being_read(tmp_path: Path) -> None:
    site = news(tmp_path)
    with site.running() as feedd:
        settle(site)
        said = len(feedd.lines)
        change(feedd, custom("good", min_quality=90))
        site.shows("Story 9", "Story 10", "Story 11", feed="feeds/good")
        until(lambda: b"/feeds/good.atom" in feedd.get("/feeds.opml")[2], "it is listed")
        change(feedd, custom("good", min_quality=100))
        site.shows("Story 10", "Story 11", feed="feeds/good")
        settle(site)
        assert {line["feed"] for line in feedd.find("feed written", said)} == {"feeds/good"}
        site.check()
        change(feedd)
        until(lambda: feedd.get("/feeds/good.atom")[0] == 410, "it is gone")
        until(lambda: b"feeds/good" not in (site.out / "feeds.opml").read_bytes(), "it is listed no more")
        assert not feedd.find("scanning", said)
        settle(site)
        site.check()
        change(feedd, custom("good", topics=["AI"]))
        site.shows(*(f"Story {number}" for number in (0, 3, 6, 9)), feed="feeds/good")


def test_the_sites_title_touches_every_feed_and_formats_come_and_go(tmp_path: Path) -> None:
    site = news(tmp_path)
    with site.running() as feedd:
        settle(site)
        said = len(feedd.lines)
        feeds = {path.with_suffix("") for path in site.out.rglob("*.atom") if "archives" not in path.parts}
        change(feedd, site={"title": "Other News"})
        settled = {str(path.relative_to(site.out)) for path in feeds}
        until(lambda: settled <= {line["feed"] for line in feedd.find("feed written", said)}, "every feed is written")
        change(feedd, feeds={"formats": ["atom"], "compress": []})
        until(lambda: not [*site.out.rglob("*.rss"), *site.out.rglob("*.json.gz"), *site.out.rglob("*.br")], "gone")
        settle(site)
        site.check()
        change(feedd)
        until(lambda: (site.out / "topics/ai.rss.br").exists(), "they are back")
        settle(site)
        site.check()


def test_another_address_of_the_site_reads_the_articles_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("a.md", article("Own", webUrl=None))
    with site.running() as feedd:
        settle(site)
        assert site.items()[0]["url"].startswith("https://news.example/")
        change(feedd, site={"url": "https://other.example", "tag_host": "news.example"})
        until(lambda: site.items()[0]["url"].startswith("https://other.example/"), "the new address")
        settle(site)
        site.check()


# --- how it is noticed -----------------------------------------------------------------------------------------------


def test_a_saved_file_takes_effect_by_itself_however_it_is_saved(tmp_path: Path) -> None:
    site = news(tmp_path, 3)
    with site.running() as feedd:
        configure(site, topic("AI", title="By a rename"))
        until(lambda: b"By a rename" in (site.out / "topics/ai.atom").read_bytes(), "by a rename")
        with site.config.open("r+") as file:
            text = file.read().replace("By a rename", "In place, and longer")
            file.seek(0)
            file.write(text)
        until(lambda: b"In place, and longer" in (site.out / "topics/ai.atom").read_bytes(), "in place")
        before = len(feedd.lines)
        os.utime(site.config)
        hang_up(feedd, "configuration read, nothing in it has changed")
        assert not feedd.find("configuration applied", before)


def test_a_link_that_is_turned_as_kubernetes_does_it(tmp_path: Path) -> None:
    site = news(tmp_path, 3)
    text = site.config.read_text()
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "config.toml").write_text(text + topic("AI", title=f"Title {number}"))
    (tmp_path / "..data").symlink_to("..1")
    site.config.unlink()
    site.config.symlink_to("..data/config.toml")
    with site.running():
        until(lambda: b"Title 1" in (site.out / "topics/ai.atom").read_bytes(), "the first")
        (tmp_path / "..new").symlink_to("..2")
        (tmp_path / "..new").replace(tmp_path / "..data")
        until(lambda: b"Title 2" in (site.out / "topics/ai.atom").read_bytes(), "the second")


@pytest.mark.skipif(shutil.which("setsid") is None, reason="setsid of util-linux gives a process its terminal")
def test_a_terminal_that_is_closed_stops_what_runs_in_it(tmp_path: Path) -> None:
    site = news(tmp_path, 3, log={"level": "warning"})
    ours, theirs = pty.openpty()
    feedd = subprocess.Popen(
        ["setsid", "--ctty", *FEEDD, "--config", str(site.config), "run"], stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment(),
    )
    os.close(theirs)
    try:
        until(lambda: len(site.titles()) == 3, "it runs")
        os.close(ours)  # the kernel sends SIGHUP
        assert feedd.wait(DEADLINE_S) == 0
    finally:
        feedd.kill()
        feedd.wait()


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_a_bad_file_keeps_the_old_configuration_and_is_told_once(tmp_path: Path) -> None:
    site = news(tmp_path, server={"token": SECRET})
    with site.running() as feedd:
        settle(site)
        before = stamps(site)
        bad = site.config.read_text().replace(SECRET, "short").replace("[site]", "[site]\nlanguage = 7")
        site.config.write_text(bad + topic("AI", limit=0))
        for key in ("site.language", "feeds.topic.AI.limit", "server.token"):
            feedd.wait("configuration refused, the old one stays", key=key)
        refused = feedd.find("configuration refused, the old one stays")
        assert {line["key"] for line in refused} == {"site.language", "feeds.topic.AI.limit", "server.token"}
        assert all("allowed" in line["reason"] and line["level"] == "error" for line in refused)
        assert "short" not in json.dumps(refused) and SECRET not in json.dumps(refused)
        until(lambda: status(feedd)["problems"], "the status says so")
        found = status(feedd)
        assert found["path"] == str(site.config) and len(found["problems"]) == 3
        assert any(line.startswith("feeds.topic.AI.limit: 0 is not allowed") for line in found["problems"])
        assert b"cannot be used" in feedd.get("/-/")[2]
        os.utime(site.config)
        said = _READ[feedd.pid] = len(feedd.lines)
        hang_up(feedd, "configuration refused, the old one stays")  # who asks is answered
        os.utime(site.config)
        site.config.write_text("")
        feedd.wait("configuration refused, the old one stays", said, reason="is empty; to run by the defaults, "
                   "restart feedd")
        assert len(feedd.find("configuration refused, the old one stays", said)) == 4  # the touch was no news
        site.config.unlink()
        feedd.wait("configuration refused, the old one stays", said, reason="there is no such file; "
                   "`feedd init DIR` writes one")
        assert stamps(site) == before
        configure(site, server={"token": SECRET})
        feedd.wait("configuration read, nothing in it has changed")
        assert status(feedd)["problems"] == []


def test_what_the_environment_lacks_keeps_the_old_configuration(tmp_path: Path) -> None:
    site = news(tmp_path, 3)
    with site.running() as feedd:
        rule = '[links.host."h.example"]\nheaders = ["X-Key: $FEEDD_TEST_NOT_SET"]\n'
        configure(site, rule, links={"enabled": True}, site={"title": "Never"})
        said = hang_up(feedd, "configuration refused, the old one stays")
        assert "FEEDD_TEST_NOT_SET" in said["reason"]
        assert not feedd.find("configuration applied")
        assert b"Never" not in (site.out / "all.atom").read_bytes()


def test_keys_that_wait_for_a_restart_are_named_and_the_rest_is_applied(tmp_path: Path) -> None:
    site = news(tmp_path, 3)
    with site.running() as feedd:
        port = feedd.port
        configure(
            site, articles={"path": "elsewhere", "watch": "polling"}, state={"path": "other"},
            server={"port": port + 1 if port < 65535 else port - 1, "max_age_s": 7, "full_fetches_per_hour": 0},
            site={"title": "Renamed"},
        )
        waits = ["articles.path", "articles.watch", "state.path", "server.port"]
        hang_up(feedd, "some of the configuration waits for a restart", keys=waits, level="warning")
        until(lambda: b"Renamed" in (site.out / "all.atom").read_bytes(), "the title")
        until(lambda: feedd.get("/all.atom")[1]["Cache-Control"] == "public, max-age=7", "live keys of [server]")
        assert status(feedd)["needs_restart"] == waits
        assert b"wait for a restart" in feedd.get("/-/")[2]
        assert len(site.titles()) == 3 and not (tmp_path / "other").exists()
        configure(site, site={"title": "Renamed"}, server={"full_fetches_per_hour": 0})
        until(lambda: status(feedd)["needs_restart"] == [], "none waits")


def test_what_does_not_go_together_with_a_key_that_waits_waits_too(tmp_path: Path) -> None:
    site = news(tmp_path, 3, server={"enabled": False})
    with site.running(ready=False) as feedd:
        feedd.wait("up to date")
        configure(site, hub={"enabled": True}, server={"enabled": True})
        said = hang_up(feedd, "some of the configuration waits for a restart")
        assert said["keys"] == ["server.enabled", "hub.enabled"]
        assert not feedd.find("configuration applied")


# --- what goes on ----------------------------------------------------------------------------------------------------


def fetches(port: int, until_set: threading.Event, found: list[object]) -> None:
    """Asks over one connection and over new ones, and notes whatever is no answer."""
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    while not until_set.is_set():
        for path in ("/all.atom", "/readyz", "/-/status.json", "/topics/ai.json"):
            fresh = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
            for connection in (kept, fresh):
                try:
                    connection.request("GET", path, headers={"If-None-Match": '"x"'})
                    answer = connection.getresponse()
                    answer.read()
                    found.append(answer.status)
                except Exception as error:
                    found.append(error)
            fresh.close()
    kept.close()


def test_no_request_fails_while_the_configuration_changes_and_nothing_is_left_of_the_old_ones(tmp_path: Path) -> None:
    site = news(tmp_path, hub={"enabled": True})
    with site.running() as feedd:
        settle(site)

        def turn(number: int) -> None:
            own = {"title": f"Title {number}", "limit": 2 + number % 3}
            more = [custom(f"extra-{number % 2}", topics=["AI"])] if number % 3 else []
            change(
                feedd, topic("AI", **own), *more, hub={"enabled": True, "lease_days": 1 + number % 5},
                server={"max_age_s": number, "full_fetches_per_hour": number * 100, "max_connections": 500 + number},
                log={"level": "debug"},
            )
            until(lambda: f"Title {number}".encode() in (site.out / "topics/ai.atom").read_bytes(), "it is applied")

        def held() -> tuple[int, int]:
            return len(os.listdir(f"/proc/{feedd.pid}/fd")), len(os.listdir(f"/proc/{feedd.pid}/task"))

        over, found = threading.Event(), list[object]()
        asking = threading.Thread(target=fetches, args=(feedd.port, over, found))
        asking.start()
        try:
            for number in range(1, 6):
                turn(number)
            settle(site)
            before, memory = held(), resident_kb(feedd.pid)
            for number in range(6, 36):
                turn(number)
        finally:
            over.set()
            asking.join()
        assert len(found) > 100 and set(found) == {200}
        settle(site)
        few = 4  # of connections and threads that come and go with requests
        until(lambda: max(a - b for a, b in zip(held(), before, strict=True)) <= few, f"{before} as before: {held()}")
        assert resident_kb(feedd.pid) - memory < 12_000
        assert json.loads(feedd.get("/-/status.json")[2])["requests"]["total"] >= len(found) // 2  # through all
        site.check()


def resident_kb(pid: int) -> int:
    """The memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4


def test_readers_that_were_slowed_stay_slowed(tmp_path: Path) -> None:
    site = news(tmp_path, 3, server={"full_fetches_per_hour": 2})
    with site.running() as feedd:
        assert [feedd.get("/all.atom")[0] for _ in range(3)] == [200, 200, 429]
        change(feedd, server={"full_fetches_per_hour": 2, "token": SECRET, "redirects": ["old -> all"]})
        until(lambda: feedd.get("/old.atom")[0] == 301, "the redirect")
        assert feedd.get("/all.atom")[0] == 429


def test_the_log_and_the_hub_follow(tmp_path: Path) -> None:
    site = news(tmp_path, 3)
    with site.running() as feedd:
        settle(site)
        assert feedd.get("/hub")[0] == 404
        change(feedd, hub={"enabled": True}, log={"level": "info"})
        until(lambda: feedd.get("/hub")[0] == 405, "a hub")
        until(lambda: b'rel="hub"' in (site.out / "all.atom").read_bytes(), "feeds name it")
        configure(site, log={"level": "error"})
        os.kill(feedd.pid, signal.SIGHUP)
        until(lambda: feedd.get("/hub")[0] == 404, "no hub")
        until(lambda: b'rel="hub"' not in (site.out / "all.atom").read_bytes(), "feeds name none")
        settle(site)
        said = len(feedd.lines)
        site.put("new.md", article("New"))
        site.shows("New", *(f"Story {number}" for number in range(3)))
        settle(site)
        assert feedd.lines[said:] == []
        site.check()


def test_a_run_of_link_checks_goes_on_and_the_next_are_as_configured(tmp_path: Path, farm: process.Farm) -> None:
    site, first = news(tmp_path, 3), url_of(farm, "courier")
    site.put("linked.md", story("Linked", first, *(f"{first}?{number}" for number in range(3))))
    with site.running() as feedd:
        settle(site)
        change(feedd, links=links_table(farm, {"gap_ms": 400}))
        until_asked(farm, Counter(), [first], 1)
        configure(site, links=links_table(farm, {"gap_ms": 5, "every_minutes": 7}))
        hang_up(feedd, keys=["links.every_minutes", "links.gap_ms"])
        assert not feedd.find("links checked")
        assert feedd.wait("links checked")["checked"] == 4
        until(lambda: 'data-verdict="fresh"' in (site.out / "all.html").read_text(), "what was found is shown")
        change(feedd)
        until(lambda: "data-verdict" not in (site.out / "all.html").read_text(), "it is shown no more")
        settle(site)
        site.check()


def has(site: Site, title: str, count: int) -> bool:
    """Whether so many feeds on disk are those of a site of that title."""
    wanted = title.encode()
    return sum(wanted in path.read_bytes() for path in (site.out / "topics").glob("*.atom")) >= count


def test_a_kill_in_the_middle_of_a_reload_is_made_good_by_the_next_start(tmp_path: Path) -> None:
    site = news(tmp_path, 28)
    for number in range(28, 150):
        site.put(f"{number}.md", article(f"Story {number}", topics=[f"Topic {number % 50}", TOPICS[number % 3]]))
    for attempt in range(3):
        with site.running() as feedd:
            settle(site)
            configure(
                site, custom(f"c-{attempt}", topics=["AI"]), topic("Tides", limit=3 + attempt),
                site={"title": f"Title {attempt}"}, feeds={"limit": 25 + attempt, "categories": bool(attempt % 2)},
            )
            os.kill(feedd.pid, signal.SIGHUP)
            until(partial(has, site, f"Title {attempt}", attempt * 15), "some feeds are written")
            feedd.kill()
        with site.running():
            settle(site)
            site.check()
    assert b"Title 2" in (site.out / "topics/topic-1.atom").read_bytes()
