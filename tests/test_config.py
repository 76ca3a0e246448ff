"""config.toml: what is accepted, what each problem says, what follows from it, and that its documents are true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from feedd import config, errors, model, plan, site
from feedd.config import keys

PROJECT = Path(__file__).parent.parent


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def loaded(folder: Path, text: str) -> config.Config:
    return config.load(written(folder, text))


def problems(folder: Path, text: str | bytes) -> dict[str, str]:
    with pytest.raises(errors.ConfigError) as caught:
        config.load(written(folder, text))
    assert caught.value.path == str(folder / "config.toml")
    return dict(caught.value.problems)


# --- defaults and what follows from other keys -----------------------------------------------------------------------


def test_an_empty_file_is_a_whole_configuration(tmp_path: Path) -> None:
    found = loaded(tmp_path, "")
    assert (found.articles.path, found.feeds.path, found.state.path) == (
        tmp_path / "articles", tmp_path / "feeds", tmp_path / "state",
    )  # fmt: skip
    assert (found.site.title, found.site.author, found.feeds.author, found.feeds.language) == ("feedd",) * 3 + ("en",)
    assert found.site.url == found.site.public_url == "http://127.0.0.1:8080"
    assert (found.site.tag_host, found.site.tag_date) == ("localhost", "2026-01-01")


def test_derived_defaults_follow_what_is_set(tmp_path: Path) -> None:
    found = loaded(
        tmp_path, '[site]\ntitle = "News"\nurl = "https://News.example/blog/"\nlanguage = "de"\n[server]\nport = 9000'
    )
    assert found.site.url == "https://News.example/blog/"  # as written, slash and all
    assert found.site.public_url == "http://127.0.0.1:9000"
    assert found.site.tag_host == "news.example"
    assert (found.site.author, found.feeds.author, found.feeds.language) == ("News", "News", "de")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "http://localhost:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("fd00::7", "http://[fd00::7]:8080"),
    ],
)
def test_the_servers_address_stands_in_for_urls(tmp_path: Path, host: str, url: str) -> None:
    assert loaded(tmp_path, f'[server]\nhost = "{host}"').site.public_url == url


@pytest.mark.parametrize(
    ("text", "tag_host"),
    [
        ('url = "https://news.example.:8443/x"', "news.example"),
        ('url = "http://[2001:db8::1]/"', "localhost"),
        ('url = "https://new.example"\ntag_host = "Old.example."', "old.example"),
    ],
)
def test_ids_have_a_host_name(tmp_path: Path, text: str, tag_host: str) -> None:
    assert loaded(tmp_path, "[site]\n" + text).site.tag_host == tag_host


def test_folders_start_at_the_file_and_may_be_absolute_or_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "etc").mkdir()
    text = f'[articles]\npath = "../news/./a"\n[feeds]\npath = "{tmp_path}/out"\n[state]\npath = "~/feedd"'
    written(tmp_path / "etc", text)
    monkeypatch.chdir(tmp_path)
    found = config.load("etc/config.toml")
    assert found.articles.path == tmp_path / "news" / "a"
    assert found.feeds.path == tmp_path / "out"
    assert found.state.path == tmp_path / "home" / "feedd"


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("127.0.0.1", True), ("::1", True), ("fe80::1%eth0", True), ("a.example.", True), ("7.example", True),
        ("news-7", True), ("999.1.1.1", False), ("127.0.0.1.", False), ("127.1", False), ("8080", False),
        ("127.0.0.1:80", False), ("0x7f.0.0.1", False), ("::g", False), ("[::1]", False), ("a..b", False),
    ],
)  # fmt: skip
def test_what_looks_like_an_address_is_one(tmp_path: Path, host: str, is_allowed: bool) -> None:
    text = f'[server]\nhost = "{host}"'
    if is_allowed:
        assert loaded(tmp_path, text).server.host == host
    else:
        assert list(problems(tmp_path, text)) == ["server.host"]


def test_a_day_may_be_text_or_a_date(tmp_path: Path) -> None:
    for value in ("2020-02-29", '"2020-02-29"'):
        assert loaded(tmp_path, f"[site]\ntag_date = {value}").site.tag_date == "2020-02-29"


def test_lists_keep_their_order_and_lose_repeats(tmp_path: Path) -> None:
    found = loaded(tmp_path, '[feeds]\nformats = ["rss", "atom", "rss"]\ncompress = []')
    assert (found.feeds.formats, found.feeds.compress) == (("rss", "atom"), ())


def test_a_byte_order_mark_and_windows_lines_are_read_over(tmp_path: Path) -> None:
    assert config.load(written(tmp_path, b"\xef\xbb\xbf[feeds]\r\nlimit = 7\r\n")).feeds.limit == 7


def test_nothing_changes_after_loading(tmp_path: Path) -> None:
    found = loaded(tmp_path, "")
    with pytest.raises(ValidationError):
        found.feeds.limit = 3  # type: ignore[misc]


# --- plain values for core and services ------------------------------------------------------------------------------


def test_settings_are_the_plain_values_of_the_site(tmp_path: Path) -> None:
    found = config.settings(
        loaded(
            tmp_path,
            """
            [site]
            title = "Example News"
            url = "https://news.example/"
            public_url = "https://feeds.example/all//"
            language = "en"
            [feeds]
            language = "en-GB"
            providers = false
            compress = ["gzip"]
            [feeds.topic."C++"]
            limit = 5
            [feeds.provider."WWW.CNET.com"]
            full_content = false
            [feeds.category.News]
            title = "The news"
            [feeds.custom.b]
            topics = ["AI"]
            formats = ["json"]
            [feeds.custom.a]
            providers = ["www.Harbour.example"]
            min_heat = 3
            """,
        )
    )
    assert (found.title, found.url, found.public_url) == (
        "Example News", "https://news.example", "https://feeds.example/all",
    )  # fmt: skip
    assert (found.language, found.author, found.tag_host, found.encodings) == (
        "en-GB", "Example News", "news.example", ("gzip",),
    )  # fmt: skip
    assert found.rules == plan.Rules(
        providers=False,
        custom=(
            ("a", model.FeedFilter(providers=("harbour.example",), min_heat=3)),
            ("b", model.FeedFilter(topics=("AI",))),
        ),
    )
    assert found.of("topic", "c++") == site.FeedSettings(limit=5)
    assert found.of("provider", "cnet.com") == site.FeedSettings(full_content=False)
    assert found.of("category", "news") == site.FeedSettings(title="The news")
    assert found.of("custom", "b") == site.FeedSettings(formats=("json",))


def test_settings_of_an_empty_file_are_the_defaults_of_core(tmp_path: Path) -> None:
    url = "http://127.0.0.1:8080"
    assert config.settings(loaded(tmp_path, "")) == site.Settings(
        title="feedd", url=url, public_url=url, tag_host="localhost", author="feedd"
    )


def test_every_condition_of_a_custom_feed_reaches_core(tmp_path: Path) -> None:
    lists = [name for name in model.FeedFilter.__struct_fields__ if not name.startswith("min_")]
    text = "".join(f'{name} = ["{name[:2]}"]\n' for name in lists)
    found = loaded(tmp_path, f"[feeds.custom.all]\n{text}min_quality = 1.5\nmin_heat = -1").feeds.custom["all"].filter()
    assert found == model.FeedFilter(**{name: (name[:2],) for name in lists}, min_quality=1.5, min_heat=-1)


# --- problems --------------------------------------------------------------------------------------------------------


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        limit = 5
        [site]
        titel = "x"
        url = "news.example"
        [articles]
        settle_ms = 900
        [feeds]
        limit = "fifty"
        formats = ["atom", "xml", 3]
        [feeds.custom.mine]
        api_token = "hunter2"
        topics = []
        [log]
        level = "loud"
        """,
    )
    assert list(found) == [
        "site.url", "site.titel", "feeds.limit", "feeds.formats", "feeds.custom.mine.topics",
        "feeds.custom.mine.api_token", "log.level", "limit", "articles.max_wait_ms",
    ]  # fmt: skip


