"""The commands about links as they are typed, over articles whose links lead to a farm of hosts on this machine."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from feedd.store.links import NAME
from feedd.store.sqlite import NAME as ARTICLES
from tests.farm import process
from tests.linksite import (
    GAP_MS,
    asked,
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
    tear,
    url_of,
)
from tests.newsroom import changed, tree
from tests.processes import FEEDD, Site, environment, until
from tests.test_archive import BY_DATE, HOST, TimeGate

# -- what is not there -----------------------------------------------------------------------------------------------


def test_without_a_state_every_command_says_so_and_makes_none(tmp_path: Path, farm: process.Farm) -> None:
    site = site_of(tmp_path, farm)
    url = "http://127.1.64.1/"
    for command in (
        ["check-links"], ["check-links", "--all", "--dry-run"], ["links", "list"], ["links", "show", url],
        ["links", "mark", url, "dead"], ["links", "recheck", url], ["links", "export"],
    ):  # fmt: skip
        said = run(site, *command, code=3)[1]
        assert "yet" in said and len(said.splitlines()) == 1
        assert not site.state.exists()


def test_with_link_checks_off_every_command_says_so(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for command in (["check-links"], ["links", "list"], ["links", "mark", "http://127.1.64.1/", "dead"]):
        assert "[links] enabled: is false, so that links are not checked" in run(site, *command, code=2)[1]


def test_what_nobody_has_is_named(tmp_path: Path, farm: process.Farm) -> None:
    site = site_of(tmp_path, farm)
    (known,) = farm.healthy_urls(1)
    site.put("a.md", story("A", known))
    run(site, "build")
    run(site, "check-links", "--dry-run")
    unknown = "http://127.1.64.1:1/none"
    for command in (
        ["check-links", "--url", unknown], ["check-links", "--url", unknown, "--dry-run"], ["links", "show", unknown],
        ["links", "mark", unknown, "dead"], ["links", "recheck", known, unknown],
    ):  # fmt: skip
        said = run(site, *command, code=2)[1]
        assert said == f"feedd: {unknown}: no published article has this link; `feedd links list` shows all\n"
    assert "none.md: no such article" in run(site, "check-links", "--article", "none.md", code=2)[1]
    assert "which links?" in run(site, "links", "recheck", code=2)[1]
    assert "is not one of" in run(site, "links", "mark", known, "lost", code=2)[1]
    assert not asked(farm, known)


def test_a_header_whose_value_the_environment_lacks_is_named_with_its_key(tmp_path: Path, farm: process.Farm) -> None:
    site = site_of(tmp_path, farm, **{'links.host."127.1.64.2"': {"headers": ["X-Key: $FARM_KEY"]}})
    site.put("a.md", story("A"))
    run(site, "build")
    for verb in ("check-links", "run"):
        said = run(site, verb, code=2)[1]
        assert '[links.host."127.1.64.2"] headers: X-Key is to be the value of $FARM_KEY, and' in said
        said = run(site, verb, code=2, FARM_KEY="secret\r\nHost: elsewhere")[1]
        assert '"127.1.64.2"] headers' in said and "secret" not in said


# -- checks ----------------------------------------------------------------------------------------------------------


def test_checks_by_hand_are_summed_up_and_published_and_what_changes_no_verdict_changes_no_byte(
    tmp_path: Path, farm: process.Farm
) -> None:
    site = site_of(tmp_path, farm)
    good, missing, walled = url_of(farm, "courier"), url_of(farm, "missing"), url_of(farm, "status-403")
    site.put("a.md", story("A", good, topics=["Tides"]))
    site.put("b.md", story("B", missing, walled, topics=["Bridges"]))
    site.put("c.md", story("C", topics=["Cranes"]))
    run(site, "build")
    built, dates = tree(site.out), {item["title"]: item.get("date_modified") for item in site.items()}

    planned = run(site, "check-links", "--dry-run")[0].splitlines()
    assert sorted(planned) == sorted(f"get\t{url.split('/')[2]}\t{url}" for url in (good, missing, walled))
    assert not asked(farm, good, missing, walled)

    said = run(site, "check-links")[0]
    assert "3 links checked: 1 blocked, 1 failing, 1 fresh\n" in said
    assert "  1 went from unchecked to failing\n" in said
    assert {name for name in pages(changed(built, tree(site.out))) if name.endswith(".html")} == {
        "all.html", "topics/tides.html", "topics/bridges.html", "providers/source.example.html", "categories/news.html",
    }  # fmt: skip
    assert 'data-verdict="fresh"' in (site.out / "topics/tides.html").read_text()
    assert {item["title"]: item.get("date_modified") for item in site.items()} == dates
    site.check()

    published = tree(site.out)
    before = asked(farm, good, missing, walled)
    assert "0 links checked: none\n" in run(site, "check-links")[0]
    assert asked(farm, good, missing, walled) == before  # nothing is due
    assert "3 links checked" in run(site, "check-links", "--all")[0]
    assert tree(site.out) == published
    assert farm.breaches(gap_s=GAP_MS / 1000) == []

    put_dying(site, missing)
    assert "  1 went from failing to dead\n" in run(site, "check-links", "--article", "b.md")[0]
    (shown,) = [item for item in site.items("topics/bridges") if item["title"] == "B"]
    assert "L0 (dead link)" in json.dumps(shown)
    assert {item["title"]: item.get("date_modified") for item in site.items()} == dates
    before = asked(farm, good, missing, walled)
    run(site, "check-links", "--url", good)
    assert asked(farm, good, missing, walled) - before == Counter([good])
    site.check()


def test_a_dead_link_is_replaced_by_its_archived_copy(tmp_path: Path, farm: process.Farm) -> None:
    gone = url_of(farm, "gone")
    with TimeGate({"/web/": (302, BY_DATE | {"Location": "https://copies.example/7"})}) as gate:
        links = {"dead": "archive", "archive": f"{gate.root}/web", "ports": [*farm.ports.allowed, gate.port]}
        site = site_of(tmp_path, farm, links)
        site.put("a.md", story("A", gone))
        run(site, "build")
        run(site, "check-links")
        assert gate.asked == []
        put_dying(site, gone)
        run(site, "check-links")
        assert "https://copies.example/7" in json.dumps(site.items())
        assert gone not in json.dumps(site.items())
        run(site, "check-links", "--all")
        assert len(gate.asked) == 1  # a copy is a copy
    assert exported(site)[gone]["archive_url"] == "https://copies.example/7"
    site.check()


def test_rules_of_hosts_hold_and_a_change_of_configuration_shows(tmp_path: Path, farm: process.Farm) -> None:
    skipped, trusted, asked_for = farm.healthy_urls(3)
    host = {url: url.split("/")[2].partition(":")[0] for url in (skipped, trusted, asked_for)}
    with TimeGate({"/from": (302, {"Location": asked_for}), "/": (200, {})}) as gate:
        own = f"{gate.root}/page"
        leads_out = f"{gate.root}/from"
        rules: dict[str, Any] = {
            f'links.host."{host[skipped]}"': {"action": "skip"}, f'links.host."{host[trusted]}"': {"action": "ok"},
            f'links.host."{HOST}"': {"user_agent": "Harbour check", "gap_ms": 60, "headers": ["X-Key: $FARM_KEY"]},
        }
        ports = {"ports": [*farm.ports.allowed, gate.port]}
        site = site_of(tmp_path, farm, ports, **rules)
        site.put("a.md", story("A", skipped, trusted, asked_for, own, leads_out))
        run(site, "build")
        lines = run(site, "check-links", "--dry-run", FARM_KEY="k1")[0].splitlines()
        planned = {url: action for action, _, url in (line.split("\t") for line in lines)}
        assert planned == {skipped: "skip", trusted: "ok", asked_for: "get", own: "get", leads_out: "get"}
        run(site, "check-links", FARM_KEY="k1")
        assert {url: row["verdict"] for url, row in exported(site).items()} == {
            skipped: "excluded", trusted: "fresh", asked_for: "fresh", own: "fresh", leads_out: "fresh",
        }
        assert asked(farm, skipped, trusted, asked_for).keys() == {asked_for}
        assert {request.agent for request in gate.asked} == {"Harbour check"}
        assert gate.keys == {"k1"}
        assert min(after.at - before.at for before, after in pairwise(gate.asked)) >= 0.055
        site.configure(links=links_table(farm, ports))
        put_state(site, skipped)
        run(site, "check-links", "--url", skipped)
        assert exported(site)[skipped]["verdict"] == "fresh"
        site.check()


def test_when_nobody_can_be_reached_no_link_is_blamed(tmp_path: Path, farm: process.Farm) -> None:
    site = site_of(tmp_path, farm)
    urls = [f"http://127.1.70.{n}:{farm.ports.closed}/" for n in range(1, 31)]
    site.put("a.md", story("A", *urls))
    run(site, "build")
    out, _ = run(site, "check-links")
    assert "No host could be reached: no link is blamed." in out
    known = exported(site).values()
    assert {(row["verdict"], row["strikes"], row["checked"]) for row in known} == {("unchecked", 0, None)}


# -- ends and stops --------------------------------------------------------------------------------------------------


def slow_site(folder: Path, farm: process.Farm, links: int = 60) -> tuple[Site, list[str]]:
    """Checking its links takes long: they are all of one host."""
    first = farm.healthy_urls(40 * links)[7::40]
    site = site_of(folder, farm, {"gap_ms": 100})
    site.put("a.md", story("A", *first))
    run(site, "build")
    return site, first


def test_ctrl_c_ends_a_check_and_loses_nothing_and_there_is_one_at_a_time(tmp_path: Path, farm: process.Farm) -> None:
    site, urls = slow_site(tmp_path, farm)
    before = asked(farm, *urls)
    command = [*FEEDD, "--config", str(site.config), "check-links"]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        try:
            until(lambda: sum((asked(farm, *urls) - before).values()) >= 3, "three links were asked for")
            assert "links are being checked already" in run(site, "check-links", code=3)[1]
            assert "links are being checked already" in run(site, "check-links", "--dry-run", code=3)[1]
            began = time.monotonic()
            it.send_signal(signal.SIGINT)
            it.send_signal(signal.SIGINT)  # people press it twice
            out, err = it.communicate(timeout=30)
            seconds = time.monotonic() - began
        finally:
            it.kill()
    assert it.returncode == 130, (out, err)
    assert "Traceback" not in err
    assert seconds < 5
    once = asked(farm, *urls) - before
    known = {url for url, row in exported(site).items() if row["verdict"] == "fresh"}
    assert 3 <= len(known) < len(urls)
    assert len(once.keys() - known) <= 1  # what was in flight
    assert f"{len(known)} links checked: {len(known)} fresh" in out
    assert f"{len(urls) - len(known)} left for the next run" in out
    assert "data-verdict" in (site.out / "all.html").read_text()
    site.configure(links=links_table(farm))
    run(site, "check-links")
    both = asked(farm, *urls) - before
    assert both.keys() == set(urls)
    assert {url for url, times in both.items() if times > 1} <= once.keys() - known
    assert farm.breaches(gap_s=GAP_MS / 1000) == []


def test_on_a_terminal_a_bar_shows_how_far_it_is(tmp_path: Path, farm: process.Farm) -> None:
    site, _ = slow_site(tmp_path, farm, 12)
    ours, theirs = pty.openpty()
    command = [*FEEDD, "--config", str(site.config), "check-links"]
    terminal = environment() | {"TERM": "xterm", "COLUMNS": "100", "LINES": "25"}
    with subprocess.Popen(command, env=terminal, stdout=subprocess.PIPE, stderr=theirs, text=True) as it:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how the end of a terminal looks
            while piece := os.read(ours, 65_536):
                shown += piece
        os.close(ours)
        out, _ = it.communicate(timeout=30)
    assert it.returncode == 0
    assert "12 links checked: 12 fresh" in out
    assert "12/12" in shown.decode() and "fresh" in shown.decode()


# -- the operator's hand ---------------------------------------------------------------------------------------------


def test_links_are_listed_shown_marked_and_exported(tmp_path: Path, farm: process.Farm) -> None:
    site = site_of(tmp_path, farm)
    good, moved, missing = url_of(farm, "courier"), url_of(farm, "redirect-301"), url_of(farm, "missing")
    site.put("a.md", story("A", good, moved))
    site.put("b.md", story("B", missing))
    run(site, "build")
    run(site, "check-links")

    listed = run(site, "links", "list")[0]
    assert {(line.split()[0], line.split()[-1]) for line in listed.splitlines()} == {
        ("fresh", good), ("fresh", moved), ("failing", missing),
    }
    assert run(site, "links", "list", "--verdict", "failing")[0].split()[-1] == missing
    host = good.split("/")[2]
    assert run(site, "links", "list", "--host", host)[0].split()[-1] == good
    assert json.loads(run(site, "links", "list", "--host", host, "--json")[0])["url"] == good
    assert run(site, "links", "list", "--verdict", "dead")[0] == ""

    shown = run(site, "links", "show", missing.replace("http://", "HTTP://") + "#part")[0]
    assert "strikes       1" in shown and "missing  answered 404" in shown
    parsed = json.loads(run(site, "links", "show", moved, "--json")[0])
    assert parsed["history"][0]["final_url"] == parsed["final_url"] != moved
    assert parsed["status"] == 200

    published = tree(site.out)
    assert run(site, "links", "mark", good, "dead")[0] == f"{good}: dead\n"
    assert "L0 (dead link)" in json.dumps(site.items())
    run(site, "check-links", "--url", good)
    assert state_of(site, good).by_hand == "dead"  # whatever is found
    assert "L0 (dead link)" in json.dumps(site.items())
    site.check()
    assert run(site, "links", "mark", good, "none")[0] == f"{good}: fresh\n"
    after = changed(published, tree(site.out))
    assert pages(after) >= {name for name in after if not name.startswith("index")}  # they say since when it is fresh
    assert "(dead link)" not in json.dumps(site.items())
    site.check()

    assert run(site, "links", "recheck", good, "--verdict", "failing")[0] == "2 links are due\n"
    assert "2 links checked" in run(site, "check-links")[0]

    with links_of(site) as links:
        link = links.find_link(missing)
        assert link is not None
        bad = replace(link.state.history[0], reason='=HYPERLINK("http://x")\n,')
        with links.transaction():
            links.put_checked([(link.id, replace(link.state, final_url="@SUM(A1)", history=(bad,)))], int(time.time()))
    text = run(site, "links", "export")[0]
    rows = {row["url"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
    assert rows.keys() == {good, moved, missing}
    assert rows[missing]["reason"].startswith("'=HYPERLINK(") and rows[missing]["final_url"] == "'@SUM(A1)"
    assert (rows[good]["verdict"], rows[good]["uses"], rows[good]["status"]) == ("fresh", "1", "200")
    assert exported(site)[missing]["final_url"] == "@SUM(A1)"


# -- torn ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["garbage", "truncated", "middle"])
def test_torn_links_are_set_aside_and_made_anew(tmp_path: Path, farm: process.Farm, how: str) -> None:
    site = site_of(tmp_path, farm)
    urls = farm.healthy_urls(40)
    for n in range(10):
        site.put(f"{n}.md", story(f"S{n}", *urls[4 * n : 4 * n + 4]))
    run(site, "build")
    run(site, "check-links")
    tear(site.state / NAME, how)
    published = tree(site.out)
    out, err = run(site, "check-links", "--all")
    assert "links are torn, they are made anew, unchecked" in err
    assert list(site.state.glob(f"{NAME}.torn-*"))
    assert "40 links checked: 40 fresh" in out
    after = changed(published, tree(site.out))
    assert pages(after) >= {name for name in after if not name.startswith("index")}
    site.check()


def test_torn_articles_are_not_the_links_fault(tmp_path: Path, farm: process.Farm) -> None:
    site = site_of(tmp_path, farm)
    (url,) = farm.healthy_urls(1)
    site.put("a.md", story("A", url))
    run(site, "build")
    run(site, "check-links")
    put_state(site, url, archive_url="https://copies.example/kept")
    tear(site.state / ARTICLES, "garbage")
    for command in (["check-links"], ["check-links", "--dry-run"], ["links", "mark", url, "dead"]):
        assert "torn" in run(site, *command, code=3)[1]
    assert not list(site.state.glob(f"{NAME}.torn-*"))
    run(site, "build")
    assert "1 links checked" in run(site, "check-links", "--all")[0]
    assert state_of(site, url).archive_url == "https://copies.example/kept"
    assert state_of(site, url).by_hand == "dead"
