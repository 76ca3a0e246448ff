"""The link farm itself: each behaviour is as it is written, and the counter of breaches finds those that are planted.

Asked by plain sockets, and by http.client and aiohttp where they can follow: nothing of feedd is in here.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import io
import re
import socket
import ssl
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.farm import addresses, breaches, log, places, process, sites
from tests.farm.places import Case

VERDICTS = {"unchecked", "fresh", "stale", "moved", "blocked", "failing", "dead", "excluded"}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[process.Farm]:
    with process.running(tmp_path_factory.mktemp("farm") / "log") as running:
        yield running


@pytest.fixture
def fresh_farm(tmp_path: Path) -> Iterator[process.Farm]:
    """One whose log nobody else writes to."""
    with process.running(tmp_path / "log") as running:
        yield running


def cases(farm: process.Farm, name: str) -> list[Case]:
    found = [case for case in farm.urls() if case.name == name]
    assert found, name
    return found


def url(farm: process.Farm, name: str) -> str:
    return cases(farm, name)[0].url


def get(address: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request on a connection of its own, no redirect followed."""
    parts = urlsplit(address)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    with contextlib.closing(connection):
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def final(address: str) -> tuple[str, int, list[int]]:
    """Where redirects lead, as URL, status and the statuses on the way; aiohttp follows them."""

    async def follow() -> tuple[str, int, list[int]]:
        async with aiohttp.ClientSession() as session, session.get(address, max_redirects=30) as answer:
            return str(answer.url), answer.status, [hop.status for hop in answer.history]

    return asyncio.run(follow())


@contextlib.contextmanager
def asked(address: str) -> Iterator[socket.socket]:
    """A socket that has asked for a URL."""
    parts = urlsplit(address)
    assert parts.hostname and parts.port
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as sock:
        sock.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        yield sock


def read(sock: socket.socket, least: int = 1 << 40) -> bytes:
    """At least so many bytes, or all there are."""
    parts, size = [], 0
    while size < least and (data := sock.recv(65_536)):
        parts.append(data)
        size += len(data)
    return b"".join(parts)


def story(page: bytes) -> list[bytes]:
    return re.findall(rb"<p>.*?</p>", page)


# The farm as a whole


def test_every_case_says_what_is_right(farm: process.Farm) -> None:
    found = farm.urls()
    assert len({case.url for case in found}) == len(found) > 200
    assert all(case.expected.first and case.expected.first <= VERDICTS for case in found)
    assert all(case.expected.later and case.expected.later <= VERDICTS for case in found)


def test_copies_have_hosts_of_their_own() -> None:
    ports = places.Ports(8000, 8001, 8002, 8003)
    once, thrice = list(places.cases(1, ports)), list(places.cases(3, ports))
    single = ("tls", "inside", "stray", "refused", "ftp")
    alone = sum(1 for case in once if case.name.startswith(single))
    assert len(thrice) == 3 * (len(once) - alone) + alone
    assert len({case.url for case in thrice}) == len(thrice)
    assert len(places.places(3)) > 400


def test_hosts_are_in_the_farms_net() -> None:
    every = [*places.places(4), *(addresses.healthy(n) for n in range(addresses.MOST_HEALTHY))]
    assert len(set(every)) == len(every)
    assert all(addresses.is_inside(address) for address in every)


def test_all_that_policy_calls_blocked_is_there(farm: process.Farm) -> None:
    names = {case.name for case in farm.urls()}
    wanted = (401, 402, 403, 405, 406, 407, 412, 428, 429, 451, 999, 500, 503)
    assert {f"status-{code}" for code in wanted} <= names
    for code in wanted:
        assert get(url(farm, f"status-{code}"))[0] == code


def test_forbidden_addresses_are_named_only_where_they_are_our_own(farm: process.Farm) -> None:
    named = [case.name for case in farm.urls() if "metadata" in case.name or "private" in case.name]
    assert bool(named) == addresses.has(addresses.METADATA)
    assert addresses.has("127.0.0.1") and not addresses.has("192.0.2.1")


# Pages


