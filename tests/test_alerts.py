"""Alerts from the state to a receiver: what is looked at, kept and delivered, whatever he does, and through kills."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from newsroom import Newsroom, article
from processes import environment, until
from receiver import Receiver, Reply, hangs, hangs_up, says

from feedd import connect, errors, retry, silence, troubles
from feedd.alerts import Alerts, Command, Limits, Sender, Webhook, message, service
from feedd.alerts.look import MOST, Look
from feedd.freshness.states import LinkState
from feedd.plan import FeedRef, position
from feedd.store import Problem, Store, open_store, told
from feedd.store.links import open_links
from feedd.store.told import Notice, Told, open_or_renew, open_told
from feedd.store.vitals import LinkVitals, Vitals
from feedd.troubles import Known, Trouble

DAY, HOUR = 86_400, 3_600
NOW = 1_700_000_000
SENDER = Sender("Example News", "https://feeds.example")
QUICK = retry.Policy(first_s=0.01, longest_s=0.05)
OK = says(200, b"ok")


def trouble(key: str = "articles:a.md", kind: troubles.Kind = "articles", text: str = "a.md cannot be read") -> Trouble:
    return Trouble(key, kind, NOW, text, ("line 4",))


BODY = message.encode(SENDER, [trouble()], [], message_id="1", now=NOW)


# --- a receiver -------------------------------------------------------------------------------------------------------


class Phone(Receiver):
    """Takes alerts; `replies` as given, then `usual`."""

    def __init__(self, *replies: Reply, usual: Reply = OK) -> None:
        super().__init__(*replies, usual=usual)
        self.url = f"http://127.0.0.1:{self.server_port}/services/T0/secret"

    def read(self, body: bytes) -> Any:
        """JSON."""
        return json.loads(body)

    def texts(self) -> list[str]:
        with self.lock:
            return [str(body["text"]) for body in self.told]


def webhook(receiver: Phone, *, timeout_s: float = 5.0) -> Webhook:
    return Webhook(receiver.url, {"Authorization": "Bearer hush"}, "feedd/test", timeout_s=timeout_s)


def tell(way: Webhook | Command, body: bytes = BODY) -> tuple[str, str]:
    answer = asyncio.run(way.tell(body))
    return answer.error, answer.said


# --- a webhook --------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_the_message_as_json() -> None:
    with Phone() as receiver:
        assert tell(webhook(receiver)) == ("", "ok")
        assert receiver.told == [json.loads(BODY)]
        head = receiver.heads[0]
        assert (head["path"], head["content-type"], head["authorization"], head["user-agent"]) == (
            "/services/T0/secret", "application/json", "Bearer hush", "feedd/test"
        )


@pytest.mark.parametrize(("reply", "error", "said"), [
    (says(204), "", ""),
    (says(500, b"no luck\nat all"), "it answered 500", "no luck"),
    (says(404, b"<html>"), "it answered 404", ""),
    (says(302, Location="http://127.0.0.1:1/"), "it answered 302, a redirect, which is not followed", ""),
    (hangs, "no answer within 0.2 s", ""),
    (hangs_up, "it closed the connection without an answer", ""),
])
def test_only_2xx_means_that_it_was_taken(reply: Reply, error: str, said: str) -> None:
    with Phone(usual=reply) as receiver:
        assert tell(webhook(receiver, timeout_s=0.2 if reply is hangs else 5.0)) == (error, said)
        assert len(receiver.told) == 1


def test_a_host_that_nobody_knows_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(connect.Resolver.__init__, "__defaults__", (lookup,))
    assert tell(Webhook("http://nobody.example/secret", {}, "feedd/test")) == ("it cannot be reached: no such host", "")


@pytest.mark.parametrize(("url", "error"), [
    ("http://127.0.0.1:1/secret", "it cannot be reached: connection refused"),
    ("https://127.0.0.1:{port}/secret", "the request failed (ClientConnectorSSLError)"),
    ("ftp://127.0.0.1/secret", "the request failed (NonHttpUrlClientError)"),
])
def test_an_error_never_shows_the_url(url: str, error: str) -> None:
    with Phone() as receiver:
        way = Webhook(url.format(port=receiver.server_port), {}, "feedd/test", timeout_s=5.0)
        got = tell(way)[0]
        assert "secret" not in got and way.place == "127.0.0.1"
        assert got == error or "SSL" in error  # which words aiohttp has for that is its own affair


# --- a command --------------------------------------------------------------------------------------------------------


def script(folder: Path, text: str) -> str:
    path = folder / "tell"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_command_gets_the_json_and_the_text(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = script(tmp_path, 'cat > "$1"; printf %s "$FEEDD_ALERT_TEXT" > "$1.text"; echo done')
    way = Command([command, str(out), "$x"])
    assert tell(way) == ("", "done")
    assert out.read_bytes() == BODY
    assert (tmp_path / "out.text").read_text() == message.text_of(BODY)


@pytest.mark.parametrize(("text", "error", "said"), [
    ("echo bad luck >&2; exit 3", "it ended with exit code 3", "bad luck"),
    ("kill -9 $$", "it was ended by signal 9", ""),
    ("sleep 600 & echo $! > {pid}; exit 0", "", ""),  # what it leaves running holds up nobody
])
def test_exit_code_0_means_that_it_was_taken(tmp_path: Path, text: str, error: str, said: str) -> None:
    command = script(tmp_path, text.replace("{pid}", f"{tmp_path}/pid"))
    assert tell(Command([command])) == (error, said)
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    way = Command([script(tmp_path, f"sleep 600 & echo $! > {pid}; wait")], timeout_s=0.5)
    assert tell(way) == ("it did not end within 0.5 s", "")
    child = int(pid.read_text())

    def is_over() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    until(is_over, "what it started has ended")


def test_a_command_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert tell(Command([str(tmp_path / "none")])) == ("it cannot be run: No such file or directory", "")


def test_a_command_without_files_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert tell(Command([script(tmp_path, "cat > /dev/null; echo yes")])) == ("", "yes")


# --- the message ------------------------------------------------------------------------------------------------------


def test_a_message_says_what_is_new_and_what_is_over() -> None:
    over = Known("network", "network", NOW, "Link checks reach no host", "ending", NOW, NOW + 60)
    many = [trouble(f"articles:{n}", text=f"{n}.md cannot be read") for n in range(7)]
    body = json.loads(message.encode(SENDER, [*many, trouble("p", "publishing", "Nothing works")], [over],
                                     message_id="x", now=NOW))
    assert (body["version"], body["id"], body["site"], body["at"], body["more"]) == (
        1, "x", "https://feeds.example", "2023-11-14T22:13:20Z", 0
    )
    assert body["text"].splitlines()[:4] == [
        "Example News: 8 new, 1 resolved", "• Nothing works", "   line 4", "• 0.md cannot be read"
    ]
    assert body["text"].splitlines()[-2:] == ["• and 2 more of articles", "• resolved: Link checks reach no host"]
    assert body["troubles"][0] == {
        "key": "articles:0", "kind": "articles", "since": "2023-11-14T22:13:20Z", "text": "0.md cannot be read",
        "details": ["line 4"],
    }
    assert body["resolved"] == [{
        "key": "network", "kind": "network", "since": "2023-11-14T22:13:20Z", "until": "2023-11-14T22:14:20Z",
        "text": "Link checks reach no host",
    }]


def test_a_message_has_its_bounds() -> None:
    over = [Known(f"k{n}", "articles", NOW, "x" * 999, "ending", NOW, NOW) for n in range(1_000)]
    body = message.encode(SENDER, [trouble(str(n)) for n in range(1_000)], over, message_id="x", now=NOW)
    assert json.loads(body)["more"] == 1_800
    assert len(body) < 100_000 and len(message.text_of(body)) < 5_000
    assert "• resolved: 995 more of articles" in message.text_of(body)


@given(st.text(st.characters(exclude_categories=[]), max_size=400))
def test_whatever_a_path_is_called_calls_nobody_and_breaks_nothing(name: str) -> None:
    body = message.encode(SENDER, [trouble(name, text=f"<!channel> @all {name}")], [], message_id="x", now=NOW)
    text = message.text_of(body)
    assert not set("<>@\0\r\x1b") & set(text)
    assert len(text.splitlines()) == 3
    assert len(json.loads(body)["troubles"]) == 1


def test_a_test_says_that_it_is_one() -> None:
    body = json.loads(message.encode_test(SENDER, message_id="x", now=NOW))
    assert body["test"] is True and body["troubles"] == [] and "a test of alerts" in body["text"]


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_what_was_told_outlives_a_restart(tmp_path: Path) -> None:
    known = [Known("a", "articles", 1, "x", "told", 2), Known("b", "links", 1, "y", "over", 2, 3, 4)]
    notices = [Notice(1, "command", 5, b"{}"), Notice(1, "webhook", 5, b"{}", 2, 9, "it answered 500")]
    book = open_told(str(tmp_path))
    book.apply(put=known, notices=notices)
    book.apply(put=[known[0]], dropped=["b"], notices=[notices[1]], done=[(1, "command")])
    book.close()
    book = open_told(str(tmp_path), read_only=True)
    assert (book.list_known(), book.list_notices()) == (known[:1], notices[1:])
    book.close()
    assert (tmp_path / told.NAME).stat().st_mode & 0o777 == 0o600


def test_a_database_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    with pytest.raises(errors.StateError, match="nothing was told yet"):
        open_told(str(tmp_path), read_only=True)
    with pytest.raises(errors.StateError, match="cannot be written"):
        open_told(str(tmp_path / "none"))
    open_told(str(tmp_path)).close()
    with contextlib.closing(sqlite3.connect(tmp_path / told.NAME)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(errors.StateTooNewError):
        open_or_renew(str(tmp_path), NOW)


def test_a_torn_database_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / told.NAME).write_bytes(b"torn" * 1_000)
    book, aside = open_or_renew(str(tmp_path), NOW)
    assert book.list_known() == [] and aside.endswith(f"torn-{NOW}") and Path(aside).exists()
    book.close()


def test_a_database_that_is_locked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object) -> Told:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(told, "open_told", locked)
    with pytest.raises(errors.StateError, match="is locked"):
        open_or_renew(str(tmp_path), NOW)


# --- what is looked at ------------------------------------------------------------------------------------------------


class Place:
    """A state, and a look at it with a clock of its own."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder = folder
        self.faults, self.is_ready = tuple[str, ...](), True
        self.store: Store = open_store(str(folder))
        self.again(limits)

    def again(self, limits: Limits | None = None) -> None:
        """As after a restart."""
        self.looker = Look(
            str(self.folder), limits or Limits(), is_ready=lambda: self.is_ready, faults=lambda: self.faults
        )

    def look(self, now: int, *known: str) -> dict[str, Trouble]:
        looked = self.looker.look(known, now)
        self.blind = looked.blind
        return {each.key: each for each in looked.troubles}

    def feed(self, name: str, times: Sequence[int], kind: str = "topic") -> int:
        """A written feed with entries of these times."""
        store = self.store
        with store.transaction():
            feed_id = store.put_feed(FeedRef(kind, name, name))  # type: ignore[arg-type]
            store.put_slugs([(feed_id, name)])
            store.mark_written([(feed_id, 0, 1, None, 0, len(times), 1, NOW)])
            rows = [(feed_id, position(at, at, f"{name}{n}"), n) for n, at in enumerate(times)]
            store.apply_memberships([], rows)
        return feed_id


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.store.close()


