"""What a service needs to know -> the text of its systemd unit, for the whole system or for one user.

Pure: nothing is looked up or written. The unit lets feedd do what it does and nothing else; what each setting means is
in systemd.exec(5), systemd.service(5) and systemd.unit(5). Called by `install`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from msgspec import Struct

from feedd import errors

NAME = "feedd.service"
MARK = "X-feedd"  # a section that systemd passes over, and `read_marks` reads
FIRST_FREE_PORT = 1024  # one below it takes a capability
WATCHDOG_S = 60  # as long as the publishing thread, which feeds it, may be silent
_HOMES = ("/home", "/root", "/run/user")  # ProtectHome=
_STATE = ("/var/lib/feedd",)
_TEMPORARY = ("/tmp", "/var/tmp")  # PrivateTmp=
_IS_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search

# For every process, whoever runs it; none of these needs a mount or user namespace, which not every machine lets users
# have. uvloop, lxml, libyaml and processes by `spawn` need no memory that is both written to and executed.
_ALWAYS = """\
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM"""

# /run/lock is everybody's; systemd 252 was seen to leave mounts writable that ProtectSystem=strict is to cover.
_OF_SYSTEM = """\
DevicePolicy=closed
InaccessiblePaths=-/run/lock
KeyringMode=private
PrivateDevices=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes"""


class Service(Struct, frozen=True):
    """Absolute paths and plain values. `command` starts feedd; `user`: who it runs as, empty for a unit of the calling
    user's own. `places`: where all of these lie with links followed, and the code. `module_path`: the folder of the
    package, if Python is not told of it by its installation; else empty.
    """

    command: tuple[str, ...]
    config: str
    articles: str
    state: str
    feeds: str
    port: int
    user: str
    places: tuple[str, ...] = ()
    module_path: str = ""


def text(service: Service) -> str:
    """The unit. Raises ConfigError for a path that no unit can name."""
    named = (*service.command, service.config, service.articles, service.state, service.feeds, service.module_path)
    unfit = next((path for path in named if _IS_UNFIT(path)), None)
    if unfit is not None:
        raise errors.ConfigError(repr(unfit), [("", "no unit can name a path with such characters")])
    if "$" in service.command[0]:
        raise errors.ConfigError(service.command[0], [("", "no unit can start a program with $ in its path")])
    return "\n".join([*_unit(service), "", *_service(service), "", *_install(service), "", *_marks(service), ""])


def read_marks(text: str) -> dict[str, str] | None:
    """What `text` noted of itself: Config, Articles, State, Feeds, User. None for a unit that is not feedd's own."""
    _, found, section = text.partition(f"[{MARK}]\n")
    try:
        lines = [line.split("=", 1) for line in section.splitlines() if line]
        return {name: str(json.loads(value)) for name, value in lines} if found else None
    except ValueError:  # somebody wrote in it
        return None


def _unit(service: Service) -> Iterator[str]:
    yield "# Written by `feedd service install`, which writes it anew; `systemctl edit` keeps changes apart."
    yield "[Unit]"
    yield "Description=feedd, which publishes feeds of a folder of articles"
    if service.user:
        yield "After=network.target nss-lookup.target"
        yield f"RequiresMountsFor={_quoted(service.state)} {_quoted(service.feeds)}"
    yield "# gives up after sixty starts in five minutes"
    yield "StartLimitIntervalSec=5min"
    yield "StartLimitBurst=60"


def _service(service: Service) -> Iterator[str]:
    arguments = [*service.command[1:], "--config", service.config, "run"]
    yield "[Service]"
    yield "Type=notify"
    yield "NotifyAccess=main"
    yield " ".join([f"ExecStart={_quoted(service.command[0])}", *map(_argument, arguments)])
    yield "ExecReload=/bin/kill -HUP $MAINPID"
    yield f"WatchdogSec={WATCHDOG_S}"
    yield "TimeoutStartSec=90"
    yield "TimeoutStopSec=20"
    yield "KillMode=mixed"
    yield "Restart=on-failure"
    yield "RestartSec=1"
    yield "# a wrong config.toml: the next start would find the same"
    yield "RestartPreventExitStatus=2"
    yield "# a process that the watchdog ends says where each thread was"
    yield "Environment=PYTHONFAULTHANDLER=1"
    if service.module_path:
        yield f"Environment={_quoted('PYTHONPATH=' + service.module_path)}"
    yield "# values of the $VARIABLES in config.toml, NAME=VALUE a line, readable by root alone; read at the start"
    yield f"EnvironmentFile=-{'/etc' if service.user else '%E'}/feedd/environment"
    yield "LimitCORE=0"
    yield "UMask=0022"
    yield _ALWAYS
    if service.user:
        yield from _confined(service)


def _confined(service: Service) -> Iterator[str]:
    used = (*service.places, service.command[0], service.config, service.articles, service.state, service.feeds)
    capability = "CAP_NET_BIND_SERVICE" if 0 < service.port < FIRST_FREE_PORT else ""
    yield _OF_SYSTEM
    yield f"User={service.user}"
    yield f"CapabilityBoundingSet={capability}"
    if capability:  # which a user namespace of its own would make void
        yield f"AmbientCapabilities={capability}"
    else:
        yield "PrivateUsers=yes"
    yield f"ProtectHome={'read-only' if any(_is_below(path, _HOMES) for path in used) else 'yes'}"
    yield f"PrivateTmp={'no' if any(_is_below(path, _TEMPORARY) for path in used) else 'yes'}"
    if any(_is_below(path, _STATE) for path in (service.state, service.feeds)):
        yield "StateDirectory=feedd"
    if _is_below(service.articles, _STATE):  # elsewhere nothing is writable that is not named
        yield f"ReadOnlyPaths={_quoted('-' + service.articles)}"
    yield f"ReadWritePaths={_quoted(service.state)} {_quoted(service.feeds)}"


def _install(service: Service) -> Iterator[str]:
    yield "[Install]"
    yield f"WantedBy={'multi-user' if service.user else 'default'}.target"


def _marks(service: Service) -> Iterator[str]:
    yield f"[{MARK}]"
    for name in ("config", "articles", "state", "feeds", "user"):
        yield f"{name.capitalize()}={json.dumps(getattr(service, name), ensure_ascii=False)}"


def _is_below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def _quoted(text: str) -> str:
    """As one word (systemd.syntax(7)), with no specifier in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _argument(text: str) -> str:
    """A word of a command line, where $ would begin a variable."""
    return _quoted(text).replace("$", "$$")
