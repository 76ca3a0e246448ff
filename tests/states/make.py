"""With an older feedd on PYTHONPATH: databases as that one makes them, as SQL, for `test_migrations`. See README.md.

`python make.py feedd OUT`: the folder of articles, published in three runs. `links OUT`, `hub OUT`: a few rows each.
"""

from __future__ import annotations

import gzip
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

ARTICLE = """---
title: "{title}"
excerpt: "About {title}"
publishedDateTime: {at}
webUrl: "https://source.example/{slug}"
category: news
provider: {{name: Source, domain: source.example}}
topics: [{topics}]
related:
  - title: "Of {slug}"
    webUrl: "https://far.example/{slug}"
published: {published}
---
"""
CONFIG = '[site]\ntitle = "Example News"\nurl = "https://news.example"\n\n[feeds]\nlimit = 3\n\n[server]\nport = 0\n'


def put(
    folder: Path, path: str, title: str, *, slug: str = "", day: int = 1, topics: str = "AI", published: str = "true",
    at: str = "",
) -> None:
    """Writes an article."""
    target = folder / "articles" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    at = at or f"2023-01-{day:02}T00:00:00Z"
    target.write_text(ARTICLE.format(title=title, slug=slug or path[:-3], at=at, topics=topics, published=published))


def first(folder: Path) -> None:
    """The folder as it is first seen."""
    (folder / "articles").mkdir(parents=True)
    (folder / "config.toml").write_text(CONFIG)
    for day in range(1, 9):
        put(folder, f"{day}.md", f"Day {day}", day=day, topics="AI, C" if day % 2 else "C++")
    put(folder, "held.md", "Held", at="2099-01-01T00:00:00Z", topics="Affairs")
    put(folder, "hidden.md", "Hidden", published="false")


def second(folder: Path) -> None:
    """Articles are edited, renamed, removed, copied, and come late."""
    put(folder, "1.md", "Day 1, edited", day=1, topics="AI, C")
    (folder / "articles/2.md").rename(folder / "articles/two.md")
    (folder / "articles/3.md").unlink()
    put(folder, "copy.md", "Day 4, elsewhere", slug="4", day=4, topics="Copies")
    put(folder, "late.md", "Late", day=2)


def third(folder: Path) -> None:
    """Another article is where one was that was renamed."""
    put(folder, "2.md", "Another", slug="another", day=9)


STEPS = (first, second, third)


def dump(path: Path, to: Path) -> None:
    """A database as SQL, with its number."""
    database = sqlite3.connect(path)
    (version,) = database.execute("PRAGMA user_version").fetchone()
    lines = [*database.iterdump(), f"PRAGMA user_version = {version};"]
    database.close()
    to.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def feedd(out: Path) -> None:
    """Runs feedd after each step."""
    for step in STEPS:
        step(out)
        command = [sys.executable, "-P", "-m", "feedd", "--config", str(out / "config.toml"), "build"]
        subprocess.run(command, check=True, env=os.environ)
    dump(out / "state/feedd.db", out / "feedd.sql.gz")


def links(out: Path) -> None:
    """One link that is dead, one of which the operator said something, one that was never checked."""
    from feedd.freshness.judge import replan
    from feedd.freshness.states import Evidence, LinkState
    from feedd.store.links import open_links

    opened = open_links(str(out))
    urls = [f"https://far.example/{number}" for number in (4, 5, 6)]
    with opened.transaction():
        opened.put_uses([(4, urls[:2], True), (6, urls[2:], False)], replan, 1_700_000_000)
        dead, said = (opened.find_link(url).id for url in urls[:2])  # type: ignore[union-attr]
        gone = Evidence(1_700_000_100, "gone", "410", 410)
        opened.put_checked([(dead, LinkState("dead", since_at=1_700_000_100, checked_at=1_700_000_100, strikes=2,
                                             status=410, interval_days=30, history=(gone, gone)))], 1_700_000_100)
        opened.put_by_hand([(said, LinkState("fresh", since_at=1_700_000_200, by_hand="fresh"))], 1_700_000_200)
    opened.close()
    dump(out / "links.sqlite", out / "links.sql.gz")


def hub(out: Path) -> None:
    """One subscriber, with a secret."""
    from feedd.hub.subscriptions import open_subscriptions

    opened = open_subscriptions(str(out))
    with opened.transaction():
        topic = opened.put_topic("https://feeds.example/all.atom", b"digest")
        opened.put(topic, "https://reader.example/callback", "reader.example", b"secret", 4_000_000_000)
    opened.close()
    dump(out / "hub.sqlite", out / "hub.sql.gz")


if __name__ == "__main__":
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    {"feedd": feedd, "links": links, "hub": hub}[sys.argv[1]](out)
