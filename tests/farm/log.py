"""What the farm was asked, one line each: written in gulps by the server, read back as entries by `breaches`.

Fields are parted by tabs; times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO


class Asked(NamedTuple):
    """A request: `end` is when the last byte of the answer was written, or the connection was gone.

    `status` is 0 where no answer was given; `pause_s` is what its Retry-After asked for; `agent` is the product that
    the User-Agent names, in lower case. `path` is "*" for an attempt at TLS that came to no request.
    """

    start: float
    end: float
    day: int
    host: str
    connection: int
    status: int
    pause_s: float
    agent: str
    path: str


class Connected(NamedTuple):
    """A connection, from accept to close."""

    start: float
    end: float
    day: int
    host: str
    connection: int


class Strayed(NamedTuple):
    """A connection to where nobody was to go: an address outside of the farm's net, or its port that is not allowed."""

    start: float
    day: int
    host: str
    port: int


class Farm(NamedTuple):
    """What the farm is made of: the first line."""

    copies: int
    hosts: int
    port: int


Entry = Asked | Connected | Strayed | Farm


class Log:
    """Takes entries as text and writes them when told to."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines: list[str] = []
        self.add = self._lines.append

    def asked(
        self, start: float, end: float, day: int, host: str, connection: int, status: int, pause_s: float, agent: str,
        path: str,
    ) -> None:
        self.add(f"R\t{start:.6f}\t{end:.6f}\t{day}\t{host}\t{connection}\t{status}\t{pause_s:g}\t{agent}\t{path}\n")

    def connected(self, start: float, end: float, day: int, host: str, connection: int) -> None:
        self.add(f"C\t{start:.6f}\t{end:.6f}\t{day}\t{host}\t{connection}\n")

    def strayed(self, start: float, day: int, host: str, port: int) -> None:
        self.add(f"F\t{start:.6f}\t{day}\t{host}\t{port}\n")

    def farm(self, copies: int, hosts: int, port: int) -> None:
        self.add(f"H\t{copies}\t{hosts}\t{port}\n")

    def flush(self) -> None:
        """Everything so far is in the file."""
        self._out.write("".join(self._lines))
        self._lines.clear()
        self._out.flush()


def read(path: Path) -> Iterator[Entry]:
    """The entries of a log, in the order of their ends."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for line in lines:
            kind, *parts = line.rstrip("\n").split("\t", 9)
            if kind == "R":
                start, end, day, host, connection, status, pause_s, agent, target = parts
                yield Asked(
                    float(start), float(end), int(day), host, int(connection), int(status), float(pause_s), agent,
                    target,
                )  # fmt: skip
            elif kind == "C":
                start, end, day, host, connection = parts
                yield Connected(float(start), float(end), int(day), host, int(connection))
            elif kind == "F":
                start, day, host, port = parts
                yield Strayed(float(start), int(day), host, int(port))
            else:
                copies, hosts, port = parts
                yield Farm(int(copies), int(hosts), int(port))
