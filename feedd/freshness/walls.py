"""An answer -> the wall it is, if it is one: a page shown instead of what was asked for, to keep robots out.

Bot walls, and log-in and consent pages that are answered where the article was. By what makers of walls write into
headers, titles and pages; of pages only those with little text, for articles are written about walls, too, and
ordinary pages hold scripts of the same makers. Called by `reading`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from feedd.freshness.fingerprint import Page
from feedd.freshness.states import Answer

LITTLE_TEXT: Final = 1_500  # bytes; walls have less, articles more
_HARDLY_ANY_TEXT: Final = 300

# (header, what its value holds, whose wall it is)
_HEADERS = (
    ("cf-mitigated", "challenge", "Cloudflare"),
    ("x-vercel-mitigated", "", "Vercel"),
    ("x-amzn-waf-action", "", "AWS WAF"),
    ("x-sucuri-block", "", "Sucuri"),
    ("x-dd-b", "", "DataDome"),
    ("x-kpsdk-ct", "", "Kasada"),
)
_MARKS = (
    (b"_cf_chl_opt", "Cloudflare"),
    (b"enable javascript and cookies to continue", "Cloudflare"),
    (b"errors.edgesuite.net", "Akamai"),
    (b"sec-if-cpt-container", "Akamai"),
    (b"bm-verify=", "Akamai"),
    (b"you don't have permission to access", "Akamai"),
    (b"px-captcha", "PerimeterX"),
    (b"captcha-delivery.com", "DataDome"),
    (b"incapsula incident id", "Imperva"),
    (b"gokuprops", "AWS WAF"),
    (b"awswafintegration", "AWS WAF"),
    (b"sucuri_cloudproxy_js", "Sucuri"),
    (b"sucuri website firewall", "Sucuri"),
    (b"kpsdk", "Kasada"),
    (b"/.within.website/", "Anubis"),
    (b"ddos-guard", "DDoS-Guard"),
    (b"the requested url was rejected. please consult", "F5"),
    (b"verify you are human", ""),
    (b"verify that you are human", ""),
    (b"verify you are a human", ""),
    (b"verifying you are human", ""),
    (b"not a robot", ""),
    (b"unusual traffic from your", ""),
    (b"disable any ad blocker", ""),
    (b"checking your browser", ""),
    (b"checking if the site connection is secure", ""),
)
# In pages of any kind there are these; in one with hardly any text they are what it is for.
_MARKS_IF_ALONE = (
    (b"_incapsula_resource", "Imperva"),
    (b"g-recaptcha", ""),
    (b"h-captcha", ""),
    (b"cf-turnstile", ""),
    (b"captcha", ""),
)
_TITLES = re.compile(
    r"just a moment|one moment,? please|please wait|attention required|access denied|pardon our interruption"
    r"|access to this page has been denied|robot check|robot or human\??|are you (?:a robot|human)\??|ddos-guard"
    r"|(?:human|bot) verification|(?:vercel )?security (?:check|checkpoint)|checking your browser.*|client challenge"
    r"|(?:please )?verify (?:that )?you(?:'re| are) (?:a )?human|(?:please )?verify you(?:'re| are) not a robot"
    r"|making sure you're not a bot|captcha(?: challenge)?|(?:sorry, )?you have been blocked|request rejected"
    r"|(?:error )?403(?: -)?(?: forbidden)?|forbidden|unauthorized|blocked|human check|service check"
    r"|nur einen moment|einen moment(?: bitte)?|un instant|un momento|um momento|een moment|один момент"
    r"|请稍候|少々お待ちください"
)
_LOG_IN_TITLES = re.compile(
    r"(?:please )?(?:log|sign)[- ]?(?:in|on)(?: (?:or|/|and) (?:sign|log)[- ]?(?:up|in))?(?: to .*)?|anmelden|anmeldung"
    r"|einloggen|connexion|se connecter|iniciar sesi[oó]n|accedi|inloggen|logga in|subscribe to (?:read|continue).*"
)
_CONSENT_TITLES = re.compile(
    r"before you continue.*|(?:your )?(?:privacy|cookie)s? (?:choices|consent|settings|wall)|cookie-?(?:consent|wall)"
    r"|we value your privacy|dpg media privacy gate|privacy gate"
)
_SEPARATOR = re.compile(r"\s+[|\u2013\u2014:\u00b7\u00bb-]\s+|\s*\|\s*|\s*\u00bb\s*")


def bot_wall_by_headers(answer: Answer) -> str:
    """The bot wall that an answer's headers own up to, as a phrase; empty for none."""
    for header, value, maker in _HEADERS:
        if header in answer.headers and value in answer.headers[header].lower():
            return _phrase(maker)
    return ""


def wall(answer: Answer, page: Page) -> str:
    """What an answer shows instead of what was asked for: "a bot wall (Cloudflare)"; empty where it is no wall.

    `page` is its body as read.
    """
    found = bot_wall_by_headers(answer)
    if found or not page.is_html or page.length >= LITTLE_TEXT:
        return found
    return _wall_of_page(answer.body, page)


def title_parts(title: str) -> list[str]:
    """A title's parts between its separators, in lower case and without signs around: the page's, the site's."""
    lower = title.lower().replace("\u2019", "'")
    return [part for part in (part.strip(" .\u2026!-") for part in _SEPARATOR.split(lower)) if part]


@lru_cache(maxsize=1)  # one answer is looked at several times in a row
def _wall_of_page(body: bytes, page: Page) -> str:
    lower = body.lower()
    for mark, maker in _MARKS:
        if mark in lower:
            return _phrase(maker)
    if page.length < _HARDLY_ANY_TEXT:
        for mark, maker in _MARKS_IF_ALONE:
            if mark in lower:
                return _phrase(maker)
    titles = title_parts(page.title)
    if any(map(_TITLES.fullmatch, titles)):
        return _phrase("")
    if any(map(_CONSENT_TITLES.fullmatch, titles)):
        return "a consent page"
    if any(map(_LOG_IN_TITLES.fullmatch, titles)) and b"password" in lower:
        return "a log-in page"
    return ""


def _phrase(maker: str) -> str:
    return f"a bot wall ({maker})" if maker else "a bot wall"
