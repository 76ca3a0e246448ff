"""The output folder and `/readyz` over HTTP, so that a reader can subscribe at once.

The least that does: whole files, GET and HEAD, Last-Modified. No pages, no compression, no limits.
"""

from __future__ import annotations

import http.server
import os
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus

import structlog

log = structlog.get_logger(__name__)

TYPES = {
    ".atom": "application/atom+xml; charset=utf-8", ".rss": "application/rss+xml; charset=utf-8",
    ".json": "application/feed+json", ".opml": "text/x-opml; charset=utf-8", ".html": "text/html; charset=utf-8",
}


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = TYPES
    server_version, sys_version = "feedd", ""
    protocol_version = "HTTP/1.1"
    timeout = 20

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self._readyz()
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        if self.path == "/readyz":
            self._readyz()
        else:
            super().do_HEAD()

    def _readyz(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        ready = server.is_ready()
        body = b"ready\n" if ready else b"the first scan is not published yet\n"
        self.send_response(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def translate_path(self, path: str) -> str:
        """Hidden names are temporary files of ours, or not ours: neither is served."""
        found = super().translate_path(path)
        parts = os.path.relpath(found, self.directory).split(os.sep)
        hidden = "\0" in found or any(part.startswith(".") for part in parts if part != ".")
        return os.path.join(self.directory, "index.html", "not-served") if hidden else found

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        """Folders are not listed: the index page names all there is."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder from `start` to `stop`. Raises OSError where the address cannot be had."""

    daemon_threads = True

    def __init__(self, host: str, port: int, folder: str, is_ready: Callable[[], bool]) -> None:
        self.is_ready = is_ready
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), lambda *args: _Handler(*args, directory=folder))
        self._thread = threading.Thread(target=self.serve_forever, name="serve", daemon=True, args=(0.1,))

    def start(self) -> None:
        """Answers from now on."""
        self._thread.start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that goes away in the middle is no news; anything else is."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            log.error("a request could not be answered", exc_info=error)

    def stop(self) -> None:
        """Answers no more."""
        self.shutdown()
        self.server_close()

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"
