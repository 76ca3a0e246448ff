"""The daemon tells of troubles as configured, once, through kill -9 and reloads; its commands; no secret is shown."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import structlog
from newsroom import article
from processes import Site, until
from receiver import hangs, says
from test_alerts import Phone, stages, waiting

from feedd import config, errors, schedule
from feedd.daemon import alarm, opening
from feedd.store import open_store

QUICK = {"every_s": 1, "articles_minutes": 0, "publishing_minutes": 0}
BAD = "---\ntitle: [\n---\n"


def test_nothing_is_configured_and_nothing_is_run(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("bad.md", BAD)
    with site.running() as feedd:
        feedd.wait("article rejected")
        assert "/aiohttp/" not in Path(f"/proc/{feedd.pid}/maps").read_text()
    assert not (site.state / "alerts.sqlite").exists()


def test_a_broken_article_is_told_of_once_even_through_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELL_TOKEN", "Bearer hush-hush")
    with Phone() as receiver:
        site = Site(tmp_path, alerts={
            **QUICK, "webhook": receiver.url, "headers": ["Authorization: $TELL_TOKEN"],
        })
        site.put("good.md", article("Good"))
        site.put("bad.md", BAD)
        with site.running() as feedd:
            feedd.wait("alert delivered", to="127.0.0.1")
            until(lambda: waiting(site.state) == [], "that is noted")
            feedd.kill()
        with site.running() as feedd:
            site.put("worse.md", BAD)
            until(lambda: len(receiver.told) == 2, "the next one is told")
            shown = json.dumps(feedd.lines)
            assert "secret" not in shown and "hush" not in shown
        keys = [[each["key"] for each in body["troubles"]] for body in receiver.told]
        assert keys == [["articles:bad.md"], ["articles:worse.md"]]
        assert receiver.told[0]["site"] == "https://feeds.example"
        assert receiver.heads[-1]["authorization"] == "Bearer hush-hush"
        listed = site.command("alerts", "list")
        assert listed.returncode == 0 and "told       bad.md cannot be read: line " in listed.stdout


def test_that_nothing_can_be_published_is_told_and_seen_to_end(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = ["/bin/sh", "-c", 'printf "%s\\n" "$FEEDD_ALERT_TEXT" >> "$0"', str(told)]
    site = Site(tmp_path, alerts={**QUICK, "command": command})
    site.put("a.md", article("A"))
    with site.running():
        site.articles.rename(tmp_path / "elsewhere")
        until(lambda: told.exists() and "The folder of articles is gone." in told.read_text(), "it is told")
        (tmp_path / "elsewhere").rename(site.articles)
        until(lambda: stages(site.state) == {"publishing": "ending"}, "its end is seen")
        assert told.read_text() == "Example News: 1 new\n• Nothing can be published. The folder of articles is gone.\n"


def test_a_receiver_that_hangs_holds_up_neither_publishing_nor_a_stop(tmp_path: Path) -> None:
    with Phone(usual=hangs) as receiver:
        site = Site(tmp_path, alerts={**QUICK, "webhook": receiver.url})
        site.put("bad.md", BAD)
        with site.running() as feedd:
            until(lambda: receiver.told, "it is asked")
            site.put("a.md", article("A"))
            site.shows("A")
            until(site.is_written, "everything is written")
            assert feedd.stop(within_s=5) < 5


def test_another_configuration_takes_over_what_is_open(tmp_path: Path) -> None:
    faults = ["The output cannot be written: no space left on device."]
    with Phone() as first, Phone() as second:
        site = Site(tmp_path, alerts={**QUICK, "webhook": first.url})
        open_store(str(site.state)).close()
        settings = config.load(site.config)
        jobs = schedule.Schedule()
        alarming = alarm.Alarm(
            settings, opening.plan_of(settings), structlog.get_logger(), jobs, is_ready=lambda: True,
            faults=lambda: faults,
        )
        jobs.start()
        try:
            alarming.start()
            until(lambda: first.told, "the first one is told")
            until(lambda: waiting(site.state) == [], "that is noted")
            site.configure(alerts={**QUICK, "webhook": "$NONE"})
            with pytest.raises(errors.ConfigError):
                alarming.change(config.load(site.config))
            site.configure(alerts={**QUICK, "webhook": second.url})
            alarming.change(config.load(site.config))
            alarming.change(config.load(site.config))
            faults.clear()
            until(lambda: stages(site.state) == {"publishing": "ending"}, "the second one looks")
            site.configure()
            alarming.change(config.load(site.config))
            faults.append("The state cannot be written: input/output error.")
            jobs.at("later", int(time.time()) + 2, faults.clear)
            until(lambda: not faults, "nobody looks")
            assert stages(site.state) == {"publishing": "ending"}
        finally:
            jobs.stop()
            alarming.stop()
        assert (len(first.told), second.told) == (1, [])


def test_the_ways_can_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Phone(says(200, b"ok"), says(403, b"invalid_token")) as receiver:
        monkeypatch.setenv("TELL_URL", receiver.url)
        site = Site(tmp_path, alerts={"webhook": "$TELL_URL", "command": ["/bin/sh", "-c", "cat; exit 1"]})
        done = site.command("alerts", "test")
        assert done.returncode == 4
        lines = done.stdout.splitlines()
        assert lines[0] == "webhook 127.0.0.1: told: ok"
        assert lines[1].startswith('command /bin/sh: not told, it ended with exit code 1: {"version":1,')
        assert receiver.told[0]["test"] is True
        site.configure(alerts={"webhook": "$TELL_URL"})
        done = site.command("alerts", "test")
        assert (done.returncode, done.stdout) == (
            4, "webhook 127.0.0.1: not told, it answered 403: invalid_token\n"
        )
        assert site.command("alerts", "list").stdout == "nothing was told yet\n"


def test_what_is_wrong_with_the_configuration_is_said_without_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, alerts={"webhook": "https://u:hush@hooks.example/hush", "command": []})
    done = site.command("check-config")
    assert done.returncode == 2 and "hush" not in done.stdout + done.stderr
    assert "[alerts] webhook: the value, which is kept out of messages, is not allowed; allowed: " in done.stderr
    monkeypatch.setenv("TELL_URL", "hush")
    for variable, trouble in (("$TELL_URL", "what the environment has there cannot be one"), ("$NONE", "has none")):
        site.configure(alerts={"webhook": variable})
        done = site.command("alerts", "test")
        assert done.returncode == 2 and trouble in done.stderr and "hush" not in done.stderr
    site.configure()
    done = site.command("alerts", "test")
    assert done.returncode == 2 and "set webhook or command" in done.stderr
