"""The command line as users have it: the program as a process, its output, its exit codes, what it leaves behind."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faults import disk
from newsroom import article, changed, tree
from processes import FEEDD, ROOT, Site, environment, run_feedd

from feedd import ownership, publish
from feedd.store.told import open_told
from feedd.troubles import Known

BAD = "---\ntitle: [no end\n---\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with two articles."""
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    site.put("two.md", article("Two", topics=["AI", "Tides"]))
    return site


def stamps(folder: Path) -> dict[str, int]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ownership.NAME)
    return {str(path): path.stat().st_mtime_ns for path in found}


# --- build -----------------------------------------------------------------------------------------------------------


def test_build_writes_every_feed_and_says_what_it_did(site: Site) -> None:
    done = site.command("build")
    assert (done.returncode, done.stdout) == (0, "")
    built = json.loads(done.stderr.splitlines()[-1])
    assert (built["event"], built["new"], built["problems"]) == ("built", 2, 0)
    assert sorted(site.titles()) == ["One", "Two"]
    assert site.titles("topics/tides") == ["Two"]
    assert {"all.atom", "all.rss.gz", "all.json.br", "feeds.opml", "index.html"} <= tree(site.out).keys()
    site.check()


def test_a_second_build_writes_nothing(site: Site) -> None:
    site.command("build")
    before = stamps(site.out)
    done = site.command("build")
    assert done.returncode == 0
    assert stamps(site.out) == before
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["built"]


def test_build_names_a_bad_article_and_publishes_the_others(site: Site) -> None:
    site.put("bad.md", BAD)
    done = site.command("build")
    rejected = [json.loads(line) for line in done.stderr.splitlines() if "rejected" in line]
    assert done.returncode == 0
    assert [(line["path"], line["line"]) for line in rejected] == [("bad.md", 3)]
    assert sorted(site.titles()) == ["One", "Two"]


def test_build_that_cannot_write_a_feed_exits_with_4_and_writes_the_others(site: Site) -> None:
    site.out.mkdir()
    (site.out / "topics").write_text("in the way")
    done = site.command("build")
    assert done.returncode == 4
    assert "feedd: 2 documents could not be written" in done.stderr
    assert sorted(site.titles()) == ["One", "Two"]
    status = site.command("status")
    assert status.returncode == 1
    assert "not written: topics/ai: " in status.stdout


def test_a_dry_run_tells_what_subscribers_would_see_and_writes_nothing(site: Site) -> None:
    site.put("three.md", article("Three", topics=[]))
    site.command("build")
    before = stamps(site.out) | {"state": hash((site.state / "feedd.db").read_bytes())}
    site.put("one.md", article("One", excerpt="Something else", topics=[]))
    site.put("four.md", article("Four", topics=["AI"]))
    (site.articles / "three.md").unlink()
    (site.articles / "two.md").rename(site.articles / "2.md")

    done = site.command("build", "--dry-run", "--diff")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert {line for line in lines if line.startswith(("all: ", "topics/"))} == {
        "all: new: Four (four.md)", "all: updated: One (one.md)", "all: removed: Three (three.md)",
        "topics/ai: new: Four (four.md)", "topics/ai: removed: One (one.md)",
    }
    new, updated, removed = (sum(f": {what}: " in line for line in lines) for what in ("new", "updated", "removed"))
    assert lines[-1] == f"{new} new, {updated} updated, {removed} removed (entries, summed over feeds)"
    assert site.command("build", "--dry-run").stdout == lines[-1] + "\n"
    assert stamps(site.out) | {"state": hash((site.state / "feedd.db").read_bytes())} == before


def test_a_dry_run_before_the_first_build_leaves_nothing_behind(site: Site) -> None:
    done = site.command("build", "--dry-run", "--diff")
    assert done.returncode == 0
    assert "all: new: One (one.md)" in done.stdout
    assert not site.out.exists()
    assert not site.state.exists()


