"""Sites whose articles link to the farm, for tests of the commands and of the daemon; and what to ask of them."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace

from feedd import cli
from feedd.freshness.states import Evidence, LinkState
from feedd.store.links import Links, open_links
from tests.farm import log, process
from tests.farm.breaches import Breach
from tests.newsroom import article
from tests.processes import Daemon, Site, until

DAY_S = 86_400
GAP_MS = 5


def story(title: str, *links: str, **fields: Any) -> str:
    return article(title, related=[{"title": f"L{n}", "webUrl": link} for n, link in enumerate(links)], **fields)


def site_of(folder: Path, farm: process.Farm, links: dict[str, Any] | None = None, **tables: Any) -> Site:
    """A site that may ask the farm."""
    return Site(folder, links=links_table(farm, links or {}), **tables)


def links_table(farm: process.Farm, own: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """The configuration of link checks."""
    table = {"enabled": True, "allow_networks": ["127.1.0.0/16"], "ports": farm.ports.allowed, "gap_ms": GAP_MS,
             "soon_s": 1}
    return {**table, **own}


def pages(names: set[str]) -> set[str]:
    """Those that are for people, but for the list of feeds."""
    return {name for name in names if ".html" in name and not name.startswith("index")}


def url_of(farm: process.Farm, name: str) -> str:
    """The first link of the hosts with this behaviour."""
    return next(case.url for case in farm.urls() if case.name == name)


def asked(farm: process.Farm, *urls: str) -> Counter[str]:
    """How often the farm was asked for links, so far."""
    found = Counter(
        f"http://{entry.host}:{farm.ports.port}{entry.path}" for entry in farm.entries() if isinstance(entry, log.Asked)
    )
    return Counter({url: found[url] for url in urls if found[url]})


@contextmanager
def links_of(site: Site) -> Iterator[Links]:
    links = open_links(str(site.state))
    yield links
    links.close()


def state_of(site: Site, url: str) -> LinkState:
    with links_of(site) as links:
        link = links.find_link(url)
    assert link is not None, url
    return link.state


def put_state(site: Site, url: str, **known: Any) -> None:
    """As if this were known of the link, and it were due."""
    with links_of(site) as links:
        link = links.find_link(url)
        assert link is not None, url
        with links.transaction():
            links.put_checked([(link.id, replace(link.state, **known))], int(time.time()))
            links.put_due([link.id], int(time.time()))


def put_dying(site: Site, url: str) -> None:
    """Two strikes, the last one four days ago: one more, and it is dead."""
    at = int(time.time()) - 4 * DAY_S
    seen = Evidence(at, "missing", "answered 404", 404)
    put_state(
        site, url, verdict="failing", since_at=at - 4 * DAY_S, first_failed_at=at - 4 * DAY_S, strikes=2, strike_at=at,
        checked_at=at, status=404, interval_days=1, history=(seen,),
    )  # fmt: skip


def run(site: Site, *arguments: str, code: int = 0, **variables: str) -> tuple[str, str]:
    """What a command says, on stdout and on stderr; it must end with this code. In this process, which is quicker."""
    out, err = io.StringIO(newline=""), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["feedd", "--config", str(site.config), *arguments])
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            cli.main()
            ended: object = 0
        except SystemExit as error:
            ended = error.code
    assert ended == code, (ended, out.getvalue(), err.getvalue())
    assert "Traceback" not in err.getvalue()
    return out.getvalue(), err.getvalue()


def exported(site: Site) -> dict[str, dict[str, Any]]:
    """What is known of each link."""
    lines = run(site, "links", "export", "--format", "json")[0].splitlines()
    return {row["url"]: row for row in map(json.loads, lines)}


def tear(path: Path, how: str) -> None:
    """What a failing disk may make of a database."""
    data = path.read_bytes()
    if how == "garbage":
        path.write_bytes(os.urandom(len(data)))
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 3 // 4096 * 4096])
    else:
        path.write_bytes(data[:8192] + b"\xa5" * (len(data) - 12_288) + data[-4096:])


def checkers(feedd: Daemon) -> list[int]:
    """The processes of its session that are nicer than the others: those that check links."""
    found = []
    for pid in feedd.members():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found += [pid] if int(fields[16]) == 10 else []
    return found


def fresh(site: Site) -> set[str]:
    return {url for url, row in exported(site).items() if row["verdict"] == "fresh"}


def breaches(farm: process.Farm, urls: list[str], gap_ms: int) -> list[Breach]:
    """What was done against the policy at the hosts of these links."""
    hosts = {urlsplit(url).hostname for url in urls}
    return [breach for breach in farm.breaches(gap_s=gap_ms / 1000) if breach.host in hosts]


def until_asked(farm: process.Farm, before: Counter[str], urls: list[str], count: int) -> None:
    until(lambda: (asked(farm, *urls) - before).total() >= count, f"{count} requests")
