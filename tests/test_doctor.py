"""`feedd doctor`: what it says of healthy and of broken installations, and that its bundle holds no secret."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import stat
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom import article
from processes import Site

from feedd import doctor
from feedd.cli.doctor import doctor as command
from feedd.doctor import bundle, folders, machine, redact, service
from feedd.doctor.findings import Finding, size


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.put("a.md", article("One"))
    return made


def examined(site: Site, *arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(command, arguments, obj=str(site.config))


def said(findings: Iterator[Finding] | list[Finding] | tuple[Finding, ...], check: str) -> list[str]:
    """The levels and sentences of one check."""
    return [f"{finding.level}: {finding.said}" for finding in findings if finding.check == check]


def findings(site: Site, check: str) -> list[str]:
    return said(doctor.examine(str(site.config), {}).findings, check)


# --- the whole -------------------------------------------------------------------------------------------------------


def test_a_healthy_site_has_no_trouble_and_one_line_for_each_thing(site: Site) -> None:
    result = examined(site)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert all(line.startswith(("good ", "hint ")) and "\x1b" not in line for line in lines)
    told = [line.split()[1] for line in lines]
    wanted = {"versions", "config", "articles", "watching", "open", "memory", "state", "feeds", "disk", "permissions"}
    assert wanted | {"daemon", "server", "service", "clock", "time"} <= set(told)


def test_json_says_the_same_and_names_every_version(site: Site) -> None:
    found = json.loads(examined(site, "--json").stdout)
    assert found["is_well"] is True
    assert {each["check"] for each in found["findings"]} >= {"versions", "articles", "clock"}
    assert {"feedd", "Python", "SQLite", "kernel", "aiohttp", "msgspec"} <= found["versions"].keys()
    assert all(found["versions"][name] for name in machine.dependencies())


def test_what_the_environment_is_to_have_and_has_not(site: Site) -> None:
    site.configure(links={"enabled": True})
    with site.config.open("a") as file:
        file.write('[links.host."a.example"]\nheaders = ["X-Key: $ONE_KEY"]\n[alerts]\nwebhook = "$TO"\n')
    told = [line for line in findings(site, "config") if line.startswith("hint")]
    keys = {'links.host."a.example".headers': "$ONE_KEY", "alerts.webhook": "$TO"}
    assert told == [f"hint: {key}: {variable} is not set here" for key, variable in keys.items()]
    found = doctor.examine(str(site.config), {"ONE_KEY": "x", "TO": "y"}).findings
    assert not any(line.startswith("hint") for line in said(found, "config"))


def test_a_configuration_that_is_wrong_is_trouble_and_the_machine_is_looked_at_all_the_same(site: Site) -> None:
    site.configure(feeds={"limit": 0, "colour": "red"})
    result = examined(site)
    assert result.exit_code == 1
    assert "trouble  config       feeds.limit: 0 is not allowed" in result.output
    assert "trouble  config       feeds.colour: unknown key" in result.output
    assert "good     time zone" in result.output


def test_no_configuration_at_all(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [], obj=str(tmp_path / "none.toml"))
    assert result.exit_code == 1 and "there is no such file" in result.output


@pytest.mark.parametrize(("no_colour", "is_coloured"), [("", True), ("1", False)])
def test_colours_on_a_terminal_only(site: Site, no_colour: str, is_coloured: bool) -> None:
    result = CliRunner(env={"NO_COLOR": no_colour}).invoke(command, [], obj=str(site.config), color=True)
    assert ("\x1b[32mgood" in result.output) is is_coloured
    assert "\x1b" not in examined(site).output


def test_a_running_daemon_is_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    site = Site(tmp_path, server={"port": port})
    site.put("a.md", article("One"))
    with site.running():
        assert findings(site, "server") == [f"good: http://127.0.0.1:{port}/readyz says: ready"]
        assert findings(site, "daemon") == ["good: feedd runs on this state"]
        site.configure(server={"port": 1})
        assert findings(site, "server")[0].startswith("trouble: feedd runs, and 127.0.0.1:1 does not answer: ")
    site.configure(server={"port": port})
    assert findings(site, "daemon") == ["hint: feedd does not run on this state"]
    assert findings(site, "state")[-1].startswith(f"good: {site.state}: schemas feedd.db ")


def test_a_port_that_is_taken(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site.configure(server={"port": port})
        assert findings(site, "server") == [f"trouble: 127.0.0.1:{port} cannot be had: Address already in use"]
    assert findings(site, "server") == [f"good: 127.0.0.1:{port} is free"]
    assert service.why_taken("::1", port) in ("", "Cannot assign requested address") or not socket.has_ipv6


def test_a_server_that_is_not_ready_yet() -> None:
    class Answers:
        """A server that says 503 to the first who asks."""

        def __enter__(self) -> int:
            self.listener = socket.create_server(("127.0.0.1", 0))
            import threading

            self.thread = threading.Thread(target=self.answer)
            self.thread.start()
            return int(self.listener.getsockname()[1])

        def answer(self) -> None:
            connection, _ = self.listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nnot yet.\n")

        def __exit__(self, *_: object) -> None:
            self.thread.join()
            self.listener.close()

    with Answers() as port:
        found = service.check_server("0.0.0.0", port, running=True)
    assert (found.level, found.said) == ("trouble", f"http://127.0.0.1:{port}/readyz says 503: not yet.")


# --- folders ---------------------------------------------------------------------------------------------------------


def test_articles_that_are_missing_or_none(site: Site) -> None:
    (site.articles / "a.md").unlink()
    assert findings(site, "articles")[0].startswith(f"hint: {site.articles}: 0 files in 1 folders: nothing to publish")
    site.articles.rmdir()
    assert findings(site, "articles") == [f"trouble: {site.articles}: there is no such folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_are_closed(site: Site) -> None:
    closed = site.articles / "closed"
    closed.mkdir(mode=0)
    assert "1 folders cannot be listed" in findings(site, "articles")[0]
    site.articles.chmod(0)
    assert "cannot be listed by" in findings(site, "articles")[0]
    site.articles.chmod(0o700)
    site.folder.chmod(0o500)
    assert findings(site, "state")[0].startswith(f"trouble: {site.folder}: cannot be written to by")
    site.folder.chmod(0o700)


def test_closed_folders_are_told(tmp_path: Path) -> None:
    """The same, for root: as a survey has it."""
    one = folders.Tree(3, 5, 5, 0, (f"{tmp_path}/x",))
    assert "1 folders cannot be listed" in folders.check_articles(str(tmp_path), one)[0].said
    assert "cannot be listed by" in folders.check_articles(str(tmp_path), folders.Tree(closed=(str(tmp_path),)))[0].said


def test_a_file_in_the_place_of_a_folder(site: Site) -> None:
    site.state.write_text("")
    assert findings(site, "state")[0] == f"trouble: {site.state}: is in the way of {site.state}"


def test_watching_where_inotify_does_not_work() -> None:
    assert folders.check_watching("/a", "auto", "/a is of type nfs").level == "good"
    assert folders.check_watching("/a", "inotify", "/a is of type nfs").level == "trouble"
    assert folders.check_watching("/a", "polling", "").said == "/a is polled: articles.watch is polling"


def test_a_survey_counts_what_is_there_and_no_hidden_folders(tmp_path: Path) -> None:
    for name in ("a.md", "b.png", "2026/c.html", ".git/d.md", "_data/topics/e.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1234")
    assert folders.survey(str(tmp_path)) == folders.Tree(4, 4, 3, 16)
    assert folders.survey(str(tmp_path), sizes=False) == folders.Tree(4, 4, 3, 0)
    assert folders.survey(str(tmp_path / "none")) == folders.Tree()


def disk(free: int, inodes: int = 1 << 20, all_inodes: int = 1 << 21) -> os.statvfs_result:
    return os.statvfs_result((4096, 1, 0, 0, free, all_inodes, 0, inodes, 0, 255))


def test_room_on_the_disk_is_judged_by_what_is_there() -> None:
    state = folders.Tree(bytes=500_000_000)
    assert [f.level for f in folders.check_room("state", "/s", state, disk(900_000_000))] == ["good"]
    assert [f.level for f in folders.check_room("state", "/s", state, disk(700_000_000))] == ["hint"]
    assert [f.level for f in folders.check_room("state", "/s", state, disk(50_000_000))] == ["trouble"]
    out = folders.Tree(files=100_000, bytes=500_000_000)
    assert [f.level for f in folders.check_room("feeds", "/f", out, disk(700_000_000))] == ["good"]
    assert [f.level for f in folders.check_room("feeds", "/f", out, disk(1 << 40, inodes=9_000))] == ["good", "hint"]
    assert [f.level for f in folders.check_room("feeds", "/f", out, disk(1 << 40, inodes=9))] == ["good", "trouble"]
    assert [f.level for f in folders.check_room("feeds", "/f", out, disk(1 << 40, 0, 0))] == ["good"]
    assert folders.check_room("feeds", "/f", out, None) == []


def test_what_others_may_read(site: Site) -> None:
    site.configure(server={"token": "a-very-secret-token"})
    site.config.chmod(0o644)
    site.state.mkdir(mode=0o755)
    assert [line.partition(":")[0] for line in findings(site, "permissions")] == ["trouble", "hint"]
    site.config.chmod(0o640)
    site.state.chmod(0o700)
    assert findings(site, "permissions") == ["good: nothing private is open to others"]
    site.configure(links={"enabled": False})  # a configuration without a secret may be read
    site.config.chmod(0o644)
    assert findings(site, "permissions") == ["good: nothing private is open to others"]


def test_feeds_that_a_web_server_could_not_read(site: Site) -> None:
    site.out.mkdir()
    site.out.chmod(0o700)
    (site.out / "feeds.opml").touch()
    assert "cannot read it" in findings(site, "permissions")[-1]
    site.out.chmod(0o755)
    assert findings(site, "permissions") == ["good: nothing private is open to others"]


def test_another_user_than_the_daemons(tmp_path: Path) -> None:
    assert list(folders.check_owner(str(tmp_path))) == list(folders.check_owner(str(tmp_path / "none"))) == []
    found = list(folders.check_owner("/proc/1" if os.geteuid() else "/proc/self/nothing"))
    assert [finding.level for finding in found] == (["hint"] if os.geteuid() else [])
    assert folders.name_of(os.geteuid()) and folders.name_of(4_000_000_000) == "4000000000"


def test_a_state_that_is_newer_older_or_torn(site: Site) -> None:
    assert site.command("build").returncode == 0
    path = site.state / "feedd.db"
    for version, level in ((99, "trouble"), (1, "hint")):
        database = sqlite3.connect(path)
        database.execute(f"PRAGMA user_version = {version}")
        database.close()
        assert findings(site, "state")[-1].startswith(f"{level}: {path}: schema {version}")
    # Python cannot tell what SQLite says of this one: its message quotes bytes that are no text
    damaged = path.read_bytes().replace(b"CREATE TABLE change ", b"CREATE TABLE (,,,,,,")
    damaged = damaged.replace(b"changechange", b"ch\xff\x8cgechange")
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 99)
    assert findings(site, "state")[-1].startswith(f"trouble: {path}: torn: ")
    path.write_bytes(damaged)
    assert findings(site, "state")[-1] == f"trouble: {path}: torn: database disk image is malformed"
    path.unlink()
    path.mkdir()
    assert findings(site, "state")[-1].startswith(f"trouble: {path}: cannot be used: ")


def test_times_that_are_still_to_come(site: Site) -> None:
    assert site.command("build").returncode == 0
    database = sqlite3.connect(site.state / "feedd.db")
    database.execute("INSERT INTO change (at, path, what) VALUES (4102444800, 'a.md', 'new')")
    database.execute("UPDATE file SET mtime_ns = 4102444800000000000")
    database.commit()
    database.close()
    found = findings(site, "clock")
    assert found[0].startswith("trouble: the state holds 2100-01-01T00:00:00Z, which is ")
    assert found[-1] == "hint: 1 article files were changed in the future, a.md"


# --- the machine -----------------------------------------------------------------------------------------------------


def test_a_missing_dependency_is_trouble() -> None:
    assert machine.check_versions({"feedd": "1", "aiohttp": ""}).level == "trouble"


def test_inotify_limits_against_the_folders() -> None:
    def levels(count: int, limits: tuple[int, int, int], in_use: tuple[int, int] = (0, 0), **more: bool) -> list[str]:
        return [f.level for f in machine.check_inotify(count, limits, in_use, running=more.get("running", False))]

    assert levels(100, (8192, 128, 16384)) == ["good"]
    assert levels(5_000, (8192, 128, 16384)) == ["hint"]
    assert levels(9_000, (8192, 128, 16384)) == ["trouble"]
    assert levels(5_000, (8192, 128, 16384), (5_000, 1)) == ["trouble"]  # of others
    assert levels(2_000, (8192, 128, 16384), (2_000, 1), running=True) == ["good"]  # its own
    assert levels(1, (8192, 128, 16384), (0, 128)) == ["good", "trouble"]
    assert levels(1, (8192, 128, 100)) == ["good", "hint"]
    assert machine.check_inotify(1, None, (0, 0), running=False)[0].level == "hint"
    todo = machine.check_inotify(500_000, (8192, 128, 16384), (0, 0), running=False)[0].todo
    assert "max_user_watches=1048576" in todo


def test_inotify_as_the_kernel_shows_it(tmp_path: Path) -> None:
    limits = tmp_path / "sys/fs/inotify"
    limits.mkdir(parents=True)
    assert machine.inotify_limits(str(tmp_path)) is None
    for name, value in (("user_watches", 8192), ("user_instances", 128), ("queued_events", 16384)):
        (limits / f"max_{name}").write_text(f"{value}\n")
    assert machine.inotify_limits(str(tmp_path)) == (8192, 128, 16384)
    process = tmp_path / "77"
    for name in ("fd", "fdinfo"):
        (process / name).mkdir(parents=True)
    for number, target in (("3", "anon_inode:inotify"), ("4", "/dev/null"), ("5", "anon_inode:inotify")):
        (process / "fd" / number).symlink_to(target)
    (process / "fdinfo/3").write_text("pos: 0\ninotify wd:1 ino:2\ninotify wd:2 ino:3\n")
    (tmp_path / "78").mkdir()
    assert machine.inotify_in_use(os.geteuid(), str(tmp_path)) == (2, 2)
    assert machine.inotify_in_use(os.geteuid() + 1, str(tmp_path)) == (0, 0)


def test_open_files_against_connections() -> None:
    check = partial(machine.check_open_files, is_chosen=False)
    found = check((1024, 1 << 19), 20_000)  # the server raises it
    assert (found.level, found.said) == (
        "good", "524288 allowed (1024, which feedd raises), 20512 needed for 20000 connections"
    )
    found = check((20_000, 20_000), 20_000)  # the default of the key on a usual machine: nothing is wrong
    assert (found.level, found.said, found.todo) == (
        "good", "20000 allowed: room for 19488 connections at once, of 20000 in server.max_connections", ""
    )
    todo = "LimitNOFILE=20512 in the unit, or ulimit -n 20512; or server.max_connections = 3584"
    found = machine.check_open_files((1024, 4096), 20_000, is_chosen=True)
    assert (found.level, found.todo) == ("hint", todo)
    assert check((1024, 4096), 20_000).level == "good"
    assert [check((1024, hard), 20_000).level for hard in (1024, 1511, 1512)] == ["hint", "hint", "good"]
    found = check((64, 64), 0)
    assert (found.level, found.said) == ("trouble", "64 allowed, 512 needed without any connection")
    assert check((512, 512), 0).level == "good"
    assert 0 < machine.open_files()[0] <= machine.open_files()[1]


@pytest.mark.parametrize(
    ("groups", "limits", "found"),
    [
        ("0::/system.slice/feedd.service\n", {"system.slice/feedd.service/memory.max": "268435456"}, 268435456),
        ("0::/a/b\n", {"a/memory.max": "1000", "a/b/memory.max": "max"}, 1000),
        ("0::/\n", {}, None),
        ("4:cpu:/a\n2:memory:/a\n", {"memory/a/memory.limit_in_bytes": "5000"}, 5000),
        ("2:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_memory_limits_of_control_groups(
    tmp_path: Path, groups: str, limits: dict[str, str], found: int | None
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(groups)
    for name, value in limits.items():
        (tmp_path / "g" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "g" / name).write_text(value + "\n")
    assert machine.memory_limit(str(tmp_path), f"{tmp_path}/g") == found


def test_memory_against_what_it_takes(tmp_path: Path) -> None:
    assert machine.memory_limit(str(tmp_path)) is machine.memory_available(str(tmp_path)) is None
    assert machine.check_memory(None, None, 64 << 20).level == "good"
    assert machine.check_memory(300_000_000, 8 << 30, 64 << 20).level == "hint"
    assert machine.check_memory(8 << 30, 50_000_000, 64 << 20).level == "trouble"
    (tmp_path / "meminfo").write_text("MemTotal: 10 kB\nMemAvailable:    4 kB\n")
    assert machine.memory_available(str(tmp_path)) == 4096


def test_the_clock_is_judged_by_what_is_known() -> None:
    now = 1_800_000_000.0

    def levels(*given: Any) -> list[str]:
        return [f.level for f in machine.check_clock(*given)]

    assert levels(now, int(now), True, 0.0) == levels(now, 0, None, 0.1) == ["good"]
    assert levels(now, int(now) + 3600, True, 0.0) == ["trouble"]
    assert levels(1_000_000.0, 0, True, 0.0) == ["trouble"]
    assert levels(now, 0, False, 3600.0) == ["hint", "hint"]
    assert machine.is_synchronised() in (True, False, None)


def test_without_certificates_nothing_can_be_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    assert machine.check_certificates().level == "trouble"


def test_a_unit_is_looked_for_where_there_is_systemd(tmp_path: Path) -> None:
    assert service.check_unit([str(tmp_path)], str(tmp_path / "no systemd")).level == "good"
    assert service.check_unit([str(tmp_path)], str(tmp_path)).todo == "feedd service install"
    (tmp_path / "feedd.service").touch()
    assert service.check_unit([str(tmp_path)], str(tmp_path)).said == str(tmp_path / "feedd.service")


def test_sizes_are_for_people() -> None:
    assert [size(n) for n in (0, 999, 1000, 12_345_678, 10**15)] == ["0 B", "999 B", "1.0 kB", "12.3 MB", "1000.0 TB"]


# --- the bundle ------------------------------------------------------------------------------------------------------


def members(path: Path) -> dict[str, str]:
    """The texts of a bundle."""
    with tarfile.open(path) as archive:
        return {name.rpartition("/")[2]: archive.extractfile(name).read().decode()  # type: ignore[union-attr]
                for name in archive.getnames()}


def test_a_bundle_is_its_owners_alone_and_holds_no_article(site: Site) -> None:
    site.put("broken.md", "---\ntitle: [\n---\nThe words of the body")
    site.put("b.md", article("A headline", "Words of the body", excerpt="The excerpt"))
    assert site.command("build").returncode == 0
    path = site.folder / "b.tar.gz"
    before = os.umask(0)
    try:
        assert examined(site, "--bundle", str(path)).exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = members(path)
    assert list(found) == ["README.txt", "report.json", "config.json", "status.json", "databases.json"]
    assert not any(text in "".join(found.values()) for text in ("A headline", "of the body", "The excerpt"))
    assert json.loads(found["databases.json"])["feedd.db"]["rows"]["article"] == 2
    assert json.loads(found["status.json"])["problems"][0]["path"] == "broken.md"
    assert json.loads(found["config.json"])["site"]["url"] == "https://news.example"
    again = examined(site, "--bundle", str(path))
    assert str(again.exception) == f"{path}: cannot be written: file exists"


def test_a_bundle_of_an_installation_that_does_not_work(site: Site) -> None:
    assert site.command("build").returncode == 0
    (site.state / "feedd.db").write_bytes(b"no database at all, but long enough to be taken for one" * 99)
    assert examined(site, "--bundle", str(site.folder / "b.tar.gz")).exit_code == 1
    found = members(site.folder / "b.tar.gz")
    assert "torn" in json.loads(found["status.json"])["error"]
    assert json.loads(found["databases.json"])["feedd.db"].keys() == {"error"}
    site.config.write_text("[server")
    assert examined(site, "--bundle", str(site.folder / "c.tar.gz")).exit_code == 1
    found = members(site.folder / "c.tar.gz")
    assert json.loads(found["config.json"]) == json.loads(found["status.json"]) == {}


PLACES = (
    '[server]\ntoken = "{}"', '[server]\ntokn = "{}"', '[server]\nport = "{}"', '[server.token]\nx = "{}"',
    '[site]\nurl = "https://user:{}@news.example/"', '[site]\nurl = "https://{}@news.example/"',
    '[hub]\nurls = ["https://hub.example/?key={}"]', '[hub]\nurls = ["https://u:{}@hub.example/x"]',
    '[links]\narchive = "https://archive.example/#{}"', '[links.host."a.example"]\nheaders = ["X-Key: {}"]',
    '[links.host."a.example"]\nheaders = ["X-Key: $VARIABLE"]', '[alert]\nwebhook = "https://hooks.example/T0/{}"',
    '[alerts.x]\nurl = "https://hooks.example/{}"', '[alerts]\n"{}" = true', '[[alerts]]\nto = ["mailto:{}"]',
    'secret = "{}"', '# {}\n', '[alerts]\npassword = [["{}"]]', '[feeds.custom.x]\ntitle = "ftp://u:{}@h/"',
    '[log]\nlevel = "https://h/?token={}&x=1"', '[hub]\nsecret_url = "{}"', '[server]\nredirects = ["x://a?{}"]',
    '[alerts]\ncommand = "notify --password={}"', '[[[{}', '[site]\ntitle = "x" "{}"',
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    secret=st.from_regex(r"[A-Za-z0-9_-]{16,90}", fullmatch=True).map("S3".__add__),
    places=st.lists(st.sampled_from(PLACES), min_size=1, max_size=3, unique_by=lambda place: place.split("]")[0]),
)
def test_no_secret_is_ever_in_a_bundle(tmp_path: Path, secret: str, places: list[str]) -> None:
    (tmp_path / "articles").mkdir(exist_ok=True)
    config = tmp_path / "config.toml"
    config.write_text("\n".join(place.replace("{}", secret) for place in places))
    report = doctor.examine(str(config), {"VARIABLE": secret})
    leaky = Finding("hint", "x", f"as the environment has it: {secret}") if "$VARIABLE" in str(places) else None
    more = [leaky] if leaky and report.redacted.config else []
    found = doctor.Report(report.at, (*report.findings, *more), {}, report.redacted)
    path = tmp_path / "b.tar.gz"
    path.unlink(missing_ok=True)
    bundle.write(str(path), found)
    for name, text in members(path).items():
        assert secret not in text, name
        assert secret[:12] not in text, name


def test_what_a_text_says_of_a_url_is_its_place() -> None:
    scrub = redact.Redacted({}, {}).scrub
    assert scrub("at https://u:p@h.example/a?b=c#d now") == "at https://***@h.example/a?***#*** now"
    assert scrub("http://[oops and http://h/") == "*** and http://h/"


def test_short_values_are_hidden_where_they_stand_and_left_elsewhere() -> None:
    redacted = redact.Redacted({"alerts": {"channel": "ok", "many": 3, "key": 123456, "empty": ""}}, {})
    assert redacted.config == {"alerts": {"channel": "***", "many": 3, "key": "***", "empty": ""}}
    assert redacted.scrub("ok 123456") == "ok ***"
    assert redacted.has_secret and not redact.Redacted({"links": {"headers": ["A: $B"]}}, {"B": "x"}).has_secret


def test_of_private_feeds_nothing_is_shown_but_that_there_are_some() -> None:
    raw = {"feeds": {"custom": {
        "bosslist": {"private": True, "title": "What the boss reads", "topics": ["AI"]}, "public": {"title": "For all"},
    }}}
    found = redact.Redacted(raw, {})
    assert found.config == {"feeds": {"custom": {"***0": {"private": True}, "public": {"title": "For all"}}}}
    assert found.scrub("private/bosslist: What the boss reads") == "private/***: ***"