def test_a_page_changes_around_its_story(farm: process.Farm) -> None:
    (_, _, first), (_, _, second) = get(url(farm, "courier")), get(url(farm, "courier"))
    assert first != second
    assert story(first) == story(second) != story(get(cases(farm, "courier")[1].url)[2])


def test_healthy_hosts_have_every_page(farm: process.Farm) -> None:
    found = farm.healthy_urls(25)
    assert len({urlsplit(address).hostname for address in found}) == 10
    assert [get(address)[0] for address in found] == [200] * 25
    assert get(found[0].replace("/n/0", "/elsewhere"))[0] == 404


def test_answers_come_in_their_time(tmp_path: Path) -> None:
    with process.running(tmp_path / "log", delay_ms=150) as farm:
        began = time.monotonic()
        assert get(farm.healthy_urls(1)[0])[0] == 200
        assert 0.15 <= time.monotonic() - began < 1.5


@pytest.mark.parametrize(("name", "header", "condition"), [
    ("etag", "ETag", "If_None_Match"), ("weak-etag", "ETag", "If_None_Match"),
    ("last-modified", "Last-Modified", "If_Modified_Since"), ("both-validators", "ETag", "If_None_Match"),
])  # fmt: skip
def test_validators_are_honoured(farm: process.Farm, name: str, header: str, condition: str) -> None:
    status, headers, body = get(url(farm, name))
    assert status == 200 and story(body)
    assert get(url(farm, name), **{condition: headers[header]})[::2] == (304, b"")
    assert get(url(farm, name), **{condition: '"another"'})[0] == 200


def test_an_etag_in_a_cluster_never_matches(farm: process.Farm) -> None:
    etag = get(url(farm, "useless-etag"))[1]["ETag"]
    assert get(url(farm, "useless-etag"), If_None_Match=etag)[0] == 200


# Redirects


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_lead_to_the_story(farm: process.Farm, code: int) -> None:
    where, status, hops = final(url(farm, f"redirect-{code}"))
    assert (urlsplit(where).path, status, hops) == ("/new/story", 200, [code])


@pytest.mark.parametrize(("name", "path", "hops"), [
    ("chain-301", "/hop/5", [301] * 5), ("chain-mixed", "/hop/4", [301, 302] * 2), ("chain-10", "/hop/10", [308] * 10),
    ("chain-14", "/hop/14", [301] * 14), ("across", "/news/0-ferry", [301]), ("to-root", "/", [301]),
    ("to-not-found", "/404.html", [302]), ("to-login", "/login", [302]), ("slash", "/topic/", [301]),
])  # fmt: skip
def test_redirects_lead_on(farm: process.Farm, name: str, path: str, hops: list[int]) -> None:
    where, status, seen = final(url(farm, name))
    assert (urlsplit(where).path, status, seen) == (path, 200, hops)


@pytest.mark.parametrize("name", ["loop", "loop-self"])
def test_loops_do_not_end(farm: process.Farm, name: str) -> None:
    with pytest.raises(aiohttp.TooManyRedirects):
        final(url(farm, name))


def test_redirects_lead_inside(farm: process.Farm) -> None:
    places_inside = {"loopback": "127.0.0.1", "decimal": "2130706433", "v6-mapped": "[::ffff:127.0.0.1]"}
    for name, host in places_inside.items():
        status, headers, _ = get(url(farm, f"to-{name}"))
        assert 300 < status < 400
        assert headers["Location"] == f"http://{host}:{farm.ports.port}/latest/meta-data/"


# Soft 404s, walls, pauses


def test_a_soft_404_is_what_any_path_gets(farm: process.Farm) -> None:
    there, vanished, _ = (case.url for case in cases(farm, "soft-same"))
    root = there.removesuffix("/news/there")
    pages = [get(vanished), get(f"{root}/made-up-a81"), get(f"{root}/made-up-b92")]
    assert [status for status, _, _ in pages] == [200] * 3
    assert len({body for _, _, body in pages}) == 3, "advertisements differ"
    assert story(pages[0][2]) == story(pages[1][2]) != story(get(there)[2])
    echo = url(farm, "soft-echo").removesuffix("/news/there")
    assert b"/made-up-c73" in get(f"{echo}/made-up-c73")[2]
    assert get(url(farm, "soft-root").removesuffix("/news/there") + "/made-up")[1]["Location"] == "/"


