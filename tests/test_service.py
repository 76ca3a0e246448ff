"""feedd as a service: what the unit says, what systemd makes of it, and what `feedd service` does to a machine.

Where namespaces allow it, a systemd of its own (see systemd_machine) installs, starts, reloads and ends the real thing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import systemd_machine
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from newsroom import article
from processes import ROOT, environment, until

from feedd import config, errors
from feedd.service import install, places, unit

PLAIN = unit.Service(
    ("/bin/true",), "/etc/feedd/config.toml", "/srv/news", "/var/lib/feedd/state", "/var/lib/feedd/feeds", 8080, "feedd"
)
OWN = replace(PLAIN, user="", config="/home/anna/.config/feedd/config.toml")
PATHS = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/"), min_size=1, max_size=30
).filter(lambda name: name.strip(".")).map("/srv/".__add__)

needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


def settings_of(text: str) -> list[tuple[str, str]]:
    """The lines of a unit that say something, in order."""
    lines = [line for line in text.partition(f"[{unit.MARK}]")[0].splitlines() if line and line[0] not in "#["]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def words(value: str) -> list[str]:
    """The quoted words of a value: quotes and backslashes as in systemd.syntax(7), no specifier of systemd.unit(5)."""
    found, word, quoted, at = [], "", False, 0
    while at < len(value):
        character = value[at]
        at += 1
        if character == "\\":
            word += value[at]
            at += 1
        elif character == '"':
            if quoted:
                found.append(word)
                word = ""
            quoted = not quoted
        elif quoted:
            word += character
            if character == "%":
                assert value[at] == "%"
                at += 1
    assert not quoted
    return found


# --- the text ---------------------------------------------------------------------------------------------------------


@given(PATHS, PATHS, PATHS, PATHS)
@example("/srv/a b", '/srv/q"uo\\te', "/srv/100%h", "/srv/$HOME ${X}")
def test_any_path_is_named_as_it_is(config_path: str, articles: str, state: str, feeds: str) -> None:
    service = replace(
        PLAIN, command=("/bin/true", articles), config=config_path, articles=articles, state=state, feeds=feeds
    )
    text = unit.text(service)
    said = dict(settings_of(text))
    assert words(said["ReadWritePaths"]) == words(said["RequiresMountsFor"]) == [state, feeds]
    started = [word.replace("$$", "$") for word in words(said["ExecStart"])]
    assert started == ["/bin/true", articles, "--config", config_path, "run"]
    assert "$" not in said["ExecStart"].replace("$$", "")
    marks = unit.read_marks(text)
    assert marks == {
        "Config": config_path, "Articles": articles, "State": state, "Feeds": feeds, "User": "feedd",
    }


@pytest.mark.parametrize("field", ["config", "state", "module_path"])
@pytest.mark.parametrize("name", ["a\nb", "a\x7f", "a\udce4"])
def test_a_path_that_no_unit_can_name_is_refused(field: str, name: str) -> None:
    with pytest.raises(errors.ConfigError, match="no unit can name a path with such characters"):
        unit.text(replace(PLAIN, **{field: f"/srv/{name}"}))


def test_a_program_with_a_dollar_in_its_path_is_refused() -> None:
    with pytest.raises(errors.ConfigError, match=r"no unit can start a program with \$ in its path"):
        unit.text(replace(PLAIN, command=("/opt/$feedd",)))


def test_only_the_folders_of_state_and_feeds_are_writable() -> None:
    said = settings_of(unit.text(PLAIN))
    assert ("ProtectSystem", "strict") in said
    assert [value for name, value in said if name == "ReadWritePaths"] == [
        '"/var/lib/feedd/state" "/var/lib/feedd/feeds"'
    ]
    below = settings_of(unit.text(replace(PLAIN, articles="/var/lib/feedd/articles")))
    assert ("StateDirectory", "feedd") in said
    assert ("ReadOnlyPaths", '"-/var/lib/feedd/articles"') in below
    elsewhere = dict(settings_of(unit.text(replace(PLAIN, state="/srv/state", feeds="/var/lib/feedder"))))
    assert "StateDirectory" not in elsewhere


@pytest.mark.parametrize(("port", "capability"), [(0, ""), (80, "CAP_NET_BIND_SERVICE"), (1023, "CAP_NET_BIND_SERVICE"),
                                                  (1024, ""), (8080, "")])
def test_a_capability_is_given_for_a_port_that_takes_one_and_for_no_other(port: int, capability: str) -> None:
    said = dict(settings_of(unit.text(replace(PLAIN, port=port))))
    assert said["CapabilityBoundingSet"] == capability
    assert said.get("AmbientCapabilities", "") == capability
    assert ("PrivateUsers" in said) is not bool(capability)


@pytest.mark.parametrize("home", ["/home/anna/news", "/root", "/run/user/1000/news"])
def test_homes_and_temporary_folders_are_hidden_where_nothing_lies_in_them(home: str) -> None:
    assert ("ProtectHome", "yes") in settings_of(unit.text(PLAIN))
    assert ("PrivateTmp", "yes") in settings_of(unit.text(PLAIN))
    assert ("ProtectHome", "yes") in settings_of(unit.text(replace(PLAIN, articles="/homely/news")))
    for changed in (replace(PLAIN, articles=home), replace(PLAIN, places=(home,))):
        assert ("ProtectHome", "read-only") in settings_of(unit.text(changed))
    assert ("PrivateTmp", "no") in settings_of(unit.text(replace(PLAIN, state="/var/tmp/state")))


def test_a_users_own_unit_asks_for_nothing_that_takes_root() -> None:
    said = dict(settings_of(unit.text(OWN)))
    assert said["WantedBy"] == "default.target"
    assert said["EnvironmentFile"] == "-%E/feedd/environment"
    assert not said.keys() & {"User", "CapabilityBoundingSet", "PrivateDevices", "ProtectSystem", "ReadWritePaths"}
    assert said["NoNewPrivileges"] == "yes"


def test_marks_that_somebody_wrote_in_are_none() -> None:
    assert unit.read_marks("[Unit]\n") is None
    assert unit.read_marks(unit.text(PLAIN) + "more\n") is None
    assert unit.read_marks(unit.text(PLAIN) + "More=more\n") is None


# --- what systemd makes of it -----------------------------------------------------------------------------------------


@needs_analyze
@pytest.mark.parametrize("port", [80, 8080])
def test_it_is_rated_as_well_hardened(tmp_path: Path, port: int) -> None:
    (tmp_path / unit.NAME).write_text(unit.text(replace(PLAIN, port=port)))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(tmp_path / unit.NAME)],
        capture_output=True, text=True, check=False, timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(done.stdout.rpartition(unit.NAME + ": ")[2].split()[0]) <= 2.0


@needs_analyze
@pytest.mark.parametrize("service", [
    PLAIN, OWN, replace(PLAIN, port=80, module_path="/srv/100% feedd"),
    replace(PLAIN, config='/etc/q"uo\\te $X.toml', articles="/srv/a b", state="/srv/%n", feeds="/home/x;y #"),
], ids=["plain", "own", "checkout", "odd"])  # fmt: skip
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path, service: unit.Service) -> None:
    (tmp_path / unit.NAME).write_text(unit.text(service))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *([] if service.user else ["--user"]), str(tmp_path / unit.NAME)],
        capture_output=True, text=True, check=False, timeout=30, env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if unit.NAME in line]
    assert (done.returncode, said) == (0, [])


# --- places -----------------------------------------------------------------------------------------------------------


def test_the_configuration_here_comes_before_the_users_and_that_before_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here, system = {"HOME": str(tmp_path)}, tmp_path / "here", tmp_path / "etc.toml"
    here.mkdir()
    monkeypatch.chdir(here)
    assert places.find_config(home, str(system)) == "config.toml"
    system.touch()
    assert places.find_config(home, str(system)) == str(system)
    own = tmp_path / ".config/feedd/config.toml"
    own.parent.mkdir(parents=True)
    own.touch()
    assert places.find_config(home, str(system)) == str(own)
    (here / "config.toml").touch()
    assert places.find_config(home, str(system)) == "config.toml"


def test_a_relative_base_folder_is_ignored() -> None:
    found = places.of_user({"HOME": "/home/anna", "XDG_CONFIG_HOME": "relative", "XDG_STATE_HOME": "/data"})
    assert (found.units, found.state) == ("/home/anna/.config/systemd/user", "/data/feedd")


# --- installing, with a systemctl that notes what it is told ----------------------------------------------------------


class Systemctl:
    """Does nothing, says yes; or no, to the commands that begin with one of `refused`."""

    def __init__(self, *refused: str, shows: str = "") -> None:
        self.told: list[str] = []
        self._refused, self._shows = refused, shows

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.told.append(" ".join(command))
        no = self._refused and self.told[-1].startswith(self._refused)
        return subprocess.CompletedProcess(command, int(bool(no)), self._shows, "Access denied\n" if no else "")


def ours(tmp_path: Path, **changes: object) -> tuple[unit.Service, places.Places]:
    """A service of the calling user's, everything below a folder of the test."""
    own = places.of_user({"HOME": str(tmp_path)})
    path = install.write_config(own, "")
    return replace(install.service_of(config.load(path), path, user=""), **changes), own


