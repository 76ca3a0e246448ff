"""Copies of dead links, asked for at a real TimeGate on this machine: what RFC 7089 allows, and what archives do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from feedd import fetch
from feedd.freshness.states import Answer, LinkState
from feedd.freshness.urls import normalise
from feedd.linkcheck import archive

HOST = "127.1.250.1"
GONE = "https://far.example/story.php?id=7&lang=en"
AT = 1_700_000_000
WHEN = "Tue, 14 Nov 2023 22:13:20 GMT"
BY_DATE = {"Vary": "accept-datetime"}
OF_DATE = {"Memento-Datetime": "Tue, 14 Nov 2023 20:00:00 GMT"}


class Asked(Struct, frozen=True):
    """A request of the archive."""

    at: float
    path: str
    when: str
    agent: str


class TimeGate:
    """A server. `answers`: by the start of the path, (status, headers); a Location and the like may name `{root}`."""

    def __init__(self, answers: Mapping[str, tuple[int, Mapping[str, str]]]) -> None:
        self.answers, self.asked, self.keys = answers, list[Asked](), set[str]()
        self.hangs = threading.Event()  # set while a request of /hang waits
        self.released = threading.Event()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                agent = self.headers.get("User-Agent", "")
                gate.keys.add(self.headers.get("X-Key", ""))
                gate.asked.append(Asked(time.monotonic(), self.path, self.headers.get("Accept-Datetime", ""), agent))
                if self.path.startswith("/hang"):
                    gate.hangs.set()
                    gate.released.wait(30)
                    return
                found = [answer for start, answer in gate.answers.items() if self.path.startswith(start)]
                status, headers = found[0] if found else (404, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value.format(root=gate.root, port=gate.port))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.port = self._server.server_address[1]
        self.root = f"http://{HOST}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> TimeGate:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def look_up(
        self, *urls: str, path: str = "/web", within_s: float = 30.0, stop: asyncio.Event | None = None,
        state: LinkState | None = None,
    ) -> dict[str, str]:
        """Copies of these links, which held at AT."""
        return asyncio.run(self.look_up_here(*urls, path=path, within_s=within_s, stop=stop, state=state))

    async def look_up_here(
        self, *urls: str, path: str = "/web", within_s: float = 30.0, stop: asyncio.Event | None = None,
        state: LinkState | None = None,
    ) -> dict[str, str]:
        """The same in the loop that runs."""
        dead = [(url, state or LinkState(verdict="dead", verified_at=AT, since_at=AT + 9)) for url in urls]
        async with fetch.Fetcher(fetch.Limits(), allowed=[ip_network("127.1.0.0/16")], ports=[self.port]) as fetcher:
            copies = archive.look_up(
                dead, fetcher.get, archive=self.root + path, user_agent="feedd/0 (+https://news.example)",
                stop=stop or asyncio.Event(), within_s=within_s,
            )
            return {url: copy async for url, copy in copies}


@contextlib.contextmanager
def timegate(**answers: tuple[int, Mapping[str, str]]) -> Iterator[TimeGate]:
    with TimeGate({f"/{name}": answer for name, answer in answers.items()}) as gate:
        yield gate


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "GAP_S", 0.001)


def test_a_timegate_redirects_to_the_copy_that_is_nearest_to_when_the_link_held() -> None:
    with timegate(web=(302, BY_DATE | {"Location": "{root}/web/20231114/" + GONE})) as gate:
        assert gate.look_up(GONE) == {GONE: f"{gate.root}/web/20231114/{GONE}"}
    (asked,) = gate.asked
    assert (asked.path, asked.when, asked.agent) == (f"/web/{GONE}", WHEN, "feedd/0 (+https://news.example)")


def test_a_timegate_answers_with_the_copy_and_says_where_it_is() -> None:
    headers = BY_DATE | OF_DATE | {"Content-Location": "/copies/7?x=1#top"}
    with timegate(web=(200, headers)) as gate:
        assert gate.look_up(GONE) == {GONE: f"{gate.root}/copies/7?x=1"}


def test_a_copy_that_does_not_say_where_it_is_is_where_it_was_asked_for() -> None:
    with timegate(web=(200, OF_DATE)) as gate:
        assert gate.look_up(GONE) == {GONE: f"{gate.root}/web/{GONE}"}


def test_a_redirect_that_was_not_chosen_by_date_is_followed_with_the_same_question() -> None:
    answers = {
        "web": (301, {"Location": "{root}/gate/" + GONE}), "gate": (307, {"Location": "{root}/other/" + GONE}),
        "other": (302, {"Vary": "Cookie, Accept-Datetime", "Location": "https://copies.example/7"}),
    }
    with timegate(**answers) as gate:
        assert gate.look_up(GONE) == {GONE: "https://copies.example/7"}
    assert [(asked.path.split("/")[1], asked.when) for asked in gate.asked] == [
        ("web", WHEN), ("gate", WHEN), ("other", WHEN),
    ]  # fmt: skip


def test_an_archive_that_does_not_speak_of_dates_still_leads_to_its_copy() -> None:
    with timegate(web=(302, {"Location": "{root}/copy/7"}), copy=(200, OF_DATE)) as gate:
        assert gate.look_up(GONE) == {GONE: f"{gate.root}/copy/7"}


def test_the_copy_of_a_redirect_is_a_copy() -> None:
    answers = {"web": (302, {"Location": "{root}/copy/7"}), "copy": (301, OF_DATE | {"Location": "{root}/copy/8"})}
    with timegate(**answers) as gate:
        assert gate.look_up(GONE) == {GONE: f"{gate.root}/copy/7"}


@pytest.mark.parametrize(
    "answer",
    [
        (404, {}), (404, OF_DATE), (200, {}), (204, BY_DATE), (300, BY_DATE), (302, BY_DATE), (410, {}),
        (302, BY_DATE | {"Location": "javascript:alert(1)"}), (302, BY_DATE | {"Location": "ftp://copies.example/7"}),
        (200, OF_DATE | {"Content-Location": "data:text/html,x"}),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_copy_is_none_and_the_next_link_is_asked_for(answer: tuple[int, Mapping[str, str]]) -> None:
    with timegate(web=answer) as gate:
        assert gate.look_up(GONE, "https://far.example/2") == {}
    assert [asked.path for asked in gate.asked] == [f"/web/{GONE}", "/web/https://far.example/2"]


@pytest.mark.parametrize("answer", [(429, {"Retry-After": "60"}), (500, {}), (503, {})], ids=str)
def test_an_archive_that_fails_or_wants_to_be_left_alone_is_left_alone(answer: tuple[int, Mapping[str, str]]) -> None:
    with timegate(web=answer) as gate:
        assert gate.look_up(GONE, "https://far.example/2") == {}
    assert len(gate.asked) == 1


def test_what_was_found_before_it_failed_counts() -> None:
    answers = {
        "web/https://far.example/1": (302, BY_DATE | {"Location": "https://copies.example/1"}),
        "web/https://far.example/2": (500, {}),
    }
    with timegate(**answers) as gate:
        found = gate.look_up("https://far.example/1", "https://far.example/2", "https://far.example/3")
        assert found == {"https://far.example/1": "https://copies.example/1"}
    assert len(gate.asked) == 2


def test_an_archive_that_is_not_there_is_asked_once() -> None:
    with TimeGate({}) as gate:
        pass
    assert gate.look_up(GONE, "https://far.example/2") == {}


def test_an_archive_may_not_lead_inside() -> None:
    with timegate(web=(301, {"Location": "http://127.0.0.1:{port}/"})) as gate:
        assert gate.look_up(GONE) == {}
    assert len(gate.asked) == 1


def test_redirects_in_a_circle_end() -> None:
    with timegate(web=(302, {"Location": "{root}/web/again"})) as gate:
        assert gate.look_up(GONE, "https://far.example/2") == {}
    assert len(gate.asked) == 2 * archive.MOST_STEPS


def test_requests_are_a_gap_apart_and_no_more_than_so_many_links_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive, "GAP_S", 0.05)
    monkeypatch.setattr(archive, "AT_MOST", 3)
    with timegate(web=(302, {"Location": "{root}/other/"})) as gate:
        gate.look_up(*(f"https://far.example/{n}" for n in range(9)))
    assert len(gate.asked) == 6
    assert min(after.at - before.at for before, after in pairwise(gate.asked)) >= 0.05


def test_a_stop_breaks_off_what_is_asked() -> None:
    async def main(gate: TimeGate) -> dict[str, str]:
        stop = asyncio.Event()
        looking = asyncio.create_task(gate.look_up_here(GONE, "https://far.example/2", path="/hang", stop=stop))
        await asyncio.to_thread(gate.hangs.wait, 20)
        stop.set()
        return await asyncio.wait_for(looking, 10)

    with TimeGate({}) as gate:
        assert asyncio.run(main(gate)) == {}
        assert not gate.released.is_set()
    assert len(gate.asked) == 1


def test_a_stop_is_heard_before_anything_is_asked() -> None:
    stop = asyncio.Event()
    stop.set()
    with TimeGate({}) as gate:
        assert gate.look_up(GONE, stop=stop) == {}
        assert gate.look_up(GONE, within_s=-1.0) == {}


def test_it_ends_when_the_time_of_the_run_is_over() -> None:
    with TimeGate({}) as gate:
        assert gate.look_up(GONE, path="/hang", within_s=0.1) == {}
        assert gate.look_up(path="/web") == {}


@pytest.mark.parametrize(
    ("state", "at"),
    [
        (LinkState(verified_at=AT, first_failed_at=AT + 5, since_at=AT + 9), AT),
        (LinkState(first_failed_at=AT + 5, since_at=AT + 9), AT + 5),
        (LinkState(since_at=AT + 9), AT + 9),
    ],
)
def test_the_date_that_is_asked_for(state: LinkState, at: int) -> None:
    (header,) = archive.question("https://copies.example/web/", GONE, state, "feedd").headers
    assert header == ("Accept-Datetime", f"Tue, 14 Nov 2023 22:13:{20 + at - AT} GMT")


@given(
    st.integers(200, 599), st.sampled_from(["", "https://copies.example/7", "javascript:x", "https://[", "\x00"]),
    st.dictionaries(st.sampled_from(["vary", "memento-datetime"]), st.just("accept-datetime")),
    st.sampled_from(["", "/7", "//[", "https://[::g]/", "data:,"]) | st.text(),
)
@settings(max_examples=200, deadline=None)
def test_whatever_an_archive_says_a_copy_is_a_normalised_url_or_none(
    status: int, location: str, headers: dict[str, str], place: str
) -> None:
    headers = headers | {"content-location": place}
    copy = archive.copy_in(Answer("https://archive.example/web/x", status, location=location, headers=headers))
    assert copy == normalise(copy)