def test_a_folder_of_articles_that_is_not_there_is_one_error_with_what_to_do(site: Site) -> None:
    site.articles.rename(site.folder / "elsewhere")
    for arguments in (("build",), ("build", "--dry-run"), ("diff", str(site.config))):
        done = site.command(*arguments)
        assert (done.returncode, done.stderr) == (4, (
            f"feedd: {site.articles}: no such file or directory; articles are read there: make it, mount it, or set"
            " articles.path\n"
        ))
    with site.running(ready=False) as feedd:
        feedd.wait("the folder of articles is gone, its feeds stay as they are")
        assert len([line for line in feedd.lines if line["level"] in ("warning", "error")]) == 1
        (site.folder / "elsewhere").rename(site.articles)
        site.shows("One", "Two")


def test_a_build_of_many_articles_on_a_full_disk_ends_with_a_sentence_and_no_noise_of_threads(site: Site) -> None:
    text = article("A", "word " * 100)
    for number in range(publish.MANY_PATHS):  # so that processes read them
        (site.articles / f"{number}.md").write_text(text.replace("source.example/A", f"source.example/{number}"))
    with disk(site.state, "size=1m"):
        done = site.command("build")
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert (done.returncode, said) == (3, ["feedd: the state cannot be used: database or disk is full"])


# --- lint ------------------------------------------------------------------------------------------------------------


def test_lint_finds_nothing_in_the_feeds_of_the_samples(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "articles", tmp_path / "articles")
    shutil.copy(ROOT / "config.toml", tmp_path)
    site = Site(tmp_path)
    shutil.copy(ROOT / "config.toml", site.config)
    assert site.command("build").returncode == 0
    done = site.command("lint")
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, []), done.stdout
    count = len([name for name in tree(site.out) if name.endswith((".atom", ".rss", ".json", ".opml"))])
    assert done.stdout == f"{count} files, 0 findings\n"


def test_lint_exits_with_1_and_names_file_and_line(site: Site) -> None:
    site.command("build")
    path = site.out / "all.atom"
    path.write_bytes(path.read_bytes().replace(b"<updated>", b"<updated>never", 1))
    done = site.command("lint")
    assert done.returncode == 1
    assert done.stdout.startswith(f"{path}:")
    as_json = site.command("lint", "--json", str(path))
    assert as_json.returncode == 1
    findings = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert {finding["file"] for finding in findings} == {str(path)}
    assert set(findings[0]) >= {"line", "level", "rule", "message"}


def test_lint_of_a_file_that_is_no_feed_is_a_wrong_command_line(site: Site) -> None:
    assert site.command("lint", str(site.config)).returncode == 2
    assert site.command("lint", str(site.folder / "none.atom")).returncode == 2


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_names_problems_changes_and_feeds(site: Site) -> None:
    site.command("build")
    good = site.command("status")
    assert good.returncode == 0
    assert good.stdout.startswith(f"feedd is not running: {site.articles} -> {site.out}\n2 articles, 2 entries, ")
    assert "feed: topics/tides: 1 entries, written 20" in good.stdout

    site.put("bad.md", BAD)
    site.put("three.md", article("Three"))
    site.command("build")
    text = site.command("status")
    assert text.returncode == 1
    assert "problem: bad.md:3:1: " in text.stdout
    assert "new: three.md" in text.stdout
    found = json.loads(site.command("status", "--json").stdout)
    assert found["counts"]["entries"] == 3
    assert [(problem["path"], problem["line"]) for problem in found["problems"]] == [("bad.md", 3)]
    assert [(change["what"], change["path"]) for change in found["changes"]] == [("new", "three.md")]
    assert {feed["feed"] for feed in found["feeds"]} == {
        "all", "topics/ai", "topics/tides", "providers/source.example", "categories/news",
    }
    assert (found["running"], found["waiting"], found["failed"]) == (False, 0, [])


def test_status_says_that_the_daemon_runs(site: Site) -> None:
    with site.running():
        assert site.command("status").stdout.startswith("feedd is running: ")


def test_status_lists_all_feeds_only_when_asked(site: Site) -> None:
    site.put("many.md", article("Many", topics=[f"Topic {number}" for number in range(30)]))
    site.command("build")
    assert "more feeds (--feeds)" in site.command("status").stdout
    full = site.command("status", "--feeds").stdout
    assert "more feeds" not in full
    assert full.count("\nfeed: ") == 35


def test_status_without_a_state_exits_with_3(site: Site) -> None:
    done = site.command("status")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no state yet" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("intact", [0, 4096])
