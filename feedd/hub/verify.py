"""Requests to subscribe -> subscriptions, once their callbacks have said that they are meant (WebSub, section 5.3).

In memory: who asked just before a kill hears nothing, as after a failed verification, and asks again. One try each.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import Counter
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from feedd.hub import contents, protocol
from feedd.hub.contents import Contents
from feedd.hub.outgoing import Outgoing
from feedd.hub.settings import Settings
from feedd.hub.subscriptions import Subscriptions

AT_ONCE = 16
PER_HOST = 2

_Key = tuple[str, str]


class Verifier:
    """Asks callbacks. `renewed` is called with the topic of every subscription that began or was renewed."""

    def __init__(
        self, out_folder: str, settings: Settings, store: Subscriptions, files: Contents, outgoing: Outgoing,
        log: FilteringBoundLogger, *, now: Callable[[], float], renewed: Callable[[int], None],
    ) -> None:
        self._out, self._settings, self._store, self._files = out_folder, settings, store, files
        self._outgoing, self._log, self._now, self._renewed = outgoing, log, now, renewed
        self._waiting: dict[_Key, protocol.Request] = {}
        self._asking: set[_Key] = set()
        self._hosts: Counter[str] = Counter()
        self._news = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many requests are not decided."""
        return len(self._waiting) + len(self._asking)

    def put(self, request: protocol.Request) -> None:
        """Another request; it takes the place of one that waits for the same subscription."""
        self._waiting[(request.callback, request.topic)] = request
        self._news.set()

    async def run(self) -> None:
        """Gives out what waits, as long as there is a loop."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._news.wait()
                self._news.clear()
                for key, request in list(self._waiting.items()):
                    if len(self._asking) >= AT_ONCE:
                        break
                    if key not in self._asking and self._hosts[request.host] < PER_HOST:
                        del self._waiting[key]
                        self._asking.add(key)
                        self._hosts[request.host] += 1
                        tasks.create_task(self._decide(key, request))

    async def _decide(self, key: _Key, request: protocol.Request) -> None:
        try:
            if request.mode == "unsubscribe":
                await self._end(request)
            elif objection := self._objection(request):
                await self._outgoing.get(protocol.denial_url(request, objection), 0, self._now())
                self._log.info("subscription denied", **_names(request), reason=objection)
            else:
                await self._begin(request)
        finally:
            self._asking.discard(key)
            self._hosts[request.host] -= 1
            if not self._hosts[request.host]:
                del self._hosts[request.host]
            self._news.set()

    def _objection(self, request: protocol.Request) -> str:
        """Why a subscription cannot be (section 5.2); empty where it can."""
        limits = self._settings.limits
        if not contents.is_topic(request.topic, self._settings.public_url, self._out):
            return "the topic is no feed of this server"
        if self._store.has(request.topic, request.callback):
            return ""
        if self._store.count() >= limits.subscriptions:
            return "this hub has as many subscriptions as it takes"
        if self._store.count_host(request.host) >= limits.per_host:
            return "this hub has as many subscriptions for the callback's host as it takes"
        return ""

    async def _begin(self, request: protocol.Request) -> None:
        if not await self._is_meant(request):
            return
        if objection := self._objection(request):  # others were quicker
            await self._outgoing.get(protocol.denial_url(request, objection), 0, self._now())
            self._log.info("subscription denied", **_names(request), reason=objection)
            return
        content = self._files.look(request.topic, is_wanted=True)
        if content is None:
            return
        until = int(self._now()) + request.lease_s
        with self._store.transaction():
            is_new = not self._store.has(request.topic, request.callback)
            self._store.put(content.topic, request.callback, request.host, request.secret, until)
        self._renewed(content.topic.id)
        self._log.info("subscribed" if is_new else "subscription renewed", **_names(request), lease_s=request.lease_s)

    async def _end(self, request: protocol.Request) -> None:
        # Nobody is asked about what is not there: the hub would send requests to anyone for anyone.
        if self._store.has(request.topic, request.callback) and await self._is_meant(request):
            self._store.drop(request.topic, request.callback)
            self._log.info("unsubscribed", **_names(request))

    async def _is_meant(self, request: protocol.Request) -> bool:
        """Whether the callback answers 2xx with the challenge as it is, and nothing else."""
        challenge = secrets.token_urlsafe(32)
        url = protocol.verification_url(request, challenge)
        outcome = await self._outgoing.get(url, len(challenge) + 1, self._now())
        if outcome.is_success and hmac.compare_digest(outcome.body, challenge.encode()):
            return True
        self._log.info(
            "not verified by its callback", mode=request.mode, **_names(request),
            reason=outcome.error or "the answer is not the challenge",
        )
        return False


def _names(request: protocol.Request) -> dict[str, str]:
    return {"url": request.topic, "host": request.host}