def test_the_error_names_the_file_on_every_line(tmp_path: Path) -> None:
    path = written(tmp_path, "[feeds]\nlimit = 0\nttl_minutes = 0")
    with pytest.raises(errors.ConfigError) as caught:
        config.load(path)
    assert str(caught.value).splitlines() == [
        f"{path}:2: [feeds] limit: 0 is not allowed; allowed: a whole number from 1 to 1000",
        f"{path}:3: [feeds] ttl_minutes: 0 is not allowed; allowed: a whole number from 1 to 10080",
    ]


LIST = "a list of at least one text; for no condition leave the key out"
FORMATS = 'a list of at least one of "atom", "rss", "json"'
NAMES = "tables [feeds.custom.NAME], the name of a-z, 0-9 and inner hyphens, at most 64 characters"


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("[feeds]\nlimit = 1001", "feeds.limit", "1001 is not allowed; allowed: a whole number from 1 to 1000"),
        ("[feeds]\nlimit = 5.0", "feeds.limit", "5.0 is not allowed; allowed: a whole number from 1 to 1000"),
        ("[feeds]\nlimit = true", "feeds.limit", "true is not allowed; allowed: a whole number from 1 to 1000"),
        ("[feeds]\narchives = 1", "feeds.archives", "1 is not allowed; allowed: true or false"),
        ("[feeds]\nformats = []", "feeds.formats", f"[] is not allowed; allowed: {FORMATS}"),
        ('[feeds]\nformats = "atom"', "feeds.formats", f'"atom" is not allowed; allowed: {FORMATS}'),
        ('[feeds]\nformats = [["atom"]]', "feeds.formats", f'["atom"] is not allowed; allowed: {FORMATS}'),
        ('[feeds]\nformats = [[{a = "x"}]]', "feeds.formats", f"[{{…}}] is not allowed; allowed: {FORMATS}"),
        ("[feeds]\nformats = [{}]", "feeds.formats", f"a table is not allowed; allowed: {FORMATS}"),
        ('[articles]\nwatch = "x"', "articles.watch",
         '"x" is not allowed; allowed: one of "auto", "inotify", "polling"'),
        ('[site]\ntitle = " "', "site.title", '" " is not allowed; allowed: text that is not blank, on one line'),
        ('[site]\ntitle = "a\\nb\\u0085"', "site.title",
         '"a\\nb\\u0085" is not allowed; allowed: text that is not blank, on one line'),
        ('[site]\nlanguage = "english"', "site.language",
         '"english" is not allowed; allowed: a language tag such as "en" or "pt-BR"'),
        ("[site]\ntag_date = 2026-01-01T00:00:00", "site.tag_date",
         '2026-01-01 00:00:00 is not allowed; allowed: a day such as "2026-01-01"'),
        ('[site]\ntag_date = "20260101"', "site.tag_date",
         '"20260101" is not allowed; allowed: a day such as "2026-01-01"'),
        ('[site]\ntag_host = "a b"', "site.tag_host", '"a b" is not allowed; allowed: a host name'),
        ('[server]\nhost = "a_b"', "server.host", '"a_b" is not allowed; allowed: an IP address or a host name'),
        ('[server]\nhost = "999.1.1.1"', "server.host",
         '"999.1.1.1" is not allowed; allowed: an IP address or a host name'),
        ("[articles]\npath = 3", "articles.path", "3 is not allowed; allowed: a folder's path"),
        ('[articles]\npath = ""', "articles.path", '"" is not allowed; allowed: a folder\'s path'),
        ("site = 3", "site", "3 is not allowed; allowed: a table"),
        ("[feeds]\ntopic = 3", "feeds.topic", '3 is not allowed; allowed: tables [feeds.topic."TOPIC"]'),
        ('[feeds.custom]\ntitle = "x"', "feeds.custom.title", f'"x" is not allowed; allowed: {NAMES}'),
        ('[feeds.custom."No Good"]', 'feeds.custom."No Good"', f'"No Good" is not allowed; allowed: {NAMES}'),
        ('[feeds.topic."C++"]\nlimit = 0', 'feeds.topic."C++".limit',
         "0 is not allowed; allowed: a whole number from 1 to 1000"),
        ('[feeds.topics."C++"]\nlimit = 3', "feeds.topics",
         'a table is not allowed; allowed: true or false; for the settings of one feed write [feeds.topic."NAME"]'),
        ("[feeds.custom.x]\ntopics = []", "feeds.custom.x.topics", f"[] is not allowed; allowed: {LIST}"),
        ('[feeds.custom.x]\ntopics = "AI"', "feeds.custom.x.topics", f'"AI" is not allowed; allowed: {LIST}'),
        ('[feeds.custom.x]\nproviders = [""]', "feeds.custom.x.providers", f'"" is not allowed; allowed: {LIST}'),
        ("[feeds.custom.x]\nmin_heat = nan", "feeds.custom.x.min_heat", "nan is not allowed; allowed: a number"),
        ("[feeds.custom.x]\nmin_heat = true", "feeds.custom.x.min_heat", "true is not allowed; allowed: a number"),
    ],
)  # fmt: skip
def test_a_problem_says_key_value_and_what_is_allowed(tmp_path: Path, text: str, key: str, said: str) -> None:
    assert problems(tmp_path, text) == {key: said}