def test_a_torn_state_is_a_sentence_for_who_reads_it_and_made_anew_by_build(site: Site, intact: int) -> None:
    site.command("build")
    before = site.ids()
    path = site.state / "feedd.db"
    path.write_bytes(path.read_bytes()[:intact] + b"torn " * 40_000)
    for arguments in (["status"], ["build", "--dry-run"]):
        done = site.command(*arguments)
        assert (done.returncode, done.stdout) == (3, "")
        assert "feedd: the state is torn (" in done.stderr
        assert "Traceback" not in done.stderr
    done = site.command("build")
    assert done.returncode == 0
    assert "made anew" in done.stderr
    assert site.ids() == before
    site.check()


# --- configuration ---------------------------------------------------------------------------------------------------


def test_check_config_of_a_good_file(site: Site) -> None:
    done = site.command("check-config")
    assert (done.returncode, done.stdout) == (0, f"{site.config}: good\n")


def test_check_config_says_everything_that_is_wrong_at_once(site: Site) -> None:
    site.config.write_text(
        '[site]\nurl = "news.example"\ntitel = "News"\n[feeds]\nlimit = 0\nformats = ["atom", "rdf"]\n'
    )
    done = site.command("check-config")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert [line.partition(f"{site.config}:")[2].split(": ")[:2] for line in lines] == [
        ["2", "[site] url"], ["3", "[site] titel"], ["5", "[feeds] limit"], ["6", "[feeds] formats"],
    ]
    limit = next(line for line in lines if "[feeds] limit" in line)
    assert "0 is not allowed; allowed: a whole number from 1 to 1000" in limit
    for verb in ("run", "build"):
        again = site.command(verb)
        assert (again.returncode, again.stderr) == (2, done.stderr)
    assert not site.state.exists()


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    for verb in ("run", "check-config"):
        done = run_feedd("--config", str(tmp_path / "none.toml"), verb)
        assert done.returncode == 2
        assert done.stderr == f"feedd: {tmp_path / 'none.toml'}: there is no such file; `feedd init DIR` writes one\n"


