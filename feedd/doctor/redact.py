"""config.toml and texts -> the same without anything that might be a secret, for people elsewhere to read.

A list of what may be shown, not of what may not: the text of a key that came after this was written stays hidden. And
what was hidden in one place is taken out of every text that `scrub` is given. Pure; called by `doctor`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

HIDDEN = "***"
_SHOWN = re.compile(
    r"(?:site|articles|feeds|state|log|links)\..*|server\.(?:host|status|trusted_proxies|redirects)"
    r"|hub\.(?:urls|allow_networks)"
)
_NAMES_A_SECRET = re.compile(r"token|secret|passw|passphrase|credential|key|headers|webhook|command", re.IGNORECASE)
_PLAIN_KEY = re.compile(r"[a-z][a-z_]{0,30}")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>]+")
_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_SHORTEST = 6  # shorter ones are no secrets, and would be found in any text


class Redacted:
    """One configuration: `config` is what may be shown, `secrets` what was taken out of it, longest first."""

    def __init__(self, raw: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._hidden: set[str] = set()
        self._written: set[str] = set()  # of these, values as they stand in the file
        self.config: dict[str, Any] = self._table(raw, "")
        named = {name for text in self._hidden for name in _VARIABLE.findall(text)}
        self._hidden |= {environment.get(name, "") for name in named}
        self.secrets = tuple(sorted((s for s in self._hidden if len(s) >= _SHORTEST), key=len, reverse=True))

    @property
    def has_secret(self) -> bool:
        """Whether the file itself holds something that not everybody should read."""
        return any(not _VARIABLE.search(text) for text in self._hidden if text in self._written)

    def scrub(self, text: str) -> str:
        """The text without any of the secrets, and without what URLs carry beside their place."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return _URL.sub(lambda found: _bare(found[0])[0], text)

    def _table(self, raw: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for number, (key, value) in enumerate(raw.items()):
            dotted = prefix + key
            if prefix == "feeds.custom." and isinstance(value, Mapping) and value.get("private"):
                self._hidden |= {key, *(text for text in value.values() if isinstance(text, str))}
                found[f"{HIDDEN}{number}"] = {"private": True}
                continue
            is_plain = _PLAIN_KEY.fullmatch(key) or _SHOWN.fullmatch(dotted + ".")
            self._hidden |= set() if is_plain else {key}
            found[self._url(key) if is_plain else f"{HIDDEN}{number}"] = self._value(value, dotted)
        return found

    def _value(self, value: Any, dotted: str) -> Any:
        if isinstance(value, Mapping):
            return self._table(value, dotted + ".")
        if isinstance(value, list):
            return [self._value(item, dotted) for item in value]
        is_secret = _NAMES_A_SECRET.search(dotted.rpartition(".")[2])
        if isinstance(value, bool) or (isinstance(value, int | float) and not is_secret):
            return value
        text = str(value)  # dates as well
        if _SHOWN.fullmatch(dotted) and not is_secret:
            return self._url(text)
        if text:
            self._hidden |= {text, text.partition(":")[2].strip(), *_bare(text)[1]}
            self._written.add(text)
        return HIDDEN if text else ""

    def _url(self, text: str) -> str:
        def bare(found: re.Match[str]) -> str:
            shown, taken = _bare(found[0])
            self._hidden.update(taken)
            self._written.update(taken)
            return shown

        return _URL.sub(bare, text)


def _bare(url: str) -> tuple[str, Iterable[str]]:
    """A URL without user, password, query and fragment; and what these were."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no address
        return HIDDEN, [url]
    user, at, place = parts.netloc.rpartition("@")
    taken = [part for part in (user, *user.split(":", 1), parts.query, parts.fragment) if part]
    taken += [value for _, _, value in (pair.partition("=") for pair in parts.query.split("&")) if value]
    shown = f"{parts.scheme}://{HIDDEN + '@' if at else ''}{place}{parts.path}"
    return shown + ("?" + HIDDEN if parts.query else "") + ("#" + HIDDEN if parts.fragment else ""), taken
