"""The configuration and this machine -> feedd installed as a service of systemd, taken away again, and how it is.

Edge: writes the unit, makes the user and the folders, looks whether that user can read what it must, and calls
systemctl. What it did is returned as sentences; what it cannot do is a ServiceError. Called by the command line.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence

from feedd import config, errors, initialise
from feedd.service import unit
from feedd.service.places import Places

USER = "feedd"
BOOTED = "/run/systemd/system"  # sd_booted(3)
Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class ServiceError(errors.FeeddError):
    """What keeps feedd from becoming a service, and what to do."""


def call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A command to its end, with what it says."""
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


# --- before -----------------------------------------------------------------------------------------------------------


def check_machine(*, user: bool, uid: int, run: Run, booted: str = BOOTED) -> None:
    """Raises ServiceError where systemd is not there, or not to be asked."""
    if not os.path.isdir(booted) or not shutil.which("systemctl"):
        raise ServiceError(
            "systemd does not run this machine, so there is nothing to install into; `feedd run` works under any"
            " supervisor, and --print shows the unit"
        )
    if not user and uid:
        raise ServiceError("only root can change the services of the system: sudo, or --user for one of your own")
    if user and (said := run(["systemctl", "--user", "show-environment"])).returncode:
        raise ServiceError(
            f"the systemd of your own cannot be asked ({_sentence(said)}): log in as yourself, not by su or sudo; on a"
            " server, `loginctl enable-linger` first"
        )


def write_config(places: Places, articles: str) -> str:
    """A configuration for articles in that folder (empty: the customary one), where there is none yet. Its path."""
    folder = os.path.abspath(articles or places.articles)
    if articles and not os.path.isdir(folder):
        raise ServiceError(f"there is no folder {folder}")
    try:
        os.makedirs(folder, exist_ok=True)
        os.makedirs(os.path.dirname(places.config), exist_ok=True)
        values = initialise.guesses(initialise.inspect(folder), os.path.basename(folder) if articles else "feedd")
        values |= {"articles.path": folder, "feeds.path": places.feeds, "state.path": places.state}
        with open(places.config, "x", encoding="utf-8") as file:
            os.chmod(file.fileno(), 0o640)  # there may be a token in it one day
            file.write(initialise.config_text(values, initialise.HEADER))
    except OSError as error:
        raise ServiceError(f"{error.filename}: {errors.in_words(error)}") from error
    return places.config


def planned(places: Places, articles: str) -> config.Config:
    """The part of what `write_config` would write that the unit depends on."""
    folder = os.path.abspath(articles or places.articles)
    paths = {"articles": folder, "feeds": places.feeds, "state": places.state}
    return config.validate(config.Config, {table: {"path": path} for table, path in paths.items()})[0]


def service_of(settings: config.Config, path: str, *, user: str) -> unit.Service:
    """What the unit must say of a configuration. `user`: who feedd runs as; empty for a service of one's own."""
    start, module_path = _command()
    config_path = os.path.abspath(path)
    articles, state, feeds = map(os.path.abspath, (settings.articles.path, settings.state.path, settings.feeds.path))
    code = (sys.prefix, sys.base_prefix, sys.executable, start[0], module_path or sys.prefix)
    return unit.Service(
        start, config_path, articles, state, feeds, settings.server.port if settings.server.enabled else 0, user,
        tuple(map(os.path.realpath, (*code, config_path, articles, state, feeds))), module_path,
    )


def _command() -> tuple[tuple[str, ...], str]:
    """What starts this feedd, and the folder of its package where Python would not find that by itself."""
    program = os.path.join(sysconfig.get_path("scripts"), "feedd")
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    installed = here in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if installed and os.access(program, os.X_OK):
        return (program,), ""
    return (sys.executable, "-P", "-m", "feedd"), "" if installed else here


# --- installing -------------------------------------------------------------------------------------------------------


