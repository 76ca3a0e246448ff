"""A slip in config.toml stops what would act on it, and no command that only looks or saves: those warn and go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from newsroom import article
from processes import Site

from feedd import config, errors

LIMIT = "0 is not allowed; allowed: a whole number from 1 to 1000"


def salvaged(folder: Path, text: str, *needs: str) -> tuple[config.Config, list[str]]:
    path = folder / "config.toml"
    path.write_text(text)
    found, said = config.salvage(path, *needs)
    return found, [line.removeprefix(f"{path}:") for line in said]


def test_wrong_keys_are_at_their_defaults_and_each_is_said_with_its_place(tmp_path: Path) -> None:
    text = """\
[articles]
path = "in"
settle_ms = 900
[feeds]
limit = 0
colour = "red"
[feeds.custom.both]
topics = ["a"]
not_topics = ["A"]
[feeds.topic.AI]
limit = 7
[feeds.topic.ai]
[hub]
enabled = true
[server]
enabled = false
status = "token"
"""
    found, said = salvaged(tmp_path, text)
    assert said == [
        f"5: [feeds] limit: {LIMIT} (a warning: its default is used)",
        "6: [feeds] colour: unknown key; known here: " + ", ".join(type(found.feeds).model_fields)
        + " (a warning: it is ignored)",
        ('9: [feeds.custom.both] not_topics: ["A"] is not allowed; allowed: what topics does not ask for'
        " (a warning: its default is used)"),
        '12: [feeds.topic] ai: is the same topic as "AI", and each has one table (a warning: its default is used)',
        ("14: [hub] enabled: true is not allowed: subscribers reach the hub through the server"
        " (a warning: its default is used)"),
        (' [server] token: is missing, and server.status is "token": nobody could see /-/'
        " (a warning: its default is used)"),
        (" [articles] max_wait_ms: 500 is not allowed; allowed: at least articles.settle_ms, which is 900"
        " (a warning: its default is used)"),
    ]
    assert found.articles.path == tmp_path / "in"
    assert (found.articles.settle_ms, found.feeds.limit, found.hub.enabled, found.server.enabled) == (
        900, 50, False, False,
    )  # fmt: skip
    assert (found.feeds.custom["both"].not_topics, found.feeds.topic.keys()) == ((), {"AI"})


def test_a_good_file_is_what_it_is(tmp_path: Path) -> None:
    found, said = salvaged(tmp_path, '[site]\ntitle = "News"\n[server]\ntoken = "$FEEDD_NO_SUCH"')
    assert said == []  # who looks needs no secret
    assert found == config.load(tmp_path / "config.toml", secrets=())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[articles\n", "not TOML"),
        ("[articles]\npath = 3\n[feeds]\nlimit = 0", "articles"),
        ('[feeds]\npath = ""', "feeds"),
        ("state = 3", "state"),
        ('[feeds]\npath = "."', "this file would be"),
        ('[state]\npath = "articles"', "feedd would watch its own state"),
        ('[state]\npaht = "x"', 'did you mean "path"'),
        ('path = "x"', "unknown key here"),
        ('[stat]\npath = "x"', 'did you mean "state"'),
        ('[feed]\nPath = "x"\npaths = "y"', 'did you mean "feeds"'),
    ],
)
def test_where_the_folders_may_be_others_nobody_goes_on(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(errors.ConfigError, match=says) as caught:
        salvaged(tmp_path, text)
    with pytest.raises(errors.ConfigError) as strict:
        config.load(tmp_path / "config.toml")
    assert str(caught.value) == str(strict.value)  # every problem, with its line


@pytest.mark.parametrize(
    ("text", "needs", "goes_on"),
    [
        ("[hub]\nurls = 3", ("hub",), False), ("[hub]\nurls = 3", ("hub.urls",), False),
        ("hub = 3", ("hub.urls",), False),
        ("[hub]\nurls = 3", ("hub.enabled",), True), ("[hub]\nurls = 3", (), True), ("[hubs]", ("hub",), True),
    ],
)  # fmt: skip
def test_keys_that_a_command_needs_must_be_right(
    tmp_path: Path, text: str, needs: Sequence[str], goes_on: bool
) -> None:
    if goes_on:
        assert len(salvaged(tmp_path, text, *needs)[1]) == 1
    else:
        with pytest.raises(errors.ConfigError):
            salvaged(tmp_path, text, *needs)


values: st.SearchStrategy[Any] = st.sampled_from([
    "0", "-1", "true", "false", '"x"', '"."', "[]", '["a", "A"]', "{}", "7", '"$X"', '"token"', '"15 3 * * *"',
])  # fmt: skip
keys = st.sampled_from([
    key.replace("<name>", name) for key, _, _ in config.reference() for name in ("ai", "AI", '"a.b"')
] + ["limit", "feeds.limt", "x.y"])  # fmt: skip


@given(st.dictionaries(keys, values, max_size=8))
def test_any_good_part_can_be_had(tmp_path_factory: pytest.TempPathFactory, said: dict[str, str]) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = "".join(f"{key} = {value}\n" for key, value in said.items())
    try:
        found, warned = salvaged(folder, text)
    except errors.ConfigError:
        with pytest.raises(errors.ConfigError):
            config.load(folder / "config.toml", secrets=())
        return
    if not warned:
        assert found == config.load(folder / "config.toml", secrets=())
    for line in warned:
        assert line.endswith((" (a warning: its default is used)", " (a warning: it is ignored)"))


# --- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Published, with links; then somebody made a slip."""
    made = Site(tmp_path_factory.mktemp("slip"), links={"enabled": True})
    made.put("a.md", article("One"))
    assert made.command("build").returncode == 0
    made.configure(links={"enabled": True, "gap_ms": -1}, feeds={"limt": 20}, log={"level": "loud"})
    return made


