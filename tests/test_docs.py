"""The documentation is true: it builds without a warning, its commands and keys exist, the tutorial does what it says.

The build needs Sphinx, which ./test installs (see .ci/env.sh); without it, the tests that build are skipped.
"""

from __future__ import annotations

import doctest
import fnmatch
import importlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from processes import DEADLINE_S, FEEDD, ROOT, environment, until

from feedd import cli, config, files, parse, troubles
from feedd.freshness.states import VERDICTS
from feedd.hub import subscriptions
from feedd.store import linkrows, schema, told

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
FENCE = re.compile(r"^(`{3,})([^\n`]*)\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
needs_sphinx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("sphinx", "myst_parser", "pydata_sphinx_theme"))),
    reason="Sphinx is not installed; ./test does it",
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> Iterator[tuple[str, str, str]]:
    """(language, caption, text) of every fenced block; of directives other than code the language is empty."""
    for _, head, text in FENCE.findall(path.read_text()):
        directive, _, argument = head.partition("}")
        language = (argument.strip() if directive == "{code-block" else "") if head.startswith("{") else head.strip()
        options = re.match(r"(?::[a-z-]+:[^\n]*\n)+\n?", text)
        caption = re.search(r"^:caption: (.+)$", options[0], re.MULTILINE) if options else None
        yield language, caption[1] if caption else "", text[options.end():] if options else text


def test_examples_in_docstrings_are_true() -> None:
    tried = 0
    for path in (ROOT / "feedd").rglob("*.py"):
        if ">>> " in path.read_text():
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found = doctest.testmod(importlib.import_module(module))
            assert not found.failed, module
            tried += found.attempted
    assert tried