def install(service: unit.Service, places: Places, *, run: Run, start: bool = True) -> Iterator[str]:
    """Makes the user and the folders, writes the unit, has systemd read it, and starts it; says what it did.

    Again for a service that is there: it is brought up to date, and started anew.
    """
    text, path = unit.text(service), os.path.join(places.units, unit.NAME)
    if (there := _read(path)) is not None and unit.read_marks(there) is None:
        raise ServiceError(f"{path} is there and was not written by feedd: move it away first")
    if not service.user and 0 < service.port < unit.FIRST_FREE_PORT:
        raise ServiceError(f"a user's own service cannot have port {service.port}: set server.port to 1024 or more")
    try:
        if service.user == USER:
            _make_user(places.users, run)
        _make_folders(service)
        if service.config == places.config and not _may(service.user, "r", service.config):
            os.chown(service.config, -1, _pwd(service.user).pw_gid)
        _check_access(service)
        _write(path, text)
    except OSError as error:
        raise ServiceError(f"{error.filename}: {errors.in_words(error)}") from error
    yield f"{path} is written."
    _systemctl(service.user, run, "daemon-reload")
    if not start:
        yield f"It is not started: {_shown(service.user, 'enable --now feedd')}"
        return
    _systemctl(service.user, run, "enable", unit.NAME)
    _systemctl(service.user, run, "restart", unit.NAME)
    name, when = (f" as {service.user}", "the machine") if service.user else ("", "your first login")
    yield f"feedd runs{name}, and starts with {when}; its configuration is {service.config}."
    if not service.user:
        yield "To have it run without a login: loginctl enable-linger"
    yield f"After a change of that file: {_shown(service.user, 'reload feedd')}"
    yield f"What it says: journalctl {'' if service.user else '--user '}-u feedd -f"


def _make_user(path: str, run: Run) -> None:
    """The service's own user, who owns what feedd writes, by sysusers.d(5): not a DynamicUser, below whose private
    folder no web server could read the feeds, and whom nobody could grant a look at the articles.
    """
    _write(path, f'u {USER} - "feedd publishes feeds" /var/lib/feedd\n')
    with contextlib.suppress(KeyError):
        pwd.getpwnam(USER)
        return
    said = run(["systemd-sysusers", path])
    if said.returncode:
        raise ServiceError(f"the user {USER} cannot be made ({_sentence(said)}): adduser --system --group {USER}")


def _make_folders(service: unit.Service) -> None:
    """The state for the service's user alone, for secrets of subscribers are in it; the feeds for everybody to read."""
    for folder, mode in ((service.feeds, 0o755), (service.state, 0o700)):
        if not os.path.isdir(folder):
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            os.mkdir(folder, mode)
            if service.user:
                os.chown(folder, _pwd(service.user).pw_uid, _pwd(service.user).pw_gid)


def _check_access(service: unit.Service) -> None:
    """Whether the service's user reaches what it must. Raises ServiceError with the first that it does not."""
    who, name = service.user or "you", service.user or "$USER"
    for flags, path, hint in (
        ("x", service.command[0], "install feedd for all users: pipx install --global, or a venv below /opt"),
        ("rx", sys.prefix, "install feedd for all users: pipx install --global, or a venv below /opt"),
        ("rx", service.module_path or sys.base_prefix, "feedd, and its Python, must lie where all users can read"),
        ("r", service.config, f"chgrp {name} {service.config} && chmod 640 {service.config}"),
        ("rx", service.articles, f"let {who} into it and the folders above it, by chmod or setfacl, or use --as USER"),
        ("rwx", service.state, f"chown -R {name}: {service.state}"),
        ("rwx", service.feeds, f"chown -R {name}: {service.feeds}"),
    ):
        if path == service.articles and not os.path.exists(path):
            continue  # feedd waits for it
        if not _may(service.user, flags, path):
            does = "write to" if "w" in flags else "read" if "r" in flags else "start"
            raise ServiceError(f"{who} cannot {does} {path}: {hint}")
    for path in sorted(os.path.join(service.state, entry) for entry in os.listdir(service.state)):
        if not _may(service.user, "rw", path):
            raise ServiceError(f"{who} cannot write to {path}: chown -R {name}: {service.state}")


def _may(user: str, flags: str, path: str) -> bool:
    """Whether a user may do all of that with a path, as the kernel sees it: asked in that user's name."""
    if not user or os.geteuid():
        return all(os.access(path, {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}[flag]) for flag in flags)
    tests = [each for flag in flags for each in (f"-{flag}", path, "-a")][:-1]
    them = _pwd(user)
    return not subprocess.run(
        ["/usr/bin/test", *tests], user=them.pw_uid, group=them.pw_gid, check=False,
        extra_groups=os.getgrouplist(them.pw_name, them.pw_gid),
    ).returncode


