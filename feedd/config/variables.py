"""What config.toml leaves to the environment, by a `$NAME` in place of a secret: which variables, and their values.

One that is in use and not set, or set to what cannot be one, is an error: never is it taken for a secret that is not
wanted. No value is ever shown. Used by `config`, and by the daemon where it takes a header or a URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping

from msgspec import Struct

from feedd import errors
from feedd.config.keys import Config
from feedd.config.messages import Problem, dotted
from feedd.config.values import is_token, is_variable, is_webhook

TABLES = ("server", "links", "alerts")
"""The tables whose keys may name variables."""

_IS_FIELD_VALUE = re.compile(r"[\t -~]+").fullmatch  # RFC 9110, section 5.5, without what is obsolete


class Wanted(Struct, frozen=True, gc=False):
    """A variable, the key that names it, what its value is to be, and whether a value can be that."""

    key: str
    what: str
    variable: str
    fits: Callable[[str], object]

    def find(self, environment: Mapping[str, str]) -> str:
        """Its value; empty where there is none that fits."""
        value = environment.get(self.variable, "").strip()
        return value if value and self.fits(value) else ""

    def problem(self, environment: Mapping[str, str]) -> Problem | None:
        """What is wrong with it."""
        if self.find(environment):
            return None
        is_set = environment.get(self.variable, "").strip()
        trouble = "what the environment has there cannot be one" if is_set else "the environment has none"
        return self.key, f"{self.what} is to be the value of ${self.variable}, and {trouble}"


def wanted(config: Config, tables: Collection[str] = TABLES) -> Iterator[Wanted]:
    """The variables that these tables name in what is switched on."""
    server, links, alerts = config.server, config.links, config.alerts
    if "server" in tables and server.enabled and is_variable(server.token):
        yield Wanted("server.token", "the token", server.token[1:], is_token)
    if "links" in tables and links.enabled:
        for pattern, rule in links.host.items():
            yield from (_header(dotted(["links", "host", pattern, "headers"]), text) for text in rule.headers)
    if "alerts" in tables and alerts.webhook:
        if is_variable(alerts.webhook):
            yield Wanted("alerts.webhook", "the URL", alerts.webhook[1:], is_webhook)
        yield from (_header("alerts.headers", text) for text in alerts.headers)


def problems(config: Config, tables: Collection[str] = TABLES) -> list[Problem]:
    """One for each of these variables that is not set as it must be."""
    found = (one.problem(os.environ) for one in wanted(config, tables))
    return [problem for problem in found if problem]


def token(config: Config) -> str:
    """server.token, from the environment where that has it; else as it is written."""
    found = [one.find(os.environ) for one in wanted(config, ("server",))]
    return (found and found[0]) or config.server.token


def webhook(config: Config) -> str:
    """alerts.webhook, from the environment where it names a variable. Raises ConfigError."""
    url = config.alerts.webhook
    return _value(Wanted("alerts.webhook", "the URL", url[1:], is_webhook)) if is_variable(url) else url


def header(key: str, text: str) -> tuple[str, str]:
    """A header and its value, which only the environment knows. Raises ConfigError where it does not."""
    return text.partition(":")[0], _value(_header(key, text))


def _header(key: str, text: str) -> Wanted:
    name, _, variable = text.partition(": $")
    return Wanted(key, name, variable, _IS_FIELD_VALUE)


def _value(one: Wanted) -> str:
    if problem := one.problem(os.environ):
        raise errors.ConfigError("config.toml", [problem])
    return one.find(os.environ)
