"""The whole installation -> findings, one sentence each: what is well, what might be better, what does not work.

| module | looks at |
|---|---|
| `machine` | versions, limits of the kernel and of containers, memory, clock, time zone, certificates |
| `folders` | articles, state and its databases, feeds: there, readable, private, roomy |
| `service` | the daemon, its port, its unit |
| `redact`, `bundle` | all of it in one file for people elsewhere, without secrets |

Edge: called by `feedd doctor`. Changes nothing, and asks nobody but this machine.
"""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from feedd import config, errors, poll
from feedd.doctor import folders, machine, service
from feedd.doctor.findings import Finding as Finding
from feedd.doctor.findings import good, hint, trouble
from feedd.doctor.redact import Redacted
from feedd.hub import subscriptions
from feedd.service.running import is_running
from feedd.store import linkrows, schema

SCHEMAS = {
    schema.NAME: len(schema.MIGRATIONS), linkrows.NAME: len(linkrows.MIGRATIONS),
    subscriptions.NAME: len(subscriptions.MIGRATIONS),
}


class Report(Struct, frozen=True):
    """`settings`: None where config.toml cannot be used; then only the machine was looked at."""

    at: int
    findings: tuple[Finding, ...]
    versions: dict[str, str]
    redacted: Redacted
    settings: config.Config | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing is trouble."""
        return all(finding.level != "trouble" for finding in self.findings)


def examine(config_path: str, environment: Mapping[str, str]) -> Report:
    """Looks at everything."""
    began, began_steady = time.time(), time.monotonic()
    versions = machine.versions()
    redacted = Redacted(_raw(config_path), environment)
    found = [machine.check_versions(versions)]
    settings: config.Config | None = None
    try:
        settings = config.load(config_path, secrets=())
    except errors.ConfigError as error:
        for key, what in error.problems:
            line = error.lines.get(key, 0)
            place = f"{config_path}:{line}" if line else config_path
            found.append(trouble("config", f"{key}: {what}" if key else what, place))
    if settings is None:
        found += [machine.check_zone(began), *machine.check_clock(began, 0, machine.is_synchronised(), 0.0)]
        return Report(int(began), tuple(found), versions, redacted)
    found += _configured(settings, config_path, redacted, environment)
    newest_at = folders.newest_time(str(settings.state.path))
    now = time.time()
    stepped_s = (now - began) - (time.monotonic() - began_steady)
    found += machine.check_clock(now, newest_at, machine.is_synchronised(), stepped_s)
    found += folders.check_dated(str(settings.state.path), now)
    found.append(machine.check_zone(now))
    return Report(int(began), tuple(found), versions, redacted, settings)


def _configured(
    settings: config.Config, config_path: str, redacted: Redacted, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """What can be looked at once it is known where things are."""
    articles, state, out = (str(part.path) for part in (settings.articles, settings.state, settings.feeds))
    server, running = settings.server, is_running(state)
    warned = config.warnings(settings)
    yield good("config", f"{os.path.abspath(config_path)}: good")
    yield from (hint("config", f"{key}: {what}", "feedd check-config") for key, what in warned if "path" not in key)
    yield from _variables(settings, environment)
    tree = folders.survey(articles, sizes=False)
    yield from folders.check_articles(articles, tree)
    reason = poll.why_poll(articles)
    yield folders.check_watching(articles, settings.articles.watch, reason)
    if not reason and settings.articles.watch != "polling":
        in_use = machine.inotify_in_use(os.geteuid())
        yield from machine.check_inotify(tree.folders, machine.inotify_limits(), in_use, running=running)
    connections = server.max_connections if server.enabled else 0
    is_chosen = server.max_connections != config.Server().max_connections
    yield machine.check_open_files(machine.open_files(), connections, is_chosen=is_chosen)
    cache_bytes = server.cache_bytes if server.enabled else 0
    yield machine.check_memory(machine.memory_limit(), machine.memory_available(), cache_bytes)
    for name, folder in (("state", state), ("feeds", out)):
        yield folders.check_writable(name, folder)
        yield from folders.check_room(name, folder, folders.survey(folder), folders.room_of(folder))
    yield from folders.check_owner(state)
    yield from _or_good(
        lambda: folders.check_private(config_path, redacted.has_secret, state), "nothing private is open to others"
    )
    yield from folders.check_public(out)
    yield from folders.check_databases(state, SCHEMAS)
    yield service.check_running(running=running)
    if server.enabled:
        yield service.check_server(server.host, server.port, running=running)
    yield service.check_unit()
    if settings.links.enabled or settings.hub.urls or settings.hub.enabled:
        yield machine.check_certificates()


def _variables(settings: config.Config, environment: Mapping[str, str]) -> Iterator[Finding]:
    """What config.toml leaves to the environment, and the environment does not have; the daemon's may be another."""
    for one in config.variables.wanted(settings):
        if not environment.get(one.variable, "").strip():
            said = f"{one.key}: ${one.variable} is not set here"
            yield hint("config", said, f"Environment= or EnvironmentFile= in the unit; or export {one.variable}")


def _or_good(check: Callable[[], Iterable[Finding]], said: str) -> list[Finding]:
    return list(check()) or [good("permissions", said)]


def _raw(config_path: str) -> dict[str, Any]:
    """The file as TOML, whatever it says; empty where it cannot be had."""
    try:
        with open(config_path, "rb") as file:
            return tomllib.loads(file.read().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