@pytest.mark.parametrize(("name", "code"), [("wall-403", 403), ("wall-503", 503), ("wall-200", 200)])
def test_walls_stand_before_every_path(farm: process.Farm, name: str, code: int) -> None:
    for address in (url(farm, name), url(farm, name) + "-made-up"):
        status, headers, body = get(address)
        assert (status, headers["cf-mitigated"]) == (code, "challenge") and b"Just a moment" in body


def test_pauses_are_asked_for_in_both_forms(farm: process.Farm) -> None:
    assert get(url(farm, "busy-seconds"))[1]["Retry-After"] == "2"
    assert get(url(farm, "closed-date"))[1]["Retry-After"].endswith(" GMT")


def test_a_hurried_client_is_sent_away(farm: process.Farm) -> None:
    assert [get(case.url)[0] for case in cases(farm, "limited")] == [200, 429, 429, 429]


def test_robots(farm: process.Farm) -> None:
    def robots(name: str) -> tuple[int, bytes]:
        status, _, body = get(re.sub(r"(:\d+)/.*", r"\1/robots.txt", url(farm, name)))
        return status, body

    assert robots("robots-all") == (200, b"User-agent: *\nDisallow: /\n")
    assert [robots(name)[0] for name in ("courier", "robots-403", "robots-500", "robots-moved")] == [404, 403, 500, 301]
    assert len(robots("robots-huge")[1]) > 2_000_000
    assert b"Crawl-delay: 2" in robots("crawl-delay")[1]


# What does not answer in order


@pytest.mark.parametrize("name", ["hangs", "hangs-in-head", "hangs-in-body", "drips-head", "drips-body"])
def test_silence(farm: process.Farm, name: str) -> None:
    with asked(url(farm, name)) as sock:
        sock.settimeout(0.15)
        with pytest.raises(TimeoutError):
            read(sock, 1000)


def test_drips_fall(farm: process.Farm) -> None:
    with asked(url(farm, "drips-body")) as sock:
        assert read(sock, 85).partition(b"\r\n\r\n")[2].startswith(b"a")


@pytest.mark.parametrize("name", ["resets", "resets-in-body"])
def test_resets(farm: process.Farm, name: str) -> None:
    with asked(url(farm, name)) as sock, pytest.raises(ConnectionResetError):
        read(sock)
        read(sock)


def test_closes_without_an_answer(farm: process.Farm) -> None:
    for name, sent in (("closes", b""), ("closes-in-head", b"HTTP/1.1 200 OK\r\nContent-")):
        with asked(url(farm, name)) as sock:
            assert read(sock) == sent


@pytest.mark.parametrize("name", [
    "endless-body", "endless-chunks", "huge-length", "endless-headers", "endless-header", "endless-status",
    "endless-continue",
])  # fmt: skip
def test_floods(farm: process.Farm, name: str) -> None:
    with asked(url(farm, name)) as sock:
        assert len(read(sock, 20_000_000)) >= 20_000_000


def test_bombs(farm: process.Farm) -> None:
    with asked(url(farm, "gzip-bomb")) as sock:
        head, _, body = read(sock, 20_000).partition(b"\r\n\r\n")
        assert b"Content-Encoding: gzip" in head
        assert len(zlib.decompressobj(31).decompress(body)) > 10_000_000
    with asked(url(farm, "gzip-twice")) as sock:
        once = gzip.GzipFile(fileobj=io.BytesIO(gzip.decompress(read(sock).partition(b"\r\n\r\n")[2])))
        assert sum(len(part) for part in iter(lambda: once.read(1 << 20), b"")) == 32 << 20


def test_garbage(farm: process.Farm) -> None:
    for name in ("garbage", "another-protocol", "bad-status"):
        with pytest.raises(http.client.HTTPException):
            get(url(farm, name))
    with pytest.raises(http.client.IncompleteRead):
        get(url(farm, "length-too-long"))