def test_a_first_installation_makes_a_configuration_folders_and_a_unit_and_starts_it(tmp_path: Path) -> None:
    service, own = ours(tmp_path)
    systemctl = Systemctl()
    said = list(install.install(service, own, run=systemctl))
    assert systemctl.told == [
        "systemctl --user daemon-reload", "systemctl --user enable feedd.service",
        "systemctl --user restart feedd.service",
    ]
    assert said[0] == f"{own.units}/feedd.service is written."
    assert service.command[1:] == ("-P", "-m", "feedd")
    assert (service.module_path, service.articles) == (str(ROOT), own.articles)
    assert Path(own.units, "feedd.service").read_text() == unit.text(service)
    assert [Path(folder).stat().st_mode & 0o777 for folder in (service.state, service.feeds)] == [0o700, 0o755]
    assert Path(own.config).stat().st_mode & 0o777 == 0o640
    before = Path(own.config).read_bytes()
    list(install.install(service, own, run=systemctl, start=False))  # once more
    assert systemctl.told[3:] == ["systemctl --user daemon-reload"]
    assert Path(own.config).read_bytes() == before


def test_a_first_configuration_is_made_of_the_articles_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "news").mkdir()
    (tmp_path / "news" / "one.md").write_text(article("One"))
    own = places.of_user({"HOME": str(tmp_path)})
    planned = install.planned(own, str(tmp_path / "news"))
    settings = config.load(install.write_config(own, str(tmp_path / "news")))
    assert settings.articles.path == planned.articles.path == tmp_path / "news"
    assert (settings.feeds.path, settings.state.path) == (planned.feeds.path, planned.state.path)
    with pytest.raises(install.ServiceError, match="there is no folder"):
        install.write_config(own, str(tmp_path / "nowhere"))
    with pytest.raises(install.ServiceError, match="file exists"):
        install.write_config(own, "")


