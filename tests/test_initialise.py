"""What `feedd init` finds in a folder and writes for it; and that the project's sample articles use every feature."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd import config, errors, files, initialise, model, parse

PROJECT = Path(__file__).parent.parent
SITE = "https://news.example"

PLAIN = """\
---
title: T
publishedDateTime: 2026-0{month}-01T00:00:00Z
webUrl: "{url}"
category: news
{more}
---
Text.
"""


def put(folder: Path, path: str, *, url: str = "https://a.example/1", month: int = 1, more: str = "") -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PLAIN.format(url=url, month=month, more=more))


def provider(domain: str, icon_url: str) -> str:
    return f"provider: {{name: N, domain: {domain}, images: [{{url: '{icon_url}', width: 50, height: 50}}]}}"


def written(folder: Path) -> config.Config:
    return config.load(initialise.write_config(str(folder), initialise.inspect(str(folder))))


# --- looking ---------------------------------------------------------------------------------------------------------


def test_articles_are_counted_by_what_they_say(tmp_path: Path) -> None:
    put(tmp_path, "articles/a.md", month=3, more="topics: [AI, C++]\nlanguage: fr\n" + provider("a.example", "/i.png"))
    put(tmp_path, "articles/2026/b.HTML", month=1, more="topics: [AI]\nlanguage: fr")
    put(tmp_path, "articles/c.md", month=5, more="published: false\ntopics: [Hidden]", url="https://b.example/")
    put(tmp_path, "articles/_data/organizations/a.example.md", more="name: A\ndomain: a.example")
    (tmp_path / "articles" / "bad.md").write_text("---\ntitle: a: b\n---\n")
    (tmp_path / "articles" / "image.png").write_bytes(b"")
    (tmp_path / "README.md").write_text("not an article, and not below articles/")
    found = initialise.inspect(str(tmp_path))
    assert (found.articles, found.published, found.unpublished, found.metadata) == (3, 2, 1, 1)
    assert found.articles_path == "articles"
    assert found.suffixes == ((".md", 2), (".html", 1))
    assert found.topics == (("AI", 2), ("C++", 1))
    assert found.providers == (("a.example", 1),)
    assert found.categories == (("news", 2),)
    assert found.hosts == (("a.example", 2), ("b.example", 1))
    assert (found.first_at, found.last_at) == (1767225600, 1772323200)
    assert (found.relative, found.language) == (1, "fr")
    assert [(problem.path, problem.line) for problem in found.problems] == [("articles/bad.md", 2)]


def test_a_field_that_is_wrong_is_named(tmp_path: Path) -> None:
    put(tmp_path, "articles/a.md", more=f"excerpt: {'long ' * 20_000}")
    (problem,) = initialise.inspect(str(tmp_path)).problems
    assert problem.message.startswith("excerpt: longer than")


def test_what_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    put(tmp_path, "articles/a.md")
    os.mkfifo(tmp_path / "articles" / "pipe.md")
    (tmp_path / "articles" / "out.md").symlink_to("/etc/hostname")
    found = initialise.inspect(str(tmp_path))
    assert [problem.path for problem in found.problems] == ["articles/out.md", "articles/pipe.md"]
    assert found.articles == 1


def test_a_file_that_disappears_meanwhile_is_a_problem_of_that_file(tmp_path: Path) -> None:
    with pytest.raises(errors.ArticleError, match="changes at this moment"):
        initialise._read(str(tmp_path), "gone.md")


@pytest.mark.parametrize(
    ("paths", "articles_path"),
    [
        (["articles/a.md", "elsewhere/b.md"], "articles"),
        (["content/a.md", "content/2026/b.md"], "content"),
        (["_news/a.md", "_games/b.md"], "."),
        (["a.md"], "."),
        (["2026/01/a.md"], "."),
        (["odd\nname/a.md"], "."),
        ([], "articles"),
    ],
)
def test_the_folder_of_articles_is_the_one_that_all_share(tmp_path: Path, paths: list[str], articles_path: str) -> None:
    for path in paths:
        put(tmp_path, path)
    found = initialise.inspect(str(tmp_path))
    assert found.articles_path == articles_path
    assert written(tmp_path).articles.path == (tmp_path / articles_path)


def test_stray_files_do_not_hide_the_folder_of_articles(tmp_path: Path) -> None:
    put(tmp_path, "content/a.md")
    (tmp_path / "README.md").write_text("# no front matter")
    found = initialise.inspect(str(tmp_path))
    assert (found.articles_path, found.problems) == ("content", ())


def test_a_house_that_publishes_itself_is_its_own_site(tmp_path: Path) -> None:
    for number, host in enumerate(["own", "own", "other"]):
        put(tmp_path, f"articles/{number}.md", url=f"https://{host}.example/{number}")
    assert initialise.inspect(str(tmp_path)).site_url == "https://own.example"


def test_a_collection_is_known_by_where_its_icons_are(tmp_path: Path) -> None:
    for number, host in enumerate(["a", "a", "b", "c"]):
        icon_url = f"https://site.example/{host}.example.png" if host != "c" else "https://static.c.example/x.png"
        more = provider(f"{host}.example", icon_url)
        put(tmp_path, f"articles/{number}.md", url=f"https://{host}.example/{number}", more=more)
    assert initialise.inspect(str(tmp_path)).site_url == "https://site.example"


def test_nothing_is_guessed_from_little(tmp_path: Path) -> None:
    for number, host in enumerate(["a", "b"]):
        put(tmp_path, f"articles/{number}.md", url=f"https://{host}.example/{number}")
    found = initialise.inspect(str(tmp_path))
    assert (found.site_url, found.language) == ("", "")


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(files.RootGoneError):
        initialise.inspect(str(tmp_path / "no"))


# --- telling ---------------------------------------------------------------------------------------------------------


def test_the_findings_are_told_in_lines(tmp_path: Path) -> None:
    put(tmp_path, "articles/a.md", more="topics: [AI]\n" + provider("a.example", "/i.png"))
    put(tmp_path, "articles/b.md", month=2)
    put(tmp_path, "articles/_data/organizations/a.example.md", more="name: A\ndomain: a.example")
    for number in range(12):
        (tmp_path / "articles" / f"x{number:02}.md").write_text("---\ntitle: a: b\n---\n")
    (tmp_path / "articles" / "bad\n\x1b[2J.md").symlink_to("nowhere")
    lines = initialise.describe(initialise.inspect(str(tmp_path))).splitlines()
    assert lines[:8] == [
        "Articles: 2 (2 .md), of which 2 published.",
        "Dated 2026-01-01 to 2026-02-01.",
        "Topics (1): AI 1.",
        "Providers (1): a.example 1.",
        "Categories (1): news 2.",
        "Files that describe topics and providers: 1.",
        "Articles with relative URLs, or without an address: 1; site.url completes them.",
        "A guess, to be looked at: site.url is https://a.example.",
    ]
    assert lines[8] == "Files that cannot be read as articles: 13."
    assert lines[9] == "  articles/bad\\n\\x1b[2J.md: a symlink that leads to nothing"
    assert lines[10].startswith("  articles/x00.md:2: ")
    assert (lines[-1], len(lines)) == ("  and 3 more", 20)


def test_long_lists_are_cut(tmp_path: Path) -> None:
    put(tmp_path, "articles/a.md", more=f"topics: {[f'T{n:02}' for n in range(12)]}")
    assert "Topics (12): T00 1, T01 1, " in initialise.describe(initialise.inspect(str(tmp_path)))
    assert "T09 1 and 2 more." in initialise.describe(initialise.inspect(str(tmp_path)))


def test_an_empty_folder_is_no_trouble(tmp_path: Path) -> None:
    found = initialise.inspect(str(tmp_path))
    assert initialise.describe(found) == "No articles yet."
    initialise.write_config(str(tmp_path), found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["articles", "config.toml"]  # `feedd run` would miss it


def test_problems_alone_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("x")
    text = initialise.describe(initialise.inspect(str(tmp_path)))
    assert text.startswith("Articles: 0, of which 0 published.\nFiles")


# --- writing ---------------------------------------------------------------------------------------------------------


def test_the_configuration_holds_what_was_found(tmp_path: Path) -> None:
    folder = tmp_path / "the news"
    for number in (1, 2):
        put(folder, f"articles/{number}.md", url=f"https://own.example/{number}", more="language: pt-BR")
    found = written(folder)
    assert (found.site.title, found.site.url, found.site.language) == ("the news", "https://own.example", "pt-BR")
    assert (found.feeds.path, found.state.path) == (folder / "feeds", folder / "state")


def test_output_stays_apart_from_articles_that_begin_in_the_folder_itself(tmp_path: Path) -> None:
    put(tmp_path, "a.md")
    found = written(tmp_path)
    assert found.articles.path == tmp_path
    assert (found.feeds.path, found.state.path) == (tmp_path / ".feedd" / "feeds", tmp_path / ".feedd" / "state")


def test_what_a_configuration_cannot_hold_is_not_guessed(tmp_path: Path) -> None:
    folder = tmp_path / "a\nb"
    for number in (1, 2):
        put(folder, f"articles/{number}.md", url=f"https://own_host.example/{number}")
    found = written(folder)
    assert (found.site.title, found.site.url) == ("feedd", "http://127.0.0.1:8080")


def test_a_configuration_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("mine")
    with pytest.raises(errors.ConfigError, match="is there already, and stays"):
        initialise.write_config(str(tmp_path), initialise.inspect(str(tmp_path)))
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    found = initialise.inspect(str(tmp_path))
    with pytest.raises(errors.ConfigError, match="cannot be written: no such file or directory"):
        initialise.write_config(str(tmp_path / "no"), found)


def test_the_text_has_every_key_once(tmp_path: Path) -> None:
    text = initialise.config_text({"feeds.limit": 7}, "# Mine.\n")
    assert text.startswith("# Mine.\n\n[site] ")
    assert tomllib.loads(text)["feeds"] == {"limit": 7}
    lines = [line.split("#", 2)[1:] if line.startswith("#") else line for line in text.splitlines()]
    for key, _, comment in config.reference():
        name = key.rpartition(".")[2]
        assert any(name in str(line) and comment in str(line) for line in lines) or name == "<name>"


titles = st.text(min_size=1).filter(lambda text: text.encode(errors="replace").decode() == text)


@given(title=titles, url=titles, language=titles, path=titles)
def test_any_findings_make_a_configuration_that_loads(
    tmp_path_factory: pytest.TempPathFactory, title: str, url: str, language: str, path: str
) -> None:
    found = initialise.Findings(
        articles_path="articles", suffixes=(), published=0, unpublished=0, metadata=0, topics=(), providers=(),
        categories=(), hosts=(), relative=0, first_at=None, last_at=None, site_url=url, language=language, problems=(),
    )  # fmt: skip
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(initialise.config_text(initialise.guesses(found, title), initialise.HEADER), encoding="utf-8")
    assert config.load(file).feeds.limit == 50


# --- the samples -----------------------------------------------------------------------------------------------------


def samples() -> dict[str, model.Article]:
    root = PROJECT / "articles"
    return {
        str(file.relative_to(root)): parse.parse(file.read_bytes(), str(file.relative_to(root)), SITE)
        for file in sorted(root.rglob("*"))
        if file.is_file() and "_data" not in file.parts
    }


def test_the_samples_use_every_feature() -> None:
    found = samples()
    every, public = list(found.values()), [article for article in found.values() if article.public]
    assert len(every) == 13
    assert {os.path.splitext(path)[1] for path in found} == {".md", ".markdown", ".html", ".txt"}
    for field in model.Article.__struct_fields__:
        default = getattr(model.Article(title="", url="", summary=""), field)
        assert any(getattr(article, field) != default for article in every), field
    for kind, values in {
        model.Related: [related for article in public for related in article.related],
        model.Image: [image for article in public for image in article.images],
        model.Provider: [article.provider for article in public],
        model.Embed: [article.embed for article in public if article.embed],
    }.items():
        for field in kind.__struct_fields__:
            assert any(getattr(value, field) for value in values), f"{kind.__name__}.{field}"
    assert any(not related.url for article in public for related in article.related)
    assert any("It’s" in article.title and "café &" in article.title for article in public)
    assert {"C++", "文化"} <= {topic for article in public for topic in article.topics}
    assert any("secured:" in file.read_text() for file in (PROJECT / "articles").rglob("*.md"))


def test_the_samples_name_no_real_host() -> None:
    urls = [url for article in samples().values() for url in (article.url, article.original_url) if url]
    urls += [image.url for article in samples().values() for image in article.images]
    assert all(url.split("/")[2].endswith(".example") for url in urls)


def test_the_samples_are_found_without_problems() -> None:
    found = initialise.inspect(str(PROJECT))
    assert (found.articles, found.published, found.metadata, found.problems) == (13, 11, 6, ())