def test_nothing_is_the_matter_with_what_is_new(place: Place) -> None:
    assert place.look(NOW) == {} and place.blind == {"links", "network"}
    place.feed("ai", [NOW])
    assert place.look(NOW + HOUR) == {}


def test_a_file_is_a_trouble_when_it_has_been_unreadable_for_a_while(place: Place) -> None:
    with place.store.transaction():
        place.store.put_problems([
            Problem("a.md", 4, 8, "title", "is missing", NOW), Problem("b.md", 0, 0, "", "is empty", NOW + 60),
        ])
    assert place.look(NOW + 899) == {}
    found = place.look(NOW + 900)
    assert found["articles:a.md"].text == "a.md cannot be read: line 4: title: is missing"
    assert place.look(NOW + 960).keys() == {"articles:a.md", "articles:b.md"}
    assert place.look(NOW + 960)["articles:b.md"].text == "b.md cannot be read: is empty"


def test_very_many_files_are_told_of_together(place: Place) -> None:
    with place.store.transaction():
        place.store.put_problems([Problem(f"{n:05}.md", 1, 1, "", "bad", NOW + n) for n in range(MOST + 20)])
    found = place.look(NOW + DAY)
    assert len(found) == MOST + 1
    assert found["articles"].text == "More than 500 files cannot be read, 520 in all; see `feedd status`"