def _pwd(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError as error:
        raise ServiceError(f"there is no user {user}") from error


# --- afterwards -------------------------------------------------------------------------------------------------------


def uninstall(places: Places, *, user: bool, run: Run) -> Iterator[str]:
    """Stops the service and takes its unit away; data stays, and where is said."""
    path = os.path.join(places.units, unit.NAME)
    text = _read(path)
    if text is None:
        raise ServiceError(f"{path} is not there: feedd is not installed as a service{' of yours' if user else ''}")
    marks = unit.read_marks(text)
    if marks is None:
        raise ServiceError(f"{path} was not written by feedd, and stays")
    whose = "" if user else USER
    _systemctl(whose, run, "disable", "--now", unit.NAME)
    try:
        os.remove(path)
        if places.users:
            with contextlib.suppress(FileNotFoundError):
                os.remove(places.users)
    except OSError as error:
        raise ServiceError(f"{error.filename}: {errors.in_words(error)}") from error
    _systemctl(whose, run, "daemon-reload")
    yield f"The service is stopped, and {path} is gone."
    yield "These stay; remove them if you like:"
    for name, what in (("Config", "configuration"), ("State", "state"), ("Feeds", "feeds"), ("Articles", "articles")):
        yield f"  {marks.get(name, '?')} ({what})"
    if marks.get("User") == USER:
        yield f"  the user {USER}"


PROPERTIES = (
    "LoadState", "ActiveState", "SubState", "StatusText", "UnitFileState", "MainPID", "NRestarts", "Result",
    "ExecMainStatus", "ActiveEnterTimestamp",
)


def look(*, user: bool, run: Run) -> dict[str, str]:
    """What systemd knows of the service. Raises ServiceError where it cannot be asked."""
    said = run(["systemctl", *(["--user"] if user else []), "show", unit.NAME, f"--property={','.join(PROPERTIES)}"])
    if said.returncode:
        raise ServiceError(f"systemd cannot be asked: {_sentence(said)}")
    return dict(line.split("=", 1) for line in said.stdout.splitlines() if "=" in line)


def describe(found: Mapping[str, str], *, user: bool) -> list[str]:
    """How the service is, in a line or two, and what to do."""
    whose, log = "" if user else USER, f"journalctl {'--user ' if user else ''}-u feedd -n 50"
    active = found.get("ActiveState", "")
    again = int(found.get("NRestarts") or 0)
    restarts = f", started anew {again} times: {log}" if again else ""
    if found.get("LoadState") == "not-found":
        return [f"feedd is not installed as a service: feedd service install{' --user' if user else ''}"]
    if active in ("active", "reloading"):
        lines = [f"feedd runs since {found.get('ActiveEnterTimestamp')} (process {found.get('MainPID')}){restarts}"]
        lines += [found["StatusText"]] if found.get("StatusText") else []
        if found.get("UnitFileState") != "enabled":
            lines.append(f"It will not start by itself: {_shown(whose, 'enable feedd')}")
        return lines
    how = f"{found.get('Result')}, exit code {found.get('ExecMainStatus')}"
    if found.get("SubState") == "auto-restart":
        return [f"feedd fails ({how}), and is started again{restarts or ': ' + log}"]
    if active == "activating":
        return [f"feedd is starting{restarts}", *filter(None, [found.get("StatusText")])]
    if active == "failed":
        return [f"feedd failed ({how}){restarts or ': ' + log}", f"Then: {_shown(whose, 'restart feedd')}"]
    return [f"feedd is stopped: {_shown(whose, 'start feedd')}"]


# --- tools ------------------------------------------------------------------------------------------------------------


def _systemctl(user: str, run: Run, *arguments: str) -> None:
    said = run(["systemctl", *([] if user else ["--user"]), *arguments])
    if said.returncode:
        raise ServiceError(f"systemctl {' '.join(arguments)} failed: {_sentence(said)}")


def _shown(user: str, arguments: str) -> str:
    return f"systemctl {'' if user else '--user '}{arguments}"


def _sentence(said: subprocess.CompletedProcess[str]) -> str:
    return (said.stderr.strip() or said.stdout.strip()).replace("\n", "; ") or f"exit code {said.returncode}"


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _write(path: str, text: str) -> None:
    """At once or not at all: systemd may read it at any time."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    partial = path + ".new"
    with open(partial, "w", encoding="utf-8") as file:
        os.chmod(file.fileno(), 0o644)
        file.write(text)
    os.replace(partial, path)
