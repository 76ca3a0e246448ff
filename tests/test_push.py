"""The daemon with a hub of its own: from a saved file to a subscriber, and again after kill -9."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from urllib.parse import urlencode

from newsroom import article
from processes import Daemon, Site, until
from test_hub import Subscriber


def ask(feedd: Daemon, **form: str) -> int:
    """A request to the hub; its status."""
    connection = http.client.HTTPConnection("127.0.0.1", feedd.port, timeout=20)
    fields = {f"hub.{name}": value for name, value in form.items()}
    connection.request(
        "POST", "/hub", urlencode(fields), {"Content-Type": "application/x-www-form-urlencoded"}
    )
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_subscriber_of_the_built_in_hub_gets_each_change_even_after_a_kill(tmp_path: Path) -> None:
    site = Site(tmp_path, hub={"enabled": True, "allow_networks": ["127.0.0.0/8"]})
    site.put("one.md", article("One"))
    topic = "https://feeds.example/all.atom"
    reader = Subscriber()
    try:
        with site.running() as feedd:
            assert b'rel="hub"' in (site.out / "all.atom").read_bytes()
            assert "https://feeds.example/hub" in feedd.get("/all.atom")[1]["Link"]
            assert ask(feedd, mode="subscribe", topic=topic, callback=reader.url + "/cb") == 202
            assert ask(feedd, mode="subscribe", topic="https://other.example/", callback=reader.url + "/cb") == 404
            feedd.wait("subscribed")
            own = json.loads(feedd.get("/-/hubs.json")[2])["own"]
            assert own == {"hub": "https://feeds.example/hub", "subscriptions": 1, "failing": 0}
            site.put("two.md", article("Two"))
            until(lambda: any(b">Two<" in body for body in reader.bodies("/cb")), "the change is delivered")
            feedd.kill()
        site.put("three.md", article("Three"))
        with site.running():
            until(lambda: any(b">Three<" in body for body in reader.bodies("/cb")), "what a kill held up is delivered")
        site.check()
    finally:
        reader.close()