def test_a_feed_is_silent_when_that_is_unusual_and_no_more_when_an_entry_comes(place: Place) -> None:
    ai = place.feed("ai", [NOW - day * DAY for day in range(60)])
    place.feed("rare", [NOW - day * DAY for day in range(4)])
    place.feed("other", [NOW - day * DAY for day in range(60)], kind="provider")
    place.feed("empty", [])
    assert place.look(NOW + 3 * DAY) == {}
    found = place.look(NOW + 5 * DAY)
    assert found.keys() == {"silent:topics/ai"}
    assert found["silent:topics/ai"].text == "topics/ai has had no new entry for 5 days; usual is one within 3 days"
    assert found == place.look(NOW + 5 * DAY + 60)
    with place.store.transaction():
        place.store.apply_memberships([], [(ai, position(NOW + 5 * DAY, NOW + 5 * DAY, "n"), 99)])
    assert place.look(NOW + 5 * DAY + 120).keys() == found.keys()  # it is not asked so soon again
    assert place.look(NOW + 5 * DAY + 700) == {}
    assert not place.look(NOW + 90 * DAY)["silent:topics/ai"].is_news


def test_whose_silence_is_watched_is_configured(place: Place) -> None:
    place.feed("other", [NOW - day * DAY for day in range(60)], kind="provider")
    place.again(Limits(silent=("provider", "custom")))
    assert place.look(NOW + 5 * DAY).keys() == {"silent:providers/other"}
    place.again(Limits(silent=()))
    assert place.look(NOW + 5 * DAY) == {}


