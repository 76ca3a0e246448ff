"""What works but is hardly meant: a sentence for each, with its key. Looks whether the folder of articles exists.

Used by `config`, which has filled in what is not set.
"""

from __future__ import annotations

import ipaddress

from feedd.config.keys import Config, Server
from feedd.config.messages import Problem
from feedd.config.values import toml

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def warnings(config: Config) -> list[Problem]:
    """What works but is hardly meant. Looks whether the folder of articles exists."""
    found: list[Problem] = []
    here = server_url(config.server)
    if config.site.url == here:
        found.append(("site.url", f"not set: relative URLs in articles become addresses below {here}"))
    if config.site.public_url == here:
        found.append(("site.public_url", f"not set: feeds name {here} as their address, {_reach(config.server)}"))
    if not config.articles.path.is_dir():
        found.append(("articles.path", f"there is no folder {toml(str(config.articles.path))} yet"))
    hidden = [name for name, feed in config.feeds.custom.items() if feed.private]
    server = config.server
    if hidden and not (server.enabled and (server.token or server.private_networks or _is_loopback(server.host))):
        why = "set server.token or server.private_networks" if server.enabled else "server.enabled is false"
        found.append((f"feeds.custom.{hidden[0]}.private", f"nobody can read it over HTTP: {why}"))
    return found


def server_url(server: Server) -> str:
    """The address of the built-in server, as this machine would ask for it."""
    host = _ANYWHERE.get(server.host, server.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}"


def _reach(server: Server) -> str:
    """Who can fetch from `server_url`, as the end of a sentence."""
    if not server.enabled:
        return "and server.enabled is false: nothing of feedd answers there"
    if server.port == 0:
        return "where nobody can fetch them: server.port is 0, so each start takes another port"
    if server.host in _ANYWHERE:
        return f"for this machine alone, though others reach the server: server.host is {toml(server.host)}"
    if _is_loopback(server.host):
        return "for this machine alone"
    return "which is right only where readers ask this server itself, by this name"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".") == "localhost"
