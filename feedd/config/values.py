"""What a value in config.toml may be: types that check and settle it, and how it is written back as TOML.

Each check raises ValueError without a text: messages are made from the key, see `config`. Used by `keys`.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from feedd import model
from feedd.freshness import urls

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = rf"{_LABEL}(?:\.{_LABEL})*\.?"
_IS_HOST_NAME = re.compile(_HOST_NAME).fullmatch
# RFC 3986 without user, query and fragment: addresses are made by appending to it. ASCII: links need no mending.
_IS_BASE_URL = re.compile(
    rf"https?://(?P<host>{_HOST_NAME}|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{{1,5}}))?"
    r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
).fullmatch
_IS_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*").fullmatch  # RFC 5646, its common shapes
_IS_FEED_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?").fullmatch  # becomes a file's name
_IS_REDIRECT = re.compile(r"[a-z0-9][a-z0-9./-]* -> [a-z0-9][a-z0-9./-]*").fullmatch
_IS_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}: \$[A-Za-z_][A-Za-z0-9_]{0,64}").fullmatch
# A base URL with a query, which may be a secret; what it names is the operator's own.
_IS_WEBHOOK = re.compile(
    rf"https?://(?P<host>{_HOST_NAME}|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{{1,5}}))?"
    r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
    r"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
).fullmatch
is_variable = re.compile(r"\$[A-Z_][A-Z0-9_]{0,64}").fullmatch  # of the environment; others are no names for one
_IS_CRON = re.compile(r"[0-9*/,-]+(?: [0-9*/,-]+){2} [0-9A-Za-z*/,-]+ [0-9A-Za-z*/,-]+").fullmatch
is_token = re.compile(r"[!-~]{16,200}").fullmatch
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")  # no XML document or log line takes these


def _check(ok: object) -> None:
    if not ok:
        raise ValueError  # the message is made from the field, see `_explain`


def _text(value: str) -> str:
    _check(value.strip() and not _UNPRINTABLE.search(value))
    return value


def _base_url(value: str) -> str:
    match = _IS_BASE_URL(value[:2000])
    if not match or len(value) > 2000 or int(match["port"] or 0) > 65535:
        raise ValueError
    if match["host"].startswith("["):
        ipaddress.IPv6Address(match["host"][1:-1])  # its error is a ValueError
    else:
        _host(match["host"])
    return value


def _host(value: str) -> str:
    """RFC 1123, section 2.1: no name ends in a number, so what does is an address, or a slip of one."""
    if not _IS_HOST_NAME(value) or value.rstrip(".").rpartition(".")[2].isdecimal():
        ipaddress.ip_address(value)
    return value


def _network(value: str) -> str:
    return str(ipaddress.ip_network(value))


def _address(value: str) -> str:
    return str(ipaddress.ip_address(value))


def _token(value: str) -> str:
    _check(is_variable(value) or is_token(value))
    return value


def _redirect(value: str) -> str:
    _check(_IS_REDIRECT(value))
    return value


def _header(value: str) -> str:
    _check(_IS_HEADER(value))
    return value


def is_webhook(value: str) -> bool:
    """Whether it is a URL that a webhook may have."""
    return bool(len(value) <= 2000 and (match := _IS_WEBHOOK(value)) and int(match["port"] or 0) <= 65535)


def _webhook(value: str) -> str:
    _check(is_variable(value) or is_webhook(value))
    return value


def _host_pattern(value: str) -> str:
    _check(_IS_HOST_NAME(value.removeprefix("*.")))
    return value.lower()


def _cron(value: str) -> str:
    _check(_IS_CRON(value))
    return value


def _tag_host(value: str) -> str:
    _check(_IS_HOST_NAME(value))
    return value.lower().rstrip(".")


def _language(value: str) -> str:
    _check(_IS_LANGUAGE(value))
    return value


def _feed_name(value: str) -> str:
    _check(_IS_FEED_NAME(value))
    return value


def _day(value: object) -> object:
    """TOML has dates of its own: 2026-01-01 is as good as "2026-01-01"."""
    if type(value) is datetime.date:
        return value.isoformat()
    if isinstance(value, str):
        _check(len(value) == 10 and datetime.date.fromisoformat(value))
    return value


def _folder(value: object) -> object:
    return Path(os.path.expanduser(_text(value))) if isinstance(value, str) else value


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _domain(value: str) -> str:
    """As `model.Provider` has it."""
    return value.lower().removeprefix("www.")


def toml(value: object) -> str:
    """A value as TOML writes it; on one line, with nothing in it that a terminal would obey."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{…}"  # never shown in full: who knows what is in it
    if isinstance(value, str | Path):
        quoted = json.dumps(str(value), ensure_ascii=False)
        return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
    return str(value)


Text = Annotated[str, AfterValidator(_text)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Language = Annotated[str, AfterValidator(_language)]
Folder = Annotated[Path, BeforeValidator(_folder)]
Domain = Annotated[str, AfterValidator(_text), AfterValidator(_domain)]
Host = Annotated[str, AfterValidator(_host)]
TagHost = Annotated[str, AfterValidator(_tag_host)]
Day = Annotated[str, BeforeValidator(_day)]
Name = Annotated[str, AfterValidator(_feed_name)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_as_tuple), AfterValidator(_once), Field(min_length=1)]
Domains = Annotated[tuple[Domain, ...], BeforeValidator(_as_tuple), AfterValidator(_once), Field(min_length=1)]
Languages = Annotated[tuple[Language, ...], BeforeValidator(_as_tuple), AfterValidator(_once), Field(min_length=1)]
Formats = Annotated[tuple[model.Format, ...], BeforeValidator(_as_tuple), AfterValidator(_once), Field(min_length=1)]
Compression = Literal["gzip", "brotli"]
Compressions = Annotated[tuple[Compression, ...], BeforeValidator(_as_tuple), AfterValidator(_once)]
Urls = Annotated[tuple[BaseUrl, ...], BeforeValidator(_as_tuple), AfterValidator(_once)]
Network = Annotated[str, AfterValidator(_network)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_as_tuple), AfterValidator(_once)]
Redirect = Annotated[str, AfterValidator(_redirect)]
Redirects = Annotated[tuple[Redirect, ...], BeforeValidator(_as_tuple), AfterValidator(_once)]
Token = Annotated[str, AfterValidator(_token)]
Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_as_tuple), AfterValidator(_once)]
LinkKinds = Annotated[tuple[urls.Kind, ...], BeforeValidator(_as_tuple), AfterValidator(_once), Field(min_length=1)]
Ports = Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], BeforeValidator(_as_tuple), AfterValidator(_once)]
Header = Annotated[str, AfterValidator(_header)]
Headers = Annotated[tuple[Header, ...], BeforeValidator(_as_tuple), AfterValidator(_once)]
Webhook = Annotated[str, AfterValidator(_webhook)]
Argv = Annotated[tuple[Text, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
FeedKinds = Annotated[tuple[model.FeedKind, ...], BeforeValidator(_as_tuple), AfterValidator(_once)]
HostPattern = Annotated[str, AfterValidator(_host_pattern)]
Cron = Annotated[str, AfterValidator(_cron)]
Dead = Literal["keep", "drop", "mark", "archive"]
HostAction = Literal["check", "skip", "ok"]
Access = Literal["auto", "token", "off"]
Watch = Literal["auto", "inotify", "polling"]
LogFormat = Literal["auto", "console", "journald", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