def test_publishing_is_in_trouble_when_a_fault_lasts(place: Place) -> None:
    place.faults = ("The output cannot be written: no space left on device.",)
    assert place.look(NOW) == {} and "feeds" in place.blind
    assert place.look(NOW + 299) == {}
    place.faults = ()
    assert place.look(NOW + 300) == {}
    place.faults = ("The output cannot be written: no space left on device.",)
    assert place.look(NOW + 360) == {}
    found = place.look(NOW + 660)["publishing"]
    assert (found.since_at, found.text) == (
        NOW + 360, "Nothing can be published. The output cannot be written: no space left on device."
    )
    place.again()
    assert "publishing" in place.look(NOW + 700, "publishing")  # what is known needs no time of grace


def test_before_it_is_ready_only_faults_count(place: Place) -> None:
    place.is_ready = False
    with place.store.transaction():
        place.store.put_problems([Problem("a.md", 4, 8, "title", "is missing", NOW - DAY)])
    assert place.look(NOW) == {} and place.blind == set(troubles.KINDS)
    place.faults = ("The folder of articles is gone.",)
    place.look(NOW)
    assert place.look(NOW + 400).keys() == {"publishing"} and place.blind == set(troubles.KINDS) - {"publishing"}


def test_documents_that_wait_while_none_is_written_are_a_trouble(place: Place) -> None:
    first, second = place.feed("a", [NOW]), place.feed("b", [NOW])
    with place.store.transaction():
        place.store.mark_dirty([(first, 0, 0), (second, 0, 0)])
    assert place.look(NOW) == {}
    with place.store.transaction():
        place.store.mark_written([(first, 0, 2, None, 0, 1, 1, NOW)])
    assert place.look(NOW + 400) == {}  # one was
    assert place.look(NOW + 500) == {}
    found = place.look(NOW + 700)
    assert found["publishing"].text == "Nothing is published: 1 document to write, and none was of late"
    place.again()
    assert place.look(NOW + 760, "publishing").keys() == {"publishing"}
    with place.store.transaction():
        place.store.mark_written([(second, 0, 2, None, 0, 1, 1, NOW)])
    assert place.look(NOW + 800, "publishing") == {}


def test_a_feed_that_cannot_be_written_is_a_trouble_of_its_own(place: Place) -> None:
    bad = place.feed("a", [NOW])
    with place.store.transaction():
        place.store.mark_dirty([(bad, 0, 0)])
        place.store.mark_failed(bad, 0, "line 3: not well-formed")
    assert place.look(NOW) == {}
    found = place.look(NOW + 300)
    assert found["feeds:topics/a"].text == "topics/a cannot be written: line 3: not well-formed"
    assert found.keys() == {"feeds:topics/a"}
    with place.store.transaction():
        place.store.mark_written([(bad, 0, 2, None, 0, 1, 1, NOW)])
    assert place.look(NOW + 360) == {}
    with place.store.transaction():
        place.store.mark_dirty([(bad, 0, 0)])
        place.store.mark_failed(bad, 0, "again")
    assert place.look(NOW + 420) == {}  # a new one, with its own time of grace


