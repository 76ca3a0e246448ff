"""The ways in which a message leaves: a POST to a webhook, or a command that reads it; and whether it was taken.

Routing, mail and pagers are left to who is told. A webhook may be anywhere, also in a private network: it stands in the
operator's own configuration, not in an article, so there is nobody to guard it from. Its URL may be a secret: errors
and logs name its host alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import yarl
from msgspec import Struct

from feedd import connect
from feedd.alerts import message

TEXT: Final = "FEEDD_ALERT_TEXT"  # the variable in which a command finds the text
_SAID: Final = 500  # bytes of an answer that are looked at
_POLL_S: Final = 0.02
_MOVED: Final = range(300, 400)


class Answer(Struct, frozen=True):
    """What came of it: `error` is empty when it was taken. `said`: the first line of what the receiver says."""

    error: str = ""
    said: str = ""


class Way(Protocol):
    """How a message leaves. `name` is of configuration, `place` is what may be shown of where it goes."""

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str: ...

    async def tell(self, body: bytes) -> Answer:
        """Delivers once; may be cancelled. Raises nothing else."""
        ...


class Webhook:
    """A POST of the JSON. Only 2xx means that it was taken; redirects are not followed: headers may be secret."""

    name = "webhook"

    def __init__(self, url: str, headers: Mapping[str, str], user_agent: str, *, timeout_s: float = 10.0) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._headers = {"Content-Type": "application/json", "User-Agent": user_agent, **headers}
        self.place = urlsplit(url).hostname or ""

    async def tell(self, body: bytes) -> Answer:
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(force_close=True, resolver=connect.Resolver()),
                    timeout=aiohttp.ClientTimeout(total=self._timeout_s), cookie_jar=aiohttp.DummyCookieJar(),
                ) as session,
                session.post(
                    yarl.URL(self._url, encoded=True), data=body, headers=self._headers, allow_redirects=False
                ) as answer,
            ):
                said = _first_line(await answer.content.read(_SAID))
                if 200 <= answer.status < 300:
                    return Answer(said=said)
                moved = ", a redirect, which is not followed" if answer.status in _MOVED else ""
                return Answer(f"it answered {answer.status}{moved}", said)
        except TimeoutError:
            return Answer(f"no answer within {self._timeout_s:g} s")
        except aiohttp.ClientConnectorCertificateError as error:
            return Answer(f"its certificate is not valid: {error.certificate_error}"[:200])
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno or 0  # of a name that nobody knows it is no number of the system's
            return Answer(f"it cannot be reached: {os.strerror(number).lower() if number > 0 else 'no such host'}")
        except aiohttp.ServerDisconnectedError:
            return Answer("it closed the connection without an answer")
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:  # their texts may have the whole URL
            return Answer(f"the request failed ({type(error).__name__})")


class Command:
    """A program, run without a shell: the JSON is its input, the text is in its environment. Exit code 0: taken."""

    name = "command"

    def __init__(self, argv: Sequence[str], *, timeout_s: float = 30.0) -> None:
        self._argv, self._timeout_s = tuple(argv), timeout_s
        self.place = argv[0]

    async def tell(self, body: bytes) -> Answer:
        # Files and no pipes: what the program leaves running behind it holds up nobody.
        with _memory() as given, _memory() as said:
            given.write(body)
            given.seek(0)
            environment = os.environ | {TEXT: message.text_of(body)}
            try:
                process = subprocess.Popen(
                    self._argv, stdin=given, stdout=said, stderr=subprocess.STDOUT, env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                return Answer(f"it cannot be run: {error.strerror}")
            try:
                async with asyncio.timeout(self._timeout_s):
                    while (code := process.poll()) is None:
                        await asyncio.sleep(_POLL_S)
            except TimeoutError:
                return Answer(f"it did not end within {self._timeout_s:g} s")
            finally:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            said.seek(0)
            line = _first_line(said.read(_SAID))
            if code == 0:
                return Answer(said=line)
            return Answer(f"it ended with exit code {code}" if code > 0 else f"it was ended by signal {-code}", line)


def _memory() -> IO[bytes]:
    """A file that needs no disk, which may be full; where the system has none, a temporary one."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("alert"), "w+b")
    return tempfile.TemporaryFile()


def _first_line(data: bytes) -> str:
    """Fit for a log: printable, one line, 120 characters; nothing of a page of HTML."""
    lines = data.decode("utf-8", "replace").strip().splitlines()
    line = lines[0] if lines else ""
    return "" if line.startswith("<") else "".join(c for c in line if c.isprintable())[:120]