LOOKING = [
    ("status",), ("status", "--json"), ("export",), ("backup", "{}/state.tgz"), ("lint",), ("alerts", "list"),
    ("verify",), ("verify", "--quick"), ("links", "list"), ("links", "export"),
]
ACTING = [
    ("run",), ("build",), ("build", "--dry-run"), ("check-config",), ("verify", "--fix"), ("check-links",),
    ("restore", "{}/config.toml"), ("import", "{}/config.toml"), ("alerts", "test"), ("diff", "{}/config.toml"),
    ("links", "mark", "https://a.example/", "fresh"), ("links", "recheck", "https://a.example/"),
]


def told(site: Site, words: Sequence[str]) -> tuple[int, str, list[str]]:
    """Exit code, output, and what was said of the configuration."""
    done = site.command(*(word.format(site.folder) for word in words))
    return done.returncode, done.stdout, [line for line in done.stderr.splitlines() if str(site.config) in line]


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
def test_what_looks_or_saves_warns_and_goes_on(site: Site, words: Sequence[str]) -> None:
    code, out, said = told(site, words)
    assert [line.rpartition(" (")[2] for line in said] == [
        "a warning: its default is used)", "a warning: its default is used)", "a warning: it is ignored)",
    ]  # fmt: skip
    number = site.config.read_text().splitlines().index("gap_ms = -1") + 1
    assert f"{site.config}:{number}: [links] gap_ms: -1 is not allowed; " in said[0]
    assert "config.toml" not in out
    if words[0] in ("status", "export", "backup"):
        assert code == 0
    if words[0] == "verify":
        assert (code, out) == (0, "0 faults\n")
    if words == ("lint",):
        assert code == 0 and out.endswith(" 0 findings\n")
    if words[0] == "links":  # nobody has checked any yet
        assert code == 3


@pytest.mark.parametrize("words", ACTING, ids=" ".join)
def test_what_acts_on_it_does_not(site: Site, words: Sequence[str]) -> None:
    code, out, said = told(site, words)
    assert (code, out, len(said)) == (2, "", 3)
    assert not any("a warning" in line for line in said)


def test_healthcheck_reads_what_it_needs_alone(site: Site) -> None:
    site.config.write_text("[server]\nenabled = false\n[feeds]\nlimit = 0\n")
    done = site.command("healthcheck")
    assert done.returncode == 1 and "no process holds the state" in done.stdout
    site.config.write_text("[server]\nenabled = false\n[state]\npath = 3\n")
    done = site.command("healthcheck")
    assert done.returncode == 1 and "state.path is no folder's path" in done.stdout