def test_a_state_that_cannot_be_read_says_nothing(place: Place, tmp_path: Path) -> None:
    place.store.close()
    for name in tmp_path.glob("feedd.db*"):
        name.write_bytes(b"torn" * 4_096)
    assert place.look(NOW) == {} and place.blind == set(troubles.KINDS)
    place.faults = ("The state cannot be written: input/output error.",)
    place.look(NOW)
    assert place.look(NOW + 400).keys() == {"publishing"}


def links_with(folder: Path, dead: Sequence[tuple[str, int]]) -> None:
    """Links to (host, when it died)."""
    links = open_links(str(folder))
    with links.transaction():
        for number, (host, at) in enumerate(dead, 1):
            links._db.execute(
                "INSERT INTO link VALUES (?, ?, ?, 1, 1, 0, 0, 'dead', ?, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', 0, '', '', "
                "x'', x'', 0, 0, '', '', x'')",
                (number, f"https://{host}/{number}", host, at),
            )
    links.close()


def run_of(folder: Path, at: int, **counts: int) -> None:
    links = open_links(str(folder))
    with links.transaction():
        links.finish_run(links.start_run("clock", at), counts, at + 60)
    links.close()


def test_links_that_die_in_numbers_are_one_trouble_that_names_hosts(place: Place) -> None:
    links_with(place.folder, [("a.example", NOW)] * 15 + [("b.example", NOW + 5)] * 9 + [("c.example", NOW - 3 * DAY)])
    assert place.look(NOW + 60) == {} and place.blind == set()
    run_of(place.folder, NOW)
    found = place.look(NOW + 120)["links"]
    assert (found.text, found.details) == ("24 links died within a day, of 2 hosts", ("a.example: 15", "b.example: 9"))
    assert place.look(NOW + 2 * DAY) == {}
    place.again(Limits(dead_links=0))
    assert place.look(NOW + 120) == {} and place.blind == set()


def test_what_the_operator_called_dead_did_not_die(place: Place) -> None:
    links_with(place.folder, [("a.example", NOW)])
    links = open_links(str(place.folder))
    assert LinkVitals.of(links).count_deaths(NOW + 60, 15) == [(0, "a.example", 1)]
    with links.transaction():
        links.put_by_hand([(1, LinkState(verdict="dead", since_at=NOW, by_hand="dead"))], NOW)
    assert LinkVitals.of(links).count_deaths(NOW + 60, 15) == []
    links.close()


def test_checks_that_reach_nobody_are_our_network(place: Place) -> None:
    run_of(place.folder, NOW - 600, unreachable=0)
    run_of(place.folder, NOW, unreachable=1)
    assert place.look(NOW + 299) == {}
    run_of(place.folder, NOW + 300, unreachable=1)
    assert place.look(NOW + 400)["network"].since_at == NOW
    run_of(place.folder, NOW + 600, unreachable=0)
    assert place.look(NOW + 700) == {}


