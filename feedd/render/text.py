"""Small pure pieces that every format writes alike: escaped text, dates, lengths, languages, homes of providers.

Text comes in plain and goes out ready for its place in XML or HTML. What XML forbids is not removed here:
`clean` has done that. Called by the lanes of each format and by the reference lane.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from html.entities import name2codepoint

DAY_S = 86_400
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
FIRST_SECOND = -_EPOCH_ORDINAL * DAY_S + DAY_S  # 0001-01-01T00:00:00Z, where RFC 3339 and Python begin
LAST_SECOND = (date.max.toordinal() - _EPOCH_ORDINAL + 1) * DAY_S - 1

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MINUTES = tuple(f"{minute // 60:02}:{minute % 60:02}" for minute in range(1440))
_SECONDS = tuple(f"{second:02}" for second in range(60))

_TAG = re.compile(r"</?[A-Za-z!?]")
_REFERENCE = re.compile(r"&(#?\w+)(;?)")
_LOOKALIKES = str.maketrans("<>&", "\u2039\u203a\uff06")
_DURATION = re.compile(r"P(?:(\d{1,3})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,4})M)?(?:(\d{1,5})S)?)?")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]*[a-z0-9]")

# ISO 639-1: validators refuse a two-letter language that is not among them.
_ISO_639_1 = (
    " aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en"
    " eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv"
    " ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne"
    " ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st"
    " su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu "
)


def text(value: str) -> str:
    """XML or HTML character data, as lxml writes it."""
    if "&" in value or "<" in value or ">" in value:  # looking is a third of the price of replacing
        return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return value


def attr(value: str) -> str:
    """The inside of a double-quoted XML or HTML attribute, as lxml writes it."""
    if "&" in value or '"' in value or "<" in value or ">" in value:
        return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return value


def looks_like_markup(value: str) -> bool:
    """Whether a reader that expects HTML would see a tag or an entity in this plain text.

    `Q&A` and `1 < 2` do not, `<b>`, `AT&amp;T` and `&#38;` do. Readers disagree on plain text of the second kind,
    and validators warn (ContainsUndeclaredHTML, ContainsHTML, CharacterData).
    """
    if "<" in value and _TAG.search(value):
        return True
    if "&" not in value:
        return False
    return any(
        semicolon or name in name2codepoint or name == "apos" or not name.isalpha()
        for name, semicolon in _REFERENCE.findall(value)
    )


def lookalike(value: str) -> str:
    """The text for a place that can only be plain: a name, an attribute. Markup there is shown, never understood."""
    if ("<" in value or "&" in value) and looks_like_markup(value):
        return value.translate(_LOOKALIKES)
    return value


def rss_source(value: str) -> str:
    """What a plain-text element of RSS holds after XML decoding: the text, or HTML of it if it looks like markup."""
    if ("<" in value or "&" in value) and looks_like_markup(value):
        return text(value)
    return value


def rss_text(value: str) -> str:
    """Character data of a plain-text element of RSS: hexadecimal references, as the RSS Board's profile asks."""
    if "&" in value or "<" in value or ">" in value:
        return rss_source(value).replace("&", "&#x26;").replace("<", "&#x3C;").replace(">", "&#x3E;")
    return value


def cdata(value: str) -> str:
    """HTML that can stand inside a CDATA section: `]]>` means the same to HTML when its last character is escaped."""
    return value.replace("]]>", "]]&gt;") if "]]>" in value else value


@lru_cache(maxsize=8192)
def _day(number: int) -> str:
    return date.fromordinal(_EPOCH_ORDINAL + number).isoformat()


@lru_cache(maxsize=8192)
def _rss_day(number: int) -> str:
    day = date.fromordinal(_EPOCH_ORDINAL + number)
    return f"{_WEEKDAYS[day.weekday()]}, {day.day:02} {_MONTHS[day.month - 1]} {day.year:04}"


def rfc3339(at: int) -> str:
    """`2020-05-19T12:08:00Z` from seconds since 1970 UTC (FIRST_SECOND to LAST_SECOND)."""
    day, second = divmod(at, DAY_S)
    return f"{_day(day)}T{_MINUTES[second // 60]}:{_SECONDS[second % 60]}Z"


def rfc3339_us(us: int) -> str:
    """`2020-05-19T12:08:00.123456Z` from microseconds since 1970 UTC: always six digits, so that they sort as text."""
    at, fraction = divmod(us, 1_000_000)
    day, second = divmod(at, DAY_S)
    return f"{_day(day)}T{_MINUTES[second // 60]}:{_SECONDS[second % 60]}.{fraction:06}Z"


def rfc822(at: int) -> str:
    """`Tue, 19 May 2020 12:08:00 GMT` from seconds since 1970 UTC, whatever the process locale is."""
    day, second = divmod(at, DAY_S)
    return f"{_rss_day(day)} {_MINUTES[second // 60]}:{_SECONDS[second % 60]} GMT"


def duration_s(length: str) -> int:
    """Seconds of an ISO 8601 duration of days to seconds (`PT21M31S`); 0 for anything else."""
    match = _DURATION.fullmatch(length)
    if match is None:
        return 0
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return days * DAY_S + hours * 3600 + minutes * 60 + seconds


def clock(length: str) -> str:
    """A duration as players show it (`21:31`, `4:11:12`); other texts as they are."""
    seconds = duration_s(length)
    if not seconds:
        return length
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


@lru_cache(maxsize=256)
def language_tag(language: str) -> str:
    """The language if it is a tag that validators know (RFC 5646, ISO 639), else empty."""
    language = language.strip().replace("_", "-")
    if not _LANGUAGE.fullmatch(language):
        return ""
    primary = language.split("-", 1)[0].lower()
    return language if len(primary) == 3 or f" {primary} " in _ISO_639_1 else ""


@lru_cache(maxsize=8192)
def home_url(domain: str) -> str:
    """Where a provider lives: its domain as a URL; empty when it is not a domain name."""
    return f"https://{domain}/" if _DOMAIN.fullmatch(domain) else ""