def test_data_outlives_the_service_and_it_is_said_where_it_is(tmp_path: Path) -> None:
    service, own = ours(tmp_path)
    list(install.install(service, own, run=Systemctl()))
    systemctl = Systemctl()
    said = "\n".join(install.uninstall(own, user=True, run=systemctl))
    assert systemctl.told == ["systemctl --user disable --now feedd.service", "systemctl --user daemon-reload"]
    assert not Path(own.units, "feedd.service").exists()
    for path in (service.config, service.state, service.feeds, service.articles):
        assert path in said
        assert Path(path).exists()
    with pytest.raises(install.ServiceError, match="feedd is not installed as a service of yours"):
        list(install.uninstall(own, user=True, run=systemctl))


def test_a_unit_of_somebody_elses_stays(tmp_path: Path) -> None:
    service, own = ours(tmp_path)
    theirs = Path(own.units, "feedd.service")
    theirs.parent.mkdir(parents=True)
    theirs.write_text("[Service]\n")
    with pytest.raises(install.ServiceError, match="was not written by feedd: move it away first"):
        list(install.install(service, own, run=Systemctl()))
    with pytest.raises(install.ServiceError, match="was not written by feedd, and stays"):
        list(install.uninstall(own, user=True, run=Systemctl()))
    assert theirs.read_text() == "[Service]\n"


