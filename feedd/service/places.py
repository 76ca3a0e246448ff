"""Where things are by custom: the configuration that is meant when none is named, and what a service keeps where.

Debian's places for the whole system, those of the XDG Base Directory Specification for a user. Looks only whether files
are there. Used by the command line and by `install`; imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

SYSTEM_CONFIG = "/etc/feedd/config.toml"
HERE = "config.toml"


class Places(NamedTuple):
    """Files and folders of a service; the last four are for one that has no configuration yet."""

    units: str
    users: str  # of sysusers.d(5); empty where no user is made
    config: str
    articles: str
    state: str
    feeds: str


def of_system(root: str = "") -> Places:
    """Those of a system service, below another root in tests."""
    data = f"{root}/var/lib/feedd"
    return Places(
        f"{root}/etc/systemd/system", f"{root}/etc/sysusers.d/feedd.conf", root + SYSTEM_CONFIG, f"{data}/articles",
        f"{data}/state", f"{data}/feeds",
    )


def of_user(environment: Mapping[str, str]) -> Places:
    """Those of a user's own service."""
    settings = _base(environment, "XDG_CONFIG_HOME", ".config")
    data = _base(environment, "XDG_DATA_HOME", ".local/share") + "/feedd"
    state = _base(environment, "XDG_STATE_HOME", ".local/state")
    return Places(
        f"{settings}/systemd/user", "", f"{settings}/feedd/config.toml", f"{data}/articles", f"{state}/feedd",
        f"{data}/feeds",
    )


def find_config(environment: Mapping[str, str], system: str = SYSTEM_CONFIG) -> str:
    """The configuration that is meant when none is named: the one here, the user's, the system's; if there is none of
    them, the one that would be here.
    """
    return next((path for path in (HERE, of_user(environment).config, system) if os.path.exists(path)), HERE)


def _base(environment: Mapping[str, str], variable: str, otherwise: str) -> str:
    """A folder of the specification: a relative path there is to be ignored."""
    given = environment.get(variable, "")
    return given if os.path.isabs(given) else os.path.join(environment.get("HOME") or "/", otherwise)
