"""Strings that stand in feeds as URLs, ids, dates, languages, media types, addresses -> the rule they break, or "".

Pure and without context: what the rule is called in which place, the callers decide. All is bounded in time: the
expressions are possessive where they could backtrack.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from urllib.parse import unquote

from feedd.lint import names
from feedd.lint.names import words

_PCHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})"
_CLEAN_URL = re.compile(
    rf"https?://(?:[A-Za-z0-9._~-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{{0,5}})?(?:[/?]{_PCHAR}*+)?(?:\#{_PCHAR}*+)?"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_BAD_URI_CHAR = re.compile(r"[^!#-;=?-Z_a-z~\x80-\U0010ffff]|%(?![0-9A-Fa-f]{2})")
_URN = re.compile(rf"[Uu][Rr][Nn]:[A-Za-z0-9][A-Za-z0-9-]{{1,31}}:{_PCHAR}++(?:\#{_PCHAR}*+)?")
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.I)
_TAG = re.compile(
    rf"tag:(?:[a-z0-9._-]+@)?[a-z0-9.-]+,[0-9]{{4}}(?:-[0-9]{{2}}(?:-[0-9]{{2}})?)?:{_PCHAR}*+(?:\#{_PCHAR}*+)?"
)
_NOT_CANONICAL = re.compile(
    r"[^:]*[A-Z][^:]*:"  # the scheme in capitals
    r"|https?://(?:[^/?#]*[A-Z]|[^/]*$|[^/?#]*\.(?=[:/])|[^?#]*/\.\.?(?:[/?#]|$))"  # host, empty path, dot segments
    r"|https?://:?@|http://[^/]*:(?:80)?/|https://[^/]*:(?:443)?/"
)
_NEEDLESS_ESCAPE = re.compile(r"%(?:[0-9a-fA-F]?[a-f]|[a-f]|2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])")
_IANA_SCHEMES = words("http https tag urn ftp mailto news nntp info dns tel cid mid data file")

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_W3CDTF = re.compile(r"\d{4}(?:-\d\d(?:-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))?)?)?", re.ASCII)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_RFC822 = re.compile(rf"({'|'.join(_DAYS)}), (\d\d) ({'|'.join(_MONTHS)}) (\d{{4}}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)
_LOOSE_RFC822 = re.compile(
    rf"(?:(?:{'|'.join(_DAYS)})\s*,\s*)?\d\d?\s+(?:{'|'.join(_MONTHS)})\s+\d\d(?:\d\d)?\s+\d\d:\d\d(?::\d\d)?"
    r"\s+(?:[+-]\d{4}|UT|GMT|[ECMP][SD]T|[A-IK-Z])",
    re.ASCII | re.I,
)

_MIME_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~{}-]+"
_MIME = re.compile(rf"{_MIME_TOKEN}/{_MIME_TOKEN}(?:\s*;\s*{_MIME_TOKEN}=(?:{_MIME_TOKEN}|\"[^\"]*\"))*")
_LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:-[A-Za-z0-9]{1,8})*|x(?:-[A-Za-z0-9]{1,8})+")
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]+")
EMAIL_WITH_NAME = re.compile(rf"{_EMAIL.pattern}\s*\(.+\)")
_DOTTED_HTTP = re.compile(r"https?://(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]+(?::[0-9]+)?(?:/|$)")

_EARLIEST = 631_152_000  # 1990-01-01: feeds are younger
_TOLERANCE_S = 600  # clocks differ


def url_rule(value: str) -> str:
    """Empty for an absolute, ASCII, RFC 3986-clean http or https URL, and for no text at all: callers look first."""
    if not value or _CLEAN_URL.fullmatch(value):
        return ""
    rule = _uri_rule(value)
    if rule:
        return rule
    scheme = value.partition(":")[0].lower()
    if scheme not in ("http", "https"):
        return "SchemeNotHttp"
    # Clean characters and yet no URL: no host, or brackets and ports out of place. Credentials are valid syntax.
    plain = scheme + re.sub(r"^://[^/?#@]*@", "://", value[len(scheme) :])
    return "" if _CLEAN_URL.fullmatch(plain) else "InvalidFullLink"


def _uri_rule(value: str) -> str:
    bad = _BAD_URI_CHAR.search(re.sub(r"(?i)^(https?://)\[[0-9a-f:.]*\]", r"\1", value))
    if bad:
        return "InvalidUriChar"
    if not value.isascii():
        return "UriNotIri"
    return "" if _SCHEME.match(value) else "InvalidFullLink"


def id_rule(value: str) -> str:
    """Empty for an absolute URI of any registered scheme in its normal form (RFC 3986, 6; RFC 4151; RFC 8141)."""
    scheme = value.partition(":")[0].lower()
    if scheme == "tag":
        rule = "" if _TAG.fullmatch(value) else "InvalidTAG"
    elif scheme == "urn":
        uuid = value[:9].lower() == "urn:uuid:"
        rule = "" if (_UUID if uuid else _URN).fullmatch(value) else "InvalidUUID" if uuid else "InvalidURN"
    elif scheme in ("http", "https"):
        rule = url_rule(value)
    else:
        rule = _uri_rule(value) or ("" if scheme in _IANA_SCHEMES else "SchemeNotIANARegistered")
    return rule or ("" if _is_canonical(value) else "NonCanonicalURI")


def _is_canonical(value: str) -> bool:
    if _NOT_CANONICAL.match(value):
        return False
    if "%" not in value:
        return True
    plain = unquote(value, errors="surrogateescape")
    return not _NEEDLESS_ESCAPE.search(value) and unicodedata.is_normalized("NFC", plain)


def enclosure_url_rule(value: str) -> str:
    """An enclosure's URL also has a host with a dot: readers fetch it from elsewhere."""
    return url_rule(value) or ("" if _DOTTED_HTTP.match(value) else "InvalidURLAttribute")