@pytest.mark.parametrize(
    "url",
    [
        "", "news.example", "//news.example", "ftp://news.example", "HTTP://news.example", "https://", "https:///x",
        "https://a b", "https://bücher.example", "https://news.example/ü", "https://news.example/a b",
        "https://news.example?x=1", "https://news.example/#x", "https://news.example:99999", "https://news.example:x",
        "https://[::g]", "https://[1.2.3.4]", "https://-a.example", "https://a..example", "https://a_b.example",
        "https://999.1.1.1", "https://news.7/x", "https://news.example/%zz", "https://news.example/" + "a" * 2000, "https://news.example\n",
    ],
)  # fmt: skip
def test_a_url_that_cannot_begin_others_is_refused(tmp_path: Path, url: str) -> None:
    assert "absolute http or https URL" in problems(tmp_path, f"[site]\nurl = {config.toml(url)}")["site.url"]


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "https://a.example:8443/", "http://[::1]:80/x/y", "http://10.0.0.1", "https://a.example/%C3%BC/~x"],
)
def test_a_url_stays_as_it_was_written(tmp_path: Path, url: str) -> None:
    assert loaded(tmp_path, f"[site]\npublic_url = {config.toml(url)}").site.public_url == url


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("[feeds]\nlimt = 3", "feeds.limt", 'unknown key; did you mean "limit"?'),
        ("limit = 3", "limit", "unknown key here; did you mean feeds.limit?"),
        ("[log]\nwhatever = 3", "log.whatever", "unknown key; known here: format, level"),
        ("[feeds.custom.x]\nnot_topic = []", "feeds.custom.x.not_topic", 'unknown key; did you mean "not_topics"?'),
        ("[sites]", "sites", 'unknown key; did you mean "site"?'),
        ('["a\\nb".c]', '"a\\nb"',
         "unknown key; known here: site, articles, feeds, state, server, hub, links, alerts, log"),
    ],
)
def test_an_unknown_key_is_met_with_the_one_that_was_meant(tmp_path: Path, text: str, key: str, said: str) -> None:
    assert problems(tmp_path, text) == {key: said}