def test_init_looks_at_the_articles_and_writes_a_configuration_that_works(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.config.unlink()
    site.put("one.md", article("One"))
    done = run_feedd("init", str(tmp_path))
    assert done.returncode == 0
    assert f"{site.config} is written" in done.stdout
    assert site.command("check-config").returncode == 0
    assert site.command("build").returncode == 0
    assert site.titles() == ["One"]
    again = run_feedd("init", str(tmp_path))
    assert again.returncode != 0
    assert "Traceback" not in again.stderr
    assert site.command("check-config").returncode == 0


# --- the rest --------------------------------------------------------------------------------------------------------


def test_help_documents_the_exit_codes() -> None:
    done = run_feedd("--help")
    assert done.returncode == 0
    assert "Exit codes:" in done.stdout
    assert [line.split()[0] for line in done.stdout.partition("Exit codes:\n")[2].splitlines()] == [
        "0", "1", "2", "3", "4", "70",
    ]
    for verb in ("run", "build", "lint", "status", "check-config", "init"):
        assert f"  {verb} " in done.stdout


def test_the_version_is_the_packages() -> None:
    from feedd import __version__

    assert run_feedd("--version").stdout == f"feedd, version {__version__}\n"


@pytest.mark.parametrize("arguments", [("publish",), ("build", "--diff"), ("build", "--fast"), ("init",)])
def test_a_wrong_command_line_exits_with_2(site: Site, arguments: tuple[str, ...]) -> None:
    done = site.command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    usage, hint, _, said = done.stderr.splitlines()
    assert usage.startswith("Usage: feedd") and hint.endswith("--help' for help.") and said.startswith("feedd: ")


@pytest.mark.parametrize(("arguments", "code", "says"), [
    (("lint", "none.atom"), 2, "none.atom: no such file or directory"),
    (("lint", "none.toml"), 2, "none.toml: the name does not end in .atom, .rss, .json or .opml"),
    (("diff", "none.toml"), 2, "none.toml: there is no such file"),
    (("init", "none"), 2, "none: no such file or directory; name the folder that your articles are in, or make it"),
    (("init", "FOLDER"), 2, "config.toml: is there already, and stays; move it away for a new one"),
    (("restore", "none"), 2, "none: no such file or directory"),
    (("restore", "FOLDER"), 2, ": is a directory"),
    (("restore", "CONFIG"), 3, "config.toml: no backup of feedd's, or only a part of one; the state is as it was"),
    (("import", "none"), 2, "none: no such file or directory"),
    (("import", "CONFIG"), 2, "config.toml:1: "),
    (("backup", "FOLDER"), 4, "is there already; choose another name, or --force to replace it"),
    (("export", "FOLDER/none/state"), 4, "cannot be written: no such file or directory"),
    (("doctor", "--bundle", "FOLDER/none/bundle"), 4, "no such file or directory"),
    (("alerts", "test"), 2, "config.toml: [alerts]: nobody is to be told; set webhook or command"),
    (("check-links",), 2, "config.toml: [links] enabled: is false"),
    (("service", "install", "--articles", "FOLDER"), 2, "config.toml: is there already; set articles.path in it"),
    (("verify",), 3, "no state yet"),
])  # fmt: skip
def test_what_cannot_be_done_is_a_line_in_one_form_without_the_usage(
    site: Site, arguments: tuple[str, ...], code: int, says: str
) -> None:
    places = {"FOLDER": str(site.folder), "CONFIG": str(site.config)}
    named = [re.sub("FOLDER|CONFIG", lambda found: places[found[0]], word) for word in arguments]
    done = site.command(*named)
    assert done.returncode == code
    assert done.stderr.startswith("feedd: ") and done.stderr.count("\n") == 1
    assert says in done.stderr


@pytest.mark.parametrize("group", [(), ("links",), ("service",), ("alerts",)])
def test_on_a_terminal_of_80_columns_no_summary_is_cut(group: tuple[str, ...]) -> None:
    done = subprocess.run(
        [*FEEDD, *group, "--help"], env=environment() | {"COLUMNS": "80"}, capture_output=True, text=True, check=True,
        timeout=60,
    )
    assert "..." not in done.stdout.replace("[ARGS]...", "")
    assert max(map(len, done.stdout.splitlines())) < 80


def test_a_reader_that_has_had_enough_is_no_defect(site: Site) -> None:
    site.command("build")
    for verb in ("status", "export"):
        with subprocess.Popen(
            [*FEEDD, "--config", str(site.config), verb], env=environment(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        ) as process:
            assert process.stdout and process.stderr
            process.stdout.close()
            assert "Traceback" not in (said := process.stderr.read()) and "Exception ignored" not in said
        assert process.returncode in (0, 1)


@pytest.mark.parametrize(("stage", "means"), [
    ("told", ""), ("held", "not told: it was told not long ago"), ("ending", "ending: it is gone; unless it comes"),
    ("over", "nothing is the matter"),
])  # fmt: skip
def test_a_trouble_is_listed_with_what_its_word_means(site: Site, stage: Any, means: str) -> None:
    site.command("build")
    book = open_told(str(site.state))
    trouble = Known("articles:a.md", "articles", 1_700_000_000, "a.md cannot be read", stage)
    book.apply(put=[trouble], dropped=[], notices=[], done=[])
    book.close()
    lines = site.command("alerts", "list").stdout.splitlines()
    assert lines[0].endswith("  a.md cannot be read") is (stage != "over")
    assert lines[-1].startswith(means) and len(lines) == (2 if stage in ("held", "ending") else 1)


def test_help_imports_nothing_heavy() -> None:
    heavy = ("pydantic", "lxml", "apscheduler", "watchdog", "feedgen", "markdown_it", "yaml", "sqlite3", "rich", "ftfy")
    code = f"import sys, feedd.cli; print(sorted(set(sys.modules) & set({heavy!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_a_build_works_from_any_folder_and_leaves_nothing_in_it(site: Site, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [*FEEDD, "--config", "../config.toml", "build"], cwd=elsewhere, env=environment(), capture_output=True,
        text=True, check=False, timeout=60,
    )
    assert done.returncode == 0
    assert changed(tree(elsewhere), {}) == set()
    assert sorted(site.titles()) == ["One", "Two"]
