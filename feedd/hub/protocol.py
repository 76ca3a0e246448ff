"""What subscribers send and are sent, by the WebSub Recommendation: forms -> requests, requests -> URLs and headers.

Pure. Knows neither sockets nor what is subscribed; called by `feedd.web.hub` and by the hub's own modules.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping, Sequence
from email.message import Message
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from msgspec import Struct

from feedd import errors, guard, site

Mode = Literal["subscribe", "unsubscribe"]

FORM = "application/x-www-form-urlencoded"
MOST_BYTES = 16 << 10  # of a form
MOST_FIELDS = 64
URL_LENGTH = 2048
SECRET_BYTES = 199  # section 5.1: "MUST be less than 200 bytes in length"
TYPES = {
    ".atom": "application/atom+xml; charset=utf-8", ".rss": "application/rss+xml; charset=utf-8",
    ".json": "application/feed+json",
}
_SECONDS = re.compile(r"[0-9]{1,12}").fullmatch
_URL = re.compile(r"[!-~]+").fullmatch  # RFC 3986 knows no spaces, no control characters and ASCII alone
_URL_SAFE = "!#$%&'()*+,/:;=?@[]~"


class RefusedError(errors.FeeddError):
    """A request that is not taken up: `status` says how it is answered, the text why; `wait_s` when to come back."""

    def __init__(self, status: int, text: str, *, wait_s: int = 0) -> None:
        super().__init__(text)
        self.status, self.wait_s = status, wait_s


class Leases(Struct, frozen=True):
    """Seconds: for who names none, and the bounds of what is granted (section 5.1: the hub decides)."""

    usual_s: int = 10 * 86_400
    shortest_s: int = 300
    longest_s: int = 30 * 86_400


class Request(Struct, frozen=True):
    """A request that is well formed. `lease_s` is what would be granted; `host` is where the callback is, with port."""

    mode: Mode
    callback: str
    host: str
    topic: str
    lease_s: int
    secret: bytes

    def __repr__(self) -> str:
        """Without the secret: values end up in logs."""
        return f"Request({self.mode} {self.callback} to {self.topic})"


def parse_request(
    content_type: str, body: bytes, leases: Leases, allowed: Sequence[guard.Network] = ()
) -> Request:
    """The form of section 5.1; parameters that are not known are passed over. Raises RefusedError."""
    message = Message()
    message["content-type"] = content_type
    if message.get_content_type() != FORM:
        raise RefusedError(415, f"A request to this hub is a form: {FORM}.")
    if len(body) > MOST_BYTES:
        raise RefusedError(413, f"A form has at most {MOST_BYTES} bytes.")
    form = _form(body)
    mode = form.get("hub.mode", "")
    if mode == "publish":
        raise RefusedError(403, "This hub publishes its own feeds alone, and knows when they change.")
    if mode not in ("subscribe", "unsubscribe"):
        raise RefusedError(400, 'hub.mode: "subscribe" or "unsubscribe".')
    topic = form.get("hub.topic", "")
    if not topic:
        raise RefusedError(400, "hub.topic: the URL of a feed is needed.")
    callback, host = _callback(form.get("hub.callback", ""), allowed)
    secret = form.get("hub.secret", "").encode()
    if len(secret) > SECRET_BYTES:
        raise RefusedError(400, "hub.secret: less than 200 bytes.")
    is_subscribe = mode == "subscribe"
    lease_s = _lease_s(form.get("hub.lease_seconds", ""), leases) if is_subscribe else 0
    return Request("subscribe" if is_subscribe else "unsubscribe", callback, host, topic, lease_s, secret)


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=MOST_FIELDS
        )
    except ValueError as error:
        raise RefusedError(400, "The form cannot be read: it is percent-encoded UTF-8.") from error
    form: dict[str, str] = {}
    for name, value in pairs:
        if name.startswith("hub.") and form.setdefault(name, value) != value:
            raise RefusedError(400, f"{name[:40]}: given twice, with different values.")
    return form


def _lease_s(text: str, leases: Leases) -> int:
    if not text:
        return leases.usual_s
    if not _SECONDS(text) or not int(text):
        raise RefusedError(400, "hub.lease_seconds: a positive whole number.")
    return min(max(int(text), leases.shortest_s), leases.longest_s)


def _callback(url: str, allowed: Sequence[guard.Network]) -> tuple[str, str]:
    """A callback as it is, and its host with port. A literal address is judged here too, so as to say so at once."""
    if not url:
        raise RefusedError(400, "hub.callback: the URL to deliver to is needed.")
    try:
        parts = urlsplit(url)
        host = _host(parts)
    except ValueError:
        host = ""
    if not host or len(url) > URL_LENGTH or not _URL(url) or "@" in parts.netloc or "#" in url:
        raise RefusedError(
            400, f"hub.callback: an http or https URL of at most {URL_LENGTH} ASCII characters, no user, no fragment."
        )
    try:
        address = str(ipaddress.ip_address(parts.hostname or ""))
    except ValueError:
        return url, host
    try:
        guard.check_address(address, allowed)
    except guard.AddressRefusedError as error:
        raise RefusedError(403, f"hub.callback: {error.address} is {error.reason}.") from error
    return url, host


def _host(parts: SplitResult) -> str:
    """`name:port`; empty where the URL is none that can be asked. Raises ValueError."""
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    is_askable = parts.scheme in ("http", "https") and parts.hostname and port and parts.port != 0
    return f"{(parts.hostname or '').rstrip('.')}:{port}" if is_askable else ""


# -- what the hub sends ------------------------------------------------------------------------------------------------


def verification_url(request: Request, challenge: str) -> str:
    """What the callback is asked with GET, to learn whether it is meant (section 5.3)."""
    query = {"hub.mode": request.mode, "hub.topic": request.topic, "hub.challenge": challenge}
    if request.mode == "subscribe":
        query["hub.lease_seconds"] = str(request.lease_s)
    return _with_query(request.callback, query)


def denial_url(request: Request, reason: str) -> str:
    """What the callback is told with GET where a subscription is denied (section 5.2)."""
    return _with_query(request.callback, {"hub.mode": "denied", "hub.topic": request.topic, "hub.reason": reason})


def _with_query(callback: str, query: Mapping[str, str]) -> str:
    """A callback's own query stays in place, ours comes after it."""
    joint = "" if callback.endswith(("?", "&")) else "&" if "?" in callback else "?"
    return callback + joint + urlencode(query)


