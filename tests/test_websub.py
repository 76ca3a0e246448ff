"""The built-in hub and a subscriber that nobody here wrote, each a process of its own: from discovery to the last word.

Skipped where Flask-WebSub is not installed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from newsroom import article
from processes import DEADLINE_S, ROOT, Daemon, Site, until

INSTALLED = ROOT / ".venv" / "subscriber"  # by ./test
pytestmark = pytest.mark.skipif(not (INSTALLED / "flask_websub").is_dir(), reason="not installed: Flask-WebSub")


class Subscriber:
    """The program, and what it has said."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir()
        self.said: list[list[str]] = []
        program = Path(__file__).with_name("subscriber.py")
        self._noise = (folder / "noise.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, program, folder, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._noise, text=True, env=os.environ | {"PYTHONPATH": str(INSTALLED)},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                self.said.append(json.loads(line))

    def tell(self, command: str) -> str:
        """Gives a command; returns the id of the subscription that it asks for."""
        before = len(self.of("asked"))
        assert self._process.stdin
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        until(lambda: len(self.of("asked")) > before or self.of("failed"), f"{command}: the hub accepts it")
        assert self.of("failed") == []
        return self.of("asked")[-1][0]

    def of(self, event: str) -> list[list[str]]:
        """What was said of one kind of event."""
        return [line[1:] for line in list(self.said) if line[0] == event]

    def wait_for(self, event: str, count: int) -> None:
        """Until there were so many."""
        until(lambda: len(self.of(event)) >= count, f"{count} {event}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE_S)
        self._reader.join()
        assert self._process.stdin
        self._process.stdin.close()
        self._noise.close()


@pytest.fixture
def port() -> int:
    """A port that nobody listens at just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def site(tmp_path: Path, port: int) -> Site:
    """A site with a hub, at the address that its feeds say."""
    made = Site(
        tmp_path / "site", server={"port": port}, site={"public_url": f"http://127.0.0.1:{port}"},
        hub={"enabled": True, "allow_networks": ["127.0.0.0/8"]},
    )
    made.put("one.md", article("One"))
    return made


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subscriber]:
    """With a secret, unless a test says otherwise: it believes nothing that is not signed by that."""
    running = Subscriber(tmp_path / "reader", getattr(request, "param", "signed"))
    yield running
    running.close()


def change(site: Site, feedd: Daemon, title: str) -> bytes:
    """Publishes another article; the feed as it is then."""
    site.put(f"{title}.md", article(title))
    until(lambda: title in site.titles() and site.is_written(), "the change is published")
    return (site.out / "all.atom").read_bytes()


@pytest.mark.parametrize("reader", ["signed", "plain"], indirect=True)
def test_it_finds_the_hub_and_hears_of_each_change_once(site: Site, reader: Subscriber, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    topic = f"{url}/all.atom"
    with site.running() as feedd:
        key = reader.tell(f"subscribe {topic}")
        assert reader.of("found") == [[f"{url}/hub", topic]]
        until(lambda: reader.of("verified") == [[key, "subscribe", topic]], "verified")
        feedd.wait("subscribed")
        expected = []
        for title in ("Two", "Three"):
            expected.append([key, topic, change(site, feedd, title).decode()])
            reader.wait_for("delivered", len(expected))
        assert reader.tell(f"renew {key}") == key
        feedd.wait("subscription renewed")
        reader.wait_for("verified", 2)
        expected.append([key, topic, change(site, feedd, "Four").decode()])
        reader.wait_for("delivered", len(expected))
        reader.tell(f"unsubscribe {key}")
        feedd.wait("unsubscribed")
        assert reader.of("verified")[2:] == [[key, "unsubscribe", topic]]
        change(site, feedd, "Five")
    assert reader.of("delivered") == expected
    assert (reader.of("denied"), reader.of("failed")) == ([], [])


def test_what_a_kill_held_up_is_delivered_by_the_next_start(site: Site, reader: Subscriber, port: int) -> None:
    topic = f"http://127.0.0.1:{port}/topics/ai.rss"
    with site.running() as feedd:
        reader.tell(f"subscribe {topic}")
        feedd.wait("subscribed")
        feedd.kill()
    site.put("two.md", article("Two"))
    with site.running():
        until(lambda: any("<title>Two</title>" in line[2] for line in reader.of("delivered")), "delivered")
    assert reader.of("failed") == []