class Hub(keys.Table):
    url: str = keys._key("", "", "a URL")
    api_token: int = keys._key(0, "", "a number")
    secrets: dict[str, int] = keys._key({}, "", "numbers")


def test_no_message_shows_what_may_be_secret(tmp_path: Path) -> None:
    hidden = {"api_token": "hunter2", "secrets": {"a": "hunter2"}, "password": "hunter2"}
    raw: dict[str, Any] = {**hidden, "url": [["plain"]]}
    valid, found = config.validate(Hub, raw)
    assert valid == Hub()
    said = dict(found)
    assert said["api_token"] == "the value, which is kept out of messages, is not allowed; allowed: a number"
    assert said["url"] == '[["plain"]] is not allowed; allowed: a URL'
    assert "hunter2" not in str(found)
    url = problems(tmp_path, '[site]\nurl = "https://me:hunter2@news.example"')["site.url"]
    assert url.startswith('"https://***@news.example" is not allowed')
    syntax = problems(tmp_path, '[site]\nsecret = hunter2\n')[""]
    assert syntax == "not TOML: Invalid value (at line 2, column 10); text needs quotes"


def test_a_long_value_is_cut_short(tmp_path: Path) -> None:
    said = problems(tmp_path, f'[server]\nhost = "{"x " * 500}"')["server.host"]
    assert len(said) < 150 and "…" in said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[feeds\n", "not TOML: Expected ']' at the end of a table declaration (at line 1, column 7)"),
        (b"[feeds]\nlimit = 1\nlimit = 2\n", "not TOML: Cannot overwrite a value (at line 3, column 10)"),
        (b"a = 1\nb = '\xff'\n", "not UTF-8 (at line 2)"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_toml_is_refused_with_the_place(tmp_path: Path, data: bytes, said: str) -> None:
    assert problems(tmp_path, data) == {"": said}


def test_a_number_without_end_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, b"a = " + b"9" * 5000)[""].startswith("not TOML: ")


def test_a_file_that_is_not_there_or_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "no.toml", "there is no such file"), (tmp_path, "cannot be read: is a directory")):
        with pytest.raises(errors.ConfigError, match=said):
            config.load(path)


