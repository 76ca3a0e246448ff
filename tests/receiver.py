"""Who is told of something by POST, for tests: a server on this machine that notes it, and answers as its test says.

A reply is what a handler does; `says` and `sends` make some. What bodies are, those who derive from `Receiver` know.
"""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable
from typing import Any, cast

Reply = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Notes what it is told, then does what its receiver has written down for it."""

    protocol_version = "HTTP/1.1"

    @property
    def receiver(self) -> Receiver:
        return cast(Receiver, self.server)

    def do_POST(self) -> None:
        receiver = self.receiver
        told = receiver.read(self.rfile.read(int(self.headers["Content-Length"])))
        with receiver.lock:
            receiver.heads.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
            receiver.told.append(told)
            reply = receiver.replies.pop(0) if receiver.replies else receiver.usual
            receiver.busy += 1
            receiver.most = max(receiver.most, receiver.busy)
        with contextlib.suppress(ConnectionError):
            reply(self)
        with receiver.lock:
            receiver.busy -= 1

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def says(status: int, body: bytes = b"", **headers: str) -> Reply:
    """An answer; underscores in names of headers are hyphens."""

    def reply(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def sends(data: bytes) -> Reply:
    """Bytes that need be no answer at all, and the end of the connection."""

    def reply(handler: Handler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return reply


def waits(then: Reply) -> Reply:
    """Answers only when its receiver is `released`."""

    def reply(handler: Handler) -> None:
        handler.receiver.released.wait(20)
        then(handler)

    return reply


hangs_up = sends(b"")
hangs = waits(hangs_up)


class Receiver(http.server.ThreadingHTTPServer):
    """`replies` come first, in their order, then `usual` for ever. `most`: of those that were busy at once."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *replies: Reply, usual: Reply) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies, self.usual = list(replies), usual
        self.lock, self.released = threading.Lock(), threading.Event()
        self.told, self.heads = list[Any](), list[dict[str, str]]()
        self.busy = self.most = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, body: bytes) -> Any:
        """What is noted of a body."""
        return body

    def handle_error(self, request: object, client_address: object) -> None:
        """Who was told may break off."""

    def close(self) -> None:
        """Answers no more."""
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
