"""The JSON of the status does what its OpenAPI document says: asked by schemathesis, in a process of its own.

By its command and not by its pytest plugin, which every run of tests would load.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from newsroom import Newsroom, article, settings_for
from test_web_links import fill
from test_web_status import HUBS, app_of, failing

from feedd.web import openapi
from feedd.web.server import Server

RUN = "from schemathesis.cli import schemathesis; schemathesis()"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newsroom]:
    """Some of everything: problems, feeds, changes, hubs that fail, links."""
    made = Newsroom(tmp_path_factory.mktemp("schema"), settings_for(hubs=HUBS))
    made.put("2023/broken.md", "---\ntitle: [1\n---\n")
    for version in range(2):
        for number, topic in enumerate(("AI", "AI", "C++", "C++")):
            made.put(f"2023/{number}.md", article(f"Title {number}.{version}", topics=[topic]))
        made.publish()
    failing(made)
    fill(made).close()
    yield made
    made.close()


@pytest.mark.parametrize("token", ["", "a-token-of-some-length"])
def test_every_answer_is_as_described(room: Newsroom, tmp_path: Path, token: str) -> None:
    server = Server("127.0.0.1", 0, None, app_of(room, token=token, loopback_only=not token), lambda: True)
    server.start()
    try:
        own = ["--header", f"Authorization: Bearer {token}"] if token else []
        found = subprocess.run(
            [sys.executable, "-c", RUN, "run", f"{server.address}/-/openapi.json", "--max-examples", "20",
             "--generation-deterministic", "--no-color", *own],
            cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )
    finally:
        server.stop()
    assert found.returncode == 0, found.stdout + found.stderr
    assert f"Tested: {len(openapi.document()['paths'])}" in found.stdout