def test_certificates(farm: process.Farm) -> None:
    trusting = ssl.create_default_context(cafile=str(process.AUTHORITY))

    def secure(name: str, context: ssl.SSLContext) -> int:
        parts = urlsplit(url(farm, name))
        assert parts.hostname
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=10, context=context)
        with contextlib.closing(connection):
            connection.request("GET", parts.path)
            return connection.getresponse().status

    assert secure("tls-good", trusting) == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        secure("tls-good", ssl.create_default_context())
    for name, why in (("selfsigned", "self-signed"), ("expired", "expired"), ("misnamed", "mismatch")):
        with pytest.raises(ssl.SSLCertVerificationError, match=why):
            secure(f"tls-{name}", trusting)
    with pytest.raises(ssl.SSLError):
        secure("tls-plain", trusting)
    with pytest.raises(OSError):
        secure("tls-reset", trusting)


def test_nobody_listens(farm: process.Farm) -> None:
    with pytest.raises(ConnectionRefusedError):
        get(url(farm, "refused"))


# Days


def test_days_change_what_is_there(fresh_farm: process.Farm) -> None:
    def statuses(name: str) -> list[int]:
        found = []
        for day in (0, 1, 2, 5, 6, 9):
            fresh_farm.set_day(day)
            found.append(get(url(fresh_farm, name))[0])
        return found

    assert statuses("heals") == [404, 404, 404, 404, 200, 200]
    assert statuses("heals-late") == [410, 410, 410, 410, 410, 200]
    assert statuses("dies") == [200, 200, 404, 404, 404, 404]
    assert statuses("walled-off") == [200, 403, 403, 403, 403, 403]
    assert statuses("then-moved") == [200, 301, 301, 301, 301, 301]
    fresh_farm.set_day(0)
    before = story(get(url(fresh_farm, "edited"))[2])
    fresh_farm.set_day(4)
    assert story(get(url(fresh_farm, "edited"))[2]) != before


# The log, and breaches


def test_each_request_is_logged(fresh_farm: process.Farm) -> None:
    get(url(fresh_farm, "mixed"), User_Agent="feedd/1.0 (+https://x.example)")
    fresh_farm.set_day(3)
    get(url(fresh_farm, "busy-seconds"))
    with asked(url(fresh_farm, "closes")) as sock:
        read(sock)
    first, second, third = (entry for entry in fresh_farm.entries() if isinstance(entry, log.Asked))
    assert (first.path, first.status, first.day, first.agent) == ("/news/alive", 200, 0, "feedd")
    assert (second.status, second.day, second.pause_s, third.status) == (429, 3, 2.0, 0)
    assert 0 < first.start <= first.end <= second.start <= time.monotonic()
    assert len({first.connection, second.connection, third.connection}) == 3


def test_a_polite_client_breaks_nothing(fresh_farm: process.Farm) -> None:
    for case in cases(fresh_farm, "mixed")[:3]:
        get(case.url)
        time.sleep(0.05)  # what is measured: a gap
    assert fresh_farm.breaches(gap_s=0.05) == []


def rules(farm: process.Farm, *, gap_s: float = 0.0) -> dict[str, int]:
    return {rule: n for rule, n in breaches.count(farm.breaches(gap_s=gap_s)).items() if n}


def test_haste_is_a_breach(fresh_farm: process.Farm) -> None:
    for case in cases(fresh_farm, "mixed")[:3]:
        get(case.url)
    assert rules(fresh_farm, gap_s=0.5) == {"gap": 2}
    fresh_farm.set_day(1)
    get(url(fresh_farm, "mixed"))
    assert rules(fresh_farm, gap_s=0.5) == {"gap": 2}, "a day later is no haste"


def test_a_crawl_delay_is_a_gap(fresh_farm: process.Farm) -> None:
    for case in cases(fresh_farm, "crawl-delay"):
        get(case.url)
    assert rules(fresh_farm) == {"gap": 2}