def test_what_keeps_it_from_being_installed_is_said_with_what_to_do(tmp_path: Path) -> None:
    service, own = ours(tmp_path)
    with pytest.raises(install.ServiceError, match=r"cannot have port 80: set server\.port to 1024 or more"):
        list(install.install(replace(service, port=80), own, run=Systemctl()))
    with pytest.raises(install.ServiceError, match=r"systemctl enable feedd\.service failed: Access denied$"):
        list(install.install(service, own, run=Systemctl("systemctl --user enable")))
    with pytest.raises(install.ServiceError, match="there is no user nobody-of-that-name"):
        list(install.install(replace(service, user="nobody-of-that-name"), own, run=Systemctl()))
    (tmp_path / "file").touch()
    with pytest.raises(install.ServiceError, match="/file: file exists"):
        list(install.install(replace(service, feeds=str(tmp_path / "file/feeds")), own, run=Systemctl()))


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to ask as another user")
def test_what_the_services_user_cannot_read_is_said_before_it_is_started(tmp_path: Path) -> None:
    service, own = ours(tmp_path)
    systemctl = Systemctl()
    with pytest.raises(install.ServiceError, match=r"nobody cannot start .*: install feedd for all users"):
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        (closed / "feedd").touch()
        list(install.install(replace(service, command=(str(closed / "feedd"),), user="nobody"), own, run=systemctl))
    assert systemctl.told == []


def test_a_machine_without_systemd_and_a_user_without_rights_are_told_so(tmp_path: Path) -> None:
    with pytest.raises(install.ServiceError, match="systemd does not run this machine"):
        install.check_machine(user=False, uid=0, run=Systemctl(), booted=str(tmp_path / "none"))
    if not shutil.which("systemctl"):
        pytest.skip("systemctl is not installed")
    with pytest.raises(install.ServiceError, match="only root can change the services of the system: sudo, or --user"):
        install.check_machine(user=False, uid=1000, run=Systemctl(), booted=str(tmp_path))
    with pytest.raises(install.ServiceError, match=r"the systemd of your own cannot be asked \(Access denied\)"):
        install.check_machine(user=True, uid=1000, run=Systemctl("systemctl --user"), booted=str(tmp_path))
    install.check_machine(user=False, uid=0, run=Systemctl(), booted=str(tmp_path))


# --- status -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shows", "lines"), [
    ("LoadState=not-found\nActiveState=inactive\n", ["feedd is not installed as a service: feedd service install"]),
    ("LoadState=loaded\nActiveState=inactive\n", ["feedd is stopped: systemctl start feedd"]),
    ("ActiveState=activating\nSubState=start\nStatusText=\n", ["feedd is starting"]),
    ("ActiveState=activating\nSubState=auto-restart\nResult=exit-code\nExecMainStatus=4\nNRestarts=2\n",
     ["feedd fails (exit-code, exit code 4), and is started again, started anew 2 times: journalctl -u feedd -n 50"]),
    ("ActiveState=active\nStatusText=a = b\nMainPID=7\nNRestarts=0\nActiveEnterTimestamp=today\nUnitFileState=x\n",
     ["feedd runs since today (process 7)", "a = b", "It will not start by itself: systemctl enable feedd"]),
    ("ActiveState=failed\nResult=watchdog\nExecMainStatus=6\n",
     ["feedd failed (watchdog, exit code 6): journalctl -u feedd -n 50", "Then: systemctl restart feedd"]),
])  # fmt: skip
def test_status_says_how_it_is_and_what_to_do(shows: str, lines: list[str]) -> None:
    found = install.look(user=False, run=Systemctl(shows=shows))
    assert install.describe(found, user=False) == lines


