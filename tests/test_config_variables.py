"""Secrets that config.toml leaves to the environment: where they come from, and that one that is not set is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from processes import Daemon, Site, run_feedd

from feedd import config, errors
from feedd.daemon import alarm, checks, opening

TOKEN = "sixteen-or-more-of-them"
ALL = """
[server]
token = "$FEEDD_TOKEN"
[links.host."*.a.example"]
headers = ["X-Api-Key: $KEY_A", "X-Too: $FEEDD_TOKEN"]
[alerts]
webhook = "$ALERT_URL"
headers = ["Authorization: $ALERT_TOKEN"]
"""
SET = {
    "FEEDD_TOKEN": f" {TOKEN}\n", "KEY_A": "a b", "ALERT_URL": "https://alerts.example/?x=1",
    "ALERT_TOKEN": "Bearer x",
}


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in SET.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def refused(path: Path) -> list[str]:
    """What is wrong with the file, by lines."""
    with pytest.raises(errors.ConfigError) as caught:
        config.load(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def test_every_secret_comes_from_the_environment(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    found = config.load(written(tmp_path, ALL))
    assert found.server.token == TOKEN
    (rule,) = checks.job_of(found, opening.plan_of(found)).plan.rules
    assert rule.headers == (("X-Api-Key", "a b"), ("X-Too", TOKEN))
    assert config.variables.webhook(found) == SET["ALERT_URL"]
    assert len(alarm.ways(found)) == 1


def test_each_that_is_not_set_is_named_with_its_line_at_once(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, ALL)
    for name in SET:
        environment.delenv(name)
    environment.setenv("ALERT_TOKEN", " ")
    assert refused(path) == [
        "3: [server] token: the token is to be the value of $FEEDD_TOKEN, and the environment has none",
        '5: [links.host."*.a.example"] headers: X-Api-Key is to be the value of $KEY_A, and the environment has none',
        '5: [links.host."*.a.example"] headers: X-Too is to be the value of $FEEDD_TOKEN, and the environment has none',
        "7: [alerts] webhook: the URL is to be the value of $ALERT_URL, and the environment has none",
        "8: [alerts] headers: Authorization is to be the value of $ALERT_TOKEN, and the environment has none",
    ]


@pytest.mark.parametrize("name", SET)
def test_a_value_that_cannot_be_one_is_refused_and_not_shown(
    tmp_path: Path, environment: pytest.MonkeyPatch, name: str
) -> None:
    environment.setenv(name, "hüsh")
    said = refused(written(tmp_path, ALL))
    assert said and all(f"${name}, and what the environment has there cannot be one" in line for line in said)
    assert "hüsh" not in str(said)


def test_a_short_token_is_none(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FEEDD_TOKEN", "x" * 15)
    assert len(refused(written(tmp_path, '[server]\ntoken = "$FEEDD_TOKEN"'))) == 1
    environment.setenv("FEEDD_TOKEN", "x" * 16)
    assert config.load(tmp_path / "config.toml").server.token == "x" * 16
    assert "16 to 200 printable" in refused(written(tmp_path, f'[server]\ntoken = "{"x" * 15}"'))[0]
    assert {key: comment for key, _, comment in config.reference()}["server.token"].count("16 characters or more")


def test_what_is_switched_off_needs_no_secret(tmp_path: Path) -> None:
    off = '[server]\nenabled = false\ntoken = "$NONE"\n[links]\nenabled = false\n[links.host."a.example"]\n'
    off += 'headers = ["X: $NONE"]\n[alerts]\nheaders = ["X: $NONE"]\n'
    found = config.load(written(tmp_path, off))
    assert list(config.variables.wanted(found)) == []
    assert found.server.token == "$NONE"


def test_who_needs_no_secret_is_not_asked_for_one(tmp_path: Path) -> None:
    path = written(tmp_path, ALL)
    found = config.load(path, secrets=())
    assert found.server.token == "$FEEDD_TOKEN"  # of which nothing is made: never a server without one
    assert {key for key, _ in config.variables.problems(found, ("alerts",))} == {"alerts.webhook", "alerts.headers"}
    with pytest.raises(errors.ConfigError, match="ALERT_URL") as caught:
        config.load(path, secrets=("alerts",))
    assert "FEEDD_TOKEN" not in str(caught.value)
    with pytest.raises(errors.ConfigError, match="KEY_A"):
        checks.job_of(found, opening.plan_of(found))
    with pytest.raises(errors.ConfigError, match="ALERT_URL"):
        alarm.ways(found)


def test_a_reload_is_refused_that_would_take_the_token_away(tmp_path: Path) -> None:
    running = config.load(written(tmp_path, f'[server]\ntoken = "{TOKEN}"'))
    with pytest.raises(errors.ConfigError, match="NONE"):
        config.reload(written(tmp_path, '[server]\ntoken = "$NONE"'), running)


def test_the_commands_name_it_and_the_server_does_not_start(tmp_path: Path) -> None:
    site = Site(tmp_path, server={"port": 0, "token": "$FEEDD_NO_SUCH"})
    said = f"{site.config}:10: [server] token: the token is to be the value of $FEEDD_NO_SUCH"
    for verb in ("check-config", "run"):
        done = site.command(verb)
        assert (done.returncode, done.stdout) == (2, "") and said in done.stderr
    done = site.command("build")  # serves nobody
    assert done.returncode == 0 and '"key":"server.token"' in done.stderr and "$FEEDD_NO_SUCH" in done.stderr
    for verb in ("status", "lint", "verify"):
        done = site.command(verb)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_server_asks_for_the_token_that_the_environment_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEEDD_TEST_TOKEN", TOKEN)
    site = Site(tmp_path, server={"port": 0, "token": "$FEEDD_TEST_TOKEN", "status": "token"})
    with site.running() as feedd:
        assert isinstance(feedd, Daemon)
        assert feedd.get("/-/status.json")[0] == 401
        assert feedd.get("/-/status.json?token=$FEEDD_TEST_TOKEN")[0] == 401
        assert get_with(feedd, TOKEN) == 200
        assert get_with(feedd, "$FEEDD_TEST_TOKEN") == 401
    assert TOKEN not in str(feedd.lines)
    assert run_feedd("--config", str(site.config), "check-config").returncode == 0


def get_with(feedd: Daemon, token: str) -> int:
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", feedd.port, timeout=20)
    connection.request("GET", "/-/status.json", headers={"Authorization": f"Bearer {token}"})
    with connection.getresponse() as answer:
        status = answer.status
    connection.close()
    return status
