"""Folders of article files to measure with: the same arguments always write the same bytes.

`python -m tests.bench.corpus OUT --articles N [--seed S]` writes one of a news site's nature: front matter only,
2 to 3 KB a file, few topics and providers own most articles, two fifths are unpublished, related stories, an opaque
`secured`. Where FEEDD_CORPUS_GENERATOR names a generator, or ../shared/corpus/generate.py is there, that one is used.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
_NOUNS = (
    "harbour", "orchard", "signal", "lantern", "quarry", "ferry", "archive", "turbine", "meadow", "compiler", "glacier",
    "market", "tunnel", "violin",
)  # fmt: skip
_VERBS = (
    "reopens", "tests", "funds", "maps", "replaces", "questions", "measures", "borrows", "extends", "repairs", "audits",
)  # fmt: skip
_ODD_TITLES = (
    "Salt & pepper <i>prices</i>", "50% of “everything”", "1984", "no", "naÃ¯ve", "Ναυπλία: a walk", "#1 again",
)  # fmt: skip
_TOPICS = (
    "Harbours", "Energy", "Open Source", "C", "C++", "R&D", "Música", "天文学", "Health <care>",
    *(f"Subject {n}" for n in range(9, 40)),
)  # fmt: skip


@dataclass(frozen=True)
class Story:
    """A published article of a corpus: its file, link, and how many feeds of each kind show it."""

    path: Path
    url: str
    topics: tuple[str, ...]


def generate(out: Path, articles: int) -> None:
    """Write a corpus into `out`, through the generator outside of the project where there is one."""
    named = os.environ.get("FEEDD_CORPUS_GENERATOR")
    other = Path(named) if named else ROOT.parent / "shared/corpus/generate.py"
    command = [other] if named or other.is_file() else ["-m", "tests.bench.corpus"]
    subprocess.run(
        [sys.executable, *command, out, "--articles", str(articles)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )


def newest_published(corpus: Path, count: int) -> list[Story]:
    """The newest published articles, newest first; file names begin with the day."""
    found: list[Story] = []
    for path in sorted(corpus.rglob("*.md"), key=lambda path: path.name, reverse=True):
        text = path.read_text(encoding="utf-8")
        url = re.search(r'^webUrl: "([^"]+)"$', text, re.MULTILINE)
        block = re.search(r"^topics:\n((?:  - .*\n)*)", text, re.MULTILINE)
        if url and block and re.search(r"^published: true$", text, re.MULTILINE):
            found.append(Story(path, url[1], tuple(block[1].replace("  - ", "").splitlines())))
        if len(found) == count:
            break
    return found


def retitled(text: str, title: str) -> str:
    """The same article under another title."""
    return re.sub(r"^title: .*$", f'title: "{title}"', text, count=1, flags=re.MULTILINE)


def _skewed(count: int) -> list[float]:
    return list(accumulate(1 / rank for rank in range(1, count + 1)))


def _sentence(rng: Random, clauses: int) -> str:
    words = (f"{rng.choice(_NOUNS)} {rng.choice(_VERBS)} the {rng.choice(_NOUNS)}" for _ in range(clauses))
    return ", ".join(words).capitalize()


def _article(rng: Random, n: int, when: datetime, outlets: list[str], weights: list[float], topics: list[float]) -> str:
    outlet = rng.choices(outlets, cum_weights=weights)[0]
    title = _ODD_TITLES[n % 101] if n % 101 < len(_ODD_TITLES) else _sentence(rng, 2)
    lines = [
        "---", "category: news", f'title: "{title}"', f'excerpt: "{_sentence(rng, 6)}."',
        f"publishedDateTime: {when:%Y-%m-%dT%H:%M:%SZ}", f'webUrl: "https://{outlet}/{n}/"', "type: article",
        f"quality: {rng.randrange(140)}", f"heat: {rng.randrange(300)}",
        f"published: {'true' if rng.random() < 0.6 else 'false'}", "",
        "provider:", f'  name: "{outlet.split(".")[0].title()}"', f"  domain: {outlet}", "", "topics:",
        *sorted({f'  - "{name}"' for name in rng.choices(_TOPICS, cum_weights=topics, k=rng.randint(1, 4))}), "",
        "images:", f'  - url: "https://images.{outlet}/{n}.jpg"', "    width: 1200", "    height: 675", "",
    ]  # fmt: skip
    related = min(10, int(rng.expovariate(0.5)))
    lines += ["related:"] if related else []
    for k in range(related):
        other = rng.choices(outlets, cum_weights=weights)[0]
        lines += [
            f'  - title: "{_sentence(rng, 2)}"', f'    excerpt: "{_sentence(rng, 5)}."',
            f"    publishedDateTime: {when - timedelta(hours=rng.randint(1, 400)):%Y-%m-%dT%H:%M:%SZ}",
            f'    webUrl: "https://{other}/{n}/{k}"', "    provider:", f"      domain: {other}",
        ]  # fmt: skip
    return "\n".join([*lines, f'secured: "{rng.randbytes(400).hex()}"', "---", ""])


def write(out: Path, articles: int, seed: int) -> None:
    """Write that many articles, spread over five years of folders by month."""
    rng = Random(seed)
    outlets = [f"outlet-{n}.example" for n in range(max(30, articles // 40))]
    weights, topics = _skewed(len(outlets)), _skewed(len(_TOPICS))
    for n in range(articles):
        when = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=5 * 365) * (n / articles)
        folder = out / f"{when:%Y/%m}"
        folder.mkdir(parents=True, exist_ok=True)
        text = _article(rng, n, when, outlets, weights, topics)
        (folder / f"{when:%Y-%m-%d}-{n}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--articles", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    write(options.out, options.articles, options.seed)