# --- keys that do not go together ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ('[feeds]\npath = "."', "feeds.path", "this file would be"),
        ('[feeds]\npath = "pub"\n[articles]\npath = "pub/in"', "articles.path", "below feeds.path is published"),
        ('[feeds]\npath = "pub"\n[state]\npath = "pub"', "state.path", "what lies below feeds.path is published"),
        ('[articles]\npath = "."\n[state]\npath = ".feedd"', "feeds.path", "feedd would read what it wrote"),
        ('[articles]\npath = "."\n[feeds]\npath = ".feedd"', "state.path", "feedd would watch its own state"),
        ('[server]\nstatus = "token"', "server.token",
         'is missing, and server.status is "token": nobody could see /-/'),
        ('[articles]\nmax_wait_ms = 10', "articles.max_wait_ms",
         "10 is not allowed; allowed: at least articles.settle_ms, which is 20"),
        ('[feeds.custom.x]\ntopics = ["AI", "B"]\nnot_topics = ["C", "ai"]', "feeds.custom.x.not_topics",
         '["ai"] is not allowed; allowed: what topics does not ask for'),
        ('[feeds.custom.x]\ntypes = ["a"]\nnot_types = ["A"]', "feeds.custom.x.not_types", '["A"] is not allowed'),
        ('[feeds.topic.AI]\n[feeds.topic.ai]', "feeds.topic.ai", 'is the same topic as "AI"'),
    ],
)  # fmt: skip
def test_keys_that_contradict_each_other_are_refused(tmp_path: Path, text: str, key: str, said: str) -> None:
    found = problems(tmp_path, text)
    assert list(found) == [key]
    assert said in found[key]


def test_folders_that_meet_through_a_link_are_found(tmp_path: Path) -> None:
    (tmp_path / "articles").mkdir()
    (tmp_path / "out").symlink_to("articles")
    assert list(problems(tmp_path, '[feeds]\npath = "out"')) == ["articles.path"]


def test_output_may_lie_in_a_hidden_folder_of_the_articles(tmp_path: Path) -> None:
    text = '[articles]\npath = "."\n[feeds]\npath = ".feedd/feeds"\n[state]\npath = ".feedd/state"'
    assert loaded(tmp_path, text).feeds.path == tmp_path / ".feedd" / "feeds"


def test_what_follows_from_a_problem_is_not_a_second_one(tmp_path: Path) -> None:
    assert list(problems(tmp_path, '[articles]\nsettle_ms = -1\nmax_wait_ms = 5')) == ["articles.settle_ms"]


# --- warnings --------------------------------------------------------------------------------------------------------


def test_what_is_hardly_meant_is_warned_about(tmp_path: Path) -> None:
    assert [key for key, _ in config.warnings(loaded(tmp_path, ""))] == ["site.url", "site.public_url", "articles.path"]


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("", "not set: feeds name http://127.0.0.1:8080 as their address, for this machine alone"),
        ('host = "localhost."', "not set: feeds name http://localhost.:8080 as their address, for this machine alone"),
        ('host = "0.0.0.0"',
         ("not set: feeds name http://127.0.0.1:8080 as their address, for this machine alone, though others reach the"
         ' server: server.host is "0.0.0.0"')),
        ('host = "192.0.2.7"\nport = 80',
         ("not set: feeds name http://192.0.2.7:80 as their address, which is right only where readers ask this server"
         " itself, by this name")),
        ("port = 0",
         ("not set: feeds name http://127.0.0.1:0 as their address, where nobody can fetch them: server.port is 0, so"
         " each start takes another port")),
        ('host = "a.example"\nenabled = false',
         ("not set: feeds name http://a.example:8080 as their address, and server.enabled is false: nothing of feedd"
         " answers there")),
    ],
)  # fmt: skip
def test_the_hint_about_the_feeds_address_says_who_can_use_it(tmp_path: Path, server: str, said: str) -> None:
    assert dict(config.warnings(loaded(tmp_path, f"[server]\n{server}")))["site.public_url"] == said