def delivery_headers(topic: str, hub_url: str, body: bytes, secret: bytes) -> dict[str, str]:
    """Headers of a content distribution request (section 7), signed where there is a secret (section 7.1)."""
    headers = {
        "Content-Type": TYPES["." + topic.rpartition(".")[2]],
        "Link": f'<{hub_url}>; rel="hub", <{topic}>; rel="self"',
    }
    if secret:
        headers["X-Hub-Signature"] = "sha256=" + hmac.digest(secret, body, "sha256").hex()
    return headers


# -- topics ------------------------------------------------------------------------------------------------------------


def hub_url(public_url: str) -> str:
    """Where subscribers find this hub. `public_url` has no slash at its end."""
    return quote(public_url, safe=_URL_SAFE) + "/hub"


def topic_name(topic: str, public_url: str) -> str | None:
    """The file of a topic below the output folder; None for what is no live public feed's one self URL."""
    base = quote(public_url, safe=_URL_SAFE) + "/"
    if len(topic) > URL_LENGTH or not topic.startswith(base):
        return None
    quoted = topic[len(base):]
    name = unquote(quoted, errors="replace")
    if quote(name) != quoted or "." + name.rpartition(".")[2] not in TYPES or "\0" in name:
        return None
    parts = name.split("/")
    if any(part.startswith(".") or not part for part in parts) or parts[0] == site.ARCHIVES or site.is_private(name):
        return None
    return name
