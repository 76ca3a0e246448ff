"""Link checks of a real daemon, over a farm of hosts on this machine: when they run, and what readers see of them."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from feedd.store.links import NAME
from tests.farm import process
from tests.linksite import (
    GAP_MS,
    asked,
    breaches,
    checkers,
    exported,
    links_of,
    links_table,
    pages,
    put_dying,
    put_state,
    run,
    site_of,
    state_of,
    story,
    until_asked,
    url_of,
)
from tests.newsroom import changed, tree
from tests.processes import FEEDD, environment, nameless, until

SLOW_MS = 60
NEVER = "0 0 30 2 *"


def test_links_are_checked_soon_after_the_start_and_soon_after_an_article(tmp_path: Path, farm: process.Farm) -> None:
    site = site_of(tmp_path, farm)
    good, missing, later = url_of(farm, "courier"), url_of(farm, "missing"), url_of(farm, "home")
    site.put("a.md", story("A", good, topics=["Tides"]))
    site.put("b.md", story("B", missing, topics=["Bridges"]))
    run(site, "build")
    run(site, "check-links", "--dry-run")  # from now on the links are known, none is checked
    put_dying(site, missing)
    built, dates = tree(site.out), {item["title"]: item.get("date_modified") for item in site.items()}
    with site.running() as feedd:
        said = feedd.wait("links checked")
        assert (said["fresh"], said["dead"], said["checked"], said["left"]) == (1, 1, 2, 0)
        until(lambda: "L0 (dead link)" in json.dumps(site.items("topics/bridges")), "the dead link is marked")
        until(site.is_written, "everything is written")
        touched = changed(built, tree(site.out))
        data = {name.partition(".")[0] for name in touched - pages(touched) if not name.startswith("index")}
        assert data == {"all", "topics/bridges", "providers/source", "categories/news"}
        assert "topics/tides.html" in touched
        assert {item["title"]: item.get("date_modified") for item in site.items()} == dates
        assert feedd.find("feed written", feed="topics/bridges", cause=f"link dead: {missing}")

        mark = len(feedd.lines)
        with links_of(site) as links:
            with links.transaction():
                links.put_due([link.id for link in links.iter_links()], 1)
            news = links.newest_news()
        site.put("c.md", story("C", later, topics=["Cranes"]))
        site.shows("A", "B", "C")
        until(site.is_written, "everything is written")
        published = tree(site.out)
        said = feedd.wait("links checked", mark)
        assert said["checked"] == 3
        until(lambda: 'data-verdict="fresh"' in (site.out / "topics/cranes.html").read_text(), "the page shows it")
        until(site.is_written, "everything is written")
        after = changed(published, tree(site.out))
        assert pages(after) == after - {name for name in after if name.startswith("index")}
        assert not {name for name in after if name.startswith(("topics/tides", "topics/bridges"))}
        with links_of(site) as links:
            assert [news.now for news in links.list_news(news, 9)] == ["fresh"]
    site.check()
    assert breaches(farm, [good, missing, later], GAP_MS) == []


def test_while_links_are_checked_edits_are_published_and_others_are_told_to_wait(
    tmp_path: Path, farm: process.Farm
) -> None:
    site = site_of(tmp_path, farm, {"gap_ms": SLOW_MS})
    urls = farm.healthy_urls(40 * 200)[29::40]
    before = asked(farm, *urls)
    site.put("a.md", story("A", *urls))
    with site.running() as feedd:
        until_asked(farm, before, urls, 2)
        assert "links are being checked already" in run(site, "check-links", code=3)[1]
        site.put("a.md", story("A, edited", *urls))
        site.shows("A, edited")
        assert len(checkers(feedd)) == 1
        assert run(site, "links", "mark", urls[-1], "dead")[0].endswith("will publish what was found.\n")
        until(lambda: "L199 (dead link)" in json.dumps(site.items()), "the mark is published")
        assert sum((asked(farm, *urls) - before).values()) < 200
        assert feedd.stop() < 4
    assert state_of(site, urls[-1]).by_hand == "dead"


def test_a_daemon_waits_while_a_command_checks_links(tmp_path: Path, farm: process.Farm) -> None:
    site = site_of(tmp_path, farm, {"gap_ms": SLOW_MS})
    urls = farm.healthy_urls(40 * 200)[31::40]
    before = asked(farm, *urls)
    site.put("a.md", story("A", *urls))
    run(site, "build")
    command = [*FEEDD, "--config", str(site.config), "check-links"]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as by_hand:
        try:
            until_asked(farm, before, urls, 1)
            with site.running() as feedd:
                assert "being checked already" in feedd.wait("links are not checked now")["reason"]
                by_hand.send_signal(signal.SIGINT)
                out, _ = by_hand.communicate(timeout=30)
                assert b"The feedd that is running will publish what was found." in out
                until(lambda: 'data-verdict="fresh"' in (site.out / "all.html").read_text(), "what it found is shown")
                assert not feedd.find("link checks ended unexpectedly")
        finally:
            by_hand.kill()
    assert by_hand.returncode == 130


def test_what_is_found_by_hand_is_published_by_the_daemon_and_rules_are_those_of_the_configuration(
    tmp_path: Path, farm: process.Farm
) -> None:
    site = site_of(tmp_path, farm, {"cron": NEVER})
    good, moved = url_of(farm, "etag"), url_of(farm, "redirect-308")
    site.put("a.md", story("A", good, topics=["Tides"]))
    site.put("b.md", story("B", moved, topics=["Bridges"]))
    site.put("c.md", story("C", topics=["Cranes"]))
    run(site, "build")
    run(site, "check-links")
    put_state(site, moved, verdict="moved")
    target = state_of(site, moved).final_url
    run(site, "links", "mark", good, "dead")
    assert "L0 (dead link)" in json.dumps(site.items("topics/tides"))
    with site.running() as feedd:
        assert run(site, "links", "mark", good, "none")[0].startswith(f"{good}: fresh\nThe feedd that is running will")
        until(lambda: "(dead link)" not in json.dumps(site.items("topics/tides")), "the mark is gone")
        said = run(site, "check-links", "--url", good)[0]
        assert "1 links checked" in said and "The feedd that is running will publish what was found." in said
        run(site, "links", "mark", good, "dead")
        until(lambda: "(dead link)" in json.dumps(site.items("topics/tides")), "it is published")
        until(lambda: not nameless(feedd), "without files, too, what was made ready is let go of")
        assert not feedd.find("links checked")  # cron says never
    site.check()
    published = tree(site.out)
    site.configure(links=links_table(farm, {"cron": NEVER, "dead": "drop", "follow_moves": True}))
    with site.running():
        pass
    after = changed(published, tree(site.out))
    assert {name.partition(".")[0] for name in after} >= {"all", "topics/tides", "topics/bridges"}
    assert not {name for name in after if "cranes" in name}
    assert good not in json.dumps(site.items())
    assert target in json.dumps(site.items("topics/bridges")) and moved not in json.dumps(site.items("topics/bridges"))
    site.check()


def test_what_keeps_links_from_being_checked_is_said_once_blames_no_link_and_holds_up_no_feed(
    tmp_path: Path, farm: process.Farm
) -> None:
    """Two daemons, side by side: one cannot keep links, one has no network."""
    site, cut_off = site_of(tmp_path / "a", farm), site_of(tmp_path / "b", farm)
    site.put("a.md", story("A", *farm.healthy_urls(3)))
    (site.state / NAME).mkdir(parents=True)
    cut_off.put("a.md", story("A", *(f"http://127.1.71.{n}:{farm.ports.closed}/" for n in range(1, 41))))
    with site.running() as one, cut_off.running() as other:
        one.wait("links cannot be checked, their verdicts stay")
        site.put("b.md", story("B"))
        site.shows("A", "B")
        other.wait("no host could be reached, so no link is blamed")
        until(lambda: not checkers(other), "the run is over")
        assert len(other.find("no host could be reached, so no link is blamed")) == 1
    assert {(row["verdict"], row["strikes"]) for row in exported(cut_off).values()} == {("unchecked", 0)}
    site.check()
    cut_off.check()