def test_a_systemd_that_does_not_answer_is_said() -> None:
    with pytest.raises(install.ServiceError, match="systemd cannot be asked: Access denied"):
        install.look(user=False, run=Systemctl("systemctl show"))


# --- the command line -------------------------------------------------------------------------------------------------


def feedd(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-P", "-m", "feedd", *arguments], cwd=cwd, env=environment() | more,
        capture_output=True, text=True, check=False, timeout=60,
    )


def test_print_shows_the_unit_and_writes_nothing(tmp_path: Path) -> None:
    done = feedd("service", "install", "--user", "--print", cwd=tmp_path, HOME=str(tmp_path), XDG_CONFIG_HOME="")
    assert done.returncode == 0, done.stderr
    marks = unit.read_marks(done.stdout)
    assert marks
    assert marks["Config"] == f"{tmp_path}/.config/feedd/config.toml"
    assert list(tmp_path.iterdir()) == []


def test_a_broken_configuration_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[server]\nport = 99999\n")
    done = feedd("service", "install", "--print", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "config.toml:2: [server] port: 99999 " in done.stderr


@pytest.mark.skipif(os.path.isdir(install.BOOTED), reason="systemd runs this machine, and would be told to")
def test_without_systemd_the_commands_say_so(tmp_path: Path) -> None:
    for verb in ("install", "uninstall", "status"):
        done = feedd("service", verb, cwd=tmp_path)
        assert done.returncode == 2
        assert "systemd does not run this machine" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(tmp_path: Path, shell: str) -> None:
    if shell == "bash" and not shutil.which("bash"):
        pytest.skip("bash is not installed")
    done = feedd("completion", shell, cwd=tmp_path)
    assert done.returncode == 0
    assert "_FEEDD_COMPLETE" in done.stdout


# --- the real thing ---------------------------------------------------------------------------------------------------

_WHY_NOT = systemd_machine.why_not()
needs_machine = pytest.mark.skipif(bool(_WHY_NOT), reason=f"a machine of its own: {_WHY_NOT}")
DROP_IN = "/etc/systemd/system/feedd.service.d/test.conf"
# what hangs, as if a disk did: the thread that sees to the watching, when the test says so
HANG = """
import os, threading
from feedd import watch
from feedd.daemon import supervisor
supervisor.SILENCE_S[supervisor.WATCHING] = 0.5
step = watch.Watcher._step
def hanging(self):
    if os.path.exists("/run/trial/hang"):
        threading.Event().wait()
    return step(self)
watch.Watcher._step = hanging
"""


class Host:
    """The machine, with feedd's command line in it."""

    def __init__(self, machine: systemd_machine.Machine) -> None:
        self.machine, self.log = machine, machine.shared / "log"
        self.write(DROP_IN, "[Service]\nStandardError=append:/run/trial/log\n")
        self.write("/srv/news/one.md", article("One"))

    def feedd(self, *arguments: str, code: int = 0) -> str:
        done = self.machine.do(sys.executable, "-P", "-m", "feedd", *arguments, check=False, PYTHONPATH=str(ROOT))
        assert done.returncode == code, (arguments, done.stdout, done.stderr, self.said())
        return done.stdout + done.stderr

    def write(self, path: str, text: str) -> None:
        make = 'mkdir -p "$(dirname "$1")"; printf %s "$2" >"$1.new"; mv "$1.new" "$1"'
        self.machine.do("sh", "-ec", make, "sh", path, text)

    def shows(self, name: str) -> str:
        return self.machine.do("systemctl", "show", "-P", name, "feedd").stdout.strip()

    def read(self, path: str) -> str:
        return self.machine.do("cat", path, check=False).stdout

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with systemd_machine.running(tmp_path_factory.mktemp("machine")) as machine:
        host = Host(machine)
        said = host.feedd("service", "install", "--articles", "/srv/news")
        assert "feedd runs as feedd" in said
        yield host


@needs_machine
def test_a_newcomer_has_a_service_by_one_command(host: Host) -> None:
    assert "feedd runs since" in host.feedd("service", "status")
    assert "1 entries" in host.shows("StatusText")
    assert "One" in host.read("/var/lib/feedd/feeds/all.json")
    modes = host.machine.do("stat", "-c", "%U %a", "/var/lib/feedd", "/var/lib/feedd/feeds", "/var/lib/feedd/state")
    assert modes.stdout.splitlines() == ["feedd 755", "feedd 755", "feedd 700"]
    assert host.machine.do("stat", "-c", "%U:%G %a", "/etc/feedd/config.toml").stdout == "root:feedd 640\n"
    host.machine.do("setpriv", "--reuid=65534", "--clear-groups", "cat", "/var/lib/feedd/feeds/all.atom")
    host.write("/srv/news/two.md", article("Two"))
    until(lambda: "Two" in host.read("/var/lib/feedd/feeds/all.json"), "the second article is published")


@needs_machine
def test_it_has_no_rights_and_runs_its_own_processes_all_the_same(host: Host) -> None:
    status = dict(line.split(":\t", 1) for line in host.read(f"/proc/{host.shows('MainPID')}/status").splitlines())
    assert status["Uid"].split()[0] != "0"
    assert (status["CapEff"], status["NoNewPrivs"], status["Seccomp"]) == ("0000000000000000", "1", "2")
    host.machine.do("sh", "-c", "for n in $(seq 700); do sed s/One/Bulk-$n/ /srv/news/one.md >/srv/news/$n.md; done")
    host.write("/srv/news/linked.md", article("Linked", related=[{"title": "R", "webUrl": "https://[::1]/x"}]))
    host.machine.do("systemctl", "restart", "feedd")
    until(lambda: "703 entries" in host.shows("StatusText"), f"all is read in worker processes: {host.said()}")
    assert "Traceback" not in host.said()
    assert "unexpected" not in host.said()


@needs_machine
def test_it_can_write_to_its_folders_and_nowhere_else(host: Host) -> None:
    pid = host.shows("MainPID")
    mounts = [line.split()[4] for line in host.read(f"/proc/{pid}/mountinfo").splitlines()]
    tried = {*mounts, "/etc/feedd", "/srv/news", "/home", "/opt", "/usr", "/var/lib", "/var/log", "/var/cache"}
    may = host.machine.do(
        "nsenter", "-t", pid, "-m", "setpriv", "--reuid=feedd", "--regid=feedd", "--init-groups", "sh", "-c",
        'for each; do test -d "$each" && test -w "$each" && echo "$each"; done; true', "sh", *sorted(tried),
    )
    shared_memory = {"/dev/shm", "/dev/mqueue"}
    its_own = {"/var/lib/feedd", "/var/lib/feedd/feeds", "/var/lib/feedd/state"}
    assert set(may.stdout.split()) - shared_memory - {"/tmp", "/var/tmp"} == its_own


@needs_machine
def test_a_reload_is_of_the_same_process(host: Host) -> None:
    before = host.shows("MainPID")
    host.machine.do("systemctl", "reload", "feedd")
    until(lambda: host.shows("ActiveState") == "active", "reloaded")
    assert host.shows("MainPID") == before


@needs_machine
def test_killed_it_is_back_by_itself(host: Host) -> None:
    before = host.shows("MainPID")
    host.machine.do("kill", "-9", before)
    until(lambda: host.shows("MainPID") not in (before, "0") and host.shows("ActiveState") == "active", "back again")
    assert "started anew 1 times" in host.feedd("service", "status")


@needs_machine
def test_a_loop_that_hangs_is_named_and_the_watchdog_starts_feedd_anew(host: Host) -> None:
    (host.machine.shared / "sitecustomize.py").write_text(HANG)
    host.write(DROP_IN, "[Service]\nStandardError=append:/run/trial/log\nWatchdogSec=2\n"
               f"Environment=PYTHONPATH=/run/trial:{ROOT}\n")
    host.machine.do("systemctl", "daemon-reload")
    host.machine.do("systemctl", "restart", "feedd")
    before, restarts = host.shows("MainPID"), int(host.shows("NRestarts"))
    (host.machine.shared / "hang").touch()
    until(lambda: "a loop hangs; the service manager will start feedd anew" in host.said(), f"named: {host.said()}")
    (host.machine.shared / "hang").unlink()
    until(lambda: int(host.shows("NRestarts")) > restarts and host.shows("ActiveState") == "active", "started anew")
    assert host.shows("MainPID") != before
    said = host.said()
    assert "loop=watching" in said
    assert "Fatal Python error: Aborted" in said  # with where each thread was


@needs_machine
def test_a_wrong_configuration_is_not_tried_again_and_again(host: Host) -> None:
    good = host.read("/etc/feedd/config.toml")
    host.machine.do("systemctl", "stop", "feedd")
    host.machine.do("sh", "-c", "echo 'wrong' >>/etc/feedd/config.toml")
    host.machine.do("systemctl", "start", "feedd", check=False)
    until(lambda: host.shows("ActiveState") == "failed", "failed")
    assert "exit code 2" in host.feedd("service", "status", code=1)
    host.machine.do("sh", "-c", 'printf %s "$1" >/etc/feedd/config.toml', "sh", good)
    assert "feedd runs as feedd" in host.feedd("service", "install")


@needs_machine
def test_a_service_for_a_port_below_1024_has_the_one_capability_for_it(host: Host) -> None:
    text = host.read("/etc/feedd/config.toml").replace("#port = 8080", "port = 80  ")
    host.machine.do("sh", "-c", 'printf %s "$1" >/etc/feedd/config.toml', "sh", text)
    host.feedd("service", "install")
    status = host.read(f"/proc/{host.shows('MainPID')}/status")
    assert "CapEff:\t0000000000000400" in status
    assert "http://127.0.0.1:80/" in host.said()


USERS_MANAGER = """[Service]
Type=notify
User=anna
Delegate=yes
Environment=XDG_RUNTIME_DIR=/run/anna HOME=/home/anna
ExecStart=/lib/systemd/systemd --user
"""


@needs_machine
def test_a_user_has_a_service_of_her_own(host: Host) -> None:
    host.machine.do("sh", "-ec", "useradd -m anna && mkdir -m 700 /run/anna && chown anna /run/anna")
    host.write("/etc/systemd/system/anna.service", USERS_MANAGER)
    host.machine.do("systemctl", "start", "anna")
    host.machine.do("systemctl", "stop", "feedd")  # for its port

    def anna(*arguments: str, code: int = 0) -> str:
        done = host.machine.do(
            "setpriv", "--reuid=anna", "--regid=anna", "--init-groups", sys.executable, "-P", "-m", "feedd",
            *arguments, check=False, PYTHONPATH=str(ROOT), HOME="/home/anna", XDG_RUNTIME_DIR="/run/anna",
        )
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout + done.stderr

    assert "only root can change the services of the system" in anna("service", "install", code=2)
    assert "/home/anna/.config/systemd/user/feedd.service is written." in anna("service", "install", "--user")
    assert "feedd runs since" in anna("service", "status", "--user")
    assert "/home/anna/.local/state/feedd (state)" in anna("service", "uninstall", "--user")
    host.machine.do("systemctl", "start", "feedd")


@needs_machine
def test_uninstalled_it_leaves_what_it_made(host: Host) -> None:
    said = host.feedd("service", "uninstall")
    assert "/var/lib/feedd/state (state)" in said
    assert "feedd is not installed as a service" in host.feedd("service", "status", code=1)
    assert host.read("/var/lib/feedd/feeds/all.json")
    assert host.machine.do("systemctl", "is-active", "feedd", check=False).stdout == "inactive\n"