def rfc3339_rule(value: str, now: int | None) -> str:
    """Empty for an RFC 3339 date-time with a zone that is plausible. `now`: seconds since 1970; None: any future."""
    return _iso_rule(value, now) if _RFC3339.fullmatch(value) else "InvalidRFC3339Date"


def _iso_rule(value: str, now: int | None) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return "InvalidRFC3339Date"
    return plausible_rule(moment, now)


def w3cdtf_rule(value: str, now: int | None) -> str:
    """Empty for a date of the W3C's profile of ISO 8601: a year, a month, a day, or a time with a zone."""
    if not _W3CDTF.fullmatch(value):
        return "InvalidW3CDTFDate"
    padded = value + "0001-01-01"[len(value) :] if len(value) < 10 else value
    return _iso_rule(padded, now).replace("RFC3339", "W3CDTF")


def rfc822_rule(value: str, now: int | None) -> str:
    """Empty for exactly `Wed, 01 Jan 2020 00:00:00 GMT` with the right day; looser RFC 822 forms are problematical."""
    match = _RFC822.fullmatch(value)
    if not match:
        return "ProblematicalRFC822Date" if _LOOSE_RFC822.fullmatch(value) else "InvalidRFC2822Date"
    day, month = int(match[2]), _MONTHS.index(match[3]) + 1
    try:
        moment = datetime(int(match[4]), month, day, int(match[5]), int(match[6]), int(match[7]), tzinfo=UTC)
    except ValueError:
        return "InvalidRFC2822Date"
    return "IncorrectDOW" if _DAYS[moment.weekday()] != match[1] else plausible_rule(moment, now)


def plausible_rule(moment: datetime, now: int | None) -> str:
    """ImplausibleDate before 1990 or more than ten minutes after `now`. A date without a zone counts as UTC."""
    at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return "ImplausibleDate" if at < _EARLIEST or (now is not None and at > now + _TOLERANCE_S) else ""


def language_rule(value: str) -> str:
    """Empty for a well-formed language tag (RFC 5646) whose two-letter primary subtag ISO 639-1 has."""
    match = _LANGUAGE.fullmatch(value)
    if not match:
        return "InvalidLanguage"
    primary = match[1] or "x"
    return "InvalidLanguage" if len(primary) == 2 and primary.lower() not in names.LANGUAGES else ""


def is_media_type(value: str) -> bool:
    """`type/subtype` with well-formed parameters (RFC 2045, 5.1)."""
    return bool(_MIME.fullmatch(value))


def is_email(value: str) -> bool:
    """`local@host.domain`, without a name."""
    return bool(_EMAIL.fullmatch(value))


def contains_email(value: str) -> bool:
    return "@" in value and bool(_EMAIL.search(value[:1000]))


def is_positive(value: str) -> bool:
    return value.isascii() and value.isdigit() and int(value[:20]) > 0


def is_count(value: str) -> bool:
    """A whole number, 0 or more."""
    return value.isascii() and value.isdigit()


def is_number(value: str) -> bool:
    return bool(re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", value))