def test_a_newsroom_without_troubles_has_none(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    for n in range(5):
        room.put(f"{n}.md", article(f"No {n}"))
    room.publish()
    look = Look(str(room.state), Limits(), is_ready=lambda: True, faults=lambda: ())
    assert [look.look((), room.now + after).troubles for after in (0, 400, 800)] == [()] * 3
    room.put("bad.md", "---\ntitle: [\n---\n")
    room.scan()
    assert [each.key for each in look.look((), room.now + 1_000).troubles] == ["articles:bad.md"]
    room.close()


@given(st.lists(st.integers(0, 40 * DAY), max_size=60), st.integers(1, 40))
def test_times_are_the_newest_one_of_each_span(times: list[int], slots: int) -> None:
    store = Store(sqlite3.connect(":memory:", isolation_level=None), "", None)
    store.prepare()
    rows = [(1, position(NOW + at, NOW + at, str(n)), n) for n, at in enumerate(times)]
    store.apply_memberships([], rows)
    got = Vitals.of(store).list_times(1, slot_s=silence.SLOT_S, slots=slots)
    store.close()
    spans = sorted({(NOW + at) // HOUR for at in times}, reverse=True)
    assert [at // HOUR for at in got] == spans[:slots]
    assert set(got) <= {NOW + at for at in times}


# --- the service ------------------------------------------------------------------------------------------------------


class Eyes(Look):
    """Sees what it is told to see."""

    def __init__(self, *seen: Trouble) -> None:
        super().__init__("", Limits(), is_ready=lambda: True, faults=lambda: ())
        self.seen = seen

    def look(self, known: Any, now: int) -> Any:
        from feedd.alerts.look import Looked

        return Looked(self.seen)


@contextlib.contextmanager
def alerting(
    folder: Path, eyes: Look, *ways: Any, policy: troubles.Policy = service.POLICY, retries: retry.Policy = QUICK,
    now: Callable[[], float] = time.time, failed: Callable[[BaseException], None] | None = None,
) -> Iterator[Alerts]:
    failures = list[BaseException]()
    alerts = Alerts(
        str(folder), eyes, ways, SENDER, structlog.get_logger(), random=Random(1), failed=failed or failures.append,
        policy=policy, retries=retries, now=now,
    )
    alerts.start()
    try:
        yield alerts
    finally:
        alerts.stop()
        assert failures == []


def waiting(folder: Path) -> list[Notice]:
    book = open_told(str(folder), read_only=True)
    try:
        return book.list_notices()
    finally:
        book.close()


def is_told(receiver: Phone, count: int) -> bool:
    return len(receiver.texts()) == count


def stages(folder: Path) -> dict[str, str]:
    book = open_told(str(folder), read_only=True)
    try:
        return {each.key: each.stage for each in book.list_known()}
    finally:
        book.close()


def test_a_trouble_is_told_once_and_its_end_once(tmp_path: Path) -> None:
    eyes = Eyes(trouble())
    with Phone() as receiver, alerting(
        tmp_path, eyes, webhook(receiver), policy=troubles.Policy(calm_s=0)
    ) as alerts:
        for _ in range(5):
            alerts.look()
        until(receiver.texts, "it is told")
        until(lambda: waiting(tmp_path) == [], "that is noted")
        eyes.seen = ()
        alerts.look()
        until(lambda: stages(tmp_path) == {"articles:a.md": "ending"}, "its end is seen")
        alerts.look()
        until(lambda: len(receiver.texts()) == 2, "its end is told")
        for _ in range(5):
            alerts.look()
    assert receiver.texts() == [
        "Example News: 1 new\n• a.md cannot be read\n   line 4",
        "Example News: 1 resolved\n• resolved: a.md cannot be read",
    ]
    assert receiver.told[0]["id"] != receiver.told[1]["id"]


def test_a_receiver_that_fails_is_told_until_it_understands_and_no_longer(tmp_path: Path) -> None:
    with Phone(says(500), hangs_up, says(302, Location="/"), hangs, says(503)) as receiver:
        with alerting(tmp_path, Eyes(trouble()), webhook(receiver, timeout_s=0.3)) as alerts:
            alerts.look()
            until(lambda: len(receiver.texts()) == 6, "it is tried until it is taken")
            until(lambda: waiting(tmp_path) == [], "that is noted")
            alerts.look()
        with alerting(tmp_path, Eyes(trouble()), webhook(receiver)) as alerts:
            alerts.look()
        assert len({each["id"] for each in receiver.told}) == 1 and len(receiver.told) == 6


def test_what_was_not_taken_is_told_by_the_next_start_in_order(tmp_path: Path) -> None:
    eyes = Eyes(trouble())
    nobody = Webhook("http://127.0.0.1:1/", {}, "feedd/test")
    with alerting(tmp_path, eyes, nobody) as alerts:
        alerts.look()
        until(lambda: any(x.attempts > 2 for x in waiting(tmp_path)), "it fails")
        eyes.seen = (trouble(), trouble("articles:b.md", text="b.md cannot be read"))
        alerts.look()
        until(lambda: len(waiting(tmp_path)) == 2, "another comes")
    assert waiting(tmp_path)[0].error == "it cannot be reached: connection refused"
    with Phone() as receiver, alerting(tmp_path, eyes, webhook(receiver)):
        until(lambda: len(receiver.texts()) == 2, "both are told")
        assert ["a.md" in receiver.texts()[0], "b.md" in receiver.texts()[1]] == [True, True]


def test_each_way_is_told_whatever_the_others_do(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = Command([script(tmp_path, f"cat >> {out}")])
    with Phone(usual=hangs) as receiver:
        with alerting(tmp_path, Eyes(trouble()), webhook(receiver), command) as alerts:
            alerts.look()
            until(lambda: out.exists() and [x.way for x in waiting(tmp_path)] == ["webhook"], "one has taken it")
        with alerting(tmp_path, Eyes(trouble()), command):  # the webhook is configured no more
            pass
        assert waiting(tmp_path) == []
    assert json.loads(out.read_text())["troubles"][0]["key"] == "articles:a.md"


def test_what_nobody_takes_for_long_is_given_up(tmp_path: Path) -> None:
    with Phone(usual=says(500)) as receiver, alerting(
        tmp_path, Eyes(trouble()), webhook(receiver), retries=retry.Policy(0.01, 0.02, give_up_s=0.3)
    ) as alerts:
        alerts.look()
        until(lambda: receiver.texts() and waiting(tmp_path) == [], "it is given up")


def test_a_clock_that_is_set_back_delays_no_delivery(tmp_path: Path) -> None:
    book = open_told(str(tmp_path))
    book.apply(notices=[Notice(1, "webhook", NOW, BODY, 3, int(time.time()) + DAY)])
    book.close()
    with Phone() as receiver, alerting(tmp_path, Eyes(), webhook(receiver)):
        until(receiver.texts, "it is told")


def test_where_nothing_can_be_noted_it_is_told_all_the_same_and_noted_later(tmp_path: Path) -> None:
    folder, eyes = tmp_path / "state", Eyes(trouble())
    with Phone() as receiver, alerting(folder, eyes, webhook(receiver)) as alerts:
        for n in range(1, 4):
            alerts.look()
            until(partial(is_told, receiver, n), "it is told")
            eyes.seen = (*eyes.seen, trouble(f"articles:{n}"))
        folder.mkdir()
        book = open_told(str(folder))  # as an earlier run had left it
        book.apply(put=[Known("network", "network", 1, "x", "over", int(time.time()))])
        book.close()
        alerts.look()
        until(lambda: len(stages(folder)) == 5 and not waiting(folder), "it is noted")
    assert stages(folder)["articles:a.md"] == "told" and stages(folder)["network"] == "over"
    assert len(receiver.texts()) == 4 and waiting(folder) == []


def test_a_torn_database_holds_nothing_up(tmp_path: Path) -> None:
    (tmp_path / told.NAME).write_bytes(b"torn" * 1_000)
    with Phone() as receiver, alerting(tmp_path, Eyes(trouble()), webhook(receiver)) as alerts:
        alerts.look()
        until(receiver.texts, "it is told")


def test_an_unexpected_error_is_passed_on(tmp_path: Path) -> None:
    class Blind(Eyes):
        def look(self, known: Any, now: int) -> Any:
            raise ZeroDivisionError

    failures = list[BaseException]()
    structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])
    with alerting(tmp_path, Blind(), failed=failures.append) as alerts:
        alerts.look()
        until(lambda: failures, "it fails")


KILLED = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from test_alerts import *
folder, url, when = Path(sys.argv[2]), sys.argv[3], sys.argv[4]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Dying(Webhook):
    async def tell(self, body):
        if when == "before":
            die()
        answer = await super().tell(body)
        if when == "after":
            die()
        return answer

write = service._Memory.write
def written(self, now):
    if when == "undecided":
        die()
    write(self, now)
    if when == "noted" and self.known and not self.notices:
        die()
service._Memory.write = written
with alerting(folder, Eyes(trouble()), Dying(url, {}, "feedd/test")) as alerts:
    alerts.look()
    time.sleep(20)
"""


@pytest.mark.parametrize(("when", "before", "after"), [
    ("undecided", 0, 1), ("before", 0, 1), ("after", 1, 2), ("noted", 1, 1),
])
def test_a_kill_loses_no_message_and_repeats_none_whose_taking_was_noted(
    tmp_path: Path, when: str, before: int, after: int
) -> None:
    with Phone() as receiver:
        command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path), receiver.url, when]
        done = subprocess.run(command, env=environment(), timeout=60, check=False, capture_output=True)
        assert (done.returncode, len(receiver.texts())) == (-signal.SIGKILL, before), done.stderr
        with alerting(tmp_path, Eyes(trouble()), webhook(receiver)) as alerts:
            alerts.look()
            until(lambda: len(receiver.texts()) == after and waiting(tmp_path) == [], "it is told")
            alerts.look()
        assert len(receiver.texts()) == after and len({each["id"] for each in receiver.told}) == 1