def test_a_complete_configuration_has_no_warnings(tmp_path: Path) -> None:
    (tmp_path / "articles").mkdir()
    text = '[site]\nurl = "https://news.example"\npublic_url = "https://feeds.example"'
    assert config.warnings(loaded(tmp_path, text)) == []


# --- any input -------------------------------------------------------------------------------------------------------

keys = st.sampled_from([key.rpartition(".")[2] for key, _, _ in config.reference()] + ["custom", "topic", "x", "a b"])
scalars = st.text(max_size=8) | st.integers() | st.floats() | st.booleans() | st.dates() | st.datetimes() | st.times()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
sections = st.sampled_from(["site", "articles", "feeds", "state", "server", "links", "log", "x"])


@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(raw=st.dictionaries(sections, st.dictionaries(keys, values, max_size=6) | values, max_size=4))
def test_any_table_is_valid_once_its_problems_are_left_out(raw: dict[str, Any]) -> None:
    valid, found = config.validate(config.Config, raw)
    assert config.validate(config.Config, raw) == (valid, [])  # `raw` has lost exactly what was wrong
    for key, text in found:
        assert key and text and "\n" not in key + text


@given(st.text(), st.lists(st.booleans() | st.integers()))
def test_values_are_written_as_toml_reads_them(text: str, numbers: list[int]) -> None:
    text = text.encode(errors="replace").decode()
    assert tomllib.loads(f"a = {config.toml(text)}\nb = {config.toml(numbers)}") == {"a": text, "b": numbers}


# --- documents -------------------------------------------------------------------------------------------------------


def uncommented(text: str) -> str:
    return re.sub(r"^#(?! )", "", text, flags=re.MULTILINE)


def flat(table: dict[str, Any], names: bool = False, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        dotted = prefix + ("<name>" if names else key)
        if isinstance(value, dict):
            found |= flat(value, dotted in NAMED, dotted + ".")
        else:
            found[dotted] = value
    return found


NAMED = ("feeds.topic", "feeds.provider", "feeds.category", "feeds.custom", "links.host")
SAMPLE = PROJECT / "config.toml"


def test_the_sample_can_be_used_as_it_is() -> None:
    found = config.load(SAMPLE)
    assert (found.site.title, found.site.url) == ("Example News", "https://news.example")
    assert found.articles.path == PROJECT / "articles"
    assert [key for key, _ in config.warnings(found)] == ["site.public_url"]


def test_the_sample_shows_every_key_with_its_default_and_comment(tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    config.load(written(tmp_path, uncommented(text)), secrets=())
    shown = flat(tomllib.loads(uncommented(text)))
    known = {key: (default, comment) for key, default, comment in config.reference()}
    tables = {"feeds.provider.<name>", "feeds.category.<name>"}  # their keys are those of feeds.topic.<name>
    assert set(shown) == set(known) - tables
    own = {"site.title"}
    section = ""
    said: dict[str, str] = {}
    for line in uncommented(text).splitlines():
        if head := re.match(r"\[(\w+(?:\.\w+)?)(\.[^]]+)?\]", line):
            section = head[1] + (".<name>" if head[2] else "")
        elif found := re.match(r"(\w+) = .* # (.+)", line):
            said[f"{section}.{found[1]}"] = found[2]
    for key, (default, comment) in known.items():
        if key in tables:
            continue
        assert said[key].startswith(comment), key
        words = ("http://host", "the host", "site.", "feeds.", "links.", "feedd,", "made from", "none")
        in_words = default.startswith(words)
        assert in_words or key in own or shown[key] == tomllib.loads(f"x = {default}")["x"], key


def test_the_reference_is_a_table_of_every_key() -> None:
    rows = config.table().splitlines()
    assert rows[:2] == ["| key | default | meaning |", "|---|---|---|"]
    assert len(rows) == len(config.reference()) + 2
    assert all(row.count("|") == 4 for row in rows)
    assert "| `feeds.limit` | 50 | newest entries in a live feed (1 to 1000) |" in rows
    assert "| `feeds.provider.<name>` | none | settings of one provider's feed |" in rows


def test_the_readme_shows_some_of_the_table_as_it_is() -> None:
    text = (PROJECT / "README.md").read_text()
    between = re.search(r"<!-- config table -->\n+(.*?)\n*<!-- /config table -->", text, re.DOTALL)
    assert between
    shown, known = between[1].splitlines(), config.table().splitlines()
    assert len(shown) > 10 and [row for row in shown if row not in known] == []
