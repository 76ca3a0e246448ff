"""Requests of the hub to subscribers -> what came of them: every address checked, no redirect followed, little read.

A connection serves one request, so that ten thousand subscribers do not leave as many open. Used by the hub's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aiohttp
import yarl
from msgspec import Struct

from feedd import connect, guard, retry


class Outcome(Struct, frozen=True, gc=False):
    """`status` is 0 where there was no answer, and `error` says why. `wish_s`: seconds to be left alone."""

    status: int = 0
    body: bytes = b""
    error: str = ""
    wish_s: float = 0.0

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300


class Outgoing:
    """Requests, by one session. Made on the event loop; use it with `async with`."""

    def __init__(
        self, user_agent: str, allowed: Sequence[guard.Network], timeout_s: float, lookup: connect.Lookup | None
    ) -> None:
        self._timeout_s = timeout_s
        connector = aiohttp.TCPConnector(
            limit=0, force_close=True, socket_factory=connect.socket_factory(allowed),
            resolver=connect.Resolver(lookup) if lookup else connect.Resolver(),
        )
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=timeout_s), auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
        )

    async def __aenter__(self) -> Outgoing:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._session.close()

    async def get(self, url: str, most: int, now: float) -> Outcome:
        """With at most so many bytes of the body."""
        return await self._ask("GET", url, None, {}, most, now)

    async def post(self, url: str, data: bytes, headers: Mapping[str, str], now: float) -> Outcome:
        """The body of the answer says nothing (WebSub, section 7) and is not read."""
        return await self._ask("POST", url, data, headers, 0, now)

    async def _ask(
        self, method: str, url: str, data: bytes | None, headers: Mapping[str, str], most: int, now: float
    ) -> Outcome:
        try:
            async with self._session.request(
                method, yarl.URL(url, encoded=True), data=data, headers=headers, allow_redirects=False
            ) as answer:
                body = await _start_of(answer.content, most)
                wish_s = retry.retry_after_s(answer.headers.get("Retry-After"), now) or 0.0
                ok = 200 <= answer.status < 300
                return Outcome(answer.status, body, "" if ok else f"it answered {answer.status}", wish_s)
        except TimeoutError:
            return Outcome(error=f"no answer within {self._timeout_s:g} s")
        except aiohttp.ClientConnectorCertificateError as error:
            return Outcome(error=f"its certificate is not valid: {error.certificate_error}"[:200])
        except aiohttp.ClientConnectorError as error:
            refused = error.os_error
            if isinstance(refused, guard.AddressRefusedError):
                return Outcome(error=f"{refused}: {refused.address} is {refused.reason}")
            return Outcome(error=f"it cannot be reached: {refused.strerror or refused}"[:200])
        except aiohttp.ServerDisconnectedError:
            return Outcome(error="it closed the connection without an answer")
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:  # uvloop raises the last for some
            return Outcome(error=f"{type(error).__name__}: {error}"[:200])


async def _start_of(content: aiohttp.StreamReader, most: int) -> bytes:
    """The first bytes of a body, which may come one by one."""
    data = b""
    while len(data) < most and (more := await content.read(most - len(data))):
        data += more
    return data