def test_two_at_once_are_a_breach(fresh_farm: process.Farm) -> None:
    with asked(url(fresh_farm, "hangs")) as sock:
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        with asked(url(fresh_farm, "hangs")) as other:
            other.settimeout(0.1)
            with pytest.raises(TimeoutError):
                other.recv(1)
    wait_for_connections(fresh_farm, 2)
    assert rules(fresh_farm) == {"at once": 1, "connections": 1}


def test_what_robots_forbid_is_a_breach(fresh_farm: process.Farm) -> None:
    for name in ("robots-all", "robots-part", "robots-500", "robots-agents"):
        for case in cases(fresh_farm, name):
            get(case.url, User_Agent="other/1")
    assert sorted(found.detail for found in fresh_farm.breaches(gap_s=0)) == [
        "/", "/news/a", "/news/a", "/only-feedd/a", "/private/a",
    ]  # fmt: skip
    get(url(fresh_farm, "robots-agents"), User_Agent="feedd/1")
    assert [found.detail for found in fresh_farm.breaches(gap_s=0)].count("/not-feedd/a") == 1


def test_a_pause_that_is_not_kept_is_a_breach(fresh_farm: process.Farm) -> None:
    for name in ("busy-two", "closed-date"):
        for case in cases(fresh_farm, name) * 2:
            get(case.url)
    assert rules(fresh_farm) == {"pause": 4}


def test_made_up_paths_are_for_once_a_day(fresh_farm: process.Farm) -> None:
    root = url(fresh_farm, "soft-same").removesuffix("/news/there")
    for day in (0, 1):
        fresh_farm.set_day(day)
        get(f"{root}/made-up-1")
    assert rules(fresh_farm) == {}
    get(f"{root}/made-up-2")
    assert rules(fresh_farm) == {"made-up": 1}


def test_going_inside_is_a_breach(fresh_farm: process.Farm) -> None:
    port, stray = fresh_farm.ports.port, fresh_farm.ports.stray
    for host in ("127.0.0.1", "127.9.9.9"):
        get(f"http://{host}:{port}/latest/meta-data/")
    with socket.create_connection(("127.1.0.1", stray), timeout=5):
        wait_for(lambda: rules(fresh_farm) == {"forbidden": 3})
    if addresses.has("::1"):
        with socket.create_connection(("::1", port), timeout=5):
            wait_for(lambda: rules(fresh_farm) == {"forbidden": 4})


def test_attempts_at_tls_are_requests(fresh_farm: process.Farm) -> None:
    parts = urlsplit(url(fresh_farm, "tls-expired"))
    for _ in range(2):
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=5) as sock:
            context = ssl.create_default_context()
            with pytest.raises(ssl.SSLCertVerificationError):
                context.wrap_socket(sock, server_hostname=parts.hostname)
    wait_for_connections(fresh_farm, 2)
    assert rules(fresh_farm, gap_s=5.0) == {"gap": 1}


def test_what_is_forbidden_to_whom() -> None:
    place = next(place for place in places.places(1).values() if place.site.name == "robots-agents")
    told = {
        (agent, path): places.is_forbidden(place, path, agent)
        for agent in ("feedd", "other") for path in ("/not-feedd/a", "/only-feedd/a", "/robots.txt", "*")
    }  # fmt: skip
    assert [key for key, value in told.items() if value] == [("feedd", "/not-feedd/a"), ("other", "/only-feedd/a")]
    assert not places.is_forbidden(None, "/n/1", "feedd")
    assert places.is_made_up(None, "/x") and not places.is_made_up(None, "/n/1") and not places.is_made_up(None, "/")


def test_sets_of_verdicts() -> None:
    assert sites.expected("fresh", "moved fresh") == sites.Expected(frozenset({"fresh"}), frozenset({"moved", "fresh"}))
    assert sites.expected("blocked").later == {"blocked"}


def wait_for(condition: object, within_s: float = 10.0) -> None:
    assert callable(condition)
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end


def wait_for_connections(farm: process.Farm, number: int) -> None:
    """Until so many are closed as the farm sees it."""
    wait_for(lambda: sum(isinstance(entry, log.Connected) for entry in farm.entries()) >= number)