# --- the build -------------------------------------------------------------------------------------------------------


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "sphinx", "--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
    return subprocess.run(
        [*command, "--doctree-dir", str(out / "trees"), str(source), str(out / "html")], env=environment(),
        capture_output=True, text=True, timeout=120, check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as built: an orphan, a link to nothing, a key without a line are warnings, and so errors."""
    out = tmp_path_factory.mktemp("docs")
    done = build(DOCS, out)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return out / "html"


@needs_sphinx
def test_it_builds_without_a_warning_and_shows_every_key_command_and_verdict(site: Path) -> None:
    keys = (site / "reference" / "configuration.html").read_text()
    tables = {"feeds.provider.<name>", "feeds.category.<name>"}  # which only refer to that of topics
    for key, _, _ in config.reference():
        if key not in tables:
            assert f'id="confval-{key.replace("<name>", "-name-")}"' in keys, key
    commands = (site / "reference" / "commands.html").read_text()
    for words, command in walk(cli.cli, ("feedd",)):
        assert f'id="{"-".join(words)}"' in commands, words
        for option in command.params:
            for flag in option.opts if isinstance(option, click.Option) else ():
                assert f'id="cmdoption-{"-".join(words)}-{flag.lstrip("-")}"' in commands, (words, flag)
    verdicts = (site / "explanation" / "links.html").read_text()
    assert [verdict for verdict in VERDICTS if f">{verdict}<" not in verdicts] == []


@needs_sphinx
def test_what_leads_to_nothing_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    for each in ("_ext", "_static"):
        (source / each).symlink_to(DOCS / each)
    (source / "conf.py").write_text((DOCS / "conf.py").read_text())
    (source / "index.md").write_text("# A\n\n```{toctree}\npage\n```\n")
    (source / "page.md").write_text("# B\n\n[a](none.md) [b](page.md#none) [c](#none) {confval}`feeds.limt`\n")
    (source / "orphan.md").write_text("# C\n")
    said = build(source, tmp_path)
    assert said.returncode != 0
    for wrong in ("'none.md'", "'page.md#none'|'none'", "feeds.limt", "isn't included in any toctree"):
        assert re.search(wrong, said.stderr), said.stderr


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_no_page_hides_from_the_tables_of_contents(path: Path) -> None:
    assert not path.read_text().startswith("---")  # front matter, where `orphan: true` would be


@pytest.mark.parametrize("path", TEXTS[:3], ids=name)
def test_files_that_are_linked_from_the_top_exist(path: Path) -> None:
    linked = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)|<img src=\"([^\"]+)\"", path.read_text())
    assert [each for pair in linked for each in pair if each and not (ROOT / each).exists()] == []


# --- names in the text -----------------------------------------------------------------------------------------------


def walk(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from walk(each, (*words, each.name or ""))


def commands_in(text: str) -> Iterator[list[str]]:
    """The words after `feedd` wherever one is called: in code within a line, in lines of a shell or a terminal."""
    found = re.findall(r"(?<!`)`((?:sudo )?feedd [^`\n]+)`(?!`)", FENCE.sub("", text))
    for _, head, block in FENCE.findall(text):
        if head in ("sh", "text"):
            found += [line.strip() for line in block.splitlines()]
        elif head == "console":
            found += re.findall(r"^\$ (.+)", block, re.MULTILINE)
    for each in found:
        call = re.match(r"(?:sudo |docker run --rm )?feedd ([^#|>&;]+)", each)
        if call:
            yield call[1].split()


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_commands_that_are_named_exist(path: Path) -> None:
    for words in commands_in(path.read_text()):
        command: click.Command = cli.cli
        flags = {flag for option in cli.cli.params for flag in (*option.opts, "--help", "-h")}
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word.startswith("-"):
                assert word.partition("=")[0] in flags, f"feedd {' '.join(words)}: there is no {word}"
                if word == "--config":
                    rest = rest[1:]
            elif isinstance(command, click.Group):
                choices = [command.commands.get(each) for each in word.rstrip(",.:").split("|")]
                assert None not in choices, f"feedd {' '.join(words)}: there is no {word}"
                command = choices[0] or command
                flags |= {flag for option in command.params for flag in option.opts}


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_each_piece_of_toml_is_a_configuration(path: Path, tmp_path: Path) -> None:
    for language, _, text in blocks(path):
        if language == "toml":
            (tmp_path / "config.toml").write_text(text)
            config.load(tmp_path / "config.toml", secrets=())


def test_every_field_of_an_article_is_described() -> None:
    fields = set(re.findall(r'get\("(\w+)"', Path(parse.__file__).read_text()))
    text = (DOCS / "reference" / "articles.md").read_text()
    assert sorted(field for field in fields if f"`{field}`" not in text) == []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("reference/state.md", {schema.NAME, linkrows.NAME, subscriptions.NAME, told.NAME}),
        ("howto/alerts.md", set(troubles.KINDS)),
        ("reference/articles.md", set(files.ARTICLE_SUFFIXES)),
    ],
)
def test_a_page_names_all_that_there_is(page: str, names: set[str]) -> None:
    text = (DOCS / page).read_text()
    assert sorted(name for name in names if f"`{name}`" not in text) == []


def test_log_events_that_are_named_are_those_of_the_program() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "feedd").rglob("*.py"))
    events = re.findall(r"^\| `([^`]+)` \|", (DOCS / "howto" / "logs.md").read_text(), re.MULTILINE)
    assert len(events) > 5 and [event for event in events if f'"{event}"' not in sources] == []


def test_every_exit_code_of_the_readme_is_that_of_the_program() -> None:
    codes = re.findall(r"^ *(\d+) ", cli.EXIT_CODES, re.MULTILINE)
    said = re.search(r"^Exit codes: (.*?)\n\n", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert said and re.findall(r"(?:^|; )(\d+) ", said[1].replace("\n", " ")) == codes


# --- the tutorial, done ----------------------------------------------------------------------------------------------


class Terminal:
    """What a reader of the tutorial does: saves files, types commands, leaves `feedd run` in a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, folder / "first-terminal.log"
        self._running: subprocess.Popen[bytes] | None = None
        self._port = ""
        programs = folder / ".programs"
        programs.mkdir()
        (programs / "feedd").write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in FEEDD) + ' "$@"\n')
        (programs / "feedd").chmod(0o755)
        self._environment = environment() | {"PATH": f"{programs}:{os.environ['PATH']}"}

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._running:
            self._running.send_signal(signal.SIGINT)
            assert self._running.wait(DEADLINE_S) == 0

    def save(self, path: str, text: str) -> None:
        target = self._folder / path
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.write_text(text)
        temporary.replace(target)

    def type(self, command: str, expected: str) -> None:
        if command.endswith(" run"):
            self._use_a_free_port(self._folder / command.split()[2])
            with self._log.open("wb") as log:
                self._running = subprocess.Popen(
                    command.split(), cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=log, executable=shutil.which("feedd", path=self._environment["PATH"]),
                )
            self.reads(expected)
            return
        command = command.replace(":8080", f":{self._port}") if self._port else command
        done = subprocess.run(
            ["sh", "-c", command], cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )
        said = done.stdout + done.stderr
        assert shows(said, expected), f"$ {command}\n{said}\nbut the page says\n{expected}"

    def reads(self, expected: str) -> None:
        """What is in the first terminal, in any order of lines."""
        lines = [line.replace(":8080", f":{self._port}") for line in expected.splitlines()]
        until(
            lambda: all(any(is_like(line, said) for said in self._log.read_text().splitlines()) for line in lines),
            f"the first terminal says\n{expected}",
        )

    def _use_a_free_port(self, file: Path) -> None:
        """8080 may be somebody's here: any free one instead, chosen by the daemon and read from its log."""
        import socket

        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            self._port = str(listening.getsockname()[1])
        text = file.read_text()
        assert "#port = 8080 " in text
        file.write_text(text.replace("#port = 8080 ", f"port = {self._port} "))


def is_like(pattern: str, said: str) -> bool:
    """`...` stands for anything; other characters for themselves."""
    return fnmatch.fnmatchcase(said, re.sub(r"[][*?]", "[\\g<0>]", pattern).replace("...", "*"))


def shows(said: str, expected: str) -> bool:
    """Whether all of the text is as expected; `...` stands for anything, lines too."""
    return is_like(expected.strip(), said.strip())


@pytest.mark.parametrize("page", ["first-feed", "own-selection"])
def test_the_tutorial_does_what_it_says(page: str, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    steps = 0
    with Terminal(tmp_path) as terminal:
        for language, caption, text in blocks(DOCS / "tutorial" / f"{page}.md"):
            if caption:
                terminal.save(caption, text)
            elif language == "console":
                for each in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                    command, _, expected = each.partition("\n")
                    terminal.type(command, expected)
                    steps += 1
            elif language == "text":
                terminal.reads(text)
                steps += 1
    assert steps > 5
